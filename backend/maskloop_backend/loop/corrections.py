"""What people labelled, and what they changed of what a model had drawn."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from maskloop_converters import datasets
from maskloop_converters.atomic import atomic_file
from maskloop_converters.errors import DataError, FormatError, LabelError
from maskloop_converters.formats import labelstudio
from maskloop_converters.formats.file_names import relative_path
from maskloop_converters.formats.labelstudio.config import parse as parse_labels
from maskloop_converters.formats.labelstudio.tasks import Drawn, Shape, Task, image_key, image_name, shapes, stored_name
from maskloop_converters.formats.labelstudio.tasks import tasks as read_tasks
from maskloop_converters.report import OnError, Tally
from maskloop_converters.samples import Dataset, Label, LabelSet, Sample

from ..studio import label_config
from ..studio.client import StudioClient
from ..studio.errors import ImageError, StudioError
from ..studio.images import ImageFetcher, decode
from ..training.dataset import read_labelled

Role = Literal["corrected", "manual", "accepted"]
ROLES: tuple[Role, ...] = ("corrected", "manual", "accepted")

# So many images that are gone are named before the collecting stops.
_NAMED = 5
# Images and predictions that are fetched at once.
_AT_ONCE = 4
_OURS = "maskloop"

Watch = Callable[[int, "int | None"], None]


class CorrectionsError(DataError):
    """There is nothing to learn from, or it cannot be had; the message says what was found instead."""


@dataclass(frozen=True, slots=True)
class Collected:
    """Everything that people labelled.

    Attributes:
        labels: the classes, in the order of the model to be trained.
        samples: one an image, as people left it.
        roles: of each sample by id. 'corrected': a prediction that somebody changed; 'manual': drawn without one;
            'accepted': a prediction that somebody submitted unchanged.
        predictions: what the annotators had before them, by sample id; where it is known.
        validation: a part that the source keeps apart to measure on, None where it has none.
        notes: what should be said of the source ('the class person is new').
        skipped: what was left out, by kind with examples.
    """

    labels: LabelSet
    samples: tuple[Sample, ...]
    roles: Mapping[str, Role]
    predictions: Mapping[str, Sample] = field(default_factory=dict)
    validation: tuple[Sample, ...] | None = None
    notes: tuple[str, ...] = ()
    skipped: Tally = field(default_factory=Tally)

    @property
    def counts(self) -> dict[str, int]:
        """Number of samples by role, and of what was left out by kind."""
        by_role: dict[str, int] = {role: sum(found == role for found in self.roles.values()) for role in ROLES}
        return {**by_role, **self.skipped.counts}


def from_project(
    client: StudioClient,
    fetcher: ImageFetcher,
    project: int,
    directory: Path,
    known: LabelSet | None,
    *,
    on_error: OnError = "fail",
    watch: Watch = lambda done, total: None,
) -> Collected:
    """Collect the annotations of a Label Studio project.

    Args:
        client: of the Label Studio.
        fetcher: of its images.
        project: its id.
        directory: of the project; the export and the images are kept there.
        known: classes of the model that the training starts from, None where it starts from none.
        on_error: 'skip' leaves out and counts images that are gone and regions that cannot be read.
        watch: is told of (images there, images in all or None).

    Raises:
        StudioError: Label Studio does not answer, or refuses.
        CorrectionsError: nothing to learn from, images are gone, or the label config was changed meanwhile.
        FormatError: an annotation that cannot be read.
    """
    described = client.project(project)
    config = str(described.get("label_config") or "")
    export = directory / "export.json"
    with atomic_file(export, overwrite=True) as aside:
        client.download(f"/api/projects/{project}/export", aside, params={"exportType": "JSON"})
    if str(client.project(project).get("label_config") or "") != config:
        raise CorrectionsError(
            f"the label config of project {project} was changed while its annotations were exported; try again"
        )
    images = _Images(directory / "images", [], fetcher, on_error, client)
    collector = _Collector(images, config, known, on_error, lambda number: _prediction(client, number), watch)
    return collector.collect(export, directory / "collected", f"project {project}")


def from_export(
    path: Path,
    directory: Path,
    known: LabelSet | None,
    *,
    images: Path | None = None,
    fetcher: ImageFetcher | None = None,
    on_error: OnError = "fail",
    watch: Watch = lambda done, total: None,
) -> Collected:
    """Collect the annotations of a Label Studio export (JSON); see :func:`from_project`.

    Args:
        path: the file, or a folder with tasks.json, label_config.xml and images. Images are looked for beside the file
            and in `images/` there, then fetched from the addresses in the tasks.
        directory: where images and the chosen annotations are kept.
        known: classes of the model that the training starts from, None where it starts from none.
        images: the folder to look for images in first.
        fetcher: of images that are not there; None fetches none.
        on_error: 'skip' leaves out and counts images that are gone and regions that cannot be read.
        watch: is told of (images there, images in all or None).

    Raises:
        CorrectionsError: nothing to learn from, or images are gone.
        FormatError: not such a file, or an annotation that cannot be read.
    """
    if path.is_dir() and not (path / "tasks.json").is_file():
        raise FormatError(f"{path} holds no tasks.json; give one export file")
    file = path / "tasks.json" if path.is_dir() else path
    beside = path / "label_config.xml" if path.is_dir() else path.with_name(f"{path.stem}.label_config.xml")
    config = beside.read_text("utf-8-sig") if beside.is_file() else ""
    places = [*([] if images is None else [images]), file.parent / "images", file.parent]
    found = _Images(directory / "images", places, fetcher, on_error, None)
    collector = _Collector(found, config, known, on_error, lambda number: None, watch)
    return collector.collect(file, directory / "collected", str(path))


def from_dataset(path: Path, name: str, *, images: Path | None = None, on_error: OnError = "fail") -> Collected:
    """Collect a dataset in any other format; who drew what is known where its regions say so.

    Args:
        path: file or folder.
        name: of the format.
        images: the folder with the images, for the formats that have them elsewhere.
        on_error: 'skip' leaves out and counts records that cannot be read.

    Raises:
        FormatError: damaged.
        CorrectionsError: it holds no sample.
    """
    parts = datasets.splits(path, name)
    split = {"split": "train"} if "train" in parts else {}
    dataset = read_labelled(path, name, images=images, on_error=on_error, **split)
    samples = tuple(dataset)
    skipped = Tally()
    skipped.merge(dataset.skipped)
    if not samples:
        raise CorrectionsError(f"{path}: the dataset holds no sample")
    validation = None
    if split and "val" in parts:
        validation = tuple(read_labelled(path, name, images=images, on_error=on_error, split="val"))
    roles = {sample.id: role_of([region.origin for region in sample.regions], derived=False) for sample in samples}
    return Collected(dataset.labels, samples, roles, validation=validation, skipped=skipped)


def role_of(origins: Sequence[str | None], *, derived: bool, removed: bool = False) -> Role:
    """Return what an annotation is to the model.

    Args:
        origins: of its regions, as Label Studio says them.
        derived: it was made from a prediction, whatever the regions say.
        removed: a region of that prediction is gone.
    """
    if not derived and not any(origin in ("prediction", "prediction-changed") for origin in origins):
        return "manual"
    return "accepted" if not removed and all(origin == "prediction" for origin in origins) else "corrected"


def new_labels(names: Sequence[str], known: LabelSet | None, *, complete: bool) -> tuple[LabelSet, tuple[str, ...]]:
    """Return the classes that a model will have after training on labels, and what changes.

    The model's classes keep their order, new ones follow. Pixels that nobody labelled are background only where the model
    has a background that annotators do not paint themselves; else they are ignored.

    Args:
        names: of the labels, as the model calls them where it knows them.
        known: the model's classes, None where there is no model.
        complete: the names are all there are (they come from a label config): classes that are not among them go.
    """
    own = [] if known is None else list(known.classes)
    background = None if known is None else next((k for k in own if k.id == known.background_id), None)
    painted = background is not None and background.name in names
    kept = [label for label in own if not complete or label.name in names or label is background]
    added = [name for name in names if name not in {label.name for label in own}]
    labels = [Label(k, label.name, label.color, label.thing) for k, label in enumerate(kept)]
    labels += [Label(len(kept) + k, name) for k, name in enumerate(added)]
    notes = []
    if own and added:
        notes.append(f"new classes: {', '.join(added)}; the head grows, the others keep what they learned")
    if gone := [label.name for label in own if label not in kept]:
        notes.append(f"classes without a label in the project: {', '.join(gone)}; the new version will not have them")
    position = None if background is None or painted else kept.index(background)
    return LabelSet(tuple(labels), ignore_id=255, background_id=position), tuple(notes)


@dataclass(slots=True)
class _Images:
    """Finds the images of tasks: beside an export, or fetched once and kept.

    Attributes:
        cache: folder of the files, one a task and address.
        places: folders to look in first.
        fetcher: fetches the others; None fetches none.
        on_error: what happens to images that are gone.
        client: tells whether Label Studio is there at all, None where the tasks come from a file.
    """

    cache: Path
    places: Sequence[Path]
    fetcher: ImageFetcher | None
    on_error: OnError
    client: StudioClient | None
    gone: list[str] = field(default_factory=list)

    def find(self, task: Task, key: str) -> str:
        """Return the name of a task's image in the cache; thread-safe.

        Raises:
            ImageError: it cannot be had or read.
        """
        address = task.data.get(key)
        where = f"task {task.id}"
        if not isinstance(address, str) or not address:
            raise ImageError(f"{where}: its data has no image address under the key {key!r}")
        studio = "" if self.fetcher is None or self.fetcher.studio_url is None else self.fetcher.studio_url
        digest = hashlib.sha256(f"{studio}\0{address}".encode()).hexdigest()[:16]
        # made of digits and letters alone, whatever the id and the address are
        name = f"{''.join(c for c in task.id if c.isalnum())[:40]}-{digest}{_suffix(address)}"
        # a file on this disk may have been replaced since, what an address leads to is taken to stay
        encoded = self._local(address, where)
        if encoded is None:
            if (self.cache / name).exists():
                return name
            encoded = self._fetched(task, key, where)
        decode(encoded, where)
        with atomic_file(self.cache / name, overwrite=True) as aside:
            aside.write_bytes(encoded)
        return name

    def miss(self, error: ImageError) -> None:
        """Note an image that is gone; raise where it may not be, or where it is Label Studio that is gone."""
        if self.client is not None:
            self.client.version()
        self.gone.append(str(error))
        if self.on_error == "fail" and len(self.gone) == _NAMED:
            self.complain("at least ")

    def complain(self, much: str = "") -> None:
        """Raise, if images are gone that may not be."""
        if self.gone and self.on_error == "fail":
            raise CorrectionsError(
                f"{much}{len(self.gone)} image(s) cannot be had; --on-error skip leaves them out: {'; '.join(self.gone)}"
            )

    def _local(self, address: str, where: str) -> bytes | None:
        for name in (image_name(address), stored_name(address)):
            parts = relative_path(name, where).parts if name else ()
            for start in range(len(parts)):
                for place in self.places:
                    if (path := place.joinpath(*parts[start:])).is_file():
                        return path.read_bytes()
        return None

    def _fetched(self, task: Task, key: str, where: str) -> bytes:
        if self.fetcher is None:
            raise ImageError(f"{where}: its image is not in {' or '.join(map(str, self.places))}")
        number: Any = int(task.id) if task.id.isdigit() else task.id
        return self.fetcher.read({"id": number, "data": task.data}, key)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A task to learn from: the annotation that counts, its regions, and the key of its data where the image is."""

    task: Task
    annotation: Drawn
    found: Sequence[Shape]
    key: str


