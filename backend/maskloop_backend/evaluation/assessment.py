"""Everything that `maskloop evaluate` says of a version on a dataset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..inference.prediction import Segmenter
from ..training.dataset import Examples
from .calibration import calibration_error, reliability
from .comparison import Comparison, Estimates, compare, estimate
from .measurement import Measurement, channel_map, measure
from .suspects import Suspect, SuspectFinder


@dataclass(frozen=True, slots=True, eq=False)
class Assessment:
    """A version on a dataset.

    Attributes:
        measurement: its counts.
        scores: its scores with intervals.
        suspects: labels that may be wrong, likeliest first.
        comparison: with another version on the same images (the other as 'serving'), None if none was asked for.
    """

    measurement: Measurement
    scores: Estimates
    suspects: tuple[Suspect, ...]
    comparison: Comparison | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values; 'confusion' has a last column for classes that the dataset lacks."""
        measurement, bins = self.measurement, self.measurement.calibration.sum(0)
        return {
            "version": measurement.version,
            "images": len(measurement.ids),
            "labels": list(measurement.labels),
            "missing_labels": list(measurement.missing),
            "foreign_labels": list(measurement.foreign),
            **self.scores.to_json(),
            "calibration_error": calibration_error(bins),
            "reliability": [
                {
                    "low": level.low,
                    "high": level.high,
                    "pixels": level.pixels,
                    "confidence": level.confidence,
                    "accuracy": level.accuracy,
                }
                for level in reliability(bins)
            ],
            "confusion": measurement.confusion.sum(0).tolist(),
            "by_image": by_image(measurement),
            "suspects": [suspect.to_json() for suspect in self.suspects],
            "against": None if self.comparison is None else self.comparison.to_json(),
        }


def assess(
    segmenter: Segmenter,
    examples: Examples,
    *,
    against: Segmenter | None = None,
    each: Callable[[int, int], None] = lambda done, total: None,
) -> Assessment:
    """Measure a version on examples, find suspicious labels, and compare it with another.

    Args:
        segmenter: the version.
        examples: images and targets.
        against: another version, measured on the same images.
        each: called with (predictions done, predictions to do).

    Raises:
        MeasurementError: a version has no class in common with the examples; nothing was predicted then.
    """
    count = len(examples)
    total = count if against is None else 2 * count
    if against is not None:
        channel_map(against, examples.labels)
    finder = SuspectFinder([label.name for label in examples.labels.classes], examples.ids)
    measurement = measure(segmenter, examples, each=lambda done: each(done, total), watch=finder)
    comparison = None
    if against is not None:
        other = measure(against, examples, each=lambda done: each(count + done, total))
        comparison = compare(measurement, other)
    return Assessment(measurement, estimate(measurement), tuple(finder.ranked()), comparison)


def by_image(measurement: Measurement) -> list[dict[str, Any]]:
    """Return the scores of each image as JSON values; None where an image has nothing to judge."""
    scores = measurement.of_images
    columns = zip(measurement.ids, scores.miou.tolist(), scores.pixel_accuracy.tolist(), strict=True)
    return [
        {
            "image": name,
            "miou": None if np.isnan(miou) else miou,
            "pixel_accuracy": None if np.isnan(accuracy) else accuracy,
        }
        for name, miou, accuracy in columns
    ]
