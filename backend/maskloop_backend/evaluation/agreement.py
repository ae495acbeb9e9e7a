"""How much people agree with each other about the same images: IoU and boundary F by class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..training.metrics import VOID
from .boundary import boundary_counts


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    """Counts of pairs of drawings, which add up over pairs and images; neither of a pair is the truth.

    Attributes:
        common: int64 (K,), pixels that both gave a class.
        either: int64 (K,), pixels that one or the other gave it.
        boundary: int64 (K, 4), see :func:`.boundary.boundary_counts`.
        pixels: that one or the other gave any class.
        same: of these, how many both gave the same.
    """

    common: NDArray[np.int64]
    either: NDArray[np.int64]
    boundary: NDArray[np.int64]
    pixels: int
    same: int

    @classmethod
    def none(cls, classes: int) -> Agreement:
        """Return the counts of no pair."""
        zeros = np.zeros(classes, np.int64)
        return cls(zeros, zeros, np.zeros((classes, 4), np.int64), 0, 0)

    @classmethod
    def between(cls, one: NDArray[np.uint8], other: NDArray[np.uint8], classes: int) -> Agreement:
        """Compare two drawings of an image.

        Args:
            one: uint8 (H, W), channels, or VOID where nothing was drawn: of that, too, both may agree or not.
            other: the same.
            classes: K.
        """
        drawn = (one != VOID) | (other != VOID)
        both = np.bincount(one[one == other], minlength=VOID + 1)[:classes]
        areas = [np.bincount(drawing.ravel(), minlength=VOID + 1)[:classes] for drawing in (one, other)]
        # what is drawn has an outline against what is not
        truth, guess = (np.where(drawing == VOID, np.uint8(classes), drawing) for drawing in (one, other))
        counts = boundary_counts(truth, guess, classes)
        same = int((one == other)[drawn].sum())
        return cls(both, areas[0] + areas[1] - both, counts, int(drawn.sum()), same)

    def __add__(self, other: Agreement) -> Agreement:
        """Return the counts of both together."""
        return Agreement(
            self.common + other.common,
            self.either + other.either,
            self.boundary + other.boundary,
            self.pixels + other.pixels,
            self.same + other.same,
        )

    @property
    def share(self) -> float | None:
        """Share of the drawn pixels that are the same in both, 0..1; None where nothing was drawn."""
        return self.same / self.pixels if self.pixels else None

    @property
    def iou(self) -> list[float | None]:
        """Intersection over union of each class, 0..1; None where neither drew it."""
        return [_ratio(int(both), int(any_)) for both, any_ in zip(self.common, self.either, strict=True)]

    @property
    def boundary_f(self) -> list[float | None]:
        """F of the outlines of each class, 0..1; None where neither has one."""
        return [_f(*map(int, counts)) for counts in self.boundary]

    def to_json(self, names: list[str]) -> dict[str, Any]:
        """Return the figures as JSON values, by the names of the K classes."""
        return {
            "pixels": self.pixels,
            "share": self.share,
            "iou": dict(zip(names, self.iou, strict=True)),
            "boundary_f": dict(zip(names, self.boundary_f, strict=True)),
        }


def _f(found: int, ours: int, matched: int, theirs: int) -> float | None:
    if not ours and not theirs:
        return None
    precision, recall = (found / ours if ours else 0.0), (matched / theirs if theirs else 0.0)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
