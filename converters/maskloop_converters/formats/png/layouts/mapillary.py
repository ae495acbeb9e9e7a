"""Mapillary Vistas: training/ and validation/, each with images/ and the masks of release 2.0 or 1.2."""

from __future__ import annotations

from pathlib import Path

from ..entries import Entry, Layout, holds_masks, pairs

_PARTS = ("training", "validation", "testing")
_RELEASES = ("v2.0", "v1.2", "")
_DIVISOR = 256


def missing(root: Path) -> str | None:
    """Return None if a folder has this layout, else what is missing."""
    return None if root.is_dir() and _parts(root) else "mapillary needs training/images/ and training/v2.0/labels/"


def find(root: Path) -> Layout:
    """Return the images and masks: those of the newest release that all parts with masks have."""
    parts = _parts(root)
    entries, left_out = [], []
    for part in _PARTS:
        if part in parts:
            images, masks = root / part / "images", parts[part]
            for key, pair in pairs(images, masks).items():
                file = masks.parent / "instances" / f"{key}.png"
                name = pair.image.relative_to(images).as_posix() if pair.image else f"{key}.jpg"
                objects = file if file.is_file() else None
                entries.append(Entry(key, name, pair.image, pair.mask, part, objects, pair.reason))
        elif (root / part).is_dir():
            left_out.append(("parts without masks", part))
    return Layout("mapillary", entries, divisor=_DIVISOR, left_out=left_out)


def _parts(root: Path) -> dict[str, Path]:
    """Return the folder of label masks of each part."""
    for release in _RELEASES:
        folders = {part: root / part / release / "labels" for part in _PARTS if (root / part / "images").is_dir()}
        is_vistas = release or any((path.parent / "instances").is_dir() for path in folders.values())
        if is_vistas and any(holds_masks(path) for path in folders.values()):
            return {part: path for part, path in folders.items() if holds_masks(path)}
    return {}
