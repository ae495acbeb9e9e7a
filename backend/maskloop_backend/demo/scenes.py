"""Street scenes drawn by seed: images with exact masks for the demo and the tests, without a download.

A pinhole camera looks down a street. Everything is placed in metres and painted from far to near into four layers of
equal size: colour, class, material and depth. Light, texture and haze follow from the last two, so a picture varies in
weather and time of day while its masks stay exact. Trunks, lamps and aerials are thin; gates and crowns of trees have
holes through which one sees what lies behind.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from maskloop_converters.atomic import atomic_directory
from maskloop_converters.samples import Label, LabelSet

from ..training.settings import TrainingSettings

LABELS = LabelSet(
    (
        Label(0, "sky", (70, 130, 180)),
        Label(1, "building", (150, 75, 75)),
        Label(2, "road", (128, 64, 128)),
        Label(3, "tree", (60, 160, 60)),
        Label(4, "car", (30, 60, 200)),
        Label(5, "person", (230, 60, 40)),
    )
)
SKY, BUILDING, ROAD, TREE, CAR, PERSON = range(6)

# What `maskloop demo` draws and trains: a mean IoU of 0.9 on scenes it never saw, in about a minute on two free cores.
DEMO_SCENES = 120
DEMO_TRAINING = TrainingSettings(weights="imagenet", epochs=10, patience=None)

# Materials: how strong the texture is, and the sizes of its grains in pixels of the finished picture.
_MATERIALS: tuple[tuple[float, tuple[int, ...]], ...] = (
    (0.0, ()),  # sky, drawn by itself
    (0.08, (2, 24)),  # plaster
    (0.09, (1, 3, 60)),  # asphalt
    (0.34, (2, 4, 14)),  # leaves
    (0.05, (20,)),  # paint, glass, cloth
)
_AIR, _PLASTER, _ASPHALT, _LEAVES, _SMOOTH = range(5)

# Painted at this many times the final size, then averaged: smooth edges.
_OVERSAMPLING = 2

Rgb = tuple[float, float, float]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Scene:
    """A drawn picture and what it shows.

    Attributes:
        name: file name without extension.
        image: uint8 (H, W, 3) RGB, upright.
        mask: uint8 (H, W), ids of :data:`LABELS`.
    """

    name: str
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Weather:
    """Colours of one time of day: top and bottom of the sky, light on what stands in it, and how far one sees."""

    zenith: Rgb
    horizon: Rgb
    light: Rgb
    clouds: float
    haze: float
    shadow: float


_WEATHERS = (
    _Weather((62, 122, 200), (190, 216, 238), (1.04, 1.02, 0.98), 0.5, 130, 0.55),  # noon
    _Weather((92, 142, 206), (228, 226, 214), (1.10, 1.02, 0.88), 0.7, 110, 0.5),  # afternoon
    _Weather((150, 160, 172), (206, 210, 213), (0.86, 0.88, 0.92), 0.9, 75, 0.85),  # overcast
    _Weather((86, 98, 160), (246, 190, 140), (1.08, 0.88, 0.72), 0.6, 85, 0.55),  # evening
    _Weather((126, 164, 196), (222, 230, 232), (0.96, 0.98, 1.0), 0.3, 45, 0.8),  # morning mist
)

_FACADES: tuple[Rgb, ...] = (
    (186, 108, 84),
    (214, 178, 132),
    (198, 192, 178),
    (160, 146, 150),
    (222, 206, 164),
    (150, 88, 74),
    (172, 182, 176),
)
_PAINTS: tuple[Rgb, ...] = (
    (178, 30, 34),
    (34, 62, 128),
    (232, 232, 228),
    (44, 46, 52),
    (226, 176, 40),
    (44, 118, 108),
    (150, 156, 164),
)
_CLOTHES: tuple[Rgb, ...] = (
    (196, 48, 60),
    (44, 70, 140),
    (236, 190, 60),
    (50, 52, 60),
    (70, 134, 110),
    (218, 214, 206),
    (128, 72, 138),
)
_SKINS: tuple[Rgb, ...] = ((240, 204, 176), (206, 158, 122), (150, 104, 76), (98, 66, 50))
_GREENS: tuple[Rgb, ...] = ((74, 122, 52), (96, 138, 50), (52, 102, 58), (142, 138, 48), (60, 112, 44))


def draw_scene(seed: int, size: tuple[int, int] = (480, 640)) -> Scene:
    """Return the scene of a seed.

    Args:
        seed: >= 0; the same seed and size give the same pixels.
        size: (height, width) in pixels, at least 64 each.

    Raises:
        ValueError: a side below 64 pixels.
    """
    if min(size) < 64:
        raise ValueError(f"a scene has at least 64 x 64 pixels, got {size[1]} x {size[0]}")
    rng = np.random.default_rng((seed, *size))
    street = _Street(rng, size)
    street.draw()
    return Scene(
        f"street-{seed:04d}", street.canvas.finished(street.weather, street.horizon, rng), street.canvas.mask()
    )


def scenes(count: int, seed: int = 0, size: tuple[int, int] = (480, 640)) -> Iterator[Scene]:
    """Yield the scenes of seeds ``seed`` .. ``seed + count - 1``."""
    for number in range(seed, seed + count):
        yield draw_scene(number, size)


def write_scenes(
    directory: Path,
    count: int,
    seed: int = 0,
    size: tuple[int, int] = (480, 640),
    *,
    rotated: Sequence[int] = (),
    overwrite: bool = False,
) -> list[Path]:
    """Write scenes as a PNG dataset: images/, masks/ (palette PNG) and labels.json.

    Args:
        directory: to make, there whole or not at all.
        count: number of scenes, >= 1.
        seed: of the first.
        size: (height, width) in pixels.
        rotated: numbers of scenes, 0 .. count - 1, that become JPEG files stored on their side with an EXIF orientation
            of 6, as telephones do; their masks are upright like all others.
        overwrite: replace what is there.

    Returns:
        the image files, in order.

    Raises:
        OutputExistsError: the directory exists and may not be replaced.
    """
    palette = [value for label in LABELS.labels for value in label.color or (0, 0, 0)]
    names: list[str] = []
    with atomic_directory(directory, overwrite=overwrite) as root:
        (root / "images").mkdir()
        (root / "masks").mkdir()
        for number, scene in enumerate(scenes(count, seed, size)):
            data, suffix = _encoded(scene.image, turned=number in rotated)
            names.append(f"{scene.name}{suffix}")
            (root / "images" / names[-1]).write_bytes(data)
            mask = Image.fromarray(scene.mask)
            mask.putpalette(palette)
            mask.save(root / "masks" / f"{scene.name}.png")
        records = [{"id": label.id, "name": label.name, "color": list(label.color or ())} for label in LABELS.labels]
        document = {"labels": records, "ignore_id": None, "background_id": None}
        (root / "labels.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return [directory / "images" / name for name in names]


def _encoded(image: NDArray[np.uint8], *, turned: bool) -> tuple[bytes, str]:
    """Return an image's file and its suffix: PNG, or a JPEG on its side whose EXIF orientation says so."""
    out = io.BytesIO()
    if not turned:
        Image.fromarray(image).save(out, "PNG")
        return out.getvalue(), ".png"
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise, so it is stored after one counter-clockwise
    Image.fromarray(np.ascontiguousarray(np.rot90(image))).save(out, "JPEG", quality=92, exif=exif)
    return out.getvalue(), ".jpg"


