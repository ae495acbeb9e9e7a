"""TFRecord files and the ``tf.train.Example`` messages in them, without TensorFlow.

A record is its length (uint64, little endian), the masked CRC-32C of those 8 bytes (uint32), the data, and the masked
CRC-32C of the data (https://www.tensorflow.org/tutorials/load_data/tfrecord). Files may be compressed as a whole.

An Example maps names to lists of bytes, float32 or int64; its protocol buffer messages (tensorflow/core/example) are
read and written here field by field, in the order of the names, so that equal examples are equal bytes.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, BinaryIO, Literal, NoReturn

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from ..errors import CodecError

Compression = Literal["", "GZIP"]
#: What a feature decodes to: a list of bytes, or an array of numbers.
Feature = list[bytes] | NDArray[np.float32] | NDArray[np.int64]
#: What a feature may be encoded from.
FeatureLike = bytes | str | int | float | Sequence[bytes | str] | NDArray[Any]

#: Longer records are refused: protocol buffers end at 2 GiB, and nothing is allocated on the word of a length field.
MAX_RECORD_BYTES = 1 << 31
_HEADER = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
_MASK_DELTA = 0xA282EAD8
_PIECE = 1 << 20  # bytes read at once, so that a wrong length costs no memory
_GZIP_WBITS, _ANY_WBITS = 31, 47  # of zlib: a gzip stream; gzip or zlib, whichever it is

# Field tags: number << 3 | wire type. All of Example's own fields are length-delimited.
_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
_FIELD_1, _FIELD_2, _FIELD_3 = (n << 3 | _DELIMITED for n in (1, 2, 3))
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3
_MOST_VARINT_BYTES = 10
_TOO_LONG = f"a number of more than {_MOST_VARINT_BYTES} bytes"
_UINT64_MAX = (1 << 64) - 1
_FEW_BYTES = 40  # of packed integers; longer lists are read by NumPy


def masked_crc(data: bytes) -> int:
    """Return the checksum that TFRecord stores: CRC-32C, rotated and shifted by a constant."""
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def frame(record: bytes) -> bytes:
    """Return a record as it stands in a file: length, checksum, data, checksum."""
    length = len(record).to_bytes(8, "little")
    return b"".join((length, _CHECKSUM.pack(masked_crc(length)), record, _CHECKSUM.pack(masked_crc(record))))


class RecordWriter:
    """Writes records to a binary file that the caller opens and closes; the same records give the same bytes.

    Args:
        file: takes the bytes.
        compression: '' or 'GZIP', the whole file as one gzip stream without a time stamp.
    """

    def __init__(self, file: BinaryIO, compression: Compression = "") -> None:
        if compression not in ("", "GZIP"):
            raise CodecError(f"TFRecord compression is '' or 'GZIP', not {compression!r}")
        self._file = file
        self._deflate = zlib.compressobj(6, zlib.DEFLATED, _GZIP_WBITS) if compression else None

    def write(self, record: bytes) -> None:
        """Append one record."""
        framed = frame(record)
        self._file.write(self._deflate.compress(framed) if self._deflate else framed)

    def finish(self) -> None:
        """Write what a compressed file ends with; nothing may be written after it."""
        if self._deflate:
            self._file.write(self._deflate.flush())

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()


def read_records(
    file: BinaryIO, *, on_damaged: Callable[[CodecError], None] | None = None, max_bytes: int = MAX_RECORD_BYTES
) -> Iterator[bytes]:
    """Yield the records of a TFRecord file, plain or compressed with GZIP or ZLIB, one in memory at a time.

    Args:
        file: opened for reading bytes, at the start; need not be seekable.
        on_damaged: called with the error of a record whose data does not match its checksum; the record is skipped. By
            default the error is raised.
        max_bytes: the longest record that is read.

    Raises:
        CodecError: with the record's number (from 0) and byte offset (in the uncompressed stream): a checksum that does
            not match, a truncated record, one longer than allowed, compressed data that is damaged. After a damaged
            length nothing can be found any more, so ``on_damaged`` does not apply to it.
    """
    stream = _Stream(file)
    offset = number = 0
    while header := stream.read(_HEADER.size):
        where = f"record {number} at byte {offset}"
        if len(header) < _HEADER.size:
            raise CodecError(f"{where}: truncated: {len(header)} bytes of its {_HEADER.size}-byte header")
        length, stated = _HEADER.unpack(header)
        if masked_crc(header[:8]) != stated:
            what = "not a TFRecord file" if not number else "the file is damaged here and cannot be read further"
            raise CodecError(f"{where}: its length does not match its checksum; {what}")
        if length > max_bytes:
            raise CodecError(f"{where}: says it is {length} bytes long, more than the {max_bytes} allowed")
        body = stream.read(length + _CHECKSUM.size)
        if len(body) < length + _CHECKSUM.size:
            raise CodecError(f"{where}: truncated: {len(body)} bytes follow, {length + _CHECKSUM.size} expected")
        record = body[:length]
        offset += _HEADER.size + len(body)
        number += 1
        if masked_crc(record) == _CHECKSUM.unpack_from(body, length)[0]:
            yield record
            continue
        error = CodecError(f"{where}: its {length} bytes do not match their checksum")
        if on_damaged is None:
            raise error
        on_damaged(error)


class _Stream:
    """Reads exact numbers of bytes, inflating them where the file is compressed, never more than asked for at once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file: BinaryIO | io.BufferedReader = file
        self._start = _read_up_to(file, _HEADER.size)
        if self._is_compressed():
            self._file = io.BufferedReader(_Inflated(self._start, file), _PIECE)
            self._start = b""

    def _is_compressed(self) -> bool:
        """A plain file starts with a length that matches its checksum; failing that, magic numbers decide."""
        head = self._start
        if len(head) == _HEADER.size and masked_crc(head[:8]) == _CHECKSUM.unpack_from(head, 8)[0]:
            return False
        zlib_header = len(head) > 1 and head[0] == 0x78 and int.from_bytes(head[:2], "big") % 31 == 0
        return head[:3] == b"\x1f\x8b\x08" or zlib_header

    def read(self, size: int) -> bytes:
        """Return ``size`` bytes, fewer only at the end."""
        if not self._start:
            return _read_up_to(self._file, size)
        head, self._start = self._start[:size], self._start[size:]
        return head + _read_up_to(self._file, size - len(head)) if size > len(head) else head


