"""EfficientNet-Lite, its batch normalisation folded into the convolutions: frozen statistics then cost nothing.

A frozen normalisation is an affine map of each channel, so convolution and normalisation are one convolution with a bias:
kernel * gamma / sqrt(variance + epsilon) and beta - mean * gamma / sqrt(variance + epsilon).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from keras import layers
from numpy.typing import NDArray

from .lite_plan import HEAD, STEM, LiteBlock, lite_blocks

# name -> factors of width and depth
SCALES = {"efficientnet-lite0": (1.0, 1.0), "efficientnet-lite2": (1.1, 1.2)}

# of the batch normalisations that are folded
_EPSILON = 1e-3


def build(x: Any, name: str, *, head: bool, dropout: float, initializer: str, dtype: Any) -> dict[int, Any]:
    """Return what the score layers read: (B, H, W, 3) with sides that are multiples of 32 -> stride -> feature map."""
    taps: dict[int, Any] = {}

    def convolution(x: Any, filters: int, kernel: int, layer: str, *, stride: int = 1) -> Any:
        return layers.Conv2D(
            filters, kernel, stride, padding="same", kernel_initializer=initializer, dtype=dtype, name=layer
        )(x)

    def relu6(x: Any, layer: str) -> Any:
        return layers.ReLU(max_value=6.0, dtype=dtype, name=f"{layer}_relu")(x)

    x = relu6(convolution(x, STEM, 3, "stem", stride=2), "stem")
    for index, block in enumerate(lite_blocks(*SCALES[name])):
        prefix, before = f"block{index}", x
        if block.expands:
            x = relu6(convolution(x, block.expanded, 1, f"{prefix}_expand"), f"{prefix}_expand")
        if block.stride == 2:
            taps[block.at // 2] = x
        x = layers.DepthwiseConv2D(
            block.kernel,
            block.stride,
            padding="same",
            depthwise_initializer=initializer,
            dtype=dtype,
            name=f"{prefix}_depthwise",
        )(x)
        x = relu6(x, f"{prefix}_depthwise")
        x = convolution(x, block.filters, 1, f"{prefix}_project")
        if block.residual:
            x = layers.Add(dtype=dtype, name=f"{prefix}_add")([x, before])
    if head:
        x = relu6(convolution(x, HEAD, 1, "head"), "head")
        x = layers.SpatialDropout2D(dropout, dtype=dtype, name="head_dropout")(x)
    taps[32] = x
    return taps


def folded(name: str, arrays: Mapping[str, NDArray[Any]]) -> Iterator[tuple[str, list[NDArray[np.float32]]]]:
    """Yield the weights of every layer, kernel and bias, from the arrays of the authors' checkpoint.

    Args:
        name: of the backbone.
        arrays: by their names in the checkpoint ('_blocks.3._depthwise_conv.weight'), kernels as
            (out, in / groups, height, width).

    Raises:
        KeyError: an array is not there.
        ValueError: arrays that belong together have different numbers of channels.
    """
    yield "stem", _fold(arrays, "_conv_stem", "_bn0")
    for index, block in enumerate(lite_blocks(*SCALES[name])):
        for layer, convolution, norm in _parts(block):
            prefix = f"_blocks.{index}."
            yield f"block{index}_{layer}", _fold(arrays, prefix + convolution, prefix + norm)
    yield "head", _fold(arrays, "_conv_head", "_bn1")


def _parts(block: LiteBlock) -> list[tuple[str, str, str]]:
    """Return (layer, convolution, normalisation) of a block, as we and the checkpoint call them."""
    expand = [("expand", "_expand_conv", "_bn0")] if block.expands else []
    return [*expand, ("depthwise", "_depthwise_conv", "_bn1"), ("project", "_project_conv", "_bn2")]


def _fold(arrays: Mapping[str, NDArray[Any]], convolution: str, norm: str) -> list[NDArray[np.float32]]:
    kernel = arrays[f"{convolution}.weight"]
    gamma, beta, mean, variance = (
        arrays[f"{norm}.{part}"].astype(np.float64) for part in ("weight", "bias", "running_mean", "running_var")
    )
    factor = gamma / np.sqrt(variance + _EPSILON)
    scaled = kernel * factor[:, None, None, None]
    # ours: (height, width, in, out), and (height, width, channels, 1) of a depthwise one
    moved = scaled.transpose(2, 3, 0, 1) if convolution.endswith("_depthwise_conv") else scaled.transpose(2, 3, 1, 0)
    return [np.ascontiguousarray(moved, np.float32), np.asarray(beta - mean * factor, np.float32)]
