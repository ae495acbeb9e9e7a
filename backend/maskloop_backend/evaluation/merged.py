"""A version as a project shows it: what its labels draw as one is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskloop_converters.samples import Label, LabelSet

from ..inference.prediction import Prediction, Segmenter


class Merged:
    """A :class:`~..inference.prediction.Segmenter` whose classes are called otherwise, several of them alike.

    Args:
        segmenter: predicts.
        names: what a class is shown as, by its name; those that are not in it keep theirs.
    """

    def __init__(self, segmenter: Segmenter, names: Mapping[str, str]) -> None:
        self._segmenter = segmenter
        own = [label.name for label in segmenter.labels.classes]
        shown = list(dict.fromkeys(names.get(name, name) for name in own))
        places = [shown.index(names.get(name, name)) for name in own]
        self._table = np.zeros(256, np.uint8)
        self._table[: len(places)] = places
        self.labels = LabelSet(tuple(Label(k, name) for k, name in enumerate(shown)))

    @property
    def version(self) -> str:
        """Of the segmenter."""
        return self._segmenter.version

    def predict(self, images: Sequence[NDArray[Any]]) -> list[Prediction]:
        """Predict, and merge; a pixel is as confident as the class that was decided on."""
        return [
            replace(prediction, label_map=self._table[prediction.label_map])
            for prediction in self._segmenter.predict(images)
        ]
