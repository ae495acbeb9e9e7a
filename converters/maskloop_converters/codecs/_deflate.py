"""Deflate streams composed from runs: what a run of equal bytes compresses to is known without searching for it.

A run of L equal bytes is its first byte as a literal and one match at distance 1 for the rest, in pieces of up to 258
bytes (RFC 1951). Huffman codes are canonical, so a table from symbol to bits is all that packing needs. For the masks of
one image this is many times as fast as zlib, which has to look at every pixel of every mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._bits import pack_words, stream_layout

LONGEST_MATCH = 258
SHORTEST_MATCH = 3
MATCH_258 = 285  # the only length with a symbol of its own and no extra bits
_END_OF_BLOCK = 256
_SYMBOLS = 286
_ZLIB_HEADER = (0x0178, 16)  # bytes 78 01
# RFC 1951, 3.2.5: first length of each length symbol from 257 on, and its number of extra bits.
_FIRST_LENGTH = np.array([*range(3, 11), *range(11, 19, 2), *range(19, 35, 4), *range(35, 67, 8), *range(67, 131, 16)])
_FIRST_LENGTH = np.concatenate((_FIRST_LENGTH, range(131, 258, 32), [258]))
_EXTRA_BITS = np.array([0] * 8 + [e for e in range(1, 6) for _ in range(4)] + [0])
# Lengths of the codes of the code length alphabet, a complete code that serves every table well enough.
_TABLE_CODE_LENGTHS = [4] * 13 + [5] * 6
_TABLE_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)

LENGTH_SYMBOL = np.zeros(LONGEST_MATCH + 1, np.int64)
LENGTH_SYMBOL[SHORTEST_MATCH:] = np.searchsorted(_FIRST_LENGTH, np.arange(SHORTEST_MATCH, 259), "right") + 256


class Code(NamedTuple):
    """A Huffman code of literals and lengths, ready for packing.

    Attributes:
        literal: uint32 (256,), code of each byte, first bit lowest.
        literal_bits: uint8 (256,).
        match: uint32 (259,), code of each match length with its extra bits and the distance.
        match_bits: uint8 (259,).
        end: code and bits of the end of a block.
        header: the zlib header and the block's tables as one number, first bit lowest, and their bits.
    """

    literal: NDArray[np.uint32]
    literal_bits: NDArray[np.uint8]
    match: NDArray[np.uint32]
    match_bits: NDArray[np.uint8]
    end: tuple[int, int]
    header: tuple[int, int]


def code_for(lengths: Sequence[int]) -> Code:
    """Return the code with the given code lengths of the 286 literal and length symbols; all matches at distance 1.

    The distance is the only one in its table and takes one bit, a 0.
    """
    codes = _canonical(lengths)
    bits = np.array(lengths, np.int64)
    symbol = LENGTH_SYMBOL[SHORTEST_MATCH:]
    extra = np.arange(SHORTEST_MATCH, LONGEST_MATCH + 1) - _FIRST_LENGTH[symbol - 257]
    match, match_bits = np.zeros(LONGEST_MATCH + 1, np.int64), np.zeros(LONGEST_MATCH + 1, np.int64)
    match[SHORTEST_MATCH:] = codes[symbol] | extra << bits[symbol]
    match_bits[SHORTEST_MATCH:] = bits[symbol] + _EXTRA_BITS[symbol - 257] + 1
    return Code(
        codes[:256].astype(np.uint32),
        bits[:256].astype(np.uint8),
        match.astype(np.uint32),
        match_bits.astype(np.uint8),
        (int(codes[_END_OF_BLOCK]), int(bits[_END_OF_BLOCK])),
        _header(lengths),
    )


@cache
def _table_codes() -> list[int]:
    """Return the codes of the code length alphabet."""
    codes: list[int] = _canonical(_TABLE_CODE_LENGTHS).tolist()
    return codes


def _canonical(lengths: Sequence[int]) -> NDArray[np.int64]:
    """Return the canonical codes of code lengths, bits reversed as deflate writes them (RFC 1951, 3.2.2)."""
    codes = [0] * len(lengths)
    code = before = 0
    for n, symbol in sorted((n, symbol) for symbol, n in enumerate(lengths) if n):
        code <<= n - before
        codes[symbol] = int(f"{code:0{n}b}"[::-1], 2)
        code, before = code + 1, n
    return np.array(codes, np.int64)


def _header(lengths: Sequence[int]) -> tuple[int, int]:
    """Return the zlib header and the head of a final block with these tables: (number, bits)."""
    codes = _table_codes()
    fields = [_ZLIB_HEADER, (1, 1), (2, 2), (_SYMBOLS - 257, 5), (0, 5), (19 - 4, 4)]
    fields += [(_TABLE_CODE_LENGTHS[symbol], 3) for symbol in _TABLE_ORDER]
    for symbol, extra, extra_bits in _run_lengths([*lengths, 1]):
        fields.append((codes[symbol], _TABLE_CODE_LENGTHS[symbol]))
        if extra_bits:
            fields.append((extra, extra_bits))
    bits = "".join([f"{value:0{size}b}" for value, size in reversed(fields)])  # the first field is the lowest
    return int(bits, 2), len(bits)


def _run_lengths(lengths: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return code lengths as symbols of the code length alphabet, (symbol, extra, bits of extra); RFC 1951, 3.2.7."""
    out: list[tuple[int, int, int]] = []
    start = 0
    while start < len(lengths):
        value, end = lengths[start], start
        while end < len(lengths) and lengths[end] == value:
            end += 1
        left = end - start
        start = end
        if value:
            out.append((value, 0, 0))
            left -= 1
        while left >= 3:
            if value:
                n = min(left, 6)
                out.append((16, n - 3, 2))
            elif left < 11:
                n = left
                out.append((17, n - 3, 3))
            else:
                n = min(left, 138)
                out.append((18, n - 11, 7))
            left -= n
        out += [(value, 0, 0)] * left
    return out


