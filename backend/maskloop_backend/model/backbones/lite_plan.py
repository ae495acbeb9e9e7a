"""The blocks of EfficientNet-Lite: EfficientNet without squeeze-and-excitation and with ReLU6 for swish.

Depth and width are scaled as in EfficientNet (Tan, Le, ICML 2019), but for the stem, the head, and the depth of the first and
the last stage, which every Lite shares (github.com/tensorflow/tpu, models/official/efficientnet/lite).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

STEM = 32
HEAD = 1280
# (blocks, kernel, stride, expansion, filters) of each stage of B0
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


@dataclass(frozen=True, slots=True)
class LiteBlock:
    """One inverted bottleneck: 1x1 expansion, depthwise convolution, 1x1 projection.

    Attributes:
        kernel: side of the depthwise kernel.
        stride: of the depthwise convolution.
        expanded: channels between expansion and projection.
        filters: channels of the output.
        expands: False where the input goes into the depthwise convolution as it is.
        residual: the input is added to the output.
        at: stride of the output against the image.
    """

    kernel: int
    stride: int
    expanded: int
    filters: int
    expands: bool
    residual: bool
    at: int


def lite_blocks(width: float, depth: float) -> tuple[LiteBlock, ...]:
    """Return the blocks for a width and a depth: (1.0, 1.0) is Lite0, (1.1, 1.2) Lite2."""
    blocks: list[LiteBlock] = []
    channels, at = STEM, 2
    for index, (repeats, kernel, stride, expansion, filters) in enumerate(_STAGES):
        scaled = 0 < index < len(_STAGES) - 1
        wide = _multiple_of_8(filters * width)
        for repeat in range(math.ceil(repeats * depth) if scaled else repeats):
            step = 1 if repeat else stride
            at *= step
            blocks.append(
                LiteBlock(kernel, step, channels * expansion, wide, expansion > 1, step == 1 and channels == wide, at)
            )
            channels = wide
    return tuple(blocks)


def _multiple_of_8(channels: float) -> int:
    """Return the nearest multiple of 8, but never less than nine tenths of what was wanted."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8
