"""What a simulation found: a point a training, a curve a strategy, and which strategy needs fewer labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .strategies import Strategy


@dataclass(frozen=True, slots=True)
class Point:
    """Where a strategy stands after a training.

    Attributes:
        strategy: which.
        seed: which repetition.
        round: 0 is the start.
        labelled: images with labels.
        miou: mean IoU on the validation images, 0..1.
        to_correct: share of the judged pixels of the batch labelled next that its pre-filled masks have wrong, 0..1; None
            in the last round.
        to_correct_rest: the same over all images without labels; None where there are none.
    """

    strategy: Strategy
    seed: int
    round: int
    labelled: int
    miou: float
    to_correct: float | None
    to_correct_rest: float | None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Curve:
    """A strategy's points, averaged over the seeds.

    Attributes:
        strategy: which.
        labelled: images with labels, ascending.
        miou: mean over the seeds.
        spread: standard deviation over the seeds.
        to_correct: mean share of pixels to correct in the batch that is labelled next.
        to_correct_rest: the same over all images without labels.
    """

    strategy: Strategy
    labelled: tuple[int, ...]
    miou: tuple[float, ...]
    spread: tuple[float, ...]
    to_correct: tuple[float | None, ...]
    to_correct_rest: tuple[float | None, ...]

    def reaches(self, miou: float) -> float | None:
        """Return with how many labelled images the curve first reaches a mIoU, interpolated; None if it does not."""
        before: tuple[int, float] | None = None
        for count, value in zip(self.labelled, self.miou, strict=True):
            if value >= miou:
                if before is None:
                    return float(count)
                return before[0] + (count - before[0]) * (miou - before[1]) / (value - before[1])
            before = count, value
        return None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def curves(points: Sequence[Point]) -> list[Curve]:
    """Return a curve a strategy, in the order in which they first appear."""

    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if known else None

    found = []
    for strategy in dict.fromkeys(point.strategy for point in points):
        own = [point for point in points if point.strategy == strategy]
        counts = sorted({point.labelled for point in own})
        groups = [[point for point in own if point.labelled == count] for count in counts]
        found.append(
            Curve(
                strategy,
                tuple(counts),
                tuple(float(np.mean([p.miou for p in group])) for group in groups),
                tuple(float(np.std([p.miou for p in group])) for group in groups),
                tuple(mean([p.to_correct for p in group]) for group in groups),
                tuple(mean([p.to_correct_rest for p in group]) for group in groups),
            )
        )
    return found


def comparison(curves: Sequence[Curve]) -> list[str]:
    """Return lines for people: with how many labels each strategy reaches what random has at its end.

    Where random itself gains no more than its seeds differ, labels make no difference to this learner, and neither does
    their choice: that is said instead.
    """
    random = next((curve for curve in curves if curve.strategy == "random"), None)
    if random is None:
        return []
    gain, noise = random.miou[-1] - random.miou[0], random.spread[0] + random.spread[-1]
    if gain <= noise:
        return [
            f"random gains {gain:+.3f} mIoU from {random.labelled[0]} to {random.labelled[-1]} labels, and seeds differ by "
            f"{noise:.3f}: labels make no difference to this learner, so strategies cannot be told apart; train longer, "
            "or take a backbone that was trained on such images"
        ]
    lines = []
    for curve in curves:
        if curve is not random:
            count = curve.reaches(random.miou[-1])
            how = "never" if count is None else f"with {count:.0f} labels ({count / random.labelled[-1]:.0%})"
            lines.append(f"{curve.strategy} reaches random's final mIoU of {random.miou[-1]:.3f} {how}")
    return lines
