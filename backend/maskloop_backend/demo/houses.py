"""What is built: houses, a town gate, lamps; all of the class building."""

from __future__ import annotations

import math

import numpy as np

from .canvas import PLASTER, SMOOTH, Point, Rgb, shade
from .labels import BUILDING
from .view import CLOTHES, FACADES, View


def paint_gate(view: View, z: float) -> None:
    """A town gate across the street: one drives through the arch and sees the sky through its belfry."""
    rng, before = view.rng, view.canvas.copy()
    color = FACADES[rng.integers(len(FACADES))]
    high, half = float(rng.uniform(11, 14)), view.wall + 0.5
    arch = float(rng.uniform(2.8, 3.6))
    view.box(-half, half, 0, high, z, color, BUILDING, PLASTER)
    view.box(-half - 0.3, half + 0.3, high, high + 0.5, z, shade(color, 0.75), BUILDING, PLASTER)
    view.box(-half, half, 5.9, 6.2, z, shade(color, 0.8), BUILDING, PLASTER)
    rim = _arch(view, 0, 0, arch + 0.35, 3.0, z)
    view.canvas.polygon(rim, shade(color, 0.7), BUILDING, PLASTER, z)
    view.canvas.reopen(before, _arch(view, 0, 0, arch, 3.0, z))
    for x in (-4.4, -1.5, 1.5, 4.4):
        view.canvas.reopen(before, _arch(view, x, 7.2, 0.95, 1.8, z))


def _arch(view: View, x: float, y: float, radius: float, straight: float, z: float) -> list[Point]:
    """Return the outline of an arch that stands on the height y."""
    bow = [(x + radius * math.cos(a), y + straight + radius * math.sin(a)) for a in np.linspace(0, math.pi, 24)]
    return [view.at(*point, z) for point in [(x + radius, y), *bow, (x - radius, y)]]


def paint_lamp(view: View, side: float, z: float) -> None:
    """A street lamp: a thin pole of the class building."""
    x, scale, iron = side * (view.kerb + 0.45), view.focal / z, (62, 66, 70)
    top = 5.4
    view.canvas.line([view.at(x, 0, z), view.at(x, top, z)], 0.13 * scale, iron, BUILDING, SMOOTH, z)
    view.canvas.line([view.at(x, 0, z), view.at(x, 0.8, z)], 0.24 * scale, iron, BUILDING, SMOOTH, z)
    arm = [(x, top), (x - side * 0.35, top + 0.3), (x - side * 1.3, top + 0.35)]
    view.canvas.line([view.at(*point, z) for point in arm], 0.10 * scale, iron, BUILDING, SMOOTH, z)
    head = [view.at(x - side * u, top + v, z) for u, v in ((1.0, 0.42), (1.7, 0.38), (1.65, 0.22), (1.05, 0.22))]
    view.canvas.polygon(head, (232, 228, 206), BUILDING, SMOOTH, z)


class Building:
    """A house on one side of the street, its long wall along it."""

    def __init__(self, street: View, side: float, near: float, far: float) -> None:
        rng = street.rng
        self._street, self._near, self._far, self._side = street, near, far, side
        self._x = side * street.wall
        self._floors = int(rng.integers(2, 6))
        self._high = 3.6 + 3.0 * self._floors
        self._color = shade(FACADES[rng.integers(len(FACADES))], float(rng.uniform(0.9, 1.1)))
        self._rng = rng

    def paint(self) -> None:
        """Paint it: the end that faces the camera, then the wall along the street, then windows and roof."""
        street, x, near, far, high = self._street, self._x, self._near, self._far, self._high
        outer = x + self._side * 12
        wall = shade(self._color, 1.06 if self._side == -street.sun else 0.8)
        street.quad(
            [(x, 0, near), (outer, 0, near), (outer, high, near), (x, high, near)],
            shade(self._color, 0.9),
            BUILDING,
            PLASTER,
        )
        street.quad([(x, 0, near), (x, 0, far), (x, high, far), (x, high, near)], wall, BUILDING, PLASTER)
        self._windows(wall)
        self._wall_strip(high - 0.45, high, shade(wall, 0.72))
        self._wall_strip(3.2, 3.45, shade(wall, 0.8))
        self._on_roof()

    def _wall_strip(
        self, low: float, high: float, color: Rgb, near: float | None = None, far: float | None = None
    ) -> None:
        z1, z2 = self._near if near is None else near, self._far if far is None else far
        x = self._x
        self._street.quad([(x, low, z1), (x, low, z2), (x, high, z2), (x, high, z1)], color, BUILDING, SMOOTH)

    def _windows(self, wall: Rgb) -> None:
        rng = self._rng
        columns = max(2, int((self._far - self._near) / float(rng.uniform(2.2, 3.0))))
        pitch = (self._far - self._near) / columns
        glass = (84, 104, 122) if rng.random() < 0.6 else (58, 64, 74)
        shop = CLOTHES[rng.integers(len(CLOTHES))]
        for column in range(columns):
            z1 = self._near + pitch * (column + 0.25)
            z2 = z1 + pitch * 0.5
            self._wall_strip(0.4, 2.7, (66, 72, 80), z1 - pitch * 0.12, z2 + pitch * 0.12)
            self._wall_strip(2.6, 3.1, shop, z1 - pitch * 0.18, z2 + pitch * 0.18)
            for floor in range(self._floors):
                low = 4.4 + 3.0 * floor
                self._wall_strip(low - 0.12, low + 1.72, shade(wall, 1.16), z1 - 0.1, z2 + 0.1)
                lit = rng.random() < 0.12
                self._wall_strip(low, low + 1.6, (236, 206, 140) if lit else glass, z1, z2)

    def _on_roof(self) -> None:
        """Chimneys and thin aerials against the sky."""
        street, rng, x, high = self._street, self._rng, self._x, self._high
        for _ in range(int(rng.integers(0, 3))):
            z = float(rng.uniform(self._near + 1, self._far - 1))
            if z < 8:
                continue
            inside = x + self._side * float(rng.uniform(0.3, 1.5))
            if rng.random() < 0.5:
                street.box(inside - 0.4, inside + 0.4, high, high + 1.3, z, (132, 84, 70), BUILDING, PLASTER)
                continue
            scale = street.focal / z
            iron, top = (70, 70, 74), high + 2.6
            street.canvas.line(
                [street.at(inside, high - 0.3, z), street.at(inside, top, z)], 0.07 * scale, iron, BUILDING, SMOOTH, z
            )
            for y in (top - 0.2, top - 0.7):
                street.canvas.line(
                    [street.at(inside - 0.7, y, z), street.at(inside + 0.7, y, z)],
                    0.05 * scale,
                    iron,
                    BUILDING,
                    SMOOTH,
                    z,
                )
