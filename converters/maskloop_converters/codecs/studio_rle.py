"""Label Studio's brush RLE: the rle-pack format of @thi.ng/rle-pack over the RGBA bytes of an image, row by row.

A stream is a sequence of bits, most significant first (https://github.com/thi-ng/umbrella, packages/rle-pack):

* header, 53 bits: number of elements (32), element size in bits - 1 (5), four length sizes - 1 (4 each);
* records: a flag (1), which length size (2), count - 1 in that many bits; flag 1: one value, repeated ``count`` times;
  flag 0: ``count`` values as they are;
* zeros up to a whole byte.

Label Studio writes 8-bit elements, length sizes 3, 4, 8 and 16, and R = G = B = A = opacity, antialiased at the edge of
a brush; it shows the opacity (alpha) and nothing else. :func:`encode` writes what its frontend writes, byte for byte.
Readers take every stream of that format, whatever wrote it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _runs
from ..errors import CodecError
from ..masks import RunList, plain_label_map
from ._bits import pack_streams

Stream = bytes | bytearray | memoryview | Sequence[int] | NDArray[Any]

_CHANNELS = 4
_HEADER_BITS = 53
_HEADER_BYTES = 7
_MAX_ELEMENTS = (1 << 32) - 1
_SIZES = (3, 4, 8, 16)
_LONGEST = (1 << 16) // _CHANNELS  # pixels of the longest run record
_STANDARD = (7 << 16 | 0x237F) << 3  # bytes 4..6 of a standard header; its low 3 bits belong to the first record
_SHORTEST_RECORD, _LONGEST_RECORD = 14, 27  # bits: flag, size class, 3 to 16 bits of count, value
_CLASS_BITS = np.array([3 + size + 8 for size in _SIZES], np.int64)
_CLASS_MASK = np.array([(1 << size) - 1 for size in _SIZES], np.int64)
_LITERAL = 200  # stands for a block of literals where bit lengths of records are tabled; two lengths fit a byte
_PADDING_BITS = 15  # the SDK and the Rust wheel write one byte too many when the bits fill their bytes
_GAP = bytes(8)  # between streams that are read together: a 64-bit window never sees the next one
_BATCH_BYTES = 1 << 20  # streams read together; the tables of bits take some 40 times as much


def _run_codes() -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the records of runs of 0.._LONGEST pixels of value 0 and of value 255, left-aligned, and their bits.

    Runs of 0 pixels take no bits.
    """
    pixels = np.arange(_LONGEST + 1)
    size_class = (pixels > 2).astype(np.int64) + (pixels > 4) + (pixels > 64)
    size = np.array(_SIZES)[size_class]
    code = (((4 | size_class) << size) | (_CHANNELS * pixels - 1)) << 8
    bits = 3 + size + 8
    zeros, ones = code << 64 - bits, code + 255 << 64 - bits
    zeros[0] = ones[0] = bits[0] = 0
    return zeros.view(np.uint64), ones.view(np.uint64), bits.view(np.uint64)


def _steps() -> NDArray[np.uint64]:
    """Return the lengths of records that start at each of the first eight of ten bits: eight bytes, for 1024 tens.

    A record is 14, 15, 19 or 27 bits long by the two bits after its flag; _LITERAL stands where the flag is 0.
    """
    bits = np.arange(1024)[:, None] >> np.arange(9, -1, -1) & 1
    flag, high, low = bits[:, :8], bits[:, 1:9], bits[:, 2:]
    length = np.where(flag, _CLASS_BITS.take(2 * high + low), _LITERAL)
    return np.ascontiguousarray(length.astype(np.uint8)).view(np.uint64).ravel()


_ZEROS, _ONES, _CODE_BITS = _run_codes()
_STEPS = _steps()
_SPACE = b" \t\r\n"
_COMMA, _BLANK = np.uint8((ord(",") - 48) & 255), np.uint8((ord(" ") - 48) & 255)
_CELLS = np.frombuffer(b"".join(f"{i},".encode().ljust(4, b"\0") for i in range(256)), np.uint32)


def encode(masks: RunList) -> list[bytes]:
    """Return one stream a mask, what Label Studio's frontend would write for R = G = B = A = 255 * mask.

    Raises:
        CodecError: the image has 2**30 pixels or more; the header cannot say so.
    """
    masks = masks.reordered("C")
    return _pack_pairs(*_runs.padded(masks.counts, masks.offsets), masks.height * masks.width)