@dataclass(slots=True)
class _Collector:
    """Chooses one annotation a task and brings image, annotation and prediction together."""

    images: _Images
    config: str
    known: LabelSet | None
    on_error: OnError
    ask: Callable[[int], dict[str, Any] | None]
    watch: Watch
    skipped: Tally = field(default_factory=Tally)
    roles: dict[str, Role] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    def collect(self, export: Path, directory: Path, where: str) -> Collected:
        """Collect the tasks of an export.

        Args:
            export: Label Studio's JSON.
            directory: gets the chosen annotations; what was in it goes.
            where: what errors call the source.
        """
        total = sum(1 for _ in read_tasks(export))
        if not total:
            raise CorrectionsError(f"{where} has no annotation yet: label some images first")
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        chosen = directory / "tasks.json"
        with chosen.open("w", encoding="utf-8") as file:
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
        reading, labels, notes = self._labels(where)
        cache = self.images.cache
        annotated = labelstudio.read(
            chosen, use="annotations", on_error=self.on_error, labels=reading, images_from=cache
        )
        samples = tuple(annotated)
        self.skipped.merge(annotated.skipped)
        if not samples:
            raise CorrectionsError(f"{where} has nothing to learn from: {'; '.join(self.skipped.lines())}")
        predicted = labelstudio.read(chosen, use="predictions", on_error="skip", labels=reading, images_from=cache)
        predictions = {sample.id: sample for sample in predicted}
        read = {sample.id for sample in samples}
        roles = {name: role for name, role in self.roles.items() if name in read}
        return Collected(labels, samples, roles, predictions, None, notes, self.skipped)

    def _records(self, export: Path, total: int) -> Iterator[dict[str, Any]]:
        """Yield the tasks that have something to learn from, each with one annotation, its prediction and its image."""
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="images") as pool:
            waiting: deque[tuple[_Candidate, Future[str], Future[dict[str, Any] | None]]] = deque()
            done = 0
            for candidate in self._candidates(export):
                image = pool.submit(self.images.find, candidate.task, candidate.key)
                waiting.append((candidate, image, pool.submit(self._started_from, candidate)))
                if len(waiting) > 2 * _AT_ONCE:
                    yield from self._joined(*waiting.popleft())
                    done += 1
                    self.watch(done, total)
            while waiting:
                yield from self._joined(*waiting.popleft())
        self.watch(total, total)

    def _candidates(self, export: Path) -> Iterator[_Candidate]:
        """Yield the tasks that have an annotation to learn from."""
        config = label_config.parse(self.config) if self.config else None
        for number, task in enumerate(read_tasks(export), 1):
            if isinstance(task, FormatError):
                if self.on_error == "fail":
                    raise task
                self.skipped.add("tasks that cannot be read", str(task))
                continue
            task.id = task.id or f"{export.stem}-{number}"
            annotation = self._chosen(task)
            if annotation is None:
                continue
            found = [shape for shape in shapes(annotation.result, task.where)[0] if isinstance(shape, Shape)]
            yield _Candidate(task, annotation, found, self._address(task, annotation, config))

    def _joined(
        self, candidate: _Candidate, image: Future[str], prediction: Future[dict[str, Any] | None]
    ) -> Iterator[dict[str, Any]]:
        """Yield a task with what was fetched for it; nothing where its image is gone and may be."""
        task, annotation, found = candidate.task, candidate.annotation, candidate.found
        try:
            name = image.result()
        except ImageError as error:
            self.images.miss(error)
            return
        before = prediction.result()
        origins = [shape.item.get("origin") for shape in found]
        derived = isinstance(annotation.facts.get("parent_prediction"), int)
        self.roles[task.id] = role_of(origins, derived=derived, removed=_removed(before, found))
        self.names.update(label for shape in found for label in shape.names)
        uri = task.data[candidate.key]
        yield {
            "id": int(task.id) if task.id.isdigit() else task.id,
            "data": {"image": uri},
            "meta": {_OURS: {"image": {"url": uri, "name": image_name(uri) or name, "file": name}}},
            "annotations": [{"id": annotation.name, "result": annotation.result}],
            "predictions": [] if before is None else [{"result": before["result"]}],
        }

    def _chosen(self, task: Task) -> Drawn | None:
        done = [drawn for drawn in task.annotations if not drawn.cancelled]
        if not done:
            self.skipped.add("tasks whose annotations were all cancelled", f"task {task.id}")
            return None
        latest = max(done, key=lambda drawn: drawn.age)
        if not shapes(latest.result, task.where)[0] and not self._has_background():
            self.skipped.add("tasks with an empty annotation", f"task {task.id}")
            return None
        return latest

    def _has_background(self) -> bool:
        if self.known is None or self.known.background_id is None:
            return False
        names = {label.id: label.name for label in self.known.labels}
        painted = parse_labels(self.config, "").labels.labels if self.config else ()
        return names.get(self.known.background_id) not in {label.name for label in painted}

    def _address(self, task: Task, annotation: Drawn, config: label_config.LabelConfig | None) -> str:
        if config is not None:
            return config.image_key
        items = [item for item in annotation.result if isinstance(item, dict)]
        to_name = next((item["to_name"] for item in items if isinstance(item.get("to_name"), str)), None)
        return image_key(task.data, {}, to_name, task.where)

    def _started_from(self, candidate: _Candidate) -> dict[str, Any] | None:
        """Return the prediction that an annotation was made from, None where there is none or it is gone."""
        task, annotation, found = candidate.task, candidate.annotation, candidate.found
        own = annotation.facts.get("prediction")
        if isinstance(own, dict) and isinstance(own.get("result"), list):
            return own
        parent = annotation.facts.get("parent_prediction")
        known = {drawn.facts.get("id"): drawn for drawn in task.predictions}
        if parent in known:
            return {"result": known[parent].result}
        if isinstance(parent, int):
            return self.ask(parent)
        if task.predictions and any(str(shape.item.get("origin")).startswith("prediction") for shape in found):
            return {"result": max(task.predictions, key=lambda drawn: drawn.age).result}
        return None

    def _labels(self, where: str) -> tuple[LabelSet, LabelSet, tuple[str, ...]]:
        """Return the labels as the project calls them, as the model will call them (the same ids), and notes."""
        listed: Sequence[Label] = ()
        if self.config:
            listed = parse_labels(self.config, where).labels.labels
            if strange := sorted(self.names - {label.name for label in listed}):
                text = (
                    f"annotations of {where} have labels that its label config does not have: {', '.join(strange)}; was it "
                    "changed? Put them back into the config, or give those regions another label"
                )
                if self.on_error == "fail":
                    raise CorrectionsError(f"{text}; --on-error skip leaves the regions out")
                self.skipped.add("labels that the label config does not have", text, len(strange))
        names = [label.name for label in listed] or sorted(self.names)
        renamed = _as_the_model_says(names, self.config, self.known)
        labels, notes = new_labels([renamed[name] for name in names], self.known, complete=bool(listed))
        theirs = {ours: name for name, ours in renamed.items()}
        colors = {label.name: label.color for label in listed}
        final = tuple(replace(k, color=k.color or colors.get(theirs.get(k.name, k.name))) for k in labels.labels)
        reading = tuple(replace(label, name=theirs.get(label.name, label.name)) for label in final)
        return replace(labels, labels=reading), replace(labels, labels=final), notes


