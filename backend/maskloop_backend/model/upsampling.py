"""The trainable transposed convolution that turns a coarse score map into one score a pixel.

A transposed convolution with stride s inserts s - 1 zero rows and columns between the cells of its input and runs a
regular convolution over the result. With a kernel of 2s, each output pixel sees 2 x 2 cells, so all s x s output pixels
between four cells are one matrix product of these four cells with the kernel. That is how it is computed here: the same
numbers as Keras' own Conv2DTranspose, 2 to 9 times as fast on a CPU (7 to 21 classes, TensorFlow 2.21).

Outside the map the outermost cells are repeated. With zeros there, scores fade towards the border of the image, and the
first kernel would be linear interpolation in the interior only.
"""

from __future__ import annotations

from typing import Any, Literal

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

Border = Literal["repeat", "zeros"]


def linear_taps(factor: int) -> NDArray[np.float32]:
    """Return the weights of linear interpolation by an integer factor: float32 (2 * factor,), a triangle.

    Tap t weighs the cell whose centre is ``t - (factor - 0.5)`` output pixels away; taps ``t`` and ``t + factor``, the
    two cells that an output pixel sees, sum to 1.
    """
    distance = np.abs(np.arange(2 * factor) - (factor - 0.5))
    return np.asarray(1 - distance / factor, np.float32)


