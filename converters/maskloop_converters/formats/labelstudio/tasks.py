"""The shapes that tasks come in (export JSON, JSON_MIN, tasks for import, predictions), brought to one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from ...codecs import studio_rle
from ...errors import FormatError
from ..image_files import read_address
from ..images import IMAGE_SUFFIXES
from ..json_stream import Cut, elements_cut, load

#: Key of the sample and region attributes that hold what only Label Studio has.
NAMESPACE = "labelstudio"
#: Key below ``meta`` of tasks and regions that holds what Label Studio has no field for; it keeps it as it is.
OURS = "maskloop"

DEFAULT_CONTROL, DEFAULT_IMAGE, DEFAULT_KEY = "tag", "image", "image"

_GEOMETRY = frozenset({"format", "rle", "touches", "imageDataURL", "points", "closed", "x", "y", "width", "height"})
_GEOMETRY |= {"rotation"}
_MASK_TYPES = frozenset(
    {"brushlabels", "brush", "bitmasklabels", "bitmask", "polygonlabels", "polygon", "rectanglelabels", "rectangle"}
    | {"labels", "magicwand"}
)
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
    """

    id: str
    where: str
    data: dict[str, Any]
    meta: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    annotations: list[Drawn] = field(default_factory=list)
    predictions: list[Drawn] = field(default_factory=list)
    drafts: list[Drawn] = field(default_factory=list)


@dataclass(slots=True)
class Shape:
    """A region: the result that has its pixels, and the results that describe it.

    Attributes:
        item: the result with the geometry.
        names: its labels, in the order in which they stand.
        companions: other results of the same region (choices, texts, ...), without their copies of the geometry.
    """

    item: dict[str, Any]
    names: list[str]
    companions: list[dict[str, Any]] = field(default_factory=list)


def tasks(path: Path, *, brushes: bool = True) -> Iterator[Task | FormatError]:
    """Yield the tasks of a file; elements of one task that follow one another (JSON_MIN, predictions) are joined.

    What is no task comes as the error that says so, for the caller to raise or count: the tasks after it can be read.

    Args:
        path: a JSON file.
        brushes: give the streams of brushes, as bytes; without it something else stands in their place.
    """
    held: Task | None = None
    for number, element, cut in elements_cut(path, "rle"):
        if brushes:
            _put_back(element, cut, f"{path}, task number {number}")
        try:
            task, joins = _task(element, f"{path}, task number {number}", str(path))
        except FormatError as error:
            yield error
            continue
        if held is not None and joins and task.id and task.id == held.id:
            held.annotations += task.annotations
            held.predictions += task.predictions
            continue
        if held is not None:
            yield held
        held = task
    if held is not None:
        yield held


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


def _task(element: Any, where: str, path: str) -> tuple[Task, bool]:
    """Return a task, and whether its neighbours of the same id belong to it."""
    if not isinstance(element, dict):
        raise FormatError(f"{where}: a task is a JSON object, received {element!r:.80}")
    if "result" in element:
        return _lone_result(element, where, path), True
    task_id = _text(element.get("id"))
    where = f"{path}, task {task_id}" if task_id else where
    if isinstance(element.get("data"), dict):
        facts = {k: v for k, v in element.items() if k not in _TASK_KEYS}
        meta = element.get("meta")
        return (
            Task(
                task_id,
                where,
                dict(element["data"]),
                dict(meta) if isinstance(meta, dict) else {},
                facts,
                [_drawn(d, where) for d in _list(element, "annotations", where)],
                [_drawn(d, where) for d in _list(element, "predictions", where) if not isinstance(d, int)],
                [_drawn(d, where) for d in _list(element, "drafts", where)],
            ),
            False,
        )
    if "annotation_id" in element:
        return _min_task(element, task_id, where), True
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
        task, _ = _task({**owner, "annotations": [], "predictions": [], "drafts": []}, where, path)
    else:
        task_id = _text(owner)
        task = Task(task_id, f"{path}, task {task_id}" if task_id else where, {})
    is_prediction = "model_version" in element and "completed_by" not in element
    (task.predictions if is_prediction else task.annotations).append(drawn)
    return task


