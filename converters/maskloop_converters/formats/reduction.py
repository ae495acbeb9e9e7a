"""What a format that has no place for everything keeps of a sample, and what it loses: counted from the two.

Its writer says what it holds (:class:`Reduced`): the same is what reading the output gives back, and what ``--verify``
compares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np

from ..errors import TargetError
from ..report import Tally, WriteReport
from ..samples import Dataset, Label, LabelSet, Sample
from .labels import label_names


@runtime_checkable
class Reduced(Protocol):
    """A writer of a format that cannot hold everything."""

    @property
    def report(self) -> WriteReport:
        """What was written so far."""

    @property
    def head(self) -> Dataset:
        """The dataset's head as it is read back: labels, name of the part, attributes."""

    def held(self) -> Sample:
        """The sample written last, as it is read back."""

    def write(self, sample: Sample) -> None:
        """Write one sample."""


@dataclass(frozen=True, slots=True)
class Numbering:
    """Labels numbered 0, 1, 2, ..., as most trainers want them.

    Attributes:
        labels: with the new numbers.
        new: new number by old one; what has none is not kept.
    """

    labels: LabelSet
    new: Mapping[int, int]

    @classmethod
    def of(cls, labels: LabelSet, *, background: bool, ignored: int | None, most: int, target: str) -> Numbering:
        """Return the numbering of a label set.

        Args:
            labels: to be numbered, in their order.
            background: whether the background is a class; otherwise it is not kept.
            ignored: the number of what nobody judges; None where it is not kept.
            most: how many classes there may be.
            target: the format, for the error.
        """
        names = label_names(labels)
        left_out = {labels.ignore_id} | (set() if background else {labels.background_id})
        ids = [label_id for label_id in names if label_id not in left_out]
        if len(ids) > most:
            raise TargetError(f"{target} holds {most} classes, the dataset has {len(ids)}")
        new = {label_id: k for k, label_id in enumerate(ids)}
        known = {label.id: label for label in labels.labels}
        numbered = [
            Label(k, names[i], known[i].color if i in known else None, known[i].thing if i in known else None)
            for i, k in new.items()
        ]
        if ignored is not None and labels.ignore_id is not None:
            new[labels.ignore_id] = ignored
        role = new.get(labels.background_id) if labels.background_id is not None and background else None
        return cls(LabelSet(tuple(numbered), ignored, role), new)

    def sample(self, sample: Sample) -> Sample:
        """Return a sample with the new numbers; regions whose label is not kept are left out."""
        kept = [k for k, region in enumerate(sample.regions) if region.label in self.new]
        regions = tuple(replace(sample.regions[k], label=self.new[sample.regions[k].label]) for k in kept)
        if len(kept) == len(sample.regions):
            return replace(sample, regions=regions)
        return replace(sample, regions=regions, masks=sample.masks.select(kept))


def count_head(before: Dataset, after: Dataset, losses: Tally) -> None:
    """Count what is lost of a dataset's head."""
    old = {label.name: label for label in before.labels.labels}
    kept = {label.name: label for label in after.labels.labels}
    numbers = [name for name, label in kept.items() if name in old and old[name].id != label.id]
    if numbers:
        shown = ", ".join(f"{name}: {old[name].id} -> {kept[name].id}" for name in numbers[:3])
        losses.add("label numbers, which the format counts from 0", shown, len(numbers))
    for what in ("color", "thing"):
        lost = [n for n, label in old.items() if n in kept and getattr(label, what) != getattr(kept[n], what)]
        if lost:
            kind = "label colours" if what == "color" else "marks that tell things from stuff"
            losses.add(kind, lost[0], len(lost))
    if before.labels.ignore_id is not None and after.labels.ignore_id is None:
        losses.add("ignored labels", str(before.labels.ignore_id))
    if before.labels.background_id is not None and after.labels.background_id is None:
        losses.add("background labels", str(before.labels.background_id))
    if before.attributes and dict(after.attributes) != dict(before.attributes):
        losses.add("attributes of the dataset", ", ".join(list(before.attributes)[:3]))
    if before.split != after.split:
        losses.add("names of the part", str(before.split))


def count_sample(before: Sample, after: Sample, source: Sequence[int], losses: Tally) -> None:
    """Count what is lost of a sample.

    Args:
        before: the sample, its labels numbered as the format has them.
        after: what the format holds.
        source: of each region of ``after``, the region of ``before`` that it is of.
        losses: is counted into.
    """
    where = f"sample {before.id}"
    if after.id != before.id:
        losses.add("sample ids, which are the names of files", f"{before.id} -> {after.id}")
    if after.image.name != before.image.name:
        losses.add("image names", f"{before.image.name} -> {after.image.name}")
    if after.image.uri != before.image.uri:
        losses.add("image addresses", f"{where}: {before.image.uri}")
    if dict(before.attributes) != dict(after.attributes):
        losses.add("attributes of samples", where)
    pieces = np.bincount(np.asarray(source, np.int64), minlength=len(before.regions))
    losses.add("regions in several pieces, an object each", where, int((pieces > 1).sum()))
    losses.add("regions without pixels", where, int((pieces == 0).sum()))
    union = after.masks.union(source, len(before.masks))
    changed = int(np.abs(union.areas() - before.masks.areas()).sum())
    losses.add("pixels gained where parts of an object are joined", f"{where}: {changed}", changed)
    if list(source) != sorted(source) and before.masks.overlap_pixels():
        losses.add("orders of overlapping regions", where)
    for k, region in zip(source, after.regions, strict=True):
        old = before.regions[k]
        place = f"{where}, region {old.id or k}"
        for kind, lost in (
            ("region ids", old.id and old.id != region.id),
            ("scores", old.score != region.score),
            ("crowd flags", old.crowd != region.crowd),
            ("origins of regions", old.origin != region.origin),
            ("numbers of objects", old.instance is not None and old.instance != region.instance),
            ("attributes of regions", dict(old.attributes) != dict(region.attributes)),
        ):
            if lost:
                losses.add(kind, place)
        if old.edge is not None and region.edge is None:
            losses.add("soft edge pixels made hard", place, old.edge.positions.size)
