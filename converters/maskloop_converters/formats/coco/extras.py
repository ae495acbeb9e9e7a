"""What COCO has no field for, under the one key ``maskloop``; and the fields of other tools, kept as attributes."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ...errors import FormatError, LabelError
from ...report import Tally
from ...samples import Color, Label, LabelSet
from ..labels import labels_from_json, labels_to_json
from ..records import attributes
from .loose import number

KEY = "maskloop"

DOCUMENT_FIELDS = frozenset({"images", "annotations", "categories", KEY})
IMAGE_FIELDS = frozenset({"id", "file_name", "width", "height", KEY})
ANNOTATION_FIELDS = frozenset(
    {
        "id",
        "image_id",
        "category_id",
        "segmentation",
        "area",
        "bbox",
        "iscrowd",
        "score",
        "file_name",
        "segments_info",
        KEY,
    }
)
_CATEGORY_FIELDS = frozenset({"id", "name", "color", "isthing"})
CATEGORIES = "categories"
#: Old readers fail without an info; this one stands where the source has none, and is not read.
INFO = {"description": "written by maskloop"}


def with_attributes(record: dict[str, Any], own: Mapping[str, Any], fields: frozenset[str]) -> None:
    """Add attributes to a record as fields of it; those called like a field of COCO go under our key."""
    hidden = {}
    for name, value in own.items():
        if name in fields:
            hidden[name] = value
        else:
            record[name] = value
    if hidden:
        record.setdefault(KEY, {})["attributes"] = hidden


def attributes_of(record: dict[str, Any], fields: frozenset[str], where: str, notes: Tally) -> dict[str, Any]:
    """Return what :func:`with_attributes` added, or another tool: every field that COCO does not name.

    NaN and infinities, which Python writes though JSON has none, become null; ``notes`` says so.
    """
    own = {name: value for name, value in record.items() if name not in fields}
    own |= attributes(extras_of(record, where).get("attributes"), where)
    plain = {name: _without_nan(value) for name, value in own.items()}
    if plain != own:
        notes.add("fields with NaN, which JSON has not, taken as null", where)
    return plain


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in value.items()}
    return value


def extras_of(record: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return what stands under our key, empty where nothing does."""
    value = record.get(KEY, {})
    if not isinstance(value, dict):
        raise FormatError(f"{where}: {KEY} must be an object, received {value!r:.80}")
    return value


def categories_of(labels: LabelSet, others: Any) -> list[dict[str, Any]]:
    """Return COCO's categories: all labels but the background and the ignored one, which are no objects.

    Args:
        labels: the label set.
        others: fields of other tools by category, as :func:`categories_in` found them.
    """
    kept = {record["name"]: record for record in others} if isinstance(others, list) else {}
    records = []
    for label in labels.labels:
        if not is_object(label.id, labels):
            continue
        record: dict[str, Any] = {**kept.get(label.name, {}), "id": label.id, "name": label.name}
        record.setdefault("supercategory", label.name)
        record["isthing"] = int(label.thing is not False)
        if label.color is not None:
            record["color"] = list(label.color)
        records.append(record)
    return records


def is_object(label_id: int, labels: LabelSet) -> bool:
    """Return whether regions of a label are objects to COCO; others go where only our reader looks."""
    return label_id not in (labels.ignore_id, labels.background_id)


def document_extras(labels: LabelSet) -> dict[str, Any]:
    """Return what our reader needs of the label set."""
    return {"version": 1, **labels_to_json(labels)}


