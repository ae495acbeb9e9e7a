"""Cityscapes' layout: leftImg8bit/ beside gtFine/ (or gtCoarse/), with any of the kinds of files that it has of an image."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from ...known_labels import CITYSCAPES, CITYSCAPES_TRAIN
from ..entries import Entry, Layout, Pair, pairs

_MASKS = ("gtFine", "gtCoarse")
# What tells more comes first: not all classes have a colour of their own.
_KINDS = ("labelIds.png", "instanceIds.png", "polygons.json", "color.png")
_TRAINED = ("labelTrainIds.png",)
# These say class and object by themselves.
_COMBINED = ("instanceIds.png", "polygons.json")


def missing(root: Path) -> str | None:
    """Return None if a folder has this layout, else what is missing."""
    if any((root / name).is_dir() for name in _MASKS):
        return None
    return "cityscapes needs gtFine/ (and leftImg8bit/)"


def find(root: Path) -> Layout:
    """Return the images and masks: of each image the kind that tells most. All kinds but the train ids have the same labels."""
    masks = next(root / name for name in _MASKS if (root / name).is_dir())
    names = {path.name.rpartition(f"_{masks.name}_")[2] for path in masks.rglob(f"*_{masks.name}_*")}
    is_trained = _TRAINED[0] in names and _KINDS[0] not in names
    kinds = _TRAINED if is_trained else [kind for kind in _KINDS if kind in names] or _KINDS[:1]
    found: dict[str, tuple[Pair, str]] = {}
    for kind in kinds:
        for key, pair in _of_kind(root / "leftImg8bit", masks, kind).items():
            if key not in found or (found[key][0].mask is None and pair.mask is not None):
                found[key] = pair, kind
        if found and all(pair.mask is not None and pair.image is not None for pair, _ in found.values()):
            break
    entries, left_out = [], []
    for key, (pair, kind) in sorted(found.items()):
        if pair.mask is None and (others := sorted(masks.glob(f"{key}_{masks.name}_*"))):
            there = ", ".join(path.name.rpartition("_")[2] for path in others)
            left_out.append((f"images without *_{kind}", f"{key}: there is {there}"))
            continue
        objects = masks / f"{key}_{masks.name}_instanceIds.png"
        split = PurePosixPath(key).parts[0] if "/" in key else None
        name = f"{key}_leftImg8bit.png"
        if kind in _COMBINED:
            entries.append(Entry(key, name, pair.image, None, split, None, pair.reason, pair.mask))
        else:
            instances = objects if objects.is_file() else None
            entries.append(Entry(key, name, pair.image, pair.mask, split, instances, pair.reason))
    images = (root / "leftImg8bit").is_dir()
    known = CITYSCAPES_TRAIN if is_trained else CITYSCAPES
    return Layout("cityscapes", entries, (("Cityscapes", known),), images, left_out=left_out)


def _of_kind(images: Path, masks: Path, kind: str) -> dict[str, Pair]:
    """Return all images, and the masks of a kind."""
    file = PurePosixPath(kind)
    tail = f"_{masks.name}_{file.stem}"
    return pairs(
        images,
        masks,
        image_key=lambda key: key.removesuffix("_leftImg8bit"),
        mask_key=lambda key: key.removesuffix(tail) if key.endswith(tail) else None,
        suffixes=(file.suffix,),
    )
