"""How much a model disagrees with labels that it did not learn from, image by image: which labels to look at again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..inference.prediction import Segmenter
from ..training.dataset import Examples
from ..training.metrics import VOID
from .measurement import measure
from .suspects import Suspect, SuspectFinder


@dataclass(frozen=True, slots=True)
class Disagreement:
    """How much a version disagrees with one image's labels.

    Pixels are judged that have a label which the version knows, and a prediction which the labels know.

    Attributes:
        index: of the image in the examples.
        image: its id.
        pixels: that are judged.
        share: of these, how many have another class, 0..1.
        weighted: the same with each pixel weighted by the model's confidence: what it doubts itself counts little.
        iou: of labels and predictions by class, 0..1; None for a class that neither has.
        suspects: areas of which the model is sure, away from every outline; most wrongly labelled pixels first.
    """

    index: int
    image: str
    pixels: int
    share: float
    weighted: float
    iou: dict[str, float | None]
    suspects: tuple[Suspect, ...]

    @property
    def score(self) -> float:
        """How much the image is worth a look, 0..1.

        From 0.5 on where there are suspects, by the share of pixels that are probably labelled wrongly; below, by the
        weighted disagreement: an image that the model finds hard comes after a label that it is sure is wrong.
        """
        if self.suspects:
            return 0.5 + min(1.0, sum(one.score for one in self.suspects) / max(1, self.pixels)) / 2
        return self.weighted / 2

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "image": self.image,
            "score": self.score,
            "pixels": self.pixels,
            "share": self.share,
            "weighted": self.weighted,
            "iou": self.iou,
            "suspects": [suspect.to_json() for suspect in self.suspects],
        }


def disagreements(
    segmenter: Segmenter, examples: Examples, *, each: Callable[[int], None] | None = None
) -> list[Disagreement]:
    """Return how much a version disagrees with each of the examples, in their order.

    Args:
        segmenter: a version that was not trained on their labels; of those it would repeat the mistakes.
        examples: images and targets.
        each: called with the number of images done, after each.

    Raises:
        MeasurementError: segmenter and examples have no class in common.
    """
    names = [label.name for label in examples.labels.classes]
    gathered = _Gathered(names, [label.name for label in segmenter.labels.classes], examples.ids)
    measure(segmenter, examples, each=each, watch=gathered)
    return gathered.disagreements()


def comparable(
    target: NDArray[np.uint8], predicted: NDArray[np.uint8], names: Sequence[str], known: Collection[str]
) -> NDArray[np.bool_]:
    """Return where labels and a prediction can be compared: bool (H, W).

    A version from before a class says nothing of its pixels; a class that the labels lack could not have been drawn.

    Args:
        target: uint8 (H, W), channels of the K ``names``, or VOID.
        predicted: uint8 (H, W), the same channels; from K on a class that the labels lack.
        names: of the labels' classes.
        known: names of the version's classes.
    """
    judges = np.zeros(VOID + 1, bool)
    judges[: len(names)] = [name in known for name in names]
    both: NDArray[np.bool_] = judges[target] & (predicted < len(names))
    return both


@dataclass(slots=True)
class _Gathered:
    """A :class:`~.measurement.Watcher` that counts where labels and predictions differ.

    Attributes:
        names: of the K classes that measure.
        known: names of the version's classes.
        ids: of the images, by index.
    """

    names: Sequence[str]
    known: Sequence[str]
    ids: Sequence[str]
    _finder: SuspectFinder = field(init=False)
    _counted: dict[int, tuple[NDArray[np.int64], int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._finder = SuspectFinder(self.names, self.ids)

    def __call__(
        self, index: int, target: NDArray[np.uint8], predicted: NDArray[np.uint8], confidence: NDArray[np.uint8]
    ) -> None:
        """Look at one image."""
        classes = len(self.names)
        judged = comparable(target, predicted, self.names, self.known)
        truth, guess = target[judged], predicted[judged]
        cells = np.bincount(truth.astype(np.int64) * classes + guess, minlength=classes**2).reshape(classes, classes)
        sure = confidence[judged].astype(np.int64)
        self._counted[index] = cells, int(sure[truth != guess].sum()), int(sure.sum())
        self._finder(index, np.where(judged, target, np.uint8(VOID)), predicted, confidence)

    def disagreements(self) -> list[Disagreement]:
        """Return what was found, by index."""
        suspects: dict[int, list[Suspect]] = {}
        for suspect in self._finder.ranked():
            suspects.setdefault(suspect.index, []).append(suspect)
        found = []
        for index, (cells, wrong, sure) in sorted(self._counted.items()):
            common, pixels = np.diagonal(cells), int(cells.sum())
            either = cells.sum(0) + cells.sum(1) - common
            iou = {
                name: float(both / any_) if any_ else None
                for name, both, any_ in zip(self.names, common, either, strict=True)
            }
            found.append(
                Disagreement(
                    index,
                    self.ids[index],
                    pixels,
                    1 - int(common.sum()) / pixels if pixels else 0.0,
                    wrong / sure if sure else 0.0,
                    iou,
                    tuple(suspects.get(index, ())),
                )
            )
        return found
