"""Only a version that did not learn from a label judges it, nor one that descends from such a version."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from maskloop_backend.loop.holdout import Holdout
from maskloop_backend.loop.out_of_fold import OutOfFold
from maskloop_backend.registry.store import Registry
from maskloop_converters.samples import LabelSet
from versions import write_version

PROJECT = 5
HOLDOUT = Holdout(seed=1, share=0.5)
HELD_OUT = next(str(k) for k in range(99) if HOLDOUT.contains(str(k)))
LEARNED = next(str(k) for k in range(99) if not HOLDOUT.contains(str(k)))


def version(registry: Registry, day: int, parent: str | None = None, **metrics: Any) -> str:
    created = f"2026-11-{day:02}T12:00:00Z"
    labels = LabelSet.from_names(["a", "b"])
    return write_version(registry, b"%d" % day, labels, created=created, parent=parent, metrics=metrics).version


def at(day: int, hour: int = 13) -> datetime:
    return datetime(2026, 11, day, hour, tzinfo=UTC)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path, trial=lambda directory: None)


@pytest.fixture
def line(registry: Registry) -> tuple[str, str]:
    """A version that was trained elsewhere on the 1st, and one that the project was retrained to on the 10th."""
    first = version(registry, 1)
    registry.promote(first)
    second = version(registry, 10, first, project=PROJECT, gate={})
    registry.promote(second, project=PROJECT)
    return first, second


def judge(registry: Registry, task: str, drawn: datetime | None, project: int = PROJECT) -> str | None:
    return OutOfFold(registry, project, HOLDOUT).judge(task, drawn)


def test_the_served_version_judges_what_is_held_out_or_was_labelled_since(
    registry: Registry, line: tuple[str, str]
) -> None:
    first, second = line
    assert OutOfFold(registry, PROJECT, HOLDOUT).candidates == (second, first)
    assert judge(registry, LEARNED, at(11)) == second
    assert judge(registry, HELD_OUT, at(5)) == second
    assert judge(registry, LEARNED, at(5)) == first, "the parent from before the correction"
    assert judge(registry, LEARNED, at(10, hour=11)) == first, "collected at some time before the version was saved"


def test_what_every_version_may_have_learned_is_not_judged(registry: Registry, line: tuple[str, str]) -> None:
    for task in (
        LEARNED,
        HELD_OUT,
    ):  # the first version knows no holdout of the project, and the second descends from it
        assert judge(registry, task, datetime(2026, 10, 30, tzinfo=UTC)) is None
        assert judge(registry, task, at(1, hour=12)) is None, "in the same second"
    assert judge(registry, LEARNED, None) is None


def test_another_projects_training_does_not_respect_the_holdout(registry: Registry, line: tuple[str, str]) -> None:
    _, second = line
    third = version(registry, 20, second, project=6, gate={})
    registry.promote(third, project=PROJECT)
    assert judge(registry, HELD_OUT, at(15)) == second
    assert judge(registry, HELD_OUT, at(21)) == third


def test_without_a_holdout_only_time_tells(registry: Registry, line: tuple[str, str]) -> None:
    first, second = line
    finder = OutOfFold(registry, PROJECT, None)
    assert finder.judge(HELD_OUT, at(5)) == first
    assert finder.judge(HELD_OUT, at(11)) == second


def test_records_from_before_they_named_the_project(registry: Registry) -> None:
    first = version(registry, 1)
    second = version(registry, 10, first, gate={})
    other = version(registry, 11, first, gate={})
    registry.promote(second, project=PROJECT)
    registry.promote(other, project=6)
    assert judge(registry, HELD_OUT, at(5)) == second
    finder = OutOfFold(registry, PROJECT, HOLDOUT)
    assert not finder.independent(other, HELD_OUT, at(5)), "it was trained for another project"


def test_a_parent_that_was_removed_counts_from_the_end_of_its_day(registry: Registry) -> None:
    gone = "fcn32s-small-20261103-0000abcd"
    second = version(registry, 10, gone, project=PROJECT, gate={})
    registry.promote(second, project=PROJECT)
    assert judge(registry, HELD_OUT, at(5)) == second
    assert judge(registry, LEARNED, at(5)) is None
    assert judge(registry, LEARNED, at(11)) == second
    train_only = version(registry, 12, gone)
    finder = OutOfFold(registry, PROJECT, HOLDOUT)
    assert not finder.independent(train_only, HELD_OUT, at(5))
    assert finder.independent(train_only, HELD_OUT, at(13))
