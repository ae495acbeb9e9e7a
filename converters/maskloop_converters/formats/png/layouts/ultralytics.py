"""Ultralytics' semantic segmentation: a data.yaml with names and masks_dir, which stands for ``images`` in the images' paths.

data.yaml               train: images/train; val: images/val; masks_dir: masks; names: {0: road}; 255 is ignored
images/train/a.jpg
masks/train/a.png
"""

from __future__ import annotations

from pathlib import Path

from ....errors import FormatError
from ... import data_yaml
from ..entries import Entry, Layout, pairs

_IGNORED = 255


def missing(root: Path) -> str | None:
    """Return None if a folder has this layout, else what is missing."""
    return None if root.is_dir() and _folders(root) else "ultralytics needs a data.yaml with names and masks_dir"


def find(root: Path) -> Layout:
    """Return the images and masks."""
    entries, left_out = [], []
    for part, folders in _folders(root).items():
        found: list[Entry] = []
        for images, masks in folders:
            for key, pair in pairs(images, masks).items():
                name = pair.image.relative_to(images).as_posix() if pair.image else f"{key}.jpg"
                found.append(Entry(key, name, pair.image, pair.mask, part, None, pair.reason))
        if found and not any(entry.mask for entry in found):
            left_out.append(("parts without masks", str(part)))
        else:
            entries += found
    return Layout("ultralytics", entries, left_out=left_out, ignored=_IGNORED)


def _folders(root: Path) -> dict[str | None, list[tuple[Path, Path]]]:
    """Return the folders of images and masks of each part; empty where a folder has another layout."""
    try:
        config = data_yaml.config_in(root)
        entries = data_yaml.read(config) if config else {}
    except FormatError:
        return {}
    called = entries.get("masks_dir")
    if not isinstance(called, str) or not called or "/" in called or called in (".", ".."):
        return {}
    found: dict[str | None, list[tuple[Path, Path]]] = {}
    for part, places in data_yaml.image_places(root, entries).items():
        both = [(place, masks) for place in places if (masks := data_yaml.replaced(place, called))]
        if any(place.is_dir() or masks.is_dir() for place, masks in both):
            found[part] = both
    return found
