"""How a network wants its images, as a plain record that needs no Keras."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from maskloop_converters.errors import DataError

Channels = Literal["RGB", "BGR"]


def checked(cls: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return JSON values as keyword arguments of a dataclass.

    Raises:
        DataError: a key is missing or unknown, or a value is not what the field's annotation says.
    """
    if not isinstance(values, Mapping):
        raise DataError(f"{cls.__name__}: expected an object, got {_short(values)}")
    known = {field.name for field in fields(cls)}
    if set(values) != known:
        missing, unknown = sorted(known - set(values)), sorted(set(values) - known)
        raise DataError(f"{cls.__name__}: missing keys {missing}, unknown keys {unknown}; expected {sorted(known)}")
    hints = get_type_hints(cls)
    for name, value in values.items():
        if not _fits(value, hints[name]):
            raise DataError(f"{cls.__name__}: {name} is {_short(value)}; expected {_said(hints[name])}")
    return dict(values)


def _fits(value: Any, hint: Any) -> bool:
    """Tell whether a JSON value may stand for an annotation: lists for tuples, whole numbers for numbers, none infinite."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in arguments)
    if origin is Literal:
        return value in arguments and not isinstance(value, bool)
    if origin is tuple:
        return isinstance(value, list) and len(value) == len(arguments) and all(map(_fits, value, arguments))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is type(None):
        return value is None
    return isinstance(value, origin or hint)


def _said(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


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
