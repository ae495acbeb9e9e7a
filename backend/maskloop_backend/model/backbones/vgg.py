"""VGG and what is shaped like it: five blocks of 'same' convolutions, each halving the size, and the head, fc6 and fc7."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
from keras import layers, ops


@dataclass(frozen=True, slots=True)
class Plan:
    """The sizes of a backbone.

    Attributes:
        blocks: (number of convolutions, filters) of each of the five blocks.
        normalise: batch normalisation between every convolution and its ReLU.
        head_kernel: side of fc6's kernel, in cells of 32 pixels.
        head_width: filters of fc6 and fc7.
    """

    blocks: tuple[tuple[int, int], ...]
    normalise: bool
    head_kernel: int
    head_width: int


PLANS: dict[str, Plan] = {
    # Simonyan, Zisserman: Very Deep Convolutional Networks, ICLR 2015, column D; head as in voc-fcn32s
    "vgg16": Plan(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), normalise=False, head_kernel=7, head_width=4096),
    # column A's depths with narrow layers: 0.4 GFLOP for a 192x256 image, a hundredth of VGG16's
    "small": Plan(((1, 16), (1, 32), (2, 64), (2, 96), (2, 128)), normalise=True, head_kernel=3, head_width=192),
}


@keras.saving.register_keras_serializable("maskloop")
class PatchConv2D(keras.layers.Conv2D):  # type: ignore[misc]
    """Conv2D with stride 1, as one product of its patches with its kernel.

    fc6 is 7 x 7 x 512 -> 4096 on a map of a few hundred cells: nearly all its work is in reading the kernel. The same
    numbers as Conv2D in half the time on a CPU (192 cells: 478 -> 210 ms in float32, 209 -> 112 ms in bfloat16).
    """

    def call(self, inputs: Any) -> Any:
        """Return the convolution: (B, h, w, C) -> (B, h, w, filters)."""
        side = self.kernel_size[0]
        if self.padding == "same":
            before = (side - 1) // 2
            around = (before, side - 1 - before)
            inputs = ops.pad(inputs, ((0, 0), around, around, (0, 0)))
        height, width = (size - side + 1 for size in ops.shape(inputs)[1:3])
        patches = [inputs[:, y : y + height, x : x + width] for y in range(side) for x in range(side)]
        kernel = ops.reshape(self.kernel, (-1, self.filters))
        outputs = ops.matmul(ops.concatenate(patches, axis=-1), kernel)
        return outputs + self.bias if self.use_bias else outputs


def _convolution(
    x: Any,
    filters: int,
    kernel: int,
    name: str,
    *,
    normalise: bool,
    padding: str = "same",
    initializer: str,
    dtype: Any,
) -> Any:
    """Return ReLU(convolution), normalised in between where asked."""
    kind = PatchConv2D if name == "fc6" else layers.Conv2D
    x = kind(
        filters,
        kernel,
        padding=padding,
        use_bias=not normalise,
        kernel_initializer=initializer,
        dtype=dtype,
        name=name,
    )(x)
    if normalise:
        # short trainings see few batches: a momentum of 0.99 would leave the statistics behind the weights
        x = layers.BatchNormalization(momentum=0.9, dtype=dtype, name=f"{name}_norm")(x)
    return layers.ReLU(dtype=dtype, name=f"{name}_relu")(x)


def build(
    x: Any, name: str, *, head: bool, dropout: float, initializer: str, dtype: Any, caffe: bool = False
) -> dict[int, Any]:
    """Return what the score layers read: (B, H, W, 3) -> stride -> feature map.

    Sides are multiples of 32; with ``caffe`` they are any, poolings see what is left over at the end, and fc6 does not pad.
    """
    plan = PLANS[name]
    options: dict[str, Any] = {"normalise": plan.normalise, "initializer": initializer, "dtype": dtype}
    taps: dict[int, Any] = {}
    for block, (depth, filters) in enumerate(plan.blocks, 1):
        for index in range(1, depth + 1):
            x = _convolution(x, filters, 3, f"block{block}_conv{index}", **options)
        pooling = "same" if caffe else "valid"
        taps[2**block] = x = layers.MaxPooling2D(2, padding=pooling, dtype=dtype, name=f"block{block}_pool")(x)
    if head:
        for layer, kernel in (("fc6", plan.head_kernel), ("fc7", 1)):
            x = _convolution(x, plan.head_width, kernel, layer, padding="valid" if caffe else "same", **options)
            x = layers.Dropout(dropout, dtype=dtype, name=f"{layer}_dropout")(x)
        taps[32] = x
    return taps