@keras.saving.register_keras_serializable("maskloop")
class Bilinear(keras.initializers.Initializer):  # type: ignore[misc]
    """Bilinear interpolation as the kernel of a transposed convolution with kernel 2s and stride s.

    Shapes: (2s, 2s, K, K) of a Conv2DTranspose, K interpolations on the diagonal and zeros elsewhere; or (2s, 2s, K),
    one a class. (Long, Shelhamer, Darrell: Fully Convolutional Networks, CVPR 2015, section 3.3.)
    """

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        """Return the kernel; ValueError where the shape is none of the two."""
        if len(shape) not in (3, 4) or shape[0] != shape[1] or shape[0] % 2 or shape[2] != shape[-1]:
            raise ValueError(f"a bilinear kernel has shape (2s, 2s, K) or (2s, 2s, K, K), got {tuple(shape)}")
        taps = linear_taps(shape[0] // 2)
        plane = np.outer(taps, taps)
        if len(shape) == 3:
            kernel = np.repeat(plane[:, :, None], shape[2], axis=2)
        else:
            kernel = plane[:, :, None, None] * np.eye(shape[2], dtype=np.float32)
        return ops.convert_to_tensor(kernel, dtype=dtype or keras.config.floatx())


def _neighbours(scores: Any, border: Border) -> list[Any]:
    """Return the four cells round every corner between cells: 4 of (B, h + 1, w + 1, K)."""
    mode = "symmetric" if border == "repeat" else "constant"
    padded = ops.pad(scores, ((0, 0), (1, 1), (1, 1), (0, 0)), mode=mode)
    return [padded[:, :-1, :-1], padded[:, :-1, 1:], padded[:, 1:, :-1], padded[:, 1:, 1:]]


def as_convolution(layer: DenseUpsampling | PerClassUpsampling) -> NDArray[np.float32]:
    """Return a layer's kernel as that of a 2 x 2 convolution over its input, padded by one cell on every side.

    The convolution gives all s x s pixels of every corner between four cells as channels: class k, row y and column x at
    ``(k * s + y) * s + x``.

    Returns:
        float32 (K * s * s, K, 2, 2) of a dense layer, (K, s * s, 1, 2, 2), a group a class, of a per-class one; output
        channels before input channels, as ONNX and OpenVINO have them.
    """
    kernel = ops.convert_to_numpy(layer.kernel)
    s, classes = layer.factor, kernel.shape[2]
    blocks = ops.convert_to_numpy(_blocks(kernel, s, kernel.shape[2:]))
    if kernel.ndim == 4:
        weights = blocks.transpose(4, 2, 3, 5, 0, 1).reshape(classes * s * s, classes, 2, 2)
    else:
        weights = blocks.transpose(4, 2, 3, 0, 1).reshape(classes, s * s, 1, 2, 2)
    return np.ascontiguousarray(weights, np.float32)


def _blocks(kernel: Any, factor: int, trailing: tuple[int, ...]) -> Any:
    """Return a kernel (2s, 2s, ...) as (2, 2, s, s, ...), the first two the cell above/below and left/right.

    Seen from an output pixel, the cell above or left is reached through the second half of the taps.
    """
    split = ops.reshape(kernel, (2, factor, 2, factor, *trailing))
    # one axis a flip: OpenVINO does not read TensorFlow's reverse along several
    return ops.flip(ops.flip(ops.moveaxis(split, 2, 1), axis=0), axis=1)


def _every(blocks: Any, every: int, phase: Any) -> Any:
    """Return what of :func:`_blocks` makes every n-th row and column of the map, from a phase on: (2, 2, s / n, s / n, ...)."""
    factor, trailing = blocks.shape[2] // every, tuple(blocks.shape[4:])
    split = ops.reshape(blocks, (2, 2, factor, every, factor, every, *trailing))
    # the rows first: their axis goes, and that of the columns moves up
    return ops.take(ops.take(split, phase[0], axis=3), phase[1], axis=4)


def _assemble(product: Any, scores: Any, factor: int, border: Border) -> Any:
    """Return (B, h + 1, w + 1, s, s, K) products as the (B, h * s, w * s, K) map, the outer blocks cut off.

    With zeros outside, nothing is cut off.
    """
    batch, height, width, _ = ops.shape(scores)
    classes = product.shape[-1]
    rows = ops.transpose(product, (0, 1, 3, 2, 4, 5))
    full = ops.reshape(rows, (batch, (height + 1) * factor, (width + 1) * factor, classes))
    if border == "zeros":
        return full
    start = factor // 2
    return full[:, start : start + height * factor, start : start + width * factor]


@keras.saving.register_keras_serializable("maskloop")
class DenseUpsampling(keras.layers.Conv2DTranspose):  # type: ignore[misc]
    """(B, h, w, K) -> (B, h * s, w * s, K): Conv2DTranspose with kernel 2s, stride s and no bias.

    Its weights are those of keras.layers.Conv2DTranspose, (2s, 2s, K out, K in); its outputs are those of that layer on
    the map with its outermost cells repeated once on every side, cropped by s on every side.

    Args:
        filters: K.
        factor: s, even, >= 2.
        border: 'zeros' takes the cells outside of the map for zeros, and the result is the whole transposed convolution,
            (B, (h + 1) * s, (w + 1) * s, K), as Caffe has it.
        **kwargs: as of keras.layers.Conv2DTranspose.
    """

    def __init__(
        self,
        filters: int,
        factor: int,
        border: Border = "repeat",
        **kwargs: Any,
    ) -> None:
        fixed = {"kernel_size": 2 * factor, "strides": factor, "padding": "same", "use_bias": False}
        super().__init__(filters, **{"kernel_initializer": Bilinear(), **kwargs, **fixed})
        self.factor = factor
        self.border = border

    def call(self, inputs: Any) -> Any:
        """Return the upsampled map."""
        return self._product(inputs, _blocks(self.kernel, self.factor, (self.filters, self.filters)))

    def sampled(self, inputs: Any, every: int, phase: Any) -> Any:
        """Return some pixels of the upsampled map, see :class:`SampledUpsampling`."""
        return self._product(inputs, _every(_blocks(self.kernel, self.factor, (self.filters,) * 2), every, phase))

    def _product(self, inputs: Any, blocks: Any) -> Any:
        s, k = blocks.shape[2], self.filters
        cells = ops.concatenate(_neighbours(inputs, self.border), axis=-1)
        # (2, 2, s, s, out, in) -> (cell, in; s, s, out)
        weights = ops.transpose(blocks, (0, 1, 5, 2, 3, 4))
        product = ops.matmul(cells, ops.reshape(weights, (4 * k, s * s * k)))
        batch, height, width, _ = ops.shape(cells)
        return _assemble(ops.reshape(product, (batch, height, width, s, s, k)), inputs, s, self.border)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape with height and width times the factor."""
        batch, height, width, _ = input_shape
        more = int(self.border == "zeros")
        up = [None if side is None else (side + more) * self.factor for side in (height, width)]
        return (batch, *up, self.filters)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make the same layer."""
        config = {**super().get_config(), "factor": self.factor, "border": self.border}
        for key in ("kernel_size", "strides", "padding", "use_bias"):
            del config[key]
        return config


@keras.saving.register_keras_serializable("maskloop")
class PerClassUpsampling(keras.layers.Layer):  # type: ignore[misc]
    """(B, h, w, K) -> (B, h * s, w * s, K): the diagonal of :class:`DenseUpsampling`, one kernel a class.

    Args:
        factor: s, even, >= 2.
        border: 'zeros' takes the cells outside of the map for zeros, and the result is the whole transposed convolution,
            (B, (h + 1) * s, (w + 1) * s, K), as Caffe has it.
        **kwargs: as of keras.layers.Layer.
    """

    def __init__(self, factor: int, border: Border = "repeat", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor
        self.border = border

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the kernel, (2s, 2s, K)."""
        shape = (2 * self.factor, 2 * self.factor, input_shape[-1])
        self.kernel = self.add_weight(shape=shape, initializer=Bilinear(), name="kernel")

    def call(self, inputs: Any) -> Any:
        """Return the upsampled map."""
        return self._product(inputs, _blocks(self.kernel, self.factor, (inputs.shape[-1],)))

    def sampled(self, inputs: Any, every: int, phase: Any) -> Any:
        """Return some pixels of the upsampled map, see :class:`SampledUpsampling`."""
        return self._product(inputs, _every(_blocks(self.kernel, self.factor, (inputs.shape[-1],)), every, phase))

    def _product(self, inputs: Any, blocks: Any) -> Any:
        s, k = blocks.shape[2], inputs.shape[-1]
        # K products of (cells, 4) with (4, s * s)
        cells = ops.stack(_neighbours(inputs, self.border), axis=-1)
        batch, height, width = ops.shape(cells)[:3]
        cells = ops.reshape(ops.moveaxis(cells, 3, 0), (k, -1, 4))
        weights = ops.reshape(ops.moveaxis(blocks, -1, 0), (k, 4, s * s))
        product = ops.reshape(ops.matmul(cells, weights), (k, batch, height, width, s, s))
        return _assemble(ops.moveaxis(product, 0, -1), inputs, s, self.border)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape with height and width times the factor."""
        batch, height, width, channels = input_shape
        more = int(self.border == "zeros")
        up = [None if side is None else (side + more) * self.factor for side in (height, width)]
        return (batch, *up, channels)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make the same layer."""
        own = {"factor": self.factor, "border": self.border}
        return {**super().get_config(), **own}


class SampledUpsampling(keras.layers.Layer):  # type: ignore[misc]
    """Scores (B, h, w, K) -> every n-th row and column of what an upsampling layer makes of them, (B, h * s / n, w * s / n, K).

    A loss need not look at all pixels of a map whose neighbours are nearly alike: a sixteenth of them, others at every step,
    costs a sixteenth of the time.

    Args:
        layer: whose kernel is used.
        every: n, a divisor of half of the layer's factor.
        **kwargs: as of keras.layers.Layer.
    """

    def __init__(self, layer: DenseUpsampling | PerClassUpsampling, every: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if every < 1 or (layer.factor // 2) % every:
            raise ValueError(f"expected a divisor of {layer.factor // 2}, half of the factor, got {every}")
        self.layer = layer
        self.every = every

    def call(self, scores: Any, phase: Any) -> Any:
        """Return the pixels; the first row of ``phase``, integers (B, 2) in 0 .. n - 1, says the first row and column."""
        return self.layer.sampled(scores, self.every, phase[0])

    def compute_output_shape(
        self, scores_shape: tuple[int | None, ...], phase_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """Return the shape of the map with height and width divided by n."""
        batch, height, width, classes = self.layer.compute_output_shape(scores_shape)
        return (batch, *(None if side is None else side // self.every for side in (height, width)), classes)
