"""Label sets as JSON, and the colours and names that stand for their ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import LabelError
from ..samples import Color, Label, LabelSet


def voc_color(label_id: int) -> Color:
    """Return the colour that PASCAL VOC's colour map gives an id: its bits spread over the channels."""
    red = green = blue = 0
    value = label_id
    for shift in range(7, -1, -1):
        red |= (value & 1) << shift
        green |= (value >> 1 & 1) << shift
        blue |= (value >> 2 & 1) << shift
        value >>= 3
    return red, green, blue


def color_table(labels: LabelSet) -> dict[int, Color]:
    """Return a colour for every label, the ignored and the fill id, no two alike.

    Labels that share a colour with an earlier one, or have none, get VOC's colour of the first number from their id on
    whose colour is free.
    """
    table: dict[int, Color] = {}
    used: set[Color] = set()
    for label in labels.labels:
        if label.color is not None and label.color not in used:
            table[label.id] = label.color
            used.add(label.color)
    extra = [k for k in (labels.fill_id, labels.ignore_id) if k is not None]
    for label_id in [*(label.id for label in labels.labels), *extra]:
        number = label_id
        while label_id not in table:
            color = voc_color(number)
            if color not in used:
                table[label_id] = color
                used.add(color)
            number += 1
    return table


def label_names(labels: LabelSet) -> dict[int, str]:
    """Return the name by id of all that a region may be: ignored and background ids that are no labels get one."""
    names = {label.id: label.name for label in labels.labels}
    for label_id, name in ((labels.ignore_id, "ignored"), (labels.background_id, "background")):
        if label_id is not None and label_id not in names:
            while name in names.values():
                name += " area"
            names[label_id] = name
    return names


def palette(table: Mapping[int, Color]) -> NDArray[np.uint8]:
    """Return the (256, 3) palette of a colour table whose ids are below 256; other entries are VOC's colours."""
    out = np.array([voc_color(k) for k in range(256)], np.uint8)
    for label_id, color in table.items():
        if label_id < 256:
            out[label_id] = color
    return out


def labels_to_json(labels: LabelSet) -> dict[str, Any]:
    """Return a label set as JSON values: ``{"labels": [{"id", "name", ...}], "ignore_id", "background_id"}``."""
    records = []
    for label in labels.labels:
        record: dict[str, Any] = {"id": label.id, "name": label.name}
        if label.color is not None:
            record["color"] = list(label.color)
        if label.thing is not None:
            record["thing"] = label.thing
        records.append(record)
    return {"labels": records, "ignore_id": labels.ignore_id, "background_id": labels.background_id}


def labels_from_json(document: Any) -> LabelSet:
    """Return the label set of what :func:`labels_to_json` gives; LabelError says what is wrong."""
    if not isinstance(document, dict) or not isinstance(document.get("labels"), list):
        raise LabelError('expected {"labels": [{"id": 0, "name": "sky"}, ...]}')
    return LabelSet(
        tuple(_label_from_json(record) for record in document["labels"]),
        ignore_id=_optional_id(document.get("ignore_id"), "ignore_id"),
        background_id=_optional_id(document.get("background_id"), "background_id"),
    )


def _label_from_json(record: Any) -> Label:
    if not isinstance(record, dict) or not isinstance(record.get("name"), str):
        raise LabelError(f"a label needs an id and a name, received {record!r}")
    label_id = _optional_id(record.get("id"), f"the id of {record['name']!r}")
    if label_id is None:
        raise LabelError(f"label {record['name']!r} has no id")
    color, thing = record.get("color"), record.get("thing")
    if thing is not None and not isinstance(thing, bool):
        raise LabelError(f"label {record['name']!r}: thing must be true or false, received {thing!r}")
    return Label(label_id, record["name"], None if color is None else color_from(color), thing)


def _optional_id(value: Any, what: str) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise LabelError(f"{what} must be a whole number from 0, received {value!r}")
    return value


def color_from(parts: Iterable[Any]) -> Color:
    """Return a colour of three numbers 0..255 or their digits; LabelError says what was received."""
    try:
        values = [int(part) for part in parts]
    except (TypeError, ValueError, OverflowError):
        raise LabelError(f"a colour is three numbers 0..255, received {parts!r:.80}") from None
    if len(values) != 3 or not all(0 <= value <= 255 for value in values):
        raise LabelError(f"a colour is three numbers 0..255, received {values}")
    return values[0], values[1], values[2]