def _read_up_to(file: BinaryIO | io.BufferedReader, size: int) -> bytes:
    """Return ``size`` bytes, fewer only at the end of the file; long ones in pieces."""
    data = file.read(min(size, _PIECE))
    if len(data) == size or not data:
        return data
    pieces, left = [data], size - len(data)
    while left and (data := file.read(min(left, _PIECE))):
        pieces.append(data)
        left -= len(data)
    return b"".join(pieces)


class _Inflated(io.RawIOBase):
    """The inflated bytes of a gzip (of any number of members) or zlib stream."""

    def __init__(self, start: bytes, file: BinaryIO) -> None:
        self._file = file
        self._pending = start
        self._inflate = zlib.decompressobj(_ANY_WBITS)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill some of the buffer; 0 at the end."""
        while True:
            if self._inflate.eof:
                self._pending = self._inflate.unused_data or self._file.read(_PIECE)
                if not self._pending:
                    return 0
                self._inflate = zlib.decompressobj(_ANY_WBITS)
            if not self._pending:
                self._pending = self._file.read(_PIECE)
                if not self._pending:
                    raise CodecError("compressed TFRecord file is truncated: it ends inside its compressed stream")
            try:
                data = self._inflate.decompress(self._pending, len(buffer))
            except zlib.error as error:
                raise CodecError(f"compressed TFRecord file is damaged: {error}") from None
            self._pending = self._inflate.unconsumed_tail
            if data:
                buffer[: len(data)] = data
                return len(data)


def encode_example(features: Mapping[str, FeatureLike]) -> bytes:
    """Return the serialised ``tf.train.Example`` of named features, in the order of their names.

    bytes and str, or lists of them, become a bytes list (str as UTF-8; so does an empty list); float arrays and a float
    a float list (float32); arrays of integers or bool and an int an int64 list.

    Raises:
        CodecError: names the feature whose value is none of these, or an integer beyond int64.
    """
    entries = []
    for name in sorted(features):
        feature = _encode_feature(name, features[name])
        entry = _delimited(_FIELD_1, name.encode()) + _delimited(_FIELD_2, feature)
        entries.append(_delimited(_FIELD_1, entry))
    return _delimited(_FIELD_1, b"".join(entries))


def _encode_feature(name: str, value: FeatureLike) -> bytes:
    """Return a Feature message: one of three lists."""
    if isinstance(value, (bytes, str)):
        value = [value]
    if isinstance(value, Sequence):
        given: Sequence[Any] = value
        try:
            items = [item.encode() if isinstance(item, str) else bytes(memoryview(item)) for item in given]
        except TypeError:
            kinds = ", ".join(sorted({type(item).__name__ for item in given}))
            raise CodecError(
                f"feature {name!r}: lists hold bytes or str, numbers go in arrays; this has {kinds}"
            ) from None
        return _delimited(_FIELD_1, b"".join(_delimited(_FIELD_1, item) for item in items))
    numbers = np.atleast_1d(np.asarray(value)).ravel()
    if numbers.dtype.kind == "f":
        return _delimited(_FIELD_2, _delimited(_FIELD_1, numbers.astype("<f4").tobytes()) if numbers.size else b"")
    beyond = numbers.dtype.kind == "u" and numbers.size and int(numbers.max()) >= 1 << 63
    if numbers.dtype.kind in "iub" and not beyond:
        packed = _varints(numbers.astype(np.int64).view(np.uint64))
        return _delimited(_FIELD_3, _delimited(_FIELD_1, packed) if numbers.size else b"")
    raise CodecError(f"feature {name!r}: bytes, float or int64 values expected, not {value!r:.100}")


def _delimited(tag: int, body: bytes) -> bytes:
    """Return a length-delimited field."""
    return bytes((tag,)) + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    """Return a number >= 0 in groups of seven bits, least significant first."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _varints(values: NDArray[np.uint64]) -> bytes:
    """Return many varints, one after another."""
    sizes = np.ones(values.size, np.int64)
    for k in range(1, _MOST_VARINT_BYTES):
        sizes += values >> np.uint64(7 * k) != 0
    ends = sizes.cumsum()
    out = np.empty(int(ends[-1]) if ends.size else 0, np.uint8)
    at: NDArray[Any] = ends - sizes
    left: NDArray[Any] = sizes
    while at.size:
        more = left > 1
        out[at] = (values & np.uint64(127)).astype(np.uint8) | more.astype(np.uint8) << 7
        at, left, values = at[more] + 1, left[more] - 1, values[more] >> np.uint64(7)
    return out.tobytes()


