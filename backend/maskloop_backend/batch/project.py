"""Label a Label Studio project: its tasks' images through the model, predictions back in bulk, never through /predict."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from maskloop_converters.samples import LabelSet

from ..locks import held
from ..model.record import VERSION_PATTERN
from ..registry.store import Registry
from ..studio import label_config, predictions, stale
from ..studio.addresses import AddressPolicy
from ..studio.client import StudioClient, TaskState
from ..studio.images import ImageFetcher
from ..studio.label_config import LabelConfig
from ..studio.predictions import PredictionOptions
from .engines.protocol import Engine, Lost
from .errors import BatchError
from .importing import Importer, Made
from .items import Failure, Finished, Item, Shard
from .labelling import Progress
from .report import Report
from .shard import Labelled, Limits
from .sources import shuffled
from .status import BatchStatus
from .status import TaskState as Noted
from .work import Labelling, Model

Only = Literal["all", "unlabelled"]
# Images of a shard: predictions of so many are some megabytes of JSON.
SHARD_IMAGES = 50
_PREFIX = "project:"


def project_of(place: str) -> str | None:
    """Return the project (id or title) that a place names ('project:7'), None where it names none."""
    return place.removeprefix(_PREFIX) if place.startswith(_PREFIX) else None


@dataclass(frozen=True, slots=True)
class Access:
    """How a worker reaches a project's images. It is never written down.

    Attributes:
        url: of Label Studio.
        token: for its own images.
        allow_hosts: see :class:`~..studio.addresses.AddressPolicy`.
        deny_private: likewise.
    """

    url: str
    token: str = field(repr=False)
    allow_hosts: tuple[str, ...] = ()
    deny_private: bool = False


@dataclass(slots=True)
class TaskReader:
    """Reads images of tasks, in a worker; thread-safe."""

    access: Access
    config: str
    _fetcher: ImageFetcher | None = None
    _parsed: LabelConfig | None = None

    def __call__(self, item: Item) -> bytes:
        """Return the encoded image of an item, whose ``id`` is the name of its Image tag.

        Raises:
            ImageError: it cannot be had.
        """
        if self._fetcher is None or self._parsed is None:
            access = self.access
            self._parsed = label_config.parse(self.config)
            policy = AddressPolicy.parse(access.allow_hosts, access.deny_private, access.url)
            self._fetcher = ImageFetcher(access.url, access.token, policy=policy)
        tag = next(image for image in self._parsed.images if image.name == item.id)
        return self._fetcher.read(tag.alone(item.task or {}), tag.key)


@dataclass(frozen=True, slots=True)
class PredictionsDestination:
    """Takes shards of tasks and gives back what Label Studio imports.

    Attributes:
        config: the project's label config.
        labels: of the model.
        version: the model version.
        options: how predictions become regions.
    """

    config: str
    labels: LabelSet
    version: str
    options: PredictionOptions

    @contextmanager
    def opening(self, shard: Shard) -> Iterator[PredictionsWriter]:
        """Give what takes a shard's images."""
        yield PredictionsWriter(self, shard)


class PredictionsWriter:
    """Puts the predictions of each task's images together to one, as JSON."""

    def __init__(self, destination: PredictionsDestination, shard: Shard) -> None:
        self._mapping = label_config.match(label_config.parse(destination.config), destination.labels)
        self._destination = destination
        self._open = Counter(item.number for item in shard.items)
        self._numbers = {item.name: item.number for item in shard.items}
        self._predicted: dict[int, dict[str, Any]] = {}
        self._failed: set[int] = set()
        self.lines: list[bytes] = []

    def write(self, labelled: Labelled) -> int:
        """Take one image; return how many regions its task has, once all its images are there."""
        number = labelled.item.number
        self._predicted.setdefault(number, {})[labelled.item.id] = labelled.prediction
        return self._came(number)

    def fail(self, failure: Failure) -> None:
        """Take note of an image that is not labelled: its task gets no prediction."""
        number = self._numbers[failure.name]
        self._failed.add(number)
        self._came(number)

    def _came(self, number: int) -> int:
        self._open[number] -= 1
        if self._open[number]:
            return 0
        predicted = self._predicted.pop(number, {})
        if number in self._failed:
            return 0
        made = predictions.build(predicted, self._mapping, self._destination.options, version=self._destination.version)
        made.pop("void", None)
        self.lines.append(orjson.dumps({"task": number, **made}))
        return len(made["result"])


