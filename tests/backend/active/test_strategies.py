from __future__ import annotations

import numpy as np
import pytest

from maskloop_backend.active.strategies import STRATEGIES, Strategy, StrategyError, choose, needed
from maskloop_backend.active.uncertainty import MEASURES, Signals


def pool_of(count: int, seed: int = 0) -> list[Signals]:
    rng = np.random.default_rng(seed)
    pool = []
    for _ in range(count):
        area = rng.dirichlet(np.ones(4)).astype(np.float32)
        features = rng.normal(size=3).astype(np.float32)
        by_class = {k: float(rng.random()) for k in range(4) if area[k] > 0.1}
        scores = {measure: float(rng.random()) for measure in MEASURES}
        pool.append(Signals(scores, by_class, area, features / np.linalg.norm(features)))
    return pool


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_chooses_different_images_the_same_ones_by_seed(strategy: Strategy) -> None:
    pool, labelled = pool_of(30), pool_of(5, 1)
    chosen = choose(strategy, pool, 12, labelled=labelled, seed=4)
    assert len(set(chosen)) == 12
    assert set(chosen) <= set(range(30))
    assert all(type(index) is int for index in chosen)
    assert choose(strategy, pool, 12, labelled=labelled, seed=4) == chosen
    assert sorted(choose(strategy, pool, 30, seed=4)) == list(range(30))
    assert choose(strategy, pool, 0, seed=4) == []
    if strategy in ("default", "random", "foreground-random"):
        assert choose(strategy, pool, 12, labelled=labelled, seed=5) != chosen


@pytest.mark.parametrize("strategy", ["entropy", "margin", "bald"])
def test_the_least_sure_come_first(strategy: Strategy) -> None:
    pool = pool_of(10)
    chosen = choose(strategy, pool, 10)
    figures = [pool[index].scores[strategy] for index in chosen]
    assert figures == sorted(figures, reverse=True)
    assert needed(strategy) == (strategy,)


def test_classes_take_turns_the_rarest_first() -> None:
    area = np.full(2, 0.5, np.float32)
    features = np.ones(1, np.float32)
    pool = [Signals({}, {0: 0.9 - 0.1 * k}, area, features) for k in range(4)]
    pool += [Signals({}, {0: 0.05, 1: unsure}, area, features) for unsure in (0.2, 0.3)]
    assert choose("class-balanced", pool, 4) == [5, 0, 4, 1]


def test_the_default_prefers_unsure_images_and_spreads_them() -> None:
    # twenty sure images, and ten unsure ones in two clusters
    area = np.ones(1, np.float32)
    sure = [Signals({}, {0: 0.02}, area, np.array([0, 1], np.float32)) for _ in range(20)]
    unsure = [Signals({}, {0: 0.9}, area, np.array([1, 0] if k < 9 else [-1, 0], np.float32)) for k in range(10)]
    picked = [choose("default", sure + unsure, 4, round_number=2, seed=seed) for seed in range(40)]
    share = np.mean([index >= 20 for chosen in picked for index in chosen])
    assert share > 0.6, "random choice takes a third"
    alone = np.mean([29 in chosen for chosen in picked])
    assert alone > 0.6, "the odd one is one of ten that are equally unsure"


def test_foreground_random_takes_rare_classes_as_often_as_common_ones() -> None:
    common = [Signals({}, {0: 0.5}, np.array([1, 0], np.float32), np.ones(1, np.float32)) for _ in range(18)]
    rare = [Signals({}, {1: 0.5}, np.array([0.9, 0.1], np.float32), np.ones(1, np.float32)) for _ in range(2)]
    first = [choose("foreground-random", common + rare, 1, seed=seed)[0] for seed in range(300)]
    assert np.mean([index >= 18 for index in first]) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("strategy", "count", "message"),
    [("best", 1, "there is no strategy 'best'; there are: default"), ("random", 4, "4 images cannot be chosen from 3")],
)
def test_what_cannot_be_chosen_is_said(strategy: Strategy, count: int, message: str) -> None:
    with pytest.raises(StrategyError, match=message):
        choose(strategy, pool_of(3), count)
