"""What the tables and diagrams of reports say, as plain values: the templates of `web` lay them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from maskloop_converters.samples import Color

from . import pictures
from .assessment import Assessment
from .calibration import calibration_error, reliability
from .comparison import Comparison, Difference, Estimate
from .measurement import Measurement
from .suspects import Suspect

# A matrix of more classes is nothing to look at; the confusions are listed instead, and the JSON has it whole.
MATRIX_CLASSES = 40
_CONFUSIONS = 12
# Difference of mean confidence and accuracy below which nobody calls a model too sure, or too unsure.
_SURE = 0.02


def tiles(assessment: Assessment) -> list[tuple[str, str, str]]:
    """Return (name, figure, what is said below it) of the figures that matter most."""
    scores = assessment.scores
    error = calibration_error(assessment.measurement.calibration.sum(0))
    return [
        ("mean IoU", f"{scores.miou.value:.3f}", _interval(scores.miou)),
        ("pixel accuracy", f"{scores.pixel_accuracy.value:.3f}", _interval(scores.pixel_accuracy)),
        ("boundary F", _number(scores.boundary_f), _interval(scores.boundary_f)),
        ("pixels left to correct", f"{1 - scores.pixel_accuracy.value:.1%}", "of those that are labelled"),
        ("calibration error", "-" if error is None else f"{error:.3f}", "expected, 15 bins"),
    ]


def classes(assessment: Assessment, colors: Sequence[Color]) -> list[dict[str, Any]]:
    """Return a row a class."""
    measurement, confusion = assessment.measurement, assessment.measurement.confusion.sum(0)
    images = (measurement.confusion.sum(-1) > 0).sum(0)
    total = max(1, int(confusion.sum()))
    rows = []
    for k, name in enumerate(measurement.labels):
        iou = assessment.scores.iou[name]
        off = confusion[k].copy()
        off[k] = 0
        worst = int(off.argmax())
        taken = f"{_column(measurement, worst)} ({off[worst] / confusion[k].sum():.0%})" if off[worst] else ""
        rows.append(
            {
                "name": name,
                "color": css(colors[k]),
                "share": None if iou is None else iou.value,
                "iou": _number(iou),
                "interval": _interval(iou),
                "boundary": _number(assessment.scores.boundary[name]),
                "pixels": f"{confusion[k].sum() / total:.1%}",
                "images": int(images[k]),
                "taken": taken,
            }
        )
    return rows


def confusions(measurement: Measurement) -> list[dict[str, str]]:
    """Return the most frequent confusions."""
    confusion = measurement.confusion.sum(0)
    off = confusion.copy()
    np.fill_diagonal(off, 0)
    rows = []
    for place in [int(k) for k in np.argsort(-off, axis=None, kind="stable")[:_CONFUSIONS] if off.flat[k]]:
        row, column = divmod(place, off.shape[1])
        rows.append(
            {
                "labelled": measurement.labels[row],
                "predicted": _column(measurement, column),
                "pixels": f"{off[row, column]:,}",
                "share": f"{off[row, column] / confusion[row].sum():.1%}",
            }
        )
    return rows


def matrix(measurement: Measurement) -> dict[str, Any]:
    """Return the confusion matrix; without rows where it has too many classes to look at."""
    confusion = measurement.confusion.sum(0)
    columns = confusion.shape[1] if confusion[:, -1].any() else confusion.shape[1] - 1
    names = [_column(measurement, k) for k in range(columns)]
    rows: list[dict[str, Any]] = []
    for k, name in enumerate(measurement.labels if columns <= MATRIX_CLASSES else ()):
        total = int(confusion[k].sum())
        cells = []
        for column in range(columns):
            count = int(confusion[k, column])
            share = count / total if total else 0.0
            # a root, so that small confusions are seen as well
            depth = max(1, round(9 * share**0.5)) if count else 0
            cells.append(
                {
                    "tone": f"{'good' if column == k else 'bad'} s{depth}" if depth else "",
                    "tip": f"{name} predicted as {names[column]}: {count:,} pixels ({share:.2%})",
                    "text": f"{100 * share:.0f}" if share >= 0.005 else "",
                }
            )
        rows.append({"name": name, "cells": cells})
    return {"names": names, "rows": rows}


def calibration(measurement: Measurement) -> dict[str, Any] | None:
    """Return what is said of calibration and the bins of its diagram; None where nothing was measured."""
    counts = measurement.calibration.sum(0)
    error = calibration_error(counts)
    if error is None:
        return None
    bins = reliability(counts)
    right, confident = counts[:, 1].sum() / counts[:, 0].sum(), counts[:, 2].sum() / counts[:, 0].sum() / 255
    gap = confident - right
    most, everything = max(level.pixels for level in bins), sum(level.pixels for level in bins)
    levels = [
        {
            "tip": f"{one.confidence:.1%} sure, {one.accuracy:.1%} right, {one.pixels / everything:.1%} of the pixels",
            "low": one.low,
            "wide": one.high - one.low,
            "accuracy": one.accuracy,
            "pixels": one.pixels / most,
        }
        for one in bins
        if one.accuracy is not None and one.confidence is not None
    ]
    return {
        "confident": f"{confident:.1%}",
        "right": f"{right:.1%}",
        "habit": "about as sure as it may be"
        if abs(gap) < _SURE
        else "too sure"
        if gap > 0
        else "less sure than it may be",
        "error": f"{error:.3f}",
        "levels": levels,
    }


def comparison(compared: Sequence[tuple[Comparison, str]]) -> dict[str, Any]:
    """Return what two versions' figures are on one or several sets of images, each with its name or ''."""
    rows = []
    for one, name in compared:
        where = f"{name}, {images(one.images)}" if name else images(one.images)
        for metric, change in (
            ("mean IoU", one.miou),
            ("pixel accuracy", one.pixel_accuracy),
            ("boundary F", one.boundary_f),
        ):
            rows.append({"where": where, "metric": metric, "cells": _change(change)})
    first = compared[0][0]
    return {
        "candidate": first.candidate or "This version",
        "serving": first.serving or "the other",
        "confidence": f"{first.confidence:.0%}",
        "rows": rows,
    }