def encode_label_map(label_map: NDArray[Any]) -> tuple[NDArray[Any], list[bytes]]:
    """Return the ids present in a (H, W) integer map, ascending, and the stream of each, in one pass."""
    pixels = plain_label_map(label_map)
    ids, counts, offsets = _runs.label_map_runs(pixels, "C")
    return ids.astype(label_map.dtype), _pack_pairs(counts, offsets, pixels.size)


def encode_alpha(alpha: NDArray[np.uint8]) -> bytes:
    """Return the stream of a soft mask: (H, W) uint8, opacity 0..255."""
    if alpha.dtype != np.uint8 or alpha.ndim != 2 or not alpha.size:
        raise CodecError(f"opacity is a uint8 array (height, width), not {alpha.dtype} {alpha.shape}")
    header = _header(alpha.size)
    flat = np.ascontiguousarray(alpha).ravel()
    starts = np.concatenate(([0], _runs.changes(flat, 1) + 1))
    counts = np.diff(starts, append=flat.size)
    records = (counts + _LONGEST - 1) // _LONGEST  # the longest run, as often as needed, and one of the rest
    values = flat.take(starts).repeat(records).astype(np.uint64)
    pieces = np.full(values.size, _LONGEST)
    pieces[records.cumsum() - 1] = counts - (records - 1) * _LONGEST
    bits = _CODE_BITS.take(pieces)
    values <<= np.uint64(64) - bits
    values |= _ZEROS.take(pieces)
    return pack_streams(values, bits, np.array([0, bits.size]), header, _HEADER_BITS)[0]


def _header(pixels: int) -> int:
    """Return the first bits of the stream of an image of ``pixels`` pixels, left-aligned in 64 bits."""
    if pixels * _CHANNELS > _MAX_ELEMENTS:
        raise CodecError(f"brush RLE holds images below 2**30 pixels; this one has {pixels}")
    return pixels * _CHANNELS << 32 | _STANDARD << 8


def _pack_pairs(counts: NDArray[np.int64], offsets: NDArray[np.int64], pixels: int) -> list[bytes]:
    """Return the streams of K masks of ``pixels`` pixels, given as padded runs: even rows of zeros and ones in turn.

    A run of zeros and the ones after it are packed as one code, of at most 54 bits: half as much to place. Runs above
    the longest record become pairs of their own: that much and none of the other, as often as needed, before the rest.
    """
    header = _header(pixels)
    if offsets.size == 1:
        return []
    pairs: NDArray[np.int64] = counts.reshape(-1, 2)
    offsets = offsets >> 1
    if pixels > _LONGEST:
        pairs, offsets = _split_long(pairs, offsets)
    zeros, ones = pairs[:, 0], pairs[:, 1]
    bits = _CODE_BITS.take(zeros)
    codes = _ONES.take(ones)
    codes >>= bits
    codes |= _ZEROS.take(zeros)
    bits += _CODE_BITS.take(ones)
    return pack_streams(codes, bits, offsets, header, _HEADER_BITS)