def _min_task(element: dict[str, Any], task_id: str, where: str) -> Task:
    """Return the task of a JSON_MIN element: one annotation, its values under the names of their controls."""
    facts = {_MIN_FACTS[k]: v for k, v in element.items() if k in _MIN_FACTS}
    facts |= {k: v for k, v in element.items() if k in _MIN_KEPT}
    data: dict[str, Any] = {}
    result: list[dict[str, Any]] = []
    for key, values in element.items():
        if key == "id" or key in _MIN_FACTS or key in _MIN_KEPT:
            continue
        if not isinstance(values, list) or not any(isinstance(v, dict) and _has_geometry(v) for v in values):
            data[key] = values
            continue
        for value in values:
            if not isinstance(value, dict):
                raise FormatError(f"{where}: {key} mixes regions with {value!r:.80}")
            sizes = {k: value[k] for k in ("original_width", "original_height", "image_rotation") if k in value}
            kind = next((k for k in value if k in _MASK_TYPES), "brush" if "rle" in value else "other")
            rest = {k: v for k, v in value.items() if k not in sizes}
            result.append({**sizes, "from_name": key, "to_name": DEFAULT_IMAGE, "type": kind, "value": rest})
    return Task(task_id, where, data, annotations=[Drawn(result, facts)])


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


def _has_geometry(value: Mapping[str, Any]) -> bool:
    return "rle" in value or "touches" in value or "imageDataURL" in value or "points" in value or "width" in value


def shapes(result: list[Any], where: str) -> tuple[list[Shape | FormatError], list[dict[str, Any]]]:
    """Return the regions that have pixels, in drawing order (or what is wrong with one), and all other results.

    A region has several results of one id when texts or choices describe it; two masks of one id are an error: the
    editor shows the first one's mask for both, and submits it.
    """
    found: list[Shape | FormatError] = []
    others: list[dict[str, Any]] = []
    by_id: dict[str, Shape] = {}
    for number, item in enumerate(result):
        if not isinstance(item, dict):
            found.append(FormatError(f"{where}: result {number} is no object but {item!r:.80}"))
            continue
        value, kind, region_id = item.get("value"), item.get("type"), _text(item.get("id"))
        known = by_id.get(region_id) if region_id else None
        is_mask = isinstance(value, dict) and isinstance(kind, str) and kind in _MASK_TYPES and _has_geometry(value)
        if known is not None and (not is_mask or kind != known.item.get("type")):
            bare = {k: v for k, v in value.items() if k not in _GEOMETRY} if isinstance(value, dict) else value
            known.companions.append({**item, "value": bare})
            known.names = known.names or _names(bare)
        elif known is not None:
            found.append(
                FormatError(
                    f"{where}, region {region_id}: two masks have this id; the editor gives the second one the first "
                    "one's mask. Give each region an id of its own"
                )
            )
        elif is_mask:
            shape = Shape(item, _names(value))
            found.append(shape)
            if region_id:
                by_id[region_id] = shape
        else:
            others.append(_with_list(item))
    # Descriptions may stand before the region that they describe.
    for item in [o for o in others if _text(o.get("id")) in by_id]:
        by_id[_text(item["id"])].companions.append(item)
        others.remove(item)
    return found, others


def _with_list(item: dict[str, Any]) -> dict[str, Any]:
    """Return a result that is kept as it came: its bytes as a list again."""
    value = item.get("value")
    if not isinstance(value, dict) or not isinstance(value.get("rle"), bytes):
        return item
    return {**item, "value": {**value, "rle": list(value["rle"])}}


def _names(value: Any) -> list[str]:
    """Return the labels of a result's value."""
    if not isinstance(value, dict):
        return []
    for key in ("brushlabels", "bitmasklabels", "polygonlabels", "rectanglelabels", "labels", "magicwand"):
        names = value.get(key)
        if isinstance(names, list):
            return [name for name in names if isinstance(name, str)]
    return []


def bare_value(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a value says besides geometry and labels."""
    return {k: v for k, v in value.items() if k not in _GEOMETRY and k not in _MASK_TYPES}


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


def image_key(data: Mapping[str, Any], images: Mapping[str, str], to_name: str | None, where: str) -> str:
    """Return the key of the task's data that holds the image's address."""
    if to_name is not None and to_name in images:
        return images[to_name]
    if len(images) == 1:
        return next(iter(images.values()))
    if isinstance(data.get(DEFAULT_KEY), str):
        return DEFAULT_KEY
    found = [key for key, value in data.items() if isinstance(value, str) and _looks_like_image(value)]
    if len(found) == 1:
        return found[0]
    raise FormatError(
        f"{where}: cannot tell which of the task's data is the image ({', '.join(data) or 'there is none'}); "
        "give the label config (label_config=, --label-config)"
    )


def _looks_like_image(value: str) -> bool:
    return value.startswith("data:image/") or PurePosixPath(image_name(value)).suffix.lower() in IMAGE_SUFFIXES


def image_name(uri: str) -> str:
    """Return the name that an image had before Label Studio knew it, sub-folders kept; '' for a data URL."""
    return read_address(uri).name


def stored_name(uri: str) -> str:
    """Return the name under which an image is stored: an upload's with its prefix."""
    address = read_address(uri)
    return PurePosixPath(address.paths[0]).name if address.paths else ""
