"""One pass of a model version over labelled images: what it got right, image by image."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from maskloop_converters.errors import DataError
from maskloop_converters.samples import LabelSet

from ..inference.prediction import Segmenter
from ..training.dataset import Examples
from ..training.metrics import VOID
from .boundary import boundary_counts
from .calibration import calibration_counts
from .scores import Scores, terms_of

# Images that are handed to the segmenter together: at most so many, and of so many pixels.
_TOGETHER = 16
_PIXELS = 1 << 22


class MeasurementError(DataError):
    """A version that cannot be measured on a dataset: they have no class in common."""


class Watcher(Protocol):
    """Sees every image that is measured."""

    def __call__(
        self, index: int, target: NDArray[np.uint8], predicted: NDArray[np.uint8], confidence: NDArray[np.uint8]
    ) -> None:
        """Look at one image.

        Args:
            index: of the image in the examples.
            target: uint8 (H, W), true channels or VOID.
            predicted: uint8 (H, W), predicted channels of the *measuring* label set; K is a class that it lacks.
            confidence: uint8 (H, W), probability of the predicted class times 255.
        """


@dataclass(frozen=True, slots=True, eq=False)
class Measurement:
    """A version's counts on N images, in the K classes of the label set that measures.

    Attributes:
        version: the model version's name.
        labels: the K class names.
        ids: the N images, ascending.
        confusion: int64 (N, K, K+1) pixels; rows are the true class, columns the predicted one. The last column holds
            pixels that were given a class of the version which the label set lacks: wrong, whatever the truth.
        boundary: int64 (N, K, 4), see :func:`.boundary.boundary_counts`.
        calibration: int64 (N, BINS, 3), see :func:`.calibration.calibration_counts`.
        missing: classes of the label set that the version lacks; it never predicts them.
        foreign: classes of the version that the label set lacks.
    """

    version: str
    labels: tuple[str, ...]
    ids: tuple[str, ...]
    confusion: NDArray[np.int64]
    boundary: NDArray[np.int64]
    calibration: NDArray[np.int64]
    missing: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()

    @property
    def terms(self) -> NDArray[np.int64]:
        """What the scores of each image are made of: int64 (N, 7, K), see :func:`.scores.terms_of`."""
        return terms_of(self.confusion, self.boundary)

    @property
    def scores(self) -> Scores:
        """The scores over all images together."""
        return Scores.of(self.terms.sum(0))

    @property
    def of_images(self) -> Scores:
        """The scores of each image by itself."""
        return Scores.of(self.terms)

    def of(self, ids: Collection[str]) -> Measurement:
        """Return the measurement on some of the images.

        Raises:
            ValueError: an image was not measured.
        """
        wanted = set(ids)
        if unknown := sorted(wanted - set(self.ids)):
            raise ValueError(f"{unknown[0]!r} is none of the {len(self.ids)} images that were measured")
        kept = [index for index, name in enumerate(self.ids) if name in wanted]
        return replace(
            self,
            ids=tuple(self.ids[index] for index in kept),
            confusion=self.confusion[kept],
            boundary=self.boundary[kept],
            calibration=self.calibration[kept],
        )


def channel_map(segmenter: Segmenter, labels: LabelSet) -> NDArray[np.uint8]:
    """Return where a segmenter's channels are among the classes that measure, by exact name.

    Returns:
        uint8 (256,): channel of ``labels.classes`` by the segmenter's channel; K for a class that ``labels`` lacks.

    Raises:
        MeasurementError: no name is in both; the message names what comes close.
    """
    channels = {label.name: channel for channel, label in enumerate(labels.classes)}
    names = [label.name for label in segmenter.labels.classes]
    if not channels.keys() & set(names):
        raise MeasurementError(
            f"no class of {segmenter.version or 'the model'} ({_listed(names)}) is a class of the dataset "
            f"({_listed(list(channels))}); names are compared exactly, `maskloop convert --map OLD=NEW` renames"
            + _closest(names, list(channels))
        )
    table = np.full(256, len(channels), np.uint8)
    for channel, name in enumerate(names):
        table[channel] = channels.get(name, len(channels))
    return table


def measure(
    segmenter: Segmenter,
    examples: Examples,
    *,
    each: Callable[[int], None] | None = None,
    watch: Watcher | None = None,
) -> Measurement:
    """Measure a version on examples, at their size.

    Args:
        segmenter: its classes are matched with the examples' by exact name.
        examples: images and targets.
        each: called with the number of images done, after each.
        watch: sees each image's target and prediction.

    Raises:
        MeasurementError: segmenter and examples have no class in common.
    """
    names = tuple(label.name for label in examples.labels.classes)
    theirs = tuple(label.name for label in segmenter.labels.classes)
    table = channel_map(segmenter, examples.labels)
    classes = len(names)
    confusions, boundaries, calibrations = [], [], []
    for batch in _batches(examples.shapes):
        pairs = [examples[index] for index in batch]
        predictions = segmenter.predict([image for image, _ in pairs])
        for index, (_, target), prediction in zip(batch, pairs, predictions, strict=True):
            predicted = table[prediction.label_map]
            judged = target != VOID
            truth, guess = target[judged], predicted[judged]
            cells = np.bincount(truth.astype(np.int64) * (classes + 1) + guess, minlength=classes * (classes + 1))
            confusions.append(cells.reshape(classes, classes + 1))
            boundaries.append(boundary_counts(target, predicted, classes))
            calibrations.append(calibration_counts(prediction.confidence[judged], truth == guess))
            if watch is not None:
                watch(index, target, predicted, prediction.confidence)
            if each is not None:
                each(index + 1)
    return Measurement(
        segmenter.version,
        names,
        tuple(examples.ids),
        np.stack(confusions),
        np.stack(boundaries),
        np.stack(calibrations),
        tuple(name for name in names if name not in theirs),
        tuple(name for name in theirs if name not in names),
    )


def _batches(shapes: Sequence[tuple[int, int]]) -> Iterator[list[int]]:
    batch: list[int] = []
    pixels = 0
    for index, (height, width) in enumerate(shapes):
        if batch and (len(batch) == _TOGETHER or pixels + height * width > _PIXELS):
            yield batch
            batch, pixels = [], 0
        batch.append(index)
        pixels += height * width
    if batch:
        yield batch


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:12])
    return f"{shown} and {len(names) - 12} more" if len(names) > 12 else shown


def _closest(names: Sequence[str], wanted: Sequence[str]) -> str:
    by_folded = {name.casefold(): name for name in wanted}
    for name in names:
        if near := difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.8):
            return f" (--map {by_folded[near[0]]}={name}?)"
    return ""
