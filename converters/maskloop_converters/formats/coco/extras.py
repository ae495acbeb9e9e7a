"""What COCO has no field for, under the one key ``maskloop``; and the fields of other tools, kept as attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import FormatError, LabelError
from ...samples import Color, Label, LabelSet
from ..labels import labels_from_json, labels_to_json
from ..records import attributes

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


def attributes_of(record: dict[str, Any], fields: frozenset[str], where: str) -> dict[str, Any]:
    """Return what :func:`with_attributes` added, or another tool: every field that COCO does not name."""
    own = {name: value for name, value in record.items() if name not in fields}
    return {**own, **attributes(extras_of(record, where).get("attributes"), where)}


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
        others: fields of other tools by category, as :func:`labels_of` found them.
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


def labels_of(members: Mapping[str, Any], where: str) -> tuple[LabelSet, list[dict[str, Any]]]:
    """Return the label set of a COCO document, and the categories' fields of other tools.

    Where the document is not ours, pixels outside all objects are background: id 0, if no category has it.
    """
    records = members.get(CATEGORIES)
    if not isinstance(records, list):
        raise FormatError(f"{where}: there is no list of categories")
    try:
        others = [{"name": _name(record), **rest} for record in records if (rest := _others(record))]
        extras = extras_of(members, where)
        if "labels" in extras:
            return labels_from_json(extras), others
        labels = tuple(_label(record) for record in records)
        free = all(label.id != 0 for label in labels)
        return LabelSet(labels, background_id=0 if free else None), others
    except (LabelError, AttributeError) as error:
        raise FormatError(f"{where}: categories: {error}") from error


def _label(record: Mapping[str, Any]) -> Label:
    label_id = record.get("id")
    if not isinstance(label_id, int) or isinstance(label_id, bool) or label_id < 0:
        raise LabelError(f"the id must be a whole number from 0, received {label_id!r:.80}")
    thing = record.get("isthing")
    return Label(label_id, _name(record), _color(record.get("color")), None if thing is None else bool(thing))


def _others(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that a label has no place for; a category over itself says nothing."""
    others = {name: value for name, value in record.items() if name not in _CATEGORY_FIELDS}
    if others.get("supercategory") == record.get("name"):
        others.pop("supercategory", None)
    return others


def _name(record: Mapping[str, Any]) -> str:
    name = record.get("name")
    if not isinstance(name, str):
        raise LabelError(f"the name must be a text, received {name!r:.80}")
    return name


def _color(value: Any) -> Color | None:
    # Tools write colours as names and '#rrggbb' too; a colour that is not COCO's form is no reason to refuse a file.
    if isinstance(value, list) and len(value) == 3 and all(isinstance(c, int) and 0 <= c <= 255 for c in value):
        return value[0], value[1], value[2]
    return None
