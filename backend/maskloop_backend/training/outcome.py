"""What a training tells on the way and what comes out: its progress, its errors, its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from maskloop_converters.errors import DataError, MaskloopError

from .metrics import Evaluation


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
