"""Label list files, the colour tables of label maps, and the label sets of well-known datasets.

Read: ``labels.json`` (ours), ``labels.txt`` (``id name [r g b]`` or a name a line), ``labelmap.txt`` (VOC-like, as CVAT
writes it: ``name:r,g,b:parts:actions``), and CSV tables with a header (``name,r,g,b`` with or without ``id``). Written:
``labels.json``.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError, LabelError
from ..samples import Color, Label, LabelSet
from .text_format import parse as parse_text_format

LABEL_FILES = ("labels.json", "labels.txt", "labelmap.txt", "class_dict.csv", "labels.csv")

# Text lists have no field for these two roles, so the names that datasets use for them decide.
_BACKGROUND_NAMES = frozenset({"background", "__background__", "_background_"})
_IGNORED_NAMES = frozenset({"void", "ignore", "ignored", "unlabelled", "unlabeled", "unlabel"})


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


def find_label_file(root: Path) -> Path | None:
    """Return the label list file of a folder, None if it has none."""
    return next((root / name for name in LABEL_FILES if (root / name).is_file()), None)


def read_labels(path: Path) -> LabelSet:
    """Return the label set of a label list file; FormatError names the file and line.

    In the text formats a label called background (or void, ignore, unlabelled) is the background (the ignored label).
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: cannot read the label list: {error}") from error
    try:
        if path.suffix == ".json":
            return labels_from_json(json.loads(text))
        if path.suffix == ".pbtxt":
            labels = _label_map(text)
            # The Object Detection API counts classes from 1 and keeps 0 for what is no object.
            return LabelSet(tuple(labels), background_id=None if any(label.id == 0 for label in labels) else 0)
        if path.suffix == ".csv":
            return _with_roles(_csv_labels(text))
        if path.name == "labelmap.txt":
            return _with_roles(_voc_labels(text))
        return _with_roles(_text_labels(text))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FormatError(f"{path}: not a label list: {error or type(error).__name__}") from error


def _label_map(text: str) -> list[Label]:
    """Return the labels of an Object Detection API's label map; only an item's own fields count, not its keypoints'."""
    labels = []
    for item in parse_text_format(text).get("item", []):
        fields = {key: values[-1] for key, values in item.items()} if isinstance(item, dict) else {}
        label_id, name = fields.get("id"), fields.get("display_name") or fields.get("name")
        if not isinstance(label_id, int) or not isinstance(name, str):
            raise LabelError(f"an item needs an id and a name or display_name, it has {', '.join(fields) or 'nothing'}")
        labels.append(Label(label_id, name))
    if not labels:
        raise LabelError("it has no item { id: ... name: ... }")
    return labels


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
    return Label(label_id, record["name"], None if color is None else _color(color), thing)


def _optional_id(value: Any, what: str) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise LabelError(f"{what} must be a whole number from 0, received {value!r}")
    return value


def _color(parts: Iterable[Any]) -> Color:
    try:
        values = [int(part) for part in parts]
    except (TypeError, ValueError, OverflowError):
        raise LabelError(f"a colour is three numbers 0..255, received {parts!r:.80}") from None
    if len(values) != 3 or not all(0 <= value <= 255 for value in values):
        raise LabelError(f"a colour is three numbers 0..255, received {values}")
    return values[0], values[1], values[2]


