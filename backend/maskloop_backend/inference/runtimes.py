"""What runs a network: images in, label map and confidence out, compiled by the backend that Keras uses.

The choice of the class and its probability are made where the logits are, so that two bytes a pixel leave the device
instead of four a class. Nothing here knows files, tiles or threads.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from maskloop_converters.errors import DataError

from ..model.bundle import Bundle
from ..model.fcn import backbone_layers, build_fcn

Precision = Literal["auto", "float32", "bfloat16"]

# Rows of full-size logits that are made at once when a small prediction is enlarged: 64 MB of 4096 x 16 classes.
_STRIP_ROWS = 256


class KerasRuntime:
    """A bundle's network, compiled for prediction. Its methods may be called from several threads.

    Args:
        bundle: the model; it is used as it is where it has the precision already, else copied.
        precision: 'bfloat16' halves the time of VGG16 where the processor has it, and makes it several times as long
            where it has not; 'auto' looks.
    """

    def __init__(self, bundle: Bundle, *, precision: Precision = "auto") -> None:
        self.precision = _resolve(precision)
        model = bundle.model
        # the policy of the backbone's layers; input and output are float32 always
        layer = backbone_layers(model, bundle.record.architecture.backbone)[-1]
        if layer.compute_dtype != self.precision:
            model = _recast(bundle, "float32" if self.precision == "float32" else "mixed_bfloat16")
        self._logits = _compiled_network(model, lambda logits: logits)
        self._labels = _compiled_network(model, _decide)
        self._enlarge = _compiled_enlarging(bundle.record.architecture.classes)

    @property
    def static_shapes(self) -> bool:
        """True where every new shape of a batch costs a compilation, so that few shapes should be asked for."""
        return bool(keras.backend.backend() == "jax")

    def labels(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return class index and confidence of every pixel.

        Args:
            images: uint8 (B, H, W, 3) RGB; any size, without padding if H and W are multiples of 32.

        Returns:
            uint8 (B, H, W) index of the highest logit (the lowest of equals), and uint8 (B, H, W) its softmax
            probability times 255, rounded; 0 where a logit is not a number.
        """
        index, confidence = self._labels(images)
        return ops.convert_to_numpy(index), ops.convert_to_numpy(confidence)

    def enlarged(
        self, images: NDArray[np.uint8], inner: tuple[slice, slice], height: int, width: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return class index and confidence of images that were shrunk, at their former size.

        Logits are interpolated linearly (pixel centres aligned), then decided: classes keep their smooth borders.

        Args:
            images: uint8 (B, h', w', 3) RGB, of one former size.
            inner: rows and columns of the images that are not padding.
            height: of the results, in pixels.
            width: of the results, in pixels.

        Returns:
            uint8 (B, height, width) twice, as :meth:`labels`.
        """
        logits = self._logits(images)[:, inner[0], inner[1]]
        low_y, high_y, part_y = _taps(logits.shape[1], height)
        columns = _taps(logits.shape[2], width)
        strips = []
        for start in range(0, height, _STRIP_ROWS):
            rows = slice(start, start + _STRIP_ROWS)
            index, confidence = self._enlarge(logits, low_y[rows], high_y[rows], part_y[rows], *columns)
            strips.append((ops.convert_to_numpy(index), ops.convert_to_numpy(confidence)))
        return np.concatenate([s[0] for s in strips], axis=1), np.concatenate([s[1] for s in strips], axis=1)


def _decide(logits: Any) -> tuple[Any, Any]:
    """Return index (B, H, W) uint8 and confidence (B, H, W) uint8 of logits (B, H, W, K).

    One pass a class is twice as fast on a CPU as argmax over the last, short axis.
    """
    channels = ops.unstack(logits, axis=-1)
    index, peak = ops.zeros_like(channels[0]), channels[0]
    for k, channel in enumerate(channels[1:], 1):
        index = ops.where(channel > peak, float(k), index)
        peak = ops.maximum(peak, channel)
    probability = 1 / sum(ops.exp(channel - peak) for channel in channels)
    known = ops.where(ops.isfinite(probability), probability, 0.0)
    return ops.cast(index, "uint8"), ops.cast(ops.round(known * 255), "uint8")


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
    return _decide(full)


def _compiled_network(model: keras.Model, finish: Callable[[Any], Any]) -> Callable[..., Any]:
    """Return ``finish(model(images))``, compiled by Keras' backend."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        # one graph for all sizes
        signature = [tf.TensorSpec((None, None, None, 3), tf.uint8)]
        return tf.function(  # type: ignore[no-any-return]
            lambda images: finish(model(images, training=False)), input_signature=signature
        )
    if backend == "jax":
        import jax

        # weights go in as arguments: a closure would compile them into the program as constants
        trainable = [variable.value for variable in model.trainable_variables]
        others = [variable.value for variable in model.non_trainable_variables]
        run = jax.jit(lambda a, b, images: finish(model.stateless_call(a, b, images, training=False)[0]))
        return lambda images: run(trainable, others, images)
    return lambda images: finish(model(images, training=False))


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


def _recast(bundle: Bundle, dtype: str) -> keras.Model:
    """Return a copy of the bundle's network that computes in another precision."""
    record = bundle.record
    model = build_fcn(record.architecture, preprocessing=record.preprocessing, dtype=dtype, blank=True)
    for layer, source in zip(model.layers, bundle.model.layers, strict=True):
        if source.weights:
            layer.set_weights(source.get_weights())
    return model


def _resolve(precision: Precision) -> Literal["float32", "bfloat16"]:
    if precision == "auto":
        return "bfloat16" if computes_bfloat16() else "float32"
    if precision not in ("float32", "bfloat16"):
        raise DataError(f"there is no precision {precision!r}; there are: auto, float32, bfloat16")
    return precision


def computes_bfloat16() -> bool:
    """Tell whether the device that Keras uses multiplies bfloat16 in hardware; elsewhere it is emulated and slow."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        if gpus:
            # Ampere is the first with bfloat16
            capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
            return bool(capability >= (8, 0))
        return _cpu_has_bfloat16()
    # JAX's CPU compiler does not use the instructions
    if backend == "jax":
        import jax

        return jax.default_backend() == "tpu"
    return False


def _cpu_has_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Read the flags that Linux states; False where it does not."""
    try:
        text = cpuinfo.read_text()
    except OSError:
        return False
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    return "avx512_bf16" in flags or "amx_bf16" in flags
