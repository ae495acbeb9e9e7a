"""Datasets that come in parts (train, val, ...): choosing one, or reading all of them one after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..errors import FormatError
from ..report import ErrorPolicy, OnError
from ..samples import Dataset, LabelSet, Sample

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
    """Return the dataset of one split, or of all parts; they must agree in their labels.

    Iterating checks that no sample id stands twice.
    """
    names = split_names(parts)
    if split is not None:
        parts = [part for part in parts if part.split == split]
        if not parts:
            there = f"there are: {', '.join(names)}" if names else "the dataset has no parts"
            raise FormatError(f"{path} has no part {split!r}; {there}")
    if any(part.labels != parts[0].labels for part in parts):
        raise FormatError(f"{path}: the parts {', '.join(names)} differ in their labels; read them one by one (split)")
    if split is None and len(parts) == 1:
        split = parts[0].split
    policy = ErrorPolicy(on_error)
    return Dataset(
        labels=parts[0].labels,
        samples=_Samples(tuple(parts), policy),
        format=format_name,
        count=sum(part.count for part in parts),
        split=split,
        attributes=parts[0].attributes,
        skipped=policy.skipped,
        notes=policy.notes,
    )


@dataclass(frozen=True, slots=True)
class _Samples:
    """The samples of all parts, ids checked to be unique."""

    parts: tuple[Part, ...]
    policy: ErrorPolicy

    def __iter__(self) -> Iterator[Sample]:
        self.policy.skipped.clear()
        self.policy.notes.clear()
        seen: set[str] = set()
        for part in self.parts:
            for sample in part.samples(self.policy):
                with self.policy.record(SKIPPED):
                    if sample.id in seen:
                        at = f"the second time at {sample.image.name}"
                        raise FormatError(f"sample id {sample.id!r} stands twice, {at}")
                    seen.add(sample.id)
                    yield sample