def _split_long(pairs: NDArray[np.int64], offsets: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pairs of runs (N, 2), none above _LONGEST pixels, that make the records of the given ones."""
    long = ((pairs[:, 0] | pairs[:, 1]) > _LONGEST).nonzero()[0]  # and a few more, which are not split
    if not long.size:
        return pairs, offsets
    split = pairs.take(long, axis=0)
    whole = np.maximum(split - 1, 0) // _LONGEST
    rest = split - whole * _LONGEST
    copies = whole.sum(axis=1) + 1
    added = np.zeros(long.size + 1, np.int64)
    (copies - 1).cumsum(out=added[1:])
    first = long + added[:-1]  # where the pairs of each are
    # One by one: (_LONGEST, 0) for the zeros, then (rest of zeros, _LONGEST), (0, _LONGEST) ... (0, rest of ones).
    nth = np.arange(int(copies.sum())) - (added[:-1] + np.arange(long.size)).repeat(copies)
    of_zeros = nth < whole[:, 0].repeat(copies)
    new = np.zeros((nth.size, 2), np.int64)
    new[of_zeros, 0] = _LONGEST
    new[~of_zeros, 1] = _LONGEST
    copied = np.ones(pairs.shape[0], np.int64)
    copied[long] = copies
    out = pairs.repeat(copied, axis=0)
    places = first.repeat(copies) + nth
    out[places] = new
    out[first + whole[:, 0], 0] = rest[:, 0]
    out[first + copies - 1, 1] = rest[:, 1]
    return out, offsets + added.take(long.searchsorted(offsets))


def to_json(stream: bytes) -> bytes:
    """Return the JSON list of a stream's bytes, as Label Studio keeps it: ``b"[0,18,192,0,...]"``."""
    cells = _CELLS.take(np.frombuffer(stream, np.uint8)).tobytes().translate(None, b"\0")
    return b"[" + cells[:-1] + b"]"


def from_json(text: bytes) -> bytes:
    """Return the bytes of a JSON list of them, what :func:`to_json` gives; ten times as fast as a JSON parser.

    Raises:
        CodecError: not a JSON list of whole numbers 0..255.
    """
    (found,) = from_json_lists([text])
    if isinstance(found, CodecError):
        raise found
    return found


def from_json_lists(texts: Sequence[bytes]) -> list[bytes | CodecError]:
    """Return what :func:`from_json` gives for each text, or its error; many small lists are read together."""
    quick = _plain_lists([text.strip(_SPACE) for text in texts]) if texts else []
    if quick is not None:
        return [*quick]
    found: list[bytes | CodecError] = []
    for text in texts:
        found += _plain_lists([text.strip(_SPACE)]) or [_parsed_json(text)]
    return found


def _plain_lists(lists: list[bytes]) -> list[bytes] | None:
    """Return the bytes of JSON lists that need no parser: numbers, a comma and at most one space between two of them.

    None where a single one of the lists is anything else.
    """
    if any(body[:1] + body[-1:] != b"[]" for body in lists):
        return None
    # Two characters in front stand before a first number of one digit. A digit is what is below 10 here.
    numbers = [body[1:-1] for body in lists]
    characters = np.frombuffer(b",," + b",".join(numbers) + b",", np.uint8) - np.uint8(48)
    is_digit = (characters[2:] < 10).view(np.uint8)
    last = np.flatnonzero(is_digit[:-1] > is_digit[1:])  # of every number its last digit
    last = last.astype(np.int32 if characters.size < 1 << 31 else np.int64)
    if not last.size:
        return None
    hundreds, tens, ones, following = (characters[k:].take(last) for k in range(4))
    two, three = tens < 10, hundreds < 10
    three &= two
    tens *= two
    hundreds *= three
    odd = ((hundreds == 0) & three) | ((tens == 0) & (two ^ three))  # 007 and 07 are no numbers
    tens *= np.uint8(10)
    tens += ones
    odd |= (hundreds > 2) | ((hundreds == 2) & (tens > 55))
    gaps = last[1:] - last[:-1]
    gaps -= two[1:]
    gaps -= three[1:]
    spaced = gaps == 3
    fits = (following == _COMMA).all() and ((gaps == 2) | spaced).all() and last[0] == int(two[0]) + int(three[0])
    if not fits or odd.any() or last[-1] != characters.size - 4:
        return None
    if spaced.any() and (characters[4:].take(last[:-1][spaced]) != _BLANK).any():
        return None
    hundreds *= np.uint8(100)
    hundreds += tens
    values = hundreds.tobytes()
    ends = last.searchsorted(np.cumsum([len(body) + 1 for body in numbers])).tolist()
    return [values[a:b] for a, b in zip([0, *ends], ends, strict=False)]


def _parsed_json(text: bytes) -> bytes | CodecError:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        return CodecError(f"brush RLE is a JSON list of integers 0..255: {error}")
    if not isinstance(values, list) or any(isinstance(value, bool) for value in values):
        return CodecError(f"brush RLE is a JSON list of integers 0..255, not {text[:60]!r}")
    try:
        return _stream_bytes(values, 0)
    except CodecError as error:
        return error


def decode(streams: Iterable[Stream], height: int, width: int, *, threshold: int = 127) -> RunList:
    """Return the masks of streams of one image: pixels whose opacity is above the threshold.

    No pixel array is made on the way; memory follows the bytes of the streams, not the size that they claim.

    Args:
        streams: bytes, or lists of their integers as they stand in JSON.
        height: of the image in pixels, after EXIF rotation.
        width: of the image in pixels, after EXIF rotation.
        threshold: 0..254. Brushes are antialiased: above 0 a thin stroke grows by a tenth, above 127 it keeps its area.

    Raises:
        CodecError: names the stream (its index) and what is wrong: not bytes, of another image size, truncated, longer
            than it says, or with bytes after its end.
    """
    data = [_stream_bytes(stream, k) for k, stream in enumerate(streams)]
    for k, stream in enumerate(data):
        _check_size(stream, k, height, width)
    parts = [_decode_batch(data[first:last], range(first, last), threshold) for first, last in _batches(data)]
    if not parts:
        return RunList.empty(height, width)
    return RunList(height, width, *(parts[0] if len(parts) == 1 else _runs.joined(parts)))


def decode_alpha(stream: Stream, height: int, width: int) -> NDArray[np.uint8]:
    """Return the opacity that Label Studio shows for a stream: uint8 (height, width), 0..255.

    Elements wider than 8 bits are cut at 255, as the browser's canvas does.

    Raises:
        CodecError: as :func:`decode`; nothing of the claimed size is allocated before the whole stream is checked.
    """
    data = _stream_bytes(stream, 0)
    _check_size(data, 0, height, width)
    starts, cuts, plain, buffer = _walk([data])
    ends, values = _run_ends(buffer, starts, cuts, [data], [0]) if plain[0] else _read_records(data, 0)
    pixels = np.diff(ends >> 2, prepend=0)  # alpha is element 3 of every 4
    return np.minimum(values, 255).astype(np.uint8).repeat(pixels).reshape(height, width)


def _stream_bytes(stream: Stream, index: int) -> bytes:
    """Return a stream as bytes; CodecError for anything that is not a sequence of 0..255."""
    if isinstance(stream, bytes):
        return stream
    try:
        if isinstance(stream, (str, int)):
            raise TypeError(f"it is {type(stream).__name__}")
        if isinstance(stream, np.ndarray) and stream.dtype != np.uint8:
            return bytes(stream.tolist())
        return bytes(stream)
    except (TypeError, ValueError) as error:
        raise CodecError(f"stream {index}: brush RLE is bytes or a list of integers 0..255: {error}") from None


def _check_size(stream: bytes, index: int, height: int, width: int) -> None:
    """Raise CodecError unless a stream's header is whole and says height x width pixels."""
    if len(stream) < _HEADER_BYTES:
        raise CodecError(f"stream {index}: truncated: {len(stream)} bytes, the header alone takes {_HEADER_BYTES}")
    said, expected = int.from_bytes(stream[:4], "big"), _CHANNELS * height * width
    if height < 1 or width < 1 or said != expected:
        raise CodecError(
            f"stream {index}: holds {said} elements, expected {expected} = 4 x {height} x {width}; "
            "the mask belongs to an image of another size (brush RLE counts pixels after EXIF rotation)"
        )


def _batches(data: list[bytes]) -> Iterable[tuple[int, int]]:
    """Yield index ranges of streams that together take about ``_BATCH_BYTES``."""
    first = size = 0
    for k, stream in enumerate(data):
        if k > first and size + len(stream) > _BATCH_BYTES:
            yield first, k
            first, size = k, 0
        size += len(stream)
    if data:
        yield first, len(data)


def _decode_batch(data: list[bytes], names: Sequence[int], threshold: int) -> _runs.Runs:
    """Return the runs of streams of one image size; ``names`` are their indices in messages."""
    starts, cuts, plain, buffer = _walk(data)
    if all(plain):
        ends, values = _run_ends(buffer, starts, cuts, data, names)
        return _runs_of_ends(ends >> 2, values > threshold, cuts)
    # A stream with literals or another header is read alone; the others stay together.
    quick = [k for k, is_plain in enumerate(plain) if is_plain]
    rows: list[_runs.Runs] = []
    if quick:
        counts, offsets = _decode_batch([data[k] for k in quick], [names[k] for k in quick], threshold)
        rows = [(counts[a:b], np.array([0, b - a])) for a, b in itertools.pairwise(offsets)]
    for k in (k for k, is_plain in enumerate(plain) if not is_plain):
        ends, values = _read_records(data[k], names[k])
        rows.insert(k, _runs_of_ends(ends >> 2, np.minimum(values, 255) > threshold, np.array([0, ends.size])))
    return _runs.joined(rows)


def _walk(data: list[bytes]) -> tuple[NDArray[np.int64], NDArray[np.int64], list[bool], NDArray[np.uint8]]:
    """Find the records of standard streams.

    Returns:
        starts: int64 (R,), bit position of each record in the buffer.
        cuts: int64 (K + 1,), the records of stream k are ``cuts[k]`` to ``cuts[k + 1]``.
        plain: whether a stream has a standard header and no literals; of the others the records are not all there.
        buffer: uint8, all streams with gaps between them.
    """
    buffer = np.frombuffer(_GAP.join(data) + _GAP, np.uint8)
    # A byte and the first two bits of the next one give the lengths of the records that would start at its eight bits.
    pairs = buffer[:-1].astype(np.uint16)
    pairs <<= 2
    pairs |= buffer[1:] >> np.uint8(6)
    length = _STEPS.take(pairs).view(np.uint8)
    step = _two_records(length).tobytes()
    starts = bytearray(len(step))  # a byte set for every second record; quicker than a list of numbers
    firsts, lasts = [0], []
    plain = []
    base = 0
    for stream in data:
        last = (base + len(stream)) * 8 - _SHORTEST_RECORD
        standard = int.from_bytes(stream[4:7], "big") & ~7 == _STANDARD
        if standard:
            at = base * 8 + _HEADER_BITS
            while at <= last:
                starts[at] = 1
                at += step[at]
        plain.append(standard)
        base += len(stream) + len(_GAP)
        firsts.append(base * 8)
        lasts.append(last)
    first = np.flatnonzero(np.frombuffer(starts, bool))
    cuts = first.searchsorted(firsts)
    found: NDArray[np.int64] = np.empty(2 * first.size, np.int64)
    found[0::2] = first
    np.add(first, length.take(first), out=found[1::2])
    cuts *= 2
    # Where the number of records is odd, what would follow the last one lies behind the end of its stream.
    odd = (cuts[1:] > cuts[:-1]) & (found.take(cuts[1:] - 1) > lasts) if first.size else np.zeros(len(data), bool)
    if odd.any():
        found = np.delete(found, cuts[1:][odd] - 1)
        cuts[1:] -= odd.cumsum()
    literal = np.flatnonzero(length.take(found) == _LITERAL)
    for k in set((np.searchsorted(cuts, literal, "right") - 1).tolist()):
        plain[k] = False
    return found, cuts, plain, buffer


def _two_records(length: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return, for every bit, the length of the record that would start there and of the one after it, in bits."""
    both = length.copy()
    reach = length.size - _LONGEST_RECORD
    for bits in _CLASS_BITS.tolist():
        next_length = (length[:reach] == bits).view(np.uint8)
        next_length *= length[bits : bits + reach]
        both[:reach] += next_length
    return both


def _run_ends(
    buffer: NDArray[np.uint8],
    starts: NDArray[np.int64],
    cuts: NDArray[np.int64],
    data: list[bytes],
    names: Sequence[int],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where, in elements of its own stream, each run record ends, and its value; every stream is checked."""
    words: NDArray[Any] = np.ndarray((buffer.size - 7,), ">u8", buffer, 0, (1,))  # a 64-bit window at every byte
    window = words[starts >> 3].astype(np.uint64)
    window <<= (starts & 7).astype(np.uint64)
    window >>= np.uint64(64 - _LONGEST_RECORD)
    size_class = (window >> np.uint64(_LONGEST_RECORD - 3)).view(np.int64) & 3
    bits = _CLASS_BITS.take(size_class)
    window >>= (_LONGEST_RECORD - bits).view(np.uint64)
    count = (window >> np.uint64(8)).view(np.int64)
    count &= _CLASS_MASK.take(size_class)
    count += 1
    window &= np.uint64(255)
    ends = count.cumsum()
    total = np.concatenate(([0], ends)).take(cuts)
    used = _runs.differences(np.concatenate(([0], bits.cumsum())).take(cuts))
    for k, (elements, record_bits) in enumerate(zip(_runs.differences(total).tolist(), used.tolist(), strict=True)):
        _check_end(data[k], names[k], elements, _HEADER_BITS + record_bits)
    if len(data) > 1:
        ends -= total[:-1].repeat(_runs.differences(cuts))
    return ends, window.view(np.int64)


def _check_end(stream: bytes, index: int, elements: int, used: int) -> None:
    """Raise CodecError unless the records hold as many elements as the header says and only zero padding follows."""
    said = int.from_bytes(stream[:4], "big")
    if used > len(stream) * 8 or elements < said:
        raise CodecError(
            f"stream {index}: truncated: {len(stream)} bytes end before {said} elements do; the brush was cut off"
        )
    if elements > said:
        raise CodecError(f"stream {index}: its runs hold {elements} elements or more, the header says {said}")
    left = len(stream) * 8 - used
    tail = int.from_bytes(stream[used >> 3 :], "big") & ((1 << left) - 1) if left <= _PADDING_BITS else 1
    if tail:
        raise CodecError(f"stream {index}: {left} bits follow after its last run, expected zeros to the end of a byte")


def _runs_of_ends(ends: NDArray[np.int64], on: NDArray[np.bool_], cuts: NDArray[np.int64]) -> _runs.Runs:
    """Return the runs of K masks from pixel stretches: where each ends, whether it is on; stretches may be empty."""
    filled = np.empty(ends.size, bool)
    np.not_equal(ends[1:], ends[:-1], out=filled[1:])
    filled[cuts[:-1]] = ends[cuts[:-1]] > 0
    if not filled.all():
        ends, on, cuts = ends[filled], on[filled], np.concatenate(([0], filled.cumsum())).take(cuts)
    keep = np.empty(ends.size, bool)  # the last one of stretches that look alike
    np.not_equal(on[1:], on[:-1], out=keep[:-1])
    keep[cuts[1:] - 1] = True
    leads = on[cuts[:-1]]  # masks that start with ones get a run of no zeros
    ends = ends[keep]
    offsets = np.concatenate(([0], keep.cumsum())).take(cuts)
    if leads.any():
        ends = np.insert(ends, offsets[:-1][leads], 0)
        offsets[1:] += leads.cumsum()
    return _runs.lengths(ends, offsets), offsets


def _read_records(stream: bytes, index: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the stretches of one stream of any header: element position where each ends, and its value.

    Literals become stretches of one element.
    """
    said, total_bits = int.from_bytes(stream[:4], "big"), len(stream) * 8
    header = int.from_bytes(stream[4:7], "big") >> 3
    word = (header >> 16) + 1
    sizes = [(header >> shift & 15) + 1 for shift in (12, 8, 4, 0)]
    padded = stream + _GAP
    counts: list[int] = []
    values: list[int] = []
    blocks: list[tuple[int, int, int]] = []  # records that are literals: index, first bit, count
    at, elements = _HEADER_BITS, 0
    while elements < said and at < total_bits:
        window = int.from_bytes(padded[at >> 3 : (at >> 3) + 8], "big") << (at & 7) & 0xFFFF_FFFF_FFFF_FFFF
        size = sizes[window >> 61 & 3]
        count = (window >> (61 - size) & (1 << size) - 1) + 1
        at += 3 + size
        if window >> 63:
            values.append(window >> (61 - size - word) & (1 << word) - 1)
            at += word
        else:
            values.append(0)
            blocks.append((len(counts), at, count))
            at += count * word
        counts.append(count)
        elements += count
    _check_end(stream, index, elements, at)
    lengths, value = np.array(counts, np.int64), np.array(values, np.int64)
    if blocks:
        spread = np.ones(lengths.size, np.int64)
        which = np.array([block[0] for block in blocks])
        spread[which] = lengths[which]
        lengths[which] = 1
        lengths, value = lengths.repeat(spread), value.repeat(spread)
        first = (spread.cumsum() - spread)[which].tolist()
        bits = np.unpackbits(np.frombuffer(stream, np.uint8))
        weights = 1 << np.arange(word - 1, -1, -1, dtype=np.int64)
        for start, (_, bit, count) in zip(first, blocks, strict=True):
            value[start : start + count] = bits[bit : bit + count * word].reshape(count, word) @ weights
    return lengths.cumsum(), value