@dataclass(frozen=True, slots=True)
class Categories:
    """The classes of a COCO document.

    Attributes:
        labels: the label set.
        others: fields of other tools by category, as :func:`categories_of` takes them.
        aliases: ids of categories that are another one's double -> that one's id.
        notes: how categories of one name were told apart, for people.
        problems: what is wrong with categories that are left out.
    """

    labels: LabelSet
    others: list[dict[str, Any]]
    aliases: Mapping[int, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def categories_in(members: Mapping[str, Any], used: Collection[int], where: str) -> Categories:
    """Return the classes of a COCO document.

    Where the document is not ours, pixels outside all objects are background: id 0, if no category has it.

    Args:
        members: of the document.
        used: ids of the categories that have annotations.
        where: the file, for errors.
    """
    records = members.get(CATEGORIES)
    if not isinstance(records, list):
        raise FormatError(f"{where}: there is no list of categories; give one with --labels FILE (labels=)")
    good, problems = [], []
    for record in records:
        try:
            _label(record)
            good.append(record)
        except LabelError as error:
            problems.append(f"{where}: categories: {error}")
    try:
        others = others_of(good)
        extras = extras_of(members, where)
        if "labels" in extras:
            return Categories(labels_from_json(extras), others, problems=tuple(problems))
        labels, aliases, notes = _told_apart(good, used)
        free = all(label.id != 0 for label in labels)
        label_set = LabelSet(labels, background_id=0 if free else None)
    except LabelError as error:
        raise FormatError(f"{where}: categories: {error}") from error
    return Categories(label_set, others, aliases, notes, tuple(problems))


def others_of(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the fields of other tools of all categories that have any, with the name of each."""
    return [{"name": _name(record), **rest} for record in records if (rest := _without_nan(_others(record)))]


def _told_apart(
    records: list[dict[str, Any]], used: Collection[int]
) -> tuple[tuple[Label, ...], dict[int, int], tuple[str, ...]]:
    """Return labels of different names, the ids of doubles -> the id that stands for both, and what was done.

    Of categories of one name, those without annotations are left out (Roboflow's root category is called like the project,
    which may be called like its class). Of the others, those of one supercategory are one label; else the supercategory
    tells them apart.
    """
    labels: list[Label] = []
    aliases: dict[int, int] = {}
    notes = []
    by_name: dict[str, list[tuple[Label, Any]]] = {}
    for record in records:
        by_name.setdefault(_name(record), []).append((_label(record), record.get("supercategory")))
    for name, found in by_name.items():
        chosen = found
        if len(found) > 1:
            chosen = [entry for entry in found if entry[0].id in used] or found[:1]
            ids = ", ".join(str(label.id) for label, _ in found)
            notes.append(f"{name!r} has the ids {ids}; taken: {', '.join(str(label.id) for label, _ in chosen)}")
        firsts: dict[Any, Label] = {}
        for label, above in chosen:
            first = firsts.setdefault(repr(above), label)
            if first is not label:
                aliases[label.id] = first.id
        for above, label in firsts.items():
            labels.append(label if len(firsts) == 1 else replace(label, name=f"{name} ({above.strip(chr(39))})"))
    order = {label.id: k for k, label in enumerate(map(_label, records))}
    return tuple(sorted(labels, key=lambda label: order[label.id])), aliases, tuple(notes)


def _label(record: Any) -> Label:
    if not isinstance(record, dict):
        raise LabelError(f"expected an object with id and name, received {record!r:.80}")
    thing = record.get("isthing")
    try:
        label_id = number(record.get("id"), "the id")
    except FormatError as error:
        raise LabelError(str(error)) from error
    return Label(label_id, _name(record), _color(record.get("color")), None if thing is None else bool(thing))


def _others(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that a label has no place for; a category over itself says nothing."""
    others = {name: value for name, value in record.items() if name not in _CATEGORY_FIELDS}
    if others.get("supercategory") == record.get("name"):
        others.pop("supercategory", None)
    return others


def _name(record: Mapping[str, Any]) -> str:
    name = record.get("name")
    if isinstance(name, int) and not isinstance(name, bool):
        return str(name)
    if not isinstance(name, str):
        raise LabelError(f"the name must be a text, received {name!r:.80}")
    return name


def _color(value: Any) -> Color | None:
    # Tools write colours as names and '#rrggbb' too; a colour that is not COCO's form is no reason to refuse a file.
    if isinstance(value, list) and len(value) == 3 and all(isinstance(c, int) and 0 <= c <= 255 for c in value):
        return value[0], value[1], value[2]
    return None
