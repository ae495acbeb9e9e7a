"""The shapes that tasks come in (export JSON, JSON_MIN, tasks for import, predictions), brought to one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from ...codecs import studio_rle
from ...errors import FormatError
from ...report import ErrorPolicy
from ..image_files import read_address
from ..json_cutting import Cut
from ..json_stream import elements_cut, load
from ..parts import SKIPPED
from .results import MASK_TYPES, labels_of, place_of

#: Key of the sample and region attributes that hold what only Label Studio has.
NAMESPACE = "labelstudio"
#: Key below ``meta`` of tasks and regions that holds what Label Studio has no field for; it keeps it as it is.
OURS = "maskloop"

DEFAULT_CONTROL, DEFAULT_IMAGE, DEFAULT_KEY = "tag", "image", "image"

_MIN_FACTS = {"annotation_id": "id", "annotator": "completed_by"}
_MIN_KEPT = frozenset({"created_at", "updated_at", "lead_time", "agreement"})


@dataclass(slots=True)
class Drawn:
    """An annotation, a prediction or a draft.

    Attributes:
        result: its regions and other results, as they stand in JSON.
        facts: everything else that it says.
    """

    result: list[Any]
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """What errors and sample ids call it."""
        return str(self.facts.get("id", self.facts.get("unique_id", "")))

    @property
    def cancelled(self) -> bool:
        """Whether the annotator skipped the task."""
        return self.facts.get("was_cancelled") is True

    @property
    def age(self) -> tuple[float, int]:
        """Sorts by time of the last change, then by id."""
        number = self.facts.get("id")
        return _seconds(self.facts.get("updated_at") or self.facts.get("created_at")), (
            number if isinstance(number, int) else 0
        )


@dataclass(slots=True)
class Task:
    """A task with all that was drawn on its image.

    Attributes:
        id: as a text, '' where the file gives none.
        where: file and task, for errors.
        data: the task's data, {} where the file gives none.
        meta: the task's meta.
        facts: everything else that the task says.
        annotations: in the order of the file.
        predictions: those that are there in full; exports give ids only.
        drafts: regions not submitted yet.
        is_part: it stands once an annotation or prediction: others of the same id are the same task.
    """

    id: str
    where: str
    data: dict[str, Any]
    meta: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    annotations: list[Drawn] = field(default_factory=list)
    predictions: list[Drawn] = field(default_factory=list)
    drafts: list[Drawn] = field(default_factory=list)
    is_part: bool = False

    def join(self, other: Task) -> None:
        """Take over what was drawn in another part of the same task."""
        self.data = self.data or other.data
        self.annotations += other.annotations
        self.predictions += other.predictions


def tasks(path: Path, policy: ErrorPolicy | None = None, *, brushes: bool = True) -> Iterator[Task]:
    """Yield the tasks of a file; elements of one task that follow one another (JSON_MIN, predictions) are joined.

    Args:
        path: a JSON file.
        policy: what is done with an element that is no task; by default it is an error.
        brushes: give the streams of brushes, as bytes; without it something else stands in their place.
    """
    policy = policy or ErrorPolicy()
    held: Task | None = None
    for number, element, cut in elements_cut(path, "rle"):
        with policy.record(SKIPPED):
            if brushes:
                _put_back(element, cut, f"{path}, task number {number}")
            task = _task(element, f"{path}, task number {number}", str(path))
            if held is not None and held.is_part and task.is_part and task.id and task.id == held.id:
                held.join(task)
                continue
            if held is not None:
                yield held
            held = task
    if held is not None:
        yield held


def tasks_of(files: Sequence[Path], policy: ErrorPolicy, *, brushes: bool = True) -> Iterator[tuple[str, Task]]:
    """Yield the tasks of several files, each with a name of its own that it has where it has no id.

    What a target storage holds, a file an annotation, is joined by task, whatever lies between the files.

    Args:
        files: JSON files.
        policy: see :func:`tasks`; also for a task whose files differ in its data.
        brushes: see :func:`tasks`.
    """
    shared = _shared(files)
    for file in files:
        for number, task in enumerate(tasks(file, policy, brushes=brushes)):
            others = shared.get(task.id, ()) if task.is_part else ()
            if others and others[0] != file:
                continue  # came with the first of its files
            with policy.record(SKIPPED):
                for other in others[1:]:
                    for part in tasks(other, policy, brushes=brushes):
                        if part.is_part and part.id == task.id:
                            _require_same_data(task, part)
                            task.join(part)
                yield f"{file.stem}-{number}", task


def _require_same_data(one: Task, other: Task) -> None:
    if one.data and other.data and one.data != other.data:
        raise FormatError(
            f"{other.where}: the task has other data than in {one.where}; are these the files of two projects? Read each "
            "project by itself"
        )


def _shared(files: Sequence[Path]) -> dict[str, list[Path]]:
    """Return the files of every task that has parts in several."""
    if len(files) == 1:
        return {}
    found: dict[str, list[Path]] = {}
    for file in files:
        for task in tasks(file, ErrorPolicy("skip"), brushes=False):
            if task.is_part and task.id and file not in (own := found.setdefault(task.id, [])):
                own.append(file)
    return {task_id: own for task_id, own in found.items() if len(own) > 1}


def _put_back(element: Any, cut: Cut, where: str) -> None:
    """Put the lists that were cut out of an element back: those of regions as bytes, others as lists."""
    if not cut:
        return
    brushes = [(item, text) for item in _regions_of(element) if (text := _text_of(item, cut)) is not None]
    streams = studio_rle.from_json_lists([text for _, text in brushes])
    for (item, _), stream in zip(brushes, streams, strict=True):
        if isinstance(stream, bytes):  # else a list below, which is refused with the region's name
            item["rle"] = stream
    waiting = [element]
    while waiting:
        value = waiting.pop()
        text = _text_of(value, cut)
        if text is not None:
            value["rle"] = load(text, f"{where}, rle")
        if isinstance(value, dict):
            waiting += [v for v in value.values() if isinstance(v, dict | list)]
        elif isinstance(value, list):
            waiting += [v for v in value if isinstance(v, dict | list)]


def _text_of(value: Any, cut: Cut) -> bytes | None:
    """Return the text that was cut out of an object."""
    stands = value.get("rle") if isinstance(value, dict) else None
    return cut.get(stands[0]) if isinstance(stands, list) and len(stands) == 1 and type(stands[0]) is int else None


def _regions_of(element: Any) -> Iterator[Any]:
    """Yield the values of what may be regions, whatever shape the task comes in; not checked."""
    if not isinstance(element, dict):
        return
    drawn: list[Any] = [element]
    for key in ("annotations", "predictions", "drafts"):
        drawn += element[key] if isinstance(element.get(key), list) else []
    for record in drawn:
        items = record.get("result") if isinstance(record, dict) else None
        for item in items if isinstance(items, list) else ():
            yield item.get("value") if isinstance(item, dict) else None
    if "annotation_id" in element:
        for values in element.values():
            yield from values if isinstance(values, list) else ()


def _task(element: Any, where: str, path: str) -> Task:
    if not isinstance(element, dict):
        raise FormatError(f"{where}: a task is a JSON object, received {element!r:.80}")
    if "result" in element:
        return _lone_result(element, where, path)
    task_id = _text(element.get("id"))
    where = f"{path}, task {task_id}" if task_id else where
    if isinstance(element.get("data"), dict):
        facts = {k: v for k, v in element.items() if k not in _TASK_KEYS}
        meta = element.get("meta")
        return Task(
            task_id,
            where,
            dict(element["data"]),
            dict(meta) if isinstance(meta, dict) else {},
            facts,
            [_drawn(d, where) for d in _list(element, "annotations", where)],
            [_drawn(d, where) for d in _list(element, "predictions", where) if not isinstance(d, int)],
            [_drawn(d, where) for d in _list(element, "drafts", where)],
        )
    if "annotation_id" in element:
        return _min_task(element, task_id, where)
    raise FormatError(
        f"{where}: no task: it has neither 'data' (export JSON, tasks for import), nor 'annotation_id' (JSON_MIN), nor "
        f"'result' (predictions); its keys are {', '.join(map(str, element))[:200]}"
    )


_TASK_KEYS = frozenset({"id", "data", "meta", "annotations", "predictions", "drafts"})


def _lone_result(element: dict[str, Any], where: str, path: str) -> Task:
    """Return the task of an annotation or prediction that stands alone; ``task`` is its id or the task itself."""
    owner = element.get("task")
    facts = {k: v for k, v in element.items() if k not in ("result", "task")}
    drawn = Drawn(_list(element, "result", where), facts)
    if isinstance(owner, dict):
        task = _task({**owner, "annotations": [], "predictions": [], "drafts": []}, where, path)
    else:
        task_id = _text(owner)
        task = Task(task_id, f"{path}, task {task_id}" if task_id else where, {})
    task.is_part = True
    is_prediction = "model_version" in element and "completed_by" not in element
    (task.predictions if is_prediction else task.annotations).append(drawn)
    return task


def _min_task(element: dict[str, Any], task_id: str, where: str) -> Task:
    """Return the task of a JSON_MIN element: one annotation, its values under the names of their controls.

    Regions have no ids there: what describes one (a rating, a choice) repeats its geometry.
    """
    facts = {_MIN_FACTS[k]: v for k, v in element.items() if k in _MIN_FACTS}
    facts |= {k: v for k, v in element.items() if k in _MIN_KEPT}
    data: dict[str, Any] = {}
    result: list[dict[str, Any]] = []
    for key, values in element.items():
        if key == "id" or key in _MIN_FACTS or key in _MIN_KEPT:
            continue
        if not isinstance(values, list) or not any(place_of(value) for value in values):
            data[key] = values
            continue
        for value in values:
            if not isinstance(value, dict):
                raise FormatError(f"{where}: {key} mixes regions with {value!r:.80}")
            sizes = {k: value[k] for k in ("original_width", "original_height", "image_rotation") if k in value}
            rest = {k: v for k, v in value.items() if k not in sizes}
            result.append({**sizes, "from_name": key, "type": _min_type(rest), "value": rest})
    _identify(result)
    return Task(task_id, where, data, annotations=[Drawn(result, facts)], is_part=True)


def _min_type(value: Mapping[str, Any]) -> str:
    """Return the type of a JSON_MIN value, which does not state it: the key of its labels, or of what else it says."""
    geometry = place_of(value)
    said = [key for key in value if key not in geometry and key not in ("format", "closed")]
    labelled = next((key for key in said if key in MASK_TYPES), None)
    return labelled or next(iter(said), "brush" if "rle" in value else "other")


def _identify(result: list[dict[str, Any]]) -> None:
    """Give a region and the results that describe it one id, where there are such."""
    regions: dict[str, dict[str, Any]] = {}
    places = [repr(sorted(place_of(item["value"]).items())) for item in result]
    for item, place in zip(result, places, strict=True):
        if labels_of(item["value"]):
            regions.setdefault(place, item)
    for number, (item, place) in enumerate(zip(result, places, strict=True)):
        if place in regions and not labels_of(item["value"]):
            item["id"] = regions[place].setdefault("id", f"region-{number}")


def _drawn(record: Any, where: str) -> Drawn:
    if not isinstance(record, dict):
        raise FormatError(f"{where}: an annotation or prediction is an object, received {record!r:.80}")
    return Drawn(_list(record, "result", where), {k: v for k, v in record.items() if k not in ("result", "task")})


def _list(record: Mapping[str, Any], key: str, where: str) -> list[Any]:
    value = record.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise FormatError(f"{where}: {key} is a list, received {value!r:.80}")
    return value


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _seconds(text: Any) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError, OverflowError):
        return 0.0


def facts_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that say something: neither null, false, empty nor a count that follows from the rest."""
    return {
        k: v
        for k, v in record.items()
        if v is not None and v is not False and v not in ({}, [], "") and k not in _DERIVED
    }


_DERIVED = frozenset(
    {"result_count", "total_annotations", "cancelled_annotations", "total_predictions", "comment_count"}
    | {"unresolved_comment_count", "comment_authors", "prediction", "annotations_results", "predictions_results"}
    | {"annotations_ids", "predictions_model_versions", "predictions_score", "annotators", "created_ago", "allow_skip"}
)


def image_name(uri: str) -> str:
    """Return the name that an image had before Label Studio knew it, sub-folders kept; '' for a data URL."""
    return read_address(uri).name


def stored_name(uri: str) -> str:
    """Return the name under which an image is stored: an upload's with its prefix."""
    address = read_address(uri)
    return PurePosixPath(address.paths[0]).name if address.paths else ""
