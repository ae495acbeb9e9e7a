"""Judges for labels that every version may have learned from: short trainings, each on all labels but some, which it judges.

What a fold is judged by begins with weights from before the project: even the features of a version that learned from a
label make it easier to repeat its mistake. It is never in the registry of the home, and gone when it is not needed any more.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from maskloop_converters.errors import DataError, MaskloopError
from maskloop_converters.samples import Sample

from ..inference.predictor import Predictor
from ..model.record import ModelRecord
from ..registry.store import Registry
from ..training.outcome import Silent, TrainingInterrupted
from ..training.trainer import train
from .collected import Collected, as_dataset
from .efforts import judging_settings

# (fold, steps done, steps in all)
Training = Callable[[str, int, int], None]
# Images that a training looks at, at most: passing each through the backbone is what takes time where there are many.
MOST_IMAGES = 400


class NoJudgeError(DataError):
    """A fold that no version can be trained for; the message says why."""


@dataclass(frozen=True, slots=True)
class Fold:
    """Tasks that one training leaves out.

    Attributes:
        name: for people.
        tasks: ids.
    """

    name: str
    tasks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Folds:
    """Trains a version for each fold of some tasks, on what is labelled beside it.

    Attributes:
        collected: all that is labelled.
        tasks: to be judged.
        count: of folds; as many as there are tasks, at most.
        served: whose network is trained; None: the default one.
        directory: where trainings keep their files until they are over.
        training: is told of (fold, steps done, all).
        seed: of the folds and the trainings.
    """

    collected: Collected
    tasks: Sequence[str]
    count: int
    served: ModelRecord | None
    directory: Path
    training: Training
    seed: int = 0
    all: tuple[Fold, ...] = field(init=False)

    def __post_init__(self) -> None:
        ordered = sorted(self.tasks)
        drawn = [ordered[index] for index in np.random.default_rng(self.seed).permutation(len(ordered))]
        count = min(self.count, len(drawn))
        folds = tuple(Fold(f"fold {k + 1} of {count}", tuple(drawn[k::count])) for k in range(count))
        object.__setattr__(self, "all", folds)

    def trained(self, fold: Fold) -> Predictor:
        """Return a version that learned from everything but a fold.

        Raises:
            NoJudgeError: there is too little to learn from, or the training failed.
            KeyboardInterrupt: Ctrl-C or SIGTERM while it trained.
        """
        samples = self._beside(fold)
        registry = Registry(self.directory)
        try:
            settings = judging_settings(self.served, max(1, len(samples)))
            watch = _Steps(fold.name, self.training)
            made = train(as_dataset(self.collected, samples), settings, registry, watch)
            bundle = registry.load(made.version)
        except TrainingInterrupted as stop:
            # nobody can go on with it
            raise KeyboardInterrupt from stop
        except MaskloopError as error:
            raise NoJudgeError(f"{fold.name} cannot be trained for: {error}") from error
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)
        return Predictor(bundle)

    def _beside(self, fold: Fold) -> list[Sample]:
        """Return what a fold's version learns from."""
        left_out = set(fold.tasks)
        samples = [one for one in self.collected.samples if self.collected.task(one) not in left_out]
        if len(samples) <= MOST_IMAGES:
            return samples
        drawn = np.random.default_rng(self.seed).choice(len(samples), MOST_IMAGES, replace=False)
        return [samples[index] for index in sorted(drawn.tolist())]


class _Steps(Silent):
    """A TrainingProgress that counts the features and the steps of a training together."""

    def __init__(self, name: str, told: Training) -> None:
        self._name, self._told = name, told
        self._steps = self._features = 0

    def started(self, *, steps: int, done: int, epochs: int, train: int, validation: int, devices: str = "") -> None:
        """Note how many there will be."""
        self._steps = steps
        self._told(self._name, 0, steps)

    def preparing(self, *, done: int, total: int) -> None:
        """Tell of a view that went through the frozen layers."""
        self._features = total
        self._told(self._name, done, total + self._steps)

    def stepped(self, *, step: int, loss: float, learning_rate: float) -> None:
        """Tell of a step."""
        self._told(self._name, self._features + step, self._features + self._steps)
