"""Training an FCN-32s: the loop, its evaluations and checkpoints, and the version that comes out."""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import json
import math
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray
from PIL import Image

from maskloop_converters.errors import DataError, MaskloopError
from maskloop_converters.samples import Dataset

from ..model.backbones.table import backbone
from ..model.bundle import Bundle
from ..model.config import Architecture
from ..model.fcn import LAST, backbone_layers, build_fcn, split_network
from ..model.record import ZOOMED_PIXELS, ModelRecord
from ..registry.store import Registry
from . import checkpoint
from .batches import Batches, BatchSource, Draw, Emphasis, default_crop, stream
from .checkpoint import BEST_FILE, STATE_FILE, Progressed
from .dataset import Examples, split
from .devices import Devices
from .events import EventFile
from .features import FeatureBatches
from .growing import shrink_and_perturb, take_weights
from .loss import class_weights, cross_entropy
from .merging import Merging, Resolver
from .metrics import ConfusionMatrix, Evaluation
from .optimizer import RatedAdamW
from .settings import TrainingSettings

# An image seen larger takes more than twice the time; so much mIoU is worth that.
_WORTH = 0.005
# Shares of the way from the start of a training to its end.
_BLENDS = (0.25, 0.5, 0.75)


class TrainingError(DataError):
    """A training that cannot go on; the message says why and what to change."""


class UnfinishedTrainingError(MaskloopError):
    """A checkpoint of the same training is there, and it was not said whether to go on from it."""


class TrainingInterrupted(MaskloopError):  # noqa: N818 -- nothing went wrong: somebody asked for it
    """Ctrl-C: the checkpoint is kept."""


class TrainingProgress(Protocol):
    """Who watches a training."""

    def started(self, *, steps: int, done: int, epochs: int, train: int, validation: int, devices: str = "") -> None:
        """It begins, or goes on after ``done`` of ``steps`` steps.

        ``train`` and ``validation`` count images; ``devices`` is what people should know of those.
        """

    def preparing(self, *, done: int, total: int) -> None:
        """So many views of the images went through the frozen layers."""

    def stepped(self, *, step: int, loss: float, learning_rate: float) -> None:
        """So many steps are done."""

    def kept(self, *, step: int) -> None:
        """A checkpoint was written: whatever happens, so many steps are not done again."""

    def evaluated(self, evaluation: Evaluation, *, best: bool) -> None:
        """The model was measured on the validation images."""

    def exhausted(self, *, batch_size: int) -> None:
        """The memory did not suffice; the training begins anew with smaller batches."""


