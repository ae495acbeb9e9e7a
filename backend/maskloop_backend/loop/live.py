"""What a project has so far, and a head fitted to it within seconds: collected task by task, kept in memory only."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskloop_converters.errors import FormatError
from maskloop_converters.samples import LabelSet, Sample

from ..inference.predictor import Predictor
from ..model.bundle import Bundle
from ..model.record import ModelRecord
from ..studio.client import StudioClient
from ..studio.images import ImageFetcher
from ..training.dataset import Examples, TrainingDataError
from ..training.refitting import HeadFitter, Kept, Pause
from .collected import Collected, CorrectionsError
from .corrections import from_project
from .efforts import inherited
from .holdout import Holdout

logger = logging.getLogger("maskloop.loop")

# Of a project's tasks, so many of the newest are learned from at most, and their features take so many bytes at most.
MOST_TASKS = 200
MOST_BYTES = 256 << 20
# Steps of a fit, and seconds after which it ends with what it has.
STEPS, SECONDS = 150, 4.0


@dataclass(frozen=True, slots=True)
class Source:
    """Where a project's annotations and images come from.

    Attributes:
        client: of its Label Studio.
        fetcher: of its images.
        project: its id.
        directory: of the project; see :func:`~.holdout.project_directory`.
    """

    client: StudioClient
    fetcher: ImageFetcher
    project: int
    directory: Path


class LiveProject:
    """A project's images with their features, and what is fitted to them. One thread uses it.

    Args:
        record: of the version that the fits start from.
        load: returns that version; it is not kept, as its weights would be in memory twice.
        most: bytes of features.
    """

    def __init__(self, record: ModelRecord, load: Callable[[], Bundle], *, most: int = MOST_BYTES) -> None:
        self.base = record.version
        self._record = record
        self._load = load
        self._most = most
        self._fitter: HeadFitter | None = None
        # by sample id, with the id of its task; those that changed last at the end
        self._kept: OrderedDict[str, tuple[str, Kept]] = OrderedDict()

    @property
    def images(self) -> int:
        """The number of images that there are to learn from."""
        return len(self._kept)

    @property
    def nbytes(self) -> int:
        """Bytes of features."""
        return sum(kept.nbytes for _, kept in self._kept.values())

    def update(self, source: Source, tasks: Iterable[int] | None, pause: Pause) -> None:
        """Collect tasks again: what was annotated, changed or deleted since.

        Images that cannot be had or read are left out. What is held out of the project's trainings is not learned here
        either. Where the project's labels have changed, everything is collected anew.

        Args:
            source: of the project.
            tasks: ids; None for all that are labelled, of which the newest are taken.
            pause: see :data:`~..training.refitting.Pause`.

        Raises:
            StudioError: Label Studio does not answer, or refuses.
        """
        wanted = self._labelled(source) if tasks is None else sorted(tasks)[-MOST_TASKS:]
        if tasks is None:
            self._kept.clear()
        gone = {str(task) for task in wanted}
        for name in [name for name, (task, _) in self._kept.items() if task in gone]:
            del self._kept[name]
        if not wanted:
            return
        collected = self._collect(source, wanted)
        if collected is None:
            return
        if self._fitter is None or _names(self._fitter.labels) != _names(collected.labels):
            fitted = self._fitter is not None
            self._fitter = HeadFitter(self._load(), collected.labels, inherited(self._record))
            if fitted:
                # all targets are those of other channels
                self.update(source, None, pause)
                return
        holdout = Holdout.read(source.directory)
        for sample in collected.samples:
            task = collected.task(sample)
            if holdout is None or not holdout.contains(task):
                self._keep(self._fitter, collected.labels, sample, task, pause)
        while self.nbytes > self._most:
            self._kept.popitem(last=False)

    def fit(self, pause: Pause) -> list[NDArray[np.float32]] | None:
        """Return weights fitted to all images, None where there are none or the fit failed."""
        if self._fitter is None or not self._kept:
            return None
        images = [kept for _, kept in self._kept.values()]
        return self._fitter.fit(images, steps=STEPS, seconds=SECONDS, pause=pause)

    def predictor(self, weights: list[NDArray[np.float32]], version: str) -> Predictor:
        """Return what predicts with fitted weights, under a name; compiled, so that nobody waits for that."""
        assert self._fitter is not None
        predictor = self._fitter.predictor(weights, version)
        predictor.warm_up()
        return predictor

    @staticmethod
    def _labelled(source: Source) -> list[int]:
        states = source.client.task_states(source.project)
        return [state.id for state in states if state.annotations][-MOST_TASKS:]

    def _collect(self, source: Source, tasks: list[int]) -> Collected | None:
        try:
            return from_project(
                source.client,
                source.fetcher,
                source.project,
                source.directory,
                self._record.labels,
                on_error="skip",
                tasks=tasks,
                predictions=False,
                aside=source.directory / "live",
            )
        except (CorrectionsError, FormatError) as error:
            # the annotation is gone or empty, its image cannot be had, or the config changes just now
            logger.info("live_left_out project=%d tasks=%d reason=%s", source.project, len(tasks), type(error).__name__)
            return None

    def _keep(self, fitter: HeadFitter, labels: LabelSet, sample: Sample, task: str, pause: Pause) -> None:
        try:
            ((image, target),) = Examples([sample], labels, size=self._record.max_side)
        except TrainingDataError as error:
            logger.info("live_left_out task=%s reason=%s", task, type(error).__name__)
            return
        self._kept[sample.id] = task, fitter.kept(sample.id, image, target, pause)


def _names(labels: LabelSet) -> list[str]:
    return [label.name for label in labels.classes]
