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

from .errors import DataError

Order = Literal["C", "F"]


@dataclass(frozen=True, slots=True, eq=False)
class RunList:
    """K binary masks of height x width pixels, as alternating run lengths in one flat array (CSR).

    Attributes:
        height: of every mask, in pixels, >= 1.
        width: of every mask, in pixels, >= 1.
        counts: int64 (N,), run lengths in pixels; row k is ``counts[offsets[k]:offsets[k + 1]]``, sums to height * width,
            starts with a run of zeros (0 allowed there and nowhere else).
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
    def empty(cls, height: int, width: int) -> RunList:
        """Return a run list without masks (K = 0)."""
        return cls(height, width, np.zeros(0, np.int64), np.zeros(1, np.int64))

    @classmethod
    def from_label_map(cls, label_map: NDArray[Any], *, order: Order = "C") -> tuple[NDArray[Any], RunList]:
        """Return the ids present in a label map, ascending, and one mask an id.

        Args:
            label_map: (H, W) of bool or an integer type.
            order: of the runs that come back.
        """
        a = np.ascontiguousarray(label_map)
        ids = np.unique(a)
        return ids, cls.from_masks((a == k for k in ids.tolist()), height=a.shape[0], width=a.shape[1], order=order)

    @classmethod
    def from_masks(
        cls, masks: Iterable[NDArray[Any]], *, height: int, width: int, order: Order = "C"
    ) -> RunList:
        """Return the run list of K boolean (or 0 / non-zero) arrays of shape (height, width)."""
        rows: list[NDArray[np.int64]] = []
        n = height * width
        for mask in masks:
            if mask.shape != (height, width):
                raise DataError(f"mask {len(rows)} has shape {mask.shape}, expected ({height}, {width})")
            flat = np.asarray(mask, bool).ravel(order)
            change = np.flatnonzero(flat[1:] != flat[:-1]) + 1
            edges = np.concatenate((np.zeros(2 if flat.size and flat[0] else 1, np.int64), change, [n]))
            rows.append(np.diff(edges).astype(np.int64))
        return cls.from_rows(rows, height=height, width=width, order=order)

    @classmethod
    def from_rows(cls, rows: Sequence[NDArray[Any]], *, height: int, width: int, order: Order = "C") -> RunList:
        """Return the run list of K arrays of run lengths (each as :attr:`counts` describes; sums are checked)."""
        n = height * width
        for k, row in enumerate(rows):
            if int(np.sum(row)) != n:
                raise DataError(f"runs of mask {k} cover {int(np.sum(row))} pixels, expected {height} x {width} = {n}")
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([r.size for r in rows], out=offsets[1:])
        counts = np.concatenate(rows).astype(np.int64) if rows else np.zeros(0, np.int64)
        return cls(height, width, counts, offsets, order)

    def row(self, index: int) -> NDArray[np.int64]:
        """Return the run lengths of one mask, a view: int64 (n,)."""
        return self.counts[self.offsets[index] : self.offsets[index + 1]]

    def mask(self, index: int) -> NDArray[np.bool_]:
        """Return one mask as bool (height, width), C-contiguous."""
        row = self.row(index)
        flat = np.repeat(np.arange(row.size) & 1 == 1, row)
        return np.ascontiguousarray(flat.reshape((self.height, self.width), order=self.order))

    def to_masks(self) -> NDArray[np.bool_]:
        """Return all masks as bool (K, height, width)."""
        out = np.zeros((len(self), self.height, self.width), bool)
        for k in range(len(self)):
            out[k] = self.mask(k)
        return out

    def to_label_map(self, values: Sequence[int] | NDArray[Any], *, fill: int, dtype: Any = np.uint8) -> NDArray[Any]:
        """Return a (height, width) label map: mask k painted with ``values[k]``, later masks over earlier ones.

        Args:
            values: K ids, one a mask.
            fill: the id of pixels that no mask covers.
            dtype: integer type of the result.
        """
        out = np.full((self.height, self.width), fill, dtype)
        for k, value in enumerate(values):
            out[self.mask(k)] = value
        return out

    def reordered(self, order: Order) -> RunList:
        """Return the same masks with runs in the other order ('C' or 'F'); itself when it is so already."""
        if order == self.order:
            return self
        masks = (self.mask(k) for k in range(len(self)))
        return RunList.from_masks(masks, height=self.height, width=self.width, order=order)

    def select(self, indices: Sequence[int] | NDArray[Any]) -> RunList:
        """Return the masks of the given indices, in the given order (any may repeat)."""
        rows = [self.row(int(k)) for k in indices]
        return RunList.from_rows(rows, height=self.height, width=self.width, order=self.order)

    def areas(self) -> NDArray[np.int64]:
        """Return the number of pixels of every mask: int64 (K,)."""
        return np.array([int(self.row(k)[1::2].sum()) for k in range(len(self))], np.int64)

    def boxes(self) -> NDArray[np.int64]:
        """Return the tight bounding boxes as x, y, width, height in pixels: int64 (K, 4); zeros for an empty mask."""
        out = np.zeros((len(self), 4), np.int64)
        for k in range(len(self)):
            ys, xs = np.nonzero(self.mask(k))
            if ys.size:
                out[k] = xs.min(), ys.min(), xs.max() - xs.min() + 1, ys.max() - ys.min() + 1
        return out

    def overlap_pixels(self) -> int:
        """Return how many pixels are covered by two or more masks."""
        total = np.zeros((self.height, self.width), np.int64)
        for k in range(len(self)):
            total += self.mask(k)
        return int((total > 1).sum())

    @classmethod
    def concatenate(cls, parts: Sequence[RunList]) -> RunList:
        """Return the masks of all parts, which must share height, width and order, one after another."""
        if not parts:
            raise DataError("nothing to concatenate")
        first = parts[0]
        if any((p.height, p.width, p.order) != (first.height, first.width, first.order) for p in parts):
            raise DataError("run lists of different sizes or orders cannot be concatenated")
        rows = [p.row(k) for p in parts for k in range(len(p))]
        return cls.from_rows(rows, height=first.height, width=first.width, order=first.order)

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
