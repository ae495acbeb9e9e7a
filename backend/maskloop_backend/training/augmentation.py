"""Random crops: image and target zoomed, cut and mirrored together; colours of the image alone.

What comes out depends on the random generator alone, so a training that goes on after an interruption sees the crops
that it would have seen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .metrics import VOID
from .settings import TrainingSettings

# Grey beyond the image's border; the target is void there.
_FILL = 127

# ITU-R BT.601: how bright the eye sees red, green and blue
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def augment(
    image: NDArray[np.uint8],
    target: NDArray[np.uint8],
    crop: tuple[int, int],
    settings: TrainingSettings,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a random crop of an image and its target.

    Args:
        image: uint8 (H, W, 3) RGB.
        target: uint8 (H, W), channel or VOID.
        crop: (height, width) of what comes out.
        settings: how much zoom, mirroring and colour change.
        rng: decides everything.

    Returns:
        uint8 (height, width, 3) and uint8 (height, width); beyond the image's border grey and VOID.
    """
    zoom = float(np.exp(rng.uniform(*np.log(settings.scale))))
    offsets = rng.random(2)
    mirrored = settings.flip and rng.random() < 0.5
    out, out_target = cut(image, target, crop, zoom, (float(offsets[0]), float(offsets[1])))
    if mirrored:
        out, out_target = out[:, ::-1], out_target[:, ::-1]
    return recolor(out, settings.color, rng), np.ascontiguousarray(out_target)


def cut(
    image: NDArray[np.uint8],
    target: NDArray[np.uint8],
    crop: tuple[int, int],
    zoom: float,
    offsets: tuple[float, float],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the window of ``crop / zoom`` pixels of an image, zoomed to ``crop``.

    Args:
        image: uint8 (H, W, 3).
        target: uint8 (H, W).
        crop: (height, width) of what comes out.
        zoom: > 1 enlarges.
        offsets: where the window lies, 0..1 for (rows, columns): 0 at the start, 1 at the end of what is possible. A
            window larger than the image holds all of it.
    """
    spans = [_span(full, out, zoom, offset) for full, out, offset in zip(target.shape, crop, offsets, strict=True)]
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
    if strength == 0:
        return np.ascontiguousarray(image)
    brightness, contrast, saturation = np.exp(strength * rng.uniform(-1, 1, 3)).astype(np.float32)
    tint = np.exp(strength / 3 * rng.uniform(-1, 1, 3)).astype(np.float32)
    # all four are linear in the colour: one 3 x 3 matrix and an offset, applied once
    grey = np.outer(np.ones(3, np.float32), _LUMA)
    matrix = (
        contrast * brightness * tint[:, None] * (saturation * np.eye(3, dtype=np.float32) + (1 - saturation) * grey)
    )
    middle = image.reshape(-1, 3).mean(0, dtype=np.float32) @ _LUMA
    offset = (1 - contrast) * brightness * middle * tint
    changed = image.reshape(-1, 3).astype(np.float32) @ matrix.T + offset
    return np.asarray(np.clip(changed + 0.5, 0, 255), np.uint8).reshape(image.shape)
