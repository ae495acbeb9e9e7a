"""Batches of random crops; which ones, only the seed and the number of the step decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from ..model.config import STRIDE
from .augmentation import augment
from .dataset import Example
from .settings import TrainingSettings

# Default crops are at most this high and wide: 256 cells of the last map.
_LARGEST_CROP = 512

Batch = tuple[NDArray[np.float32], NDArray[np.int32]]


class Batches:
    """The batches of a training, by step.

    Attributes:
        crop: (height, width) of every crop.
        steps_per_epoch: steps in which every example is seen once; the last batch of an epoch is filled up from the
            epoch's beginning, so that all have one size.
    """

    def __init__(
        self, examples: Sequence[Example], shapes: Sequence[tuple[int, int]], settings: TrainingSettings
    ) -> None:
        self._examples = examples
        self._settings = settings
        self.crop = settings.crop or _default_crop(shapes)
        self.steps_per_epoch = -(-len(examples) // settings.batch_size)

    def at(self, step: int) -> Batch:
        """Return the batch of a step: float32 (B, h, w, 3) RGB 0..255 and int32 (B, h, w), channel or VOID."""
        epoch, position = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng((self._settings.seed, epoch)).permutation(len(self._examples))
        size = self._settings.batch_size
        chosen = np.resize(order, self.steps_per_epoch * size)[position * size : (position + 1) * size]
        images = np.empty((size, *self.crop, 3), np.float32)
        targets = np.empty((size, *self.crop), np.int32)
        for row, index in enumerate(chosen.tolist()):
            rng = np.random.default_rng((self._settings.seed, step, row))
            image, target = self._examples[index]
            images[row], targets[row] = augment(image, target, self.crop, self._settings, rng)
        return images, targets

    def stream(self, first: int, end: int) -> Iterator[Batch]:
        """Yield the batches of steps ``first`` .. ``end - 1``; the next one is made while the last is used."""
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
            following = pool.submit(self.at, first)
            for step in range(first, end):
                batch = following.result()
                if step + 1 < end:
                    following = pool.submit(self.at, step + 1)
                yield batch


def _default_crop(shapes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return the median height and width, at most 512, raised to multiples of 32."""
    height, width = (int(side) for side in np.median(np.array(shapes), axis=0))
    up = [min(_LARGEST_CROP, -(-side // STRIDE) * STRIDE) for side in (height, width)]
    return up[0], up[1]
