"""Which images to label next, by strategy.

None of them looks at whether an image is held out: the holdout follows from a task's id alone (loop/holdout.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from maskloop_converters.errors import DataError

from .selection import k_center, power_sample
from .uncertainty import Measure, Signals

Strategy = Literal["default", "entropy", "margin", "bald", "class-balanced", "diverse", "foreground-random", "random"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)

# Share of a batch that the default mix draws at random: no score is trusted alone.
RANDOM_SHARE = 0.15
# So many candidates a chosen image are drawn by uncertainty before diversity chooses among them.
_CANDIDATES = 3
# Share of an image that a class must cover to count as seen in it.
_SEEN = 0.001


class StrategyError(DataError):
    """A strategy that does not exist, or a batch that cannot be chosen."""


def needed(strategy: Strategy) -> tuple[Measure, ...]:
    """Return the measures that a strategy looks at."""
    return (strategy,) if strategy in ("entropy", "margin", "bald") else ("entropy",)


def needs_model(strategy: Strategy) -> bool:
    """Tell whether a strategy looks at the images at all."""
    return strategy != "random"


def looks_at_labelled(strategy: Strategy) -> bool:
    """Tell whether a strategy looks at the images that are labelled already, to stay away from them."""
    return strategy in ("default", "diverse")


def choose(
    strategy: Strategy,
    pool: Sequence[Signals],
    count: int,
    *,
    labelled: Sequence[Signals] = (),
    round_number: int = 0,
    seed: int = 0,
) -> list[int]:
    """Return which images of a pool to label next, the most useful first.

    ============================ ===========================================================================
    ``entropy``, ``margin``,     the highest figures first
    ``bald``
    ``class-balanced``           the classes in turn, each taking the image that is least sure of it
    ``diverse``                  the image farthest from all that are labelled or chosen (k-center)
    ``random``                   uniformly
    ``foreground-random``        a predicted class at random, then an image in proportion to its area
    ``default``                  85 %: candidates drawn in proportion to a power of their class-stratified
                                 entropy, the power rising from round to round, then k-center among them;
                                 15 %: at random
    ============================ ===========================================================================

    Args:
        strategy: one of :data:`STRATEGIES`.
        pool: signals of the images that are not labelled.
        count: how many.
        labelled: signals of those that are.
        round_number: 0 for the first batch; later ones trust the model more.
        seed: decides what is random.

    Returns:
        ``count`` different indices into the pool.

    Raises:
        StrategyError: no such strategy, or more images than the pool has.
    """
    if strategy not in STRATEGIES:
        raise StrategyError(f"there is no strategy {strategy!r}; there are: {', '.join(STRATEGIES)}")
    if not 0 <= count <= len(pool):
        raise StrategyError(f"{count} images cannot be chosen from {len(pool)}")
    rng = np.random.default_rng((seed, round_number))
    if strategy == "random":
        return [int(k) for k in rng.permutation(len(pool))[:count]]
    if strategy == "foreground-random":
        return _foreground_random(pool, count, rng)
    if strategy == "class-balanced":
        return _class_balanced(pool, count)
    if strategy == "diverse":
        return [int(k) for k in k_center(_features(pool), count, covered=_features(labelled))]
    if strategy == "default":
        return _default(pool, count, labelled, round_number, rng)
    return sorted(range(len(pool)), key=lambda index: -pool[index].scores[strategy])[:count]


def usefulness(strategy: Strategy, signals: Signals) -> float:
    """Return the figure by which a strategy orders images one by one, 0..1, higher = more worth labelling."""
    return signals.scores[strategy] if strategy in ("entropy", "margin", "bald") else signals.stratified


def _default(
    pool: Sequence[Signals], count: int, labelled: Sequence[Signals], round_number: int, rng: np.random.Generator
) -> list[int]:
    by_chance = round(RANDOM_SHARE * count)
    wanted = count - by_chance
    scores = np.array([signals.stratified for signals in pool])
    candidates = power_sample(scores, min(len(pool), _CANDIDATES * wanted), beta=1.0 + round_number, rng=rng)
    features = _features(pool)
    picked = k_center(features[candidates], wanted, covered=_features(labelled))
    chosen: list[int] = candidates[picked].tolist()
    others = np.setdiff1d(np.arange(len(pool)), chosen)
    drawn: list[int] = rng.permutation(others)[:by_chance].tolist()
    return chosen + drawn


def _class_balanced(pool: Sequence[Signals], count: int) -> list[int]:
    classes = sorted({k for signals in pool for k in signals.by_class})
    # rare classes first: a common one finds an image later, too
    classes.sort(key=lambda k: sum(k in signals.by_class for signals in pool))
    queues = {
        k: sorted((i for i, s in enumerate(pool) if k in s.by_class), key=lambda i: -pool[i].by_class[k])
        for k in classes
    }
    chosen: dict[int, None] = {}
    while len(chosen) < count:
        for k in classes:
            following = next((i for i in queues[k] if i not in chosen), None)
            if following is not None and len(chosen) < count:
                chosen[following] = None
    return list(chosen)


def _foreground_random(pool: Sequence[Signals], count: int, rng: np.random.Generator) -> list[int]:
    left = list(range(len(pool)))
    chosen: list[int] = []
    while len(chosen) < count:
        classes = sorted({k for i in left for k in pool[i].by_class if pool[i].area[k] >= _SEEN})
        weights: NDArray[np.float64] = np.ones(len(left))
        if classes:
            k = int(rng.choice(classes))
            weights = np.array([float(pool[i].area[k]) if k in pool[i].by_class else 0.0 for i in left])
        chosen.append(left.pop(int(rng.choice(len(left), p=weights / weights.sum()))))
    return chosen


def _features(signals: Sequence[Signals]) -> NDArray[np.float32]:
    return np.stack([one.features for one in signals]) if signals else np.empty((0, 0), np.float32)
