"""Datasets that come in parts (train, val, ...): choosing one, or reading all of them one after another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from ..errors import FormatError
from ..report import ErrorPolicy, OnError
from ..samples import Dataset, LabelSet, Sample
from .label_union import Union

SKIPPED = "samples skipped"
_RENUMBERED = "labels that parts number differently, joined by their names"
_RENAMED = "sample ids that another part has too, the part's name put before them"


class Part(Protocol):
    """The samples of one split, from one set of files."""

    @property
    def split(self) -> str | None:
        """Name of the split, None where the dataset has no parts."""

    @property
    def labels(self) -> LabelSet:
        """The classes."""

    @property
    def count(self) -> int:
        """How many samples there are, those that cannot be read among them."""

    @property
    def attributes(self) -> dict[str, Any]:
        """What else the files say of the whole dataset."""

    def samples(self, policy: ErrorPolicy) -> Iterator[Sample]:
        """Yield the samples; what is wrong with one goes to the policy."""


def split_names(parts: Sequence[Part]) -> tuple[str, ...]:
    """Return the names of the splits, in the order in which they are first met."""
    return tuple(dict.fromkeys(part.split for part in parts if part.split is not None))


def assemble(path: Path, parts: Sequence[Part], split: str | None, on_error: OnError, format_name: str) -> Dataset:
    """Return the dataset of one split, or of all parts, whose labels are joined by name.

    Iterating checks that no sample id stands twice in a part; one that stands in several gets the part's name before it.
    """
    names = split_names(parts)
    if split is not None:
        parts = [part for part in parts if part.split == split]
        if not parts:
            there = f"there are: {', '.join(names)}" if names else "the dataset has no parts"
            raise FormatError(f"{path} has no part {split!r}; {there}")
    if split is None and len(parts) == 1:
        split = parts[0].split
    policy = ErrorPolicy(on_error)
    union = Union.of([part.labels for part in parts])
    return Dataset(
        labels=union.labels,
        samples=_Samples(tuple(parts), union, policy),
        format=format_name,
        count=sum(part.count for part in parts),
        split=split,
        attributes=parts[0].attributes,
        skipped=policy.skipped,
        notes=policy.notes,
    )


def joined(datasets: Mapping[str, Dataset], policy: ErrorPolicy, format_name: str) -> Dataset:
    """Return the dataset of parts that are datasets themselves, by name."""
    counts = [dataset.count for dataset in datasets.values()]
    known = [count for count in counts if count is not None]
    first = next(iter(datasets.values()))
    union = Union.of([dataset.labels for dataset in datasets.values()])
    return Dataset(
        labels=union.labels,
        samples=_Samples(tuple(_Whole(name, dataset) for name, dataset in datasets.items()), union, policy),
        format=format_name,
        count=sum(known) if len(known) == len(counts) else None,
        split=next(iter(datasets)) if len(datasets) == 1 else None,
        attributes=first.attributes,
        skipped=policy.skipped,
        notes=policy.notes,
    )


@dataclass(frozen=True, slots=True)
class _Whole:
    """A dataset as a part of a larger one."""

    split: str
    dataset: Dataset

    @property
    def labels(self) -> LabelSet:
        return self.dataset.labels

    @property
    def count(self) -> int:
        return self.dataset.count or 0

    @property
    def attributes(self) -> dict[str, Any]:
        return dict(self.dataset.attributes)

    def samples(self, policy: ErrorPolicy) -> Iterator[Sample]:
        yield from self.dataset
        policy.skipped.merge(self.dataset.skipped)
        policy.notes.merge(self.dataset.notes)


@dataclass(frozen=True, slots=True)
class _Samples:
    """The samples of all parts, with ids that are unique, and labels numbered as in their union."""

    parts: tuple[Part, ...]
    union: Union
    policy: ErrorPolicy

    def __iter__(self) -> Iterator[Sample]:
        self.policy.clear()
        everywhere: set[str] = set()
        for part, renumbered in zip(self.parts, self.union.renumbered, strict=True):
            if renumbered:
                changes = ", ".join(f"{old} is {new}" for old, new in renumbered.items())
                self.policy.notes.add(_RENUMBERED, f"{part.split}: {changes}", len(renumbered))
            here: set[str] = set()
            for sample in part.samples(self.policy):
                with self.policy.record(SKIPPED):
                    if sample.id in here:
                        at = f"the second time at {sample.image.name}"
                        raise FormatError(f"sample id {sample.id!r} stands twice, {at}")
                    here.add(sample.id)
                    if len(self.parts) > 1:
                        sample = self._named(_relabelled(sample, renumbered), part.split, everywhere)
                    yield sample

    def _named(self, sample: Sample, split: str | None, taken: set[str]) -> Sample:
        """Return a sample with an id that no part before has: its own, else one with the part's name before it."""
        free = sample.id
        while free in taken:
            free = f"{split}/{free}"
        taken.add(free)
        if free == sample.id:
            return sample
        self.policy.notes.add(_RENAMED, f"{sample.id} of {split} is {free}")
        return replace(sample, id=free)


def _relabelled(sample: Sample, renumbered: Mapping[int, int]) -> Sample:
    """Return a sample with the labels' ids of the union."""
    if not renumbered:
        return sample
    regions = tuple(replace(region, label=renumbered.get(region.label, region.label)) for region in sample.regions)
    return replace(sample, regions=regions)