class Silent:
    """Nobody watches."""

    def started(self, *, steps: int, done: int, epochs: int, train: int, validation: int, devices: str = "") -> None:
        """Do nothing."""

    def preparing(self, *, done: int, total: int) -> None:
        """Do nothing."""

    def stepped(self, *, step: int, loss: float, learning_rate: float) -> None:
        """Do nothing."""

    def kept(self, *, step: int) -> None:
        """Do nothing."""

    def evaluated(self, evaluation: Evaluation, *, best: bool) -> None:
        """Do nothing."""

    def exhausted(self, *, batch_size: int) -> None:
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
    reuse: bool = False,
    initial: Bundle | None = None,
    merging: Merging | None = None,
    emphasis: Emphasis | None = None,
    judge: Callable[[Bundle], Mapping[str, Any]] | None = None,
    saved: Callable[[TrainingResult], None] | None = None,
    owner: str = "",
) -> TrainingResult:
    """Train a model and add it to the registry.

    The weights with the best validation mIoU are kept. Until the end, a checkpoint stands in
    ``<home>/training/<name>/``, named by the settings, the data and the start; it is removed when the version is in the
    registry.
    TensorBoard logs stand in ``<home>/tensorboard/<name>/`` and stay.

    Where the memory does not suffice, the training begins anew with half the batch size, down to 1.

    Args:
        dataset: to train on; without ``validation`` a share of it is held out, drawn by seed.
        settings: see :class:`TrainingSettings`.
        registry: takes the new version.
        progress: is told of every step and evaluation.
        validation: to measure on; it must have the same classes.
        resume: go on from the checkpoint of an interrupted training with the same settings and data; begin if there is
            none.
        restart: throw such a checkpoint away and begin anew.
        reuse: where the registry has a version of the same settings, data and start, that one is the result.
        initial: a version to start from; the new version's parent. Classes are matched by name: those that the dataset
            lacks are dropped, those that the version lacks are added (:func:`~.growing.take_weights`).
        merging: the classes of the model where labels of the dataset stand for several of them, which ``initial`` tells apart;
            None: they are the labels.
        emphasis: which samples are drawn more often, and which less.
        judge: is given the trained model before it is saved; what it returns is added to the version's metrics.
        saved: is called when the version is in the registry. Only after it the checkpoint is removed, so that a process
            which dies on the way can be resumed there.
        owner: what is trained for ('project-7'): it has one unfinished training at most, an older one is removed.

    Raises:
        TrainingDataError: the data cannot be trained on.
        UnfinishedTrainingError: a checkpoint is there, and neither resume nor restart was asked for.
        TrainingInterrupted: Ctrl-C or SIGTERM; the checkpoint is kept.
        TrainingError: the loss is no number any more, ``initial`` is another network, or the memory does not suffice
            for single images.
        WeightsError: the pretrained weights cannot be had or do not fit.
    """
    if validation is None:
        samples, held_out = split(list(dataset), settings.validation, settings.seed)
    else:
        if validation.labels.classes != dataset.labels.classes:
            raise TrainingError("the validation part has other classes than the training part")
        samples, held_out = list(dataset), list(validation)
    if initial is not None:
        _check_initial(initial, settings)
    if merging is not None and merging.labels.classes != dataset.labels.classes:
        raise TrainingError("the labels that classes are merged into are not the dataset's")
    merging = None if merging is None or merging.trivial or initial is None else merging
    classes = dataset.labels if merging is None else merging.classes
    resolver = None if merging is None or initial is None else Resolver(merging, initial)
    examples = Examples(samples, dataset.labels, size=settings.size, resolver=resolver)
    measured = Examples(held_out, dataset.labels, size=settings.size)
    fingerprint = hashlib.sha256(f"{examples.fingerprint} {measured.fingerprint}".encode()).hexdigest()
    progress = progress or Silent()
    settings = asked = settings.resolved()
    if reuse:
        for version in registry.versions():
            if (
                found := _earlier(registry.record(version), settings, fingerprint, initial, examples, measured)
            ) is not None:
                return found
    crop = settings.recipe.crop or default_crop(examples.shapes)
    name = (
        f"{owner or settings.backbone}-{_fingerprint(settings, fingerprint, initial, emphasis or Emphasis(), merging)}"
    )
    if owner:
        _remove_others(registry.home / "training", owner, name)
    while True:
        directory = registry.home / "training" / name
        if settings.batch_size != asked.batch_size:
            directory = directory.with_name(f"{name}-batch{settings.batch_size}")
        if (directory / STATE_FILE).exists() and not resume:
            if not restart:
                raise UnfinishedTrainingError(
                    f"an unfinished training with these settings and data is kept in {directory}. "
                    "--resume goes on with it, --restart throws it away and begins anew"
                )
            shutil.rmtree(directory)
        log = registry.home / "tensorboard" / name
        try:
            drawn = emphasis or Emphasis()
            loop = _Loop(examples, measured, settings, directory, log, progress, initial, drawn, merging)
            with _interruptible() as interrupted:
                stopped_early = loop.run(interrupted)
            break
        except Exception as error:
            if not _is_exhausted(error):
                raise
            shutil.rmtree(directory, ignore_errors=True)
            batch_size = settings.recipe.batch_size
            if batch_size == 1:
                raise TrainingError(
                    f"the memory does not suffice to train on one crop of {crop[1]} x {crop[0]} pixels at a time "
                    f"({type(error).__name__}). Smaller images (--size) need less, and so does `--backbone small`"
                ) from error
        settings = dataclasses.replace(settings, batch_size=batch_size // 2)
        progress.exhausted(batch_size=batch_size // 2)
    best, zoom = loop.choose_zoom(loop.restore_best())
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
        _architecture(settings, len(classes.classes), initial),
        classes,
        preprocessing=None if initial is None else initial.record.preprocessing,
        max_side=settings.size,
        zoom=zoom,
        metrics=metrics,
        settings=settings.to_json(),
        parent=None if initial is None else initial.version,
        data_fingerprint=fingerprint,
    )
    if judge is not None:
        judged = {**metrics, **judge(bundle)}
        bundle = Bundle(bundle.model, dataclasses.replace(bundle.record, metrics=judged))
    result = dataclasses.replace(result, version=registry.add(bundle))
    if saved is not None:
        saved(result)
    shutil.rmtree(directory, ignore_errors=True)
    return result


def evaluate(
    model: keras.Model,
    examples: Examples,
    *,
    batch_size: int = 4,
    zoom: float = 1.0,
    merging: Merging | None = None,
    check: Callable[[], None] = lambda: None,
) -> ConfusionMatrix:
    """Return the confusion matrix of a model over examples, at their full size.

    Args:
        model: images (B, H, W, 3) -> logits (B, H, W, K).
        examples: images of one size in a row are predicted together.
        batch_size: at most so many together.
        zoom: the model is shown the images so many times as large; its logits are interpolated to their size.
        merging: how the model's classes are drawn in the examples, where they are not the same.
        check: called between batches; what it raises ends the evaluation.
    """
    matrix = ConfusionMatrix(len(examples.labels.classes))
    for batch in _same_size(examples.shapes, batch_size):
        check()
        pairs = [examples[index] for index in batch]
        images = np.stack([image for image, _ in pairs])
        logits = _zoomed(model, images, zoom) if zoom != 1 else model.predict_on_batch(images.astype(np.float32))
        decided = np.argmax(logits, axis=-1)
        drawn = decided if merging is None else merging.table[decided]
        matrix.add(np.stack([target for _, target in pairs]), drawn)
    return matrix


def _zoomed(model: keras.Model, images: NDArray[np.uint8], zoom: float) -> NDArray[np.float32]:
    """Return logits float32 (B, H, W, K) of images (B, H, W, 3) that are shown to the model in another size."""
    height, width = images.shape[1:3]
    size = round(width * zoom), round(height * zoom)
    seen = [np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)) for image in images]
    logits = np.asarray(model.predict_on_batch(np.stack(seen).astype(np.float32)))
    # a plane at a time: OpenCV resizes up to four channels together
    planes = [[cv2.resize(one[..., k], (width, height)) for k in range(one.shape[-1])] for one in logits]
    return np.stack([np.stack(one, axis=-1) for one in planes])


