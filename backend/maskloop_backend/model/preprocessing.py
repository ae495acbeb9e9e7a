"""The two ends of the network: colours and padding on the way in, the crop on the way out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from .config import STRIDE


def missing(size: Any) -> Any:
    """Return how many pixels ``size`` lacks to the next multiple of 32."""
    # of numbers from 0 alone: converters to other runtimes take a remainder as C does
    return (STRIDE - size % STRIDE) % STRIDE


def mirror_indices(size: Any, xp: Any = np) -> Any:
    """Return the source index of every row (or column) of a side that is padded to a multiple of 32.

    Half of the padding (rounded down) stands before the side and half behind it; it mirrors the image about its edge
    pixels, as often as it takes where the image is smaller than its padding.

    Args:
        size: pixels of the side, >= 1; a scalar tensor where it is known only when the graph runs.
        xp: numpy, or keras.ops for a tensor.

    Returns:
        integers (padded size,), values 0..size-1.
    """
    position = xp.arange(size + missing(size)) - missing(size) // 2
    period = xp.maximum(2 * size - 2, 1)
    folded = (position + STRIDE * period) % period  # from 0 on, see missing()
    return xp.minimum(folded, period - folded)


@keras.saving.register_keras_serializable("maskloop")
class Preprocess(keras.layers.Layer):  # type: ignore[misc]
    """(B, H, W, 3) RGB 0..255 -> the backbone's input: channels reordered, means subtracted, scaled.

    It always computes in float32: grey levels minus a mean like 103.939 do not fit bfloat16's 8 bits.

    Args:
        channels: 'RGB' or 'BGR'.
        mean: three values in that order, grey levels.
        scale: factor after the subtraction, or one a channel.
        **kwargs: as of keras.layers.Layer.
    """

    def __init__(self, channels: str, mean: Sequence[float], scale: float | Sequence[float], **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.channels = channels
        self.mean = tuple(mean)
        self.scale = scale if isinstance(scale, (int, float)) else tuple(scale)

    def call(self, images: Any) -> Any:
        """Return the network's input, float32 of the same shape."""
        images = ops.cast(images, "float32")
        ordered = images[..., ::-1] if self.channels == "BGR" else images
        return (ordered - np.asarray(self.mean, np.float32)) * np.asarray(self.scale, np.float32)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make the same layer."""
        scale = list(self.scale) if isinstance(self.scale, tuple) else self.scale
        return {**super().get_config(), "channels": self.channels, "mean": list(self.mean), "scale": scale}


@keras.saving.register_keras_serializable("maskloop")
class MirrorPad(keras.layers.Layer):  # type: ignore[misc]
    """(B, H, W, C) -> (B, H', W', C), H' and W' the next multiples of 32; the padding mirrors the image.

    Five halvings are exact when both sides are multiples of 32, so the network pads here and :class:`CropLike` takes the
    padding off its logits. A mirrored border continues the image's texture: a grey one is an edge that no training crop
    ever showed.
    """

    def call(self, images: Any) -> Any:
        """Return the padded images."""
        for axis in (1, 2):
            size = images.shape[axis]
            if size is None:
                indices = mirror_indices(ops.shape(images)[axis], ops)
            elif missing(size):
                indices = mirror_indices(size)
            else:
                continue
            images = ops.take(images, indices, axis=axis)
        return images

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape with both sides raised to multiples of 32."""
        batch, height, width, channels = input_shape
        up = [None if side is None else side + missing(side) for side in (height, width)]
        return (batch, *up, channels)


@keras.saving.register_keras_serializable("maskloop")
class CropLike(keras.layers.Layer):  # type: ignore[misc]
    """(B, H', W', K) scores and a smaller map or image (B, H, W, C) -> (B, H, W, K), a part of the scores.

    Args:
        offset: rows and columns before the part; None is half of the padding that :class:`MirrorPad` put round the image.
        **kwargs: as of keras.layers.Layer.
    """

    def __init__(self, offset: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.offset = offset

    def call(self, scores: Any, like: Any) -> Any:
        """Return the part."""
        height, width = ops.shape(like)[1:3]
        top, left = (missing(side) // 2 if self.offset is None else self.offset for side in (height, width))
        return scores[:, top : top + height, left : left + width, :]

    def compute_output_shape(
        self, scores_shape: tuple[int | None, ...], like_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """Return the size of the second with the channels of the first."""
        return (*like_shape[:3], scores_shape[3])

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make the same layer."""
        return {**super().get_config(), "offset": self.offset}
