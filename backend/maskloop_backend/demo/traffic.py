"""Who is on the road: cars and people."""

from __future__ import annotations

import math

import numpy as np

from .canvas import SMOOTH, Point, Rgb, shade
from .labels import CAR, PERSON
from .view import CLOTHES, PAINTS, SKINS, View


def paint_car(view: View, x: float, z: float) -> None:
    """A car seen from behind or from the front, with its flank in perspective."""
    rng = view.rng
    paint = PAINTS[rng.integers(len(PAINTS))]
    half, belt, roof = float(rng.uniform(0.86, 0.96)), float(rng.uniform(0.88, 1.0)), float(rng.uniform(1.42, 1.75))
    end, glass, tyre = z + float(rng.uniform(3.7, 4.5)), (58, 74, 88), (34, 34, 38)
    coming = x < 0
    view.canvas.shadow((*view.at(x - half - 0.25, 0, end), *view.at(x + half + 0.25, -0.12, z)), 0.35)
    inner = x + half if x < 0 else x - half
    if view.center + x * view.focal / z > view.canvas.width / 2 + view.canvas.width / 3:
        inner = x - half
    dark = shade(paint, 0.72 if (inner < x) == (view.sun < 0) else 0.6)
    for wz in (z + 0.75, end - 0.8):
        for wx in (x - half + 0.1, x + half - 0.1):
            view.quad(
                [(wx - 0.1, 0, wz), (wx + 0.1, 0, wz), (wx + 0.1, 0.62, wz), (wx - 0.1, 0.62, wz)],
                tyre,
                CAR,
                SMOOTH,
            )
    tumble = half * 0.80
    inside = x + (tumble if inner > x else -tumble)
    view.quad([(inner, 0.3, z), (inner, 0.3, end), (inner, belt, end), (inner, belt, z)], dark, CAR, SMOOTH)
    wheel = [(inner, 0.34 + 0.34 * math.sin(a), 0.34 * math.cos(a)) for a in np.linspace(0, 2 * math.pi, 20)]
    for wz in (z + 0.75, end - 0.8):
        view.quad([(a, b, wz + c) for a, b, c in wheel], tyre, CAR, SMOOTH)
        view.quad([(a, 0.34 + (b - 0.34) * 0.5, wz + c * 0.5) for a, b, c in wheel], (150, 152, 156), CAR, SMOOTH)
    z1, z2, slope = z + 0.25, end - 1.0, 0.45
    view.quad(
        [(x - half, belt, z), (x + half, belt, z), (x + half, belt, end), (x - half, belt, end)],
        shade(paint, 1.05),
        CAR,
        SMOOTH,
    )
    view.quad(
        [(inner, belt, z1), (inside, roof, z1 + slope), (inside, roof, z2 - slope), (inner, belt, z2)],
        dark,
        CAR,
        SMOOTH,
    )
    view.quad(
        [
            (inner, belt + 0.06, z1 + 0.35),
            (inside, roof - 0.09, z1 + slope + 0.15),
            (inside, roof - 0.09, z2 - slope - 0.15),
            (inner, belt + 0.06, z2 - 0.35),
        ],
        shade(glass, 0.8),
        CAR,
        SMOOTH,
    )
    view.quad(
        [
            (x - tumble, roof, z1 + slope),
            (x + tumble, roof, z1 + slope),
            (x + tumble * 0.95, roof, z2 - slope),
            (x - tumble * 0.95, roof, z2 - slope),
        ],
        shade(paint, 1.1),
        CAR,
        SMOOTH,
    )
    view.quad(
        [
            (x - half, belt, z1),
            (x + half, belt, z1),
            (x + tumble, roof, z1 + slope),
            (x - tumble, roof, z1 + slope),
        ],
        shade(paint, 0.95),
        CAR,
        SMOOTH,
    )
    view.quad(
        [
            (x - half + 0.14, belt + 0.04, z1),
            (x + half - 0.14, belt + 0.04, z1),
            (x + tumble - 0.1, roof - 0.1, z1 + slope),
            (x - tumble + 0.1, roof - 0.1, z1 + slope),
        ],
        glass,
        CAR,
        SMOOTH,
    )
    _rear(view, x, z, half, belt, paint, coming=coming)


def _rear(view: View, x: float, z: float, half: float, belt: float, paint: Rgb, *, coming: bool) -> None:
    face = [(-1, 0.34), (-0.97, 0.28), (0.97, 0.28), (1, 0.34), (1, belt - 0.08), (0.94, belt), (-0.94, belt)]
    view.quad([(x + u * half, y, z) for u, y in [*face, (-1, belt - 0.08)]], paint, CAR, SMOOTH)
    view.box(x - half, x + half, 0.28, 0.46, z, shade(paint, 0.6), CAR, SMOOTH)
    lamp = (246, 240, 214) if coming else (206, 40, 34)
    for side in (-1, 1):
        near, far = sorted((x + side * half * 0.96, x + side * half * 0.66))
        view.box(near, far, belt - 0.30, belt - 0.14, z, lamp, CAR, SMOOTH)
    if coming:
        view.box(x - half * 0.5, x + half * 0.5, belt - 0.32, belt - 0.16, z, (40, 42, 46), CAR, SMOOTH)
    view.box(x - 0.26, x + 0.26, 0.5, 0.61, z, (236, 234, 222), CAR, SMOOTH)


