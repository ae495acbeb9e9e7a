"""Random crops: image and target zoomed, stretched, cut and mirrored together; colours of the image alone.

What comes out depends on the random generator alone, so a training that goes on after an interruption sees the crops
that it would have seen.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .metrics import VOID
from .recipes import Recipe

# Grey beyond the image's border; the target is void there.
_FILL = 127

# ITU-R BT.601: how bright the eye sees red, green and blue
_LUMA = np.array([0.299, 0.587, 0.114])


def augment(
    image: NDArray[np.uint8],
    target: NDArray[np.uint8],
    crop: tuple[int, int],
    recipe: Recipe,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a random crop of an image and its target.

    Args:
        image: uint8 (H, W, 3) RGB.
        target: uint8 (H, W), channel or VOID.
        crop: (height, width) of what comes out.
        recipe: how much zoom, stretching, mirroring and colour change.
        rng: decides everything.

    Returns:
        uint8 (height, width, 3) and uint8 (height, width); beyond the image's border grey and VOID.
    """
    zoom = float(np.exp(rng.uniform(*np.log(recipe.scale))))
    offsets = rng.random(2)
    mirrored = recipe.flip and rng.random() < 0.5
    # as much wider as it is lower, so that the area is the zoom's alone
    stretch = float(np.exp(np.log1p(recipe.aspect) * rng.uniform(-0.5, 0.5))) if recipe.aspect else 1.0
    where = (float(offsets[0]), float(offsets[1]))
    out, out_target = cut(image, target, crop, (zoom / stretch, zoom * stretch), where)
    if mirrored:
        out, out_target = out[:, ::-1], out_target[:, ::-1]
    return recolor(out, recipe.color, rng), np.ascontiguousarray(out_target)


def cut(
    image: NDArray[np.uint8],
    target: NDArray[np.uint8],
    crop: tuple[int, int],
    zoom: tuple[float, float],
    offsets: tuple[float, float],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the window of ``crop / zoom`` pixels of an image, zoomed to ``crop``.

    Args:
        image: uint8 (H, W, 3).
        target: uint8 (H, W).
        crop: (height, width) of what comes out.
        zoom: for (rows, columns); > 1 enlarges.
        offsets: where the window lies, 0..1 for (rows, columns): 0 at the start, 1 at the end of what is possible. A
            window larger than the image holds all of it.
    """
    spans = [_span(*axis) for axis in zip(target.shape, crop, zoom, offsets, strict=True)]
    (top, bottom, y0, y1), (left, right, x0, x1) = spans
    size, box = (x1 - x0, y1 - y0), (left, top, right, bottom)
    canvas = np.full((*crop, 3), _FILL, np.uint8)
    canvas[y0:y1, x0:x1] = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, box))
    canvas_target = np.full(crop, VOID, np.uint8)
    canvas_target[y0:y1, x0:x1] = np.asarray(Image.fromarray(target).resize(size, Image.Resampling.NEAREST, box))
    return canvas, canvas_target


def _span(full: int, out: int, zoom: float, offset: float) -> tuple[float, float, int, int]:
    """Return one axis of a cut: the part of the source that is seen, and where it lies in the output."""
    window = out / zoom
    start = offset * (full - window)
    first, last = max(0.0, start), min(float(full), start + window)
    begin = min(round((first - start) * zoom), out - 1)
    end = min(max(round((last - start) * zoom), begin + 1), out)
    return first, last, begin, end


def recolor(image: NDArray[np.uint8], strength: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return an image, uint8 (H, W, 3), with random brightness, contrast, saturation and tint; strength 0..1."""
    image = np.ascontiguousarray(image)
    if strength == 0:
        return image
    brightness, contrast, saturation = np.exp(strength * rng.uniform(-1, 1, 3))
    tint = np.exp(strength / 4 * rng.uniform(-1, 1, 3))
    # all four are linear in the colour: one 3 x 3 matrix and an offset, applied once. OpenCV rounds and clips on the way,
    # in a tenth of the time that a matrix product of floats takes
    grey = np.outer(np.ones(3), _LUMA)
    matrix = contrast * brightness * tint[:, None] * (saturation * np.eye(3) + (1 - saturation) * grey)
    middle = float(np.asarray(cv2.mean(image))[:3] @ _LUMA)
    offset = (1 - contrast) * brightness * middle * tint
    return np.asarray(cv2.transform(image, np.column_stack([matrix, offset])), np.uint8)
