"""What a strategy would have saved: rounds of choosing, labelling and training on data whose labels are known.

The learner is an FCN-32s whose backbone is frozen, so every image goes through it twice only (as it is and mirrored),
whatever the number of strategies, seeds and rounds. Trained anew in every round: a 3x3 layer of 128 features with dropout
(fc6, so to speak), the score layer, and linear interpolation as the upsampling, on every fourth pixel. Measured on every
pixel.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from maskloop_converters.errors import DataError

from ..model.backbones.table import backbone
from ..model.bundle import Bundle
from ..model.config import STRIDE
from ..model.fcn import output_of
from ..training.dataset import Examples
from ..training.loss import median_frequency
from ..training.metrics import VOID, ConfusionMatrix
from .strategies import Strategy, choose, needed
from .uncertainty import PASSES, Measure, RandomDropout, Signals, bald, entropy, margin, signals, softmax

# Every so manieth row and column of an image is trained on and asked for its uncertainty.
GRID = 4
_KERNEL, _WIDTH, _DROPOUT = 3, 128, 0.5
Weights = list[NDArray[np.float32]]

# Images that go through the learner together.
_TOGETHER = 16


class SimulationError(DataError):
    """A simulation that makes no sense: more labels than there are, no image to measure on."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """What is simulated.

    Attributes:
        strategies: to compare.
        start: images labelled at the beginning, drawn by seed, the same ones for every strategy.
        step: images labelled in every round.
        rounds: how many; the last one takes what is left if that is less than a step.
        seeds: repetitions 0 .. seeds - 1.
        training_steps: batches a training.
        batch_size: images a batch.
        learning_rate: of AdamW, falling to 0 along a half cosine.
    """

    strategies: tuple[Strategy, ...] = ("default", "random", "foreground-random")
    start: int = 40
    step: int = 40
    rounds: int = 8
    seeds: int = 3
    training_steps: int = 800
    batch_size: int = 8
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("start", "step", "rounds", "seeds", "training_steps", "batch_size"):
            if getattr(self, name) < 1:
                raise SimulationError(f"{name} is {getattr(self, name)}; expected a whole number from 1")


@dataclass(frozen=True, slots=True)
class Point:
    """Where a strategy stands after a training.

    Attributes:
        strategy: which.
        seed: which repetition.
        round: 0 is the start.
        labelled: images with labels.
        miou: mean IoU on the validation images, 0..1.
        to_correct: share of the judged pixels of the batch labelled next that its pre-filled masks have wrong, 0..1; None
            in the last round.
        to_correct_rest: the same over all images without labels; None where there are none.
    """

    strategy: Strategy
    seed: int
    round: int
    labelled: int
    miou: float
    to_correct: float | None
    to_correct_rest: float | None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Curve:
    """A strategy's points, averaged over the seeds.

    Attributes:
        strategy: which.
        labelled: images with labels, ascending.
        miou: mean over the seeds.
        spread: standard deviation over the seeds.
        to_correct: mean share of pixels to correct in the batch that is labelled next.
        to_correct_rest: the same over all images without labels.
    """

    strategy: Strategy
    labelled: tuple[int, ...]
    miou: tuple[float, ...]
    spread: tuple[float, ...]
    to_correct: tuple[float | None, ...]
    to_correct_rest: tuple[float | None, ...]

    def reaches(self, miou: float) -> float | None:
        """Return with how many labelled images the curve first reaches a mIoU, interpolated; None if it does not."""
        before: tuple[int, float] | None = None
        for count, value in zip(self.labelled, self.miou, strict=True):
            if value >= miou:
                if before is None:
                    return float(count)
                return before[0] + (count - before[0]) * (miou - before[1]) / (value - before[1])
            before = count, value
        return None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def curves(points: Sequence[Point]) -> list[Curve]:
    """Return a curve a strategy, in the order in which they first appear."""

    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if known else None

    found = []
    for strategy in dict.fromkeys(point.strategy for point in points):
        own = [point for point in points if point.strategy == strategy]
        counts = sorted({point.labelled for point in own})
        groups = [[point for point in own if point.labelled == count] for count in counts]
        found.append(
            Curve(
                strategy,
                tuple(counts),
                tuple(float(np.mean([p.miou for p in group])) for group in groups),
                tuple(float(np.std([p.miou for p in group])) for group in groups),
                tuple(mean([p.to_correct for p in group]) for group in groups),
                tuple(mean([p.to_correct_rest for p in group]) for group in groups),
            )
        )
    return found


def comparison(curves: Sequence[Curve]) -> list[str]:
    """Return lines for people: with how many labels each strategy reaches what random has at its end.

    Where random itself gains no more than its seeds differ, labels make no difference to this learner, and neither does
    their choice: that is said instead.
    """
    random = next((curve for curve in curves if curve.strategy == "random"), None)
    if random is None:
        return []
    gain, noise = random.miou[-1] - random.miou[0], random.spread[0] + random.spread[-1]
    if gain <= noise:
        return [
            f"random gains {gain:+.3f} mIoU from {random.labelled[0]} to {random.labelled[-1]} labels, and seeds differ by "
            f"{noise:.3f}: labels make no difference to this learner, so strategies cannot be told apart; train longer, "
            "or take a backbone that was trained on such images"
        ]
    lines = []
    for curve in curves:
        if curve is not random:
            count = curve.reaches(random.miou[-1])
            how = "never" if count is None else f"with {count:.0f} labels ({count / random.labelled[-1]:.0%})"
            lines.append(f"{curve.strategy} reaches random's final mIoU of {random.miou[-1]:.3f} {how}")
    return lines


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
        each: called with (images through the backbone, all of them).
        said: called with every point as it is known.

    Returns:
        strategies x seeds x (rounds + 1) points.

    Raises:
        SimulationError: fewer images than the start takes, or other classes to measure on.
    """
    if plan.start >= len(train):
        raise SimulationError(
            f"{len(train)} images to label and {plan.start} labelled at the start: nothing is left to choose; "
            "lower --start"
        )
    if [label.name for label in train.labels.classes] != [label.name for label in validation.labels.classes]:
        raise SimulationError("the images to measure on have other classes than those to label")
    learner = _Learner(bundle, train, validation, plan, each)
    points: list[Point] = []
    for seed in range(plan.seeds):
        start = np.random.default_rng(seed).permutation(len(train))[: plan.start].tolist()
        beginning = learner.trained(start, seed)
        for strategy in plan.strategies:
            labelled = list(start)
            weights = beginning
            for number in range(plan.rounds + 1):
                if number:
                    weights = learner.trained(labelled, seed)
                rest = [index for index in range(len(train)) if index not in set(labelled)]
                count = min(plan.step, len(rest)) if number < plan.rounds else 0
                chosen, wrong = _next(learner, weights, strategy, labelled, rest, count, number, seed)
                point = Point(
                    strategy,
                    seed,
                    number,
                    len(labelled),
                    learner.miou(weights),
                    _share(wrong, chosen) if chosen else None,
                    _share(wrong, rest) if rest else None,
                )
                points.append(point)
                said(point)
                if not chosen:
                    break
                labelled += chosen
    return points


