"""The curves of a simulation as an SVG picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from .curves import Curve

_WIDTH, _HEIGHT = 760, 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 20, 44, 56
# Pixels between the numbers below, at least.
_APART = 30
# Okabe, Ito: distinguishable with colour blindness, too.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#f0e442")


def curves_svg(curves: Sequence[Curve], title: str) -> str:
    """Return mIoU against labelled images as an SVG document: a line a strategy, and one standard deviation around it.

    Labels are drawn by their logarithm: ten more are much at ten and little at two hundred.
    """
    xs = [count for curve in curves for count in curve.labelled]
    lows = [m - s for curve in curves for m, s in zip(curve.miou, curve.spread, strict=True)]
    highs = [m + s for curve in curves for m, s in zip(curve.miou, curve.spread, strict=True)]
    step = _tick((max(highs) - min(lows)) / 6)
    low, high = step * int(min(lows) / step), step * (int(max(highs) / step) + 1)
    decades = math.log(max(xs) / min(xs)) or 1.0

    def x_of(count: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * math.log(count / min(xs)) / decades

    def y_of(value: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * (value - low) / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="13">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="24" font-size="15" font-weight="600">{escape(title)}</text>',
    ]
    for number in range(round((high - low) / step) + 1):
        value = low + number * step
        parts.append(
            f'<path d="M{_LEFT} {y_of(value):.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>'
            f'<text x="{_LEFT - 8}" y="{y_of(value) + 4:.1f}" text-anchor="end" fill="#555">{value:.3g}</text>'
        )
    last = -math.inf
    for count in sorted(set(xs)):
        if x_of(count) - last >= _APART:
            last = x_of(count)
            parts.append(
                f'<text x="{last:.1f}" y="{_HEIGHT - _BOTTOM + 20}" text-anchor="middle" fill="#555">{count}</text>'
            )
    parts.append(
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 14}" text-anchor="middle" fill="#333">labelled images</text>'
        f'<text transform="translate(18 {(_TOP + _HEIGHT - _BOTTOM) / 2}) rotate(-90)" text-anchor="middle" fill="#333">'
        "mean IoU, validation</text>"
    )
    for number, curve in enumerate(curves):
        color = _COLORS[number % len(_COLORS)]
        band = list(zip(curve.labelled, curve.miou, curve.spread, strict=True))
        outline = [(x_of(x), y_of(m + s)) for x, m, s in band] + [(x_of(x), y_of(m - s)) for x, m, s in reversed(band)]
        line = " ".join(f"{x_of(x):.1f},{y_of(m):.1f}" for x, m, _ in band)
        around = " ".join(f"{x:.1f},{y:.1f}" for x, y in outline)
        parts.append(f'<polygon points="{around}" fill="{color}" fill-opacity=".12"/>')
        parts.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2.2"/>')
        parts += [f'<circle cx="{x_of(x):.1f}" cy="{y_of(m):.1f}" r="3" fill="{color}"/>' for x, m, _ in band]
        y = _HEIGHT - _BOTTOM - 14 - 20 * (len(curves) - 1 - number)
        x = _WIDTH - _RIGHT - 190
        parts.append(
            f'<path d="M{x} {y - 4}h26" stroke="{color}" stroke-width="2.2"/>'
            f'<text x="{x + 34}" y="{y}">{escape(curve.strategy)}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _tick(rough: float) -> float:
    """Return a round number about as large: 1, 2 or 5 times a power of ten."""
    if rough <= 0:
        return 1.0
    power = 10.0 ** len(str(int(rough))) / 10 if rough >= 1 else 1.0
    while power > rough:
        power /= 10
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