def paint_crossing_car(view: View, x: float, z: float) -> None:
    """A car seen from its side."""
    rng = view.rng
    paint = PAINTS[rng.integers(len(PAINTS))]
    way = float(rng.choice((-1.0, 1.0)))
    view.canvas.shadow((*view.at(x - 2.3, 0.1, z), *view.at(x + 2.3, -0.2, z)), 0.35)
    body = [(-2.1, 0.3), (2.1, 0.3), (2.15, 0.7), (1.95, 0.85), (1.05, 0.95), (0.45, 1.42), (-1.0, 1.45)]
    body += [(-1.75, 0.98), (-2.1, 0.9), (-2.15, 0.6)]
    view.quad([(x + way * u, v, z) for u, v in body], paint, CAR, SMOOTH)
    view.quad(
        [(x + way * u, v, z) for u, v in [(-2.1, 0.3), (2.1, 0.3), (2.14, 0.5), (-2.14, 0.5)]],
        shade(paint, 0.7),
        CAR,
        SMOOTH,
    )
    for pane in (
        [(0.92, 0.95), (0.42, 1.34), (-0.2, 1.36), (-0.2, 0.95)],
        [(-0.3, 0.95), (-0.3, 1.36), (-0.95, 1.36), (-1.5, 0.97)],
    ):
        view.quad([(x + way * u, v, z) for u, v in pane], (66, 84, 100), CAR, SMOOTH)
    for u in (-1.3, 1.3):
        view.canvas.ellipse(view.disc(x + u, 0.33, 0.33, z), (34, 34, 38), CAR, SMOOTH, z)
        view.canvas.ellipse(view.disc(x + u, 0.33, 0.17, z), (156, 158, 162), CAR, SMOOTH, z)


def paint_person(view: View, x: float, z: float) -> None:
    """Somebody who walks, seen from the front, some with an umbrella."""
    rng = view.rng
    tall = float(rng.uniform(1.55, 1.9)) / 1.75
    skin = SKINS[rng.integers(len(SKINS))]
    coat, trousers = (CLOTHES[k] for k in rng.choice(len(CLOTHES), 2, replace=False))
    hair: Rgb = ((40, 30, 26), (92, 62, 40), (190, 160, 96), (120, 120, 122))[rng.integers(4)]
    trousers = shade(trousers, 0.7)
    stride, swing = float(rng.uniform(0.06, 0.26)), float(rng.uniform(-0.25, 0.25))
    scale = view.focal / z * tall
    view.cast_shadow(x, z, 0.5)

    def limb(points: list[Point], width: float, color: Rgb) -> None:
        spots = [view.at(x + u * tall, v * tall, z) for u, v in points]
        view.canvas.line(spots, width * scale, color, PERSON, SMOOTH, z)

    for side, dim in ((-1, 0.85), (1, 1.0)):
        limb(
            [(0.08 * side, 0.9), (side * (0.08 + stride * 0.6), 0.48), (side * (0.08 + stride), 0.06)],
            0.19,
            shade(trousers, dim),
        )
        limb([(side * (0.06 + stride), 0.05), (side * (0.10 + stride), 0.05)], 0.11, (42, 38, 36))
    limb([(-0.22, 1.38), (-0.30 - swing * 0.2, 1.1), (-0.26 + swing, 0.86)], 0.13, shade(coat, 0.78))
    torso = [(-0.25, 1.42), (-0.12, 1.5), (0.12, 1.5), (0.25, 1.42), (0.23, 0.84), (-0.23, 0.84)]
    view.canvas.polygon([view.at(x + u * tall, v * tall, z) for u, v in torso], coat, PERSON, SMOOTH, z)
    limb([(0.22, 1.38), (0.31 + swing * 0.2, 1.1), (0.27 - swing, 0.86)], 0.13, shade(coat, 0.9))
    limb([(0, 1.48), (0, 1.56)], 0.12, shade(skin, 0.85))
    for color, y, r in ((hair, 1.67, 0.135), (skin, 1.63, 0.115)):
        view.canvas.ellipse(view.disc(x, y * tall, r * tall, z), color, PERSON, SMOOTH, z)
    if rng.random() < 0.25:
        _umbrella(view, x + 0.27 * tall, tall, z)


def _umbrella(view: View, x: float, tall: float, z: float) -> None:
    """Held over the head by a thin stick; it belongs to the person."""
    color = CLOTHES[view.rng.integers(len(CLOTHES))]
    scale = view.focal / z
    view.canvas.line(
        [view.at(x, 1.0 * tall, z), view.at(x, 2.1 * tall, z)], 0.035 * scale, (50, 46, 44), PERSON, SMOOTH, z
    )
    bow = [(x + 0.62 * math.cos(a), 1.9 * tall + 0.36 * math.sin(a)) for a in np.linspace(0, math.pi, 20)]
    view.canvas.polygon([view.at(*point, z) for point in bow], color, PERSON, SMOOTH, z)