def _as_the_model_says(names: Sequence[str], config: str, known: LabelSet | None) -> dict[str, str]:
    """Return what the model calls each label: as `serve` shows it, where a label stands for exactly one class."""
    classes = [] if known is None else [label.name for label in known.classes]
    stands_for: dict[str, list[str]] = {name: [name] if name in classes else [] for name in names}
    if config and known is not None:
        try:
            mapping = label_config.match(label_config.parse(config), known)
        except LabelError:
            # no class fits any label: all of them are new
            return {name: name for name in names}
        for control in mapping.controls:
            for channel, slot in enumerate(control.lut[: len(classes)].tolist()):
                if slot != label_config.UNMAPPED and control.names[slot] in stands_for:
                    stands_for[control.names[slot]].append(classes[channel])
    return {name: found[0] if len(set(found)) == 1 else name for name, found in stands_for.items()}


def _removed(prediction: Mapping[str, Any] | None, found: Sequence[Shape]) -> bool:
    """Tell whether a region of the prediction is not in the annotation any more."""
    if prediction is None:
        return False
    ids = {item.get("id") for item in prediction["result"] if isinstance(item, dict)}
    return bool(ids - {shape.item.get("id") for shape in found})


def _prediction(client: StudioClient, number: int) -> dict[str, Any] | None:
    """Return a stored prediction, None where it was deleted."""
    try:
        found = client.request("GET", f"/api/predictions/{number}/")
    except StudioError as error:
        if error.status == 404:
            return None
        raise
    return found if isinstance(found, dict) and isinstance(found.get("result"), list) else None


