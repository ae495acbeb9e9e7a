"""Which annotation of a task counts, and what several of them agree on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ...masks import RunList
from ...report import ErrorPolicy
from ...samples import LabelSet, Region
from .tasks import Drawn, Task

Choice = Literal["latest", "ground-truth", "all", "majority"]
Use = Literal["auto", "annotations", "predictions", "drafts"]


def chosen(task: Task, use: Use, choice: Choice, policy: ErrorPolicy) -> list[Drawn]:
    """Return what of a task is read: one annotation, prediction or draft; several for 'all' and 'majority'.

    Args:
        task: the task.
        use: what gives the masks; not 'auto'.
        choice: which of several annotations.
        policy: counts those that were cancelled.
    """
    if use == "drafts":
        return _newest(task.drafts)
    if use == "predictions":
        return _newest(task.predictions)
    done = [drawn for drawn in task.annotations if not drawn.cancelled]
    policy.leave_out("annotations that were cancelled", task.where, len(task.annotations) - len(done))
    if choice == "ground-truth":
        done = [drawn for drawn in done if drawn.facts.get("ground_truth") is True]
    return done if choice in ("all", "majority") else _newest(done)


def vote(
    drawings: Sequence[tuple[Sequence[Region], RunList]], labels: LabelSet, size: tuple[int, int]
) -> tuple[list[Region], RunList]:
    """Return what more than half of the drawings agree on: at most one region a label, in the label set's order."""
    height, width = size
    regions: list[Region] = []
    rows: list[RunList] = []
    for label in labels.labels:
        parts = []
        for drawn, masks in drawings:
            own = [k for k, region in enumerate(drawn) if region.label == label.id]
            parts.append(masks.select(own).union([0] * len(own), 1))
        mask = majority(parts)
        if mask.areas()[0]:
            regions.append(Region(label.id, id=f"majority-{label.name}"))
            rows.append(mask)
    return regions, RunList.concatenate(rows) if rows else RunList.empty(height, width)


def majority(parts: Sequence[RunList]) -> RunList:
    """Return one mask: the pixels that more than half of the given masks (one each) cover."""
    joined = RunList.concatenate(parts)
    starts, ends, _ = joined.intervals()
    where = np.concatenate((starts, ends))
    order = where.argsort(kind="stable")
    votes = np.where(order < starts.size, 1, -1).cumsum()
    where = where[order]
    enough = np.flatnonzero(votes[:-1] * 2 > len(parts))
    rows = np.zeros(enough.size, np.int64)
    return RunList.from_intervals(
        where[enough], where[enough + 1], rows, count=1, height=joined.height, width=joined.width
    )


def _newest(drawn: list[Drawn]) -> list[Drawn]:
    return [max(drawn, key=lambda d: d.age)] if drawn else []
