"""Datasets in parts: ids that start anew in each, lists of labels that differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from maskloop_converters.errors import FormatError
from maskloop_converters.formats.parts import assemble
from maskloop_converters.masks import RunList
from maskloop_converters.report import ErrorPolicy
from maskloop_converters.samples import ImageRef, Label, LabelSet, Sample

CAR, BUS = Label(1, "car"), Label(2, "bus")


@dataclass(frozen=True)
class Made:
    split: str | None
    labels: LabelSet
    ids: tuple[str, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return len(self.ids)

    def samples(self, policy: ErrorPolicy) -> Iterator[Sample]:
        for name in self.ids:
            yield Sample(name, ImageRef(f"{name}.png"), RunList.from_masks([], height=1, width=1), ())


def test_ids_are_unique_within_their_part() -> None:
    labels = LabelSet((CAR,))
    parts = [Made("train", labels, ("1", "2")), Made("val", labels, ("1", "3")), Made("val", labels, ("1", "val/1"))]
    dataset = assemble(Path("x"), parts, None, "fail", "png")
    for _ in range(2):
        assert [s.id for s in dataset] == ["1", "2", "val/1", "3", "val/val/1", "val/val/val/1"]
        assert list(dataset.notes.counts.values()) == [3]
    assert [s.id for s in assemble(Path("x"), parts[:2], "val", "fail", "png")] == ["1", "3"]
    with pytest.raises(FormatError, match="sample id '1' stands twice"):
        list(assemble(Path("x"), [Made("train", labels, ("1", "1"))], None, "fail", "png"))


def test_lists_of_labels_agree_where_they_speak_of_the_same() -> None:
    parts = [Made("train", LabelSet((CAR,))), Made("val", LabelSet((CAR, BUS)))]
    assert assemble(Path("x"), parts, None, "fail", "png").labels.labels == (CAR, BUS)


@pytest.mark.parametrize(
    ("other", "joined"),
    [
        # another name with the same number is another label, another number of the same name is not
        (LabelSet((Label(1, "bus"),)), (CAR, Label(2, "bus"))),
        (LabelSet((Label(2, "car"),)), (CAR,)),
    ],
)
def test_lists_that_number_labels_differently_are_joined_by_name(other: LabelSet, joined: tuple[Label, ...]) -> None:
    made = assemble(Path("x"), [Made("train", LabelSet((CAR,))), Made("val", other)], None, "fail", "png")
    assert made.labels.labels == joined
