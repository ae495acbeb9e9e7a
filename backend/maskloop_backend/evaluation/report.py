"""Reports that people open in a browser, one self-contained file, and the same as JSON beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskloop_converters import __version__
from maskloop_converters.atomic import atomic_directory, check_free
from maskloop_converters.errors import OutputExistsError
from maskloop_converters.samples import Color, LabelSet

from ..inference.prediction import Segmenter
from ..training.dataset import Examples
from ..training.metrics import VOID
from ..web.rendering import render
from . import pictures
from . import report_values as values
from .assessment import Assessment, by_image
from .disagreement import Disagreement
from .gate import Decision
from .measurement import Measurement

HTML = "report.html"
JSON = "report.json"
# How many images, and suspicious labels, are drawn.
DRAWN = 8
DRAWN_SUSPECTS = 24
LISTED_SUSPECTS = 100
# Suspicious areas of one image that are named.
_SAID = 3
_CROP = 320


def write_report(
    directory: Path,
    assessment: Assessment,
    examples: Examples,
    segmenter: Segmenter,
    *,
    source: str = "",
    overwrite: bool = False,
) -> Path:
    """Write what was found of a version: report.html, and report.json with every figure.

    Args:
        directory: to make, there whole or not at all.
        assessment: of the segmenter on the examples.
        examples: the images; the worst are drawn.
        segmenter: predicts the images that are drawn once more.
        source: what the dataset is called.
        overwrite: replace what is there.

    Returns:
        the HTML file.

    Raises:
        OutputExistsError: the directory has content and may not be replaced.
    """
    measurement = assessment.measurement
    accuracy = measurement.of_images.pixel_accuracy
    worst = [int(k) for k in np.argsort(accuracy, kind="stable") if not np.isnan(accuracy[k])][:DRAWN]
    suspects = assessment.suspects[:DRAWN_SUSPECTS]
    predicted = pictures.predictions(segmenter, examples, [*worst, *(suspect.index for suspect in suspects)])
    colors = pictures.class_colors(examples.labels)
    shown = []
    for index in worst:
        image, target = examples[index]
        drawn = [
            ("labelled", pictures.overlay(image, target, colors)),
            ("predicted", pictures.overlay(image, predicted[index], colors)),
            ("wrong pixels", pictures.mistakes(image, target, predicted[index])),
        ]
        told = f"{1 - accuracy[index]:.1%} of the judged pixels are wrong"
        shown.append(values.figure(examples.ids[index], told, drawn))
    against = assessment.comparison
    page = {
        "heading": f"{measurement.version or 'model'} on {source or 'a dataset'}",
        "images": values.images(len(measurement.ids)),
        "missing": ", ".join(measurement.missing),
        "foreign": ", ".join(measurement.foreign),
        "tiles": values.tiles(assessment),
        "comparison": values.comparison([(against, "")]) if against else None,
        "differences": values.differences(against, "same images", measurement, colors) if against else None,
        "classes": values.classes(assessment, colors),
        "matrix": values.matrix(measurement),
        "confusions": values.confusions(measurement),
        "calibration": values.calibration(measurement),
        "legend": values.legend(measurement, colors),
        "marks": values.marks({"wrong": pictures.BAD}),
        "worst": shown,
        "suspects": _suspects(assessment, examples, predicted, colors),
    }
    title = f"{measurement.version}: evaluation"
    figures = {"source": source, **assessment.to_json()}
    return _write(directory, "evaluation.html", title, page, figures, overwrite=overwrite)


def write_gate_report(
    directory: Path,
    decision: Decision,
    candidate: Measurement,
    serving: Measurement,
    examples: Examples,
    segmenters: tuple[Segmenter, Segmenter],
    extra: Mapping[str, Any],
) -> Path:
    """Write why a candidate was promoted or not, with the images that it improved and damaged most.

    Args:
        directory: is replaced if it is there.
        decision: of the gate.
        candidate: the candidate's measurement.
        serving: the other version's, on the same images.
        examples: at least these images.
        segmenters: candidate and serving version; they predict the images that are drawn once more.
        extra: what else the report is to say: JSON values by heading.

    Returns:
        the HTML file.
    """
    places = {name: index for index, name in enumerate(examples.ids)}
    after, before = candidate.of_images.pixel_accuracy, serving.of_images.pixel_accuracy
    gain = np.nan_to_num(after - before)
    order = [int(k) for k in np.argsort(-gain, kind="stable")]
    improved = [k for k in order if gain[k] > 0][:DRAWN]
    damaged = [k for k in reversed(order) if gain[k] < 0][:DRAWN]
    chosen = [places[candidate.ids[k]] for k in (*improved, *damaged)]
    new, old = (pictures.predictions(segmenter, examples, chosen) for segmenter in segmenters)
    colors = pictures.class_colors(examples.labels)
    verdict = "Promoted" if decision.promote else "Not promoted"
    named = [(decision.holdout, "holdout"), (decision.corrections, "held-out corrections")]
    compared = [(comparison, name) for comparison, name in named if comparison is not None]
    shown = []
    for heading, indices, nothing in (
        ("Most improved images", improved, "No image got better."),
        ("Most damaged images", damaged, "No image got worse."),
    ):
        figures = []
        for k in indices:
            index = places[candidate.ids[k]]
            image, target = examples[index]
            drawn = [
                ("labelled", pictures.overlay(image, target, colors)),
                ("before", pictures.overlay(image, old[index], colors)),
                ("after", pictures.overlay(image, new[index], colors)),
                (
                    "blue: mended, orange: damaged, yellow: still wrong",
                    pictures.change(image, target, old[index], new[index]),
                ),
            ]
            told = f"wrong pixels: {1 - before[k]:.1%} \N{RIGHTWARDS ARROW} {1 - after[k]:.1%}"
            figures.append(values.figure(candidate.ids[k], told, drawn))
        shown.append((heading, figures, nothing))
    page = {
        "heading": candidate.version or "candidate",
        "against": serving.version or "the serving version",
        "promoted": decision.promote,
        "verdict": verdict,
        "reason": decision.reason,
        "rule": decision.rule,
        "notes": decision.notes,
        "comparison": values.comparison(compared) if compared else None,
        "differences": [values.differences(comparison, name, candidate, colors) for comparison, name in compared],
        "extra": list(extra.items()),
        "legend": values.legend(candidate, colors),
        "marks": values.marks({"mended": pictures.GOOD, "damaged": pictures.BAD, "still wrong": pictures.BOTH}),
        "images": shown,
    }
    # what the gate says stands, whatever the extra values are called
    document = {
        **extra,
        "candidate": candidate.version,
        "serving": serving.version,
        **decision.to_json(),
        "by_image": {"candidate": by_image(candidate), "serving": by_image(serving)},
    }
    return _write(directory, "gate.html", f"{candidate.version}: {verdict.lower()}", page, document, overwrite=True)


@dataclass(frozen=True, slots=True, eq=False)
class ReviewedImage:
    """An image whose labels a version disagrees with.

    Attributes:
        found: how much.
        version: its name.
        image: uint8 (H, W, 3) RGB.
        target: uint8 (H, W), channels of the labels, or VOID.
        predicted: uint8 (H, W), the same channels.
        judged: bool (H, W), where the two can be compared.
    """

    found: Disagreement
    version: str
    image: pictures.Pixels
    target: pictures.Pixels
    predicted: pictures.Pixels
    judged: NDArray[np.bool_]


def write_review(
    directory: Path,
    source: str,
    figures: Mapping[str, Any],
    drawn: Sequence[ReviewedImage],
    labels: LabelSet,
    *,
    overwrite: bool = False,
    tasks_at: str | None = None,
) -> Path:
    """Write which labels should be looked at again: report.html with pictures, and report.json.

    Args:
        directory: to make, there whole or not at all.
        source: what the labels are called.
        figures: JSON values: 'tasks' with 'rank', 'task', 'score', 'version' and 'images', 'confirmed', 'not_judged',
            'notes'.
        drawn: the images that are drawn, the most urgent first.
        labels: of the targets.
        overwrite: replace what is there.
        tasks_at: where a browser opens tasks, with ``?task=ID`` after it; None links none.

    Returns:
        the HTML file.

    Raises:
        OutputExistsError: the directory has content and may not be replaced.
    """
    colors = pictures.class_colors(labels)
    shown = []
    for one in drawn:
        judged = np.where(one.judged, one.target, np.uint8(VOID))
        boxes = [suspect.box for suspect in one.found.suspects]
        parts = [
            ("labelled", pictures.boxed(pictures.overlay(one.image, one.target, colors), boxes)),
            ("predicted", pictures.boxed(pictures.overlay(one.image, one.predicted, colors), boxes)),
            ("they disagree", pictures.mistakes(one.image, judged, one.predicted)),
        ]
        told = "; ".join(
            [f"{one.found.share:.1%} of the pixels differ ({one.found.weighted:.1%} weighted)", f"by {one.version}"]
            + [suspect.said for suspect in one.found.suspects[:_SAID]]
        )
        shown.append(values.figure(f"task {one.found.image}", told, parts))
    page = {
        "heading": f"Labels of {source} to look at again",
        "figures": figures,
        "rows": values.review_rows(figures["tasks"][:LISTED_SUSPECTS], tasks_at),
        "legend": [(label.name, values.css(color)) for label, color in zip(labels.classes, colors, strict=False)],
        "marks": values.marks({"labels and model disagree": pictures.BAD}),
        "shown": shown,
    }
    return _write(
        directory, "review.html", f"{source}: review", page, {"source": source, **figures}, overwrite=overwrite
    )


def check_place(directory: Path, source: Path | None, *, overwrite: bool) -> None:
    """Raise OutputExistsError where a report may not go, before work that would be for nothing.

    Args:
        directory: of the report.
        source: what is read for it: nothing is written there; None where it is no file.
        overwrite: an older report may be replaced; anything else in ``directory`` may not.
    """
    check_free(directory, overwrite)
    if source is not None and source.resolve() in (directory.resolve(), *directory.resolve().parents):
        raise OutputExistsError(
            f"{directory} is in the dataset {source} itself; nothing was written: give a folder outside"
        )
    others = sorted(p.name for p in directory.iterdir() if p.name not in (HTML, JSON)) if directory.is_dir() else []
    if others:
        raise OutputExistsError(
            f"{directory} holds what is no report ({others[0]}), and --overwrite replaces a report only; nothing was written: "
            "give another folder"
        )


def _write(
    directory: Path, template: str, title: str, page: Mapping[str, Any], figures: Mapping[str, Any], *, overwrite: bool
) -> Path:
    created = datetime.now(UTC).isoformat(timespec="seconds")
    html = render(template, title=title, created=created, code_version=__version__, json_file=JSON, **page)
    document = {"created": created, "code_version": __version__, **figures}
    with atomic_directory(directory, overwrite=overwrite) as aside:
        (aside / HTML).write_text(html, encoding="utf-8")
        text = json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False)
        (aside / JSON).write_text(text + "\n", encoding="utf-8")
    return directory / HTML


def _suspects(
    assessment: Assessment, examples: Examples, predicted: Mapping[int, pictures.Pixels], colors: Sequence[Color]
) -> dict[str, Any]:
    figures = []
    for suspect in assessment.suspects[:DRAWN_SUSPECTS]:
        image, target = examples[suspect.index]
        drawn = [
            ("labelled", pictures.framed(pictures.overlay(image, target, colors), suspect.box)),
            ("predicted", pictures.framed(pictures.overlay(image, predicted[suspect.index], colors), suspect.box)),
        ]
        told = (
            f"labelled {suspect.label}, the model is {suspect.confidence:.0%} sure of {suspect.predicted} "
            f"({suspect.pixels:,} pixels)"
        )
        figures.append(values.figure(suspect.image, told, drawn, _CROP))
    return {
        "count": len(assessment.suspects),
        "figures": figures,
        "rows": values.suspect_rows(assessment.suspects[DRAWN_SUSPECTS:LISTED_SUSPECTS]),
    }