def _suffix(address: str) -> str:
    name = "" if address.startswith("data:") else Path(stored_name(address)).suffix.lower()
    return name if len(name) <= 6 and name[1:].isalnum() else ""


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """How far what a model drew on one image was from what a person made of it.

    Attributes:
        id: of the sample.
        role: see :class:`Collected`.
        stored: the model's masks are those that the annotator had before them; False: the serving version's, now.
        pixels: that the person, or the stored prediction, gave a class.
        changed: of these, how many have another class than the model gave them, or lost it.
        common: int64 (K,), pixels of each class in both.
        either: int64 (K,), pixels of each class in one or the other.
    """

    id: str
    role: Role
    stored: bool
    pixels: int
    changed: int
    common: NDArray[np.int64]
    either: NDArray[np.int64]

    @classmethod
    def between(
        cls, sample: str, role: Role, before: NDArray[np.uint8], after: NDArray[np.uint8], classes: int, *, stored: bool
    ) -> Change:
        """Compare two maps of channels, uint8 (H, W), 255 where nothing was drawn.

        Args:
            sample: id.
            role: of the sample.
            before: what the model drew.
            after: what the person left.
            classes: K.
            stored: see the class; where False, pixels that the person left undrawn are not counted.
        """
        judged = (after != 255) | (before != 255) if stored else after != 255
        old, new = before[judged], after[judged]
        size = 256
        olds, news = (np.bincount(part, minlength=size)[:classes] for part in (old, new))
        both = np.bincount(new[old == new], minlength=size)[:classes]
        changed = int((old != new).sum())
        return cls(sample, role, stored, int(judged.sum()), changed, both, olds + news - both)


