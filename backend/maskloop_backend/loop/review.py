"""Labelled tasks in the order in which somebody should look at them again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from maskloop_converters.formats.labelstudio.tasks import tasks as read_tasks
from maskloop_converters.report import ErrorPolicy
from maskloop_converters.samples import LabelSet, Sample

from ..active.ordering import shown_version, store_scores
from ..evaluation.disagreement import Disagreement, comparable, disagreements
from ..evaluation.measurement import MeasurementError
from ..evaluation.pictures import predictions
from ..evaluation.report import ReviewedImage
from ..inference.prediction import Segmenter
from ..inference.predictor import Predictor
from ..registry.store import Registry
from ..studio.client import StudioClient
from ..studio.connect import retrieve_predictions
from ..studio.images import ImageFetcher
from ..training.dataset import Examples
from .aside import set_aside
from .collected import Collected, Role, as_drawn
from .confirmed import Confirmed, ReviewError, digest_of
from .corrections import from_project
from .folds import Folds, NoJudgeError, Training
from .holdout import Holdout, project_directory
from .out_of_fold import OutOfFold

Watch = Callable[[int, int], None]
# Score of what need not be looked at: labels that were confirmed.
_RIGHT = 1.0


@dataclass(frozen=True, slots=True)
class ReviewedTask:
    """A labelled task and what a version says of its labels.

    Attributes:
        task: id.
        version: that was asked; it did not learn from the labels. 'fold 1 of 3' is one that was made for the review.
        role: what the annotation is to the model that drew first; see :class:`.collected.Collected`.
        images: what was found of each of its images, the one that is most worth a look first.
    """

    task: str
    version: str
    role: Role | None
    images: tuple[Disagreement, ...]

    @property
    def score(self) -> float:
        """Of the image that is most worth a look; see :attr:`.disagreement.Disagreement.score`."""
        return self.images[0].score

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "task": _number(self.task),
            "score": self.score,
            "version": self.version,
            "role": self.role,
            "images": [one.to_json() for one in self.images],
        }


@dataclass(frozen=True, slots=True)
class Review:
    """What was found of a project's labels.

    Attributes:
        project: id.
        tasks: those to look at, the most urgent first.
        confirmed: ids of tasks whose labels somebody confirmed, and did not change since.
        not_judged: why no version may judge a task, by its id.
        drawn: the images of the first tasks, for a report.
        labels: the classes of the labels.
        notes: what else should be said.
    """

    project: int
    tasks: tuple[ReviewedTask, ...]
    confirmed: tuple[str, ...]
    not_judged: Mapping[str, str]
    drawn: tuple[ReviewedImage, ...]
    labels: LabelSet
    notes: tuple[str, ...]

    @property
    def versions(self) -> dict[str, int]:
        """Number of tasks that each version judged, most first."""
        counts: dict[str, int] = {}
        for one in self.tasks:
            counts[one.version] = counts.get(one.version, 0) + 1
        return dict(sorted(counts.items(), key=lambda item: -item[1]))

    def to_json(self, limit: int | None = None) -> dict[str, Any]:
        """Return it as JSON values, with so many tasks at most."""
        return {
            "project": self.project,
            "versions": self.versions,
            "tasks": [{"rank": rank, **one.to_json()} for rank, one in enumerate(self.tasks[:limit], 1)],
            "confirmed": [_number(task) for task in self.confirmed],
            "not_judged": [{"task": _number(task), "why": why} for task, why in self.not_judged.items()],
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Applied:
    """What was stored in Label Studio.

    Attributes:
        model_version: whose predictions have new scores: the one that the project shows.
        tasks: number of those that have a score now.
        without_prediction: ids of tasks that have no prediction of that version, and so no place for a score.
    """

    model_version: str
    tasks: int
    without_prediction: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def review(
    client: StudioClient,
    fetcher: ImageFetcher,
    project: str | int,
    registry: Registry,
    *,
    version: str | None = None,
    folds: int = 0,
    confirm: Sequence[int] = (),
    write: bool = True,
    drawn: int = 0,
    collecting: Callable[[int, int | None], None] = lambda done, total: None,
    training: Training = lambda fold, done, total: None,
    judging: Watch = lambda done, total: None,
) -> Review:
    """Rank a project's labelled tasks by how much a version that did not learn from them disagrees.

    Args:
        client: of the Label Studio.
        fetcher: of its images.
        project: its id or title.
        registry: of the versions that may judge.
        version: that judges all tasks; None finds one for each, see :class:`.out_of_fold.OutOfFold`.
        folds: tasks that every version may have learned from are judged by so many trainings, see :class:`.folds.Folds`; 0
            leaves them out.
        confirm: ids of tasks whose labels are right as they are.
        write: keep what is confirmed; False: only act as if.
        drawn: so many images are kept for a report.
        collecting: is told of (tasks collected, all or None).
        training: is told of (fold, steps done, all).
        judging: is told of (images judged, all).

    Raises:
        ReviewError: a task to confirm has no label, or no version is served and none is to be trained.
        CorrectionsError: nothing is labelled.
        StudioError: Label Studio does not answer.
    """
    number = int(client.project(project)["id"])
    directory = project_directory(registry.home, number)
    kept = Confirmed.read(directory)
    finder = OutOfFold(registry, number, Holdout.read(directory))
    asked = version or next(iter(finder.candidates), None)
    if asked is None and not folds:
        raise ReviewError(
            f"no version is served to project {number} yet: `maskloop train` makes one, --model names one, --folds 3 trains "
            "some that only judge"
        )
    served = None if asked is None else registry.record(asked)
    with set_aside(directory, "review") as aside:
        collected = from_project(
            client,
            fetcher,
            number,
            directory,
            None if served is None else served.labels,
            on_error="skip",
            watch=collecting,
            predictions=False,
            aside=aside,
        )
        made = _made(aside / "export.json")
        found = _Found(collected)
        digests = {task: digest_of(samples, collected.labels) for task, samples in found.tasks.items()}
        confirming = {str(task): digests.get(str(task)) for task in confirm}
        if unknown := [task for task, digest in confirming.items() if digest is None]:
            raise ReviewError(f"task {unknown[0]} of project {number} has no label that could be right")
        fresh = {task: digest for task, digest in confirming.items() if digest is not None}
        if fresh:
            kept = kept.adding(fresh) if write else Confirmed(directory, {**kept.digests, **fresh})
        right = [task for task in found.tasks if kept.holds(task, digests[task])]
        by_version: dict[str, list[str]] = {}
        left: list[str] = []
        for task in found.tasks:
            if task in right:
                continue
            judge = version or finder.judge(task, made.get(task))
            if judge is None:
                left.append(task)
            else:
                by_version.setdefault(judge, []).append(task)
        judges = [
            Judge(name, tasks, partial(_version, registry, name, collected)) for name, tasks in by_version.items()
        ]
        if folds:
            made_here = Folds(collected, left, folds, served, aside / "folds", training)
            judges += [Judge(one.name, one.tasks, partial(made_here.trained, one)) for one in made_here.all]
        else:
            why = "every version that is there may have learned from its label; --folds 3 trains some that did not"
            found.not_judged |= dict.fromkeys(left, why)
        found.judge_all(judges, drawn, judging)
    notes = [*collected.notes, *(f"left out: {line}" for line in collected.skipped.lines())]
    tasks = sorted(found.reviewed, key=lambda one: (-one.score, int(one.task) if one.task.isdigit() else 0))
    shown = sorted(found.shown, key=lambda one: -one.found.score)[:drawn]
    return Review(number, tuple(tasks), tuple(right), found.not_judged, tuple(shown), collected.labels, tuple(notes))


def apply(client: StudioClient, found: Review, *, each: Watch = lambda done, total: None) -> Applied:
    """Store a review where Label Studio's data manager sorts and filters: in the scores of the tasks' predictions.

    A task gets 1 - its score, so that "Prediction score", lowest first, is the order of the review, and those up to 0.5
    are labels that the model is sure are wrong; confirmed ones get 1. Where a project is connected, predictions that
    labelled tasks lack of the version which it shows are fetched first.

    Args:
        client: of the Label Studio.
        found: the review.
        each: is told of (tasks done, all).

    Raises:
        ReviewError: no task has a place for its score.
        StudioError: the project shows no version, or Label Studio refuses.
    """
    shown = shown_version(client.project(found.project))
    scores = {int(one.task): _RIGHT - one.score for one in found.tasks}
    scores |= {int(task): _RIGHT for task in found.confirmed}
    lacking = [
        state.id for state in client.task_states(found.project) if state.id in scores and shown not in state.versions
    ]
    if lacking and client.connections(found.project):
        retrieve_predictions(client, found.project, lacking)
    without = store_scores(client, shown, scores, each=lambda done: each(done, len(scores)))
    if scores and len(without) == len(scores):
        raise ReviewError(
            f"none of the {len(scores)} labelled tasks has a prediction of {shown}, which project {found.project} shows: "
            "there is no score to change. Start `maskloop serve`, so that Label Studio can fetch them"
        )
    return Applied(shown, len(scores) - len(without), without)


@dataclass(frozen=True, slots=True)
class Judge:
    """Who is asked about the labels of some tasks.

    Attributes:
        name: of the version, or of what stands in for one.
        tasks: ids; it did not learn from their labels.
        load: gives it, with the classes of the labels.
    """

    name: str
    tasks: Sequence[str]
    load: Callable[[], Segmenter]


@dataclass(slots=True)
class _Found:
    """What is found of a collection, judge by judge."""

    collected: Collected
    tasks: dict[str, list[Sample]] = field(init=False)
    reviewed: list[ReviewedTask] = field(default_factory=list)
    not_judged: dict[str, str] = field(default_factory=dict)
    shown: list[ReviewedImage] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tasks = {}
        for sample in self.collected.samples:
            self.tasks.setdefault(self.collected.task(sample), []).append(sample)

    def judge_all(self, judges: Sequence[Judge], drawn: int, judging: Watch) -> None:
        """Have each judge its tasks; so many images of each are kept."""
        done, total = 0, sum(len(self.tasks[task]) for judge in judges for task in judge.tasks)
        for judge in judges:
            version, tasks = judge.name, judge.tasks
            examples = Examples([one for task in tasks for one in self.tasks[task]], self.collected.labels)
            try:
                segmenter = judge.load()
                found = disagreements(segmenter, examples, each=_moved(judging, done, total))
            except (MeasurementError, NoJudgeError) as error:
                self.not_judged |= dict.fromkeys(tasks, str(error))
                continue
            finally:
                done += len(examples)
            by_image = {one.image: one for one in found}
            for task in tasks:
                images = [by_image[sample.id] for sample in self.tasks[task]]
                # what has no pixel that both know says nothing
                if not any(one.pixels for one in images):
                    self.not_judged[task] = f"{version} knows none of its classes"
                    continue
                images.sort(key=lambda one: -one.score)
                role = self.collected.roles.get(images[0].image)
                self.reviewed.append(ReviewedTask(task, version, role, tuple(images)))
            worst = sorted((one for one in found if one.pixels), key=lambda one: -one.score)[:drawn]
            predicted = predictions(segmenter, examples, [one.index for one in worst]) if worst else {}
            names, known = _names(self.collected.labels), _names(segmenter.labels)
            for one in worst:
                image, target = examples[one.index]
                judged = comparable(target, predicted[one.index], names, known)
                self.shown.append(ReviewedImage(one, version, image, target, predicted[one.index], judged))


def _version(registry: Registry, name: str, collected: Collected) -> Segmenter:
    return as_drawn(Predictor(registry.load(name)), collected)


def _moved(judging: Watch, before: int, total: int) -> Callable[[int], None]:
    return lambda done: judging(before + done, total)


def _names(labels: LabelSet) -> list[str]:
    return [label.name for label in labels.classes]


def _made(export: Path) -> dict[str, datetime]:
    """Return when the first annotation of each task was made, where that is known of all of them."""
    times: dict[str, datetime] = {}
    for task in read_tasks(export, ErrorPolicy("skip"), brushes=False):
        stamps = [_time(drawn.facts.get("created_at")) for drawn in task.annotations if not drawn.cancelled]
        known = [stamp for stamp in stamps if stamp is not None]
        if known and len(known) == len(stamps):
            times[task.id] = min(known)
    return times


def _time(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _number(task: str) -> int | str:
    return int(task) if task.isdigit() else task
