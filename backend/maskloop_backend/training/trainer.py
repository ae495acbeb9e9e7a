"""Training a fully convolutional network: from a dataset to the version in the registry."""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import json
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from maskloop_converters.samples import Dataset

from ..model.bundle import Bundle
from ..model.record import ModelRecord
from ..registry.store import Registry
from .batches import Emphasis, default_crop
from .checkpoint import STATE_FILE
from .dataset import Examples, split
from .merging import Merging, Resolver
from .metrics import Evaluation
from .outcome import Silent, TrainingError, TrainingProgress, TrainingResult, UnfinishedTrainingError
from .run import Run, architecture_of
from .settings import TrainingSettings


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
            run = Run(examples, measured, settings, directory, log, progress, initial, drawn, merging)
            with _interruptible() as interrupted:
                stopped_early = run.run(interrupted)
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
    best, zoom = run.choose_zoom(run.restore_best())
    result = TrainingResult(
        "",
        best,
        tuple(run.state.history),
        tuple(examples.ids),
        tuple(measured.ids),
        run.state.seconds,
        stopped_early,
    )
    metrics = {key: value for key, value in result.to_json().items() if key != "version"}
    bundle = Bundle.create(
        run.model,
        architecture_of(settings, len(classes.classes), initial),
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
