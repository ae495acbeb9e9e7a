"""CamVid's layouts: parts beside folders of their masks (train/ and trainannot/), or lists of both paths a line.

SegNet's copy has train/ and trainannot/, CVAT default/ and defaultannot/, Kaggle's train/ and train_labels/, the
original 701_StillsRaw_full/ and LabeledApproved_full/, Carvana train/ and train_masks/.
"""

from __future__ import annotations

import re
from pathlib import Path

from ....errors import FormatError
from ...image_files import ImageFinder
from ...known_labels import CAMVID, CAMVID_32
from ..entries import PARTS, Entry, Layout, holds_masks, key_of, pairs, read_lines, within

_TAIL = re.compile(r"^(?P<part>.+?)(?:[-_ ]?(?:annot|annotations?|labels?|masks?|gt|label_?maps?))$", re.I)
_ORIGINAL = ("701_StillsRaw_full", "LabeledApproved_full")
_KNOWN = (("CamVid", CAMVID_32), ("CamVid", CAMVID))


def missing(root: Path) -> str | None:
    """Return None if a folder has this layout, else what is missing."""
    if _pair_lists(root) or _annotated(root):
        return None
    return "camvid needs train.txt with two paths a line, or train/ beside trainannot/ (train_labels/, train_masks/)"


def find(root: Path) -> Layout:
    """Return the images and masks."""
    lists = _pair_lists(root)
    if lists:
        finder = ImageFinder([root])
        for word in (word for path in lists.values() for line in read_lines(path) for word in _two_paths(line) or ()):
            finder.foresee(word)
        entries = [entry for part, path in lists.items() for entry in _listed(root, part, path, finder)]
        has_images = any(entry.image is not None for entry in entries)
        return Layout("camvid", entries, _KNOWN, has_images, left_out=_unlisted(root, entries))
    entries = []
    for part, (images, masks) in _annotated(root).items():
        for key, pair in pairs(images, masks).items():
            name = f"{images.name}/{pair.image.relative_to(images).as_posix()}" if pair.image else key
            entries.append(Entry(key, name, pair.image, pair.mask, part, None, pair.reason))
    return Layout("camvid", entries, _KNOWN)


def _annotated(root: Path) -> dict[str | None, tuple[Path, Path]]:
    """Return the folders of images and of their masks by part."""
    if not root.is_dir():
        return {}
    folders = {path.name: path for path in sorted(root.iterdir()) if path.is_dir() and path.name[0] != "."}
    if all(name in folders for name in _ORIGINAL):
        return {None: (folders[_ORIGINAL[0]], folders[_ORIGINAL[1]])}
    found: dict[str | None, tuple[Path, Path]] = {}
    for name, masks in folders.items():
        tail = _TAIL.match(name)
        part = tail["part"] if tail else ""
        names = (part, f"{part}_images", f"{part}images", f"{part}_imgs", f"{part}_img")
        images = next((folders[n] for n in names if tail and n in folders), None)
        if images is not None and holds_masks(masks):
            found[part] = (images, masks)
    order = {part: k for k, part in enumerate(PARTS)}
    return dict(sorted(found.items(), key=lambda item: (order.get(item[0] or "", len(order)), item[0] or "")))


def _pair_lists(root: Path) -> dict[str, Path]:
    """Return the split lists whose first line holds two paths, by split."""
    found = {}
    for part in PARTS:
        path = root / f"{part}.txt"
        if path.is_file():
            with path.open(encoding="utf-8", errors="replace") as lines:
                if _two_paths(lines.readline()) is not None:
                    found[part] = path
    return found


def _two_paths(line: str) -> tuple[str, str] | None:
    """Return the paths of an image and its mask; quoted, or halves that both end in an extension where they have spaces.

    '/a b/1.png /a b annot/1.png' -> ('/a b/1.png', '/a b annot/1.png')
    """
    line = line.strip()
    quoted = re.fullmatch(r'"([^"]+)"\s+"([^"]+)"', line)
    found = quoted or re.fullmatch(r"(\S+)\s+(\S+)", line) or re.fullmatch(r"(.+\.\w{3,4})\s+(/?.+\.\w{3,4})", line)
    return (found[1], found[2]) if found else None


def _listed(root: Path, part: str, path: Path, finder: ImageFinder) -> list[Entry]:
    """Return the entries of a list of 'image mask' lines; their paths may start with folders of another machine."""
    found: dict[str, Entry] = {}
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        words = _two_paths(line)
        if words is None:
            raise FormatError(f"{where}: expected an image and a mask separated by a space, received {line!r:.80}")
        image, mask = (within(finder, root, word, where) for word in words)
        name = image.relative_to(root).as_posix()
        key = key_of(name).removeprefix(f"{part}/")
        if key in found:
            raise FormatError(f"{where}: {words[0]} stands twice in the list")
        found[key] = Entry(key, name, image if image.is_file() else None, mask if mask.is_file() else None, part)
    return list(found.values())


def _unlisted(root: Path, entries: list[Entry]) -> list[tuple[str, str]]:
    """Return the masks that lie beside those of a list and stand in none."""
    listed = {entry.mask for entry in entries if entry.mask is not None}
    folders = {mask.parent for mask in listed} | {m for _, m in _annotated(root).values()}
    beside = sorted(path for folder in folders for path in folder.iterdir() if path.suffix.lower() == ".png")
    return [("masks that no list names", str(path.relative_to(root))) for path in beside if path not in listed]
