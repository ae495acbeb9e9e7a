"""Segmentation metrics from one confusion matrix, gathered image by image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The target value of pixels that nobody judged; they count nowhere.
VOID = 255


@dataclass(slots=True)
class ConfusionMatrix:
    """How often a pixel of one class was predicted as another.

    Attributes:
        classes: K.
        counts: int64 (K, K) pixels; rows are the true class, columns the predicted one.
    """

    classes: int
    counts: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.counts = np.zeros((self.classes, self.classes), np.int64)

    def add(self, target: NDArray[Any], predicted: NDArray[Any]) -> None:
        """Count the pixels of one or more images.

        Args:
            target: integers of any shape, 0..K-1 or :data:`VOID`.
            predicted: integers of the same shape, 0..K-1; what stands at void pixels is not looked at.

        Raises:
            ValueError: shapes differ or a value lies outside 0..K-1.
        """
        if target.shape != predicted.shape:
            raise ValueError(f"target has shape {target.shape}, prediction {predicted.shape}; they must agree")
        judged = target != VOID
        truth, guess = target[judged].astype(np.int64), predicted[judged].astype(np.int64)
        for name, values in (("target", truth), ("prediction", guess)):
            if values.size and not 0 <= values.min() <= values.max() < self.classes:
                raise ValueError(f"{name} holds {values.min()}..{values.max()}, expected 0..{self.classes - 1}")
        pairs = np.bincount(truth * self.classes + guess, minlength=self.classes**2)
        self.counts += pairs.reshape(self.classes, self.classes)

    def iou(self) -> NDArray[np.float64]:
        """Return intersection over union of each class: float64 (K,), nan for a class that the target does not have."""
        hits = np.diag(self.counts)
        true = self.counts.sum(1)
        iou = np.full(self.classes, np.nan)
        np.divide(hits, self.counts.sum(0) + true - hits, out=iou, where=true > 0)
        return iou

    def miou(self) -> float:
        """Return the mean IoU over the classes that the target has; 0 where there are none.

        Two models on the same images are averaged over the same classes, whatever they predict, as in
        :class:`maskloop_backend.evaluation.scores.Scores`.
        """
        iou = self.iou()
        return float(np.nanmean(iou)) if np.isfinite(iou).any() else 0.0

    def pixel_accuracy(self) -> float:
        """Return the share of judged pixels that are right; 0 where none is judged."""
        total = int(self.counts.sum())
        return float(np.trace(self.counts) / total) if total else 0.0


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a model was measured at.

    Attributes:
        epoch: complete passes over the training data before it.
        miou: mean IoU, 0..1, over the classes that the target has.
        pixel_accuracy: share of judged pixels that are right, 0..1.
        iou: by class name; None for a class that the target does not have.
        loss: mean training loss since the evaluation before, None before any step.
    """

    epoch: int
    miou: float
    pixel_accuracy: float
    iou: dict[str, float | None]
    loss: float | None = None

    @classmethod
    def of(cls, matrix: ConfusionMatrix, names: Sequence[str], *, epoch: int, loss: float | None = None) -> Evaluation:
        """Return the metrics of a confusion matrix whose K classes have the given names."""
        iou = {name: None if np.isnan(x) else float(x) for name, x in zip(names, matrix.iou(), strict=True)}
        return cls(epoch, matrix.miou(), matrix.pixel_accuracy(), iou, loss)

    def to_json(self) -> dict[str, Any]:
        """Return the evaluation as JSON values."""
        return {
            "epoch": self.epoch,
            "miou": self.miou,
            "pixel_accuracy": self.pixel_accuracy,
            "iou": dict(self.iou),
            "loss": self.loss,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Evaluation:
        """Return what :meth:`to_json` gave."""
        return cls(**values)