def decode_example(data: bytes) -> dict[str, Feature]:
    """Return the features of a serialised ``tf.train.Example`` by name, in the order in which they stand.

    Packed and unpacked lists are read, unknown fields skipped, and of a name that stands twice the last one counts, as
    protocol buffers have it. A feature without a list is an empty list of bytes.

    Raises:
        CodecError: gives the byte offset: a field that is cut off or runs past its message, a number of more than ten
            bytes, a name that is not UTF-8.
    """
    features: dict[str, Feature] = {}
    try:
        for number, wire, start, end in _fields(data, 0, len(data)):
            if number == 1 and wire == _DELIMITED:
                for inner, inner_wire, a, b in _fields(data, start, end):
                    if inner == 1 and inner_wire == _DELIMITED:
                        _decode_entry(data, a, b, features)
    except IndexError:
        raise CodecError(f"Example truncated: its {len(data)} bytes end inside a field") from None
    return features


def _decode_entry(data: bytes, start: int, end: int, features: dict[str, Feature]) -> None:
    """Read one name and its feature."""
    usual = _usual_entry(data, start, end)
    if usual is not None:
        name_span, feature = usual
    else:
        name_span, span = (start, start), (start, start)
        for number, wire, a, b in _fields(data, start, end):
            if wire == _DELIMITED and number == 1:
                name_span = a, b
            elif wire == _DELIMITED and number == 2:
                span = a, b
        feature = _decode_feature(data, *span)
    raw = data[name_span[0] : name_span[1]]
    try:
        features[raw.decode()] = feature
    except UnicodeDecodeError:
        _fail(name_span[0], f"the feature's name {raw!r:.60} is not UTF-8")


def _usual_entry(data: bytes, start: int, end: int) -> tuple[tuple[int, int], Feature] | None:
    """Read an entry as every known writer lays it out, four times as fast as field by field.

    That is: the name, then a feature of one list, its values bytes or packed numbers. None where anything else stands;
    what is wrong with it, the general way finds out.
    """
    if data[start] != _FIELD_1:
        return None
    size, name = _read_varint(data, start + 1)
    after = name + size
    if after >= end or data[after] != _FIELD_2:
        return None
    size, at = _read_varint(data, after + 1)
    if not size or at + size != end:
        return None
    kind = data[at]
    size, at = _read_varint(data, at + 1)
    if at + size != end:
        return None
    if kind == _FIELD_1:
        values = []
        while at < end:
            if data[at] != _FIELD_1:
                return None
            size, at = _read_varint(data, at + 1)
            if at + size > end:
                return None
            values.append(data[at : at + size])
            at += size
        return (name, after), values
    if kind not in (_FIELD_2, _FIELD_3) or at == end or data[at] != _FIELD_1:
        return None
    size, at = _read_varint(data, at + 1)
    if at + size != end:
        return None
    packed = data[at:end]
    return (name, after), _floats(packed, at) if kind == _FIELD_2 else _integers(packed, at)