def summary(changes: Sequence[Change], names: Sequence[str]) -> dict[str, Any]:
    """Return what annotators changed as JSON values: the model's real error in use.

    'images', 'pixels', 'changed' (pixels), 'share' (changed of all), 'iou' (by class; None where nobody drew it), 'miou',
    'by_role', and 'by_image': the same of each image, the most changed first.
    """
    by_image = [
        {
            "id": change.id,
            "role": change.role,
            "stored": change.stored,
            **_figures([change], names),
        }
        for change in sorted(changes, key=lambda one: (-one.changed / max(1, one.pixels), one.id))
    ]
    by_role = {role: _figures(own, names) for role in ROLES if (own := [c for c in changes if c.role == role])}
    return {"images": len(changes), **_figures(changes, names), "by_role": by_role, "by_image": by_image}


def _figures(changes: Sequence[Change], names: Sequence[str]) -> dict[str, Any]:
    pixels, changed = sum(c.pixels for c in changes), sum(c.changed for c in changes)
    none = np.zeros(len(names), np.int64)
    common, either = (sum((getattr(c, part) for c in changes), none) for part in ("common", "either"))
    iou = {name: float(a / b) if b else None for name, a, b in zip(names, common, either, strict=True)}
    known = [value for value in iou.values() if value is not None]
    return {
        "pixels": pixels,
        "changed": changed,
        "share": changed / pixels if pixels else 0.0,
        "iou": iou,
        "miou": sum(known) / len(known) if known else None,
    }


def channels(sample: Sample, labels: LabelSet) -> NDArray[np.uint8]:
    """Return the map of a sample's channels, uint8 (H, W): the background's where nothing was drawn, else 255."""
    of = {label.id: channel for channel, label in enumerate(labels.classes)}
    fill = 255 if labels.background_id is None else of.get(labels.background_id, 255)
    values = [of.get(region.label, 255) for region in sample.regions]
    return sample.masks.to_label_map(values, fill=fill, dtype=np.uint8)


def as_dataset(collected: Collected, samples: Sequence[Sample]) -> Dataset:
    """Return samples of a collection as a dataset."""
    return Dataset(collected.labels, samples, count=len(samples))
