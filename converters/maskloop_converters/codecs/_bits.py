"""Many bit streams packed at once: codes of up to 32 bits at given bit offsets, without a loop over them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _runs

_LOW_WORD = np.uint64(0xFFFFFFFF)


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


def pack_words(
    codes: NDArray[np.uint64], bits: NDArray[Any], at: NDArray[np.int64], words: int, *, msb_first: bool
) -> NDArray[np.uint64]:
    """Return 32-bit words (one each in a uint64) that hold every code at its bit position; the rest is 0.

    Codes of a word share no bits, so their sum is their union; sums of groups are differences of one running sum,
    exact modulo 2**64. ``codes`` is overwritten.
    """
    out = np.zeros(words + 1, np.uint64)
    if not codes.size:
        return out
    word = at >> 5
    inside = at & 31
    codes <<= (64 - bits - inside if msb_first else inside).astype(np.uint64)
    codes.cumsum(out=codes)
    last = np.append((word[1:] != word[:-1]).nonzero()[0], word.size - 1)
    sums = codes.take(last)
    sums[1:] -= codes.take(last[:-1])
    word = word.take(last)
    high, low = sums >> np.uint64(32), sums & _LOW_WORD
    first, second = (high, low) if msb_first else (low, high)
    out[word] = first
    spilled = np.zeros(words + 1, np.uint64)
    spilled[word + 1] = second
    out += spilled
    return out