def _lines(text: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _text_labels(text: str) -> list[Label]:
    lines = [line.split() for line in _lines(text)]
    if not all(words[0].isdecimal() and len(words) > 1 for words in lines):
        return [Label(i, " ".join(words)) for i, words in enumerate(lines)]
    labels = []
    for words in lines:
        has_color = len(words) >= 5 and all(word.isdecimal() for word in words[-3:])
        name = words[1:-3] if has_color else words[1:]
        labels.append(Label(int(words[0]), " ".join(name), _color(words[-3:]) if has_color else None))
    return labels


def _voc_labels(text: str) -> list[Label]:
    labels = []
    for i, line in enumerate(_lines(text)):
        name, _, rest = line.partition(":")
        color = rest.partition(":")[0]
        labels.append(Label(i, name, _color(color.split(",")) if color else None))
    return labels


def _csv_labels(text: str) -> list[Label]:
    labels = []
    for i, row in enumerate(csv.DictReader(text.splitlines(), skipinitialspace=True)):
        cells = {
            str(key).strip().lower(): (value or "").strip() for key, value in row.items() if isinstance(value, str)
        }
        name = cells.get("name") or cells.get("label") or cells.get("class")
        if not name:
            raise LabelError(f"row {i + 1} has no name; expected a header such as 'id,name,r,g,b'")
        color = _color([cells["r"], cells["g"], cells["b"]]) if cells.get("r") else None
        labels.append(Label(int(cells.get("id") or i), name, color))
    return labels


def _with_roles(labels: list[Label]) -> LabelSet:
    def role(names: frozenset[str]) -> int | None:
        return next((label.id for label in labels if label.name.lower() in names), None)

    if not labels:
        raise LabelError("the list is empty")
    return LabelSet(tuple(labels), ignore_id=role(_IGNORED_NAMES), background_id=role(_BACKGROUND_NAMES))


# The 11 classes of SegNet's CamVid and their colours in the original; 11 is void.
CAMVID = LabelSet(
    (
        Label(0, "Sky", (128, 128, 128)),
        Label(1, "Building", (128, 0, 0)),
        Label(2, "Pole", (192, 192, 128)),
        Label(3, "Road", (128, 64, 128)),
        Label(4, "Pavement", (60, 40, 222)),
        Label(5, "Tree", (128, 128, 0)),
        Label(6, "SignSymbol", (192, 128, 128)),
        Label(7, "Fence", (64, 64, 128)),
        Label(8, "Car", (64, 0, 128)),
        Label(9, "Pedestrian", (64, 64, 0)),
        Label(10, "Bicyclist", (0, 128, 192)),
        Label(11, "Void", (0, 0, 0)),
    ),
    ignore_id=11,
)

_VOC_NAMES = [
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
]

VOC = LabelSet(tuple(Label(i, name, voc_color(i)) for i, name in enumerate(_VOC_NAMES)), ignore_id=255, background_id=0)

# Cityscapes' labelIds (cityscapesScripts, helpers/labels.py), in the order of their numbers 0..33.
_CITYSCAPES = (
    ("unlabeled", (0, 0, 0)),
    ("ego vehicle", (0, 0, 0)),
    ("rectification border", (0, 0, 0)),
    ("out of roi", (0, 0, 0)),
    ("static", (0, 0, 0)),
    ("dynamic", (111, 74, 0)),
    ("ground", (81, 0, 81)),
    ("road", (128, 64, 128)),
    ("sidewalk", (244, 35, 232)),
    ("parking", (250, 170, 160)),
    ("rail track", (230, 150, 140)),
    ("building", (70, 70, 70)),
    ("wall", (102, 102, 156)),
    ("fence", (190, 153, 153)),
    ("guard rail", (180, 165, 180)),
    ("bridge", (150, 100, 100)),
    ("tunnel", (150, 120, 90)),
    ("pole", (153, 153, 153)),
    ("polegroup", (153, 153, 153)),
    ("traffic light", (250, 170, 30)),
    ("traffic sign", (220, 220, 0)),
    ("vegetation", (107, 142, 35)),
    ("terrain", (152, 251, 152)),
    ("sky", (70, 130, 180)),
    ("person", (220, 20, 60)),
    ("rider", (255, 0, 0)),
    ("car", (0, 0, 142)),
    ("truck", (0, 0, 70)),
    ("bus", (0, 60, 100)),
    ("caravan", (0, 0, 90)),
    ("trailer", (0, 0, 110)),
    ("train", (0, 80, 100)),
    ("motorcycle", (0, 0, 230)),
    ("bicycle", (119, 11, 32)),
)

CITYSCAPES = LabelSet(tuple(Label(i, name, color) for i, (name, color) in enumerate(_CITYSCAPES)), ignore_id=0)
