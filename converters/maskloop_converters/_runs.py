"""NumPy kernels on run lengths: scan pixels into runs, paint runs, change their order. Cost follows the runs, not K.

Runs of K masks of n pixels are a pair (counts, offsets) as :class:`maskloop_converters.masks.RunList` describes them.
Two more views of the same masks serve the kernels:

* intervals: the runs of ones as half-open pixel ranges, ``starts`` and ``ends``, and ``rows``, the mask of each;
* toggles: the pixel positions, ascending in each row, where a mask changes between 0 and 1; n counts when a mask ends
  with ones, as then something has to end there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Runs = tuple[Ints, Ints]

_WORD = 8  # pixels compared at once through a uint64 view
_DENSE_WORDS = 10  # beyond one changed word in ten, looking at words first costs more than it saves
_ALIGNED_SCAN_PIXELS = 1 << 20  # from here on comparing words directly beats writing one byte a pixel
_EXPANSION_LIMIT = 1 << 23  # pixels that a change of order may hold at once, 8 bytes each in several arrays


def differences(values: NDArray[Any]) -> NDArray[Any]:
    """Return ``values[i + 1] - values[i]`` of a 1-D array: ``np.diff`` takes three times as long for short ones."""
    out: NDArray[Any] = values[1:] - values[:-1]
    return out


def changes(flat: NDArray[Any], step: int) -> NDArray[np.intp]:
    """Return the ascending indices i where ``flat[i + step] != flat[i]``; flat is 1-D and contiguous."""
    n = flat.size - step
    if n <= 0:
        return np.zeros(0, np.intp)
    if flat.itemsize > 1:
        return np.flatnonzero(flat[step:] != flat[:-step])
    whole = n & ~(_WORD - 1)
    aligned = not (step % _WORD or flat.ctypes.data % _WORD)
    if aligned and n >= _ALIGNED_SCAN_PIXELS:
        later, earlier = flat[step : step + whole].view(np.uint64), flat[:whole].view(np.uint64)
        words = np.flatnonzero(later != earlier)
        if words.size * _DENSE_WORDS > whole // _WORD:
            return np.flatnonzero(flat[step:] != flat[:-step])
        inside = (later.take(words) ^ earlier.take(words)).view(np.uint8).nonzero()[0]
        rest = (flat[whole + step :] != flat[whole:n]).nonzero()[0]
    else:
        differs = flat[step:] != flat[:-step]
        words = np.flatnonzero(differs[:whole].view(np.uint64) != 0)  # NumPy finds bools faster than integers
        if words.size * _DENSE_WORDS > whole // _WORD:
            return np.flatnonzero(differs)
        inside = differs[:whole].view(np.uint64).take(words).view(bool).nonzero()[0]
        rest = differs[whole:].nonzero()[0]
    found = words.take(inside >> 3)
    found <<= 3
    found += inside & (_WORD - 1)
    return np.concatenate((found, rest + whole)) if rest.size else found


def present(label_map: NDArray[Any]) -> list[int]:
    """Return the numbers that an integer array holds, ascending: in a time that follows its runs, not its pixels."""
    flat = np.ascontiguousarray(label_map).ravel()
    found: list[int] = np.unique(np.append(flat.take(changes(flat, 1) + 1), flat[:1])).tolist()
    return found


def scan(pixels: NDArray[Any], order: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return where a C-contiguous (H, W) array changes along rows ('C') or columns ('F'), and to what value.

    Returns:
        positions: int, ascending, index in that order of the first pixel of each run but the first run.
        values: of the run that starts there, one a position.
    """
    h, w = pixels.shape
    flat = pixels.ravel()
    if order == "C":
        i = changes(flat, 1)
        i += 1
        return i, flat.take(i)
    # Changes are found by comparing each row with the next, then sorted into columns: no transposed copy of the pixels.
    wide = position_type(h * w)
    i = changes(flat, w)
    i += w
    joint = (pixels[0, 1:] != pixels[-1, :-1]).nonzero()[0]  # from the foot of a column to the head of the next
    joint += 1
    at = np.concatenate((joint, i)).astype(wide)  # heads lie in row 0: their index is their column
    y = at // wide(w)
    x = at - y * wide(w)
    by_column = x.astype(narrow_type(w)).argsort(kind="stable")  # a radix sort for 16-bit keys
    x *= wide(h)
    x += y
    return x.take(by_column), flat.take(at.take(by_column))


