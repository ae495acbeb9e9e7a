"""Two versions on the same images: is the candidate better, or does it only look so?

Images are redrawn with replacement, the same ones for both versions (paired bootstrap, Efron & Tibshirani 1993), and
every score is computed from the summed counts of a draw: mIoU is no mean over images. Percentile intervals of few images
are too narrow; they are widened as Hesterberg, "What Teachers Should Know About the Bootstrap", The American
Statistician 2015, section 5.3 does it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from .measurement import Measurement, MeasurementError
from .scores import Scores

RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A score and its bootstrap interval.

    Attributes:
        value: from all images.
        low: lower end; None where there are too few images to say (one, or all but one redraw undefined).
        high: upper end.
    """

    value: float
    low: float | None
    high: float | None

    def to_json(self) -> dict[str, float | None]:
        """Return it as JSON values."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class Difference:
    """A score of two versions.

    Attributes:
        candidate: the candidate's score, 0..1.
        serving: the other's.
        value: candidate minus serving.
        low: lower end of its bootstrap interval; None where there is one image.
        high: upper end.
        rising: share of the redraws in which the candidate scores higher, 0..1.
        falling: share in which it scores lower.
    """

    candidate: float
    serving: float
    value: float
    low: float | None
    high: float | None
    rising: float
    falling: float

    def to_json(self) -> dict[str, float | None]:
        """Return it as JSON values."""
        return {
            "candidate": self.candidate,
            "serving": self.serving,
            "difference": self.value,
            "low": self.low,
            "high": self.high,
            "rising": self.rising,
            "falling": self.falling,
        }


@dataclass(frozen=True, slots=True)
class Estimates:
    """A version's scores with intervals.

    Attributes:
        miou: mean IoU over the classes that the truth has.
        pixel_accuracy: share of judged pixels that are right.
        boundary_f: mean boundary F; None where the truth has no outline.
        iou: of each class by name; None where the truth does not have it.
        boundary: boundary F of each class by name; None where it has no outline.
    """

    miou: Estimate
    pixel_accuracy: Estimate
    boundary_f: Estimate | None
    iou: Mapping[str, Estimate | None]
    boundary: Mapping[str, Estimate | None]

    def to_json(self) -> dict[str, Any]:
        """Return them as JSON values."""
        return {
            "miou": self.miou.to_json(),
            "pixel_accuracy": self.pixel_accuracy.to_json(),
            "boundary_f": _json(self.boundary_f),
            "iou": {name: _json(value) for name, value in self.iou.items()},
            "boundary_f_by_class": {name: _json(value) for name, value in self.boundary.items()},
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """A candidate against the serving version on the same images.

    Attributes:
        candidate: name of the version.
        serving: name of the version it is held against.
        images: how many both were measured on.
        miou: mean IoU over the classes that the truth has.
        pixel_accuracy: share of judged pixels that are right.
        boundary_f: mean boundary F; None where the truth has no outline.
        iou: of each class by name; None where the truth does not have it.
        class_images: number of images whose truth has the class, by name.
        same: the versions cannot be told apart: every image has the same counts.
        resamples: number of redraws.
        confidence: mass of the intervals.
    """

    candidate: str
    serving: str
    images: int
    miou: Difference
    pixel_accuracy: Difference
    boundary_f: Difference | None
    iou: Mapping[str, Difference | None]
    class_images: Mapping[str, int]
    same: bool
    resamples: int = RESAMPLES
    confidence: float = CONFIDENCE

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "candidate": self.candidate,
            "serving": self.serving,
            "images": self.images,
            "miou": self.miou.to_json(),
            "pixel_accuracy": self.pixel_accuracy.to_json(),
            "boundary_f": _json(self.boundary_f),
            "iou": {name: _json(value) for name, value in self.iou.items()},
            "class_images": dict(self.class_images),
            "same": self.same,
            "resamples": self.resamples,
            "confidence": self.confidence,
        }


_Score = TypeVar("_Score", Estimate, Difference)


def estimate(
    measurement: Measurement, *, resamples: int = RESAMPLES, confidence: float = CONFIDENCE, seed: int = 0
) -> Estimates:
    """Return a version's scores with bootstrap intervals over images.

    Raises:
        MeasurementError: no image, or no pixel of the truth has a class.
    """
    value, drawn = measurement.scores, _redrawn([measurement.terms], resamples, seed)[0]
    images = len(measurement.ids)

    def of(value: Any, redraws: NDArray[np.float64]) -> Estimate | None:
        return None if np.isnan(value) else Estimate(float(value), *_interval(redraws, images, confidence))

    def by_class(values: NDArray[np.float64], redraws: NDArray[np.float64]) -> dict[str, Estimate | None]:
        return {name: of(values[k], redraws[:, k]) for k, name in enumerate(measurement.labels)}

    return Estimates(
        _known(of(value.miou, drawn.miou)),
        _known(of(value.pixel_accuracy, drawn.pixel_accuracy)),
        of(value.boundary_f, drawn.boundary_f),
        by_class(value.iou, drawn.iou),
        by_class(value.boundary, drawn.boundary),
    )


def compare(
    candidate: Measurement,
    serving: Measurement,
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Comparison:
    """Return how a candidate differs from the serving version on the same images.

    Args:
        candidate: measured on some images.
        serving: measured on the same, in the same classes.
        resamples: number of redraws of the images.
        confidence: mass of the intervals.
        seed: of the draws.

    Raises:
        ValueError: other images or classes.
        MeasurementError: no image, or no pixel of the truth has a class.
    """
    if candidate.ids != serving.ids or candidate.labels != serving.labels:
        raise ValueError(
            f"two versions are compared on the same images and classes; got {len(candidate.ids)} and "
            f"{len(serving.ids)} images, {len(candidate.labels)} and {len(serving.labels)} classes"
        )
    ours, theirs = candidate.scores, serving.scores
    drawn, other = _redrawn([candidate.terms, serving.terms], resamples, seed)
    images = len(candidate.ids)

    def of(one: Any, two: Any, redraws: NDArray[np.float64]) -> Difference | None:
        if np.isnan(one) or np.isnan(two):
            return None
        known = redraws[~np.isnan(redraws)]
        rising, falling = float((known > 0).mean()), float((known < 0).mean())
        interval = _interval(redraws, images, confidence)
        return Difference(float(one), float(two), float(one - two), *interval, rising, falling)

    return Comparison(
        candidate.version,
        serving.version,
        images,
        _known(of(ours.miou, theirs.miou, drawn.miou - other.miou)),
        _known(of(ours.pixel_accuracy, theirs.pixel_accuracy, drawn.pixel_accuracy - other.pixel_accuracy)),
        of(ours.boundary_f, theirs.boundary_f, drawn.boundary_f - other.boundary_f),
        {
            name: of(ours.iou[k], theirs.iou[k], drawn.iou[:, k] - other.iou[:, k])
            for k, name in enumerate(candidate.labels)
        },
        dict(zip(candidate.labels, (candidate.confusion.sum(-1) > 0).sum(0).tolist(), strict=True)),
        np.array_equal(candidate.confusion, serving.confusion) and np.array_equal(candidate.boundary, serving.boundary),
        resamples,
        confidence,
    )


def _redrawn(terms: list[NDArray[np.int64]], resamples: int, seed: int) -> list[Scores]:
    """Return the scores of redraws of the images, the same redraws for each table of terms (N, 7, K)."""
    images = len(terms[0])
    if not images:
        raise MeasurementError("there is no image to measure on")
    # a draw is how often each image is in it; the sums of all draws are one matrix product
    draws = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=resamples).astype(float)
    return [
        Scores.of((draws @ table.reshape(images, -1).astype(float)).reshape(resamples, *table.shape[1:]))
        for table in terms
    ]


def _interval(redraws: NDArray[np.float64], images: int, confidence: float) -> tuple[float | None, float | None]:
    known = redraws[~np.isnan(redraws)]
    if images < 2 or not known.size:
        return None, None
    quantile = stats.t.ppf((1 - confidence) / 2, images - 1)
    tail = float(stats.norm.cdf(math.sqrt(images / (images - 1)) * quantile))
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)


def _known(value: _Score | None) -> _Score:
    if value is None:
        raise MeasurementError("no pixel of the images has a true class: nothing can be measured on them")
    return value


def _json(value: Estimate | Difference | None) -> dict[str, float | None] | None:
    return None if value is None else value.to_json()
