"""A label map, moved to the edges of its image: a guided filter of every class, and the strongest one wins.

The network's borders are as sharp as its finest scores, 8 pixels a cell; the image's are sharper. He, Sun, Tang: Guided image
filtering (ECCV 2010), the colour image as the guide, on half the resolution as in their Fast guided filter (2015). What it
gains and costs: docs/ablations.md.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# Of the windows, in pixels of the image: half a cell of the finest scores.
_RADIUS = 4
# Variance of the colours, of 0..1, below which a window is flat: one per cent of noise.
_FLAT = 1e-4
# Means are taken of blocks of 2 x 2 pixels.
_FACTOR = 2
# An image is done in strips of about so many pixels: 40 planes of a quarter of them are in memory, and 8 of all.
_STRIP_PIXELS = 1 << 20
# Rows beyond a strip that its pixels depend on: two windows, one after the other, and what is between blocks.
_MARGIN = 4 * _RADIUS + 2 * _FACTOR

# float32 (h, w)
_Plane = NDArray[Any]


def refined(image: NDArray[np.uint8], label_map: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a label map whose borders follow the image's edges where those are a few pixels away.

    Args:
        image: uint8 (H, W, 3) RGB.
        label_map: uint8 (H, W), what the network says of it.

    Returns:
        uint8 (H, W), of the same classes.
    """
    height, width = label_map.shape
    step = max(_FACTOR, _STRIP_PIXELS // width // _FACTOR * _FACTOR)
    result = np.empty_like(label_map)
    for top in range(0, height, step):
        bottom = min(top + step, height)
        # blocks stay those of the whole image
        first, last = max(0, top - _MARGIN), min(height, bottom + _MARGIN)
        strip = _refined(image[first:last], label_map[first:last])
        result[top:bottom] = strip[top - first : bottom - first]
    return result


def _refined(image: NDArray[Any], label_map: NDArray[Any]) -> NDArray[np.uint8]:
    classes = np.unique(label_map)
    if len(classes) == 1:
        return label_map
    height, width = label_map.shape
    bottom, right = -height % _FACTOR, -width % _FACTOR
    image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    label_map = cv2.copyMakeBorder(label_map, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    colours = cv2.split(image.astype(np.float32) / 255)
    guide = _Guide([_shrunk(colour) for colour in colours])
    labels: NDArray[np.uint8] = np.full(label_map.shape, classes[0], np.uint8)
    strongest: _Plane | None = None
    for index in classes:
        *slopes, constant = guide.fit(_shrunk((label_map == index).astype(np.float32)))
        size = (label_map.shape[1], label_map.shape[0])
        found: _Plane = cv2.resize(constant, size, interpolation=cv2.INTER_LINEAR)
        for slope, colour in zip(slopes, colours, strict=True):
            found += cv2.resize(slope, size, interpolation=cv2.INTER_LINEAR) * colour
        if strongest is None:
            strongest = found
            continue
        labels[found > strongest] = index
        np.maximum(strongest, found, out=strongest)
    return labels[:height, :width]


class _Guide:
    """Fits planes (h, w) by the colours of an image, window by window.

    Args:
        colours: three planes float32 (h, w), 0..1.
    """

    def __init__(self, colours: list[_Plane]) -> None:
        self._colours = colours
        self._means = [_mean(colour) for colour in colours]
        rr, rg, rb, gg, gb, bb = (
            _mean(colours[i] * colours[j]) - self._means[i] * self._means[j] + (_FLAT if i == j else 0)
            for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
        )
        # the inverse of a symmetric 3 x 3 matrix in every window, by cofactors
        cofactors = (gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg)
        scale = 1 / (rr * cofactors[0] + rg * cofactors[1] + rb * cofactors[2])
        first, second, third = (cofactor * scale for cofactor in cofactors)
        middle, low, last = (rr * bb - rb * rb) * scale, (rg * rb - rr * gb) * scale, (rr * gg - rg * rg) * scale
        self._inverse = ((first, second, third), (second, middle, low), (third, low, last))

    def fit(self, plane: _Plane) -> list[_Plane]:
        """Return a slope for each colour and a constant: mean planes (h, w) of those of all windows round a pixel."""
        mean = _mean(plane)
        covariances = [
            _mean(colour * plane) - own * mean for colour, own in zip(self._colours, self._means, strict=True)
        ]
        red, green, blue = covariances
        slopes = [a * red + b * green + c * blue for a, b, c in self._inverse]
        constant = mean
        for slope, own in zip(slopes, self._means, strict=True):
            constant = constant - slope * own
        return [_mean(each) for each in (*slopes, constant)]


def _mean(plane: _Plane) -> _Plane:
    """Return the mean of the window round every block."""
    side = 2 * (_RADIUS // _FACTOR) + 1
    blurred: _Plane = cv2.blur(plane, (side, side), borderType=cv2.BORDER_REFLECT)
    return blurred


def _shrunk(plane: _Plane) -> _Plane:
    height, width = plane.shape
    blocks: _Plane = cv2.resize(plane, (width // _FACTOR, height // _FACTOR), interpolation=cv2.INTER_AREA)
    return blocks
