"""What a network is made of and what it expects as input, as plain records that need no Keras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from maskloop_converters.errors import DataError

Backbone = Literal["vgg16", "small"]
Upsampling = Literal["dense", "per_class"]
Channels = Literal["RGB", "BGR"]

# Product of the five poolings: the last feature map is this many times smaller than the image.
STRIDE = 32

# A label map is uint8.
MAX_CLASSES = 256


def _checked(cls: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values as keyword arguments of a dataclass; DataError names what is missing or unknown."""
    known = {field.name for field in fields(cls)}
    if set(values) != known:
        missing, unknown = sorted(known - set(values)), sorted(set(values) - known)
        raise DataError(f"{cls.__name__}: missing keys {missing}, unknown keys {unknown}; expected {sorted(known)}")
    return dict(values)


@dataclass(frozen=True, slots=True)
class Architecture:
    """The shape of an FCN-32s; with the weights it is the whole network.

    Attributes:
        classes: K, the number of output channels, 1..256.
        backbone: 'vgg16' (13 convolutions, ImageNet weights exist) or 'small' (VGG-shaped, 0.6 M parameters, batch
            normalisation, trains from scratch in minutes on two CPU cores).
        head: True puts the backbone's fc6 and fc7 between its last pooling and the score layer (102.8 M of VGG16's
            134 M parameters are fc6); False scores the last pooling directly.
        dropout: fraction dropped after fc6 and fc7 while training, 0 <= dropout < 1.
        upsampling: 'dense' is the paper's transposed convolution, every class map feeding every class map;
            'per_class' is its diagonal: K times fewer weights, no mixing of classes.
        upsampling_trainable: False keeps the initial linear interpolation.
    """

    classes: int
    backbone: Backbone = "vgg16"
    head: bool = True
    dropout: float = 0.5
    upsampling: Upsampling = "dense"
    upsampling_trainable: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.classes <= MAX_CLASSES:
            raise DataError(f"an FCN-32s has 1 to {MAX_CLASSES} classes (label maps are uint8), got {self.classes}")
        for name, value, allowed in (
            ("backbone", self.backbone, get_args(Backbone)),
            ("upsampling", self.upsampling, get_args(Upsampling)),
        ):
            if value not in allowed:
                raise DataError(f"there is no {name} {value!r}; there are: {', '.join(allowed)}")
        if not 0 <= self.dropout < 1:
            raise DataError(f"dropout is a fraction in 0 <= dropout < 1, got {self.dropout!r}")

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Architecture:
        """Return the record of what :meth:`to_json` gave; DataError names a key that is missing or unknown."""
        return cls(**_checked(cls, values))


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How RGB values 0..255 become the network's input: ``(image[channels] - mean) * scale``; the model applies it.

    Attributes:
        channels: order in which the network wants the colours.
        mean: subtracted from each channel, in that order, in grey levels 0..255.
        scale: factor after the subtraction.
    """

    channels: Channels
    mean: tuple[float, float, float]
    scale: float

    def __post_init__(self) -> None:
        if self.channels not in get_args(Channels):
            raise DataError(f"there is no channel order {self.channels!r}; there are: {', '.join(get_args(Channels))}")
        if len(self.mean) != 3:
            raise DataError(f"preprocessing needs 3 mean values, one a channel, got {self.mean!r}")

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return {"channels": self.channels, "mean": list(self.mean), "scale": self.scale}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Preprocessing:
        """Return the record of what :meth:`to_json` gave; DataError names a key that is missing or unknown."""
        checked = _checked(cls, values)
        return cls(**{**checked, "mean": tuple(checked["mean"])})

    @classmethod
    def of(cls, backbone: Backbone) -> Preprocessing:
        """Return what a backbone's weights were, or will be, trained with.

        VGG16's are the ImageNet means that Keras subtracts in its 'caffe' mode (keras.applications.vgg16).
        """
        if backbone == "vgg16":
            return cls("BGR", (103.939, 116.779, 123.68), 1.0)
        return cls("RGB", (127.5, 127.5, 127.5), 1 / 63.75)
