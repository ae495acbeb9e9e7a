"""Reads the arrays of a `.caffemodel`, Caffe's protocol buffer of a trained network, without Caffe and without protobuf.

Assumed is caffe.proto of 2016: NetParameter.layer (100) or, before 2015, .layers (2); of a layer its name and its blobs;
of a blob its shape, or its four sizes before 2015, and its packed values. All else is passed over by its length. Messages
are three deep, whatever the file says, and nothing is allocated but the arrays, whose bytes the file must have.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import WeightsError

# What a file may say at most; the published ones have 50 layers of 2 blobs with 4 axes.
_MOST_LAYERS, _MOST_BLOBS, _MOST_AXES = 10_000, 64, 32
# Bytes of a number in protobuf's varint.
_MOST_VARINT = 10


@dataclass(frozen=True, slots=True)
class _Fields:
    """Where a kind of message has what is read of it: field numbers."""

    name: int
    blobs: int


_LAYER, _LAYER_OF_2014 = _Fields(name=1, blobs=7), _Fields(name=4, blobs=6)
_NET = {100: _LAYER, 2: _LAYER_OF_2014}
_OLD_SIZES = (1, 2, 3, 4)
_DATA, _SHAPE, _DOUBLES = 5, 7, 8


def read_caffemodel(path: Path) -> dict[str, list[NDArray[Any]]]:
    """Return the arrays of every layer that has some, by its name: float32 as a rule, the kernel before the bias.

    Raises:
        WeightsError: no such file, or one that is cut, damaged or no caffemodel; the message says where.
    """
    try:
        with path.open("rb") as file:
            if not path.stat().st_size:
                raise WeightsError(f"{path} is empty; expected a .caffemodel")
            # the file stays mapped as long as an array of it is used
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise WeightsError(f"{path}: the .caffemodel cannot be read: {error}") from error
    try:
        layers = _layers(data)
    except WeightsError as error:
        raise WeightsError(f"{path}: not a .caffemodel, or a damaged one: {error}") from error
    if not layers:
        raise WeightsError(f"{path}: no layer with weights in it; expected a .caffemodel of a trained network")
    return layers


def _layers(data: memoryview) -> dict[str, list[NDArray[Any]]]:
    found: dict[str, list[NDArray[Any]]] = {}
    count = 0
    for number, value in _fields(data, "the network"):
        fields = _NET.get(number)
        if fields is None:
            continue
        count += 1
        if count > _MOST_LAYERS:
            raise WeightsError(f"more than {_MOST_LAYERS} layers")
        name, blobs = "", []
        for inner, content in _fields(_message(value, f"layer {count}"), f"layer {count}"):
            if inner == fields.name:
                name = bytes(_message(content, f"the name of layer {count}")[:1000]).decode("utf-8", "replace")
            elif inner == fields.blobs:
                blobs.append(_message(content, f"a blob of layer {count}"))
        if len(blobs) > _MOST_BLOBS:
            raise WeightsError(f"layer {name!r} has {len(blobs)} blobs")
        if not blobs:
            continue
        if name in found:
            raise WeightsError(f"two layers with weights are called {name!r}")
        found[name] = [_blob(blob, f"blob {index} of layer {name!r}") for index, blob in enumerate(blobs)]
    return found


def _blob(data: memoryview, where: str) -> NDArray[Any]:
    """Return a BlobProto as an array."""
    sizes: dict[int, int] = {}
    shape: tuple[int, ...] | None = None
    parts: list[NDArray[Any]] = []
    for number, value in _fields(data, where):
        if number in _OLD_SIZES and isinstance(value, int):
            sizes[number] = value
        elif number == _SHAPE:
            shape = _shape(_message(value, where), where)
        elif number in (_DATA, _DOUBLES):
            parts.append(_packed(_message(value, where), "<f4" if number == _DATA else "<f8", where))
    if shape is None:
        shape = tuple(sizes.get(number, 1) for number in _OLD_SIZES)
    values = np.concatenate(parts) if len(parts) > 1 else parts[0] if parts else np.empty(0, "<f4")
    if any(side < 0 for side in shape) or math.prod(shape) != len(values):
        raise WeightsError(f"{where} claims the shape {shape}, but has {len(values)} values")
    return values.reshape(shape)


def _packed(data: memoryview, dtype: str, where: str) -> NDArray[Any]:
    if len(data) % np.dtype(dtype).itemsize:
        raise WeightsError(f"{where} has {len(data)} bytes of values, which is no whole number of them")
    return np.frombuffer(data, dtype)


def _shape(data: memoryview, where: str) -> tuple[int, ...]:
    """Return a BlobShape: packed sizes, or one a field."""
    sides: list[int] = []
    for number, value in _fields(data, where):
        if number != 1:
            continue
        if isinstance(value, int):
            sides.append(value)
        else:
            position = 0
            while position < len(value) and len(sides) <= _MOST_AXES:
                side, position = _varint(value, position, where)
                sides.append(side)
        if len(sides) > _MOST_AXES:
            raise WeightsError(f"{where} claims more than {_MOST_AXES} axes")
    return tuple(sides)


def _message(value: int | memoryview, where: str) -> memoryview:
    if isinstance(value, int):
        raise WeightsError(f"a number where {where} was expected")
    return value


def _fields(data: memoryview, where: str) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the fields of a message: number, and the value of a varint or the bytes of anything else."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position, where)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, position = _varint(data, position, where)
            yield number, value
            continue
        if kind == 2:
            size, position = _varint(data, position, where)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise WeightsError(f"{where} has a field of the unknown kind {kind} {position} bytes after its start")
        if not 0 <= size <= len(data) - position:
            raise WeightsError(
                f"{where} is cut off: a field of {size} bytes, of which {len(data) - position} are there"
            )
        yield number, data[position : position + size]
        position += size


def _varint(data: memoryview, position: int, where: str) -> tuple[int, int]:
    """Return a number and the position after it; those above 63 bits are negative, as int64 has them."""
    value = 0
    for index in range(_MOST_VARINT):
        if position + index >= len(data):
            raise WeightsError(f"{where} is cut off within a number")
        byte = data[position + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return (value - (1 << 64) if value >= 1 << 63 else value), position + index + 1
    raise WeightsError(f"{where} has a number of more than {_MOST_VARINT} bytes")
