"""Masks given as the pixels of a box: where they land in the image, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskloop_converters.codecs import boxed
from maskloop_converters.errors import CodecError

HEIGHT, WIDTH = 5, 7


@st.composite
def box(draw: st.DrawFn) -> tuple[np.ndarray, int, int]:
    """A box within the image, its pixels 0 or not, its corner."""
    x, y = draw(st.integers(0, WIDTH)), draw(st.integers(0, HEIGHT))
    w, h = draw(st.integers(0, WIDTH - x)), draw(st.integers(0, HEIGHT - y))
    pixels = draw(st.lists(st.sampled_from([0, 0, 1, 200]), min_size=w * h, max_size=w * h))
    return np.array(pixels, np.uint8).reshape(h, w), x, y


@given(st.lists(box(), max_size=4), st.sampled_from([1 << 22, 3]), st.data())
def test_each_box_lands_where_it_belongs(
    boxes: list[tuple[np.ndarray, int, int]], held: int, data: st.DataObject
) -> None:
    groups = data.draw(st.lists(st.integers(0, 2), min_size=len(boxes), max_size=len(boxes)))
    found = boxed.Boxes(HEIGHT, WIDTH)
    expected = np.zeros((len(boxes), HEIGHT, WIDTH), bool)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boxed, "_HELD", held)  # scanned at once, or after every few
        for k, (pixels, x, y) in enumerate(boxes):
            found.add(pixels if k % 2 else pixels > 0, x, y)
            expected[k, y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels > 0
    masks = found.masks().validate()
    assert masks.to_masks().tolist() == expected.tolist()
    united = np.zeros((3, HEIGHT, WIDTH), bool)
    for k, group in enumerate(groups):
        united[group] |= expected[k]
    assert found.masks(groups, 3).to_masks().tolist() == united.tolist()


@pytest.mark.parametrize(("x", "y", "w", "h"), [(-1, 0, 2, 2), (0, -1, 2, 2), (6, 0, 2, 1), (0, 4, 1, 2), (8, 0, 0, 0)])
def test_a_box_outside_is_refused(x: int, y: int, w: int, h: int) -> None:
    with pytest.raises(CodecError, match=f"the box {x}, {y}, {w} x {h} reaches out of the 7 x 5 image"):
        boxed.Boxes(HEIGHT, WIDTH).add(np.ones((h, w), bool), x, y)
