from __future__ import annotations

import itertools

import numpy as np
import pytest

from maskloop_backend.active.selection import k_center, power_sample


def test_draws_are_as_frequent_as_the_powers_of_the_scores() -> None:
    scores, beta, draws = np.array([0.1, 0.2, 0.4, 0.0, 0.3]), 2.0, 20000
    rng = np.random.default_rng(0)
    first = [power_sample(scores, 2, beta=beta, rng=rng).tolist() for _ in range(draws)]
    weights = scores**beta / (scores**beta).sum()
    # the exact probability of every ordered pair of draws without replacement
    for one, other in itertools.permutations(range(5), 2):
        exact = weights[one] * weights[other] / (1 - weights[one])
        seen = first.count([one, other]) / draws
        assert seen == pytest.approx(exact, abs=4 * np.sqrt(max(exact, 1e-4) / draws))


@pytest.mark.parametrize(("beta", "expected"), [(float("inf"), [2, 4, 1]), (1e6, [2, 4, 1])])
def test_a_great_power_takes_the_top(beta: float, expected: list[int]) -> None:
    scores = np.array([0.1, 0.2, 0.4, 0.0, 0.3])
    assert power_sample(scores, 3, beta=beta, rng=np.random.default_rng(0)).tolist() == expected


def test_all_are_drawn_once() -> None:
    drawn = power_sample(np.zeros(6), 6, beta=1, rng=np.random.default_rng(3))
    assert sorted(drawn.tolist()) == list(range(6))


@pytest.mark.parametrize(
    ("scores", "count", "message"),
    [([0.1], 2, "2 of 1"), ([0.1, -0.1], 1, "finite numbers >= 0"), ([0.1, float("nan")], 1, "finite numbers >= 0")],
)
def test_impossible_draws_are_refused(scores: list[float], count: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        power_sample(np.array(scores), count, beta=1, rng=np.random.default_rng(0))


def radius(points: np.ndarray, centres: list[int]) -> float:
    distance = np.linalg.norm(points[:, None] - points[centres][None], axis=-1)
    return float(distance.min(1).max())


@pytest.mark.parametrize("seed", range(5))
def test_centres_cover_within_twice_the_best_radius(seed: int) -> None:
    points = np.random.default_rng(seed).normal(size=(9, 2))
    chosen = k_center(points, 3).tolist()
    assert len(set(chosen)) == 3
    best = min(radius(points, list(centres)) for centres in itertools.combinations(range(9), 3))
    assert radius(points, chosen) <= 2 * best + 1e-9


def test_what_is_covered_is_stayed_away_from() -> None:
    points = np.array([[0.0], [1.0], [10.0], [11.0]])
    assert k_center(points, 1, covered=np.array([[0.0]])).tolist() == [3]
    assert k_center(points, 2, covered=np.array([[0.0], [11.0]])).tolist() == [1, 2]


def test_equal_points_are_chosen_once_each() -> None:
    assert sorted(k_center(np.zeros((4, 2)), 4).tolist()) == [0, 1, 2, 3]
