"""COCO's run-length encoding: run lengths down the columns, compressed as in cocoapi's ``maskApi.c``.

Compressed counts are text: each run length from the fourth on is stored as its difference to the one two before, in
groups of five bits, least significant first, bit 0x20 says that more follow, the top bit of the last group is the sign,
and 48 is added to make a printable character. Uncompressed counts are the run lengths as a list of integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _runs
from ..errors import CodecError
from ..masks import RunList, plain_label_map

Counts = bytes | str | Sequence[int] | NDArray[Any]

_ZERO = 48  # the character of group 0
_GROUPS = 64
_MORE = 32
_SIGN = 16
_TABLED = 1 << 13  # differences below are looked up
_MOST_GROUPS = 12  # 60 bits; no image has such runs
# pycocotools encodes one mask faster below _SMALL pixels, and below _PIXELS_A_RUN pixels a run (measured).
_SMALL = 1 << 18
_PIXELS_A_RUN = 45
_SAMPLED_ROWS = 32


def encode(masks: RunList) -> list[bytes]:
    """Return the compressed counts of every mask, byte for byte what pycocotools writes."""
    masks = masks.reordered("F")
    return _compress(*_runs.padded(masks.counts, masks.offsets))


def encode_label_map(label_map: NDArray[Any]) -> tuple[NDArray[Any], list[bytes]]:
    """Return the ids present in a (H, W) integer map, ascending, and the counts of each, in one pass."""
    ids, *runs = _runs.label_map_runs(plain_label_map(label_map), "F")
    return ids.astype(label_map.dtype), _compress(*runs)


def encode_mask(mask: NDArray[Any]) -> bytes:
    """Return the compressed counts of one (H, W) mask of bool (or 0 / non-zero).

    pycocotools does small and busy masks, where it is faster (it visits every pixel, this module every run); the bytes
    are the same.
    """
    if mask.ndim != 2 or not mask.size:
        raise CodecError(f"a mask is an array (height, width), not of shape {mask.shape}")
    bits = np.ascontiguousarray(mask, dtype=bool)
    if mask.size < _SMALL or mask.size < _PIXELS_A_RUN * _estimated_runs(bits):
        from pycocotools import mask as pycoco

        counts: bytes = pycoco.encode(np.asfortranarray(bits.view(np.uint8)))["counts"]
        return counts
    return _compress(*_runs.padded(*_runs.mask_runs(bits, "F")))[0]


def _estimated_runs(bits: NDArray[np.bool_]) -> int:
    """Return about how many runs go down the columns of a mask, from the changes between some neighbouring rows."""
    step = max(1, bits.shape[0] // _SAMPLED_ROWS)
    upper, lower = bits[:-1:step], bits[1::step]
    return int(np.count_nonzero(upper != lower)) * step


def _characters(values: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the characters of each difference: uint8 (N, _MOST_GROUPS), 0 after the last one."""
    text = np.zeros((values.size, _MOST_GROUPS), np.uint8)
    unfinished = np.ones(values.size, bool)
    for level in range(_MOST_GROUPS):
        group = values & (_MORE - 1)
        values = values >> 5
        more = unfinished & (values != -(group >= _SIGN).astype(np.int64))
        text[:, level] = np.where(unfinished, group + _ZERO + more * _MORE, 0)
        unfinished = more
        if not more.any():
            break
    return text


# The characters of small differences, four bytes each with zeros after the last; negative ones index from the end.
_CELLS = np.ascontiguousarray(_characters(np.concatenate((np.arange(_TABLED), np.arange(-_TABLED, 0))))[:, :4]).view(
    np.uint32
)[:, 0]
_NEWLINE = np.frombuffer(b"\n\0\0\0", np.uint32)[0]


def _compress(counts: NDArray[np.int64], offsets: NDArray[np.int64]) -> list[bytes]:
    """Return compressed counts of K masks given as padded runs down the columns.

    Every difference is looked up as a cell of four bytes, every mask's last run, which is empty, becomes a newline; the
    text is the cells without their zeros, cut at newlines.
    """
    if not counts.size:
        return []
    delta = np.empty_like(counts)
    delta[:2] = counts[:2]
    np.subtract(counts[2:], counts[:-2], out=delta[2:])
    heads, stops = offsets[:-1], offsets[1:]
    third = heads + 2
    for at in (heads, heads + 1, third[third < stops]):  # the first three of a mask are stored as they are
        delta[at] = counts.take(at)
    last = stops - 1
    full = stops - 2
    full = full[counts.take(full) == 0]  # where a mask ends with ones, no zeros are written after them
    delta[last] = delta[full] = 0
    large = ((delta + _TABLED).view(np.uint64) >= 2 * _TABLED).nonzero()[0]
    values = delta.take(large)
    delta[large] = 0
    cells = _CELLS.take(delta)
    cells[full] = 0
    cells[last] = _NEWLINE
    if large.size:
        wide = _characters(values).view(np.uint32)  # three cells each
        cells[large] = wide[:, 0]
        longer = wide[:, 1].nonzero()[0]
        if longer.size:
            cells = np.insert(cells, (large.take(longer) + 1).repeat(2), wide[longer, 1:].ravel())
    return cells.tobytes().translate(None, b"\0").split(b"\n")[:-1]


def to_uncompressed(masks: RunList) -> list[list[int]]:
    """Return the run lengths of every mask down the columns, as lists: COCO's uncompressed counts."""
    masks = masks.reordered("F")
    return [masks.row(k).tolist() for k in range(len(masks))]