def differences(one: Comparison, name: str, measurement: Measurement, colors: Sequence[Color]) -> dict[str, Any]:
    """Return the classes' IoU of two versions on images of a name."""
    return {
        "name": name,
        "confidence": f"{one.confidence:.0%}",
        "rows": [
            {
                "name": label,
                "color": css(colors[k]),
                "images": one.class_images[label],
                "cells": _change(one.iou[label]),
            }
            for k, label in enumerate(measurement.labels)
        ],
    }


def figure(
    name: str, told: str, drawn: Sequence[tuple[str, pictures.Pixels]], longest: int = pictures.LONGEST
) -> dict[str, Any]:
    """Return pictures beside each other, below a name and what is said of it.

    Args:
        name: of the image.
        told: what is said of it.
        drawn: pictures with a text each.
        longest: side of a picture, in pixels.
    """
    shown = [(text, pictures.data_uri(picture, longest)) for text, picture in drawn]
    return {"name": name, "told": told, "pictures": shown}


def suspect_rows(suspects: Sequence[Suspect]) -> list[tuple[str, ...]]:
    """Return suspicious labels that are listed, not drawn."""
    return [
        (one.image, one.label, one.predicted, f"{one.confidence:.0%}", f"{one.pixels:,}", ", ".join(map(str, one.box)))
        for one in suspects
    ]


def review_rows(tasks: Sequence[Mapping[str, Any]], tasks_at: str | None) -> list[dict[str, Any]]:
    """Return a row a task that should be looked at again, from its JSON values.

    Args:
        tasks: of a review.
        tasks_at: where a browser opens them, with ``?task=ID`` after it; None links none.
    """
    rows = []
    for one in tasks:
        worst = one["images"][0]
        known = [(name, value) for name, value in worst["iou"].items() if value is not None]
        rows.append(
            {
                "rank": one["rank"],
                "task": one["task"],
                "link": None if tasks_at is None else f"{tasks_at}?task={one['task']}",
                "score": f"{one['score']:.3f}",
                "share": f"{worst['share']:.1%}",
                "weighted": f"{worst['weighted']:.1%}",
                "suspects": len(worst["suspects"]),
                "iou": ", ".join(f"{name} {value:.2f}" for name, value in sorted(known, key=lambda item: item[1])),
                "version": one["version"],
            }
        )
    return rows


def legend(measurement: Measurement, colors: Sequence[Color]) -> list[tuple[str, str]]:
    """Return the classes with their colours."""
    names = [*measurement.labels, *(["class that the dataset lacks"] if measurement.foreign else [])]
    return [(name, css(color)) for name, color in zip(names, colors, strict=False)]


def marks(colors: Mapping[str, Color]) -> list[tuple[str, str]]:
    """Return what colours on grey mean."""
    return [(name, css(color)) for name, color in colors.items()]


def css(color: Color) -> str:
    """Return a colour as style sheets and SVG have it."""
    return "rgb({},{},{})".format(*color)


def images(count: int) -> str:
    """Return a number of images in words."""
    return f"{count} image" if count == 1 else f"{count} images"


def _change(change: Difference | None) -> dict[str, str]:
    if change is None:
        return {"before": "-", "after": "-", "difference": "-", "tone": "", "interval": "", "rises": ""}
    interval = "" if change.low is None or change.high is None else f"{change.low:+.3f} to {change.high:+.3f}"
    return {
        "before": f"{change.serving:.3f}",
        "after": f"{change.candidate:.3f}",
        "difference": f"{change.value:+.3f}",
        "tone": "up" if change.value > 0 else "down" if change.value < 0 else "soft",
        "interval": interval,
        "rises": f"{change.rising:.0%} of redraws",
    }


def _column(measurement: Measurement, column: int) -> str:
    return measurement.labels[column] if column < len(measurement.labels) else "other classes"


def _number(estimate: Estimate | None) -> str:
    return "-" if estimate is None else f"{estimate.value:.3f}"


def _interval(estimate: Estimate | None) -> str:
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    return f"{estimate.low:.3f} to {estimate.high:.3f}"
