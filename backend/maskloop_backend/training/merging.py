"""Labels that stand for several classes: what a project draws as one, and the model tells apart all the same.

A pixel of such a label has one of its classes, and nobody says which. Of these, the version that the training starts from finds
one the most likely, and that is learned. (A loss that asks for any of them lets them collapse into one within a few epochs.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskloop_converters.samples import LabelSet

from ..model.bundle import Bundle
from .metrics import VOID


@dataclass(frozen=True, slots=True)
class Merging:
    """How a model's classes are drawn.

    Attributes:
        classes: of the model, K of them.
        labels: of the dataset, L of them.
        into: the channel in ``labels.classes`` that each class is drawn as; every label has at least one.
    """

    classes: LabelSet
    labels: LabelSet
    into: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.into) != len(self.classes.classes) or set(self.into) != set(range(len(self.labels.classes))):
            raise ValueError(
                f"{len(self.classes.classes)} classes are drawn as {self.into}; expected each as one of "
                f"{len(self.labels.classes)} labels, and none of these without a class"
            )

    @property
    def trivial(self) -> bool:
        """The classes are the labels."""
        names = ([label.name for label in labels.classes] for labels in (self.classes, self.labels))
        return next(names) == next(names) and self.into == tuple(range(len(self.labels.classes)))

    @property
    def table(self) -> NDArray[np.uint8]:
        """The label's channel by the class's: uint8 (256,), unused entries are 255."""
        table = np.full(256, 255, np.uint8)
        table[: len(self.into)] = self.into
        return table

    @property
    def several(self) -> dict[str, list[str]]:
        """The classes of each label that stands for several."""
        found: dict[str, list[str]] = {label.name: [] for label in self.labels.classes}
        for label, into in zip(self.classes.classes, self.into, strict=True):
            found[self.labels.classes[into].name].append(label.name)
        return {name: classes for name, classes in found.items() if len(classes) > 1}

    def learned(self, names: frozenset[str]) -> frozenset[str]:
        """Return the classes that a training learns of labels with the given names."""
        drawn = {k for k, label in enumerate(self.labels.classes) if label.name in names}
        pairs = zip(self.classes.classes, self.into, strict=True)
        return frozenset(label.name for label, into in pairs if into in drawn)


class Resolver:
    """Says which class of a label's each pixel has.

    Args:
        merging: how classes are drawn.
        start: the version that tells them apart.
    """

    def __init__(self, merging: Merging, start: Bundle) -> None:
        self.classes = merging.classes
        self._model = start.model
        known = [label.name for label in start.labels.classes]
        names = [label.name for label in merging.classes.classes]
        self._single = np.full(256, VOID, np.uint8)
        # of each label that stands for several: the start's channels, and the classes that these are
        self._several: dict[int, tuple[list[int], NDArray[np.uint8]]] = {}
        for label in range(len(merging.labels.classes)):
            members = [k for k, into in enumerate(merging.into) if into == label]
            told = [k for k in members if names[k] in known]
            if len(told) > 1:
                self._several[label] = [known.index(names[k]) for k in told], np.array(told, np.uint8)
            else:
                self._single[label] = (told or members)[0]

    def __call__(self, image: NDArray[np.uint8], target: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return an image's targets as channels of the classes.

        Args:
            image: uint8 (H, W, 3) RGB.
            target: uint8 (H, W), channels of the labels or VOID.
        """
        resolved = self._single[target]
        present = [label for label in self._several if (target == label).any()]
        if present:
            logits = np.asarray(self._model.predict_on_batch(image[None].astype(np.float32)))[0]
            for label in present:
                channels, classes = self._several[label]
                where = target == label
                resolved[where] = classes[logits[where][:, channels].argmax(axis=-1)]
        return resolved
