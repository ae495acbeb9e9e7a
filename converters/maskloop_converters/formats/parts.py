"""Datasets that come in parts (train, val, ...): choosing one, or reading all of them one after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from ..errors import FormatError, LabelError
from ..report import ErrorPolicy, OnError
from ..samples import Dataset, Label, LabelSet, Sample

SKIPPED = "samples skipped"


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
    """Return the dataset of one split, or of all parts; their lists of labels must agree wherever they speak of the same.

    Iterating checks that no sample id stands twice in a part. Where two parts share one, the later sample is called
    PART/ID.
    """
    names = split_names(parts)
    if split is not None:
        parts = [part for part in parts if part.split == split]
        if not parts:
            there = f"there are: {', '.join(names)}" if names else "the dataset has no parts"
            raise FormatError(f"{path} has no part {split!r}; {there}")
    labels = _joined(path, parts)
    if split is None and len(parts) == 1:
        split = parts[0].split
    policy = ErrorPolicy(on_error)
    return Dataset(
        labels=labels,
        samples=_Samples(tuple(parts), policy),
        format=format_name,
        count=sum(part.count for part in parts),
        split=split,
        attributes=parts[0].attributes,
        skipped=policy.skipped,
        notes=policy.notes,
    )


def _joined(path: Path, parts: Sequence[Part]) -> LabelSet:
    """Return the labels of all parts: {1 car} and {1 car, 2 bus} are {1 car, 2 bus}."""
    first = parts[0].labels
    if all(part.labels == first for part in parts):
        return first
    by_id: dict[int, Label] = {}
    for part in parts:
        named = f"{path}, part {part.split}"
        for label in part.labels.labels:
            other = by_id.setdefault(label.id, label)
            if other.name != label.name:
                raise FormatError(
                    f"{named}: label {label.id} is {label.name!r}, in the parts before it is {other.name!r}; "
                    "read the parts one by one (--part)"
                )
            if other.color is None or other.thing is None:
                by_id[label.id] = replace(
                    other,
                    color=label.color if other.color is None else other.color,
                    thing=label.thing if other.thing is None else other.thing,
                )
        for role in ("ignore_id", "background_id"):
            value, before = getattr(part.labels, role), getattr(first, role)
            if value != before:  # what no region covers would mean another thing there
                raise FormatError(
                    f"{named}: {role} is {value}, in the parts before it is {before}; read the parts one by one (--part)"
                )
    try:
        return LabelSet(tuple(by_id.values()), first.ignore_id, first.background_id)
    except LabelError as error:
        raise FormatError(
            f"{path}: the parts differ in their labels: {error}; read them one by one (--part)"
        ) from error


@dataclass(frozen=True, slots=True)
class _Samples:
    """The samples of all parts, ids checked to be unique in each and made so in all."""

    parts: tuple[Part, ...]
    policy: ErrorPolicy

    def __iter__(self) -> Iterator[Sample]:
        self.policy.skipped.clear()
        self.policy.notes.clear()
        taken: set[str] = set()
        for part in self.parts:
            seen: set[str] = set()
            for sample in part.samples(self.policy):
                with self.policy.record(SKIPPED):
                    if sample.id in seen:
                        at = f"the second time at {sample.image.name}"
                        raise FormatError(f"sample id {sample.id!r} stands twice, {at}")
                    seen.add(sample.id)
                    sample = self._apart(sample, part.split, taken)
                    taken.add(sample.id)
                    yield sample

    def _apart(self, sample: Sample, split: str | None, taken: set[str]) -> Sample:
        """Return a sample under an id that no other part has taken."""
        new, number = sample.id, 1
        while new in taken:
            new = f"{split or 'part'}/{sample.id}" + (f"-{number}" if number > 1 else "")
            number += 1
        if new == sample.id:
            return sample
        self.policy.notes.add("sample ids that stand in several parts, the later ones called PART/ID", new)
        return replace(sample, id=new)
