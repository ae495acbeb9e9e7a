"""Ultralytics' ``data.yaml``: the part of YAML that it is written in, and the images that it names.

    train: images/train        # a text; quotes and comments may stand
    val: [a, b]                # a list in one line, or below with dashes
    names: {0: car}            # a table likewise

Nothing else of YAML is needed for it, and nothing else is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from ..errors import FormatError, LabelError
from ..samples import LabelSet
from .image_files import read_address

Value = str | list[str] | dict[str, str]

_KEY = re.compile(r"(?P<key>[A-Za-z_][\w-]*)[ \t]*:(?:[ \t]+(?P<rest>.*))?$")
# A quoted text, or what stands up to a comma.
_ITEM = re.compile(r"""\s*((?:"(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^,"'])+)\s*(?:,|$)""")
_LARGEST = 1 << 24
#: What the file is called, and the folder of images: the last of that name in a path is another one's for labels or masks.
CONFIG, IMAGES = "data.yaml", "images"
#: The first line of ours.
MARK = "# written by maskloop"
_PARTS = ("train", "val", "valid", "test", "minival")
_OTHER_NAMES = ("training", "validation", "testing")


def read(path: Path) -> dict[str, Value]:
    """Return the entries of a file; FormatError where it cannot be read."""
    try:
        if path.stat().st_size > _LARGEST:
            raise FormatError(f"{path}: {path.stat().st_size} bytes are no list of names")
        return parse(path.read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: cannot read it: {error}") from error


def parse(text: str) -> dict[str, Value]:
    """Return the top-level entries of a document; what is no entry is passed over."""
    found: dict[str, Value] = {}
    for key, same, below in _blocks(text):
        if same[:1] in ("[", "{"):
            inner = " ".join([same, *below]).strip()
            items = [item for item in _items(inner.strip("[]{} ")) if item]
            found[key] = [_plain(item) for item in items] if same[0] == "[" else dict(map(_pair, items))
        elif same or not below:
            found[key] = _plain(same)
        elif all(line.startswith("-") for line in below):
            found[key] = [_plain(line[1:]) for line in below]
        else:
            found[key] = dict(_pair(line) for line in below if ":" in line)
    return found


def names_of(entries: dict[str, Value]) -> dict[int, str] | list[str]:
    """Return the ``names`` of a data.yaml, by number or in their order; LabelError where there are none."""
    names = entries.get("names")
    if names is None:
        raise LabelError("it has no names")
    if isinstance(names, dict):
        return {int(key): name for key, name in names.items()}
    return names if isinstance(names, list) else [names]


def _blocks(text: str) -> Iterator[tuple[str, str, list[str]]]:
    """Yield key, what stands behind it, and the lines below it that belong to it."""
    key, same, below = "", "", list[str]()
    for raw in text.splitlines():
        line = re.sub(r"(^|\s)#.*$", "", raw) if "'" not in raw and '"' not in raw else raw
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        start = None if line[0] in " \t-" else _KEY.match(line.rstrip())
        if start is not None:
            if key:
                yield key, same, below
            key, same, below = start["key"], _uncommented(start["rest"] or ""), []
        elif key:
            below.append(_uncommented(line.strip()))
    if key:
        yield key, same, below


def _uncommented(text: str) -> str:
    """Return a value without the comment behind it; a # in quotes is none."""
    text = text.strip()
    quoted = re.match(r"""((?:[-\w]+\s*:\s*|-\s*)?(?:"(?:[^"\\]|\\.)*"|'(?:[^']|'')*'))\s*(?:#.*)?$""", text)
    return quoted[1] if quoted else re.sub(r"(^|\s)#.*$", "", text).strip()


def _items(text: str) -> Iterator[str]:
    at = 0
    while at < len(text) and (item := _ITEM.match(text, at)):
        yield item[1].strip()
        at = item.end()


def _pair(text: str) -> tuple[str, str]:
    key, _, value = text.partition(":")
    return _plain(key), _plain(value)


def _plain(text: str) -> str:
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text.strip("'\"")


def quoted(text: str) -> str:
    """Return a text as a value that :func:`parse`, and YAML, read back."""
    return "'" + text.replace("'", "''") + "'"


def config_in(path: Path) -> Path | None:
    """Return the data.yaml of a folder, whatever it is called; None where there is none with names."""
    if path.is_file():
        return path if path.suffix.lower() in (".yaml", ".yml") else None
    if not path.is_dir():
        return None
    for file in (path / CONFIG, *sorted([*path.glob("*.yaml"), *path.glob("*.yml")])):
        if file.is_file():
            try:
                names_of(read(file))
            except (LabelError, ValueError):
                continue
            return file
    return None


def image_places(root: Path, entries: dict[str, Value]) -> dict[str | None, list[Path]]:
    """Return the folders, or lists, of the images of each part, in ``root``; the part is None where there is only ``images``.

    A dataset of one part names it twice, as trainers want both.
    """
    base = entries.get("path", "")
    found: dict[str | None, list[Path]] = {}
    for part in _PARTS:
        value = entries.get(part)
        given = value if isinstance(value, list) else [value] if isinstance(value, str) else []
        folders = [_inside(root, base if isinstance(base, str) else "", text) for text in given if text]
        if folders and folders not in found.values():
            found[_part_name(folders, part)] = folders
    if list(found.values()) == [[root / IMAGES]]:
        return {None: [root / IMAGES]}
    return found


def replaced(folder: Path, name: str) -> Path | None:
    """Return a folder with the last ``images`` of its path called otherwise; None where there is none."""
    for k in reversed(range(len(folder.parts))):
        if folder.parts[k] == IMAGES:
            return Path(*folder.parts[:k], name, *folder.parts[k + 1 :])
    return None


def _inside(root: Path, base: str, text: str) -> Path:
    """Return the place that a data.yaml names, inside its own folder: other machines' paths end the same way."""
    name = read_address(text).name
    for start in (read_address(base).name, PurePosixPath(base.replace("\\", "/")).name, ""):
        place = root / start / name
        if name and place.exists():
            return place
    return root / name


def _part_name(folders: list[Path], part: str) -> str:
    """Return the name of a part: that of its folder, where that is one."""
    own = {folder.parent.name if folder.name == IMAGES else folder.stem for folder in folders}
    name = next(iter(own)) if len(own) == 1 else part
    return name if name in (*_PARTS, *_OTHER_NAMES) else part


def config_text(places: Mapping[str, str], labels: LabelSet, masks: str | None = None) -> str:
    """Return a data.yaml.

    Args:
        places: the folder of images by part; trainers want 'train' and 'val'.
        labels: numbered 0, 1, 2, ...
        masks: what the folder of masks is called, for semantic segmentation.
    """
    lines = [MARK, "path: .", *(f"{part}: {quoted(place)}" for part, place in places.items())]
    lines += [f"masks_dir: {masks}"] if masks else []
    lines += [f"nc: {len(labels.labels)}", "names:", *(f"  {x.id}: {quoted(x.name)}" for x in labels.labels)]
    return "\n".join(lines) + "\n"
