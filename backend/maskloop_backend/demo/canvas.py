"""What scenes are painted on: layers of colour, class, material and depth, and the light that makes a picture of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

# Materials: how strong the texture is, and the sizes of its grains in pixels of the finished picture.
_MATERIALS: tuple[tuple[float, tuple[int, ...]], ...] = (
    (0.0, ()),  # sky, drawn by itself
    (0.08, (2, 24)),  # plaster
    (0.09, (1, 3, 60)),  # asphalt
    (0.34, (2, 4, 14)),  # leaves
    (0.05, (20,)),  # paint, glass, cloth
)
AIR, PLASTER, ASPHALT, LEAVES, SMOOTH = range(5)

# Painted at this many times the final size, then averaged: smooth edges.
_OVERSAMPLING = 2

Rgb = tuple[float, float, float]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Weather:
    """Colours of one time of day: top and bottom of the sky, light on what stands in it, and how far one sees."""

    zenith: Rgb
    horizon: Rgb
    light: Rgb
    clouds: float
    haze: float
    shadow: float


WEATHERS = (
    Weather((62, 122, 200), (190, 216, 238), (1.04, 1.02, 0.98), 0.5, 130, 0.55),  # noon
    Weather((92, 142, 206), (228, 226, 214), (1.10, 1.02, 0.88), 0.7, 110, 0.5),  # afternoon
    Weather((150, 160, 172), (206, 210, 213), (0.86, 0.88, 0.92), 0.9, 75, 0.85),  # overcast
    Weather((86, 98, 160), (246, 190, 140), (1.08, 0.88, 0.72), 0.6, 85, 0.55),  # evening
    Weather((126, 164, 196), (222, 230, 232), (0.96, 0.98, 1.0), 0.3, 45, 0.8),  # morning mist
)


class Canvas:
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

    def finished(self, weather: Weather, horizon: float, rng: np.random.Generator) -> NDArray[np.uint8]:
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


def _sky(shape: tuple[int, int], horizon: float, weather: Weather, rng: np.random.Generator) -> NDArray[np.float32]:
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


def shade(color: Rgb, factor: float) -> Rgb:
    """Return a colour brighter (factor > 1) or darker."""
    return color[0] * factor, color[1] * factor, color[2] * factor
