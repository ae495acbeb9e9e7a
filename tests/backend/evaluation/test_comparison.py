"""Differences and their intervals, against SciPy's bootstrap and made data whose truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from maskloop_backend.evaluation.comparison import compare, estimate
from maskloop_backend.evaluation.measurement import Measurement, MeasurementError
from maskloop_backend.evaluation.scores import Scores

from .labelled import measured, two_classes


def test_a_drawn_case() -> None:
    better, worse = [[[8, 2], [0, 10]], [[10, 0], [0, 0]]], [[[4, 6], [0, 10]], [[10, 0], [0, 0]]]
    found = compare(measured(better, "new"), measured(worse, "old"))
    assert (found.candidate, found.serving, found.images, found.same) == ("new", "old", 2, False)
    assert found.iou["sky"] is not None
    assert (found.iou["sky"].candidate, found.iou["sky"].serving) == (18 / 20, 14 / 20)
    assert found.miou.candidate == pytest.approx((18 / 20 + 10 / 12) / 2)
    assert found.miou.value == pytest.approx((18 / 20 + 10 / 12) / 2 - (14 / 20 + 10 / 16) / 2)
    assert found.pixel_accuracy.value == pytest.approx(28 / 30 - 24 / 30)
    assert found.class_images == {"sky": 2, "road": 1}
    # the second image is drawn alone every fourth time: no difference then
    assert found.miou.rising == pytest.approx(3 / 4, abs=0.04)
    assert found.miou.falling == 0


def test_the_interval_is_scipy_s() -> None:
    random = np.random.default_rng(2)
    right = random.normal(0.7, 0.1, 40)
    one, two = two_classes(right + random.normal(0.02, 0.05, 40)), two_classes(right)

    def difference(chosen: NDArray[Any]) -> float:
        chosen = chosen.astype(int)
        return float(Scores.of(one_terms[chosen].sum(0)).miou - Scores.of(two_terms[chosen].sum(0)).miou)

    one_terms, two_terms = measured(one).terms, measured(two).terms
    tail = stats.norm.cdf(np.sqrt(40 / 39) * stats.t.ppf(0.025, 39))
    oracle = stats.bootstrap(
        (np.arange(40),), difference, n_resamples=4000, method="percentile", vectorized=False,
        confidence_level=1 - 2 * tail, rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    found = compare(measured(one), measured(two), resamples=4000).miou
    assert found.low == pytest.approx(oracle.low, abs=0.003)
    assert found.high == pytest.approx(oracle.high, abs=0.003)


@pytest.mark.parametrize("images", [5, 12, 40])
def test_intervals_cover_the_truth_as_often_as_they_say(images: int) -> None:
    random = np.random.default_rng(images)
    # the truth: both models' scores on very many images
    crowd = random.normal(0.75, 0.1, 20_000)
    worse = two_classes(crowd + random.normal(-0.03, 0.06, crowd.size))
    better = two_classes(crowd)
    scores = [Scores.of(measured(matrices).terms.sum(0)).miou for matrices in (better, worse)]
    truth, trials = float(scores[0] - scores[1]), 300
    covered = 0
    for seed in range(trials):
        chosen = random.integers(0, crowd.size, images)
        found = compare(measured(better[chosen]), measured(worse[chosen]), resamples=400, seed=seed).miou
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= truth <= found.high
    # three standard errors of 300 trials at 95 %, and a point for what so small samples cannot know
    assert 0.90 <= covered / trials <= 0.99


def test_pairs_are_told_apart_where_single_intervals_overlap() -> None:
    random = np.random.default_rng(0)
    right = random.uniform(0.4, 0.9, 30)
    one, two = measured(two_classes(right + 0.02)), measured(two_classes(right))
    found = compare(one, two).miou
    assert found.low is not None
    assert found.low > 0
    ours, theirs = estimate(one).miou, estimate(two).miou
    assert ours.low is not None
    assert theirs.high is not None
    assert ours.low < theirs.high


def test_the_estimate_is_the_scores_with_an_interval() -> None:
    measurement = measured(two_classes(np.random.default_rng(1).uniform(0.5, 1, 20)))
    found, scores = estimate(measurement), measurement.scores
    assert found.miou.value == float(scores.miou)
    assert found.boundary_f is not None
    assert found.boundary_f.value == float(scores.boundary_f)
    for k, name in enumerate(measurement.labels):
        value, outlined = found.iou[name], found.boundary[name]
        assert value is not None
        assert outlined is not None
        assert (value.value, outlined.value) == (float(scores.iou[k]), float(scores.boundary[k]))
        assert value.low is not None
        assert value.high is not None
        assert value.low < value.value < value.high
    assert found.to_json()["iou"]["sky"]["low"] == found.iou["sky"].low  # type: ignore[union-attr]


def test_one_image_has_no_interval() -> None:
    found = compare(measured(two_classes(np.array([0.9]))), measured(two_classes(np.array([0.8]))))
    assert (found.miou.low, found.miou.high) == (None, None)
    assert found.miou.value > 0


def test_a_class_that_the_truth_lacks_has_no_difference() -> None:
    # 'road' is predicted by the candidate alone and is nowhere: it must not enter one version's mean and not the other's
    one, two = measured([[[90, 10], [0, 0]]] * 4), measured([[[80, 20], [0, 0]]] * 4)
    found = compare(one, two)
    assert found.iou["road"] is None
    assert found.miou.candidate == 0.9
    assert found.to_json()["iou"] == {"sky": found.iou["sky"].to_json(), "road": None}  # type: ignore[union-attr]


def test_the_seed_decides_the_draws() -> None:
    random = np.random.default_rng(0)
    one, two = (measured(two_classes(random.uniform(0.5, 1, 10))) for _ in range(2))
    assert compare(one, two, seed=1) == compare(one, two, seed=1) != compare(one, two, seed=2)
    assert compare(one, one).same
    assert compare(one, one).miou.value == compare(one, one).miou.rising == 0


@pytest.mark.parametrize(
    ("other", "error", "message"),
    [
        (measured(np.ones((2, 2, 2))), ValueError, "got 3 and 2 images, 2 and 2 classes"),
        (measured(np.ones((3, 2, 2)), labels=("sky", "car")), ValueError, "same images and classes"),
    ],
)
def test_other_images_or_classes_are_refused(other: Measurement, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        compare(measured(np.ones((3, 2, 2))), other)


@pytest.mark.parametrize(("images", "message"), [(0, "no image"), (2, "no pixel of the images has a true class")])
def test_nothing_to_measure_on_is_an_error(images: int, message: str) -> None:
    empty = measured(np.zeros((images, 2, 2)))
    with pytest.raises(MeasurementError, match=message):
        compare(empty, empty)
    with pytest.raises(MeasurementError, match=message):
        estimate(empty)