# Distance in metres, and the function that paints what stands there.
_Thing = tuple[float, Callable[[], None]]


def _later(paint: Callable[[float, float], None], x: float, z: float) -> Callable[[], None]:
    return lambda: paint(x, z)


class _Canvas:
    """Four layers of equal size, painted together: colour, class, material, depth; and the shadows on the ground."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.height, self.width = (side * _OVERSAMPLING for side in size)
        shape = (self.width, self.height)
        self._layers = [Image.new("RGB", shape), *(Image.new("L", shape) for _ in range(3)), Image.new("L", shape, 255)]

    def polygon(self, points: Sequence[Point], color: Rgb, label: int, material: int, depth: float) -> None:
        """Fill a polygon in all layers."""
        for layer, value in zip(self._layers, _values(color, label, material, depth), strict=True):
            ImageDraw.Draw(layer).polygon(list(points), fill=value)

    def ellipse(self, box: Sequence[float], color: Rgb, label: int, material: int, depth: float) -> None:
        """Fill the ellipse in a box (left, top, right, bottom) in all layers."""
        for layer, value in zip(self._layers, _values(color, label, material, depth), strict=True):
            ImageDraw.Draw(layer).ellipse(tuple(box), fill=value)

    def line(self, points: Sequence[Point], width: float, color: Rgb, label: int, material: int, depth: float) -> None:
        """Draw a line of a width in pixels, with round joints, in all layers."""
        pixels = max(1, round(width))
        for layer, value in zip(self._layers, _values(color, label, material, depth), strict=True):
            draw = ImageDraw.Draw(layer)
            draw.line(list(points), fill=value, width=pixels, joint="curve")
            if pixels > 3:
                for x, y in points:
                    draw.ellipse((x - pixels / 2, y - pixels / 2, x + pixels / 2, y + pixels / 2), fill=value)

    def shadow(self, box: Sequence[float], strength: float) -> None:
        """Darken the ground in an ellipse; what is painted later stands in the light."""
        ImageDraw.Draw(self._layers[4]).ellipse(tuple(box), fill=round(255 * strength))

    def copy(self) -> list[Image.Image]:
        """Return the layers as they are now."""
        return [layer.copy() for layer in self._layers]

    def reopen(self, before: list[Image.Image], points: Sequence[Point]) -> None:
        """Make a hole: show inside a polygon what was there before."""
        hole = Image.new("1", (self.width, self.height))
        ImageDraw.Draw(hole).polygon(list(points), fill=1)
        for layer, old in zip(self._layers, before, strict=True):
            layer.paste(old, mask=hole)

    def mask(self) -> NDArray[np.uint8]:
        """Return the classes in the final size: uint8 (H, W)."""
        return np.ascontiguousarray(np.asarray(self._layers[1])[::_OVERSAMPLING, ::_OVERSAMPLING])

    def finished(self, weather: _Weather, horizon: float, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return the picture in the final size: uint8 (H, W, 3)."""
        size = (self.width // _OVERSAMPLING, self.height // _OVERSAMPLING)
        height, width = size[1], size[0]
        color = np.asarray(self._layers[0].reduce(_OVERSAMPLING), np.float32)
        material = np.asarray(self._layers[2])[::_OVERSAMPLING, ::_OVERSAMPLING]
        air = np.asarray(self._layers[2].point([255] + [0] * 255).reduce(_OVERSAMPLING), np.float32)[..., None] / 255
        depth = np.asarray(self._layers[3].reduce(_OVERSAMPLING), np.float32)[..., None]
        soft = self._layers[4].filter(ImageFilter.GaussianBlur(width / 160)).reduce(_OVERSAMPLING)
        grain = np.zeros((height, width), np.float32)
        for index, (strength, scales) in enumerate(_MATERIALS):
            if scales:
                # grains have the size that they would have in a picture of 640 pixels
                noise = sum(_noise((height, width), max(1.0, s * width / 640), rng) for s in scales)
                grain += np.where(material == index, strength / len(scales) ** 0.5 * noise, 0)
        light = np.asarray(weather.light, np.float32) * (np.asarray(soft, np.float32)[..., None] / 255)
        lit = color * light * np.exp(grain)[..., None]
        far = 1 - np.exp(-depth / weather.haze)
        lit = lit + (np.asarray(weather.horizon, np.float32) - lit) * far
        sky = _sky((height, width), horizon * height, weather, rng)
        out = lit * (1 - air) + sky * air
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        out *= (1 - 0.10 * (x * x + y * y))[..., None] * rng.uniform(0.9, 1.08)
        out += rng.normal(0, rng.uniform(1.5, 5), out.shape)
        return np.asarray(np.clip(out + 0.5, 0, 255), np.uint8)


def _values(color: Rgb, label: int, material: int, depth: float) -> tuple[tuple[int, int, int] | int, ...]:
    red, green, blue = (min(255, max(0, round(value))) for value in color)
    return (red, green, blue), label, material, min(255, round(depth)), 255


def _noise(shape: tuple[int, int], scale: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return smooth noise of variance near 1, (H, W); scale is the size of a grain in pixels."""
    rows, columns = (max(2, math.ceil(side / scale) + 1) for side in shape)
    coarse = Image.fromarray(rng.normal(size=(rows, columns)).astype(np.float32))
    return np.asarray(coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def _sky(shape: tuple[int, int], horizon: float, weather: _Weather, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the sky behind everything: float32 (H, W, 3)."""
    height, width = shape
    down = np.clip(np.arange(height, dtype=np.float32) / max(1.0, horizon), 0, 1)[:, None, None]
    zenith, bottom = (np.asarray(end, np.float32) for end in (weather.zenith, weather.horizon))
    sky = zenith + (bottom - zenith) * down**0.8 + np.zeros((height, width, 1), np.float32)
    # clouds are wide and flat
    cover = sum(_noise((height * 3, width), width / k, rng)[:height] / 2**i for i, k in enumerate((4, 9, 20, 45)))
    puff = np.clip((cover - 0.9 + weather.clouds) * 0.6, 0, 1)[..., None]
    white = np.asarray(weather.light, np.float32) * 238
    return np.asarray(sky + (white - sky) * puff * 0.85 * (1 - 0.4 * down), np.float32)


def _shade(color: Rgb, factor: float) -> Rgb:
    return color[0] * factor, color[1] * factor, color[2] * factor


class _Street:
    """One scene: the camera, and everything that stands in the street, in metres.

    x goes right from the middle of the road, y up from the ground, z away from the camera.
    """

    def __init__(self, rng: np.random.Generator, size: tuple[int, int]) -> None:
        self.rng = rng
        self.canvas = _Canvas(size)
        self.weather = _WEATHERS[rng.integers(len(_WEATHERS))]
        self.horizon = float(rng.uniform(0.40, 0.52))
        self._eye = float(rng.uniform(1.5, 2.3))
        self._focal = self.canvas.width * rng.uniform(0.85, 1.05)
        self._center = self.canvas.width * rng.uniform(0.38, 0.62)
        self._kerb = float(rng.uniform(3.6, 4.4))
        self._wall = self._kerb + float(rng.uniform(2.6, 3.8))
        # the sun stands left or right; walls that face it are brighter
        self._sun = float(rng.choice((-1.0, 1.0)))

    def at(self, x: float, y: float, z: float) -> Point:
        """Return the pixel of a point in space."""
        scale = self._focal / z
        return self._center + x * scale, self.horizon * self.canvas.height + (self._eye - y) * scale

    def quad(self, corners: Sequence[tuple[float, float, float]], color: Rgb, label: int, material: int) -> None:
        """Paint a polygon in space."""
        depth = sum(corner[2] for corner in corners) / len(corners)
        self.canvas.polygon([self.at(*corner) for corner in corners], color, label, material, depth)

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
        self._strip(-self._kerb, self._kerb, near, far, (grey, grey, grey * 1.03))
        for side in (-1, 1):
            self._strip(side * self._kerb, side * (self._kerb + 0.22), near, far, (196, 194, 188))
            for k in range(20):
                joint = 2.2 + k * 2.0
                ends = sorted((side * (self._kerb + 0.3), side * self._wall))
                self._strip(ends[0], ends[1], joint, joint + 0.05, (grey * 1.2, grey * 1.17, grey * 1.1))
        white = (222, 220, 210)
        for z in np.arange(rng.uniform(1, 4), 80, 5.0).tolist():
            self._strip(-0.09, 0.09, z, z + 2.4, white)
        if rng.random() < 0.4:
            z = float(rng.uniform(8, 13))
            for x in np.arange(-self._kerb + 0.3, self._kerb - 0.5, 1.0).tolist():
                self._strip(x, x + 0.5, z, z + 3, white)

    def _strip(
        self, left: float, right: float, near: float, far: float, color: Rgb, *, depth: float | None = None
    ) -> None:
        corners = [self.at(left, 0, near), self.at(right, 0, near), self.at(right, 0, far), self.at(left, 0, far)]
        # flat ground reaches from here to the horizon: its haze follows the near end, walls hide the rest
        self.canvas.polygon(corners, color, ROAD, _ASPHALT, min(near, 12) if depth is None else depth)

    def _skyline(self) -> None:
        rng, z = self.rng, 150.0
        x = -170.0
        while x < 170:
            wide = float(rng.uniform(8, 24))
            if rng.random() < 0.45:
                top = float(rng.uniform(8, 22))
                self._box(x, x + wide, 0, top, z, _FACADES[rng.integers(len(_FACADES))], BUILDING, _PLASTER)
            else:
                for k in range(4):
                    a, b = (
                        self.at(x + wide * k / 4 - 3, rng.uniform(5, 11), z),
                        self.at(x + wide * (k + 1) / 4 + 3, -1, z),
                    )
                    self.canvas.ellipse((*a, b[0], 2 * b[1] - a[1]), (70, 104, 62), TREE, _LEAVES, z)
            x += wide * 0.9

    def _box(
        self, left: float, right: float, low: float, high: float, z: float, color: Rgb, label: int, material: int
    ) -> None:
        """Paint an upright rectangle that faces the camera."""
        corners = [(left, low, z), (right, low, z), (right, high, z), (left, high, z)]
        self.quad(corners, color, label, material)

    def _buildings(self) -> Iterator[_Thing]:
        rng = self.rng
        for side in (-1.0, 1.0):
            z = float(rng.uniform(3, 6))
            while z < 110:
                length = float(rng.uniform(8, 17))
                gap = float(rng.uniform(3, 9)) if rng.random() < 0.35 else 0.0
                yield z + length, _Building(self, side, z, z + length).paint
                z += length + gap

    def _gates(self) -> Iterator[_Thing]:
        if self.rng.random() < 0.3:
            z = float(self.rng.uniform(20, 32))
            yield z, lambda: self._gate(z)

    def _gate(self, z: float) -> None:
        """A town gate across the street: one drives through the arch and sees the sky through its belfry."""
        rng, before = self.rng, self.canvas.copy()
        color = _FACADES[rng.integers(len(_FACADES))]
        high, half = float(rng.uniform(11, 14)), self._wall + 0.5
        arch = float(rng.uniform(2.8, 3.6))
        self._box(-half, half, 0, high, z, color, BUILDING, _PLASTER)
        self._box(-half - 0.3, half + 0.3, high, high + 0.5, z, _shade(color, 0.75), BUILDING, _PLASTER)
        self._box(-half, half, 5.9, 6.2, z, _shade(color, 0.8), BUILDING, _PLASTER)
        rim = self._arch(0, 0, arch + 0.35, 3.0, z)
        self.canvas.polygon(rim, _shade(color, 0.7), BUILDING, _PLASTER, z)
        self.canvas.reopen(before, self._arch(0, 0, arch, 3.0, z))
        for x in (-4.4, -1.5, 1.5, 4.4):
            self.canvas.reopen(before, self._arch(x, 7.2, 0.95, 1.8, z))

    def _arch(self, x: float, y: float, radius: float, straight: float, z: float) -> list[Point]:
        """Return the outline of an arch that stands on the height y."""
        bow = [(x + radius * math.cos(a), y + straight + radius * math.sin(a)) for a in np.linspace(0, math.pi, 24)]
        return [self.at(*point, z) for point in [(x + radius, y), *bow, (x - radius, y)]]

    def _trees(self) -> Iterator[_Thing]:
        rng = self.rng
        for side in (-1.0, 1.0):
            if rng.random() < 0.2:
                continue
            z = float(rng.uniform(8, 15))
            while z < 55:
                x = side * (self._kerb + float(rng.uniform(0.7, 1.5)))
                yield z, _later(self._tree, x, z)
                z += float(rng.uniform(6, 16))

    def _tree(self, x: float, z: float) -> None:
        rng = self.rng
        green = _GREENS[rng.integers(len(_GREENS))]
        trunk, radius = float(rng.uniform(2.4, 3.2)), float(rng.uniform(1.7, 2.5))
        bark = (88, 68, 52)
        scale = self._focal / z
        self._shadow(x, z, radius * 0.9)
        crown = trunk + radius * 0.9
        lean = float(rng.uniform(-0.2, 0.2))
        before = self.canvas.copy() if z < 26 else None
        fork = self.at(x + lean * 0.5, trunk * 0.9, z)
        self.canvas.line([self.at(x, 0, z), fork], 0.34 * scale, bark, TREE, _PLASTER, z)
        for turn in (-0.5, 0.1, 0.55):
            self.canvas.line([fork, self.at(x + turn * radius, crown, z)], 0.16 * scale, bark, TREE, _PLASTER, z)
        blobs = 26
        for k in range(blobs):
            angle, out = float(rng.uniform(0, 2 * math.pi)), float(rng.uniform(0.1, 0.75)) * radius
            bx, by = x + lean + out * math.cos(angle), crown + out * math.sin(angle) * 0.9
            r = float(rng.uniform(0.28, 0.5)) * radius
            light = 0.66 + 0.36 * k / blobs + 0.18 * (math.sin(angle) + self._sun * math.cos(angle)) / 2
            self.canvas.ellipse(self._round(bx, by, r, z), _shade(green, light), TREE, _LEAVES, z)
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

    def _round(self, x: float, y: float, radius: float, z: float) -> tuple[float, float, float, float]:
        """Return the box of a circle that faces the camera."""
        return (*self.at(x - radius, y + radius, z), *self.at(x + radius, y - radius, z))

    def _shadow(self, x: float, z: float, half: float) -> None:
        shift = -self._sun * half * 0.6
        left, top = self.at(x - half + shift, 0, z + half * 0.5)
        right, bottom = self.at(x + half + shift, 0, max(1.2, z - half * 0.5))
        self.canvas.shadow((left, top, right, bottom), self.weather.shadow)

    def _lamps(self) -> Iterator[_Thing]:
        rng = self.rng
        side = float(rng.choice((-1.0, 1.0)))
        z = float(rng.uniform(7, 12))
        while z < 50:
            yield z, _later(self._lamp, side, z)
            z += float(rng.uniform(13, 20))

    def _lamp(self, side: float, z: float) -> None:
        """A street lamp: a thin pole of the class building."""
        x, scale, iron = side * (self._kerb + 0.45), self._focal / z, (62, 66, 70)
        top = 5.4
        self.canvas.line([self.at(x, 0, z), self.at(x, top, z)], 0.13 * scale, iron, BUILDING, _SMOOTH, z)
        self.canvas.line([self.at(x, 0, z), self.at(x, 0.8, z)], 0.24 * scale, iron, BUILDING, _SMOOTH, z)
        arm = [(x, top), (x - side * 0.35, top + 0.3), (x - side * 1.3, top + 0.35)]
        self.canvas.line([self.at(*point, z) for point in arm], 0.10 * scale, iron, BUILDING, _SMOOTH, z)
        head = [self.at(x - side * u, top + v, z) for u, v in ((1.0, 0.42), (1.7, 0.38), (1.65, 0.22), (1.05, 0.22))]
        self.canvas.polygon(head, (232, 228, 206), BUILDING, _SMOOTH, z)

    def _cars(self) -> Iterator[_Thing]:
        rng = self.rng
        taken: list[tuple[float, float]] = []
        for _ in range(int(rng.integers(2, 5))):
            lane = float(rng.choice((-1.75, 1.75, 1.75, -1.75, self._kerb - 1.0, 1.0 - self._kerb)))
            z = float(rng.uniform(5.5, 22))
            if all(abs(lane - other) > 1.9 or abs(z - far) > 6 for other, far in taken):
                taken.append((lane, z))
                yield z, _later(self._car, lane + float(rng.uniform(-0.2, 0.2)), z)
        if rng.random() < 0.25:
            z = float(rng.uniform(9, 13))
            if all(abs(z - far) > 5 for _, far in taken):
                yield z, _later(self._crossing_car, float(rng.uniform(-3.5, 3.5)), z)

    def _car(self, x: float, z: float) -> None:
        """A car seen from behind or from the front, with its flank in perspective."""
        rng = self.rng
        paint = _PAINTS[rng.integers(len(_PAINTS))]
        half, belt, roof = float(rng.uniform(0.86, 0.96)), float(rng.uniform(0.88, 1.0)), float(rng.uniform(1.42, 1.75))
        end, glass, tyre = z + float(rng.uniform(3.7, 4.5)), (58, 74, 88), (34, 34, 38)
        coming = x < 0
        self.canvas.shadow((*self.at(x - half - 0.25, 0, end), *self.at(x + half + 0.25, -0.12, z)), 0.35)
        inner = x + half if x < 0 else x - half
        if self._center + x * self._focal / z > self.canvas.width / 2 + self.canvas.width / 3:
            inner = x - half
        dark = _shade(paint, 0.72 if (inner < x) == (self._sun < 0) else 0.6)
        for wz in (z + 0.75, end - 0.8):
            for wx in (x - half + 0.1, x + half - 0.1):
                self.quad(
                    [(wx - 0.1, 0, wz), (wx + 0.1, 0, wz), (wx + 0.1, 0.62, wz), (wx - 0.1, 0.62, wz)],
                    tyre,
                    CAR,
                    _SMOOTH,
                )
        tumble = half * 0.80
        inside = x + (tumble if inner > x else -tumble)
        self.quad([(inner, 0.3, z), (inner, 0.3, end), (inner, belt, end), (inner, belt, z)], dark, CAR, _SMOOTH)
        wheel = [(inner, 0.34 + 0.34 * math.sin(a), 0.34 * math.cos(a)) for a in np.linspace(0, 2 * math.pi, 20)]
        for wz in (z + 0.75, end - 0.8):
            self.quad([(a, b, wz + c) for a, b, c in wheel], tyre, CAR, _SMOOTH)
            self.quad([(a, 0.34 + (b - 0.34) * 0.5, wz + c * 0.5) for a, b, c in wheel], (150, 152, 156), CAR, _SMOOTH)
        z1, z2, slope = z + 0.25, end - 1.0, 0.45
        self.quad(
            [(x - half, belt, z), (x + half, belt, z), (x + half, belt, end), (x - half, belt, end)],
            _shade(paint, 1.05),
            CAR,
            _SMOOTH,
        )
        self.quad(
            [(inner, belt, z1), (inside, roof, z1 + slope), (inside, roof, z2 - slope), (inner, belt, z2)],
            dark,
            CAR,
            _SMOOTH,
        )
        self.quad(
            [
                (inner, belt + 0.06, z1 + 0.35),
                (inside, roof - 0.09, z1 + slope + 0.15),
                (inside, roof - 0.09, z2 - slope - 0.15),
                (inner, belt + 0.06, z2 - 0.35),
            ],
            _shade(glass, 0.8),
            CAR,
            _SMOOTH,
        )
        self.quad(
            [
                (x - tumble, roof, z1 + slope),
                (x + tumble, roof, z1 + slope),
                (x + tumble * 0.95, roof, z2 - slope),
                (x - tumble * 0.95, roof, z2 - slope),
            ],
            _shade(paint, 1.1),
            CAR,
            _SMOOTH,
        )
        self.quad(
            [
                (x - half, belt, z1),
                (x + half, belt, z1),
                (x + tumble, roof, z1 + slope),
                (x - tumble, roof, z1 + slope),
            ],
            _shade(paint, 0.95),
            CAR,
            _SMOOTH,
        )
        self.quad(
            [
                (x - half + 0.14, belt + 0.04, z1),
                (x + half - 0.14, belt + 0.04, z1),
                (x + tumble - 0.1, roof - 0.1, z1 + slope),
                (x - tumble + 0.1, roof - 0.1, z1 + slope),
            ],
            glass,
            CAR,
            _SMOOTH,
        )
        self._rear(x, z, half, belt, paint, coming=coming)

    def _rear(self, x: float, z: float, half: float, belt: float, paint: Rgb, *, coming: bool) -> None:
        face = [(-1, 0.34), (-0.97, 0.28), (0.97, 0.28), (1, 0.34), (1, belt - 0.08), (0.94, belt), (-0.94, belt)]
        self.quad([(x + u * half, y, z) for u, y in [*face, (-1, belt - 0.08)]], paint, CAR, _SMOOTH)
        self._box(x - half, x + half, 0.28, 0.46, z, _shade(paint, 0.6), CAR, _SMOOTH)
        lamp = (246, 240, 214) if coming else (206, 40, 34)
        for side in (-1, 1):
            near, far = sorted((x + side * half * 0.96, x + side * half * 0.66))
            self._box(near, far, belt - 0.30, belt - 0.14, z, lamp, CAR, _SMOOTH)
        if coming:
            self._box(x - half * 0.5, x + half * 0.5, belt - 0.32, belt - 0.16, z, (40, 42, 46), CAR, _SMOOTH)
        self._box(x - 0.26, x + 0.26, 0.5, 0.61, z, (236, 234, 222), CAR, _SMOOTH)

    def _crossing_car(self, x: float, z: float) -> None:
        """A car seen from its side."""
        rng = self.rng
        paint = _PAINTS[rng.integers(len(_PAINTS))]
        way = float(rng.choice((-1.0, 1.0)))
        self.canvas.shadow((*self.at(x - 2.3, 0.1, z), *self.at(x + 2.3, -0.2, z)), 0.35)
        body = [(-2.1, 0.3), (2.1, 0.3), (2.15, 0.7), (1.95, 0.85), (1.05, 0.95), (0.45, 1.42), (-1.0, 1.45)]
        body += [(-1.75, 0.98), (-2.1, 0.9), (-2.15, 0.6)]
        self.quad([(x + way * u, v, z) for u, v in body], paint, CAR, _SMOOTH)
        self.quad(
            [(x + way * u, v, z) for u, v in [(-2.1, 0.3), (2.1, 0.3), (2.14, 0.5), (-2.14, 0.5)]],
            _shade(paint, 0.7),
            CAR,
            _SMOOTH,
        )
        for pane in (
            [(0.92, 0.95), (0.42, 1.34), (-0.2, 1.36), (-0.2, 0.95)],
            [(-0.3, 0.95), (-0.3, 1.36), (-0.95, 1.36), (-1.5, 0.97)],
        ):
            self.quad([(x + way * u, v, z) for u, v in pane], (66, 84, 100), CAR, _SMOOTH)
        for u in (-1.3, 1.3):
            self.canvas.ellipse(self._round(x + u, 0.33, 0.33, z), (34, 34, 38), CAR, _SMOOTH, z)
            self.canvas.ellipse(self._round(x + u, 0.33, 0.17, z), (156, 158, 162), CAR, _SMOOTH, z)

    def _people(self) -> Iterator[_Thing]:
        rng = self.rng
        for _ in range(int(rng.integers(2, 6))):
            if rng.random() < 0.65:
                x = float(rng.choice((-1.0, 1.0))) * float(rng.uniform(self._kerb + 0.3, self._wall - 0.5))
                z = float(rng.uniform(7.5, 14))
            else:
                x, z = float(rng.uniform(-3, 3)), float(rng.uniform(4.6, 9))
            yield z, _later(self._person, x, z)

    def _person(self, x: float, z: float) -> None:
        rng = self.rng
        tall = float(rng.uniform(1.55, 1.9)) / 1.75
        skin = _SKINS[rng.integers(len(_SKINS))]
        coat, trousers = (_CLOTHES[k] for k in rng.choice(len(_CLOTHES), 2, replace=False))
        hair: Rgb = ((40, 30, 26), (92, 62, 40), (190, 160, 96), (120, 120, 122))[rng.integers(4)]
        trousers = _shade(trousers, 0.7)
        stride, swing = float(rng.uniform(0.06, 0.26)), float(rng.uniform(-0.25, 0.25))
        scale = self._focal / z * tall
        self._shadow(x, z, 0.5)

        def limb(points: list[Point], width: float, color: Rgb) -> None:
            spots = [self.at(x + u * tall, v * tall, z) for u, v in points]
            self.canvas.line(spots, width * scale, color, PERSON, _SMOOTH, z)

        for side, dim in ((-1, 0.85), (1, 1.0)):
            limb(
                [(0.08 * side, 0.9), (side * (0.08 + stride * 0.6), 0.48), (side * (0.08 + stride), 0.06)],
                0.19,
                _shade(trousers, dim),
            )
            limb([(side * (0.06 + stride), 0.05), (side * (0.10 + stride), 0.05)], 0.11, (42, 38, 36))
        limb([(-0.22, 1.38), (-0.30 - swing * 0.2, 1.1), (-0.26 + swing, 0.86)], 0.13, _shade(coat, 0.78))
        torso = [(-0.25, 1.42), (-0.12, 1.5), (0.12, 1.5), (0.25, 1.42), (0.23, 0.84), (-0.23, 0.84)]
        self.canvas.polygon([self.at(x + u * tall, v * tall, z) for u, v in torso], coat, PERSON, _SMOOTH, z)
        limb([(0.22, 1.38), (0.31 + swing * 0.2, 1.1), (0.27 - swing, 0.86)], 0.13, _shade(coat, 0.9))
        limb([(0, 1.48), (0, 1.56)], 0.12, _shade(skin, 0.85))
        for color, y, r in ((hair, 1.67, 0.135), (skin, 1.63, 0.115)):
            self.canvas.ellipse(self._round(x, y * tall, r * tall, z), color, PERSON, _SMOOTH, z)
        if rng.random() < 0.25:
            self._umbrella(x + 0.27 * tall, tall, z)

    def _umbrella(self, x: float, tall: float, z: float) -> None:
        """Held over the head by a thin stick; it belongs to the person."""
        color = _CLOTHES[self.rng.integers(len(_CLOTHES))]
        scale = self._focal / z
        self.canvas.line(
            [self.at(x, 1.0 * tall, z), self.at(x, 2.1 * tall, z)], 0.035 * scale, (50, 46, 44), PERSON, _SMOOTH, z
        )
        bow = [(x + 0.62 * math.cos(a), 1.9 * tall + 0.36 * math.sin(a)) for a in np.linspace(0, math.pi, 20)]
        self.canvas.polygon([self.at(*point, z) for point in bow], color, PERSON, _SMOOTH, z)


class _Building:
    """A house on one side of the street, its long wall along it."""

    def __init__(self, street: _Street, side: float, near: float, far: float) -> None:
        rng = street.rng
        self._street, self._near, self._far, self._side = street, near, far, side
        self._x = side * street._wall
        self._floors = int(rng.integers(2, 6))
        self._high = 3.6 + 3.0 * self._floors
        self._color = _shade(_FACADES[rng.integers(len(_FACADES))], float(rng.uniform(0.9, 1.1)))
        self._rng = rng

    def paint(self) -> None:
        """Paint it: the end that faces the camera, then the wall along the street, then windows and roof."""
        street, x, near, far, high = self._street, self._x, self._near, self._far, self._high
        outer = x + self._side * 12
        wall = _shade(self._color, 1.06 if self._side == -street._sun else 0.8)
        street.quad(
            [(x, 0, near), (outer, 0, near), (outer, high, near), (x, high, near)],
            _shade(self._color, 0.9),
            BUILDING,
            _PLASTER,
        )
        street.quad([(x, 0, near), (x, 0, far), (x, high, far), (x, high, near)], wall, BUILDING, _PLASTER)
        self._windows(wall)
        self._wall_strip(high - 0.45, high, _shade(wall, 0.72))
        self._wall_strip(3.2, 3.45, _shade(wall, 0.8))
        self._on_roof()

    def _wall_strip(
        self, low: float, high: float, color: Rgb, near: float | None = None, far: float | None = None
    ) -> None:
        z1, z2 = self._near if near is None else near, self._far if far is None else far
        x = self._x
        self._street.quad([(x, low, z1), (x, low, z2), (x, high, z2), (x, high, z1)], color, BUILDING, _SMOOTH)

    def _windows(self, wall: Rgb) -> None:
        rng = self._rng
        columns = max(2, int((self._far - self._near) / float(rng.uniform(2.2, 3.0))))
        pitch = (self._far - self._near) / columns
        glass = (84, 104, 122) if rng.random() < 0.6 else (58, 64, 74)
        shop = _CLOTHES[rng.integers(len(_CLOTHES))]
        for column in range(columns):
            z1 = self._near + pitch * (column + 0.25)
            z2 = z1 + pitch * 0.5
            self._wall_strip(0.4, 2.7, (66, 72, 80), z1 - pitch * 0.12, z2 + pitch * 0.12)
            self._wall_strip(2.6, 3.1, shop, z1 - pitch * 0.18, z2 + pitch * 0.18)
            for floor in range(self._floors):
                low = 4.4 + 3.0 * floor
                self._wall_strip(low - 0.12, low + 1.72, _shade(wall, 1.16), z1 - 0.1, z2 + 0.1)
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
                street._box(inside - 0.4, inside + 0.4, high, high + 1.3, z, (132, 84, 70), BUILDING, _PLASTER)
                continue
            scale = street._focal / z
            iron, top = (70, 70, 74), high + 2.6
            street.canvas.line(
                [street.at(inside, high - 0.3, z), street.at(inside, top, z)], 0.07 * scale, iron, BUILDING, _SMOOTH, z
            )
            for y in (top - 0.2, top - 0.7):
                street.canvas.line(
                    [street.at(inside - 0.7, y, z), street.at(inside + 0.7, y, z)],
                    0.05 * scale,
                    iron,
                    BUILDING,
                    _SMOOTH,
                    z,
                )
