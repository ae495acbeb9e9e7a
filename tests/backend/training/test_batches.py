"""What is drawn how often."""

from __future__ import annotations

from collections import Counter

import pytest

from maskloop_backend.training.batches import Draw, Emphasis


def drawn(draw: Draw, steps: int) -> list[int]:
    return [index for step in range(steps) for index in draw.at(step)]


@pytest.mark.parametrize(("count", "batch"), [(8, 4), (7, 3), (1, 2), (5, 8)])
def test_without_emphasis_every_round_sees_each_example_once(count: int, batch: int) -> None:
    draw = Draw([str(k) for k in range(count)], Emphasis(), batch, seed=3)
    assert draw.steps_per_epoch == -(-count // batch)
    sequence = drawn(draw, 3 * count)
    for first in range(0, 3 * count, count):
        assert sorted(sequence[first : first + count]) == list(range(count))


@pytest.mark.parametrize("batch", [1, 2, 5, 8])
def test_corrected_examples_are_half_of_what_is_drawn(batch: int) -> None:
    ids = [str(k) for k in range(40)]
    draw = Draw(ids, Emphasis(frozenset(ids[:5])), batch, seed=0)
    for step in range(200):
        corrected = sum(index < 5 for index in draw.at(step))
        assert corrected in (batch // 2, -(-batch // 2))
    counts = Counter(drawn(draw, 400))
    assert max(counts.values()) <= 10 * min(counts.values()) + 10


@pytest.mark.parametrize(
    ("corrected", "rest", "share"), [(1, 100, 10 / 110), (100, 1, 100 / 110), (0, 9, 0), (9, 0, 1)]
)
def test_a_few_are_not_repeated_without_end(corrected: int, rest: int, share: float) -> None:
    ids = [f"{k:03}" for k in range(corrected + rest)]
    draw = Draw(ids, Emphasis(frozenset(ids[:corrected])), 4, seed=0)
    assert draw.share == pytest.approx(share)
    found = sum(index < corrected for index in drawn(draw, 1000)) / 4000
    assert found == pytest.approx(share, abs=0.01)


def test_accepted_predictions_are_drawn_less_often() -> None:
    ids = [str(k) for k in range(30)]
    weights = dict.fromkeys(ids[10:20], 0.25)
    counts = Counter(drawn(Draw(ids, Emphasis(frozenset(ids[:10]), weights), 6, seed=0), 1000))
    accepted, manual = (sum(counts[k] for k in range(first, first + 10)) for first in (10, 20))
    assert accepted / manual == pytest.approx(0.25, rel=0.02)
    assert sum(counts[k] for k in range(10)) == 3000


def test_a_step_is_the_same_whenever_it_is_asked_for() -> None:
    ids = [str(k) for k in range(9)]
    one, other = (Draw(ids, Emphasis(frozenset(ids[:2])), 4, seed=5) for _ in range(2))
    assert [one.at(k) for k in range(20)] == [other.at(k) for k in reversed(range(20))][::-1]
    assert drawn(one, 20) != drawn(Draw(ids, Emphasis(frozenset(ids[:2])), 4, seed=6), 20)
