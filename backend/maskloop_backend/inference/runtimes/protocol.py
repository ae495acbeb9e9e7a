"""What a predictor needs of a runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from maskloop_converters.errors import DataError

Computed = Literal["float32", "bfloat16", "int8"]
Precision = Literal["auto", "float32", "bfloat16", "int8"]
# Class index and confidence of every pixel, uint8 (B, H, W) twice.
LabelMaps = tuple[NDArray[np.uint8], NDArray[np.uint8]]


class Runtime(Protocol):
    """A network, compiled for prediction. Its methods may be called from several threads."""

    @property
    def name(self) -> str:
        """What runs it: 'keras' or 'openvino'."""
        ...

    @property
    def precision(self) -> Computed:
        """What the backbone computes in."""
        ...

    @property
    def static_shapes(self) -> bool:
        """True where every new shape of a batch costs a compilation, so that few shapes should be asked for."""
        ...

    def prepare(self, batch: int, height: int, width: int) -> None:
        """Be ready for batches of a size that will come often; it may take as long as a compilation.

        Args:
            batch: B, images.
            height: of the images in pixels.
            width: of the images in pixels.
        """
        ...

    def start_stretch(self) -> None:
        """Begin a stretch of images: what a repeatable runtime answers to them does not depend on what came before."""
        ...

    def labels(self, images: NDArray[np.uint8]) -> LabelMaps:
        """Return class index and confidence of every pixel.

        Args:
            images: uint8 (B, H, W, 3) RGB; any size, without padding if H and W are multiples of 32.

        Returns:
            uint8 (B, H, W) index of the highest logit (the lowest of equals), and uint8 (B, H, W) its softmax
            probability times 255, rounded; 0 where a logit is not a number.
        """
        ...

    def enlarged(self, images: NDArray[np.uint8], inner: tuple[slice, slice], height: int, width: int) -> LabelMaps:
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
        ...


def checked(precision: str) -> None:
    """Refuse what is no precision.

    Raises:
        DataError: it names those that there are.
    """
    if precision not in get_args(Precision):
        raise DataError(f"there is no precision {precision!r}; there are: {', '.join(get_args(Precision))}")


def cpu_has_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Read the flags that Linux states; False where it does not."""
    try:
        text = cpuinfo.read_text()
    except OSError:
        return False
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    return "avx512_bf16" in flags or "amx_bf16" in flags
