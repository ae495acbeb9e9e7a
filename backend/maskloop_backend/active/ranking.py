"""Images in the order in which they are worth labelling."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..model.bundle import Bundle
from .strategies import Strategy, choose, looks_at_labelled, needed, needs_model, usefulness
from .uncertainty import Prober, Signals


@dataclass(frozen=True, slots=True)
class Ranked:
    """An image and its place.

    Attributes:
        id: of the sample or task.
        rank: from 1, the most useful first.
        chosen: it belongs to the batch.
        usefulness: by which images outside the batch are ordered, 0..1; None for 'random'.
    """

    id: str
    rank: int
    chosen: bool
    usefulness: float | None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"id": self.id, "rank": self.rank, "chosen": self.chosen, "usefulness": self.usefulness}


def rank(
    bundle: Bundle,
    images: Iterable[tuple[str, NDArray[np.uint8]]],
    *,
    strategy: Strategy = "default",
    budget: int | None = None,
    labelled: Iterable[tuple[str, NDArray[np.uint8]]] = (),
    seed: int = 0,
    each: Callable[[int], None] | None = None,
) -> list[Ranked]:
    """Rank images that nobody labelled: the batch that the strategy chooses first, then the others by usefulness.

    Without a budget, batches of a tenth follow each other, each chosen from what the ones before it left: chosen all at
    once, diversity would have nothing to choose from, and the model's doubts no say.

    Args:
        bundle: the model version that is asked.
        images: (id, uint8 (H, W, 3) RGB) of those that are not labelled; taken one at a time. Several in a row of one id
            are one task: the most useful of them stands for it.
        strategy: see :func:`.strategies.choose`.
        budget: size of the batch; None takes all images.
        labelled: the same of those that are labelled; only diversity looks at them.
        seed: decides what is random.
        each: called with the number of images seen, after each.

    Raises:
        UncertaintyError: BALD of a network without dropout.
    """
    prober = Prober(bundle, measures=needed(strategy), seed=seed) if needs_model(strategy) else None
    ids: list[str] = []
    pool: list[Signals] = []
    known: list[Signals] = []
    seen = 0

    def look(source: Iterable[tuple[str, NDArray[np.uint8]]], into: list[Signals], names: list[str]) -> None:
        nonlocal seen
        for name, image in source:
            signals = _UNSEEN if prober is None else prober.probe([image])[0]
            if names and names[-1] == name:
                if prober is not None and usefulness(strategy, signals) > usefulness(strategy, into[-1]):
                    into[-1] = signals
                continue
            names.append(name)
            into.append(signals)
            seen += 1
            if each is not None:
                each(seen)

    if looks_at_labelled(strategy):
        look(labelled, known, [])
    look(images, pool, ids)
    count = len(pool) if budget is None else min(budget, len(pool))
    chosen = _chosen(strategy, pool, count, -(-len(pool) // 10) if budget is None else count, known, seed)
    figures = None if prober is None else [usefulness(strategy, signals) for signals in pool]
    order = chosen + _others(len(pool), chosen, figures, seed)
    return [
        Ranked(ids[index], place, place <= count, None if figures is None else round(figures[index], 6))
        for place, index in enumerate(order, 1)
    ]


def _chosen(
    strategy: Strategy, pool: Sequence[Signals], count: int, batch: int, known: Sequence[Signals], seed: int
) -> list[int]:
    """Return ``count`` indices, chosen in batches."""
    chosen: list[int] = []
    while len(chosen) < count:
        left = sorted(set(range(len(pool))) - set(chosen))
        labelled = [*known, *(pool[index] for index in chosen)]
        following = min(batch, count - len(chosen))
        picked = choose(strategy, [pool[index] for index in left], following, labelled=labelled, seed=seed)
        chosen += [left[index] for index in picked]
    return chosen


def _others(count: int, chosen: Sequence[int], figures: Sequence[float] | None, seed: int) -> list[int]:
    """Return the indices that were not chosen, the most useful first."""
    left = sorted(set(range(count)) - set(chosen))
    if figures is None:
        return np.random.default_rng((seed, 1)).permutation(left).tolist() if left else []
    return sorted(left, key=lambda index: -figures[index])


# What 'random' knows of an image.
_UNSEEN = Signals({}, {}, np.empty(0, np.float32), np.empty(0, np.float32))
