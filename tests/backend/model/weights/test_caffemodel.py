"""The wire format of caffemodels: both generations, and files that lie."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskloop_backend.model.weights.caffemodel import read_caffemodel
from maskloop_backend.model.weights.errors import WeightsError

_spec = importlib.util.spec_from_file_location("caffe_writer", Path(__file__).with_name("caffe_writer.py"))
assert _spec is not None
assert _spec.loader is not None
writer: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(writer)
field, varint = writer.field, writer.varint

ARRAYS = {
    "conv1_1": [np.arange(24, dtype="f").reshape(2, 3, 2, 2), np.array([5, 6], "f")],
    "upscore": [np.ones((1, 1, 4, 4), "f")],
}


def read(tmp_path: Path, data: bytes) -> dict[str, Any]:
    (path := tmp_path / "x.caffemodel").write_bytes(data)
    return read_caffemodel(path)


@pytest.mark.parametrize("old", [False, True])
def test_arrays_come_by_layer(tmp_path: Path, old: bool) -> None:
    found = read(tmp_path, writer.caffemodel(ARRAYS, old=old))
    assert list(found) == list(ARRAYS)
    for name, arrays in ARRAYS.items():
        for array, other in zip(arrays, found[name], strict=True):
            np.testing.assert_array_equal(other.reshape(array.shape), array)


def test_values_in_pieces_doubles_and_unknown_fields_are_read(tmp_path: Path) -> None:
    shape = field(7, field(1, 2) + field(1, 2))
    pieces = field(5, np.array([1, 2, 3], "<f4").tobytes()) + field(5, np.array([4], "<f4").tobytes())
    other = varint(50 << 3 | 1) + bytes(8) + varint(51 << 3 | 5) + bytes(4) + field(52, b"?")
    doubles = field(7, field(1, varint(2))) + field(8, np.array([0.5, -1], "<f8").tobytes())
    layer = field(1, b"fc") + field(7, shape + other + pieces) + other + field(7, doubles)
    found = read(tmp_path, other + field(100, layer))
    np.testing.assert_array_equal(found["fc"][0], [[1, 2], [3, 4]])
    np.testing.assert_array_equal(found["fc"][1], [0.5, -1])


def layer(blob: bytes) -> bytes:
    return field(100, field(1, b"fc") + field(7, blob))


VALUES = field(5, bytes(16))


def nested(depth: int) -> bytes:
    data = b""
    for _ in range(depth):
        data = field(7, data)
    return data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lambda: b"", "is empty"),
        (lambda: b"\xff" * 40, "a number of more than 10 bytes"),
        (lambda: b"\x89PNG\r\n\x1a\n" + bytes(40), "no layer with weights"),
        (lambda: field(1, b"net"), "no layer with weights"),
        (lambda: writer.caffemodel(ARRAYS)[:-3], "layer 2|the network.* is cut off"),
        (lambda: writer.caffemodel(ARRAYS)[:20], "is cut off"),
        (lambda: varint(100 << 3 | 2) + varint(1 << 62) + b"x", f"a field of {1 << 62} bytes, of which 1 are there"),
        (lambda: varint(100 << 3 | 2) + varint((1 << 64) - 5) + b"x" * 9, "cut off|negative"),
        (lambda: layer(field(7, field(1, varint(2) + varint(3))) + VALUES), r"shape \(2, 3\), but has 4 values"),
        (lambda: layer(field(7, field(1, varint(1 << 40) * 2)) + VALUES), r"shape \(1099511627776, .* has 4 values"),
        (lambda: layer(field(7, field(1, varint((1 << 64) - 2) * 2)) + VALUES), r"shape \(-2, -2\), but has 4 values"),
        (lambda: layer(field(7, field(1, varint(1) * 100)) + VALUES), "more than 32 axes"),
        (lambda: layer(field(1, 1 << 40) + field(2, 1 << 30) + VALUES), "but has 4 values"),
        (lambda: layer(field(7, field(1, varint(4))) + field(5, bytes(15))), "15 bytes of values"),
        (
            lambda: layer(field(7, field(1, varint(4))) + field(5, 7)),
            "a number where blob 0 of layer 'fc' was expected",
        ),
        (lambda: field(100, 7), "a number where layer 1 was expected"),
        (lambda: varint(3 << 3 | 3) * 10, "a field of the unknown kind 3"),
        (lambda: field(100, b"") * 10_001, "more than 10000 layers"),
        (lambda: field(100, field(7, VALUES) * 65), "has 65 blobs"),
        (lambda: writer.caffemodel(ARRAYS) * 2, "two layers with weights are called 'conv1_1'"),
        (lambda: field(100, nested(2000)), "claims the shape"),
    ],
)
def test_a_file_that_lies_is_refused(tmp_path: Path, data: Callable[[], bytes], message: str) -> None:
    with pytest.raises(WeightsError, match=message) as caught:
        read(tmp_path, data())
    assert str(tmp_path / "x.caffemodel") in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nothing\.caffemodel: the \.caffemodel cannot be read"):
        read_caffemodel(tmp_path / "nothing.caffemodel")


WHOLE = writer.caffemodel(ARRAYS)


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, len(WHOLE) - 1), value=st.integers(0, 255), length=st.integers(0, len(WHOLE)))
def test_any_byte_may_be_another(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int, length: int
) -> None:
    """It is read, or refused in words."""
    damaged = bytearray(WHOLE)
    damaged[position] = value
    path = tmp_path_factory.mktemp("damaged") / "x.caffemodel"
    path.write_bytes(damaged[: max(length, position + 1)])
    try:
        found = read_caffemodel(path)
    except WeightsError:
        return
    assert sum(array.size for arrays in found.values() for array in arrays) <= len(WHOLE) // 4
