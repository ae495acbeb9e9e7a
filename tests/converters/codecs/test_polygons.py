"""Polygons to masks and back: the pixels that OpenCV has, and outlines that lose nothing."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from maskloop_converters.codecs.polygons import drawn, drawn_outlines, filled, rings
from maskloop_converters.errors import CodecError

sizes = st.tuples(st.integers(1, 24), st.integers(1, 24))


@st.composite
def masks(draw: st.DrawFn) -> NDArray[np.bool_]:
    height, width = draw(sizes)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return np.asarray(rng.random((height, width)) < draw(st.sampled_from([0.1, 0.4, 0.6, 0.9])))


@st.composite
def polygons(draw: st.DrawFn) -> tuple[tuple[int, int], NDArray[np.int64]]:
    height, width = draw(sizes)
    corner = st.tuples(st.integers(0, width - 1), st.integers(0, height - 1))
    return (height, width), np.array(draw(st.lists(corner, min_size=1, max_size=9)))


@given(polygons())
def test_drawn_is_what_opencv_fills(case: tuple[tuple[int, int], NDArray[np.int64]]) -> None:
    """Also where the outline crosses itself, comes back, or is one point."""
    (height, width), points = case
    expected = np.zeros((height, width), np.uint8)
    cv2.fillPoly(expected, [points.astype(np.int32)], 1)
    assert drawn([points], height, width).mask(0).tolist() == expected.astype(bool).tolist()


@given(masks())
@settings(max_examples=200)
def test_outlines_lose_nothing(mask: NDArray[np.bool_]) -> None:
    """Whatever its pieces and holes, in OpenCV too."""
    outlines = drawn_outlines(mask, joined=False)
    expected = np.zeros(mask.shape, np.uint8)
    for outline in outlines:
        assert len(outline) >= 3
        cv2.fillPoly(expected, [outline.astype(np.int32)], 1)
    assert expected.astype(bool).tolist() == mask.tolist()
    found = drawn(outlines, *mask.shape)
    assert found.union([0] * len(outlines), 1).mask(0).tolist() == mask.tolist()
    assert len(outlines) == cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0] - 1


@given(masks())
def test_joined_outlines_only_gain_the_ways_between_pieces(mask: NDArray[np.bool_]) -> None:
    outlines = drawn_outlines(mask, joined=True)
    assert len(outlines) == bool(mask.any())
    pieces = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0] - 1
    for outline in outlines:
        found = drawn([outline], *mask.shape).mask(0)
        assert (found & mask).tolist() == mask.tolist()
        if pieces == 1:
            assert found.tolist() == mask.tolist()


@given(masks())
def test_corners_of_rings_enclose_the_mask(mask: NDArray[np.bool_]) -> None:
    """On the grid between pixels, pieces one way round and holes the other: what both rules of filling agree on."""
    found = rings(mask, diagonal=False)
    depth = np.zeros(mask.shape, int)
    for ring in found:
        inside = filled(ring.corners.astype(float), *mask.shape).mask(0)
        depth += inside * (1 if ring.bridge is None else -1)
    assert depth.tolist() == mask.astype(int).tolist()


def test_a_thousand_holes_in_a_row() -> None:
    mask = np.ones((3, 2001), bool)
    mask[1, 1::2] = False
    (outline,) = drawn_outlines(mask, joined=False)
    assert drawn([outline], 3, 2001).mask(0).tolist() == mask.tolist()


@pytest.mark.parametrize(
    "points",
    [
        np.array([[0, 0], [10**8, 0], [0, 5]]),
        np.array([[0, 0], [9_999_999, 9_000_000]] * 50),
        np.zeros((0, 2), int),
    ],
    ids=["far", "long", "none"],
)
def test_absurd_polygons_are_errors_at_once(points: Any) -> None:
    with pytest.raises(CodecError):
        drawn([points], 20, 20)


def test_parts_outside_are_cut_off() -> None:
    assert drawn([np.array([[-3, -3], [1, -3], [1, 1], [-3, 1]])], 3, 3).mask(0).tolist() == [
        [True, True, False],
        [True, True, False],
        [False, False, False],
    ]


def test_even_odd_leaves_out_what_is_run_round_twice() -> None:
    twice = np.array([[0, 0], [6, 0], [6, 6], [0, 6], [0, 0], [2, 2], [4, 2], [4, 4], [2, 4], [2, 2]], float)
    assert filled(twice, 6, 6).areas().tolist() == [36]
    assert filled(twice, 6, 6, rule="even-odd").areas().tolist() == [32]
