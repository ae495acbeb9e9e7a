"""The steps of one training, its evaluations and checkpoints."""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from ..model.backbones.table import backbone
from ..model.bundle import Bundle
from ..model.config import Architecture
from ..model.fcn import LAST, backbone_layers, build_fcn, split_network
from ..model.record import ZOOMED_PIXELS
from . import checkpoint
from .batches import Batches, BatchSource, Draw, Emphasis, stream
from .checkpoint import BEST_FILE, STATE_FILE, Progressed
from .dataset import Examples
from .devices import Devices
from .events import EventFile
from .features import FeatureBatches
from .growing import shrink_and_perturb, take_weights
from .loss import class_weights, cross_entropy
from .merging import Merging
from .metrics import Evaluation
from .optimizer import RatedAdamW
from .outcome import TrainingError, TrainingInterrupted, TrainingProgress
from .settings import TrainingSettings
from .validation import evaluate

# An image seen larger takes more than twice the time; so much mIoU is worth that.
_WORTH = 0.005
# Shares of the way from the start of a training to its end.
_BLENDS = (0.25, 0.5, 0.75)


class Run:
    """One training: the model, its optimizer, how far it has come, and its files."""

    def __init__(
        self,
        examples: Examples,
        measured: Examples,
        settings: TrainingSettings,
        directory: Path,
        log: Path,
        progress: TrainingProgress,
        initial: Bundle | None,
        emphasis: Emphasis,
        merging: Merging | None,
    ) -> None:
        self._measured = measured
        self._merging = merging
        self._settings = settings
        self._directory = directory
        self._log = log
        self._progress = progress
        self._names = [label.name for label in measured.labels.classes]
        self._classes = [label.name for label in examples.labels.classes]
        recipe = settings.recipe
        draw = Draw(examples.ids, emphasis, recipe.batch_size, settings.seed)
        self._steps_per_epoch = draw.steps_per_epoch
        self._counts = {"train": len(examples), "validation": len(measured)}
        self.state = Progressed()
        self._devices = Devices(recipe.batch_size)
        keras.utils.set_random_seed(settings.seed)
        with self._devices.together():
            self.model = self._initial_model(initial)
        last = _freeze(self.model, settings)
        if settings.loss_every > 1:
            self.model.get_layer(LAST).trainable = False
        self._batches: BatchSource
        # what the steps are made with: the whole network, or the part of it that learns
        self._learner, self._features = self.model, None
        if settings.cached_views:
            front, rest = split_network(self.model, last, narrow=True, every=settings.loss_every)
            features = FeatureBatches(examples, draw, settings, front, directory)
            if features.views:
                self._learner, self._features = rest, features
        self._batches = self._features or Batches(examples, examples.shapes, draw, settings)
        weights = class_weights(examples.pixels, recipe.class_weighting)
        learning = self._learner.trainable_variables
        # VGG16's fc6 and fc7 were trained for another task than its features; a Lite's head is one of its features
        head = backbone(settings.backbone).family != "vgg"
        slow = backbone_layers(self.model, settings.backbone, head=head)
        slower = {id(v) for layer in slow for v in layer.trainable_variables}
        rates = [recipe.backbone_rate if id(v) in slower else 1.0 for v in learning]
        with self._devices.together():
            optimizer = RatedAdamW(
                rates,
                recipe.learning_rate,
                weight_decay=recipe.weight_decay,
                global_clipnorm=recipe.clip or None,
                average=recipe.average,
            )
            self._learner.compile(optimizer, cross_entropy(weights, jaccard=recipe.jaccard), jit_compile=False)
            optimizer.build(learning)
        self._first = [ops.convert_to_numpy(v) for v in learning] if settings.blended and initial is not None else None
        if (directory / STATE_FILE).exists():
            self._restore()

    def _initial_model(self, initial: Bundle | None) -> keras.Model:
        settings = self._settings
        architecture = architecture_of(settings, len(self._classes), initial)
        if initial is None:
            return build_fcn(architecture, weights=settings.weights, dtype=settings.precision)
        preprocessing = initial.record.preprocessing
        model = build_fcn(architecture, preprocessing=preprocessing, dtype=settings.precision, blank=True)
        known = [label.name for label in initial.labels.classes]
        take_weights(model, initial.model, self._classes, known)
        if (settings.shrink, settings.perturb) != (1.0, 0.0):
            fresh = build_fcn(architecture, preprocessing=preprocessing)
            _freeze(model, settings)
            shrink_and_perturb(model, fresh, settings.shrink, settings.perturb)
        return model

    def run(self, interrupted: threading.Event) -> bool:
        """Train to the end; return whether it stopped early."""
        settings, state = self._settings, self.state
        per_epoch = self._steps_per_epoch
        epochs = settings.recipe.epochs
        total = epochs * per_epoch
        between = settings.recipe.evaluate_every * per_epoch
        checkpoints = settings.checkpoint_every or per_epoch
        self._progress.started(
            steps=total, done=state.step, epochs=epochs, devices=self._devices.said(), **self._counts
        )
        started = time.monotonic() - state.seconds

        def check() -> None:
            state.seconds = time.monotonic() - started
            if interrupted.is_set():
                raise TrainingInterrupted(
                    f"stopped after {state.step} of {total} steps; the checkpoint is kept in {self._directory}. "
                    "The same command with --resume goes on"
                )

        events = EventFile(self._log)
        try:
            if self._features is not None:
                self._compute_features(self._features, check)
            return self._steps(total, between, checkpoints, check, events)
        except TrainingInterrupted:
            # here, and not where it is noticed: an evaluation has other weights in the model than the training
            self._save()
            raise
        finally:
            events.close()

    def _compute_features(self, features: FeatureBatches, check: Callable[[], None]) -> None:
        def each(done: int, views: int) -> None:
            check()
            self._progress.preparing(done=done, total=views)

        features.compute(each)

    def _steps(self, total: int, between: int, checkpoints: int, check: Callable[[], None], events: EventFile) -> bool:
        settings, state = self._settings, self.state
        batches = stream(self._batches, state.step, total)
        while True:
            due = state.step == total or state.step % between == 0
            if due and state.step and len(state.history) < -(-state.step // between):
                self._evaluate(check, events)
                check()
                self._save()
            if self._first is not None and state.step == total and len(state.history) == -(-total // between):
                self._blend(self._first, check, events)
                self._save()
            if state.step == total or self._out_of_patience():
                return state.step < total
            rate = settings.learning_rate_at(state.step, total)
            self._learner.optimizer.learning_rate = rate
            loss = self._step(*next(batches), rate)
            state.step += 1
            state.losses.append(loss)
            check()
            self._progress.stepped(step=state.step, loss=loss, learning_rate=rate)
            events.scalars(state.step, {"loss": loss, "learning_rate": rate})
            if state.step % checkpoints == 0:
                self._save()

    def restore_best(self) -> Evaluation:
        """Give the model the weights with the best mIoU and return their evaluation."""
        path = self._directory / BEST_FILE
        arrays, record = checkpoint.read(path, [tuple(w.shape) for w in self.model.weights])
        self.model.set_weights(arrays)
        return Evaluation.from_json(record)

    def choose_zoom(self, best: Evaluation) -> tuple[Evaluation, float]:
        """Return the evaluation with the zoom that is better, and that: what is worth its time, or 1."""
        zoom = self._settings.recipe.zoom
        largest = max(height * width for height, width in self._measured.shapes)
        if zoom == 1 or largest * zoom**2 > ZOOMED_PIXELS:
            return best, 1.0
        matrix = evaluate(self.model, self._measured, batch_size=2, zoom=zoom, merging=self._merging)
        zoomed = Evaluation.of(matrix, self._names, epoch=best.epoch, loss=best.loss)
        return (zoomed, float(zoom)) if zoomed.miou >= best.miou + _WORTH else (best, 1.0)

    def _step(self, images: Any, targets: Any, rate: float) -> float:
        with self._devices.together():
            self._learner.reset_metrics()
            loss = float(self._learner.train_on_batch(images, targets))
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss} at step {self.state.step + 1} with a learning rate of {rate:.3g}. "
                f"Try a tenth: --learning-rate {self._settings.recipe.learning_rate / 10:.1g}; with mixed_bfloat16, "
                "float32 may help too"
            )
        return loss

    def _evaluate(self, check: Callable[[], None], events: EventFile) -> None:
        state = self.state
        with self._learner.optimizer.averaged():
            self._measure(check, events)
        state.losses.clear()

    def _blend(self, first: list[NDArray[Any]], check: Callable[[], None], events: EventFile) -> None:
        """Measure weights between those of the start and those of the end, and keep the best of all."""
        with self._learner.optimizer.averaged():
            learning = self._learner.trainable_variables
            last = [ops.convert_to_numpy(variable) for variable in learning]
            for share in _BLENDS:
                for variable, start, end in zip(learning, first, last, strict=True):
                    variable.assign(start + share * (end - start))
                self._measure(check, events)

    def _measure(self, check: Callable[[], None], events: EventFile) -> None:
        """Measure the weights that the model has, and keep them if they are the best so far."""
        state = self.state
        matrix = evaluate(self.model, self._measured, merging=self._merging, check=check)
        evaluation = Evaluation.of(
            matrix,
            self._names,
            epoch=state.step // self._steps_per_epoch,
            loss=float(np.mean(state.losses)) if state.losses else None,
        )
        best = evaluation.miou > max((item.miou for item in state.history), default=-1.0)
        if best:
            checkpoint.write(self._directory / BEST_FILE, self.model.get_weights(), evaluation.to_json())
        state.history.append(evaluation)
        self._progress.evaluated(evaluation, best=best)
        per_class = {f"iou/{name}": iou for name, iou in evaluation.iou.items() if iou is not None}
        events.scalars(state.step, {"miou": evaluation.miou, "pixel_accuracy": evaluation.pixel_accuracy, **per_class})

    def _out_of_patience(self) -> bool:
        patience, scores = self._settings.patience, [item.miou for item in self.state.history]
        return patience is not None and bool(scores) and len(scores) - 1 - int(np.argmax(scores)) >= patience

    def _variables(self) -> list[Any]:
        # the model's own hold the state of the dropout's random numbers too
        return [*self.model.variables, *self._learner.optimizer.variables]

    def _save(self) -> None:
        values = [ops.convert_to_numpy(variable.value) for variable in self._variables()]
        checkpoint.write(self._directory / STATE_FILE, values, self.state.to_json())
        self._progress.kept(step=self.state.step)

    def _restore(self) -> None:
        variables = self._variables()
        path = self._directory / STATE_FILE
        arrays, record = checkpoint.read(path, [tuple(variable.shape) for variable in variables])
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)
        self.state = Progressed.from_json(record)


def architecture_of(settings: TrainingSettings, classes: int, initial: Bundle | None) -> Architecture:
    """Return the network of a training for K classes: that of the settings, or of what it starts from."""
    if initial is None:
        return settings.architecture(classes)
    return dataclasses.replace(initial.record.architecture, classes=classes, stride=settings.recipe.stride)


def _freeze(model: keras.Model, settings: TrainingSettings) -> str:
    """Let the frozen layers keep their weights and statistics; return the name of the last one's output."""
    entry, blocks, head = backbone(settings.backbone), settings.recipe.frozen_blocks, settings.frozen_head
    for layer in backbone_layers(model, settings.backbone, blocks, head=head):
        layer.trainable = False
    if head and entry.head is not None:
        return entry.head.output
    return entry.blocks[blocks - 1].output if blocks else ""
