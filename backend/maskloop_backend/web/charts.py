"""Where the marks of a chart stand, in the units of its SVG: templates/charts.html draws them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 720, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 30
# So many dates fit below a chart.
_DATES = 7


@dataclass(frozen=True, slots=True)
class Mark:
    """A point of a line or a piece of a bar.

    Attributes:
        x: left edge of a piece, middle of a point.
        y: top edge of a piece, middle of a point.
        tip: what it says when it is pointed at.
        width: of a piece, 0 of a point.
        height: likewise.
        tone: number of its colour in the style sheet.
    """

    x: float
    y: float
    tip: str
    width: float = 0.0
    height: float = 0.0
    tone: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """One series: points, and the strokes between those that follow each other."""

    name: str
    tone: int
    path: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Tick:
    """A text beside or below the axes."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart's marks.

    Attributes:
        title: what it shows, for those who do not see it.
        rows: ticks of the vertical axis.
        columns: ticks of the horizontal one.
        lines: series as lines.
        pieces: of stacked bars.
        legend: (tone, name) of each series.
    """

    title: str
    rows: tuple[Tick, ...]
    columns: tuple[Tick, ...]
    lines: tuple[Line, ...] = ()
    pieces: tuple[Mark, ...] = ()
    legend: tuple[tuple[int, str], ...] = ()
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT


def lines(
    title: str,
    columns: Sequence[str],
    series: Sequence[tuple[str, Sequence[float | None]]],
    *,
    tips: Sequence[str] | None = None,
    percent: bool = False,
) -> Chart:
    """Return a chart of lines over columns that are equally far apart.

    Args:
        title: of the chart.
        columns: their texts, oldest first.
        series: name and a value a column; None leaves a gap.
        tips: what is said of each column beside the value; None says the column's text.
        percent: values are shares, shown as per cent.
    """
    values = [value for _, own in series for value in own if value is not None and math.isfinite(value)]
    low, high, step = _range(min(values, default=0.0), max(values, default=1.0))
    drawn = []
    for tone, (name, own) in enumerate(series):
        marks, path, joined = [], [], False
        for k, value in enumerate(own):
            if value is None or not math.isfinite(value):
                joined = False
                continue
            x, y = _x(k, len(columns)), _y(value, low, high)
            path.append(f"{'L' if joined else 'M'}{x:.1f} {y:.1f}")
            joined = True
            told = f"{value:.1%}" if percent else f"{value:.3f}"
            marks.append(Mark(x, y, f"{(tips or columns)[k]}: {name} {told}"))
        drawn.append(Line(name, tone, "".join(path), tuple(marks)))
    rows = _rows(low, high, step, percent=percent)
    legend = tuple((line.tone, line.name) for line in drawn)
    return Chart(title, rows, _columns(columns), lines=tuple(drawn), legend=legend)


def bars(
    title: str,
    columns: Sequence[str],
    series: Sequence[tuple[str, Sequence[int]]],
    *,
    tips: Sequence[str] | None = None,
) -> Chart:
    """Return a chart of stacked bars, one a column.

    Args:
        title: of the chart.
        columns: their texts, oldest first.
        series: name and a count a column; the first lies at the bottom.
        tips: what is said of each column beside the count; None says the column's text.
    """
    highest = max((sum(own[k] for _, own in series) for k in range(len(columns))), default=0)
    low, high, step = _range(0.0, float(max(1, highest)), whole=True)
    wide = min(56.0, 0.7 * (WIDTH - _LEFT - _RIGHT) / max(1, len(columns)))
    pieces = []
    for k in range(len(columns)):
        below = 0
        for tone, (name, own) in enumerate(series):
            if own[k]:
                top, bottom = _y(below + own[k], low, high), _y(below, low, high)
                tip = f"{(tips or columns)[k]}: {own[k]:,} {name}"
                pieces.append(Mark(_x(k, len(columns)) - wide / 2, top, tip, wide, bottom - top, tone))
                below += own[k]
    legend = tuple((tone, name) for tone, (name, _) in enumerate(series))
    return Chart(title, _rows(low, high, step), _columns(columns), pieces=tuple(pieces), legend=legend)


def _x(k: int, count: int) -> float:
    """Return the middle of a column."""
    return _LEFT + (WIDTH - _LEFT - _RIGHT) * (k + 0.5) / max(1, count)


def _y(value: float, low: float, high: float) -> float:
    return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * (value - low) / (high - low)


def _range(low: float, high: float, *, whole: bool = False) -> tuple[float, float, float]:
    """Return the ends of an axis around values, and the step between its ticks: 1, 2 or 5 times a power of ten."""
    rough = max(high - low, 1e-3) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    step = max(1.0, step) if whole else step
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return first * step, max(last, first + 1) * step, step


def _rows(low: float, high: float, step: float, *, percent: bool = False) -> tuple[Tick, ...]:
    digits = max(0, -math.floor(math.log10(step) + 1e-9) - (2 if percent else 0))
    ticks = []
    for k in range(round((high - low) / step) + 1):
        value = low + k * step
        ticks.append(Tick(_y(value, low, high), f"{100 * value:.{digits}f} %" if percent else f"{value:,.{digits}f}"))
    return tuple(ticks)


def _columns(texts: Sequence[str]) -> tuple[Tick, ...]:
    """Return the ticks of some of the columns, the last one among them."""
    every = -(-len(texts) // _DATES) or 1
    chosen = range(len(texts) - 1, -1, -every)
    return tuple(Tick(_x(k, len(texts)), texts[k]) for k in chosen)
