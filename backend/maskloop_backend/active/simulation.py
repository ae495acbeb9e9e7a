"""What a strategy would have saved: rounds of choosing, labelling and training on data whose labels are known."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from maskloop_converters.errors import DataError

from ..model.bundle import Bundle
from ..training.dataset import Examples
from .curves import Point
from .learner import Learner, Weights
from .strategies import Strategy, choose, needed


class SimulationError(DataError):
    """A simulation that makes no sense: more labels than there are, no image to measure on."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """What is simulated.

    Attributes:
        strategies: to compare.
        labelled: how many images have labels in each round, ascending; the first ones are drawn by seed, the same for every
            strategy. A count above the number of images means all of them.
        seeds: repetitions 0 .. seeds - 1.
        training_steps: batches a training.
        batch_size: crops a batch.
        learning_rate: of head and scores after the warm-up; None takes the recipe of the backbone.
    """

    strategies: tuple[Strategy, ...] = ("default", "random", "foreground-random")
    labelled: tuple[int, ...] = (10, 25, 50, 100, 200, 400)
    seeds: int = 3
    training_steps: int = 400
    batch_size: int = 4
    learning_rate: float | None = None

    def __post_init__(self) -> None:
        for name in ("seeds", "training_steps", "batch_size"):
            if getattr(self, name) < 1:
                raise SimulationError(f"{name} is {getattr(self, name)}; expected a whole number from 1")
        counts = self.labelled
        if not counts or counts[0] < 1 or any(b <= a for a, b in itertools.pairwise(counts)):
            said = ", ".join(map(str, counts)) or "empty"
            raise SimulationError(
                f"labelled is {said}; expected whole numbers from 1, each greater than the one before"
            )


def simulate(
    bundle: Bundle,
    train: Examples,
    validation: Examples,
    plan: Rounds,
    *,
    each: Callable[[int, int], None] = lambda done, total: None,
    said: Callable[[Point], None] = lambda point: None,
) -> list[Point]:
    """Simulate strategies on images whose labels are known.

    Args:
        bundle: its backbone gives the features. One that was trained on these images flatters every strategy alike.
        train: labels are taken from these.
        validation: mIoU is measured on these.
        plan: what to simulate.
        each: called with (views through the frozen layers, all of them).
        said: called with every point as it is known.

    Returns:
        strategies x seeds x counts points.

    Raises:
        SimulationError: no more images than the first round labels, or other classes to measure on.
        DataError: the network is one that cannot be cut in two.
        UncertaintyError: BALD is wanted of a network without dropout.
    """
    if plan.labelled[0] >= len(train):
        raise SimulationError(
            f"{len(train)} images to label and {plan.labelled[0]} labelled at the start: nothing is left to choose; "
            "begin with fewer (--labelled)"
        )
    if [label.name for label in train.labels.classes] != [label.name for label in validation.labels.classes]:
        raise SimulationError("the images to measure on have other classes than those to label")
    counts = list(dict.fromkeys(min(count, len(train)) for count in plan.labelled))
    learner = Learner(
        bundle,
        train,
        validation,
        steps=plan.training_steps,
        batch_size=plan.batch_size,
        learning_rate=plan.learning_rate,
        random=any("bald" in needed(strategy) for strategy in plan.strategies),
        each=each,
    )
    points: list[Point] = []
    for seed in range(plan.seeds):
        start = np.random.default_rng(seed).permutation(len(train))[: counts[0]].tolist()
        # strategies begin, and with all images labelled end, with the same ones: they are learned once
        known: dict[frozenset[int], tuple[Weights, float]] = {}
        for strategy in plan.strategies:
            labelled = list(start)
            for number, following in enumerate([*counts[1:], None]):
                key = frozenset(labelled)
                if key not in known:
                    trained = learner.trained(labelled, seed)
                    known[key] = trained, learner.miou(trained)
                weights, miou = known[key]
                rest = [index for index in range(len(train)) if index not in key]
                count = 0 if following is None else following - len(labelled)
                chosen, wrong = _next(learner, weights, strategy, labelled, rest, count, number, seed)
                point = Point(
                    strategy,
                    seed,
                    number,
                    len(labelled),
                    miou,
                    _share(wrong, chosen) if chosen else None,
                    _share(wrong, rest) if rest else None,
                )
                points.append(point)
                said(point)
                labelled += chosen
    return points


def _next(
    learner: Learner,
    weights: Weights,
    strategy: Strategy,
    labelled: Sequence[int],
    rest: Sequence[int],
    count: int,
    number: int,
    seed: int,
) -> tuple[list[int], dict[int, tuple[int, int]]]:
    """Return the images to label next, and (wrong, judged) pixels of every image without a label."""
    if not rest:
        return [], {}
    pool, wrong = learner.probe(weights, rest, needed(strategy))
    if not count:
        return [], wrong
    known, _ = learner.probe(weights, labelled, ())
    found = choose(strategy, pool, count, labelled=known, round_number=number, seed=seed)
    return [rest[index] for index in found], wrong


def _share(wrong: dict[int, tuple[int, int]], images: Sequence[int]) -> float:
    judged = sum(wrong[index][1] for index in images)
    return sum(wrong[index][0] for index in images) / judged if judged else 0.0