class _Loop:
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
        architecture = _architecture(settings, len(self._classes), initial)
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


def _earlier(
    record: ModelRecord,
    settings: TrainingSettings,
    data: str,
    initial: Bundle | None,
    examples: Examples,
    measured: Examples,
) -> TrainingResult | None:
    """Return what came out of the same training before, if that is what a version's record tells of."""
    same = (record.settings, record.data_fingerprint, record.parent)
    if same != (settings.to_json(), data, None if initial is None else initial.version):
        return None
    told = record.metrics
    best = Evaluation(told["epoch"], told["holdout_miou"], told["pixel_accuracy"], dict(told["iou"]))
    ids = tuple(examples.ids), tuple(measured.ids)
    return TrainingResult(record.version, best, (best,), *ids, told["seconds"], told["stopped_early"])


def _check_initial(initial: Bundle, settings: TrainingSettings) -> None:
    own = initial.record.architecture
    if (own.backbone, own.head) != (settings.backbone, settings.head):
        raise TrainingError(
            f"{initial.version or 'the initial version'} has the backbone {own.backbone} {_head(own.head)}, the settings "
            f"say {settings.backbone} {_head(settings.head)}; a start from it needs the same"
        )


def _head(head: bool) -> str:
    return "with a head" if head else "without a head"


def _architecture(settings: TrainingSettings, classes: int, initial: Bundle | None) -> Architecture:
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


def _is_exhausted(error: Exception) -> bool:
    """Tell whether the memory of the host or of the accelerator did not suffice; each backend says it in its own way."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error) or "ResourceExhausted" in repr(error)


def _fingerprint(
    settings: TrainingSettings, data: str, initial: Bundle | None, emphasis: Emphasis, merging: Merging | None
) -> str:
    """Return what tells trainings apart: the same for the same settings, data and start, on any day."""
    start = "" if initial is None else initial.record.sha256
    drawn = [sorted(emphasis.ids), sorted(emphasis.weights.items())]
    merged = [] if merging is None else [[repr(merging.classes), merging.into]]
    text = json.dumps([settings.to_json(), data, start, drawn, *merged], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _remove_others(trainings: Path, owner: str, name: str) -> None:
    """Remove the unfinished trainings of an owner whose data or settings have changed since; nobody can resume them."""
    for path in trainings.glob(f"{glob.escape(owner)}-*"):
        ending = path.name.removeprefix(f"{owner}-")
        if not path.name.startswith(name) and re.fullmatch(r"[0-9a-f]{12}(-batch\d+)?", ending):
            shutil.rmtree(path, ignore_errors=True)


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
