"""Which files a YOLO dataset has: its data.yaml, the images of each part, and the text beside each image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ...errors import FormatError
from ...report import Tally
from ...samples import Label, LabelSet
from .. import data_yaml
from ..data_yaml import CONFIG, IMAGES
from ..image_files import read_address
from ..images import IMAGE_SUFFIXES
from ..label_files import find_label_file, read_labels

LABELS = "labels"
#: Of a text of labels: an image has some hundred objects of some hundred corners.
LARGEST = 1 << 26


@dataclass(frozen=True, slots=True)
class Pair:
    """An image and the text of its objects.

    Attributes:
        key: the image's path below the folder of its part, without extension.
        name: that path with its extension.
        image: the file; None where only the text is there.
        text: the file, which need not be there: then nothing is on the image.
    """

    key: str
    name: str
    image: Path | None
    text: Path


@dataclass(frozen=True, slots=True)
class Layout:
    """A dataset's labels and the files of its parts.

    Attributes:
        root: its folder.
        labels: the classes; None where nothing names them.
        parts: by name, None for the only one.
        notes: what should be said.
    """

    root: Path
    labels: LabelSet | None
    parts: dict[str | None, list[Pair]]
    notes: Tally = field(default_factory=Tally)


def find(path: Path) -> Layout:
    """Return the layout of a folder or data.yaml; FormatError says what is missing."""
    config = data_yaml.config_in(path)
    root = path.parent if path.is_file() else path
    if config is None:
        return _without_config(root)
    entries = data_yaml.read(config)
    if "masks_dir" in entries:
        raise FormatError(f"{config} has masks_dir: its labels are masks, not lines of corners (--from png)")
    found: dict[str | None, list[Pair]] = {}
    notes = Tally()
    for part, folders in data_yaml.image_places(root, entries).items():
        pairs = [pair for place in folders for pair in _pairs(root, place)]
        if pairs:
            found[part] = pairs
        else:
            notes.add("parts that are named and have no images", f"{config}: {part}")
    if not found:
        raise FormatError(f"{config} names no images: expected train: and val: with the folders of the images")
    if not any(pair.text.is_file() for pairs in found.values() for pair in pairs):
        raise FormatError(f"{config}: none of its images has a text of objects in {LABELS}/")
    try:
        labels = read_labels(config)
    except FormatError:
        if "names" in entries:
            raise
        labels = None
    return Layout(root, labels, found, notes)


def _without_config(root: Path) -> Layout:
    if not (root / LABELS).is_dir() or next((root / LABELS).rglob("*.txt"), None) is None:
        raise FormatError(f"{root} is no YOLO dataset: it has neither a {CONFIG} with names nor {LABELS}/*.txt")
    if not (root / IMAGES).is_dir():
        raise FormatError(
            f"{root} has {LABELS}/, and no {IMAGES}/ beside it: the numbers there are shares of the images' sizes"
        )
    listed = find_label_file(root)
    pairs = list(_pairs(root, root / IMAGES))
    return Layout(root, read_labels(listed) if listed else None, {None: pairs})


def _pairs(root: Path, place: Path) -> Iterator[Pair]:
    """Yield the images of a folder, or of a list of images, and the text of each."""
    if place.suffix == ".txt":
        if not place.is_file():
            raise FormatError(f"{root}: there is no list of images {place}")
        yield from _listed(root, place)
        return
    if not place.is_dir():
        return
    texts = _text_of(place)
    stems = set()
    for file in sorted(place.rglob("*")):
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".") and file.is_file():
            inner = file.relative_to(place)
            stems.add(inner.with_suffix("").as_posix())
            yield Pair(inner.with_suffix("").as_posix(), inner.as_posix(), file, texts / inner.with_suffix(".txt"))
    for text in sorted(texts.rglob("*.txt")) if texts != place and texts.is_dir() else ():
        key = text.relative_to(texts).with_suffix("").as_posix()
        if key not in stems and text.name != "classes.txt":
            yield Pair(key, f"{key}.jpg", None, text)


def _listed(root: Path, file: Path) -> Iterator[Pair]:
    if file.stat().st_size > LARGEST:
        raise FormatError(f"{file}: {file.stat().st_size} bytes are no list of images")
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{file}: cannot read the list of images: {error}") from error
    for line in lines:
        if not line.strip():
            continue
        name = read_address(line.strip()).name
        parts = name.split("/")
        image = next((p for k in range(len(parts)) if (p := root.joinpath(*parts[k:])).is_file()), None)
        if not name:
            raise FormatError(f"{file}: {line!r:.80} is no file's name")
        at = image or root / name
        folder = _text_of(at.parent)
        inner = PurePosixPath(at.relative_to(root).as_posix())
        inner = inner.relative_to(IMAGES) if inner.parts[0] == IMAGES and len(inner.parts) > 1 else inner
        key = inner.with_suffix("").as_posix()
        yield Pair(key, inner.as_posix(), image, folder / f"{at.stem}.txt")


def _text_of(folder: Path) -> Path:
    """Return the folder of texts of a folder of images: the last ``images`` of its path is ``labels`` there."""
    return data_yaml.replaced(folder, LABELS) or folder


def nameless(layout: Layout) -> LabelSet:
    """Return class 0..n of what the texts hold, where nothing names them."""
    top = -1
    for pairs in layout.parts.values():
        for pair in pairs:
            if pair.text.is_file() and pair.text.stat().st_size <= LARGEST:
                for line in pair.text.read_bytes().splitlines():
                    word = line.split(maxsplit=1)[:1]
                    if word and word[0].isdigit() and len(word[0]) < 6:
                        top = max(top, int(word[0]))
    return LabelSet(tuple(Label(k, f"class {k}") for k in range(top + 1)))
