"""Reports that people open in a browser, one self-contained file, and the same as JSON beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from maskloop_converters import __version__
from maskloop_converters.atomic import atomic_directory, check_free
from maskloop_converters.errors import OutputExistsError
from maskloop_converters.samples import Color

from ..inference.prediction import Segmenter
from ..training.dataset import Examples
from . import pictures
from .assessment import Assessment, by_image
from .calibration import Bin, calibration_error, reliability
from .comparison import Comparison, Difference, Estimate
from .gate import Decision
from .measurement import Measurement

HTML = "report.html"
JSON = "report.json"
# How many images, and suspicious labels, are drawn.
DRAWN = 8
DRAWN_SUSPECTS = 24
LISTED_SUSPECTS = 100
# A matrix of more classes is nothing to look at; the confusions are listed instead, and the JSON has it whole.
MATRIX_CLASSES = 40
_CONFUSIONS = 12
# Difference of mean confidence and accuracy below which nobody calls a model too sure, or too unsure.
_SURE = 0.02
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
    body = [
        _title(f"{measurement.version or 'model'} on {source or 'a dataset'}", f"{_images(len(measurement.ids))}"),
        _mismatch(measurement),
        _headline(assessment),
        _against(assessment, colors),
        "<h2>Classes</h2>",
        _class_table(assessment, colors),
        _confusions(measurement),
        _calibration(measurement),
        _legend(measurement, colors, [("wrong", pictures.BAD)]),
    ]
    if worst:
        body.append("<h2>Worst images</h2><p class=soft>Those with the largest share of wrong pixels.</p>")
    for index in worst:
        image, target = examples[index]
        caption = f"<b>{escape(examples.ids[index])}</b> {1 - accuracy[index]:.1%} of the judged pixels are wrong"
        drawn = [
            ("labelled", pictures.overlay(image, target, colors)),
            ("predicted", pictures.overlay(image, predicted[index], colors)),
            ("wrong pixels", pictures.mistakes(image, target, predicted[index])),
        ]
        body.append(_figure(caption, drawn))
    body.append(_suspects(assessment, examples, predicted, colors))
    return _write(
        directory, f"{measurement.version}: evaluation", body, {"source": source, **assessment.to_json()}, overwrite
    )


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
    notes = "".join(f"<li>{escape(note)}</li>" for note in decision.notes)
    verdict = "Promoted" if decision.promote else "Not promoted"
    named = [(decision.holdout, "holdout"), (decision.corrections, "held-out corrections")]
    compared = [(comparison, name) for comparison, name in named if comparison is not None]
    body = [
        _title(candidate.version or "candidate", f"against {escape(serving.version or 'the serving version')}"),
        f'<div class="verdict{" yes" if decision.promote else ""}"><b>{verdict}</b>'
        f"<p>{escape(decision.reason)}.</p></div>",
        f"<p class=soft>{escape(decision.rule)}</p>",
        f"<ul class=soft>{notes}</ul>" if notes else "",
        _comparison_table(compared) if compared else "",
        *(_class_differences(comparison, name, candidate, colors) for comparison, name in compared),
        _extra(extra),
        _legend(
            candidate, colors, [("mended", pictures.GOOD), ("damaged", pictures.BAD), ("still wrong", pictures.BOTH)]
        ),
    ]
    for heading, indices, empty in (
        ("Most improved images", improved, "No image got better."),
        ("Most damaged images", damaged, "No image got worse."),
    ):
        body.append(f"<h2>{heading}</h2>" + ("" if indices else f"<p class=soft>{empty}</p>"))
        for k in indices:
            index = places[candidate.ids[k]]
            image, target = examples[index]
            caption = f"<b>{escape(candidate.ids[k])}</b> wrong pixels: {1 - before[k]:.1%} &rarr; {1 - after[k]:.1%}"
            drawn = [
                ("labelled", pictures.overlay(image, target, colors)),
                ("before", pictures.overlay(image, old[index], colors)),
                ("after", pictures.overlay(image, new[index], colors)),
                (
                    "blue: mended, orange: damaged, yellow: still wrong",
                    pictures.change(image, target, old[index], new[index]),
                ),
            ]
            body.append(_figure(caption, drawn))
    # what the gate says stands, whatever the extra values are called
    values = {
        **extra,
        "candidate": candidate.version,
        "serving": serving.version,
        **decision.to_json(),
        "by_image": {"candidate": by_image(candidate), "serving": by_image(serving)},
    }
    return _write(directory, f"{candidate.version}: {verdict.lower()}", body, values, overwrite=True)


def check_place(directory: Path, source: Path, *, overwrite: bool) -> None:
    """Raise OutputExistsError where a report may not go, before work that would be for nothing.

    Args:
        directory: of the report.
        source: what is read for it: nothing is written there.
        overwrite: an older report may be replaced; anything else in ``directory`` may not.
    """
    check_free(directory, overwrite)
    if source.resolve() in (directory.resolve(), *directory.resolve().parents):
        raise OutputExistsError(
            f"{directory} is in the dataset {source} itself; nothing was written: give a folder outside"
        )
    others = sorted(p.name for p in directory.iterdir() if p.name not in (HTML, JSON)) if directory.is_dir() else []
    if others:
        raise OutputExistsError(
            f"{directory} holds what is no report ({others[0]}), and --overwrite replaces a report only; nothing was written: "
            "give another folder"
        )


def _write(directory: Path, title: str, body: Iterable[str], values: Mapping[str, Any], overwrite: bool) -> Path:
    created = datetime.now(UTC).isoformat(timespec="seconds")
    style = files(__package__).joinpath("report.css").read_text("utf-8")
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{style}</style></head><body>\n'
        + "\n".join(part for part in body if part)
        + f'\n<p class="soft">{escape(created)}, maskloop {escape(__version__)}. Every figure is in {JSON}.</p>\n'
        "</body></html>\n"
    )
    document = {"created": created, "code_version": __version__, **values}
    with atomic_directory(directory, overwrite=overwrite) as aside:
        (aside / HTML).write_text(page, encoding="utf-8")
        text = json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False)
        (aside / JSON).write_text(text + "\n", encoding="utf-8")
    return directory / HTML


def _title(title: str, text: str) -> str:
    return f'<h1>{escape(title)}</h1><p class="soft">{text}</p>'


def _mismatch(measurement: Measurement) -> str:
    lines = []
    if measurement.missing:
        lines.append(f"The version does not know {escape(', '.join(measurement.missing))}: it never predicts them.")
    if measurement.foreign:
        lines.append(
            f"The dataset does not know {escape(', '.join(measurement.foreign))}: pixels predicted as these count as wrong."
        )
    return "".join(f"<p>{line}</p>" for line in lines)


def _headline(assessment: Assessment) -> str:
    scores, measurement = assessment.scores, assessment.measurement
    error = calibration_error(measurement.calibration.sum(0))
    tiles = [
        ("mean IoU", f"{scores.miou.value:.3f}", _interval(scores.miou)),
        ("pixel accuracy", f"{scores.pixel_accuracy.value:.3f}", _interval(scores.pixel_accuracy)),
        ("boundary F", _number(scores.boundary_f), _interval(scores.boundary_f)),
        ("pixels left to correct", f"{1 - scores.pixel_accuracy.value:.1%}", "of those that are labelled"),
        ("calibration error", "-" if error is None else f"{error:.3f}", "expected, 15 bins"),
    ]
    cells = "".join(
        f'<div class="tile"><span>{name}</span><b>{value}</b><span>{text}&nbsp;</span></div>'
        for name, value, text in tiles
    )
    return (
        f'<div class="tiles">{cells}</div><p class="soft">Means are over the classes that the labels have; ranges are 95 % '
        "bootstrap intervals over images. Boundary F: outlines within 0.75 % of the image's diagonal (Csurka et al. 2013).</p>"
    )


def _against(assessment: Assessment, colors: Sequence[Color]) -> str:
    comparison = assessment.comparison
    if comparison is None:
        return ""
    tables = _class_differences(comparison, "same images", assessment.measurement, colors)
    return _comparison_table([(comparison, "")]) + tables


def _class_table(assessment: Assessment, colors: Sequence[Color]) -> str:
    measurement, confusion = assessment.measurement, assessment.measurement.confusion.sum(0)
    images = (measurement.confusion.sum(-1) > 0).sum(0)
    total = max(1, int(confusion.sum()))
    rows = []
    for k, name in enumerate(measurement.labels):
        value = assessment.scores.iou[name]
        off = confusion[k].copy()
        off[k] = 0
        worst = int(off.argmax())
        taken = f"{escape(_column(measurement, worst))} ({off[worst] / confusion[k].sum():.0%})" if off[worst] else ""
        bar = f'<span class="bar"><i style="width:{100 * value.value:.1f}%"></i></span>' if value is not None else ""
        rows.append(
            f"<tr><td>{_swatch(colors[k])}{escape(name)}</td><td>{bar}{_number(value)}</td><td>{_interval(value)}</td>"
            f"<td>{_number(assessment.scores.boundary[name])}</td><td>{confusion[k].sum() / total:.1%}</td>"
            f'<td>{int(images[k])}</td><td class="text">{taken}</td></tr>'
        )
    return (
        '<div class="wide"><table><thead><tr><th>class</th><th>IoU</th><th>interval</th><th>boundary F</th>'
        '<th>of pixels</th><th>images</th><th class="text">most taken for</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _confusions(measurement: Measurement) -> str:
    confusion = measurement.confusion.sum(0)
    off = confusion.copy()
    np.fill_diagonal(off, 0)
    ranked = [int(k) for k in np.argsort(-off, axis=None, kind="stable")[:_CONFUSIONS] if off.flat[k]]
    lines = []
    for place in ranked:
        row, column = divmod(place, off.shape[1])
        share = off[row, column] / confusion[row].sum()
        lines.append(
            f"<tr><td>{escape(measurement.labels[row])} &rarr; {escape(_column(measurement, column))}</td>"
            f"<td>{off[row, column]:,}</td><td>{share:.1%}</td></tr>"
        )
    listed = (
        '<p class="gap">The most frequent confusions:</p><div class="wide"><table><thead><tr><th>labelled &rarr; predicted</th>'
        f"<th>pixels</th><th>of the class</th></tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
        if lines
        else "<p>No pixel is wrong.</p>"
    )
    return f"<h2>Confusion matrix</h2>{_matrix(measurement)}{listed}"


def _matrix(measurement: Measurement) -> str:
    confusion = measurement.confusion.sum(0)
    columns = confusion.shape[1] if confusion[:, -1].any() else confusion.shape[1] - 1
    if columns > MATRIX_CLASSES:
        return f'<p class="soft">Of {columns} classes; {JSON} has it.</p>'
    names = [_column(measurement, k) for k in range(columns)]
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    rows = []
    for k, name in enumerate(measurement.labels):
        total = int(confusion[k].sum())
        cells = []
        for column in range(columns):
            count = int(confusion[k, column])
            share = count / total if total else 0.0
            hue = "var(--good)" if column == k else "var(--bad)"
            text = f"{100 * share:.0f}" if share >= 0.005 else ""
            tip = f"{name} predicted as {names[column]}: {count:,} pixels ({share:.2%})"
            # a root, so that small confusions are seen as well
            shade = f"background:color-mix(in srgb, {hue} {90 * share**0.5:.0f}%, transparent)" if count else ""
            cells.append(f'<td style="{shade}" title="{escape(tip)}">{text}</td>')
        rows.append(f"<tr><td>{escape(name)}</td>{''.join(cells)}</tr>")
    return (
        '<p class="soft">Rows are labels, columns predictions, in per cent of the row; point at a cell for its pixels.</p>'
        f'<div class="wide"><table class="matrix"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _calibration(measurement: Measurement) -> str:
    counts = measurement.calibration.sum(0)
    error = calibration_error(counts)
    if error is None:
        return ""
    bins = reliability(counts)
    right, confident = counts[:, 1].sum() / counts[:, 0].sum(), counts[:, 2].sum() / counts[:, 0].sum() / 255
    gap = confident - right
    habit = "about as sure as it may be" if abs(gap) < _SURE else "too sure" if gap > 0 else "less sure than it may be"
    return (
        f"<h2>Calibration</h2><p>On average the model is {confident:.1%} sure and right in {right:.1%} of the pixels: "
        f"it is {habit}. Expected calibration error {error:.3f}.</p>{_diagram(bins)}"
    )


def _diagram(bins: Sequence[Bin]) -> str:
    """Return the reliability diagram as SVG: accuracy over confidence, the share of the pixels below."""
    left, top, side, low = 44, 10, 300, 54
    most = max(level.pixels for level in bins)
    everything = sum(level.pixels for level in bins)
    parts = []
    for level in bins:
        if level.accuracy is None or level.confidence is None:
            continue
        x, width = left + side * level.low, side * (level.high - level.low)
        tip = f"{level.confidence:.1%} sure, {level.accuracy:.1%} right, {level.pixels / everything:.1%} of the pixels"
        height = side * level.accuracy
        bar = low * level.pixels / most
        parts.append(
            f'<g><title>{tip}</title><rect x="{x + 1:.1f}" y="{top + side - height:.1f}" width="{width - 2:.1f}" '
            f'height="{height:.1f}" fill="var(--good)" opacity="0.75"/><rect x="{x + 1:.1f}" '
            f'y="{top + side + 34 + low - bar:.1f}" width="{width - 2:.1f}" height="{bar:.1f}" fill="var(--soft)"/></g>'
        )
    ticks = []
    for k in range(6):
        at = k / 5
        ticks.append(
            f'<text x="{left - 8}" y="{top + side * (1 - at) + 4:.1f}" text-anchor="end">{at:.1f}</text>'
            f'<text x="{left + side * at:.1f}" y="{top + side + 16}" text-anchor="middle">{at:.1f}</text>'
        )
    height, width = top + side + 34 + low + 22, left + side + 150
    return (
        f'<svg role="img" aria-label="Reliability diagram" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f'<rect x="{left}" y="{top}" width="{side}" height="{side}" fill="none" stroke="var(--line)"/>'
        f'{"".join(parts)}<line x1="{left}" y1="{top + side}" x2="{left + side}" y2="{top}" stroke="var(--ink)" '
        f'stroke-dasharray="5 4"/>{"".join(ticks)}'
        f'<text x="{left + side + 10}" y="{top + 14}">share that is right</text>'
        f'<text x="{left + side + 22}" y="{top + side + 16}">confidence</text>'
        f'<text x="{left + side + 10}" y="{top + side + 34 + low}">share of pixels</text></svg>'
    )


def _suspects(
    assessment: Assessment, examples: Examples, predicted: Mapping[int, pictures.Pixels], colors: Sequence[Color]
) -> str:
    suspects = assessment.suspects
    head = "<h2>Suspicious labels</h2>"
    if not suspects:
        return head + '<p class="soft">None: nowhere is the model sure that a labelled area is another class.</p>'
    cards = []
    for suspect in suspects[:DRAWN_SUSPECTS]:
        image, target = examples[suspect.index]
        drawn = [
            ("labelled", pictures.framed(pictures.overlay(image, target, colors), suspect.box)),
            ("predicted", pictures.framed(pictures.overlay(image, predicted[suspect.index], colors), suspect.box)),
        ]
        caption = (
            f"<b>{escape(suspect.image)}</b> labelled {escape(suspect.label)}, the model is {suspect.confidence:.0%} sure "
            f"of {escape(suspect.predicted)} ({suspect.pixels:,} pixels)"
        )
        cards.append(_figure(caption, drawn, _CROP))
    rest = "".join(
        f"<tr><td>{escape(suspect.image)}</td><td>{escape(suspect.label)}</td><td>{escape(suspect.predicted)}</td>"
        f"<td>{suspect.confidence:.0%}</td><td>{suspect.pixels:,}</td>"
        f"<td>{', '.join(map(str, suspect.box))}</td></tr>"
        for suspect in suspects[DRAWN_SUSPECTS:LISTED_SUSPECTS]
    )
    table = (
        '<div class="wide"><table><thead><tr><th>image</th><th>label</th><th>predicted</th><th>sure</th><th>pixels</th>'
        f"<th>left, top, width, height</th></tr></thead><tbody>{rest}</tbody></table></div>"
        if rest
        else ""
    )
    return (
        f'{head}<p class="soft">Areas where the model is about as sure of another class as where it agrees with the labels, '
        f"at least 75 %, away from every outline; most wrongly labelled pixels first. {len(suspects):,} in all. The model may be wrong: "
        f'look before you change.</p><div class="cards">{"".join(cards)}</div>{table}'
    )


def _comparison_table(compared: Sequence[tuple[Comparison, str]]) -> str:
    rows = []
    for comparison, name in compared:
        where = f"{escape(name)}, {_images(comparison.images)}" if name else _images(comparison.images)
        for metric, change in (
            ("mean IoU", comparison.miou),
            ("pixel accuracy", comparison.pixel_accuracy),
            ("boundary F", comparison.boundary_f),
        ):
            rows.append(f'<tr><td>{where}</td><td class="text">{metric}</td>{_change_cells(change)}</tr>')
    first = compared[0][0]
    return (
        f"<h2>{escape(first.candidate or 'This version')} against {escape(first.serving or 'the other')}</h2>"
        '<div class="wide"><table><thead><tr><th></th><th class="text"></th><th>before</th><th>after</th>'
        f"<th>difference</th><th>{first.confidence:.0%} interval</th><th>rises in</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _class_differences(comparison: Comparison, name: str, measurement: Measurement, colors: Sequence[Color]) -> str:
    rows = [
        f"<tr><td>{_swatch(colors[k])}{escape(label)}</td><td>{comparison.class_images[label]}</td>"
        f"{_change_cells(comparison.iou[label])}</tr>"
        for k, label in enumerate(measurement.labels)
    ]
    return (
        f"<h2>IoU of the classes on the {escape(name)}</h2>"
        '<div class="wide"><table><thead><tr><th>class</th><th>images</th><th>before</th><th>after</th>'
        f"<th>difference</th><th>{comparison.confidence:.0%} interval</th><th>rises in</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _change_cells(change: Difference | None) -> str:
    if change is None:
        return "<td>-</td><td>-</td><td>-</td><td></td><td></td>"
    tone = "up" if change.value > 0 else "down" if change.value < 0 else "soft"
    interval = "" if change.low is None or change.high is None else f"{change.low:+.3f} to {change.high:+.3f}"
    return (
        f'<td>{change.serving:.3f}</td><td>{change.candidate:.3f}</td><td class="{tone}">{_signed(change.value, 3)}</td>'
        f"<td>{interval}</td><td>{change.rising:.0%} of redraws</td>"
    )


def _extra(values: Mapping[str, Any]) -> str:
    parts = (f"<h2>{escape(_words(name).capitalize())}</h2>{_value(value)}" for name, value in values.items())
    return "".join(parts)


def _value(value: Any) -> str:
    """Return JSON values as text, lists and tables within tables."""
    if isinstance(value, Mapping):
        rows = "".join(
            f'<tr><td>{escape(_words(key))}</td><td class="text">{_value(item)}</td></tr>'
            for key, item in value.items()
        )
        return f'<div class="wide"><table><tbody>{rows}</tbody></table></div>'
    if isinstance(value, list | tuple):
        if value and all(isinstance(item, Mapping) for item in value):
            return _records(value)
        return ", ".join(_value(item) for item in value) or "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else escape(str(value))


def _records(records: Sequence[Mapping[str, Any]]) -> str:
    keys = list(dict.fromkeys(key for record in records for key in record))
    head = "".join(f"<th>{escape(_words(key))}</th>" for key in keys)
    rows = "".join(f"<tr>{''.join(f'<td>{_value(record.get(key))}</td>' for key in keys)}</tr>" for record in records)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _figure(caption: str, drawn: Sequence[tuple[str, pictures.Pixels]], longest: int = pictures.LONGEST) -> str:
    cells = "".join(
        f'<div>{escape(text)}<img alt="{escape(text)}" src="{pictures.data_uri(picture, longest)}"></div>'
        for text, picture in drawn
    )
    return f'<figure><figcaption>{caption}</figcaption><div class="row">{cells}</div></figure>'


def _legend(measurement: Measurement, colors: Sequence[Color], marks: Sequence[tuple[str, Color]]) -> str:
    names = [*measurement.labels, *(["class that the dataset lacks"] if measurement.foreign else [])]

    def entries(pairs: Iterable[tuple[str, Color]]) -> str:
        return "".join(f"<span>{_swatch(color)}{escape(name)}</span>" for name, color in pairs)

    return (
        f'<h2>Pictures</h2><p class="legend">{entries(zip(names, colors, strict=False))}</p>'
        f'<p class="legend">On grey: {entries(marks)} striped: not labelled</p>'
    )


def _column(measurement: Measurement, column: int) -> str:
    return measurement.labels[column] if column < len(measurement.labels) else "other classes"


def _swatch(color: Color) -> str:
    return f'<i class="swatch" style="background:rgb{color}"></i>'


def _number(estimate: Estimate | None) -> str:
    return "-" if estimate is None else f"{estimate.value:.3f}"


def _interval(estimate: Estimate | None) -> str:
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    return f"{estimate.low:.3f} to {estimate.high:.3f}"


def _signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}"


def _words(key: Any) -> str:
    return str(key).replace("_", " ")


def _images(count: int) -> str:
    return f"{count} image" if count == 1 else f"{count} images"