@dataclass(frozen=True, slots=True)
class ProjectRequest:
    """What is asked for.

    Attributes:
        model: that labels.
        project: id or title.
        access: to its images.
        options: how predictions become regions.
        only: all tasks that lack a prediction of the version, or those of them that nobody annotated.
        view: number of a data manager's view whose tasks are taken; None takes all.
        replace: delete the predictions of other versions of ours, where this one's is stored.
        limit: takes so many tasks at most.
        seed: takes them in random order; None by their number.
        limits: of memory and images, of each process.
    """

    model: Model
    project: str
    access: Access
    options: PredictionOptions = field(default_factory=PredictionOptions)
    only: Only = "all"
    view: int | None = None
    replace: bool = False
    limit: int | None = None
    seed: int | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class ProjectPlan:
    """What is to be done, before anything is changed.

    Attributes:
        number: of the project.
        config: its label config.
        labels: of the model.
        tasks: that get a prediction, with their data.
        have: how many tasks have one of the version already.
        stale: of those, the ones whose prediction was made for another label config: they get a new one.
        notes: what should be said.
    """

    number: int
    config: str
    labels: LabelSet
    tasks: tuple[dict[str, Any], ...]
    have: int
    stale: stale.Stale
    notes: tuple[str, ...]


def prepare(client: StudioClient, request: ProjectRequest) -> ProjectPlan:
    """Return what is to be done with a project; nothing is changed.

    Raises:
        LabelError: no class of the model is a label of the project.
        RegistryError: there is no such version.
        StudioError: Label Studio does not answer, or there is no such project.
    """
    version = request.model.version
    record = Registry(request.model.home).record(version)
    found = client.project(request.project)
    number, config = int(found["id"]), str(found["label_config"])
    mapping = label_config.match(label_config.parse(config), record.labels)
    states: dict[int, TaskState] = {}
    data: dict[int, Any] = {}
    for state, described in client.described_tasks(number, request.view):
        states[state.id], data[state.id] = state, described
    old = stale.find(client, found, version, [state for state in states.values() if not state.annotations])
    wanted = [
        state.id
        for state in sorted(states.values(), key=lambda state: state.id)
        if (version not in state.versions or state.id in old.tasks)
        and (request.only == "all" or not (state.annotations or state.labelled))
    ]
    if request.seed is not None:
        wanted = [item.number for item in shuffled((Item(str(task), number=task) for task in wanted), request.seed)]
    wanted = wanted[: request.limit]
    notes = list(mapping.notes)
    if mapping.missing:
        notes.append(f"the label config has no label for {', '.join(mapping.missing)}: these classes are not shown")
    have = sum(version in state.versions for state in states.values()) - len(old.tasks)
    tasks = tuple({"id": task, "data": data[task]} for task in wanted)
    return ProjectPlan(number, config, record.labels, tasks, have, old, tuple(notes))


def label_project(
    client: StudioClient,
    request: ProjectRequest,
    plan: ProjectPlan,
    engine: Engine,
    status: BatchStatus,
    progress: Progress = lambda done, total: None,
    pause: Callable[[float], object] = time.sleep,
) -> Report:
    """Predict the plan's tasks and store the predictions; a second time adds nothing.

    Raises:
        StudioError: Label Studio refuses, or does not come back; what is stored stays, and is not sent again.
        BatchError: another process labels the project.
        EngineError: the engine cannot run.
    """
    version = request.model.version
    busy = BatchError(f"another `maskloop label` writes into project {plan.number}; wait for it, or stop it first")
    with held(request.model.home / f"label-project-{plan.number}.lock", busy=busy):
        place = f"{_PREFIX}{plan.number}"
        ids = [int(task["id"]) for task in plan.tasks]
        batch = status.begin(place, place, version, plan.have + len(ids), ids)
        report = Report(version, plan.have + len(ids), plan.have, plan.have, notes=list(plan.notes))
        if set(plan.stale.tasks) & set(ids):
            stale.remove(client, stale.Stale(tuple(sorted(set(plan.stale.tasks) & set(ids)))), version)
        tally = _Tally(report, status, batch, progress)
        work = Labelling(
            request.model,
            TaskReader(request.access, plan.config),
            PredictionsDestination(plan.config, plan.labels, version, request.options),
            request.options.below,
            request.limits,
        )
        importer = Importer(client, plan.number, version, pause=pause)
        shards = list(_shards(plan))
        try:
            for shard, result in engine.run(work, shards, tally.tick):
                tally.take(shard, result)
                if not isinstance(result, Lost):
                    made = (Made(int(orjson.loads(line)["task"]), line) for line in result.lines)
                    tally.stored(importer.add(made))
            tally.stored(importer.flush())
        finally:
            status.count(batch, report.done, len(report.failures), "done" if not report.missing else "incomplete")
        report.seconds = tally.seconds
        report.notes += _shown(client, plan.number, version, report.done)
        if request.replace and (removed := _remove_others(client, plan.number, version)):
            report.notes.append(f"predictions of other versions deleted: {removed:,}")
    return report


