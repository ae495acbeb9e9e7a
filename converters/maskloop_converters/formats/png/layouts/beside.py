"""Images and masks in one folder, told apart by their names: Roboflow's semantic masks, DeepGlobe."""

from __future__ import annotations

import re
from pathlib import Path

from ..entries import Entry, Layout, pairs
from ..mask_files import MASK_SUFFIXES

_MASK = re.compile(r"[-_](?:masks?|seg|label|labels|gt|L)$", re.I)


def missing(root: Path) -> str | None:
    """Return None if a folder has this layout, else what is missing."""
    if root.is_dir():
        files = [path for path in root.iterdir() if path.is_file()]
        masks = {_MASK.sub("", path.stem) for path in files if _is_mask(path)}
        bodies = {path.stem for path in files if not _is_mask(path) and path.suffix.lower() in _IMAGES}
        if masks & (bodies | {re.sub(r"_(?:sat|image|img)$", "", body) for body in bodies}):
            return None
    return "one folder of both needs a.jpg beside a_mask.png"


def find(root: Path) -> Layout:
    """Return the images and masks."""
    found = pairs(
        root,
        root,
        image_key=lambda key: None if "/" in key or _MASK.search(key) else key,
        mask_key=lambda key: key if "/" not in key and _MASK.search(key) else None,
    )
    entries = [
        Entry(key, pair.image.name if pair.image else key, pair.image, pair.mask, None, None, pair.reason)
        for key, pair in found.items()
    ]
    return Layout("beside", entries)


_IMAGES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})


def _is_mask(path: Path) -> bool:
    return path.suffix.lower() in MASK_SUFFIXES and _MASK.search(path.stem) is not None