def position_type(n: int) -> Any:
    """Return the narrower unsigned type that holds pixel positions up to n."""
    return np.uint32 if n < 1 << 32 else np.uint64


def narrow_type(n: int) -> Any:
    """Return the narrowest unsigned type that holds numbers below n; stable sorts of 8 and 16 bits are radix sorts."""
    return np.uint8 if n <= 1 << 8 else np.uint16 if n <= 1 << 16 else position_type(n)


def label_map_runs(label_map: NDArray[Any], order: str) -> tuple[NDArray[Any], Ints, Ints]:
    """Return (ids, counts, offsets) of every id of a C-contiguous (H, W) integer map, one pass for all.

    The counts are padded, see :func:`padded`.

    The runs of the map, sorted by id, are the runs of ones of all masks; between two of them lies a run of zeros. An
    empty run of every id at the end of the image stands for the zeros after its last one.
    """
    n = label_map.size
    positions, values = scan(label_map, order)
    first = label_map[0, 0]
    if label_map.dtype.itemsize == 1:
        per_id = np.bincount(values, minlength=256)
        per_id[first] += 1
        present = per_id.nonzero()[0]
        per_id, ids = per_id.take(present), present.astype(np.uint8)
        keys, first_key, end_keys = values, first, ids
    else:
        ids, per_id = np.unique(np.append(values, first), return_counts=True)
        rank = narrow_type(ids.size)  # sort by rank: 16 bits where there are fewer than 65536 ids
        keys = ids.searchsorted(values).astype(rank)
        first_key, end_keys = ids.searchsorted(first), np.arange(ids.size, dtype=rank)
    p, k = positions.size, ids.size
    owner = np.empty(p + 1 + k, end_keys.dtype)
    owner[0], owner[1 : p + 1], owner[p + 1 :] = first_key, keys, end_keys
    bounds = np.empty(p + 2 + k, np.int64)  # run i of the map goes from bounds[i] to bounds[i + 1]
    bounds[0], bounds[1 : p + 1], bounds[p + 1 :] = 0, positions, n
    by_id = owner.argsort(kind="stable")
    starts = bounds.take(by_id)
    by_id += 1
    ends = bounds.take(by_id)
    offsets = np.zeros(k + 1, np.int64)
    per_id += 1
    per_id.cumsum(out=offsets[1:])
    counts = np.empty(2 * starts.size, np.int64)
    np.subtract(ends, starts, out=counts[1::2])
    np.subtract(starts[1:], ends[:-1], out=counts[2::2])
    heads = offsets[:-1]
    counts[2 * heads] = starts.take(heads)
    offsets *= 2
    return ids, counts, offsets


def trimmed(counts: Ints, offsets: Ints) -> Runs:
    """Return runs without the padding of :func:`padded`."""
    stops = offsets[1:]
    keep = np.ones(counts.size, bool)
    keep[stops - 1] = False
    full = counts.take(stops - 2) == 0
    keep[stops[full] - 2] = False
    kept = np.zeros(offsets.size, np.int64)
    (stops - offsets[:-1] - 1 - full).cumsum(out=kept[1:])
    return counts[keep], kept


def padded(counts: Ints, offsets: Ints) -> Runs:
    """Return runs in rows of pairs, zeros and the ones after them; the last run of every row has 0 pixels.

    One such run follows where a row ends with zeros, two where it ends with ones (the mask holds the last pixel).
    """
    sizes = offsets[1:] - offsets[:-1]
    wider = np.zeros(offsets.size, np.int64)
    (sizes + 2 - (sizes & 1)).cumsum(out=wider[1:])
    keep = np.ones(int(wider[-1]), bool)
    stops = wider[1:]
    keep[stops - 1] = False
    keep[stops[(sizes & 1) == 0] - 2] = False
    out = np.zeros(keep.size, np.int64)
    out[keep] = counts
    return out, wider


