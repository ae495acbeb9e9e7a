"""Batches of random crops; which ones, only the seed and the number of the step decide."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..model.config import STRIDE
from .augmentation import augment
from .dataset import Example
from .settings import TrainingSettings

# Default crops are at most this high and wide: 256 cells of the last map.
_LARGEST_CROP = 512
# No example of the smaller group is drawn more often than so many times as often as one of the larger.
_MOST_REPEATED = 10

# What the network is given, one array or several, and the targets.
Batch = tuple[Any, NDArray[np.int32]]


@dataclass(frozen=True, slots=True)
class Emphasis:
    """Which examples a training looks at more often, and which less.

    Attributes:
        ids: samples that make up half of what is drawn, whatever their number: few corrections among many old labels
            would be drowned, and corrections alone would make the model forget the rest. No example is drawn more than
            ten times as often as one of the other half.
        weights: how often the others are drawn, by id; 1 where nothing is said, 0.25 a quarter as often.
    """

    ids: frozenset[str] = frozenset()
    weights: Mapping[str, float] = field(default_factory=dict)


class Draw:
    """Which examples make up the batch of a step.

    Attributes:
        steps_per_epoch: steps that draw as many examples as there are.
        share: of the draws that fall on emphasised examples, 0..1.
    """

    def __init__(self, ids: Sequence[str], emphasis: Emphasis, batch_size: int, seed: int) -> None:
        marked = np.array([sample in emphasis.ids for sample in ids])
        weights = np.array([emphasis.weights.get(sample, 1.0) for sample in ids])
        groups = [(np.flatnonzero(~marked), weights[~marked]), (np.flatnonzero(marked), np.ones(int(marked.sum())))]
        many, few = len(groups[0][0]), len(groups[1][0])
        lower, upper = few / (few + _MOST_REPEATED * many), _MOST_REPEATED * few / (_MOST_REPEATED * few + many)
        self.share = min(max(0.5, lower), upper)
        self._groups = groups
        self._size = batch_size
        self._seed = seed
        self.steps_per_epoch = -(-len(ids) // batch_size)

    def at(self, step: int) -> list[int]:
        """Return the indices of the examples of a step."""
        chosen = []
        for place in range(step * self._size, (step + 1) * self._size):
            before = math.floor(place * self.share)
            marked = math.floor((place + 1) * self.share) > before
            chosen.append(self._drawn(int(marked), before if marked else place - before))
        return chosen

    def _drawn(self, group: int, number: int) -> int:
        """Return which example of a group is the one drawn after ``number`` others."""
        members, weights = self._groups[group]
        round_, place = divmod(number, len(members))
        rng = np.random.default_rng((self._seed, group, round_))
        order = rng.permutation(len(members))
        # systematic sampling: in each round an example comes as often as its weight says, rounded up or down
        edges = np.cumsum(weights[order])
        points = (np.arange(len(members)) + rng.random()) * (edges[-1] / len(members))
        found = order[np.minimum(np.searchsorted(edges, points, side="right"), len(members) - 1)]
        return int(members[rng.permutation(found)[place]])


class BatchSource(Protocol):
    """What a training learns from, batch by batch."""

    def at(self, step: int) -> Batch:
        """Return the input and the target of a step."""
        ...


class Batches:
    """The batches of a training, by step.

    Attributes:
        crop: (height, width) of every crop.
    """

    def __init__(
        self, examples: Sequence[Example], shapes: Sequence[tuple[int, int]], draw: Draw, settings: TrainingSettings
    ) -> None:
        self._examples = examples
        self._draw = draw
        self._seed = settings.seed
        self._recipe = settings.recipe
        self.crop = self._recipe.crop or default_crop(shapes)

    def at(self, step: int) -> Batch:
        """Return the batch of a step: float32 (B, h, w, 3) RGB 0..255 and int32 (B, h, w), channel or VOID."""
        chosen = self._draw.at(step)
        images = np.empty((len(chosen), *self.crop, 3), np.float32)
        targets = np.empty((len(chosen), *self.crop), np.int32)
        for row, index in enumerate(chosen):
            rng = np.random.default_rng((self._seed, step, row))
            image, target = self._examples[index]
            images[row], targets[row] = augment(image, target, self.crop, self._recipe, rng)
        return images, targets


def stream(source: BatchSource, first: int, end: int) -> Iterator[Batch]:
    """Yield the batches of steps ``first`` .. ``end - 1``; the next one is made while the last is used."""
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        following = pool.submit(source.at, first)
        for step in range(first, end):
            batch = following.result()
            if step + 1 < end:
                following = pool.submit(source.at, step + 1)
            yield batch


def default_crop(shapes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return the median height and width, at most 512, raised to multiples of 32."""
    height, width = (int(side) for side in np.median(np.array(shapes), axis=0))
    up = [min(_LARGEST_CROP, -(-side // STRIDE) * STRIDE) for side in (height, width)]
    return up[0], up[1]