def _next(
    learner: _Learner,
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


class _Learner:
    """Cached features, and the part of the network that is trained on them.

    One network serves all trainings, its weights are set anew: building and compiling another one takes as long as
    training it.
    """

    def __init__(
        self,
        bundle: Bundle,
        train: Examples,
        validation: Examples,
        plan: Rounds,
        each: Callable[[int, int], None],
    ) -> None:
        self._plan = plan
        self._labels = train.labels
        background = train.labels.background_id
        self._background = next((k for k, c in enumerate(train.labels.classes) if c.id == background), None)
        self._shapes = train.shapes
        sides = np.array([*train.shapes, *validation.shapes]).max(0)
        self._cells = int(-(-sides[0] // STRIDE)), int(-(-sides[1] // STRIDE))
        self._size = self._cells[0] * STRIDE, self._cells[1] * STRIDE
        model = bundle.model
        front = keras.Model(
            model.input, output_of(model, backbone(bundle.record.architecture.backbone).blocks[-1].output)
        )
        self._channels = int(front.output.shape[-1])
        total = 2 * len(train) + len(validation)
        self._train, self._targets = self._through(front, train, 2, lambda done: each(done, total))
        self._validation, self._truths = self._through(
            front, validation, 1, lambda done: each(2 * len(train) + done, total)
        )
        self._mean, self._deviation = _moments(self._train)
        classes = range(len(train.labels.classes))
        self._pixels = np.array([[(target == k).sum() for k in classes] for target in self._targets], np.int64)
        start = keras.Input((*self._cells, self._channels))
        wide, score, grid = (
            layers.Conv2D(_WIDTH, _KERNEL, padding="same", activation="relu"),
            layers.Conv2D(len(train.labels.classes), 1),
            _Interpolate(),
        )
        x = wide(start)
        scores = score(layers.Dropout(_DROPOUT, seed=0)(x))
        self._model = keras.Model(start, grid(scores))
        self._scores = keras.Model(start, scores)
        # the same layers with a dropout that is at work in prediction, too
        self._random = keras.Model(start, grid(score(RandomDropout(_DROPOUT, seed=0)(x))))
        schedule = keras.optimizers.schedules.CosineDecay(plan.learning_rate, plan.training_steps)
        optimizer = keras.optimizers.AdamW(schedule, weight_decay=1e-2)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
        self._model.compile(optimizer, loss)
        optimizer.build(self._model.trainable_variables)

    def trained(self, labelled: Sequence[int], seed: int) -> Weights:
        """Return the weights of a head that was trained on images, from new ones."""
        plan = self._plan
        rng = np.random.default_rng(seed)
        bound = np.sqrt(6 / (_KERNEL**2 * (self._channels + _WIDTH)))  # Glorot and Bengio 2010
        drawn = rng.uniform(-bound, bound, (_KERNEL, _KERNEL, self._channels, _WIDTH)).astype(np.float32)
        # the score layer begins at zero, as the paper has it
        self._model.set_weights([drawn, *(np.zeros(w.shape, np.float32) for w in self._model.weights[1:])])
        for variable in self._model.optimizer.variables:
            variable.assign(ops.zeros(variable.shape, variable.dtype))
        rows = np.array(labelled)
        # rare classes weigh more, but not by all that they are rarer: whole weights paint them everywhere
        weights = np.zeros(VOID + 1, np.float32)
        weights[: self._pixels.shape[1]] = np.sqrt(median_frequency(self._pixels[rows].sum(0)))
        half = slice(GRID // 2, None, GRID)
        for _ in range(plan.training_steps):
            chosen = rng.choice(rows, plan.batch_size)
            mirrored = rng.integers(2, size=plan.batch_size)
            targets = np.stack([self._targets[k][:, :: -1 if m else 1] for k, m in zip(chosen, mirrored, strict=True)])
            targets = targets[:, half, half]
            self._model.train_on_batch(
                self._normalised(self._train[2 * chosen + mirrored]),
                np.where(targets == VOID, 0, targets).astype(np.int32),
                sample_weight=weights.take(targets),
            )
        return [np.asarray(weight) for weight in self._model.get_weights()]

    def probe(
        self, weights: Weights, images: Sequence[int], measures: Sequence[Measure]
    ) -> tuple[list[Signals], dict[int, tuple[int, int]]]:
        """Return the signals of training images and how many pixels their predictions have (wrong, judged)."""
        found, wrong = [], {}
        half = slice(GRID // 2, None, GRID)
        self._model.set_weights(weights)
        passes = PASSES if "bald" in measures else 0
        for first in range(0, len(images), _TOGETHER):
            part = list(images[first : first + _TOGETHER])
            features = self._normalised(self._train[2 * np.array(part)])
            probabilities = softmax(_numpy(self._model.predict_on_batch(features)))
            draws = [softmax(_numpy(self._random.predict_on_batch(features))) for _ in range(passes)]
            for row, index in enumerate(part):
                target = self._targets[index][half, half]
                # rows and columns of the grid that are image, not padding
                height, width = (len(range(GRID // 2, side, GRID)) or 1 for side in self._shapes[index])
                probability = probabilities[row, :height, :width]
                unsure = entropy(probability)
                maps = {"entropy": unsure, "margin": margin(probability)}
                if draws:
                    maps["bald"] = bald(draw[row, :height, :width] for draw in draws)
                label_map = probability.argmax(-1).astype(np.uint8)
                found.append(
                    signals(
                        label_map,
                        {measure: maps[measure] for measure in measures},
                        unsure,
                        features[row],
                        len(self._labels.classes),
                        self._background,
                    )
                )
                judged = target[:height, :width] != VOID
                wrong[index] = int((label_map != target[:height, :width])[judged].sum()), int(judged.sum())
        return found, wrong

    def miou(self, weights: Weights) -> float:
        """Return the mean IoU on every pixel of the validation images."""
        self._model.set_weights(weights)
        matrix = ConfusionMatrix(len(self._labels.classes))
        rows, columns = (_interpolation(cells, 1) for cells in self._cells)
        for features, target in zip(self._validation, self._truths, strict=True):
            coarse = _numpy(self._scores.predict_on_batch(self._normalised(features[None])))[0]
            logits = np.einsum("yh,hwk,xw->yxk", rows, coarse, columns, optimize=True)
            matrix.add(target, logits.argmax(-1))
        return matrix.miou()

    def _normalised(self, features: NDArray[np.float16]) -> NDArray[np.float32]:
        """Return features of mean 0 and deviation 1 a channel: a backbone may give hundreds, which AdamW does not like."""
        return (features.astype(np.float32) - self._mean) / self._deviation

    def _through(
        self, front: keras.Model, examples: Examples, views: int, each: Callable[[int], None]
    ) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
        """Return the features of images, float16 (N * views, h, w, C), and targets uint8 (N, H, W), padded with void."""
        shape = (len(examples) * views, *self._cells, self._channels)
        # on the disk: a thousand images through VGG16 are some hundred megabytes
        with tempfile.TemporaryFile() as file:
            features = np.memmap(file, np.float16, "w+", shape=shape)
        targets = np.full((len(examples), *self._size), VOID, np.uint8)
        for index in range(len(examples)):
            image, target = examples[index]
            height, width = target.shape
            beyond = (0, self._size[0] - height), (0, self._size[1] - width), (0, 0)
            padded = np.pad(image, beyond, mode="symmetric")
            targets[index, :height, :width] = target
            for view in range(views):
                seen = padded[:, ::-1] if view else padded
                output = _numpy(front.predict_on_batch(np.ascontiguousarray(seen)[None].astype(np.float32)))
                features[views * index + view] = output[0].clip(-65504, 65504)
                each(views * index + view + 1)
        return features, targets


@keras.saving.register_keras_serializable("maskloop")
class _Interpolate(keras.layers.Layer):  # type: ignore[misc]
    """(B, h, w, K) scores of cells of 32 pixels -> (B, 8 h, 8 w, K), interpolated linearly at every fourth pixel."""

    def call(self, scores: Any) -> Any:
        """Return the interpolated scores."""
        rows, columns = (ops.convert_to_tensor(_interpolation(side, GRID)) for side in scores.shape[1:3])
        return ops.einsum("yh,bhwk,xw->byxk", rows, scores, columns)


def _interpolation(cells: int, grid: int) -> NDArray[np.float32]:
    """Return the weights of cells at pixels: float32 (32 * cells / grid, cells), rows add up to 1.

    Cell c has its centre at pixel 32 c + 15.5; beyond the outermost centres their value holds.
    """
    pixels = np.arange(grid // 2, STRIDE * cells, grid)
    position = np.clip((pixels + 0.5) / STRIDE - 0.5, 0, cells - 1)
    low = np.minimum(position.astype(int), max(0, cells - 2))
    weights = np.zeros((len(pixels), cells), np.float32)
    at = np.arange(len(pixels))
    weights[at, low] += 1 - (position - low)
    weights[at, np.minimum(low + 1, cells - 1)] += position - low
    return weights


def _moments(features: NDArray[np.float16]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and standard deviation of the channels of float16 (N, h, w, C), read one image at a time."""
    total, squares = np.zeros((2, features.shape[-1]))
    for one in features:
        cells = one.reshape(-1, one.shape[-1]).astype(np.float64)
        total += cells.sum(0)
        squares += (cells**2).sum(0)
    count = features[..., 0].size
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0)) + 1e-3  # a channel may be dead
    return mean.astype(np.float32), deviation.astype(np.float32)


def _numpy(tensor: Any) -> NDArray[np.float32]:
    return np.asarray(ops.convert_to_numpy(tensor), np.float32)