def _decode_feature(data: bytes, start: int, end: int) -> Feature:
    """Return the values of a Feature message."""
    kind, parts = _BYTES_LIST, list[tuple[int, int]]()
    for number, wire, a, b in _fields(data, start, end):
        if wire == _DELIMITED and number in (_BYTES_LIST, _FLOAT_LIST, _INT64_LIST):
            if number != kind:  # of several lists the last one counts; equal ones are joined
                kind, parts = number, []
            parts.append((a, b))
    if kind == _BYTES_LIST:
        return [
            data[a:b]
            for part in parts
            for number, wire, a, b in _fields(data, *part)
            if number == 1 and wire == _DELIMITED
        ]
    alone = _FIXED32 if kind == _FLOAT_LIST else _VARINT  # of a value that is not packed
    spans = [
        (a, b) for part in parts for n, wire, a, b in _fields(data, *part) if n == 1 and wire in (_DELIMITED, alone)
    ]
    if kind == _FLOAT_LIST:
        return np.concatenate([np.zeros(0, np.float32), *(_floats(data[a:b], a) for a, b in spans)])
    return np.concatenate([np.zeros(0, np.int64), *(_integers(data[a:b], a) for a, b in spans)])


def _floats(packed: bytes, at: int) -> NDArray[np.float32]:
    """Return packed floats; ``at`` is where they stand."""
    if len(packed) % 4:
        _fail(at, f"a float list of {len(packed)} bytes, expected a multiple of 4")
    return np.frombuffer(packed, "<f4").astype(np.float32)


def _integers(packed: bytes, at: int) -> NDArray[np.int64]:
    """Return packed varints as int64; ``at`` is where they stand."""
    if packed and packed[-1] > 127:
        _fail(at, "an int64 list ends inside a number")
    if len(packed) <= _FEW_BYTES:
        return _few_integers(packed, at)
    groups = np.frombuffer(packed, np.uint8)
    last = np.flatnonzero(groups < 128)
    sizes = np.diff(last, prepend=-1)
    if int(sizes.max()) > _MOST_VARINT_BYTES:
        _fail(at, _TOO_LONG)
    starts = last - sizes + 1
    values = np.zeros(last.size, np.uint64)
    for k in range(int(sizes.max())):
        more = np.flatnonzero(sizes > k)
        values[more] |= (groups.take(starts.take(more) + k) & 127).astype(np.uint64) << np.uint64(7 * k)
    return values.view(np.int64)


def _few_integers(packed: bytes, at: int) -> NDArray[np.int64]:
    """Return a few varints, a height or some labels, without NumPy's overhead for each step."""
    values, value, shift = [], 0, 0
    for byte in packed:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            values.append(value & _UINT64_MAX)
            value = shift = 0
        elif shift >= 7 * _MOST_VARINT_BYTES:
            _fail(at, _TOO_LONG)
    return np.array(values, np.uint64).view(np.int64)


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (field number, wire type, start, end of its value) of a message in ``data[at:end]``."""
    while at < end:
        first = at
        tag, at = _read_varint(data, at)
        wire = tag & 7
        if wire == _DELIMITED:
            size, at = _read_varint(data, at)
            stop = at + size
        elif wire == _VARINT:
            _, stop = _read_varint(data, at)
        elif wire in (_FIXED32, _FIXED64):
            stop = at + (4 if wire == _FIXED32 else 8)
        else:
            _fail(first, f"wire type {wire} is none that an Example has")
        if stop > end:
            _fail(first, f"a field of {stop - at} bytes, {end - at} are left of its message")
        yield tag >> 3, wire, at, stop
        at = stop


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a varint and the position after it; IndexError where the data ends."""
    value = data[at]
    at += 1
    if value < 128:
        return value, at
    value &= 127
    shift = 7
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift >= 7 * _MOST_VARINT_BYTES:
            _fail(at, _TOO_LONG)


def _fail(at: int, what: str) -> NoReturn:
    raise CodecError(f"Example damaged at byte {at}: {what}")


def write_records(file: BinaryIO, records: Iterable[bytes], compression: Compression = "") -> int:
    """Write records to a binary file, see :class:`RecordWriter`, and return how many there were."""
    count = 0
    with RecordWriter(file, compression) as writer:
        for record in records:
            writer.write(record)
            count += 1
    return count