class _Tally:
    """Counts tasks, in the report and in the status file."""

    def __init__(self, report: Report, status: BatchStatus, batch: int, progress: Progress) -> None:
        self._report, self._status, self._batch, self._progress = report, status, batch, progress
        self._started = self._last = 0.0
        self._through = report.before
        progress(report.before, report.images)

    def tick(self, count: int) -> None:
        """So many more images went through the model."""
        self._last = time.perf_counter()
        self._started = self._started or self._last
        self._through += count
        self._progress(min(self._through, self._report.images), self._report.images)

    def take(self, shard: Shard, result: Finished | Lost) -> None:
        """Count what a shard came to; its predictions are not stored yet."""
        numbers = {item.name: item.number for item in shard.items}
        if isinstance(result, Lost):
            failures = [Failure(item.name, "unwritable", result.reason) for item in shard.items]
            made: set[int] = set()
        else:
            failures = result.failures
            made = set(numbers.values()) - {numbers[failure.name] for failure in failures}
            self._report.regions += result.regions
            self._report.void = (self._report.void[0] + result.void[0], self._report.void[1] + result.void[1])
        states: dict[int, tuple[Noted, str | None]] = dict.fromkeys(made, ("processing", None))
        for failure in failures:
            task = numbers[failure.name]
            if states.get(task, ("", None))[0] != "failed":
                self._report.failures.append(Failure(f"task {task}", failure.kind, failure.reason))
            states[task] = ("failed", failure.reason)
        self._status.tasks(self._batch, states)

    def stored(self, outcome: dict[int, str | None]) -> None:
        """Count what Label Studio stored, and what it refused."""
        if not outcome:
            return
        self._last = time.perf_counter()
        for task, reason in outcome.items():
            if reason is None:
                self._report.done += 1
                self._report.labelled += 1
            else:
                self._report.failures.append(Failure(f"task {task}", "unwritable", reason))
        states: dict[int, tuple[Noted, str | None]] = {
            task: ("done", None) if reason is None else ("failed", reason) for task, reason in outcome.items()
        }
        self._status.tasks(self._batch, states)
        self._status.count(self._batch, self._report.done, len(self._report.failures))

    @property
    def seconds(self) -> float:
        """From the first model that was ready to the last prediction that was stored."""
        return self._last - self._started


def _shards(plan: ProjectPlan) -> Iterator[Shard]:
    """Yield the tasks in shards; all images of a task are in one."""
    tags = label_config.parse(plan.config).images
    for number, start in enumerate(range(0, len(plan.tasks), SHARD_IMAGES)):
        items = []
        for task in plan.tasks[start : start + SHARD_IMAGES]:
            there = [tag for tag in tags if tag.address(task.get("data")) is not None] or tags[:1]
            items += [Item(f"task {task['id']}, {tag.name}", "", tag.name, int(task["id"]), task) for tag in there]
        yield Shard(number, tuple(items))


def _shown(client: StudioClient, project: int, version: str, done: int) -> list[str]:
    """Have the project show the version, where no backend does; return what should be said of it."""
    selected = client.project(project).get("model_version") or ""
    if selected == version or not done:
        return []
    if client.connections(project):
        return [f"the project shows {selected or 'no version'}: `maskloop rollout {project} {version}` changes that"]
    client.update_project(project, model_version=version)
    return []


def _remove_others(client: StudioClient, project: int, version: str) -> int:
    """Delete predictions of other versions of ours of tasks that have this one's; nothing an annotation may come from."""
    states = client.task_states(project)
    removed = 0
    others = sorted({old for state in states for old in state.versions - {version} if VERSION_PATTERN.fullmatch(old)})
    for old in others:
        having = [state for state in states if old in state.versions]
        if all(version in state.versions and not state.annotations for state in having):
            removed += client.delete_version(project, old)
            continue
        removed += sum(
            client.delete_task_predictions(state.id, old)
            for state in having
            if version in state.versions and not state.annotations
        )
    return removed
