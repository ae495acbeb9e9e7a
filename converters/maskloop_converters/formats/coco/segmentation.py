"""The segmentation of annotations: polygons and run lengths to masks and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as pycoco

from ...codecs import coco_rle
from ...codecs.polygons import rings
from ...errors import CodecError, FormatError
from ...masks import RunList
from ...report import ErrorPolicy
from ...samples import Region

Counts = bytes | str | list[int]
# x, y, x, y: what has less encloses nothing.
_SMALLEST_POLYGON = 6


def has_mask(segmentation: Any) -> bool:
    """Return whether a segmentation says anything: an annotation may have a box or keypoints only."""
    if isinstance(segmentation, dict):
        return bool(segmentation)
    if not isinstance(segmentation, list):
        return segmentation is not None
    return any(not isinstance(piece, list) or len(piece) >= _SMALLEST_POLYGON for piece in segmentation)


def size_of(segmentation: Any) -> tuple[int, int] | None:
    """Return the (height, width) that run lengths state, None where they state none."""
    size = segmentation.get("size") if isinstance(segmentation, dict) else None
    if isinstance(size, list) and len(size) == 2 and all(isinstance(n, int) and n > 0 for n in size):
        return size[0], size[1]
    return None


def counts_of(segmentation: Any, height: int, width: int, where: str) -> tuple[Counts, int]:
    """Return the counts of a segmentation, and how many of its pieces enclose nothing.

    Counts of run lengths are as they are, of polygons those of their union.

    Args:
        segmentation: ``{"size": [height, width], "counts": ...}``, a list of polygons ``[x, y, x, y, ...]``, or one such
            polygon itself, as VIA writes it.
        height: of the image.
        width: of the image.
        where: file and record, for errors.
    """
    if isinstance(segmentation, dict):
        if segmentation.get("size") != [height, width]:
            size = segmentation.get("size")
            raise FormatError(f"{where}: the mask's size is {size!r:.80}, its image's is [{height}, {width}]")
        counts = segmentation.get("counts")
        if not isinstance(counts, str | list):
            raise FormatError(f"{where}: counts must be a text or a list of numbers, received {counts!r:.80}")
        return counts, 0
    if not isinstance(segmentation, list) or not segmentation:
        raise FormatError(f"{where}: it has no mask: expected polygons or run lengths, received {segmentation!r:.80}")
    if not any(isinstance(piece, list) for piece in segmentation):
        segmentation = [segmentation]
    pieces = [piece for piece in segmentation if not _encloses_nothing(piece)]
    polygons = [_polygon(points, height, width, where) for points in pieces or segmentation]
    union: bytes = pycoco.merge(pycoco.frPyObjects(polygons, height, width))["counts"]
    return union, len(segmentation) - len(pieces)


def polygon_counts(points: list[float], height: int, width: int, where: str) -> bytes:
    """Return the counts of one polygon, x, y, x, y, ... of three points or more."""
    counts: bytes = pycoco.frPyObjects([_polygon(points, height, width, where)], height, width)[0]["counts"]
    return counts


def masks_of(counts: list[Counts], height: int, width: int) -> RunList:
    """Return the masks of all counts, in C order."""
    return coco_rle.decode(counts, height, width).reordered("C")


def decoded(
    found: Sequence[tuple[str, Region, Counts]], size: tuple[int, int], policy: ErrorPolicy, kind: str
) -> tuple[list[Region], RunList]:
    """Return the regions of an image and their masks, decoded all at once; what is damaged goes to the policy.

    Args:
        found: of each region its file and record, for the error, what it is, and its counts.
        size: (height, width).
        policy: decides what is done with counts that are no mask of this size.
        kind: what these are counted as.
    """
    try:
        masks = masks_of([counts for _, _, counts in found], *size)
    except CodecError:
        good = []
        for where, region, counts in found:
            with policy.record(kind):
                check_counts(counts, *size, where)
                good.append((where, region, counts))
        found = good
        masks = masks_of([counts for _, _, counts in found], *size)
    return [region for _, region, _ in found], masks


def check_counts(counts: Counts, height: int, width: int, where: str) -> None:
    """Raise FormatError if one annotation's counts cannot be decoded."""
    try:
        coco_rle.decode([counts], height, width)
    except CodecError as error:
        raise FormatError(f"{where}: {error}") from error


def run_lengths(masks: RunList, *, compressed: bool) -> list[dict[str, Any]]:
    """Return the segmentation of every mask as JSON values."""
    size = [masks.height, masks.width]
    if compressed:
        return [{"size": size, "counts": counts.decode("ascii")} for counts in coco_rle.encode(masks)]
    return [{"size": size, "counts": counts} for counts in coco_rle.to_uncompressed(masks)]


def outlines_of(mask: RunList) -> list[list[int]] | None:
    """Return polygons ``[x, y, x, y, ...]`` that are one mask to the pixel; None where no list of them is."""
    ((x, y, width, height),) = mask.boxes().tolist()
    if not width:
        return None
    found = rings(mask.mask(0)[y : y + height, x : x + width], diagonal=False)
    if any(ring.bridge is not None for ring in found):
        return None
    polygons: list[list[int]] = [(ring.corners + np.array([x, y])).ravel().tolist() for ring in found]
    counts, _ = counts_of(polygons, mask.height, mask.width, "")
    return polygons if masks_of([counts], mask.height, mask.width) == mask else None


def _encloses_nothing(piece: Any) -> bool:
    return isinstance(piece, list) and len(piece) < _SMALLEST_POLYGON and len(piece) % 2 == 0


def _polygon(points: Any, height: int, width: int, where: str) -> list[float]:
    """Return a polygon, checked: pycocotools takes four numbers for a box and walks to far points pixel by pixel."""
    if not isinstance(points, list) or len(points) < _SMALLEST_POLYGON or len(points) % 2:
        raise FormatError(f"{where}: a polygon is a list of at least 3 points x, y, received {points!r:.80}")
    try:
        values = np.array(points, np.float64)
    except (TypeError, ValueError, OverflowError):
        values = np.full(2, np.nan)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise FormatError(f"{where}: a polygon's coordinates must be finite numbers, received {points!r:.80}")
    pairs, limits = values.reshape(-1, 2), np.array([width, height])
    if (pairs.min(axis=0) < -limits).any() or (pairs.max(axis=0) > 2 * limits).any():
        far = pairs[(pairs < -limits) | (pairs > 2 * limits)][0]
        raise FormatError(f"{where}: the coordinate {far:g} of a polygon is far outside its {width} x {height} image")
    checked: list[float] = values.tolist()
    return checked
