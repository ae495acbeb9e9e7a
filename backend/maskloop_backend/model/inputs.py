"""How a network wants its images, as a plain record that needs no Keras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from maskloop_converters.errors import DataError

Channels = Literal["RGB", "BGR"]


def checked(cls: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values as keyword arguments of a dataclass; DataError names what is missing or unknown."""
    known = {field.name for field in fields(cls)}
    if set(values) != known:
        missing, unknown = sorted(known - set(values)), sorted(set(values) - known)
        raise DataError(f"{cls.__name__}: missing keys {missing}, unknown keys {unknown}; expected {sorted(known)}")
    return dict(values)


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How RGB values 0..255 become the network's input: ``(image[channels] - mean) * scale``; the model applies it.

    Attributes:
        channels: order in which the network wants the colours.
        mean: subtracted from each channel, in that order, in grey levels 0..255.
        scale: factor after the subtraction: one for all channels, or one a channel in that order.
    """

    channels: Channels
    mean: tuple[float, float, float]
    scale: float | tuple[float, float, float]

    def __post_init__(self) -> None:
        if self.channels not in get_args(Channels):
            raise DataError(f"there is no channel order {self.channels!r}; there are: {', '.join(get_args(Channels))}")
        if len(self.mean) != 3:
            raise DataError(f"preprocessing needs 3 mean values, one a channel, got {self.mean!r}")
        if isinstance(self.scale, tuple) and len(self.scale) != 3:
            raise DataError(f"preprocessing needs 1 factor or 3, one a channel, got {self.scale!r}")

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        scale = list(self.scale) if isinstance(self.scale, tuple) else self.scale
        return {"channels": self.channels, "mean": list(self.mean), "scale": scale}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Preprocessing:
        """Return the record of what :meth:`to_json` gave; DataError names a key that is missing or unknown."""
        plain = checked(cls, values)
        scale = plain["scale"]
        return cls(plain["channels"], tuple(plain["mean"]), tuple(scale) if isinstance(scale, list) else scale)
