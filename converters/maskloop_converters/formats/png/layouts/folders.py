"""A folder of images beside a folder of masks: ours, mmsegmentation's, ADE20K's, and whatever people call the two."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from ...known_labels import CITYSCAPES
from ..entries import PARTS, Entry, Layout, Membership, holds_masks, key_of, pairs

_IMAGES = ("images", "imgs", "img", "image", "img_dir", "image_2", "pictures", "JPEGImages", "Images", "input", "data")
_MASKS = (
    *("masks", "mask", "labels", "label", "annotations", "annotation", "ann_dir", "semantic", "gt", "ground_truth"),
    *("groundtruth", "segmentation", "segmentations", "labelmaps", "label_maps", "Masks", "Labels", "targets"),
)
_KITTI_DIVISOR = 256
# Other formats have these too, for JSON and text: only files that may be masks make them masks.
_SURE = ("masks", "mask")


def missing(root: Path) -> str | None:
    """Return None if a folder has this layout, else what is missing."""
    return (
        None if _folders(root) else "folders needs images/ and masks/ (or labels/, annotations/, ann_dir/ with masks)"
    )


def find(root: Path) -> Layout:
    """Return the images and masks."""
    images, masks = _folders(root) or (root / "images", root / "masks")
    found = pairs(images, masks)
    lists = {part: path for part in PARTS if (path := root / f"{part}.txt").is_file()}
    names = {key: key for key in found}
    for key, pair in found.items():
        for file, folder in ((pair.image, images), (pair.mask, masks)):
            if file is not None:
                names.setdefault(file.relative_to(folder).as_posix(), key)
                names.setdefault(file.relative_to(root).as_posix(), key)
    member = Membership.of(lists, names)
    entries = []
    for key, pair in found.items():
        file = pair.image or pair.mask or root / key
        name = file.relative_to(images if pair.image else masks).as_posix()
        first = PurePosixPath(key).parts[0]
        split = member.parts.get(key) or (first if not lists and first in PARTS and "/" in key else None)
        objects = root / "instance" / f"{key}.png" if masks.name == "semantic" else None
        instances = objects if objects is not None and objects.is_file() else None
        entries.append(Entry(key, name, pair.image, pair.mask, split, instances, pair.reason))
    for key, split in member.parts.items():
        if key not in found:
            reason = f"{lists[split]} names it, and there is neither an image nor a mask of that name"
            entries.append(Entry(key_of(key), key, None, None, split, None, reason))
    known = (("Cityscapes", CITYSCAPES),) if masks.name == "semantic" else ()
    return Layout("folders", entries, known, images.is_dir(), divisor=_KITTI_DIVISOR, first=1, notes=member.notes)


def _folders(root: Path) -> tuple[Path, Path] | None:
    """Return the folders of images and masks."""
    images = next((root / name for name in _IMAGES if (root / name).is_dir()), None)
    sure = next((root / name for name in _SURE if (root / name).is_dir()), None)
    if images is None:
        # CVAT leaves images out unless it is asked for them.
        alone = next((root / name for name in (*_SURE, "semantic") if _are_masks(root / name)), None)
        return None if alone is None else (root / "images", alone)
    masks = sure or next((root / name for name in _MASKS if _are_masks(root / name)), None)
    return None if masks is None else (images, masks)


def _are_masks(folder: Path) -> bool:
    """Return whether a folder holds masks, and no documents of COCO or YOLO that PNGs may stand beside."""
    return holds_masks(folder) and not any(next(folder.glob(kind), None) for kind in ("*.json", "*.txt"))
