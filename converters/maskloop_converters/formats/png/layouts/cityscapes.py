"""Cityscapes' layout: leftImg8bit/ beside gtFine/ (or gtCoarse/), with the label ids, the train ids or the colours."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from ...known_labels import CITYSCAPES, CITYSCAPES_TRAIN
from ..entries import Entry, Layout, pairs

_MASKS = ("gtFine", "gtCoarse")
# What tells more comes first.
_KINDS = (("labelIds", CITYSCAPES), ("labelTrainIds", CITYSCAPES_TRAIN), ("color", CITYSCAPES))


def missing(root: Path) -> str | None:
    """Return None if a folder has this layout, else what is missing."""
    if any((root / name).is_dir() for name in _MASKS):
        return None
    return "cityscapes needs gtFine/ (and leftImg8bit/)"


def find(root: Path) -> Layout:
    """Return the images and masks."""
    masks = next(root / name for name in _MASKS if (root / name).is_dir())
    kind, known = next((kind for kind in _KINDS if any(masks.rglob(f"*_{masks.name}_{kind[0]}.png"))), _KINDS[0])
    tail = f"_{masks.name}_{kind}"
    found = pairs(
        root / "leftImg8bit",
        masks,
        image_key=lambda key: key.removesuffix("_leftImg8bit"),
        mask_key=lambda key: key.removesuffix(tail) if key.endswith(tail) else None,
    )
    entries, left_out = [], []
    for key, pair in found.items():
        if pair.mask is None and (others := sorted(masks.glob(f"{key}_{masks.name}_*"))):
            kinds = ", ".join(path.name.rpartition("_")[2] for path in others)
            left_out.append((f"images without *_{kind}.png", f"{key}: there is {kinds}"))
            continue
        objects = masks / f"{key}_{masks.name}_instanceIds.png"
        split = PurePosixPath(key).parts[0] if "/" in key else None
        instances = objects if objects.is_file() else None
        entries.append(Entry(key, f"{key}_leftImg8bit.png", pair.image, pair.mask, split, instances, pair.reason))
    images = (root / "leftImg8bit").is_dir()
    return Layout("cityscapes", entries, (("Cityscapes", known),), images, left_out=left_out)
