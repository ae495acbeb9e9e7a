"""What a simulation trains, dozens of times: the head and scores of a network, on features that are computed once.

The layers that learn, their loss and what they read are those of `retrain --effort quick` and `serve --live`
(:mod:`~..training.free_head`); only their scores begin at 0 in every training. Every image goes through the frozen layers
twice, as it is and mirrored. What comes out lies on the disk in half precision, half a megabyte a view for
EfficientNet-Lite0 at 360 x 480.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from ..model.bundle import Bundle
from ..model.config import STRIDE
from ..model.fcn import split_network
from ..training.dataset import Examples
from ..training.free_head import FreeHead, free_head
from ..training.metrics import VOID, ConfusionMatrix
from ..training.recipes import recipe
from ..training.settings import TrainingSettings
from .uncertainty import PASSES, Measure, Signals, bald, entropy, margin, random_tail, signals, softmax

Weights = list[NDArray[np.float32]]

# Images that go through the learner together, and views through the frozen layers: what a CPU's caches hold.
_TOGETHER, _THROUGH = 8, 2
# Crops are at most this high and wide, unless the recipe says something else.
_LARGEST_CROP = (512, 512)


class Learner:
    """Cached features of images, and the part of a network that is trained on them.

    One network serves all trainings, its weights are set anew: building and compiling another one takes as long as
    training it.

    Args:
        bundle: its backbone gives the features, its head's weights are those that every training begins with.
        train: images that may be labelled.
        validation: images to measure on.
        steps: batches a training.
        batch_size: crops a batch.
        learning_rate: of head and scores; None takes the backbone's recipe's.
        random: whether :meth:`probe` will be asked for BALD.
        each: called with (views through the frozen layers, all of them).

    Raises:
        DataError: the network is one that cannot be cut in two.
        UncertaintyError: BALD is wanted of a network without dropout.
    """

    def __init__(
        self,
        bundle: Bundle,
        train: Examples,
        validation: Examples,
        *,
        steps: int,
        batch_size: int,
        learning_rate: float | None = None,
        random: bool = False,
        each: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        architecture = bundle.record.architecture
        self._steps, self._batch_size = steps, batch_size
        own = recipe(architecture.backbone)
        self._settings = TrainingSettings(
            architecture.backbone, learning_rate=learning_rate, head=architecture.head, stride=architecture.stride
        )
        head = free_head(bundle, train.labels, fresh=True)
        self._every, self._rest, self._learning = head.every, head.rest, head.learning
        # the same layers without the loss' shortcut, and with a dropout that is at work in prediction, too
        self._whole = split_network(head.model, head.last, narrow=True)[1]
        self._random = random_tail(self._rest, bundle.version) if random else None
        head.compile(own, rate=self._settings.recipe.learning_rate, average=own.average)
        self._first = self._weights()
        # what random draws and running means have come to
        generators = [layer.seed_generator for layer in self._rest.layers if hasattr(layer, "seed_generator")]
        self._draws = [generator.state for generator in generators]

        self._labels = train.labels
        background = train.labels.background_id
        self._background = next((k for k, c in enumerate(train.labels.classes) if c.id == background), None)
        sides = np.array([*train.shapes, *validation.shapes]).max(0)
        self._cells = int(-(-sides[0] // STRIDE)), int(-(-sides[1] // STRIDE))
        crop = own.crop or _LARGEST_CROP
        self._crop = tuple(min(cells, side // STRIDE) for cells, side in zip(self._cells, crop, strict=True))
        self._places = [self._place(shape) for shape in train.shapes]
        total = 2 * len(train) + len(validation)
        self._train, self._targets = self._through(head, train, 2, lambda done: each(done, total))
        self._validation, self._truths = self._through(
            head, validation, 1, lambda done: each(2 * len(train) + done, total)
        )

    def trained(self, labelled: Sequence[int], seed: int) -> Weights:
        """Return the weights after a training on images; they depend on nothing but these images and the seed."""
        rng = np.random.default_rng(seed)
        rows = np.sort(np.array(labelled))
        self._set(self._first)
        for variable in self._rest.optimizer.variables:
            variable.assign(ops.zeros_like(variable))
        for state in self._draws:
            state.assign(ops.convert_to_tensor(np.array([seed, 0]), state.dtype))
        for step in range(self._steps):
            self._rest.optimizer.learning_rate = self._settings.learning_rate_at(step, self._steps)
            inputs, targets = self._batch(rows[rng.integers(len(rows), size=self._batch_size)], rng)
            self._rest.train_on_batch(inputs, targets)
        with self._rest.optimizer.averaged():
            return self._weights()

    def probe(
        self, weights: Weights, images: Sequence[int], measures: Sequence[Measure]
    ) -> tuple[list[Signals], dict[int, tuple[int, int]]]:
        """Return the signals of training images and how many pixels their predictions have (wrong, judged).

        On every n-th row and column, those that the loss looks at.
        """
        self._set(weights)
        found, wrong = [], {}
        for first in range(0, len(images), _TOGETHER):
            part = list(images[first : first + _TOGETHER])
            maps = [array[2 * np.array(part)].astype(np.float32) for array in self._train]
            inputs = [*maps, np.full((len(part), 2), self._every // 2, np.int32)]
            probabilities = softmax(_numpy(self._rest.predict_on_batch(inputs)))
            draws = []
            if self._random is not None and "bald" in measures:
                draws = [softmax(_numpy(self._random.predict_on_batch(inputs))) for _ in range(PASSES)]
            for row, index in enumerate(part):
                rows, columns = self._places[index]
                probability = probabilities[row, rows, columns]
                unsure = entropy(probability)
                measured = {"entropy": unsure, "margin": margin(probability)}
                if draws:
                    measured["bald"] = bald(draw[row, rows, columns] for draw in draws)
                label_map = probability.argmax(-1).astype(np.uint8)
                found.append(
                    signals(
                        label_map,
                        {measure: measured[measure] for measure in measures},
                        unsure,
                        maps[0][row],
                        len(self._labels.classes),
                        self._background,
                    )
                )
                half = slice(self._every // 2, None, self._every)
                target = self._targets[index][half, half][rows, columns]
                judged = target != VOID
                wrong[index] = int((label_map != target)[judged].sum()), int(judged.sum())
        return found, wrong

    def miou(self, weights: Weights) -> float:
        """Return the mean IoU on every pixel of the validation images."""
        self._set(weights)
        matrix = ConfusionMatrix(len(self._labels.classes))
        for first in range(0, len(self._truths), _TOGETHER):
            part = slice(first, first + _TOGETHER)
            maps = [array[part].astype(np.float32) for array in self._validation]
            logits = _numpy(self._whole.predict_on_batch(maps if len(maps) > 1 else maps[0]))
            for scores, target in zip(logits, self._truths[part], strict=True):
                matrix.add(target, scores.argmax(-1))
        return matrix.miou()

    def _batch(self, chosen: NDArray[np.intp], rng: np.random.Generator) -> tuple[list[Any], NDArray[np.int32]]:
        """Return crops of images, some mirrored: maps float32 and the first row and column, and the targets of the loss."""
        count = len(chosen)
        views = 2 * chosen + rng.integers(2, size=count)
        tops, lefts = (
            rng.integers(cells - crop + 1, size=count) for cells, crop in zip(self._cells, self._crop, strict=True)
        )
        height, width = self._crop

        def window(top: int, left: int, scale: int) -> tuple[slice, slice]:
            return slice(top * scale, (top + height) * scale), slice(left * scale, (left + width) * scale)

        maps = []
        for array in self._train:
            scale = array.shape[1] // self._cells[0]
            parts = [array[view][window(top, left, scale)] for view, top, left in zip(views, tops, lefts, strict=True)]
            maps.append(np.stack(parts).astype(np.float32))
        targets = np.empty((count, height * STRIDE, width * STRIDE), np.uint8)
        for row, (view, top, left) in enumerate(zip(views, tops, lefts, strict=True)):
            whole = self._targets[view // 2]
            targets[row] = (whole[:, ::-1] if view % 2 else whole)[window(top, left, STRIDE)]
        phase = rng.integers(self._every, size=2).astype(np.int32)
        seen = targets[:, phase[0] :: self._every, phase[1] :: self._every]
        return [*maps, np.tile(phase, (count, 1))], seen.astype(np.int32)

    def _place(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        """Return the rows and columns of the looked-at pixels that are image and not padding; at least one of each."""
        found = []
        for cells, side in zip(self._cells, shape, strict=True):
            before = (cells * STRIDE - side) // 2
            first = -(-(before - self._every // 2) // self._every)
            end = -(-(before + side - self._every // 2) // self._every)
            found.append(slice(max(0, first), max(end, first + 1)))
        return found[0], found[1]

    def _through(
        self, head: FreeHead, examples: Examples, views: int, each: Callable[[int], None]
    ) -> tuple[list[NDArray[np.float16]], NDArray[np.uint8]]:
        """Return the features of images, float16 (N * views, h, w, C) a map, and targets uint8 (N, H, W).

        All images are padded to the size of the largest, half of it before them, with what they mirror, and void.
        """
        height, width = (cells * STRIDE for cells in self._cells)
        maps = [_on_disk(np.float16, (len(examples) * views, *shape)) for shape in head.shapes(height, width)]
        targets = _on_disk(np.uint8, (len(examples), height, width))
        targets[:] = VOID
        waiting: list[NDArray[np.uint8]] = []
        done = 0
        for index in range(len(examples)):
            image, target = examples[index]
            top, left = (height - target.shape[0]) // 2, (width - target.shape[1]) // 2
            targets[index, top : top + target.shape[0], left : left + target.shape[1]] = target
            beyond = (top, height - target.shape[0] - top), (left, width - target.shape[1] - left), (0, 0)
            padded = np.pad(image, beyond, mode="reflect" if min(target.shape) > 1 else "edge")
            waiting += [padded, padded[:, ::-1]][:views]
            if len(waiting) >= _THROUGH or index + 1 == len(examples):
                for array, found in zip(maps, head.features(np.stack(waiting)), strict=True):
                    array[done : done + len(waiting)] = found
                done += len(waiting)
                waiting = []
                each(done)
        return maps, targets

    def _weights(self) -> Weights:
        return [_numpy(variable) for variable in self._learning]

    def _set(self, weights: Weights) -> None:
        for variable, value in zip(self._learning, weights, strict=True):
            variable.assign(value)


def _on_disk(dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return an array in a file without a name: a thousand images' features are a gigabyte."""
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype, "w+", shape=shape)


def _numpy(tensor: Any) -> NDArray[np.float32]:
    return np.asarray(ops.convert_to_numpy(tensor), np.float32)
