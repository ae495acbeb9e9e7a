"""Fitting the last layers of a version to a few images within seconds, again and again.

The features of the layers that stay are computed once an image and kept in memory, in half precision; a fit is some
dozens of steps on them, always from the version's own weights, so that it depends on nothing but the images.
"""

from __future__ import annotations

import dataclasses
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from keras import ops
from numpy.typing import NDArray

from maskloop_converters.samples import LabelSet

from ..inference.predictor import Predictor
from ..inference.runtimes.shared_network import SharedNetwork
from ..model.bundle import Bundle
from ..model.config import STRIDE
from .augmentation import augment
from .free_head import free_head
from .settings import TrainingSettings

# Random views of every image, crops of this size, and crops a step: few, as who asks for a prediction waits for a step.
_VIEWS, _CROP, _BATCH = 4, (256, 320), 2
# Gentle: a head that few images pull far away draws everything else worse.
_RATE, _AVERAGE = 5e-4, 0.98
# Steps in which the rate rises.
_RISING = 10

# Called before every piece of work with the seconds that the last one took; it waits where others want the processors.
Pause = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of an image to learn from it.

    Attributes:
        features: float16 (V, h / s, w / s, C) of V views, a map a stride that crosses into the last layers.
        targets: uint8 (V, h, w), channel or VOID.
    """

    features: list[NDArray[np.float16]]
    targets: NDArray[np.uint8]

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.targets.nbytes + sum(array.nbytes for array in self.features)


class HeadFitter:
    """The network of a version whose head and scores are fitted to images.

    Args:
        bundle: the version; its weights are copied.
        labels: the classes to learn, matched by name; new ones begin with score 0.
        settings: how images are cropped and coloured, and the loss.

    Raises:
        DataError: the network is one that cannot be cut in two (the authors' own).
    """

    def __init__(self, bundle: Bundle, labels: LabelSet, settings: TrainingSettings) -> None:
        self._record = dataclasses.replace(bundle.record, labels=labels)
        self.labels = labels
        self._recipe = settings.recipe
        self._head = head = free_head(bundle, labels)
        self._rest, self._every = head.rest, head.every
        self._learning = head.learning
        self._first = [ops.convert_to_numpy(variable) for variable in self._learning]
        # the whole network lists the same variables, perhaps in another order
        places = {id(variable): place for place, variable in enumerate(self._learning)}
        self._order = [places[id(variable)] for variable in head.model.trainable_variables]
        self._network = SharedNetwork(head.model, head.architecture.classes)
        head.compile(self._recipe, rate=_RATE, average=_AVERAGE)

    def kept(self, name: str, image: NDArray[np.uint8], target: NDArray[np.uint8], pause: Pause) -> Kept:
        """Return what is kept of an image: the features of some random views.

        Args:
            name: decides the views.
            image: uint8 (H, W, 3) RGB.
            target: uint8 (H, W), channel or VOID.
            pause: see :data:`Pause`.
        """
        crop = tuple(min(side, -(-size // STRIDE) * STRIDE) for side, size in zip(_CROP, target.shape, strict=True))
        maps: list[list[NDArray[np.float16]]] = []
        targets = []
        spent = 0.0
        for view in range(_VIEWS):
            pause(spent)
            began = time.perf_counter()
            rng = np.random.default_rng((zlib.crc32(name.encode()), view))
            seen, wanted = augment(image, target, (crop[0], crop[1]), self._recipe, rng)
            maps.append([one[0] for one in self._head.features(seen[None])])
            targets.append(wanted)
            spent = time.perf_counter() - began
        return Kept([np.stack(one) for one in zip(*maps, strict=True)], np.stack(targets))

    def fit(
        self, images: Sequence[Kept], *, steps: int, seconds: float, pause: Pause, seed: int = 0
    ) -> list[NDArray[np.float32]] | None:
        """Return the weights of the last layers after some steps, None where the loss is no number any more.

        Args:
            images: to learn from, at least one.
            steps: at most.
            seconds: no step is begun later.
            pause: see :data:`Pause`.
            seed: of the order and the pixels that are looked at.
        """
        optimizer = self._rest.optimizer
        for variable in optimizer.variables:
            variable.assign(ops.zeros_like(variable))
        for variable, start in zip(self._learning, self._first, strict=True):
            variable.assign(start)
        # crops of small images are smaller: a batch has one size
        sizes: dict[tuple[int, ...], list[tuple[int, int]]] = {}
        for number, one in enumerate(images):
            sizes.setdefault(one.targets.shape[1:], []).extend((number, view) for view in range(_VIEWS))
        groups = list(sizes.values())
        shares = np.array([len(group) for group in groups], np.float64) / sum(map(len, groups))
        rng = np.random.default_rng(seed)
        deadline = time.monotonic() + seconds
        spent = 0.0
        for step in range(steps):
            pause(spent)
            if time.monotonic() >= deadline and step:
                break
            began = time.perf_counter()
            group = groups[int(rng.choice(len(groups), p=shares))]
            chosen = [group[k] for k in rng.integers(len(group), size=_BATCH)]
            maps = [
                np.stack([images[number].features[level][view] for number, view in chosen]).astype(np.float32)
                for level in range(len(images[0].features))
            ]
            targets = np.stack([images[number].targets[view] for number, view in chosen]).astype(np.int32)
            phase = rng.integers(self._every, size=2)
            inputs = [*maps, np.tile(phase.astype(np.int32), (_BATCH, 1))]
            targets = targets[:, int(phase[0]) :: self._every, int(phase[1]) :: self._every]
            # whichever is over first: the steps or the time
            progress = max(step / steps, 1 - (deadline - time.monotonic()) / seconds if seconds else 0.0)
            rising = min(1.0, (step + 1) / _RISING)
            optimizer.learning_rate = _RATE * rising * max(0.0, 1 - progress) ** 0.9
            self._rest.reset_metrics()
            loss = float(self._rest.train_on_batch(inputs, targets))
            if not np.isfinite(loss):
                return None
            spent = time.perf_counter() - began
        with optimizer.averaged():
            return [ops.convert_to_numpy(variable) for variable in self._learning]

    def predictor(self, weights: Sequence[NDArray[np.float32]], version: str) -> Predictor:
        """Return what predicts with fitted weights, under a version's name; earlier ones stay as they are."""
        ordered = [weights[place] for place in self._order]
        record = dataclasses.replace(self._record, version=version)
        return Predictor(Bundle(None, record), runtime=self._network.runtime(ordered))