def lengths(ends: NDArray[Any], offsets: Ints) -> Ints:
    """Return the run lengths of rows given by the end position of each of their runs; no row is empty."""
    counts = np.empty(ends.size, np.int64)
    np.subtract(ends[1:], ends[:-1], out=counts[1:], casting="unsafe")
    counts[offsets[:-1]] = ends.take(offsets[:-1])
    return counts


def run_ends(counts: Ints, offsets: Ints) -> Ints:
    """Return the position, inside its own mask, where each run ends."""
    ends = counts.cumsum()
    if offsets.size > 2:
        ends -= np.concatenate(([0], ends.take(offsets[1:-1] - 1))).repeat(differences(offsets))
    return ends


def is_ones(offsets: Ints) -> NDArray[np.bool_]:
    """Return for every run whether it is one of ones: every second one of its row."""
    odd = np.zeros(int(offsets[-1]), bool)
    odd[1::2] = True
    flipped = (offsets[:-1] & 1).astype(bool)
    if flipped.any():
        odd ^= flipped.repeat(differences(offsets))
    return odd


def intervals(counts: Ints, offsets: Ints) -> tuple[Ints, Ints, Ints]:
    """Return (starts, ends, rows) of the runs of ones, by row, ascending in each."""
    ends = run_ends(counts, offsets)
    ones = is_ones(offsets).nonzero()[0]
    sizes = differences(offsets)
    return ends.take(ones - 1), ends.take(ones), np.arange(sizes.size).repeat(sizes >> 1)


def toggles(counts: Ints, offsets: Ints) -> tuple[Ints, Ints]:
    """Return (positions, rows) where masks change between 0 and 1, by row, ascending in each."""
    sizes = differences(offsets)
    positions, rows = run_ends(counts, offsets), np.arange(sizes.size).repeat(sizes)
    keep = np.ones(positions.size, bool)
    keep[offsets[1:][(sizes & 1) == 1] - 1] = False  # nothing changes at the end of a mask that ends with zeros
    return positions[keep], rows[keep]


def from_toggles(positions: Ints, rows: NDArray[Any], k: int, n: int) -> Runs:
    """Return the runs of k masks of n pixels from their toggles, sorted by row and strictly ascending in each."""
    per_row = np.bincount(rows, minlength=k)
    stop = per_row.cumsum()
    ends_with_ones = np.zeros(k, bool)
    some = per_row > 0
    ends_with_ones[some] = positions[stop[some] - 1] == n
    offsets = np.zeros(k + 1, np.int64)
    np.cumsum(per_row + ~ends_with_ones, out=offsets[1:])
    ends = np.full(int(offsets[-1]), n, np.int64)
    ends[np.arange(positions.size) + (offsets[:-1] - (stop - per_row)).repeat(per_row)] = positions
    return lengths(ends, offsets), offsets


def from_intervals(starts: Ints, ends: Ints, rows: Ints, k: int, n: int) -> Runs:
    """Return the runs of k masks of n pixels, each the union of its intervals; any order, overlap and emptiness."""
    some = ends > starts
    base = rows[some] * (n + 1)
    low, high = base + starts[some], base + ends[some]
    order = low.argsort(kind="stable")
    low, high = low.take(order), np.maximum.accumulate(high.take(order))
    new = np.ones(low.size, bool)
    np.greater(low[1:], high[:-1], out=new[1:])  # ranges that touch are one run
    last = np.ones(low.size, bool)
    last[:-1] = new[1:]
    edges = np.empty(2 * int(new.sum()), np.int64)
    edges[0::2], edges[1::2] = low[new], high[last]
    owner = edges // (n + 1)
    return from_toggles(edges - owner * (n + 1), owner, k, n)


