"""Datasets that come in parts (train, val, ...): choosing one, or reading all of them one after another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from ..errors import FormatError
from ..report import ErrorPolicy, OnError
from ..samples import Dataset, Label, LabelSet, Sample

SKIPPED = "samples skipped"
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
    """Return the dataset of one split, or of all parts, whose labels may not contradict each other.

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
    return Dataset(
        labels=_labels_of_all(path, {part.split or "": part.labels for part in parts}),
        samples=_Samples(tuple(parts), policy),
        format=format_name,
        count=sum(part.count for part in parts),
        split=split,
        attributes=parts[0].attributes,
        skipped=policy.skipped,
        notes=policy.notes,
    )


def joined(path: Path, datasets: Mapping[str, Dataset], policy: ErrorPolicy, format_name: str) -> Dataset:
    """Return the dataset of parts that are datasets themselves, by name."""
    counts = [dataset.count for dataset in datasets.values()]
    known = [count for count in counts if count is not None]
    first = next(iter(datasets.values()))
    return Dataset(
        labels=_labels_of_all(path, {name: dataset.labels for name, dataset in datasets.items()}),
        samples=_Samples(tuple(_Whole(name, dataset) for name, dataset in datasets.items()), policy),
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


def _labels_of_all(path: Path, sets: Mapping[str, LabelSet]) -> LabelSet:
    """Return the labels of all parts, ordered by id where one part has what another has not.

    Raises:
        FormatError: two parts contradict each other: an id with two names, or a name with two ids.
    """
    first, *others = sets.values()
    if all(labels == first for labels in others):
        return first
    by_id: dict[int, tuple[str, Label]] = {}
    by_name: dict[str, tuple[str, Label]] = {}
    for part, labels in sets.items():
        for label in labels.labels:
            for other_part, other in (
                by_id.setdefault(label.id, (part, label)),
                by_name.setdefault(label.name, (part, label)),
            ):
                if (other.id, other.name) != (label.id, label.name):
                    raise FormatError(
                        f"{path}: the parts contradict each other in their labels: {other_part!r} has {other.id} "
                        f"{other.name!r}, {part!r} has {label.id} {label.name!r}; read them one by one with --part "
                        "(split=)"
                    )
    merged = tuple(label for _, (_, label) in sorted(by_id.items()))
    return LabelSet(merged, ignore_id=_role(sets, "ignore_id"), background_id=_role(sets, "background_id"))


def _role(sets: Mapping[str, LabelSet], role: str) -> int | None:
    """Return the ignored or background id of all parts; None where it is a label of objects in another part."""
    ids = {value for labels in sets.values() if (value := getattr(labels, role)) is not None}
    if len(ids) != 1:
        return None
    (role_id,) = ids
    listed = (labels for labels in sets.values() if any(label.id == role_id for label in labels.labels))
    return role_id if all(getattr(labels, role) == role_id for labels in listed) else None


@dataclass(frozen=True, slots=True)
class _Samples:
    """The samples of all parts, with ids that are unique."""

    parts: tuple[Part, ...]
    policy: ErrorPolicy

    def __iter__(self) -> Iterator[Sample]:
        self.policy.clear()
        everywhere: set[str] = set()
        for part in self.parts:
            here: set[str] = set()
            for sample in part.samples(self.policy):
                with self.policy.record(SKIPPED):
                    if sample.id in here:
                        at = f"the second time at {sample.image.name}"
                        raise FormatError(f"sample id {sample.id!r} stands twice, {at}")
                    here.add(sample.id)
                    yield self._named(sample, part.split, everywhere) if len(self.parts) > 1 else sample

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
