"""Many bit streams packed at once: codes at given bit offsets, without a loop over them."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _runs

_LOW_WORD = np.uint64(0xFFFFFFFF)
_SHIFT, _INSIDE = np.uint64(6), np.uint64(63)  # bit position -> 64-bit word and place in it


def stream_layout(
    bits: NDArray[Any], offsets: NDArray[np.int64], header_bits: int, trailer_bits: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return where the codes of K streams go when each stream starts at a new 32-bit word of one buffer.

    Args:
        bits: int (N,), length of each code.
        offsets: int64 (K + 1,), the codes of stream k are ``offsets[k]`` to ``offsets[k + 1]``.
        header_bits: kept free at the start of each stream.
        trailer_bits: kept free at its end.

    Returns:
        at: int64 (N,), bit position of each code in the buffer.
        sizes: int64 (K,), bits of each stream with header and trailer.
        words: int64 (K + 1,), first 32-bit word of each stream, and the size of the buffer in words.
    """
    ends = np.zeros(bits.size + 1, np.int64)
    bits.cumsum(dtype=np.int64, out=ends[1:])
    starts = ends.take(offsets)
    sizes = _runs.differences(starts)
    sizes += header_bits + trailer_bits
    words = np.zeros(offsets.size, np.int64)
    ((sizes + 63) >> 5).cumsum(out=words[1:])  # one word more than needed: a code may spill over
    at = ends[:-1] + (words[:-1] * 32 + header_bits - starts[:-1]).repeat(_runs.differences(offsets))
    return at, sizes, words


def pack_words(codes: NDArray[np.uint64], at: NDArray[np.int64], words: int) -> NDArray[np.uint64]:
    """Return 32-bit words (one each in a uint64) that hold every code, first bit lowest, at its position; the rest is 0.

    Codes of a word share no bits, so their sum is their union; sums of groups are differences of one running sum,
    exact modulo 2**64. ``codes`` is overwritten.
    """
    out = np.zeros(words + 1, np.uint64)
    if not codes.size:
        return out
    word = at >> 5
    codes <<= (at & 31).view(np.uint64)
    codes.cumsum(out=codes)
    last = np.append((word[1:] != word[:-1]).nonzero()[0], word.size - 1)
    sums = codes.take(last)
    sums[1:] -= codes.take(last[:-1])
    word = word.take(last)
    out[word] = sums & _LOW_WORD
    spilled = np.zeros(words + 1, np.uint64)
    spilled[word + 1] = sums >> np.uint64(32)
    out += spilled
    return out


def pack_streams(
    codes: NDArray[np.uint64], bits: NDArray[np.uint64], offsets: NDArray[np.int64], header: int, header_bits: int
) -> list[bytes]:
    """Return K streams: a header each, its codes one after another, zeros up to a whole byte.

    All streams are packed in one buffer of 64-bit words, each from a new word on. Codes of a word share no bits, so
    their sum is their union; sums of groups are differences of one running sum, exact modulo 2**64.

    Args:
        codes: uint64 (N,), left-aligned: the first bit is the highest, and those after the last are 0; overwritten.
        bits: uint64 (N,), length of each code, 0..64; a code of no bits is 0. Overwritten.
        offsets: int64 (K + 1,), the codes of stream k are ``offsets[k]`` to ``offsets[k + 1]``, at least one.
        header: the first bits of every stream, left-aligned in 64 bits.
        header_bits: 0..63.
    """
    at = bits.cumsum()
    stops = at.take(offsets[1:] - 1)
    sizes = stops.copy()
    sizes[1:] -= stops[:-1]
    sizes += np.uint64(header_bits)
    firsts = np.zeros(offsets.size, np.int64)  # a word more than needed: the last code may spill into one
    ((sizes >> _SHIFT) + np.uint64(2)).cumsum(out=firsts[1:].view(np.uint64))
    at -= bits
    moved = firsts[:-1].view(np.uint64) * np.uint64(64) + np.uint64(header_bits)
    moved[1:] -= stops[:-1]
    at += moved.repeat(offsets[1:] - offsets[:-1])
    word = (at >> _SHIFT).view(np.int64)
    at &= _INSIDE
    changes = np.empty(word.size, bool)
    np.not_equal(word[1:], word[:-1], out=changes[:-1])
    changes[-1] = True
    last = changes.nonzero()[0]  # code of each word that has any; only that one may spill into the next word
    spilled = codes.take(last)
    spilled <<= np.uint64(1)  # in two steps: a shift by all 64 bits has no agreed result
    spilled <<= _INSIDE - at.take(last)
    codes >>= at
    codes.cumsum(out=codes)
    sums = codes.take(last)
    sums[1:] -= codes.take(last[:-1])
    word = word.take(last)
    out = np.zeros(int(firsts[-1]), np.uint64)
    out[word] = sums
    word += 1
    out[word] += spilled
    out[firsts[:-1]] += np.uint64(header)
    buffer = out.byteswap(inplace=True).tobytes() if sys.byteorder == "little" else out.tobytes()
    sizes += np.uint64(7)
    sizes >>= np.uint64(3)
    return [buffer[i : i + n] for i, n in zip((firsts[:-1] * 8).tolist(), sizes.tolist(), strict=True)]
