"""The annotation of a task that counts, image by image: what is learned of it, what it was made from, and what is left out."""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from maskloop_converters.errors import FormatError
from maskloop_converters.formats import labelstudio
from maskloop_converters.formats.labelstudio.choosing import DISPUTED, chosen
from maskloop_converters.formats.labelstudio.config import parse as parse_labels
from maskloop_converters.formats.labelstudio.results import Shape, shapes
from maskloop_converters.formats.labelstudio.task_images import images_of
from maskloop_converters.formats.labelstudio.tasks import Drawn, Task, image_name
from maskloop_converters.formats.labelstudio.tasks import tasks as read_tasks
from maskloop_converters.report import ErrorPolicy, OnError, Tally
from maskloop_converters.samples import Label, LabelSet, Sample

from ..studio import label_config
from ..studio.client import StudioClient
from ..studio.errors import ImageError, StudioError
from ..studio.label_config import LabelConfig
from ..training.merging import Merging
from ..training.metrics import VOID
from .changes import channels
from .classes import as_the_model_says, merged, names_of, new_labels
from .collected import Collected, CorrectionsError, Role, role_of
from .hidden import hidden_lines
from .task_images import TaskImages

# Images and predictions that are fetched at once.
_AT_ONCE = 4
_OURS = "maskloop"
# The file that holds the tasks with the annotations that count, one an image.
COUNTED = "tasks.json"

