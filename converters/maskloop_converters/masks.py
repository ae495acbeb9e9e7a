"""Run lists: the one in-memory form of masks that every format reads into and writes from.

A run list holds the K binary masks of one image as alternating run lengths, the convention of COCO's run-length
encoding (Lin et al. 2014, cocoapi ``maskApi.c``): every row starts with a run of zeros, which may be 0 long, and no row
ends with a run of zero length. Unlike COCO's, runs go along the rows of the image (C order): that is how PNG and Label
Studio store masks; COCO's column-major order (F) is a conversion at the edge, :meth:`RunList.reordered`.

Rows may overlap; a row may be empty. A label map (one id a pixel) is a view: :meth:`RunList.to_label_map`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from . import _runs
from .errors import DataError

Order = Literal["C", "F"]


@dataclass(frozen=True, slots=True, eq=False)
class RunList:
    """K binary masks of height x width pixels, as alternating run lengths in one flat array (CSR).

    Attributes:
        height: of every mask, in pixels, >= 1.
        width: of every mask, in pixels, >= 1.
        counts: int64 (N,), run lengths in pixels; row k is ``counts[offsets[k]:offsets[k + 1]]``, sums to height *
            width, starts with a run of zeros (0 allowed there and nowhere else).
        offsets: int64 (K + 1,), from 0 to N, ascending.
        order: 'C' when runs go along rows (the canonical form), 'F' along columns (COCO).
    """

    height: int
    width: int
    counts: NDArray[np.int64]
    offsets: NDArray[np.int64]
    order: Order = "C"

    def __len__(self) -> int:
        """Return K, the number of masks."""
        return self.offsets.size - 1

    @classmethod
    def empty(cls, height: int, width: int, order: Order = "C") -> RunList:
        """Return a run list without masks (K = 0)."""
        return cls(height, width, np.zeros(0, np.int64), np.zeros(1, np.int64), order)

    @classmethod
    def from_label_map(cls, label_map: NDArray[Any], *, order: Order = "C") -> tuple[NDArray[Any], RunList]:
        """Return the ids present in a label map, ascending, and one mask an id.

        One pass over the pixels whatever the number of ids.

        Args:
            label_map: (H, W) of bool or an integer type.
            order: of the runs that come back.

        Raises:
            DataError: not two-dimensional, empty, or of another type.
        """
        pixels = plain_label_map(label_map)
        ids, *runs = _runs.label_map_runs(pixels, order)
        counts, offsets = _runs.trimmed(*runs)
        return ids.astype(label_map.dtype), cls(pixels.shape[0], pixels.shape[1], counts, offsets, order)

    @classmethod
    def from_masks(cls, masks: Iterable[NDArray[Any]], *, height: int, width: int, order: Order = "C") -> RunList:
        """Return the run list of K boolean (or 0 / non-zero) arrays of shape (height, width).

        Raises:
            DataError: a mask of another shape.
        """
        _require_shape((height, width))
        parts: list[_runs.Runs] = []
        for mask in masks:
            if mask.shape != (height, width):
                raise DataError(f"mask {len(parts)} has shape {mask.shape}, expected ({height}, {width})")
            parts.append(_runs.mask_runs(np.ascontiguousarray(mask, dtype=bool), order))
        if not parts:
            return cls.empty(height, width, order)
        return cls(height, width, *_runs.joined(parts), order)

    @classmethod
    def from_rows(cls, rows: Sequence[NDArray[Any]], *, height: int, width: int, order: Order = "C") -> RunList:
        """Return the run list of K arrays of run lengths, each as :attr:`counts` describes; they are checked."""
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(r) for r in rows], out=offsets[1:])
        counts = np.concatenate(rows).astype(np.int64) if len(rows) else np.zeros(0, np.int64)
        return cls(height, width, counts, offsets, order).validate()

    @classmethod
    def from_intervals(
        cls,
        starts: NDArray[Any],
        ends: NDArray[Any],
        rows: NDArray[Any],
        *,
        count: int,
        height: int,
        width: int,
        order: Order = "C",
    ) -> RunList:
        """Return ``count`` masks, each the union of half-open pixel ranges; they may come unsorted and overlap.

        Args:
            starts: int (N,), first pixel of each range, in the given order of pixels.
            ends: int (N,), the pixel after its last one; a range that is empty adds nothing.
            rows: int (N,), the mask it belongs to, 0..count - 1.
            count: K, how many masks come back.
            height: of the masks, in pixels.
            width: of the masks, in pixels.
            order: which way pixels are numbered.

        Raises:
            DataError: a range or a row out of bounds.
        """
        n = _require_shape((height, width))
        s, e, r = (np.asarray(a, np.int64) for a in (starts, ends, rows))
        if s.size and (min(int(s.min()), int(e.min())) < 0 or max(int(s.max()), int(e.max())) > n):
            raise DataError(f"a range of pixels lies outside 0..{n} of a {height} x {width} mask")
        if r.size and not 0 <= int(r.min()) <= int(r.max()) < count:
            raise DataError(f"a range belongs to mask {int(r.max())}, but there are {count}")
        if count == 0:
            return cls.empty(height, width, order)
        return cls(height, width, *_runs.from_intervals(s, e, r, count, n), order)

    def validate(self) -> RunList:
        """Return self after checking every promise of the attributes.

        The constructor does not check, so that steps between valid run lists cost nothing; call this where runs come
        from outside.

        Raises:
            DataError: names the first mask that is wrong, and how.
        """
        n = _require_shape((self.height, self.width))
        if self.offsets[0] != 0 or self.offsets[-1] != self.counts.size or (_runs.differences(self.offsets) < 0).any():
            raise DataError(f"offsets must ascend from 0 to the number of runs, {self.counts.size}")
        if len(self) == 0:
            return self
        wrong = (self.counts < 0) | (self.counts > n)
        if wrong.any():
            at = int(wrong.argmax())
            raise DataError(f"mask {self._owner(at)} has a run of {int(self.counts[at])} pixels, expected 0..{n}")
        sums = _runs.differences(np.concatenate(([0], self.counts.cumsum()))[self.offsets])
        if (sums != n).any():
            k = int((sums != n).argmax())
            raise DataError(f"runs of mask {k} cover {sums[k]} pixels, expected {self.height} x {self.width} = {n}")
        empty = self.counts == 0
        empty[self.offsets[:-1]] = False
        if empty.any():
            at = int(empty.argmax())
            raise DataError(f"mask {self._owner(at)} has a run of 0 pixels that is not its first one")
        return self

    def _owner(self, run: int) -> int:
        """Return the mask that a run belongs to."""
        return int(np.searchsorted(self.offsets, run, "right")) - 1

    def row(self, index: int) -> NDArray[np.int64]:
        """Return the run lengths of one mask, a view: int64 (n,)."""
        index = range(len(self))[index]
        return self.counts[self.offsets[index] : self.offsets[index + 1]]

    def intervals(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return the runs of ones as (starts, ends, rows), int64 (N,) each: what :meth:`from_intervals` takes."""
        return _runs.intervals(self.counts, self.offsets)

    def mask(self, index: int) -> NDArray[np.bool_]:
        """Return one mask as bool (height, width), C-contiguous."""
        row = self.row(index)
        flat = np.repeat(np.arange(row.size) & 1 == 1, row)
        if self.order == "C":
            return flat.reshape(self.height, self.width)
        return np.ascontiguousarray(flat.reshape(self.width, self.height).T)

    def to_masks(self) -> NDArray[np.bool_]:
        """Return all masks as bool (K, height, width)."""
        out = np.empty((len(self), self.height, self.width), bool)
        for k in range(len(self)):
            out[k] = self.mask(k)
        return out

    def to_label_map(self, values: Sequence[int] | NDArray[Any], *, fill: int, dtype: Any = np.uint8) -> NDArray[Any]:
        """Return a (height, width) label map: mask k painted with ``values[k]``, later masks over earlier ones.

        Args:
            values: K ids, one a mask.
            fill: the id of pixels that no mask covers.
            dtype: integer type of the result.

        Raises:
            DataError: not K values, or one that the type cannot hold.
        """
        if len(values) != len(self):
            raise DataError(f"{len(values)} values for {len(self)} masks")
        limits = np.iinfo(dtype)
        for value in (fill, *(int(v) for v in values)):
            if not limits.min <= value <= limits.max:
                raise DataError(f"{limits.dtype} label maps cannot hold {value}, only {limits.min}..{limits.max}")
        shape = (self.height, self.width)
        return _runs.paint(self.counts, self.offsets, np.asarray(values, dtype), fill, shape, self.order)

    def reordered(self, order: Order) -> RunList:
        """Return the same masks with runs in the other order ('C' or 'F'); itself when it is so already."""
        if order == self.order:
            return self
        fast, slow = (self.width, self.height) if self.order == "C" else (self.height, self.width)
        return RunList(self.height, self.width, *_runs.transposed(self.counts, self.offsets, fast, slow), order)

    def select(self, indices: Sequence[int] | NDArray[Any]) -> RunList:
        """Return the masks of the given indices, in the given order (any may repeat); bool arrays select by mask."""
        chosen = np.arange(len(self))[np.asarray(indices, None if len(indices) else np.int64)]
        sizes = _runs.differences(self.offsets)[chosen]
        offsets = np.zeros(chosen.size + 1, np.int64)
        np.cumsum(sizes, out=offsets[1:])
        source = np.arange(int(offsets[-1])) + (self.offsets[chosen] - offsets[:-1]).repeat(sizes)
        return RunList(self.height, self.width, self.counts.take(source), offsets, self.order)

    def union(self, groups: Sequence[int] | NDArray[Any], count: int) -> RunList:
        """Return ``count`` masks: mask g covers every pixel of the masks k with ``groups[k] == g``."""
        if len(groups) != len(self):
            raise DataError(f"{len(groups)} groups for {len(self)} masks")
        starts, ends, rows = self.intervals()
        return RunList.from_intervals(
            starts,
            ends,
            np.asarray(groups, np.int64)[rows],
            count=count,
            height=self.height,
            width=self.width,
            order=self.order,
        )

    def areas(self) -> NDArray[np.int64]:
        """Return the number of pixels of every mask: int64 (K,)."""
        ones = np.where(_runs.is_ones(self.offsets), self.counts, 0)
        return _runs.differences(np.concatenate(([0], ones.cumsum()))[self.offsets])

    def boxes(self) -> NDArray[np.int64]:
        """Return the tight bounding boxes as x, y, width, height in pixels: int64 (K, 4); zeros for an empty mask."""
        fast = self.width if self.order == "C" else self.height
        starts, ends, rows = self.intervals()
        out = np.zeros((len(self), 4), np.int64)
        if not rows.size:
            return out
        last = ends - 1
        line0, line1 = starts // fast, last // fast  # several times as fast as np.divmod
        along0, along1 = starts - line0 * fast, last - line1 * fast
        several = line1 > line0  # such a run reaches the end of one line and the start of the next
        along0[several], along1[several] = 0, fast - 1
        first = np.flatnonzero(np.diff(rows, prepend=-1))
        low, high = np.minimum.reduceat(along0, first), np.maximum.reduceat(along1, first)
        top, bottom = line0[first], np.maximum.reduceat(line1, first)
        corner = (low, top) if self.order == "C" else (top, low)
        size = (high - low + 1, bottom - top + 1)
        out[rows[first]] = np.stack((*corner, *(size if self.order == "C" else size[::-1])), axis=1)
        return out

    def covered_pixels(self) -> int:
        """Return how many pixels are covered by a mask, or by several."""
        starts, ends, _ = self.intervals()
        order = starts.argsort(kind="stable")
        reach = np.maximum.accumulate(ends.take(order))
        new = starts.take(order)
        np.maximum(new[1:], reach[:-1], out=new[1:])  # where what is not covered yet begins
        return int((reach - new).sum())

    def overlap_pixels(self) -> int:
        """Return how many pixels are covered by two or more masks."""
        starts, ends, _ = self.intervals()
        where = np.concatenate((starts, ends))
        order = where.argsort(kind="stable")
        depth = np.where(order < starts.size, 1, -1).cumsum()
        return int(_runs.differences(where.take(order))[depth[:-1] > 1].sum())

    @classmethod
    def concatenate(cls, parts: Sequence[RunList]) -> RunList:
        """Return the masks of all parts, which must share height, width and order, one after another."""
        if not parts:
            raise DataError("nothing to concatenate")
        first = parts[0]
        if any((p.height, p.width, p.order) != (first.height, first.width, first.order) for p in parts):
            raise DataError("run lists of different sizes or orders cannot be concatenated")
        return cls(first.height, first.width, *_runs.joined([(p.counts, p.offsets) for p in parts]), first.order)

    def __eq__(self, other: object) -> bool:
        """Two run lists are equal when they hold the same masks in the same order of runs."""
        if not isinstance(other, RunList):
            return NotImplemented
        return (
            (self.height, self.width, self.order) == (other.height, other.width, other.order)
            and np.array_equal(self.offsets, other.offsets)
            and np.array_equal(self.counts, other.counts)
        )

    __hash__ = None  # type: ignore[assignment]


def plain_label_map(label_map: NDArray[Any]) -> NDArray[Any]:
    """Return a label map as the kernels take it: C-contiguous, of an unsigned or signed type whose bytes they can sort.

    Raises:
        DataError: not two-dimensional, empty, or of another type than bool or integers.
    """
    a = np.ascontiguousarray(label_map)
    _require_shape(label_map.shape)
    if a.dtype.kind not in "bui":
        raise DataError(f"a label map holds integers or bool, not {a.dtype}")
    if a.dtype == bool:
        return a.view(np.uint8)
    if a.dtype == np.int8:  # its bytes do not sort like its numbers
        return a.astype(np.int16)
    if not a.dtype.isnative:
        return a.astype(a.dtype.newbyteorder("="))
    return a


def _require_shape(shape: tuple[int, ...]) -> int:
    """Return the number of pixels; DataError unless there are two sides, each at least 1."""
    if len(shape) != 2 or min(shape) < 1:
        raise DataError(f"masks have a height and a width of at least 1 pixel, not shape {tuple(shape)}")
    return shape[0] * shape[1]
