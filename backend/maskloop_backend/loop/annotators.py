"""How much the annotators of a project agree, task by task, pair by pair, class by class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from maskloop_converters.formats import labelstudio
from maskloop_converters.samples import LabelSet, Sample

from ..evaluation.agreement import Agreement
from ..registry.store import Registry
from ..studio.client import StudioClient
from ..studio.images import ImageFetcher
from .aside import set_aside
from .changes import channels
from .collecting import COUNTED
from .confirmed import ReviewError
from .corrections import from_project
from .holdout import project_directory

# Stands between a task's id and its annotation's in the ids of samples, where every annotation is one.
_BETWEEN = "-annotation-"


@dataclass(frozen=True, slots=True)
class AgreedTask:
    """A task that several people labelled.

    Attributes:
        task: id; of a task with several images, the image's.
        annotators: who they are, in Label Studio's ids, or the ids of their annotations where that is not told.
        agreement: of all pairs of them.
    """

    task: str
    annotators: tuple[str, ...]
    agreement: Agreement


@dataclass(frozen=True, slots=True)
class Annotators:
    """How much the annotators of a project agree.

    Attributes:
        project: id.
        labels: names of the classes.
        tasks: those with several annotations, least agreement first.
        pairs: by two annotators, least agreement first.
        total: over all tasks and pairs.
        notes: what else should be said.
    """

    project: int
    labels: tuple[str, ...]
    tasks: tuple[AgreedTask, ...]
    pairs: Mapping[tuple[str, str], Agreement]
    total: Agreement
    notes: tuple[str, ...]

    def to_json(self, limit: int | None = None) -> dict[str, Any]:
        """Return it as JSON values, with so many tasks at most."""
        names = list(self.labels)
        return {
            "project": self.project,
            "total": self.total.to_json(names),
            "pairs": [{"annotators": list(pair), **one.to_json(names)} for pair, one in self.pairs.items()],
            "tasks": [
                {"task": one.task, "annotators": list(one.annotators), **one.agreement.to_json(names)}
                for one in self.tasks[:limit]
            ],
            "notes": list(self.notes),
        }


def agreement(
    client: StudioClient,
    fetcher: ImageFetcher,
    project: str | int,
    registry: Registry,
    *,
    watch: Callable[[int, int | None], None] = lambda done, total: None,
) -> Annotators:
    """Compare all annotations of each task with each other; skipped ones do not count.

    Args:
        client: of the Label Studio.
        fetcher: of its images.
        project: its id or title.
        registry: knows what the classes are called by the version that is served.
        watch: is told of (tasks collected, all or None).

    Raises:
        ReviewError: no task has several annotations.
        CorrectionsError: nothing is labelled.
        StudioError: Label Studio does not answer.
    """
    number = int(client.project(project)["id"])
    directory = project_directory(registry.home, number)
    version = registry.serving(number)
    known = None if version is None else registry.record(version).labels
    with set_aside(directory, "review") as aside:
        collected = from_project(
            client,
            fetcher,
            number,
            directory,
            known,
            on_error="skip",
            watch=watch,
            predictions=False,
            aside=aside,
            annotations="majority",
        )
        each = labelstudio.read(
            aside / "collected" / COUNTED,
            use="annotations",
            annotations="all",
            on_error="skip",
            labels=collected.labels,
            images_from=directory / "images",
        )
        drawings: dict[str, list[Sample]] = {}
        for sample in each:
            image, between, _ = sample.id.rpartition(_BETWEEN)
            if between:
                drawings.setdefault(image, []).append(sample)
        found = [_compared(image, own, collected.labels) for image, own in drawings.items() if len(own) > 1]
    if not found:
        raise ReviewError(
            f"no task of project {number} has annotations of several people; set how many each task needs under Settings > "
            "Quality, or let others label tasks that are labelled already"
        )
    none = Agreement.none(len(collected.labels.classes))
    pairs: dict[tuple[str, str], Agreement] = {}
    for _, own in found:
        for pair, one in own:
            pairs[pair] = pairs.get(pair, none) + one
    tasks = sorted((task for task, _ in found), key=lambda task: (task.agreement.share or 0.0, task.task))
    ordered = dict(sorted(pairs.items(), key=lambda item: item[1].share or 0.0))
    total = sum((task.agreement for task in tasks), none)
    names = tuple(label.name for label in collected.labels.classes)
    notes = [*collected.notes, *(f"left out: {line}" for line in collected.skipped.lines())]
    return Annotators(number, names, tuple(tasks), ordered, total, tuple(notes))


def _compared(
    image: str, drawings: Sequence[Sample], labels: LabelSet
) -> tuple[AgreedTask, list[tuple[tuple[str, str], Agreement]]]:
    """Return what is said of an image and of each pair of its annotators."""
    classes = len(labels.classes)
    drawn = sorted(((_annotator(sample), channels(sample, labels)) for sample in drawings), key=lambda one: one[0])
    pairs = [
        ((one, other), Agreement.between(ours, theirs, classes))
        for (one, ours), (other, theirs) in combinations(drawn, 2)
    ]
    total = sum((found for _, found in pairs), Agreement.none(classes))
    return AgreedTask(image, tuple(name for name, _ in drawn), total), pairs


def _annotator(sample: Sample) -> str:
    """Return who drew a sample, else the name of the annotation."""
    studio = sample.attributes.get("labelstudio")
    annotation = studio.get("annotation") if isinstance(studio, dict) else None
    who = annotation.get("completed_by") if isinstance(annotation, dict) else None
    if isinstance(who, dict):
        who = who.get("id")
    return str(who) if isinstance(who, int) else f"annotation {sample.id.rpartition(_BETWEEN)[2]}"
