"""What a network is made of, as a plain record that needs no Keras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from maskloop_converters.errors import DataError

from .backbones.table import backbone
from .inputs import Preprocessing, checked

__all__ = [
    "CLASS_LAYERS",
    "MAX_CLASSES",
    "STRIDE",
    "STRIDES",
    "Architecture",
    "Padding",
    "Preprocessing",
    "Stride",
    "Upsampling",
]

Upsampling = Literal["dense", "per_class"]
Stride = Literal[32, 16, 8, 4]
Padding = Literal["mirror", "caffe"]
STRIDES: tuple[Stride, ...] = get_args(Stride)

# The last feature map of every backbone is this many times smaller than the image; images are padded to its multiples.
STRIDE = 32

# How the names of the layers begin whose sizes depend on the number of classes.
CLASS_LAYERS = ("score", "upsampling")

# A label map is uint8.
MAX_CLASSES = 256


@dataclass(frozen=True, slots=True)
class Architecture:
    """The shape of an FCN; with the weights it is the whole network.

    Attributes:
        classes: K, the number of output channels, 1..256.
        backbone: a name of :data:`~.backbones.table.BACKBONES`: 'vgg16' (13 convolutions, the paper's), 'small'
            (VGG-shaped, 0.6 M parameters, trains from scratch in minutes on two CPU cores), 'efficientnet-lite0', ...
        head: True puts the backbone's head between its last block and the score layer: VGG16's fc6 and fc7 (102.8 M of
            its 134 M parameters are fc6), EfficientNet-Lite's 1280 channels; False scores the last block directly.
        dropout: fraction dropped in the head while training, 0 <= dropout < 1; None takes the backbone's.
        upsampling: 'dense' is the paper's transposed convolution, every class map feeding every class map;
            'per_class' is its diagonal: K times fewer weights, no mixing of classes.
        upsampling_trainable: False keeps the initial linear interpolation.
        stride: of the finest scores: 32 reads the last map alone (FCN-32s); 16, 8 and 4 add scores of earlier maps.
        padding: 'mirror' continues the image to multiples of 32, as every network does that is trained here. 'caffe' is
            that of the authors' networks (:mod:`~.published`): 100 zeros on every side, with VGG16 and its head only.
    """

    classes: int
    backbone: str = "vgg16"
    head: bool = True
    dropout: float | None = None
    upsampling: Upsampling = "dense"
    upsampling_trainable: bool = True
    stride: int = 32
    padding: Padding = "mirror"

    def __post_init__(self) -> None:
        if not 1 <= self.classes <= MAX_CLASSES:
            raise DataError(f"an FCN has 1 to {MAX_CLASSES} classes (label maps are uint8), got {self.classes}")
        entry = backbone(self.backbone)
        if self.upsampling not in get_args(Upsampling):
            raise DataError(f"there is no upsampling {self.upsampling!r}; there are: {', '.join(get_args(Upsampling))}")
        if self.stride not in STRIDES:
            raise DataError(f"an FCN has the stride {', '.join(map(str, STRIDES))}, got {self.stride!r}")
        absent = [stride for stride in self.strides if stride not in entry.taps]
        if absent:
            raise DataError(
                f"the backbone {self.backbone} has no tap at stride {absent[0]}, which an FCN-{self.stride}s needs; "
                f"it has: {', '.join(map(str, sorted(entry.taps)))}"
            )
        if self.padding not in get_args(Padding):
            raise DataError(f"there is no padding {self.padding!r}; there are: {', '.join(get_args(Padding))}")
        if self.padding == "caffe" and (self.backbone != "vgg16" or not self.head or self.stride < 8):
            raise DataError("the padding 'caffe' is for vgg16 with its head at stride 32, 16 or 8")
        if self.dropout is None:
            object.__setattr__(self, "dropout", entry.dropout)
        elif not 0 <= self.dropout < 1:
            raise DataError(f"dropout is a fraction in 0 <= dropout < 1, got {self.dropout!r}")

    @property
    def strides(self) -> tuple[int, ...]:
        """The strides of all its score layers, from 32 on down."""
        return tuple(stride for stride in STRIDES if stride >= self.stride)

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Architecture:
        """Return the record of what :meth:`to_json` gave; DataError names a key that is missing or unknown."""
        # older records do not say what all networks had then
        return cls(**checked(cls, {"stride": 32, "padding": "mirror", **values}))
