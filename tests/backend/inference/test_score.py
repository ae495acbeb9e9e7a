from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskloop_backend.inference.score import BAND, image_score, region_of_interest


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=20)), st.booleans())
def test_the_score_is_the_mean_of_the_least_sure_tenth(confidence: np.ndarray, with_background: bool) -> None:
    label_map = (confidence > 100).astype(np.uint8)
    background = 0 if with_background else None
    interesting = region_of_interest(label_map, background)
    values = np.sort((confidence if interesting is None else confidence[interesting]).ravel())
    least = values[: max(1, round(values.size / 10))]
    assert image_score(label_map, confidence, background) == pytest.approx(least.mean() / 255)


def test_a_doubtful_object_counts_more_than_a_large_easy_area() -> None:
    label_map = np.zeros((200, 300), np.uint8)
    label_map[90:110, 140:160] = 1
    sure, doubtful = np.full(label_map.shape, 250, np.uint8), np.full(label_map.shape, 250, np.uint8)
    doubtful[label_map == 1] = 120
    # an image that is a little unsure all over
    hazy = np.full(label_map.shape, 225, np.uint8)
    scores = [image_score(label_map, confidence, background=0) for confidence in (doubtful, hazy, sure)]
    assert scores == sorted(scores)
    # the mean over all pixels has it the other way round
    assert doubtful.mean() > hazy.mean()


def test_the_band_is_as_wide_as_it_says() -> None:
    label_map = np.zeros((100, 100), np.uint8)
    label_map[50, 50] = 3
    interesting = region_of_interest(label_map, 0)
    assert interesting is not None
    ys, xs = np.nonzero(interesting)
    assert (ys.min(), ys.max(), xs.min(), xs.max()) == (50 - BAND, 50 + BAND, 50 - BAND, 50 + BAND)


@pytest.mark.parametrize("background", [None, 0])
def test_where_nothing_is_foreground_or_all_is_every_pixel_counts(background: int | None) -> None:
    assert region_of_interest(np.zeros((4, 4), np.uint8), background) is None