def _without_pairs(sorted_values: NDArray[Any]) -> NDArray[Any]:
    """Drop equal neighbours of a sorted array in which nothing stands more than twice: two toggles cancel."""
    equal = sorted_values[1:] == sorted_values[:-1]
    if not equal.any():
        return sorted_values
    keep = np.ones(sorted_values.size, bool)
    keep[1:] &= ~equal
    keep[:-1] &= ~equal
    kept: NDArray[Any] = sorted_values[keep]
    return kept


def transposed(counts: Ints, offsets: Ints, fast: int, slow: int) -> Runs:
    """Return the runs along the other axis; ``fast`` is the length of the axis that the given runs follow.

    A pixel differs from its neighbour on the slow axis exactly where a mask and its copy shifted by one line differ:
    the sorted toggles of both, pairs cancelled, bound those stretches. Their pixels, sorted by line, are the toggles.
    """
    k, n = offsets.size - 1, fast * slow
    if k == 0:
        return counts, offsets
    positions, rows = toggles(counts, offsets)
    span = n + fast + 1
    wide = position_type(k * span)
    edges = (rows * span + positions).astype(wide)
    edges = np.concatenate((edges, edges + wide(fast)))
    edges.sort(kind="stable")  # two sorted runs: a merge
    edges = _without_pairs(edges)
    low = edges[0::2].astype(np.int64)
    sizes = edges[1::2].astype(np.int64) - low
    total = int(sizes.sum())
    if total > _EXPANSION_LIMIT:
        return _transposed_in_parts(counts, offsets, fast, slow)
    index = ((low - (sizes.cumsum() - sizes)).repeat(sizes) + np.arange(total)).astype(wide)
    row = index // wide(span)
    index -= row * wide(span)
    y = index // wide(fast)
    x = index - y * wide(fast)
    key = row * wide(n + 1) + x * wide(slow) + y
    by_line = x.astype(narrow_type(fast)).argsort(kind="stable")
    key = key.take(by_line)
    if k > 1:
        key = key.take(row.take(by_line).astype(narrow_type(k)).argsort(kind="stable"))
    key = _without_pairs(key).astype(np.int64)
    owner = key // (n + 1)
    return from_toggles(key - owner * (n + 1), owner, k, n)


def _transposed_in_parts(counts: Ints, offsets: Ints, fast: int, slow: int) -> Runs:
    """Do :func:`transposed` in bounded memory: half the masks at a time, a single busy mask through its pixels."""
    k = offsets.size - 1
    if k == 1:
        flat = np.repeat(is_ones(offsets), counts)
        return mask_runs(np.ascontiguousarray(flat.reshape(slow, fast)), "F")
    middle = k // 2
    left = transposed(counts[: offsets[middle]], offsets[: middle + 1], fast, slow)
    right = transposed(counts[offsets[middle] :], offsets[middle:] - offsets[middle], fast, slow)
    return joined([left, right])


def joined(parts: list[Runs]) -> Runs:
    """Return the masks of all parts, at least one, one after another."""
    offsets = np.zeros(1 + sum(o.size - 1 for _, o in parts), np.int64)
    np.cumsum(np.concatenate([differences(o) for _, o in parts]), out=offsets[1:])
    return np.concatenate([c for c, _ in parts]), offsets


def mask_runs(mask: NDArray[np.bool_], order: str) -> Runs:
    """Return the runs of one C-contiguous bool (H, W) mask."""
    positions, _ = scan(mask.view(np.uint8), order)
    ends = np.concatenate(([0] if mask[0, 0] else [], positions, [mask.size])).astype(np.int64)
    offsets = np.array([0, ends.size], np.int64)
    return lengths(ends, offsets), offsets


