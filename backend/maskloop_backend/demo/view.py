"""The camera in the street, and what everything that stands there is painted with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .canvas import WEATHERS, Canvas, Point, Rgb

FACADES: tuple[Rgb, ...] = (
    (186, 108, 84),
    (214, 178, 132),
    (198, 192, 178),
    (160, 146, 150),
    (222, 206, 164),
    (150, 88, 74),
    (172, 182, 176),
)
PAINTS: tuple[Rgb, ...] = (
    (178, 30, 34),
    (34, 62, 128),
    (232, 232, 228),
    (44, 46, 52),
    (226, 176, 40),
    (44, 118, 108),
    (150, 156, 164),
)
CLOTHES: tuple[Rgb, ...] = (
    (196, 48, 60),
    (44, 70, 140),
    (236, 190, 60),
    (50, 52, 60),
    (70, 134, 110),
    (218, 214, 206),
    (128, 72, 138),
)
SKINS: tuple[Rgb, ...] = ((240, 204, 176), (206, 158, 122), (150, 104, 76), (98, 66, 50))
GREENS: tuple[Rgb, ...] = ((74, 122, 52), (96, 138, 50), (52, 102, 58), (142, 138, 48), (60, 112, 44))


class View:
    """A pinhole camera that looks down a street, and its canvas; places are in metres.

    x goes right from the middle of the road, y up from the ground, z away from the camera.

    Attributes:
        rng: what the scene is drawn from.
        canvas: what it is painted on.
        weather: its light.
        horizon: height of the horizon, as a share of the picture from its top.
        focal: focal length in pixels of the canvas: over z, the pixels of a metre.
        kerb: half the width of the road.
        wall: where the houses begin, left and right.
        sun: -1 where it stands on the left, 1 on the right; walls that face it are brighter.
    """

    def __init__(self, rng: np.random.Generator, size: tuple[int, int]) -> None:
        self.rng = rng
        self.canvas = Canvas(size)
        self.weather = WEATHERS[rng.integers(len(WEATHERS))]
        self.horizon = float(rng.uniform(0.40, 0.52))
        self.eye = float(rng.uniform(1.5, 2.3))
        self.focal = self.canvas.width * rng.uniform(0.85, 1.05)
        self.center = self.canvas.width * rng.uniform(0.38, 0.62)
        self.kerb = float(rng.uniform(3.6, 4.4))
        self.wall = self.kerb + float(rng.uniform(2.6, 3.8))
        # the sun stands left or right; walls that face it are brighter
        self.sun = float(rng.choice((-1.0, 1.0)))

    def at(self, x: float, y: float, z: float) -> Point:
        """Return the pixel of a point in space."""
        scale = self.focal / z
        return self.center + x * scale, self.horizon * self.canvas.height + (self.eye - y) * scale

    def quad(self, corners: Sequence[tuple[float, float, float]], color: Rgb, label: int, material: int) -> None:
        """Paint a polygon in space."""
        depth = sum(corner[2] for corner in corners) / len(corners)
        self.canvas.polygon([self.at(*corner) for corner in corners], color, label, material, depth)

    def box(
        self, left: float, right: float, low: float, high: float, z: float, color: Rgb, label: int, material: int
    ) -> None:
        """Paint an upright rectangle that faces the camera."""
        corners = [(left, low, z), (right, low, z), (right, high, z), (left, high, z)]
        self.quad(corners, color, label, material)

    def disc(self, x: float, y: float, radius: float, z: float) -> tuple[float, float, float, float]:
        """Return the box of a circle that faces the camera."""
        return (*self.at(x - radius, y + radius, z), *self.at(x + radius, y - radius, z))

    def cast_shadow(self, x: float, z: float, half: float) -> None:
        """Darken the ground beside what stands at (x, z) and is so many metres wide to each side, away from the sun."""
        shift = -self.sun * half * 0.6
        left, top = self.at(x - half + shift, 0, z + half * 0.5)
        right, bottom = self.at(x + half + shift, 0, max(1.2, z - half * 0.5))
        self.canvas.shadow((left, top, right, bottom), self.weather.shadow)
