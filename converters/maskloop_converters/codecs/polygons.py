"""Polygons to masks and masks to polygons, without a loop over pixels.

Two rules of what belongs to a polygon are in use, and they differ by half a pixel all round:

- :func:`filled`: corners are places on the picture, (0, 0) its upper left corner; a pixel belongs to the polygon if its centre
  lies inside. Browsers' canvases and Label Studio.
- :func:`drawn`: corners are pixels, and those on the outline belong to it. OpenCV's ``fillPoly``, which YOLO's trainers call,
  and labelme.

A polygon of either rule is one closed line that may cross itself. A line that is walked there and back encloses nothing:
so are holes and parts joined into one (:func:`drawn_outline`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import CodecError
from ..masks import RunList

Rule = Literal["nonzero", "even-odd"]

_FARTHEST = 1e7  # pixels; beyond, a coordinate is a mistake
_MOST_CROSSINGS = 1 << 24
_COMPARED = 1000
# east, south, west, north: one crack along the edge of a pixel each, the mask on its right
_STEPS = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])
_SOUTH, _NORTH = 1, 3


def filled(corners: NDArray[np.float64], height: int, width: int, *, rule: Rule = "nonzero") -> RunList:
    """Return one mask: the pixels whose centre lies inside a polygon.

    A browser's canvas fills the same pixels by more than half.

    Args:
        corners: float64 (N, 2), x and y in pixels, N >= 3; the last corner is joined to the first. Parts outside the
            image are cut off.
        height: of the mask.
        width: of the mask.
        rule: what is inside where the outline crosses itself: all that it runs round ('nonzero'), or every other piece.

    Raises:
        CodecError: fewer than three corners, a coordinate that is not finite or absurdly far outside.
    """
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3:
        raise CodecError(f"a polygon has three corners or more, x and y each; this one is {corners.shape}")
    _check_near(corners)
    x0, y0 = corners[:, 0], corners[:, 1]
    x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
    low, high = np.minimum(y0, y1), np.maximum(y0, y1)
    # An edge crosses the middle of the rows first..last - 1.
    first = np.clip(np.ceil(low - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.ceil(high - 0.5), 0, height).astype(np.int64)
    rows = last - first
    _check_few(len(corners), int(rows.sum()))
    edge = np.arange(len(corners)).repeat(rows)
    y = np.arange(edge.size) - (rows.cumsum() - rows)[edge] + first[edge]
    x = x0[edge] + (y + 0.5 - y0[edge]) * (x1 - x0)[edge] / (y1 - y0)[edge]
    column = np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)
    order = (y * (width + 1) + column).argsort(kind="stable")
    position = (y * width + column)[order]
    if rule == "even-odd":
        starts, ends = position[::2], position[1::2]  # every row is crossed an even number of times
    else:
        depth = np.where((y1 > y0)[edge], 1, -1)[order].cumsum()
        inside = depth != 0
        before = np.concatenate(([False], inside[:-1]))
        starts, ends = position[inside & ~before], position[~inside & before]
    return RunList.from_intervals(starts, ends, np.zeros(starts.size, np.int64), count=1, height=height, width=width)


def ellipse(
    center: tuple[float, float], radii: tuple[float, float], height: int, width: int, *, angle: float = 0
) -> RunList:
    """Return one mask: the pixels whose centre lies inside an ellipse.

    Args:
        center: x, y in pixels.
        radii: half axes in pixels.
        height: of the mask.
        width: of the mask.
        angle: in radians, clockwise about the centre.

    Raises:
        CodecError: a number that is not finite, negative, or absurd.
    """
    (x, y), (along, across) = center, radii
    sizes = np.array([x, y, along, across, angle])
    if not np.isfinite(sizes).all() or np.abs(sizes).max() > _FARTHEST or along < 0 or across < 0:
        raise CodecError("a number of the ellipse is not finite, negative, or absurdly large")
    if along == 0 or across == 0:
        return RunList.from_rows([np.array([height * width])], height=height, width=width)
    # (u / along)^2 + (v / across)^2 <= 1, with u and v turned by the angle: a dx^2 + b dx dy + c dy^2 <= 1
    sine, cosine = np.sin(angle), np.cos(angle)
    a = (cosine / along) ** 2 + (sine / across) ** 2
    b = 2 * sine * cosine * (1 / along**2 - 1 / across**2)
    c = (sine / along) ** 2 + (cosine / across) ** 2
    row = np.arange(height)
    dy = row + 0.5 - y
    inner = (b * dy) ** 2 - 4 * a * (c * dy**2 - 1)
    row, dy, inner = row[inner >= 0], dy[inner >= 0], inner[inner >= 0]
    reach = np.sqrt(inner)
    first = np.clip(np.ceil(x + (-b * dy - reach) / (2 * a) - 0.5), 0, width).astype(np.int64)
    last = np.clip(np.floor(x + (-b * dy + reach) / (2 * a) - 0.5) + 1, 0, width).astype(np.int64)
    last = np.maximum(last, first)
    rows = np.zeros(row.size, np.int64)
    return RunList.from_intervals(row * width + first, row * width + last, rows, count=1, height=height, width=width)


def drawn(polygons: Sequence[NDArray[np.int64]], height: int, width: int) -> RunList:
    """Return one mask a polygon: the pixels that its outline goes over, and every other piece that it runs round.

    Args:
        polygons: int64 (N, 2) each, x and y of pixels, N >= 1; the last is joined to the first. They may lie outside the
            image; what does is cut off.
        height: of the masks.
        width: of the masks.

    Raises:
        CodecError: a coordinate absurdly far outside, or outlines of more pixels than any picture needs.
    """
    sizes = np.array([len(polygon) for polygon in polygons], np.int64)
    if not sizes.size:
        return RunList.empty(height, width)
    if not sizes.all():
        raise CodecError("a polygon has one point or more")
    points = np.concatenate(polygons).astype(np.int64)
    _check_near(points)
    owner = np.arange(sizes.size).repeat(sizes)
    following = np.arange(1, points.shape[0] + 1)
    following[sizes.cumsum() - 1] = sizes.cumsum() - sizes
    start, end = points, points[following]
    moved = (start != end).any(axis=1)
    moved[(sizes.cumsum() - sizes)[sizes == 1]] = True  # a point is an outline of one pixel
    start, end, owner = start[moved], end[moved], owner[moved]
    single = np.flatnonzero(np.bincount(owner, minlength=sizes.size) == 0)  # all points of it are the same
    if single.size:
        first = points[(sizes.cumsum() - sizes)[single]]
        start, end, owner = (np.concatenate(pair) for pair in ((start, first), (end, first), (owner, single)))
    spans = [_outline(start, end, owner, height, width), _interior(start, end, owner, height)]
    y, low, high, rows = (np.concatenate(parts) for parts in zip(*spans, strict=True))
    inside = (y >= 0) & (y < height)
    low, high = np.clip(low, 0, width), np.clip(high + 1, 0, width)
    kept = inside & (high > low)
    y, low, high, rows = y[kept], low[kept], high[kept], rows[kept]
    return RunList.from_intervals(y * width + low, y * width + high, rows, count=sizes.size, height=height, width=width)


Spans = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def _outline(
    start: NDArray[np.int64], end: NDArray[np.int64], owner: NDArray[np.int64], height: int, width: int
) -> Spans:
    """Return the pixels of lines as spans (y, first x, last x, owner): Bresenham's, from the left to the right."""
    flat = start[:, 1] == end[:, 1]
    y = start[flat, 1]
    x = np.sort(np.stack([start[flat, 0], end[flat, 0]]), axis=0)
    a, b, lines = start[~flat], end[~flat], owner[~flat]
    swap = b[:, 0] < a[:, 0]
    a, b = np.where(swap[:, None], b, a), np.where(swap[:, None], a, b)
    dx, dy = b[:, 0] - a[:, 0], b[:, 1] - a[:, 1]
    long, short = np.maximum(dx, abs(dy)), np.minimum(dx, abs(dy))
    count = long + 1
    _check_few(len(start), int(count.sum()))
    line = np.arange(len(a)).repeat(count)
    step = np.arange(line.size) - (count.cumsum() - count)[line]
    # Half a pixel is rounded back to where the line came from.
    side = -((long[line] - 2 * short[line] * step) // (2 * long[line]))
    side = np.maximum(side, 0)
    wide = (dx >= abs(dy))[line]
    px = a[line, 0] + np.where(wide, step, side)
    py = a[line, 1] + np.sign(dy)[line] * np.where(wide, side, step)
    return (
        np.concatenate([y, py]),
        np.concatenate([x[0], px]),
        np.concatenate([x[1], px]),
        np.concatenate([owner[flat], lines[line]]),
    )


def _interior(start: NDArray[np.int64], end: NDArray[np.int64], owner: NDArray[np.int64], height: int) -> Spans:
    """Return what polygons run round as spans: in each row between every other pair of crossings."""
    steep = start[:, 1] != end[:, 1]
    a, b, lines = start[steep], end[steep], owner[steep]
    down = (a[:, 1] < b[:, 1])[:, None]
    a, b = np.where(down, a, b), np.where(down, b, a)
    first, last = np.clip(a[:, 1], 0, height), np.clip(b[:, 1], 0, height)
    count = last - first
    _check_few(len(start), int(count.sum()))
    line = np.arange(len(a)).repeat(count)
    y = np.arange(line.size) - (count.cumsum() - count)[line] + first[line]
    rise = (b[:, 1] - a[:, 1])[line]
    over = (y - a[line, 1]) * (b[:, 0] - a[:, 0])[line]
    x = a[line, 0] + over / rise
    order = np.lexsort((x, lines[line] * (height + 1) + y))
    floor = (a[line, 0] + over // rise)[order]
    ceil = (a[line, 0] - (-over // rise))[order]
    return y[order][::2], ceil[::2], floor[1::2], lines[line][order][::2]


def _check_near(points: NDArray[np.float64] | NDArray[np.int64]) -> None:
    if not np.isfinite(points).all() or (points.size and np.abs(points).max() > _FARTHEST):
        raise CodecError("a corner of the polygon is not finite, or absurdly far outside the image")


def _check_few(edges: int, crossings: int) -> None:
    if crossings > _MOST_CROSSINGS:
        raise CodecError(f"a polygon whose {edges} edges cross {crossings} rows is no outline")


@dataclass(frozen=True, slots=True)
class Ring:
    """A closed line round a piece of a mask, or round a hole of it, along the edges of pixels.

    Attributes:
        corners: int64 (N, 2), x and y on the grid between pixels, (0, 0) the image's upper left corner. Pieces are
            walked clockwise (as seen), holes the other way: the mask is on the right.
        pixels: int64 (M, 2), x and y of the mask's pixels along the line, each next to the one before it or diagonal.
        bridge: of a hole, another ring (its place in the list), a place in that one's ``pixels``, and one in its own: of
            two pixels of one row, between which all is the mask's. None for a piece.
    """

    corners: NDArray[np.int64]
    pixels: NDArray[np.int64]
    bridge: tuple[int, int, int] | None = None


def rings(mask: NDArray[np.bool_], *, diagonal: bool) -> list[Ring]:
    """Return the lines round all pieces and holes of a mask.

    Args:
        mask: bool (H, W).
        diagonal: pixels that touch at a corner belong to one piece, as OpenCV's ``findContours`` has it. Without it no
            line touches itself.
    """
    cracks = _Cracks.of(mask)
    if not len(cracks.way):
        return []
    walks, ring_of = _walks(cracks.following(mask.shape[1], diagonal=diagonal))
    corners, paths, is_hole = [], [], []
    place = np.zeros(len(ring_of), np.int64)  # of each crack in the path of its ring
    for walk in walks:
        turns = cracks.way[walk] != cracks.way[np.roll(walk, 1)]
        x, y = (corner := cracks.start[walk][turns]).T
        corners.append(corner)
        is_hole.append(int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) < 0)
        path = cracks.pixel[walk]
        new = (path != np.roll(path, 1, axis=0)).any(axis=1)
        new[0] |= not new.any()
        place[walk] = (new.cumsum() - 1) % int(new.sum())  # what stands before the first new one is the last
        paths.append(path[new])
    bridges = _bridges(cracks, walks, is_hole, ring_of, place)
    return [Ring(*ring) for ring in zip(corners, paths, bridges, strict=True)]


@dataclass(frozen=True, slots=True)
class _Cracks:
    """The edges of a mask's pixels where their neighbour is none, ordered by where they begin.

    Attributes:
        pixel: int64 (N, 2), the pixel on the right.
        start: int64 (N, 2), the corner of it where the crack begins.
        way: int64 (N,), where it leads.
    """

    pixel: NDArray[np.int64]
    start: NDArray[np.int64]
    way: NDArray[np.int64]

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> _Cracks:
        around = np.pad(mask, 1)
        # The neighbour that must be free, and the corner of the pixel where the crack begins.
        sides = ((0, 1, 0, 0), (1, 2, 1, 0), (2, 1, 1, 1), (1, 0, 0, 1))
        pixels, starts, ways = [], [], []
        height, width = mask.shape
        for way, (down, right, *corner) in enumerate(sides):
            y, x = np.nonzero(mask & ~around[down : down + height, right : right + width])
            pixels.append(np.stack([x, y], axis=1))
            starts.append(pixels[-1] + corner)
            ways.append(np.full(len(x), way))
        pixel, start, way_ = np.concatenate(pixels), np.concatenate(starts), np.concatenate(ways)
        order = np.lexsort((way_, start[:, 0], start[:, 1]))
        return cls(pixel[order], start[order], way_[order])

    def following(self, width: int, *, diagonal: bool) -> NDArray[np.int64]:
        """Return the crack after each: where two begin, the one to the left joins diagonal pixels."""
        key = (self.start[:, 1] * (width + 1) + self.start[:, 0]) * 4 + self.way
        end = self.start + _STEPS[self.way]
        base = (end[:, 1] * (width + 1) + end[:, 0]) * 4
        following: NDArray[np.int64] = np.full(len(key), -1)
        for turn in (3, 0, 1) if diagonal else (1, 0, 3):
            wanted = base + (self.way + turn) % 4
            at = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
            following = np.where((following < 0) & (key[at] == wanted), at, following)
        return following


def _walks(following: NDArray[np.int64]) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
    """Return each ring's cracks in order, and the ring of each crack."""
    chain = following.tolist()
    ring_of = [-1] * len(chain)
    walks: list[NDArray[np.int64]] = []
    for first in range(len(chain)):
        if ring_of[first] >= 0:
            continue
        number, walk, k = len(walks), [], first
        while ring_of[k] < 0:
            ring_of[k] = number
            walk.append(k)
            k = chain[k]
        walks.append(np.array(walk))
    return walks, np.array(ring_of)


def _bridges(
    cracks: _Cracks,
    walks: list[NDArray[np.int64]],
    is_hole: list[bool],
    ring_of: NDArray[np.int64],
    place: NDArray[np.int64],
) -> list[tuple[int, int, int] | None]:
    """Return where each hole meets another ring: left of its leftmost crack the mask reaches to one that is not its own."""
    left = np.flatnonzero(cracks.way == _NORTH)
    row = int(cracks.pixel[:, 0].max()) + 1
    keys = cracks.pixel[left, 1] * row + cracks.pixel[left, 0]
    order = keys.argsort()
    left, keys = left[order], keys[order]
    found: list[tuple[int, int, int] | None] = []
    for walk, hole in zip(walks, is_hole, strict=True):
        if not hole:
            found.append(None)
            continue
        right = walk[cracks.way[walk] == _SOUTH]
        own = right[cracks.pixel[right, 0].argmin()]
        x, y = cracks.pixel[own]
        other = left[np.searchsorted(keys, y * row + x, "right") - 1]
        found.append((int(ring_of[other]), int(place[other]), int(place[own])))
    return found


def drawn_outlines(mask: NDArray[np.bool_], *, joined: bool) -> list[NDArray[np.int64]]:
    """Return polygons that :func:`drawn` makes a mask of: one a piece, or one for all of it.

    A hole is joined to its piece along a row of the mask's own pixels, walked there and back: nothing is lost. Pieces are
    joined by the shortest way between two of their corners, whose pixels the mask gains.

    Args:
        mask: bool (H, W).
        joined: one polygon for all pieces.

    Returns:
        int64 (N, 2) each, x and y of pixels, N >= 3 (points are repeated where there are fewer); none for an empty mask.
    """
    paths = [_bends(path) for path in _with_holes(rings(mask, diagonal=True))]
    if joined and len(paths) > 1:
        whole, *others = paths
        for path in others:
            whole = _joined(whole, path)
        paths = [whole]
    return [np.resize(path, (3, 2)) if len(path) < 3 else path for path in paths]


def _with_holes(found: list[Ring]) -> list[NDArray[np.int64]]:
    """Return the path of each piece, which goes round each of its holes where it meets them."""
    points = np.concatenate([ring.pixels for ring in found]) if found else np.zeros((0, 2), np.int64)
    sizes = [len(ring.pixels) for ring in found]
    begins = np.concatenate([[0], np.cumsum(sizes)]).tolist()
    source = list(range(len(points)))  # of a stop on the way, its point
    following = list(range(1, len(points) + 1))
    before = list(range(-1, len(points) - 1))
    for k in range(len(found)):
        following[begins[k + 1] - 1] = begins[k]
        before[begins[k]] = begins[k + 1] - 1
    for k, ring in enumerate(found):
        if ring.bridge is None:
            continue
        parent, there, here = ring.bridge
        p, q = begins[parent] + there, begins[k] + here
        # p -> q, round the hole to q again -> p again, and on: two more stops at the same points
        again_q, again_p = len(source), len(source) + 1
        source += [source[q], source[p]]
        following += [again_p, following[p]]
        before += [before[q], again_q]
        following[before[q]] = again_q
        before[following[p]] = again_p
        following[p], before[q] = q, p
    paths = []
    for k, ring in enumerate(found):
        if ring.bridge is None:
            way, at = [], begins[k]
            while True:
                way.append(source[at])
                at = following[at]
                if at == begins[k]:
                    break
            paths.append(points[way])
    return paths


def _bends(path: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a closed path without the points that lie on the line between their neighbours."""
    ahead = np.roll(path, -1, axis=0) - path
    kept = (ahead != np.roll(ahead, 1, axis=0)).any(axis=1)
    return path[kept] if kept.any() else path[:1]


def _joined(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return two closed paths as one, joined between their nearest corners, of at most a thousand of each."""
    few = [path[:: max(1, len(path) // _COMPARED)] for path in (one, other)]
    far = ((few[0][:, None] - few[1][None]) ** 2).sum(axis=2)
    nearest = divmod(int(far.argmin()), far.shape[1])
    i, j = (k * max(1, len(path) // _COMPARED) for k, path in zip(nearest, (one, other), strict=True))
    return np.concatenate([one[: i + 1], other[j:], other[: j + 1], one[i:]])
