"""Which annotation of a task counts, and what several of them agree on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...masks import RunList
from ...report import ErrorPolicy
from ...samples import LabelSet, Region
from .tasks import Drawn, Task

Choice = Literal["latest", "ground-truth", "all", "majority"]
# What pixels without a majority are counted as.
DISPUTED = "pixels that annotators disagree about, left without a label"
DISPUTED_BACKGROUND = "pixels that annotators disagree about, taken for the background: the labels have no ignored one"
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
) -> tuple[list[Region], RunList, int]:
    """Return what more than half of the drawings show, and how many pixels they disagree about.

    What is seen of a drawing counts: a region that lies under another has no say. Pixels without a majority have no region.
    Where the labels have a background, which claims what no region covers, they are a region of the ignored label, if there
    is one.

    Args:
        drawings: regions and masks in drawing order, what comes last on top.
        labels: the classes.
        size: height and width.

    Returns:
        at most one region a label, in the label set's order; their masks; the number of pixels without a majority, be it for
        a label or for none.
    """
    height, width = size
    used = {region.label for regions, _ in drawings for region in regions}
    order = [label.id for label in labels.labels if label.id in used]
    order += sorted(used - set(order))
    numbers = {label_id: number for number, label_id in enumerate(order, 1)}
    seen = [
        masks.to_label_map([numbers[region.label] for region in regions], fill=0, dtype=np.uint16)
        for regions, masks in drawings
    ]
    nothing = [0, numbers.get(labels.background_id, 0)] if labels.background_id is not None else [0]
    decided = _most([np.isin(one, nothing) for one in seen])
    names = {label.id: label.name for label in labels.labels}
    regions: list[Region] = []
    masks: list[NDArray[np.bool_]] = []
    for label_id, number in numbers.items():
        mask = _most([one == number for one in seen])
        decided |= mask
        if mask.any():
            regions.append(Region(label_id, id=f"majority-{names.get(label_id, label_id)}"))
            masks.append(mask)
    disputed = int((~decided).sum())
    if disputed and labels.background_id is not None and labels.ignore_id is not None:
        regions.append(Region(labels.ignore_id, id="majority-disputed"))
        masks.append(~decided)
    return regions, RunList.from_masks(masks, height=height, width=width), disputed


def _most(masks: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Return the pixels that more than half of the masks have."""
    votes = np.zeros(masks[0].shape, np.uint16)
    for mask in masks:
        votes += mask
    most: NDArray[np.bool_] = votes * 2 > len(masks)
    return most


def _newest(drawn: list[Drawn]) -> list[Drawn]:
    return [max(drawn, key=lambda d: d.age)] if drawn else []
