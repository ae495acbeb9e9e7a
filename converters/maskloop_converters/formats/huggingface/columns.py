"""Which columns are the image, the mask and the names of the classes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ...errors import FormatError
from .library import library

IMAGE, MASK, CLASSES, RECORD = "image", "mask", "classes", "maskloop"
_IMAGES = (IMAGE, "img", "picture", "photo", "pixel_values", "input_image", "rgb")
_MASKS = (
    *(MASK, "masks", "annotation", "annotations", "label", "labels", "segmentation_mask", "semantic_mask"),
    *(
        "semantic_segmentation",
        "segmentation",
        "seg",
        "seg_map",
        "label_map",
        "semantic",
        "ground_truth",
        "gt",
        "target",
    ),
)


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns that are read.

    Attributes:
        image: of the picture.
        mask: of its label map.
        record: whether there is one of ours beside them.
        names: of the classes, where a list of ``ClassLabel`` says them; else empty.
        values: other columns of plain values; the names of a ``ClassLabel``'s numbers by column.
        left_out: other columns.
    """

    image: str
    mask: str
    record: bool
    names: tuple[str, ...]
    values: dict[str, tuple[str, ...]]
    left_out: tuple[str, ...]


def choose(features: Any, where: str, image: str | None, mask: str | None) -> Columns:
    """Return which columns are which.

    Args:
        features: the library's, by column.
        where: the file, for errors.
        image: the column of the pictures, None to find out.
        mask: that of the label maps, likewise.

    Raises:
        FormatError: it cannot be told; the message lists the columns.
    """
    if not isinstance(features, dict):
        raise FormatError(f"{where}: it says no columns")
    pictures = [name for name, feature in features.items() if _is_picture(feature)]
    image = _one(pictures, image, _IMAGES, "image", where, set() if mask is None else {mask})
    mask = _one(pictures, mask, _MASKS, "mask", where, {image})
    datasets = library()
    named = [_class_names(f.feature, where) for f in features.values() if _is_list(f)]
    named = [names for names in named if names]
    names = named[0] if len(named) == 1 else ()
    others = [name for name in features if name not in (image, mask, CLASSES if names else "", RECORD)]
    values = {}
    for name in others:
        if isinstance(features[name], datasets.ClassLabel):
            values[name] = _class_names(features[name], where)
        elif isinstance(features[name], datasets.Value):
            values[name] = ()
    return Columns(
        image,
        mask,
        isinstance(features.get(RECORD), datasets.Value),
        names,
        values,
        tuple(name for name in others if name not in values),
    )


def _class_names(feature: Any, where: str) -> tuple[str, ...]:
    """Return the names of a ``ClassLabel``, empty where a feature is none."""
    if not isinstance(feature, library().ClassLabel):
        return ()
    names = feature.names or ()
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise FormatError(f"{where}: the names of a ClassLabel must be texts, received {names!r:.80}")
    return tuple(names)


def _is_list(feature: Any) -> bool:
    return hasattr(feature, "feature") and not isinstance(feature, dict)


def _is_picture(feature: Any) -> bool:
    """Return whether a column may hold encoded pictures, whatever wrote it."""
    datasets = library()
    if isinstance(feature, dict):  # Parquet that another library wrote
        return "bytes" in feature
    return isinstance(feature, datasets.Image) or (isinstance(feature, datasets.Value) and "binary" in feature.dtype)


def _one(pictures: list[str], given: str | None, usual: tuple[str, ...], what: str, where: str, taken: set[str]) -> str:
    if given is not None:
        if given not in pictures:
            raise FormatError(
                f"{where}: no column {given!r} holds pictures; there are: {', '.join(pictures) or 'none'}"
            )
        return given
    free = [name for name in pictures if name not in taken]
    lowered = {name.lower(): name for name in reversed(free)}
    found = [lowered[name] for name in usual if name in lowered]
    if found:
        return found[0]
    if len(free) == 1 and taken:
        return free[0]
    raise FormatError(
        f"{where}: cannot tell which column is the {what}; of pictures there are: {', '.join(pictures) or 'none'}; say "
        f"which with --{what}-column ({what}_column=)"
    )


def plain_values(row: dict[str, Any], columns: Columns) -> dict[str, Any]:
    """Return the values of other columns that JSON has too; classes by their names."""
    found: dict[str, Any] = {}
    for name, names in columns.values.items():
        value = row.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
            found[name] = names[value]
        elif isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
            found[name] = value
    return found
