"""What was collected to learn from: labelled images, and what an annotation is to the model that drew first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from maskloop_converters.errors import DataError
from maskloop_converters.report import Tally
from maskloop_converters.samples import Dataset, LabelSet, Sample

from ..evaluation.merged import Merged
from ..inference.prediction import Segmenter
from ..training.merging import Merging

Role = Literal["corrected", "manual", "accepted"]
ROLES: tuple[Role, ...] = ("corrected", "manual", "accepted")


class CorrectionsError(DataError):
    """There is nothing to learn from, or it cannot be had; the message says what was found instead."""


@dataclass(frozen=True, slots=True)
class Collected:
    """Everything that people labelled.

    Attributes:
        labels: the classes, in the order of the model to be trained.
        samples: one an image, as people left it.
        roles: of each sample by id. 'corrected': a prediction that somebody changed; 'manual': drawn without one;
            'accepted': a prediction that somebody submitted unchanged.
        predictions: what the annotators had before them, by sample id; where it is known.
        validation: a part that the source keeps apart to measure on, None where it has none.
        notes: what should be said of the source ('the class person is new').
        skipped: what was left out, by kind with examples.
        tasks: id of the task that a sample belongs to, by sample id, where it is not the same: images of one task show one
            scene, and are learned from or held out together.
        merging: the classes of the model to be trained, where labels stand for several of them; None: they are the labels.
    """

    labels: LabelSet
    samples: tuple[Sample, ...]
    roles: Mapping[str, Role]
    predictions: Mapping[str, Sample] = field(default_factory=dict)
    validation: tuple[Sample, ...] | None = None
    notes: tuple[str, ...] = ()
    skipped: Tally = field(default_factory=Tally)
    tasks: Mapping[str, str] = field(default_factory=dict)
    merging: Merging | None = None

    @property
    def classes(self) -> LabelSet:
        """The classes of the model to be trained."""
        return self.labels if self.merging is None else self.merging.classes

    @property
    def learned(self) -> frozenset[str]:
        """Names of the classes that a label of any sample says something of."""
        ids = {region.label for sample in self.samples for region in sample.regions}
        names = frozenset(label.name for label in self.labels.classes if label.id in ids)
        return names if self.merging is None else self.merging.learned(names)

    def task(self, sample: Sample) -> str:
        """Return what decides whether a sample is held out."""
        return self.tasks.get(sample.id, sample.id)

    @property
    def counts(self) -> dict[str, int]:
        """Number of samples by role, and of what was left out by kind."""
        by_role: dict[str, int] = {role: sum(found == role for found in self.roles.values()) for role in ROLES}
        return {**by_role, **self.skipped.counts}


def role_of(origins: Sequence[str | None], *, derived: bool, removed: bool = False) -> Role:
    """Return what an annotation is to the model.

    Args:
        origins: of its regions, as Label Studio says them.
        derived: it was made from a prediction, whatever the regions say.
        removed: a region of that prediction is gone.
    """
    if not derived and not any(origin in ("prediction", "prediction-changed") for origin in origins):
        return "manual"
    return "accepted" if not removed and all(origin == "prediction" for origin in origins) else "corrected"


def as_dataset(collected: Collected, samples: Sequence[Sample]) -> Dataset:
    """Return samples of a collection as a dataset."""
    return Dataset(collected.labels, samples, count=len(samples))


def as_drawn(segmenter: Segmenter, collected: Collected) -> Segmenter:
    """Return a version as the labels of a collection show it, where these stand for several of its classes."""
    merging = collected.merging
    if merging is None or merging.trivial:
        return segmenter
    names = [label.name for label in merging.labels.classes]
    pairs = zip(merging.classes.classes, merging.into, strict=True)
    return Merged(segmenter, {label.name: names[into] for label, into in pairs})
