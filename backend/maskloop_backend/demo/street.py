"""What stands where in a street, painted from far to near."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from .canvas import ASPHALT, LEAVES, PLASTER, Rgb, shade
from .houses import Building, paint_gate, paint_lamp
from .labels import BUILDING, ROAD, TREE
from .traffic import paint_car, paint_crossing_car, paint_person
from .view import FACADES, GREENS, View

# Distance in metres, and the function that paints what stands there.
_Thing = tuple[float, Callable[[], None]]


def _later(paint: Callable[[float, float], None], x: float, z: float) -> Callable[[], None]:
    return lambda: paint(x, z)


class Street(View):
    """One scene: everything that stands in the street."""

    def draw(self) -> None:
        """Paint everything, far to near."""
        self._skyline()
        self._ground()
        things = [*self._buildings(), *self._gates(), *self._trees(), *self._lamps(), *self._cars(), *self._people()]
        for _, paint in sorted(things, key=lambda thing: -thing[0]):
            paint()

    def _ground(self) -> None:
        rng, near, far = self.rng, 1.0, 400.0
        grey = float(rng.uniform(84, 122))
        paving = (grey * 1.45, grey * 1.4, grey * 1.3)
        self._strip(-400, 400, 100, far, paving, depth=100)
        self._strip(-60, 60, near, 100, paving)
        self._strip(-self.kerb, self.kerb, near, far, (grey, grey, grey * 1.03))
        for side in (-1, 1):
            self._strip(side * self.kerb, side * (self.kerb + 0.22), near, far, (196, 194, 188))
            for k in range(20):
                joint = 2.2 + k * 2.0
                ends = sorted((side * (self.kerb + 0.3), side * self.wall))
                self._strip(ends[0], ends[1], joint, joint + 0.05, (grey * 1.2, grey * 1.17, grey * 1.1))
        white = (222, 220, 210)
        for z in np.arange(rng.uniform(1, 4), 80, 5.0).tolist():
            self._strip(-0.09, 0.09, z, z + 2.4, white)
        if rng.random() < 0.4:
            z = float(rng.uniform(8, 13))
            for x in np.arange(-self.kerb + 0.3, self.kerb - 0.5, 1.0).tolist():
                self._strip(x, x + 0.5, z, z + 3, white)

    def _strip(
        self, left: float, right: float, near: float, far: float, color: Rgb, *, depth: float | None = None
    ) -> None:
        corners = [self.at(left, 0, near), self.at(right, 0, near), self.at(right, 0, far), self.at(left, 0, far)]
        # flat ground reaches from here to the horizon: its haze follows the near end, walls hide the rest
        self.canvas.polygon(corners, color, ROAD, ASPHALT, min(near, 12) if depth is None else depth)

    def _skyline(self) -> None:
        rng, z = self.rng, 150.0
        x = -170.0
        while x < 170:
            wide = float(rng.uniform(8, 24))
            if rng.random() < 0.45:
                top = float(rng.uniform(8, 22))
                self.box(x, x + wide, 0, top, z, FACADES[rng.integers(len(FACADES))], BUILDING, PLASTER)
            else:
                for k in range(4):
                    a, b = (
                        self.at(x + wide * k / 4 - 3, rng.uniform(5, 11), z),
                        self.at(x + wide * (k + 1) / 4 + 3, -1, z),
                    )
                    self.canvas.ellipse((*a, b[0], 2 * b[1] - a[1]), (70, 104, 62), TREE, LEAVES, z)
            x += wide * 0.9

    def _buildings(self) -> Iterator[_Thing]:
        rng = self.rng
        for side in (-1.0, 1.0):
            z = float(rng.uniform(3, 6))
            while z < 110:
                length = float(rng.uniform(8, 17))
                gap = float(rng.uniform(3, 9)) if rng.random() < 0.35 else 0.0
                yield z + length, Building(self, side, z, z + length).paint
                z += length + gap

    def _gates(self) -> Iterator[_Thing]:
        if self.rng.random() < 0.3:
            z = float(self.rng.uniform(20, 32))
            yield z, lambda: paint_gate(self, z)

    def _trees(self) -> Iterator[_Thing]:
        rng = self.rng
        for side in (-1.0, 1.0):
            if rng.random() < 0.2:
                continue
            z = float(rng.uniform(8, 15))
            while z < 55:
                x = side * (self.kerb + float(rng.uniform(0.7, 1.5)))
                yield z, _later(self._tree, x, z)
                z += float(rng.uniform(6, 16))

    def _tree(self, x: float, z: float) -> None:
        rng = self.rng
        green = GREENS[rng.integers(len(GREENS))]
        trunk, radius = float(rng.uniform(2.4, 3.2)), float(rng.uniform(1.7, 2.5))
        bark = (88, 68, 52)
        scale = self.focal / z
        self.cast_shadow(x, z, radius * 0.9)
        crown = trunk + radius * 0.9
        lean = float(rng.uniform(-0.2, 0.2))
        before = self.canvas.copy() if z < 26 else None
        fork = self.at(x + lean * 0.5, trunk * 0.9, z)
        self.canvas.line([self.at(x, 0, z), fork], 0.34 * scale, bark, TREE, PLASTER, z)
        for turn in (-0.5, 0.1, 0.55):
            self.canvas.line([fork, self.at(x + turn * radius, crown, z)], 0.16 * scale, bark, TREE, PLASTER, z)
        blobs = 26
        for k in range(blobs):
            angle, out = float(rng.uniform(0, 2 * math.pi)), float(rng.uniform(0.1, 0.75)) * radius
            bx, by = x + lean + out * math.cos(angle), crown + out * math.sin(angle) * 0.9
            r = float(rng.uniform(0.28, 0.5)) * radius
            light = 0.66 + 0.36 * k / blobs + 0.18 * (math.sin(angle) + self.sun * math.cos(angle)) / 2
            self.canvas.ellipse(self.disc(bx, by, r, z), shade(green, light), TREE, LEAVES, z)
        if before is not None:
            for _ in range(int(rng.integers(2, 5))):
                angle, out = float(rng.uniform(0, 2 * math.pi)), float(rng.uniform(0.2, 0.65)) * radius
                hx, hy = x + lean + out * math.cos(angle), crown + out * math.sin(angle) * 0.8
                corners = np.linspace(0, 2 * math.pi, 9)[:-1]
                size = radius * rng.uniform(0.06, 0.15, 8)
                hole = [
                    self.at(hx + s * math.cos(a), hy + s * math.sin(a), z) for a, s in zip(corners, size, strict=True)
                ]
                self.canvas.reopen(before, hole)

    def _lamps(self) -> Iterator[_Thing]:
        rng = self.rng
        side = float(rng.choice((-1.0, 1.0)))
        z = float(rng.uniform(7, 12))
        while z < 50:
            yield z, _later(partial(paint_lamp, self), side, z)
            z += float(rng.uniform(13, 20))

    def _cars(self) -> Iterator[_Thing]:
        rng = self.rng
        taken: list[tuple[float, float]] = []
        for _ in range(int(rng.integers(2, 5))):
            lane = float(rng.choice((-1.75, 1.75, 1.75, -1.75, self.kerb - 1.0, 1.0 - self.kerb)))
            z = float(rng.uniform(5.5, 22))
            if all(abs(lane - other) > 1.9 or abs(z - far) > 6 for other, far in taken):
                taken.append((lane, z))
                yield z, _later(partial(paint_car, self), lane + float(rng.uniform(-0.2, 0.2)), z)
        if rng.random() < 0.25:
            z = float(rng.uniform(9, 13))
            if all(abs(z - far) > 5 for _, far in taken):
                yield z, _later(partial(paint_crossing_car, self), float(rng.uniform(-3.5, 3.5)), z)

    def _people(self) -> Iterator[_Thing]:
        rng = self.rng
        for _ in range(int(rng.integers(2, 6))):
            if rng.random() < 0.65:
                x = float(rng.choice((-1.0, 1.0))) * float(rng.uniform(self.kerb + 0.3, self.wall - 0.5))
                z = float(rng.uniform(7.5, 14))
            else:
                x, z = float(rng.uniform(-3, 3)), float(rng.uniform(4.6, 9))
            yield z, _later(partial(paint_person, self), x, z)
