"""Logits -> class index and confidence, at the logits' size or enlarged to a former one, in Keras' operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from .protocol import LabelMaps

# Rows of full-size logits that are made at once when a small prediction is enlarged: 64 MB of 4096 x 16 classes.
_STRIP_ROWS = 256


def decide(logits: Any) -> tuple[Any, Any]:
    """Return index (B, H, W) uint8 and confidence (B, H, W) uint8 of logits (B, H, W, K).

    One pass a class is twice as fast on a CPU as argmax over the last, short axis.
    """
    return _decided(ops.unstack(logits, axis=-1))


def decide_planes(logits: Any) -> tuple[Any, Any]:
    """Return what :func:`decide` returns, by way of one map a class: OpenVINO has no fast kernel that splits pixels."""
    planes = ops.transpose(logits, (0, 3, 1, 2))
    return _decided([planes[:, k] for k in range(logits.shape[-1])])


def _decided(channels: list[Any]) -> tuple[Any, Any]:
    index, peak = ops.zeros_like(channels[0]), channels[0]
    for k, channel in enumerate(channels[1:], 1):
        index = ops.where(channel > peak, float(k), index)
        peak = ops.maximum(peak, channel)
    probability = 1 / sum(ops.exp(channel - peak) for channel in channels)
    known = ops.where(ops.isfinite(probability), probability, 0.0)
    return ops.cast(index, "uint8"), ops.cast(ops.round(known * 255), "uint8")


class Enlarging:
    """Enlarges logits linearly and decides, compiled by Keras' backend.

    Args:
        classes: K.
    """

    def __init__(self, classes: int) -> None:
        self._run = _compiled_enlarging(classes)

    def __call__(self, logits: Any, height: int, width: int) -> LabelMaps:
        """Return index and confidence, uint8 (B, height, width) twice, of logits (B, h, w, K)."""
        low_y, high_y, part_y = _taps(logits.shape[1], height)
        columns = _taps(logits.shape[2], width)
        strips = []
        for start in range(0, height, _STRIP_ROWS):
            rows = slice(start, start + _STRIP_ROWS)
            index, confidence = self._run(logits, low_y[rows], high_y[rows], part_y[rows], *columns)
            strips.append((ops.convert_to_numpy(index), ops.convert_to_numpy(confidence)))
        return np.concatenate([s[0] for s in strips], axis=1), np.concatenate([s[1] for s in strips], axis=1)


def _taps(size: int, target: int) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """Return linear interpolation of a side: the cell before and behind each target pixel, and the share of the latter.

    Centres are aligned: target pixel t lies at (t + 0.5) * size / target - 0.5; beyond the outermost centres their
    value holds.
    """
    position = np.clip((np.arange(target) + 0.5) * (size / target) - 0.5, 0, size - 1)
    low = np.floor(position).astype(np.int32)
    return low, np.minimum(low + 1, size - 1).astype(np.int32), (position - low).astype(np.float32)


def _enlarge(
    logits: Any, low_y: Any, high_y: Any, part_y: Any, low_x: Any, high_x: Any, part_x: Any
) -> tuple[Any, Any]:
    share_y, share_x = part_y[None, :, None, None], part_x[None, None, :, None]
    rows = ops.take(logits, low_y, axis=1) * (1 - share_y) + ops.take(logits, high_y, axis=1) * share_y
    full = ops.take(rows, low_x, axis=2) * (1 - share_x) + ops.take(rows, high_x, axis=2) * share_x
    return decide(full)


def _compiled_enlarging(classes: int) -> Callable[..., Any]:
    """Return :func:`_enlarge`, compiled by Keras' backend."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        side = [tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None,), tf.float32)]
        signature = [tf.TensorSpec((None, None, None, classes), tf.float32), *side, *side]
        return tf.function(_enlarge, input_signature=signature)  # type: ignore[no-any-return]
    if backend == "jax":
        import jax

        return jax.jit(_enlarge)
    return _enlarge