Watch = Callable[[int, "int | None"], None]
# Which of several annotations of a task are learned from; each of them by itself would be several lessons of one image.
Counting = Literal["latest", "ground-truth", "majority"]
COUNTING: tuple[Counting, ...] = get_args(Counting)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A task to learn from.

    Attributes:
        task: the task.
        annotations: that count: one, or those that vote.
        pictures: what is to be learned from each of its images.
    """

    task: Task
    annotations: Sequence[Drawn]
    pictures: Sequence[_Picture]


@dataclass(frozen=True, slots=True)
class _Picture:
    """One image of a task.

    Attributes:
        id: of the sample.
        to_name: name of its Image tag, None where the task has one image and nothing says its name.
        key: where in the task's data its address stands.
        address: None where the task has none.
        results: each annotation's results on it.
        found: the regions of each.
    """

    id: str
    to_name: str | None
    key: str
    address: str | None
    results: Sequence[list[Any]]
    found: Sequence[Sequence[Shape]]

    @property
    def regions(self) -> list[Shape]:
        """All of them."""
        return [shape for found in self.found for shape in found]


@dataclass(slots=True)
class Collector:
    """Chooses the annotation of a task that counts and brings images, annotation and prediction together.

    Attributes:
        images: finds them.
        xml: the project's label config, '' where it is not known.
        known: classes of the model that the training starts from.
        on_error: 'skip' leaves out and counts what cannot be read.
        ask: returns a stored prediction by its number, None where it is gone.
        watch: is told of (tasks done, all).
        choice: which of several annotations of a task count, see :func:`maskloop_converters.formats.labelstudio.read`.
    """

    images: TaskImages
    xml: str
    known: LabelSet | None
    on_error: OnError
    ask: Callable[[int], dict[str, Any] | None]
    watch: Watch
    choice: Counting = "latest"
    skipped: Tally = field(default_factory=Tally)
    roles: dict[str, Role] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    tasks: dict[str, str] = field(default_factory=dict)
    _config: LabelConfig | None = None
    _listed: tuple[Label, ...] = ()
    _stands_for: dict[str, list[str]] = field(default_factory=dict)
    _renamed: dict[str, str] = field(default_factory=dict)

    def collect(self, export: Path, directory: Path, where: str) -> Collected:
        """Collect the tasks of an export.

        Args:
            export: Label Studio's JSON.
            directory: gets the chosen annotations; what was in it goes.
            where: what errors call the source.
        """
        if self.xml:
            self._config = label_config.parse(self.xml)
            left_alone = self._config.left_alone
            listed = parse_labels(self.xml, where).labels.labels
            self._listed = tuple(label for label in listed if label.name not in left_alone)
            self._stands_for = as_the_model_says([label.name for label in self._listed], self._config, self.known)
            self._renamed = names_of(self._stands_for)
        total = sum(1 for _ in read_tasks(export, ErrorPolicy("skip"), brushes=False))
        if not total:
            raise CorrectionsError(f"{where} has no annotation yet: label some images first")
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        counting = directory / COUNTED
        with counting.open("w", encoding="utf-8") as file:
            file.write("[")
            for number, record in enumerate(self._records(export, total)):
                # streams of brushes were read as bytes
                file.write(("\n" if not number else ",\n") + json.dumps(record, default=list))
            file.write("\n]\n")
        self.images.complain()
        for message in self.images.gone:
            self.skipped.add("images that are gone", message)
        if not self.roles:
            left_out = "; ".join(self.skipped.lines()) or "nothing was drawn"
            raise CorrectionsError(f"{where} has nothing to learn from in {total} task(s): {left_out}")
        merging, notes = self._labels(where)
        labels = merging.labels
        cache = self.images.cache
        voting = self.choice == "majority"
        annotated = labelstudio.read(
            counting,
            use="annotations",
            annotations="majority" if voting else "latest",
            on_error=self.on_error,
            # else a background would claim what annotators disagree about
            labels=labels.with_ignored() if voting else labels,
            images_from=cache,
        )
        samples = tuple(annotated)
        if voting:
            samples = tuple(sample for sample in samples if self._decided(sample, labels))
        self.skipped.merge(annotated.skipped)
        if not samples:
            raise CorrectionsError(f"{where} has nothing to learn from: {'; '.join(self.skipped.lines())}")
        predicted = labelstudio.read(counting, use="predictions", on_error="skip", labels=labels, images_from=cache)
        predictions = {sample.id: sample for sample in predicted}
        read = {sample.id for sample in samples}
        roles = {name: role for name, role in self.roles.items() if name in read}
        notes = (*notes, *hidden_lines(samples, labels))
        if disputed := annotated.notes.counts.get(DISPUTED):
            notes = (*notes, f"{disputed:,} {DISPUTED}")
        return Collected(labels, samples, roles, predictions, None, notes, self.skipped, self.tasks, merging)

    def _decided(self, sample: Sample, labels: LabelSet) -> bool:
        """Tell whether annotators agree on any pixel of an image; those that have nothing to learn from are counted."""
        decided = bool((channels(sample, labels) != VOID).any())
        if not decided:
            self.skipped.add("images whose annotators agree on no pixel", f"task {sample.id}")
        return decided

    def _records(self, export: Path, total: int) -> Iterator[dict[str, Any]]:
        """Yield one task an image that has something to learn from, with one annotation, its prediction and its image."""
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="images") as pool:
            waiting: deque[tuple[_Candidate, list[Future[str]], Future[dict[str, Any] | None]]] = deque()
            done = 0
            for candidate in self._candidates(export):
                task = candidate.task
                images = [pool.submit(self.images.find, task.id, one.address, one.key) for one in candidate.pictures]
                waiting.append((candidate, images, pool.submit(self._started_from, candidate)))
                if len(waiting) > 2 * _AT_ONCE:
                    yield from self._joined(*waiting.popleft())
                    done += 1
                    self.watch(done, total)
            while waiting:
                yield from self._joined(*waiting.popleft())
        self.watch(total, total)

    def _candidates(self, export: Path) -> Iterator[_Candidate]:
        """Yield the tasks that have an annotation to learn from."""
        for number, task in enumerate(read_tasks(export, ErrorPolicy(self.on_error, self.skipped)), 1):
            task.id = task.id or f"{export.stem}-{number}"
            if not any(not drawn.cancelled for drawn in task.annotations):
                self.skipped.add("tasks whose annotations were all cancelled", f"task {task.id}")
                continue
            counting = chosen(task, "annotations", self.choice, ErrorPolicy("skip"))
            if not counting:
                self.skipped.add("tasks without an annotation that is marked as ground truth", f"task {task.id}")
                continue
            results = [self._learned(drawn.result, task.id) for drawn in counting]
            if pictures := list(self._pictures(task, results)):
                yield _Candidate(task, counting, pictures)

    def _learned(self, result: list[Any], task_id: str) -> list[Any]:
        """Return an annotation's results without those of controls that the model leaves alone; labels as written."""
        if self._config is None:
            return result
        skipped = self._config.skipped
        gone = {item.get("id") for item in result if isinstance(item, dict) and item.get("from_name") in skipped}
        if gone:
            left = f"regions of {', '.join(sorted(skipped))}, left alone (model_skip)"
            self.skipped.add(left, f"task {task_id}", len(gone))
        return [
            self._config.as_written(item) if isinstance(item, dict) else item
            for item in result
            if not (isinstance(item, dict) and (item.get("from_name") in skipped or (item.get("id") or "") in gone))
        ]

    def _pictures(self, task: Task, results: Sequence[list[Any]]) -> Iterator[_Picture]:
        """Yield the images of a task, each with the results on it; those with nothing to learn from are counted."""
        for to_name, key, address, single in self._images_of(task, [item for result in results for item in result]):
            own = [
                result if to_name is None else [item for item in result if _on(item, to_name, single)]
                for result in results
            ]
            # what is wrong is for the reading of them to say
            found = [shapes(result, task.where, ErrorPolicy("skip"))[0] for result in own]
            called = f"task {task.id}" if single else f"task {task.id}, {to_name}"
            if not single and address is None and not any(found):
                continue  # pages that a task may have
            if not any(found) and not self._has_background():
                self.skipped.add("tasks with an empty annotation" if single else "images without a region", called)
                continue
            yield _Picture(task.id if single else f"{task.id}-{to_name}", to_name, key, address, own, found)

    def _images_of(self, task: Task, result: list[Any]) -> Iterator[tuple[str | None, str, str | None, bool]]:
        """Yield (name of the Image tag, key, address, whether it is the only one) of a task's images."""
        if self._config is not None:
            images = self._config.images
            for image in images:
                yield image.name, image.key, image.address(task.data), len(images) == 1
            return
        try:
            found = images_of(task, [Drawn(result, {})], None)
        except FormatError as error:
            text = f"{error}; or put it beside the export, as <name of the export>.label_config.xml"
            if self.on_error == "fail":
                raise CorrectionsError(text) from error
            self.skipped.add("tasks that cannot be read", text)
            return
        for one in found:
            yield one.suffix.removeprefix("-") or None, one.key, one.address, len(found) == 1

    def _joined(
        self, candidate: _Candidate, images: list[Future[str]], prediction: Future[dict[str, Any] | None]
    ) -> Iterator[dict[str, Any]]:
        """Yield a task's images with what was fetched for them; none that is gone and may be."""
        task = candidate.task
        derived = [isinstance(drawn.facts.get("parent_prediction"), int) for drawn in candidate.annotations]
        for one, image in zip(candidate.pictures, images, strict=True):
            try:
                name = image.result()
            except ImageError as error:
                self.images.miss(error)
                continue
            before = self._before(prediction.result(), task, one)
            roles = {
                role_of([shape.item.get("origin") for shape in found], derived=own, removed=_removed(before, found))
                for found, own in zip(one.found, derived, strict=True)
            }
            # a prediction that one of several left as it was and another changed is corrected
            self.roles[one.id] = roles.pop() if len(roles) == 1 else "corrected"
            self.names.update(label for shape in one.regions for label in shape.names)
            if one.id != task.id:
                self.tasks[one.id] = task.id
            ours = {
                "id": one.id,
                "image": {"url": one.address, "name": image_name(one.address or "") or name, "file": name},
            }
            yield {
                "id": int(task.id) if task.id.isdigit() else task.id,
                "data": {"image": one.address},
                "meta": {_OURS: ours},
                "annotations": [
                    {
                        "id": drawn.name,
                        "completed_by": drawn.facts.get("completed_by"),
                        "result": self._as_learned(result),
                    }
                    for drawn, result in zip(candidate.annotations, one.results, strict=True)
                ],
                "predictions": [] if before is None else [{"result": self._as_learned(before)}],
            }

    def _before(self, prediction: Mapping[str, Any] | None, task: Task, one: _Picture) -> list[Any] | None:
        """Return the results of a task's prediction on one of its images, None where there was no prediction."""
        if prediction is None:
            return None
        result = prediction["result"]
        if self._config is not None:
            result = [self._config.as_written(item) if isinstance(item, dict) else item for item in result]
        single = one.id == task.id
        return [item for item in result if one.to_name is None or _on(item, one.to_name, single)]

    def _has_background(self) -> bool:
        if self.known is None or self.known.background_id is None:
            return False
        names = {label.id: label.name for label in self.known.labels}
        painted = parse_labels(self.xml, "").labels.labels if self.xml else ()
        return names.get(self.known.background_id) not in {label.name for label in painted}

    def _started_from(self, candidate: _Candidate) -> dict[str, Any] | None:
        """Return the prediction that the newest annotation was made from, None where there is none or it is gone."""
        task, annotation = candidate.task, max(candidate.annotations, key=lambda drawn: drawn.age)
        own = annotation.facts.get("prediction")
        if isinstance(own, dict) and isinstance(own.get("result"), list):
            return own
        parent = annotation.facts.get("parent_prediction")
        known = {drawn.facts.get("id"): drawn for drawn in task.predictions}
        if parent in known:
            return {"result": known[parent].result}
        if isinstance(parent, int):
            return self.ask(parent)
        origins = [str(shape.item.get("origin")) for one in candidate.pictures for shape in one.regions]
        if task.predictions and any(origin.startswith("prediction") for origin in origins):
            return {"result": max(task.predictions, key=lambda drawn: drawn.age).result}
        return None

    def _as_learned(self, result: list[Any]) -> list[Any]:
        """Return results whose labels are called as the model calls them: two labels may stand for one class."""
        if not self._renamed:
            return result
        return [label_config.relabelled(item, self._class_of) if isinstance(item, dict) else item for item in result]

    def _class_of(self, name: str) -> str:
        # one that the label config has lost must not be taken for a class of its name
        return self._renamed.get(name, f"{name} (not in the label config)")

    def _labels(self, where: str) -> tuple[Merging, tuple[str, ...]]:
        """Return the labels as the model will call them, its classes, and notes."""
        if self._listed and (strange := sorted(self.names - set(self._renamed))):
            text = (
                f"annotations of {where} have labels that its label config does not have: {', '.join(strange)}; was it "
                "changed? Put them back into the config, or give those regions another label"
            )
            if self.on_error == "fail":
                raise CorrectionsError(f"{text}; --on-error skip leaves the regions out")
            self.skipped.add("labels that the label config does not have", text, len(strange))
        names = dict.fromkeys(self._renamed.values() if self._listed else sorted(self.names))
        together = {self._renamed[name]: found for name, found in self._stands_for.items() if len(found) > 1}
        labels, notes = new_labels(list(names), self.known, complete=bool(self._listed), together=together)
        alike: dict[str, list[str]] = {}
        for theirs, ours in self._renamed.items():
            alike.setdefault(ours, []).append(theirs)
        texts = [
            f"labels {', '.join(names)} are learned as one class, {ours}"
            for ours, names in alike.items()
            if len(names) > 1
        ]
        notes = (*notes, *texts)
        colors = {self._renamed[label.name]: label.color for label in reversed(self._listed)}
        final = tuple(replace(label, color=label.color or colors.get(label.name)) for label in labels.labels)
        return merged(replace(labels, labels=final), self.known, together), notes


def stored_prediction(client: StudioClient, number: int) -> dict[str, Any] | None:
    """Return a stored prediction, None where it was deleted."""
    try:
        found = client.request("GET", f"/api/predictions/{number}/")
    except StudioError as error:
        if error.status == 404:
            return None
        raise
    return found if isinstance(found, dict) and isinstance(found.get("result"), list) else None


def _on(item: Any, to_name: str, single: bool) -> bool:
    """Tell whether a result is on an image; where there is one image only, a result that names none is."""
    if not isinstance(item, dict):
        return single  # for the reader to refuse
    return item.get("to_name") == to_name or (single and not isinstance(item.get("to_name"), str))


def _removed(before: Sequence[Any] | None, found: Sequence[Shape]) -> bool:
    """Tell whether a region of the prediction is not in the annotation any more."""
    if before is None:
        return False
    ids = {item.get("id") for item in before if isinstance(item, dict)}
    return bool(ids - {shape.item.get("id") for shape in found})
