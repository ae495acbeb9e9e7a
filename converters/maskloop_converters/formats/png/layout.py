"""Which image belongs to which mask: the folder layouts that datasets of label maps come in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ...errors import FormatError
from ...samples import LabelSet
from ..file_names import relative_path
from ..images import IMAGE_SUFFIXES
from ..labels import CAMVID, CITYSCAPES, VOC

INDEX = "maskloop.jsonl"
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Entry:
    """An image and its label map, as far as they are there.

    Attributes:
        id: of the sample.
        name: of the image inside the dataset, a posix path.
        image: file of the image, None where only the mask is there.
        mask: file of the label map, None where only the image is there.
        split: the part that it belongs to, None where the dataset has no parts.
        instances: file that tells objects of a class apart: VOC's numbers them from 1, Cityscapes' holds class * 1000 +
            number for them; None where there is none.
    """

    id: str
    name: str
    image: Path | None
    mask: Path | None
    split: str | None = None
    instances: Path | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """A way to lay out a dataset, found in a folder.

    Attributes:
        name: 'folders', 'camvid', 'voc' or 'cityscapes'.
        entries: all images and masks, in the dataset's order.
        labels: of the dataset that the layout comes from, used where there is no label list; None if there is none.
    """

    name: str
    entries: list[Entry]
    labels: LabelSet | None = None

    @property
    def splits(self) -> tuple[str, ...]:
        """The parts, in the order in which they are first met."""
        return tuple(dict.fromkeys(entry.split for entry in self.entries if entry.split is not None))


def find_layout(root: Path) -> Layout:
    """Return the layout of a folder; FormatError says for every layout what is missing."""
    for finder in (_folders, _voc, _cityscapes, _camvid):
        layout = finder(root)
        if layout is not None:
            return layout
    raise FormatError(why_not(root) or f"{root} changed while it was read")


def why_not(root: Path) -> str | None:
    """Return None if a folder has one of the layouts, else what each of them misses; no file is listed for that."""
    reasons = []
    for name, needed in _NEEDED.items():
        missing = [folder for folder in needed if not (root / folder).is_dir()]
        if not missing:
            return None
        reasons.append(f"{name} needs {' and '.join(f'{folder}/' for folder in missing)}")
    if _pair_lists(root) or _annotated_folders(root):
        return None
    reasons.append("camvid needs train.txt with two paths a line, or train/ beside trainannot/")
    return f"{root} holds no images with PNG masks ({'; '.join(reasons)})"


_NEEDED = {
    "folders": ("images", "masks"),
    "voc": ("JPEGImages", "SegmentationClass"),
    "cityscapes": ("leftImg8bit", "gtFine"),
}


def _folders(root: Path) -> Layout | None:
    if not _has(root, "folders"):
        return None
    pairs = _pairs(root / "images", root / "masks")
    lists = {split: _names(root / f"{split}.txt") for split in SPLITS if (root / f"{split}.txt").is_file()}
    member = {name: split for split, names in lists.items() for name in names}
    entries = []
    for key, (image, mask) in pairs.items():
        name = (image or (mask or root / key)).relative_to(root / ("images" if image else "masks")).as_posix()
        first = PurePosixPath(key).parts[0]
        split = member.get(key) or member.get(name) or (first if not lists and first in SPLITS and "/" in key else None)
        entries.append(Entry(key, name, image, mask, split))
    return Layout("folders", entries)


def _camvid(root: Path) -> Layout | None:
    lists = _pair_lists(root)
    if lists:
        entries = [entry for split, path in lists.items() for entry in _listed_pairs(root, split, path)]
        return Layout("camvid", entries, CAMVID)
    folders = _annotated_folders(root)
    if not folders:
        return None
    entries = [
        Entry(key, f"{split}/{image.relative_to(root / split).as_posix()}" if image else key, image, mask, split)
        for split in folders
        for key, (image, mask) in _pairs(root / split, root / f"{split}annot").items()
    ]
    return Layout("camvid", entries, CAMVID)


def _voc(root: Path) -> Layout | None:
    if not _has(root, "voc"):
        return None
    # Most of VOC's images have boxes only: those without a mask are no fault.
    pairs = {key: pair for key, pair in _pairs(root / "JPEGImages", root / "SegmentationClass").items() if pair[1]}
    lists = root / "ImageSets" / "Segmentation"
    member = {
        name: split for split in SPLITS if (lists / f"{split}.txt").is_file() for name in _names(lists / f"{split}.txt")
    }
    keys = [*pairs, *(key for key in member if key not in pairs)]
    entries = []
    for key in keys:
        image, mask = pairs.get(key, (None, None))
        name = image.relative_to(root / "JPEGImages").as_posix() if image else f"{key}.jpg"
        objects = root / "SegmentationObject" / f"{key}.png"
        entries.append(Entry(key, name, image, mask, member.get(key), objects if objects.is_file() else None))
    return Layout("voc", entries, VOC)


def _cityscapes(root: Path) -> Layout | None:
    if not _has(root, "cityscapes"):
        return None
    pairs = _pairs(
        root / "leftImg8bit",
        root / "gtFine",
        image_key=lambda key: key.removesuffix("_leftImg8bit"),
        mask_key=lambda key: key.removesuffix("_gtFine_labelIds") if key.endswith("_gtFine_labelIds") else None,
    )
    entries = []
    for key, (image, mask) in pairs.items():
        objects = root / "gtFine" / f"{key}_gtFine_instanceIds.png"
        split = PurePosixPath(key).parts[0]
        instances = objects if objects.is_file() else None
        entries.append(Entry(key, f"{key}_leftImg8bit.png", image, mask, split, instances))
    return Layout("cityscapes", entries, CITYSCAPES)


def _has(root: Path, name: str) -> bool:
    return all((root / folder).is_dir() for folder in _NEEDED[name])


def _pairs(
    images: Path,
    masks: Path,
    *,
    image_key: Callable[[str], str | None] = lambda key: key,
    mask_key: Callable[[str], str | None] = lambda key: key,
) -> dict[str, tuple[Path | None, Path | None]]:
    """Return image and mask by key, the path without extension; sorted, either may be missing."""
    found_images = _by_key(images, IMAGE_SUFFIXES, image_key)
    found_masks = _by_key(masks, frozenset({".png"}), mask_key)
    keys = sorted(found_images.keys() | found_masks.keys())
    return {key: (found_images.get(key), found_masks.get(key)) for key in keys}


def _by_key(root: Path, suffixes: Iterable[str], key_of: Callable[[str], str | None]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() not in suffixes or path.name.startswith("."):
            continue
        key = key_of(path.relative_to(root).with_suffix("").as_posix())
        if key is None:
            continue
        if key in found:
            raise FormatError(f"{path} and {found[key].name} differ in their extension only; which one is {key!r}?")
        found[key] = path
    return found


def _names(path: Path) -> list[str]:
    """Return the first word of every line of a split list (VOC's class lists have a second one)."""
    try:
        return [line.split()[0] for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: cannot read the list of images: {error}") from error


def _pair_lists(root: Path) -> dict[str, Path]:
    """Return the split lists whose first line holds two paths, by split."""
    found = {}
    for split in SPLITS:
        path = root / f"{split}.txt"
        if path.is_file():
            with path.open(encoding="utf-8", errors="replace") as lines:
                if len(lines.readline().split()) == 2:
                    found[split] = path
    return found


def _annotated_folders(root: Path) -> list[str]:
    return [split for split in SPLITS if (root / split).is_dir() and (root / f"{split}annot").is_dir()]


def _listed_pairs(root: Path, split: str, path: Path) -> Iterable[Entry]:
    """Yield the entries of a list of 'image mask' lines; their paths may start with folders of another machine."""
    seen: set[str] = set()
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: cannot read the list of images: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        words = line.split()
        where = f"{path}, line {number}"
        if len(words) != 2:
            raise FormatError(f"{where}: expected an image and a mask separated by a space, received {line!r:.80}")
        image, mask = (_within(root, word, where) for word in words)
        name = image.relative_to(root).as_posix()
        key = PurePosixPath(name).with_suffix("").as_posix().removeprefix(f"{split}/")
        if key in seen:
            raise FormatError(f"{where}: {words[0]} stands twice in the list")
        seen.add(key)
        yield Entry(key, name, image if image.is_file() else None, mask if mask.is_file() else None, split)


def _within(root: Path, listed: str, where: str) -> Path:
    """Return the file that a list names: the longest tail of its path that exists below ``root``."""
    parts = relative_path(listed.lstrip("/"), where).parts
    for start in range(len(parts)):
        path = root.joinpath(*parts[start:])
        if path.is_file():
            return path
    return root.joinpath(*parts[-2:])