def paint(
    counts: Ints, offsets: Ints, values: NDArray[Any], fill: Any, shape: tuple[int, int], order: str
) -> NDArray[Any]:
    """Return the (H, W) map of ``values[k]`` where mask k is, later masks over earlier ones, ``fill`` elsewhere."""
    starts, ends, rows = intervals(counts, offsets)
    if starts.size == 0:
        return np.full(shape, fill, values.dtype)
    shown = values.take(rows)
    by_start = starts.argsort(kind="stable")  # K sorted runs: a merge
    first, last = starts.take(by_start), ends.take(by_start)
    if (first[1:] < last[:-1]).any():
        on_top = _topmost(starts, ends, shown, fill)
        if on_top is None:
            return _paint_one_by_one(starts, ends, shown, fill, shape, order)
        first, last, shown = on_top
        by_start = np.arange(first.size)
    if order == "C":
        return _paint_rows(first, last, shown.take(by_start), fill, shape)
    return _paint_columns(first, last, shown.take(by_start), fill, shape)


def _topmost(starts: Ints, ends: Ints, shown: NDArray[Any], fill: Any) -> tuple[Ints, Ints, NDArray[Any]] | None:
    """Return overlapping runs, later ones over earlier ones, as sorted disjoint ones; None where these are too many.

    The ends of all runs cut the image into stretches; each run writes its value into all stretches that it covers, and
    the last one to write stays.
    """
    edges = np.concatenate((starts, ends))
    edges.sort(kind="stable")  # 2 K sorted runs: a merge
    edges = edges[np.concatenate(([True], edges[1:] != edges[:-1]))]
    low, high = edges.searchsorted(starts), edges.searchsorted(ends)
    sizes = high - low
    total = int(sizes.sum())
    if total > _EXPANSION_LIMIT:
        return None
    covered = (low - (sizes.cumsum() - sizes)).repeat(sizes) + np.arange(total)
    values = np.full(edges.size - 1, fill, shown.dtype)
    values[covered] = shown.repeat(sizes)
    return edges[:-1], edges[1:], values


def _paint_one_by_one(
    starts: Ints, ends: Ints, shown: NDArray[Any], fill: Any, shape: tuple[int, int], order: str
) -> NDArray[Any]:
    """Paint overlapping runs in their given order."""
    flat = np.full(shape[0] * shape[1], fill, shown.dtype)
    for start, end, value in zip(starts.tolist(), ends.tolist(), shown.tolist(), strict=True):
        flat[start:end] = value
    return flat.reshape(shape) if order == "C" else np.ascontiguousarray(flat.reshape(shape[::-1]).T)


def _paint_rows(starts: Ints, ends: Ints, shown: NDArray[Any], fill: Any, shape: tuple[int, int]) -> NDArray[Any]:
    """Paint sorted disjoint runs that follow the rows: the gaps between them are runs of ``fill``."""
    sizes = np.empty(2 * starts.size + 1, np.int64)
    sizes[0], sizes[-1] = starts[0], shape[0] * shape[1] - ends[-1]
    sizes[1::2] = ends - starts
    sizes[2:-1:2] = starts[1:] - ends[:-1]
    labels = np.full(sizes.size, fill, shown.dtype)
    labels[1::2] = shown
    return np.repeat(labels, sizes).reshape(shape)


def _paint_columns(starts: Ints, ends: Ints, shown: NDArray[Any], fill: Any, shape: tuple[int, int]) -> NDArray[Any]:
    """Paint sorted disjoint runs that follow the columns as differences down the rows, then add the rows up.

    Sums wrap around in the integer type and come out right; pixels are never transposed.
    """
    h, w = shape
    out = np.zeros(shape, shown.dtype)
    flat = out.reshape(-1)
    wide = position_type(h * w)
    tops = np.arange(w) * h
    run = starts.searchsorted(tops, "right") - 1
    top_row = np.where((run >= 0) & (ends.take(run) > tops), shown.take(run), shown.dtype.type(fill))
    step = shown - shown.dtype.type(fill)

    def transposed_position(q: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        x = q // wide(h)
        y = q - x * wide(h)
        return y * wide(w) + x, y

    at, _ = transposed_position(starts.astype(wide))
    flat[at] = step
    at, y = transposed_position(ends.astype(wide))
    inside = y > 0  # at the foot of a column nothing follows
    flat[at[inside]] -= step[inside]
    out[0] = top_row
    above = out[0]
    for row in out[1:]:
        np.add(above, row, row)
        above = row
    return out
