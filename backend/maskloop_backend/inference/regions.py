"""Label map and confidence -> regions: what an annotator sees as one mask each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from maskloop_converters.errors import DataError
from maskloop_converters.masks import RunList

from .prediction import Prediction

# Of a pass over an image: numpy's own temporaries take 16 bytes a pixel.
_STRIP_PIXELS = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """The K regions of one predicted image, by class, then from top to bottom. They do not overlap.

    Attributes:
        class_index: int64 (K,), the channel of each: index into ``labels.classes``.
        masks: K masks in C order, of the image's height and width; none is empty.
        scores: float64 (K,), mean confidence of each region's pixels, 0..1.
    """

    class_index: NDArray[np.int64]
    masks: RunList
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        """Return K."""
        return len(self.masks)


def extract(prediction: Prediction, *, per: Literal["class", "component"] = "class", min_area: int = 1) -> Regions:
    """Return the regions of a prediction.

    Args:
        prediction: label map and confidence of one image.
        per: 'class' makes one region of all pixels of a class, 'component' one of every connected part of it (pixels
            that touch at a side or a corner belong together).
        min_area: regions of fewer pixels than this are left out, >= 1.
    """
    if min_area < 1:
        raise DataError(f"min_area is a number of pixels >= 1, got {min_area}")
    labels = prediction.label_map
    height, width = labels.shape
    numbers: NDArray[Any]
    if per == "component":
        numbers, classes = _components(labels)
    elif per == "class":
        numbers, classes = labels, np.arange(256)
    else:
        raise DataError(f"regions are made per 'class' or per 'component', not per {per!r}")
    areas = np.zeros(classes.size, np.int64)
    sums = np.zeros(classes.size)
    for rows in _strips(numbers.shape):
        flat = numbers[rows].ravel()
        areas += np.bincount(flat, minlength=classes.size)
        # sums of integers up to 2**53 are exact in float64
        sums += np.bincount(flat, weights=prediction.confidence[rows].ravel(), minlength=classes.size)
    kept = np.flatnonzero(areas >= min_area)
    if not kept.size:
        return Regions(np.zeros(0, np.int64), RunList.empty(height, width), np.zeros(0))
    # what is left out becomes number 0, which is no region; the kept ones become 1..K
    renumber = np.zeros(classes.size, np.uint8 if kept.size < 256 else np.int32)
    renumber[kept] = np.arange(1, kept.size + 1)
    ids, masks = RunList.from_label_map(mapped(renumber, numbers))
    if ids[0] == 0:
        masks = masks.select(np.arange(1, len(masks)))
    return Regions(classes[kept].astype(np.int64), masks, sums[kept] / (255.0 * areas[kept]))


def mapped(table: NDArray[Any], numbers: NDArray[Any]) -> NDArray[Any]:
    """Return ``table[numbers]`` for a map (H, W) of numbers, without the eight bytes a pixel that numpy takes for it."""
    out = np.empty(numbers.shape, table.dtype)
    for rows in _strips(numbers.shape):
        out[rows] = table[numbers[rows]]
    return out


def _strips(shape: tuple[int, ...]) -> Iterator[slice]:
    """Yield slices of rows that hold about a million pixels each."""
    height, width = shape[:2]
    step = max(1, _STRIP_PIXELS // max(1, width))
    for top in range(0, height, step):
        yield slice(top, top + step)


def _components(labels: NDArray[np.uint8]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return a map (H, W) of component numbers 0..N-1, and each component's class: int64 (N,)."""
    numbers = np.zeros(labels.shape, np.int32)
    classes: list[NDArray[np.int64]] = []
    total = 0
    for index in np.unique(labels).tolist():
        part, count = ndimage.label(labels == index, structure=np.ones((3, 3), int))
        np.add(numbers, part + (total - 1), out=numbers, where=part > 0)
        classes.append(np.full(count, index, np.int64))
        total += count
    return numbers, np.concatenate(classes)