def compose(code: Code, codes: NDArray[np.uint64], bits: NDArray[np.uint8], offsets: NDArray[np.int64]) -> list[bytes]:
    """Return K zlib streams, without their checksums, of tokens given as codes of one Huffman code (CSR)."""
    header, header_bits = code.header
    end, end_bits = code.end
    at, sizes, words = stream_layout(bits, offsets, header_bits, end_bits)
    packed = pack_words(codes, at, int(words[-1]))
    stop = words[:-1] * 32 + sizes - end_bits
    last = np.uint64(end) << (stop & 31).astype(np.uint64)
    packed[stop >> 5] += last & np.uint64(0xFFFFFFFF)
    packed[(stop >> 5) + 1] += last >> np.uint64(32)
    for i in range((header_bits + 31) // 32):
        packed[words[:-1] + i] += np.uint64(header >> 32 * i & 0xFFFFFFFF)
    buffer = packed.astype("<u4").tobytes()
    begins = (words[:-1] * 4).tolist()
    return [buffer[i : i + n] for i, n in zip(begins, ((sizes + 7) >> 3).tolist(), strict=True)]


@cache
def two_valued(value: int) -> tuple[Code, NDArray[np.uint32], NDArray[np.uint8]]:
    """Return a code for long runs of the bytes 0 and ``value``, and the tokens of short runs.

    Returns:
        code: a match of 258 takes two bits, the two literals three each.
        run: uint32 (2 * 258,), for each of the two bytes the code of a run of 1..258 of them.
        run_bits: uint8 (2 * 258,). Every further 258 bytes of a run append a match of two bits, all 0.
    """
    lengths = [0] * _SYMBOLS
    lengths[0] = lengths[value] = 3
    lengths[MATCH_258] = 1
    lengths[256:MATCH_258] = [7] * (MATCH_258 - 256)
    for symbol in [s for s in range(1, 256) if s != value][:3]:  # not used; they make the code complete
        lengths[symbol] = 7
    code = code_for(lengths)
    run, run_bits = np.zeros((2, LONGEST_MATCH), np.int64), np.zeros((2, LONGEST_MATCH), np.int64)
    for row, byte in enumerate((0, value)):
        literal, n = int(code.literal[byte]), int(code.literal_bits[byte])
        for rest in range(LONGEST_MATCH):  # bytes after the first
            if rest < SHORTEST_MATCH:
                run[row, rest] = sum(literal << n * i for i in range(rest + 1))
                run_bits[row, rest] = n * (rest + 1)
            else:
                run[row, rest] = literal | int(code.match[rest]) << n
                run_bits[row, rest] = n + int(code.match_bits[rest])
    return code, run.ravel().astype(np.uint32), run_bits.ravel().astype(np.uint8)
