"""Training an FCN-32s: the loop, its evaluations and checkpoints, and the version that comes out."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
from keras import ops

from maskloop_converters.errors import DataError, MaskloopError
from maskloop_converters.samples import Dataset

from ..model.bundle import Bundle
from ..model.fcn32s import build_fcn32s
from ..registry.store import Registry
from . import checkpoint
from .batches import Batches
from .checkpoint import BEST_FILE, STATE_FILE, Progressed
from .dataset import Examples, split
from .loss import cross_entropy, median_frequency
from .metrics import ConfusionMatrix, Evaluation
from .settings import TrainingSettings


class TrainingError(DataError):
    """A training that cannot go on; the message says why and what to change."""


class UnfinishedTrainingError(MaskloopError):
    """A checkpoint of the same training is there, and it was not said whether to go on from it."""


class TrainingInterrupted(MaskloopError):  # noqa: N818 -- nothing went wrong: somebody asked for it
    """Ctrl-C: the checkpoint is kept."""


class TrainingProgress(Protocol):
    """Who watches a training."""

    def started(self, *, steps: int, done: int, epochs: int, train: int, validation: int) -> None:
        """It begins, or goes on after ``done`` of ``steps`` steps; ``train`` and ``validation`` count images."""

    def stepped(self, *, step: int, loss: float, learning_rate: float) -> None:
        """So many steps are done."""

    def evaluated(self, evaluation: Evaluation, *, best: bool) -> None:
        """The model was measured on the validation images."""


class Silent:
    """Nobody watches."""

    def started(self, *, steps: int, done: int, epochs: int, train: int, validation: int) -> None:
        """Do nothing."""

    def stepped(self, *, step: int, loss: float, learning_rate: float) -> None:
        """Do nothing."""

    def evaluated(self, evaluation: Evaluation, *, best: bool) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What came out of a training.

    Attributes:
        version: name of the new model version in the registry.
        best: the evaluation of the weights that were kept.
        history: all evaluations, in order.
        train: ids of the images trained on.
        validation: ids of the images measured on.
        seconds: of training and evaluation, over all sittings.
        stopped_early: no better mIoU came for as many evaluations as the patience says.
    """

    version: str
    best: Evaluation
    history: tuple[Evaluation, ...]
    train: tuple[str, ...]
    validation: tuple[str, ...]
    seconds: float
    stopped_early: bool

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values, the names of the images left out."""
        return {
            "version": self.version,
            "holdout_miou": self.best.miou,
            "pixel_accuracy": self.best.pixel_accuracy,
            "iou": self.best.iou,
            "epoch": self.best.epoch,
            "training_images": len(self.train),
            "validation_images": len(self.validation),
            "seconds": round(self.seconds, 1),
            "stopped_early": self.stopped_early,
        }


def train(
    dataset: Dataset,
    settings: TrainingSettings,
    registry: Registry,
    progress: TrainingProgress | None = None,
    *,
    validation: Dataset | None = None,
    resume: bool = False,
    restart: bool = False,
    parent: str | None = None,
) -> TrainingResult:
    """Train a model and add it to the registry.

    The weights with the best validation mIoU are kept. Until the end, a checkpoint stands in
    ``<home>/training/<name>/``, named by the settings and the data; it is removed when the version is in the registry.

    Args:
        dataset: to train on; without ``validation`` a share of it is held out, drawn by seed.
        settings: see :class:`TrainingSettings`.
        registry: takes the new version.
        progress: is told of every step and evaluation.
        validation: to measure on; it must have the same classes.
        resume: go on from the checkpoint of an interrupted training with the same settings and data; begin if there is
            none.
        restart: throw such a checkpoint away and begin anew.
        parent: version that the weights come from, for the record.

    Raises:
        TrainingDataError: the data cannot be trained on.
        UnfinishedTrainingError: a checkpoint is there, and neither resume nor restart was asked for.
        TrainingInterrupted: Ctrl-C or SIGTERM; the checkpoint is kept.
        TrainingError: the loss is no number any more.
        WeightsError: the pretrained weights cannot be had or do not fit.
    """
    if validation is None:
        samples, held_out = split(list(dataset), settings.validation, settings.seed)
    else:
        if validation.labels.classes != dataset.labels.classes:
            raise TrainingError("the validation part has other classes than the training part")
        samples, held_out = list(dataset), list(validation)
    examples = Examples(samples, dataset.labels, size=settings.size)
    measured = Examples(held_out, dataset.labels, size=settings.size)
    fingerprint = hashlib.sha256(f"{examples.fingerprint} {measured.fingerprint}".encode()).hexdigest()
    directory = registry.home / "training" / _name(settings, fingerprint)
    if (directory / STATE_FILE).exists() and not resume:
        if not restart:
            raise UnfinishedTrainingError(
                f"an unfinished training with these settings and data is kept in {directory}. "
                "--resume goes on with it, --restart throws it away and begins anew"
            )
        shutil.rmtree(directory)
    loop = _Loop(examples, measured, settings, directory, progress or Silent())
    with _interruptible() as interrupted:
        stopped_early = loop.run(interrupted)
    best = loop.restore_best()
    result = TrainingResult(
        "",
        best,
        tuple(loop.state.history),
        tuple(examples.ids),
        tuple(measured.ids),
        loop.state.seconds,
        stopped_early,
    )
    metrics = {key: value for key, value in result.to_json().items() if key != "version"}
    bundle = Bundle.create(
        loop.model,
        settings.architecture(len(dataset.labels.classes)),
        dataset.labels,
        max_side=settings.size,
        metrics=metrics,
        settings=settings.to_json(),
        parent=parent,
        data_fingerprint=fingerprint,
    )
    result = dataclasses.replace(result, version=registry.add(bundle))
    shutil.rmtree(directory, ignore_errors=True)
    return result


def evaluate(
    model: keras.Model, examples: Examples, *, batch_size: int = 4, check: Callable[[], None] = lambda: None
) -> ConfusionMatrix:
    """Return the confusion matrix of a model over examples, at their full size.

    Args:
        model: images (B, H, W, 3) -> logits (B, H, W, K).
        examples: images of one size in a row are predicted together.
        batch_size: at most so many together.
        check: called between batches; what it raises ends the evaluation.
    """
    matrix = ConfusionMatrix(len(examples.labels.classes))
    for batch in _same_size(examples.shapes, batch_size):
        check()
        pairs = [examples[index] for index in batch]
        logits = model.predict_on_batch(np.stack([image for image, _ in pairs]).astype(np.float32))
        matrix.add(np.stack([target for _, target in pairs]), np.argmax(logits, axis=-1))
    return matrix


class _Loop:
    """One training: the model, its optimizer, how far it has come, and its files."""

    def __init__(
        self,
        examples: Examples,
        measured: Examples,
        settings: TrainingSettings,
        directory: Path,
        progress: TrainingProgress,
    ) -> None:
        self._measured = measured
        self._settings = settings
        self._directory = directory
        self._progress = progress
        self._names = [label.name for label in examples.labels.classes]
        self._batches = Batches(examples, examples.shapes, settings)
        self._counts = {"train": len(examples), "validation": len(measured)}
        self.state = Progressed()
        classes = len(self._names)
        keras.utils.set_random_seed(settings.seed)
        self.model = build_fcn32s(settings.architecture(classes), weights=settings.weights, dtype=settings.precision)
        for block in range(1, settings.frozen_blocks + 1):
            for layer in self.model.layers:
                if layer.name.startswith(f"block{block}_"):
                    layer.trainable = False
        weighted = settings.class_weighting == "median_frequency"
        weights = median_frequency(examples.pixels) if weighted else [1.0] * classes
        optimizer = keras.optimizers.AdamW(settings.peak_learning_rate, weight_decay=settings.decay)
        self.model.compile(optimizer, cross_entropy(weights), jit_compile=False)
        optimizer.build(self.model.trainable_variables)
        if (directory / STATE_FILE).exists():
            self._restore()

    def run(self, interrupted: threading.Event) -> bool:
        """Train to the end; return whether it stopped early."""
        settings, state = self._settings, self.state
        per_epoch = self._batches.steps_per_epoch
        total = settings.epochs * per_epoch
        between = settings.evaluate_every * per_epoch
        checkpoints = settings.checkpoint_every or per_epoch
        self._progress.started(steps=total, done=state.step, epochs=settings.epochs, **self._counts)
        started = time.monotonic() - state.seconds

        def check() -> None:
            state.seconds = time.monotonic() - started
            if interrupted.is_set():
                self._save()
                raise TrainingInterrupted(
                    f"stopped after {state.step} of {total} steps; the checkpoint is kept in {self._directory}. "
                    "The same command with --resume goes on"
                )

        batches = self._batches.stream(state.step, total)
        while True:
            due = state.step == total or state.step % between == 0
            if due and state.step and len(state.history) < -(-state.step // between):
                self._evaluate(check)
                check()
                self._save()
            if state.step == total or self._out_of_patience():
                return state.step < total
            rate = settings.learning_rate_at(state.step, total)
            self.model.optimizer.learning_rate = rate
            loss = self._step(*next(batches), rate)
            state.step += 1
            state.losses.append(loss)
            check()
            self._progress.stepped(step=state.step, loss=loss, learning_rate=rate)
            if state.step % checkpoints == 0:
                self._save()

    def restore_best(self) -> Evaluation:
        """Give the model the weights with the best mIoU and return their evaluation."""
        path = self._directory / BEST_FILE
        arrays, record = checkpoint.read(path, [tuple(w.shape) for w in self.model.weights])
        self.model.set_weights(arrays)
        return Evaluation.from_json(record)

    def _step(self, images: Any, targets: Any, rate: float) -> float:
        self.model.reset_metrics()
        loss = float(self.model.train_on_batch(images, targets))
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss} at step {self.state.step + 1} with a learning rate of {rate:.3g}. "
                f"Try a tenth: --learning-rate {self._settings.peak_learning_rate / 10:.1g}; with mixed_bfloat16, "
                "float32 may help too"
            )
        return loss

    def _evaluate(self, check: Callable[[], None]) -> None:
        state = self.state
        matrix = evaluate(self.model, self._measured, check=check)
        evaluation = Evaluation.of(
            matrix,
            self._names,
            epoch=state.step // self._batches.steps_per_epoch,
            loss=float(np.mean(state.losses)) if state.losses else None,
        )
        best = evaluation.miou > max((item.miou for item in state.history), default=-1.0)
        if best:
            checkpoint.write(self._directory / BEST_FILE, self.model.get_weights(), evaluation.to_json())
        state.history.append(evaluation)
        state.losses.clear()
        self._progress.evaluated(evaluation, best=best)

    def _out_of_patience(self) -> bool:
        patience, scores = self._settings.patience, [item.miou for item in self.state.history]
        return patience is not None and bool(scores) and len(scores) - 1 - int(np.argmax(scores)) >= patience

    def _variables(self) -> list[Any]:
        # the model's own hold the state of the dropout's random numbers too
        return [*self.model.variables, *self.model.optimizer.variables]

    def _save(self) -> None:
        values = [ops.convert_to_numpy(variable.value) for variable in self._variables()]
        checkpoint.write(self._directory / STATE_FILE, values, self.state.to_json())

    def _restore(self) -> None:
        variables = self._variables()
        path = self._directory / STATE_FILE
        arrays, record = checkpoint.read(path, [tuple(variable.shape) for variable in variables])
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)
        self.state = Progressed.from_json(record)


def _name(settings: TrainingSettings, fingerprint: str) -> str:
    """Return the name of a training: the same for the same settings and data, on any day."""
    text = json.dumps(settings.to_json(), sort_keys=True) + fingerprint
    return f"{settings.backbone}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _same_size(shapes: Sequence[tuple[int, int]], most: int) -> Iterator[list[int]]:
    """Yield lists of indices of neighbours with the same shape, at most so many."""
    batch: list[int] = []
    for index, shape in enumerate(shapes):
        if batch and (len(batch) == most or shapes[batch[0]] != shape):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Give an event that Ctrl-C and SIGTERM set, so that a training stops between two steps; a second one kills it."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: Any) -> None:
        asked.set()
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, ask)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