def decode(counts: Iterable[Counts], height: int, width: int) -> RunList:
    """Return the masks of COCO counts of one image size, in F order (:meth:`RunList.reordered` gives C).

    Args:
        counts: compressed, as bytes or str, or uncompressed, as lists of integers; both may be mixed.
        height: of the image in pixels, the first number of COCO's ``size``.
        width: of the image in pixels.

    Raises:
        CodecError: names the mask (its index) and what is wrong: a character that none may be, truncated, a negative
            run, runs that do not add up to height x width. pycocotools decodes such counts to other pixels, silently.
    """
    n = height * width
    if min(height, width) < 1:
        raise CodecError(f"masks have at least one pixel, not {height} x {width}")
    rows = list(counts)
    packed = [k for k, row in enumerate(rows) if isinstance(row, (bytes, str))]
    values, offsets = _expand([_text(rows[k], k) for k in packed], packed, n)
    if len(packed) < len(rows):
        expanded = iter(np.split(values, offsets[1:-1]))
        compressed = set(packed)
        parts = [next(expanded) if k in compressed else _numbers(row, k) for k, row in enumerate(rows)]
        values, offsets = np.concatenate(parts), np.zeros(len(rows) + 1, np.int64)
        np.cumsum([part.size for part in parts], out=offsets[1:])
    return _checked(values, offsets, height, width)


def _text(row: Any, index: int) -> bytes:
    """Return compressed counts as bytes; those of str that is not ASCII are an error."""
    try:
        return row.encode("ascii") if isinstance(row, str) else bytes(row)
    except UnicodeEncodeError as error:
        raise CodecError(f"mask {index}: {row[error.start]!r} is no character of COCO counts") from None


def _numbers(row: Any, index: int) -> NDArray[np.int64]:
    """Return uncompressed counts as int64."""
    try:
        values = np.asarray(row)
        if values.ndim != 1 or (values.size and values.dtype.kind not in "iu"):
            raise ValueError(f"it is {values.dtype} of shape {values.shape}")
        return values.astype(np.int64)
    except (ValueError, TypeError, OverflowError) as error:
        raise CodecError(f"mask {index}: uncompressed counts are a list of integers: {error}") from None


def _expand(texts: list[bytes], names: Sequence[int], n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (values, offsets) of the counts of compressed texts; ``names`` are their masks' indices in messages."""
    sizes = np.fromiter(map(len, texts), np.int64, len(texts))
    stops = sizes.cumsum()
    groups = np.frombuffer(b"".join(texts), np.uint8) - np.uint8(_ZERO)

    def fail(at: int, what: str) -> None:
        raise CodecError(f"mask {names[int(np.searchsorted(stops, at, 'right'))]}: {what}")

    if groups.size and int(groups.max()) >= _GROUPS:
        at = int((groups >= _GROUPS).argmax())
        fail(at, f"{chr((int(groups[at]) + _ZERO) & 255)!r} is no character of COCO counts")
    filled = stops[sizes > 0]
    cut = groups.take(filled - 1) >= _MORE
    if cut.any():
        fail(int(filled[cut.argmax()]) - 1, "counts are truncated: the last one is not complete")
    last = np.flatnonzero(groups < _MORE)  # the last group of each value
    width = np.diff(last, prepend=-1)
    if width.size and int(width.max()) > _MOST_GROUPS:
        fail(int(last[width.argmax()]), f"a count of {int(width.max())} characters; {_MOST_GROUPS} hold any image")
    values = groups.take(last).astype(np.int64)
    values -= (values & _SIGN) << 1
    for k in range(1, int(width.max(initial=1))):
        longer = np.flatnonzero(width > k)
        low = groups.take(last.take(longer) - k) & (_MORE - 1)
        values[longer] = (values.take(longer) << 5) | low
    wrong = np.abs(values) > n
    if wrong.any():
        at = int(wrong.argmax())
        fail(int(last[at]), f"a run changes by {int(values[at])} pixels, the mask has {n}")
    offsets = np.zeros(sizes.size + 1, np.int64)
    offsets[1:] = np.searchsorted(last, stops, "left")
    return _undo_differences(values, offsets), offsets


def _undo_differences(values: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the counts whose differences to the one two before are given, the first three of a mask as they are.

    Even and odd places of a mask are two independent running sums; its first value belongs to neither.
    """
    sizes = _runs.differences(offsets)
    first = offsets[:-1][sizes > 0]
    heads = values.take(first)
    even = ~_runs.is_ones(offsets)
    chain = np.where(even, values, 0)
    chain[first] = 0
    odd_chain = values - chain
    odd_chain[first] = 0
    out = np.empty_like(values)
    for some, sums in ((even, chain.cumsum()), (~even, odd_chain.cumsum())):
        before = np.concatenate(([0], sums)).take(offsets[:-1]).repeat(sizes)
        np.copyto(out, sums - before, where=some)
    out[first] = heads
    return out


def _checked(values: NDArray[np.int64], offsets: NDArray[np.int64], height: int, width: int) -> RunList:
    """Return the run list of counts after checking them; runs of 0 pixels that COCO allows anywhere are merged."""
    n, k = height * width, offsets.size - 1
    wrong = (values < 0) | (values > n)
    if wrong.any():
        at = int(wrong.argmax())
        mask = int(np.searchsorted(offsets, at, "right")) - 1
        raise CodecError(f"mask {mask}: a run of {int(values[at])} pixels, expected 0..{n}")
    sums = _runs.differences(np.concatenate(([0], values.cumsum())).take(offsets))
    if (sums != n).any():
        mask = int((sums != n).argmax())
        raise CodecError(f"mask {mask}: its runs cover {sums[mask]} pixels, expected {height} x {width} = {n}")
    nothing = values == 0
    nothing[offsets[:-1]] = False
    if nothing.any():
        starts, ends, rows = _runs.intervals(values, offsets)
        return RunList(height, width, *_runs.from_intervals(starts, ends, rows, k, n), "F")
    return RunList(height, width, values, offsets, "F")
