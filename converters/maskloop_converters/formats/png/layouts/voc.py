"""PASCAL VOC's layout, with its own classes or others: as Datumaro, CVAT and labelme write it, images or not."""

from __future__ import annotations

from pathlib import Path

from ...known_labels import VOC
from ..entries import Entry, Layout, Membership, holds_masks, key_of, pairs

# labelme keeps NumPy arrays in SegmentationClass and has had the masks beside.
_CLASSES = ("SegmentationClass", "SegmentationClassPNG", "SegmentationClassAug")
_OBJECTS = ("SegmentationObject", "SegmentationObjectPNG")


def missing(root: Path) -> str | None:
    """Return None if a folder has this layout, else what is missing."""
    if not any((root / name).is_dir() for name in _CLASSES):
        return "voc needs SegmentationClass/"
    if not any(holds_masks(root / name) for name in _CLASSES):
        return "voc needs masks in SegmentationClass/"
    return None


def find(root: Path) -> Layout:
    """Return the images and masks."""
    masks = next(root / name for name in _CLASSES if holds_masks(root / name))
    images = root / "JPEGImages"
    lists_ = root / "ImageSets" / "Segmentation"
    lists = {path.stem: path for path in sorted(lists_.glob("*.txt"), key=_order)} if lists_.is_dir() else {}
    found = pairs(images, masks)
    names = {key: key for key in found} | {p.image.name: k for k, p in found.items() if p.image is not None}
    member = Membership.of(lists, names)
    entries, left_out = [], []
    for key, pair in found.items():
        if pair.mask is None and not pair.reason:
            # Most of VOC's images have boxes only, and those of its test part nothing: no fault.
            left_out.append(("images without a mask", f"no mask for {pair.image.name if pair.image else key}"))
            continue
        name = pair.image.relative_to(images).as_posix() if pair.image else f"{key}.jpg"
        objects = next((path for folder in _OBJECTS if (path := root / folder / f"{key}.png").is_file()), None)
        entries.append(Entry(key, name, pair.image, pair.mask, member.parts.get(key), objects, pair.reason))
    for key, split in member.parts.items():
        if key not in found:
            reason = f"{lists[split]} names it, and there is neither an image nor a mask of that name"
            entries.append(Entry(key_of(key), key, None, None, split, None, reason))
    known = (("PASCAL VOC", VOC),)
    return Layout("voc", entries, known, images=images.is_dir(), left_out=left_out, notes=member.notes)


def _order(path: Path) -> tuple[int, str]:
    usual = ("train", "val", "test")
    return (usual.index(path.stem) if path.stem in usual else len(usual), path.stem)
