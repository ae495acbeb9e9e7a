"""Cityscapes' ``*_polygons.json`` to the masks that its own tool (cityscapesScripts) draws of them.

Objects are drawn in their order, each over those before it, the outline's pixels included; deleted ones are not. Objects of
some classes have numbers, which count from 0 in each class, in the order of the file; of a group ('cargroup') nobody could
tell how many they are: its pixels are of the class, and of no object.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ...errors import FormatError
from ...report import Tally
from ...samples import Label, LabelSet
from ..json_files import json_object
from ..known_labels import CITYSCAPES_NOT_DRAWN, CITYSCAPES_THINGS
from ..records import image_size

_GROUP = "group"
_FARTHEST = 1e6
# Pillow looks at every edge for every row.
_MOST_STEPS = 1 << 28
_NOT_DRAWN = "polygons that Cityscapes draws into no mask"


def painted(
    path: Path, size: tuple[int, int] | None, where: str, labels: LabelSet, notes: Tally
) -> tuple[NDArray[np.uint8] | NDArray[np.uint32], list[tuple[int, int]]]:
    """Return which of a file's polygons each pixel shows, and of each of them its label and object.

    uint8 (H, W), or uint32 where that is too small, an index into the list of (label id, number of the object from 1, or 0
    for none); the first of the list is what no polygon covers.

    Args:
        path: the file.
        size: (height, width) that it must have; None for any.
        where: the record, for errors.
        labels: the classes, found by name. Those that say whether they are things decide what has numbers, else
            Cityscapes does.
        notes: gets what is not drawn.

    Raises:
        FormatError: a damaged file, another size, a label that is none, a polygon that is none.
    """
    document = json_object(path)
    where = f"{where}: {path}"
    height, width = image_size(document.get("imgHeight"), document.get("imgWidth"), where)
    if size is not None and (height, width) != size:
        raise FormatError(
            f"{where}: the polygons are on {width} x {height} pixels, the image has {size[1]} x {size[0]}"
        )
    objects = document.get("objects")
    if not isinstance(objects, list) or not all(isinstance(record, dict) for record in objects):
        raise FormatError(f"{where}: objects must be a list of objects, received {objects!r:.80}")
    by_name = {label.name: label for label in labels.labels}
    canvas = Image.new("L" if len(objects) < 256 else "I", (width, height))
    draw = ImageDraw.Draw(canvas)
    keys = [(labels.fill_id, 0)]
    counted: Counter[str] = Counter()
    steps = 0
    for index, record in enumerate(objects):
        place = f"{where}, object {index}"
        if record.get("deleted"):
            continue
        label, is_group = _label_of(record.get("label"), by_name, place)
        if label is None:
            notes.add(_NOT_DRAWN, place)
            continue
        points = _outline(record.get("polygon"), place)
        steps += len(points) * min(height, math.ceil(np.ptp(points[:, 1])) + 1)
        if steps > _MOST_STEPS:
            raise FormatError(f"{place}: its points, after those before it, are more than an image's polygons have")
        number = 0
        if not is_group and (label.name in CITYSCAPES_THINGS if label.thing is None else label.thing):
            counted[label.name] += 1
            number = counted[label.name]
        draw.polygon(points.ravel().tolist(), fill=len(keys))
        keys.append((label.id, number))
    shown = np.asarray(canvas)
    return (shown if shown.dtype == np.uint8 else shown.astype(np.uint32)), keys


def _label_of(name: Any, by_name: dict[str, Label], where: str) -> tuple[Label | None, bool]:
    """Return the label that a name is of, None where it is not drawn; and whether it is a group of them."""
    if not isinstance(name, str):
        raise FormatError(f"{where}: label must be a text, received {name!r:.80}")
    if name in by_name:
        return by_name[name], False
    one = name.removesuffix(_GROUP)
    if one in by_name:
        return by_name[one], True
    if one in CITYSCAPES_NOT_DRAWN:
        return None, False
    raise FormatError(
        f"{where}: no label is named {name!r:.80}; there are: {', '.join(by_name)}; give your own with --labels (labels=)"
    )


def _outline(polygon: Any, where: str) -> NDArray[np.float64]:
    """Return the points of a polygon: float64 (N, 2), x and y of pixels."""
    try:
        points = np.array(polygon, np.float64)
    except (TypeError, ValueError, OverflowError):
        points = np.zeros(0)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise FormatError(f"{where}: a polygon is pairs of numbers [x, y], received {polygon!r:.80}")
    if len(points) < 3:
        raise FormatError(f"{where}: a polygon has three points or more, it has {len(points)}")
    if np.abs(points).max() > _FARTHEST:
        raise FormatError(f"{where}: the coordinate {np.abs(points).max():g} is far outside any image")
    return points
