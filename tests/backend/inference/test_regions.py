"""Label maps, drawn by hand, and the regions that come out."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from maskloop_backend.inference.prediction import Prediction
from maskloop_backend.inference.regions import extract
from maskloop_converters.errors import DataError

# 0 has a hole (1) and touches itself over a corner; 2 stands in two parts
MAP = np.array(
    [
        [0, 0, 0, 2],
        [0, 1, 0, 2],
        [0, 0, 0, 1],
        [2, 1, 1, 0],
    ],
    np.uint8,
)


def prediction(labels: Any, confidence: Any = None) -> Prediction:
    labels = np.asarray(labels, np.uint8)
    return Prediction(labels, np.full_like(labels, 255) if confidence is None else confidence, 1.0)


def test_one_region_a_class() -> None:
    regions = extract(prediction(MAP))
    assert regions.class_index.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(regions.masks.to_masks(), [MAP == 0, MAP == 1, MAP == 2])
    assert regions.scores.tolist() == [1, 1, 1]


def test_one_region_a_component() -> None:
    regions = extract(prediction(MAP), per="component")
    assert regions.class_index.tolist() == [0, 1, 1, 2, 2]
    assert regions.masks.areas().tolist() == [9, 1, 3, 2, 1]
    np.testing.assert_array_equal(regions.masks.mask(2), [[0] * 4, [0] * 4, [0, 0, 0, 1], [0, 1, 1, 0]])


@pytest.mark.parametrize(
    ("per", "min_area", "classes", "areas"),
    [
        ("class", 4, [0, 1], [9, 4]),
        ("class", 17, [], []),
        ("component", 2, [0, 1, 2], [9, 3, 2]),
        ("component", 9, [0], [9]),
        ("component", 10, [], []),
    ],
)
def test_small_regions_are_left_out(per: Any, min_area: int, classes: list[int], areas: list[int]) -> None:
    regions = extract(prediction(MAP), per=per, min_area=min_area)
    assert regions.class_index.tolist() == classes
    assert regions.masks.areas().tolist() == areas
    assert regions.scores.size == len(regions) == len(classes)
    assert (regions.masks.height, regions.masks.width) == (4, 4)


@pytest.mark.parametrize("per", ["class", "component"])
def test_an_image_of_one_class_is_one_region(per: Any) -> None:
    regions = extract(prediction(np.full((1, 5), 255)), per=per)
    assert regions.class_index.tolist() == [255]
    assert regions.masks.areas().tolist() == [5]


def test_scores_are_the_mean_confidence() -> None:
    confidence = np.array([[0, 255, 51], [51, 51, 255]], np.uint8)
    regions = extract(prediction([[0, 0, 1], [1, 1, 1]], confidence))
    np.testing.assert_allclose(regions.scores, [0.5, (3 * 51 + 255) / 4 / 255])


@given(
    arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 3)),
    st.integers(1, 4),
)
def test_components_are_opencv_s(labels: Any, min_area: int) -> None:
    regions = extract(prediction(labels), per="component", min_area=min_area)
    expected = []
    for index in range(4):
        count, numbers = cv2.connectedComponents((labels == index).astype(np.uint8), connectivity=8)
        expected += [(index, numbers == n) for n in range(1, count) if (numbers == n).sum() >= min_area]
    found = zip(regions.class_index.tolist(), regions.masks.to_masks(), strict=True)
    assert sorted((k, m.tobytes()) for k, m in found) == sorted((k, m.tobytes()) for k, m in expected)


def test_impossible_options_are_refused() -> None:
    with pytest.raises(DataError, match=r"min_area.*got 0"):
        extract(prediction(MAP), min_area=0)
    with pytest.raises(DataError, match="not per 'pixel'"):
        extract(prediction(MAP), per="pixel")  # type: ignore[arg-type]
