"""TFRecord framing and Example messages against zlib, gzip and messages written by hand."""

import gzip
import io
import struct
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskloop_converters.codecs import tfexample
from maskloop_converters.errors import CodecError

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
features = st.dictionaries(
    st.text(max_size=8),
    st.one_of(
        st.lists(st.binary(max_size=300), max_size=4),
        st.lists(INT64, max_size=20).map(lambda v: np.array(v, np.int64)),
        st.lists(st.floats(width=32, allow_nan=False), max_size=20).map(lambda v: np.array(v, np.float32)),
    ),
    max_size=5,
)


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number: int, body: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(body)) + body


def example(*entries: tuple[str, bytes]) -> bytes:
    return field(1, b"".join(field(1, field(1, name.encode()) + field(2, body)) for name, body in entries))


@given(features)
def test_examples_come_back(values: dict[str, tfexample.Feature]) -> None:
    data = tfexample.encode_example(values)
    assert data == tfexample.encode_example(dict(reversed(values.items())))
    back = tfexample.decode_example(data)
    assert list(back) == sorted(values)
    for name, value in values.items():
        if isinstance(value, list):
            assert back[name] == value
        else:
            assert isinstance(back[name], np.ndarray) or not value.size
            assert np.array_equal(back[name], value)


@given(features)
def test_the_usual_layout_is_read_like_any_other(values: dict[str, tfexample.Feature]) -> None:
    data = tfexample.encode_example(values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tfexample, "_usual_entry", lambda *_: None)
        slowly = tfexample.decode_example(data)
    quickly = tfexample.decode_example(data)
    assert {k: (type(v), list(v)) for k, v in slowly.items()} == {k: (type(v), list(v)) for k, v in quickly.items()}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"x", [b"x"]),
        ("Straße", ["Straße".encode()]),
        (["a", b"b"], [b"a", b"b"]),
        ([], []),
        (7, [7]),
        (-1, [-1]),
        (True, [1]),
        (0.5, [0.5]),
        (np.arange(4, dtype=np.uint8).reshape(2, 2), [0, 1, 2, 3]),
        (np.array([1.5], np.float64), [1.5]),
        (np.array([(1 << 63) - 1], np.uint64), [(1 << 63) - 1]),
        (np.float32(2.5), [2.5]),
    ],
)
def test_values_that_features_take(value: Any, expected: list[Any]) -> None:
    back = tfexample.decode_example(tfexample.encode_example({"f": value}))["f"]
    assert list(back) == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 2], "feature 'f': lists hold bytes or str, numbers go in arrays; this has int"),
        ([b"x", None], "this has NoneType, bytes"),
        (None, "feature 'f': bytes, float or int64 values expected, not None"),
        (1 << 63, "not 9223372036854775808"),
        (np.array([1 << 63], np.uint64), "int64 values expected"),
        (1 + 2j, "int64 values expected"),
    ],
)
def test_values_that_features_do_not_take(value: Any, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        tfexample.encode_example({"f": value})


def test_unpacked_lists_unknown_fields_and_repeated_names() -> None:
    unknown = (
        varint(9 << 3) + varint(300) + varint(9 << 3 | 1) + bytes(8) + varint(9 << 3 | 5) + bytes(4) + field(9, b"x")
    )
    floats = field(2, unknown + b"\x0d" + struct.pack("<f", 1.5) + field(1, struct.pack("<2f", 2, 3)))
    integers = field(3, b"\x08" + varint((1 << 64) - 5) + unknown + b"\x08\x07" + field(1, varint(300) + varint(1)))
    texts = field(1, field(1, b"a") + unknown) + field(1, field(1, b""))
    data = unknown + example(("f", floats), ("i", unknown + integers), ("b", texts), ("twice", texts), ("none", b""))
    data += field(1, field(1, field(1, b"twice") + field(2, field(3, b"\x08\x05")))) + unknown
    back = tfexample.decode_example(data)
    assert {name: list(value) for name, value in back.items()} == {
        "f": [1.5, 2, 3],
        "i": [-5, 7, 300, 1],
        "b": [b"a", b""],
        "twice": [5],
        "none": [],
    }
    assert isinstance(back["f"], np.ndarray)
    assert back["f"].dtype == np.float32
    assert tfexample.decode_example(b"") == {}


GOOD = tfexample.encode_example({"a": [b"bytes"], "i": np.arange(200), "x": np.ones(3)})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (GOOD[:-1], "a field of .* bytes, .* are left of its message"),
        (b"\x0a", "Example truncated: its 1 bytes end inside a field"),
        (b"\x0a" + varint(1 << 60), "at byte 0: a field of 1152921504606846976 bytes, 0 are left"),
        (b"\x0a" + b"\x80" * 11 + b"\1", "a number of more than 10 bytes"),
        (b"\x0b\x0c", "wire type 3 is none"),
        (b"\x08", "truncated"),
        (b"\x0d\0\0", "a field of 4 bytes, 2 are left"),
        (field(1, field(1, field(1, b"\xff") + field(2, b""))), r"name b'\\xff' is not UTF-8"),
        (example(("f", field(2, field(1, bytes(6))))), "a float list of 6 bytes"),
        (example(("i", field(3, field(1, b"\x80")))), "ends inside a number"),
        (example(("i", field(3, field(1, b"\x80" * 11 + b"\1")))), "a number of more than 10 bytes"),
        (example(("i", field(3, field(1, b"\x80" * 50)))), "ends inside a number"),
        (example(("i", field(3, field(1, bytes(60) + b"\x80" * 11 + b"\1")))), "a number of more than 10 bytes"),
    ],
)
def test_bad_examples_are_named(data: bytes, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        tfexample.decode_example(data)


RECORDS = [b"", b"one", bytes(range(256)) * 20, b"\0" * 3_000_000]


def written(records: list[bytes], compression: tfexample.Compression = "") -> bytes:
    file = io.BytesIO()
    assert tfexample.write_records(file, records, compression) == len(records)
    return file.getvalue()


def read(data: bytes, **options: Any) -> list[bytes]:
    return list(tfexample.read_records(io.BytesIO(data), **options))


def test_records_come_back_plain_and_compressed() -> None:
    plain, compressed = written(RECORDS), written(RECORDS, "GZIP")
    assert plain == b"".join(map(tfexample.frame, RECORDS))
    assert gzip.decompress(compressed) == plain
    assert compressed == written(RECORDS, "GZIP")
    two_members = gzip.compress(plain[:100]) + gzip.compress(plain[100:])
    for data in (plain, compressed, zlib.compress(plain), zlib.compress(plain, 9), gzip.compress(plain), two_members):
        assert read(data) == RECORDS
    assert read(b"") == read(written([])) == read(written([], "GZIP")) == []
    with pytest.raises(CodecError, match="'' or 'GZIP', not 'ZIP'"):
        tfexample.RecordWriter(io.BytesIO(), "ZIP")  # type: ignore[arg-type]


def test_a_length_that_looks_like_a_gzip_file() -> None:
    record = bytes(0x088B1F)
    assert written([record])[:3] == b"\x1f\x8b\x08"
    assert read(written([record])) == [record]


class Dribble(io.RawIOBase):
    """A file that gives at most seven bytes at a time, as sockets and pipes do, and cannot seek."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(min(size, 7))


@pytest.mark.parametrize("compression", ["", "GZIP"])
def test_files_that_give_less_than_asked(compression: tfexample.Compression) -> None:
    file: Any = Dribble(written(RECORDS[:3], compression))
    assert list(tfexample.read_records(file)) == RECORDS[:3]


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


PLAIN = written([b"zero", b"first", b"second"])
SECOND = 20  # where the second record starts


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (PLAIN[:5], "record 0 at byte 0: truncated: 5 bytes of its 12-byte header"),
        (PLAIN[: SECOND + 14], "record 1 at byte 20: truncated: 2 bytes follow, 9 expected"),
        (PLAIN[:-1], "record 2 at byte 41: truncated: 9 bytes follow, 10 expected"),
        (
            b"\x89PNG\r\n\x1a\n" + bytes(20),
            "record 0 at byte 0: its length does not match its checksum; not a TFRecord",
        ),
        (flipped(PLAIN, SECOND + 1), "record 1 at byte 20: its length does not match .* cannot be read further"),
        (flipped(PLAIN, SECOND + 13), "record 1 at byte 20: its 5 bytes do not match their checksum"),
        (flipped(PLAIN, SECOND + 18), "record 1 at byte 20: its 5 bytes do not match their checksum"),
        (gzip.compress(PLAIN, mtime=0)[:-9], "compressed TFRecord file is truncated"),
        (flipped(gzip.compress(PLAIN, mtime=0), -5), "compressed TFRecord file is damaged"),
        (gzip.compress(PLAIN, mtime=0) + b"more", "compressed TFRecord file is damaged"),
        (gzip.compress(PLAIN[:-2], mtime=0), "record 2 at byte 41: truncated"),
    ],
)
def test_bad_files_are_named(data: bytes, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        read(data)


def test_a_damaged_record_can_be_left_out() -> None:
    errors: list[CodecError] = []
    assert read(flipped(PLAIN, SECOND + 13), on_damaged=errors.append) == [b"zero", b"second"]
    assert [str(e) for e in errors] == ["record 1 at byte 20: its 5 bytes do not match their checksum"]
    with pytest.raises(CodecError, match="its length does not match"):
        read(flipped(PLAIN, SECOND), on_damaged=errors.append)


def test_a_huge_length_allocates_nothing() -> None:
    def claim(length: int) -> bytes:
        header = length.to_bytes(8, "little")
        return header + struct.pack("<I", tfexample.masked_crc(header)) + b"little"

    bomb = gzip.compress(claim(1 << 30) + bytes(50_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(CodecError, match="1152921504606846976 bytes long, more than the 2147483648 allowed"):
            read(claim(1 << 60))
        with pytest.raises(CodecError, match="truncated: 6 bytes follow, 1073741828 expected"):
            read(claim(1 << 30))
        with pytest.raises(CodecError, match="more than the 1000000 allowed"):
            read(bomb, max_bytes=1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_an_interrupted_writer_ends_nothing() -> None:
    """Half a compressed file must not look whole."""
    file = io.BytesIO()

    def stop(writer: tfexample.RecordWriter) -> None:
        with writer:
            writer.write(b"one")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop(tfexample.RecordWriter(file, "GZIP"))
    with pytest.raises(CodecError, match="truncated"):
        read(file.getvalue() or b"\x1f\x8b\x08")
