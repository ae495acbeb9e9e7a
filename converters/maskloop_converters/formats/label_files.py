"""Label list files, as many tools write them: names, ids and colours of the classes.

By the name of the file and by what its lines look like:

    labels.json                 ours; dataset_meta.json (Datumaro), Mapillary's config.json, a list of names or {id: name}
    *.pbtxt                     item { id: 1 name: 'car' } of the Object Detection API
    *.csv                       a table whose head has a column name (or class, label): id or pixel value, r, g, b
    data.yaml                   its names
    *.txt, *.names              car                          a name a line: the first is 0
                                3 car 255 0 0                id, name, perhaps a colour; 3: car and 3,car too
                                255 0 0 car                  CamVid's label_colors.txt; car 255 0 0 too
                                car:255,0,0:parts:actions    CVAT's labelmap.txt
                                a table with a head, as ADE20K's objectInfo150.txt

No such list says which label is the background or the ignored one, so the names that datasets use for them decide.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import FormatError, LabelError
from ..samples import Label, LabelSet
from .data_yaml import names_of
from .data_yaml import parse as parse_yaml
from .labels import color_from, labels_from_json
from .text_format import parse as parse_text_format

#: What label lists are called, in the order in which they are looked for; whatever the case of their letters.
LABEL_FILES = (
    *("labels.json", "labels.txt", "labelmap.txt", "label_map.pbtxt", "class_names.txt", "classes.txt"),
    *("label_colors.txt", "label_names.txt", "dataset_meta.json", "class_dict.csv", "labels.csv", "classes.csv"),
    *("_classes.csv", "classes.json", "objectinfo150.txt", "codes.txt", "names.txt", "obj.names", "data.yaml"),
    *("data.yml", "config_v2.0.json", "config_v1.2.json", "config.json", "labelmap.pbtxt", "label_map.txt"),
    "id2label.json",
)
# What lists that we cannot know may be called.
_LOOKS_LIKE_A_LIST = re.compile(
    r"(label|class|categor|names|legend|ontology|palette).*\.(txt|csv|tsv|json|ya?ml|xml|names)$", re.I
)
_BACKGROUND_NAMES = frozenset({"background", "__background__", "_background_"})
_IGNORED_NAMES = frozenset({"void", "ignore", "ignored", "__ignore__", "unlabelled", "unlabeled", "unlabel"})
_IGNORED_NAMES |= {"void--unlabeled"}
#: What labelme saves for its __ignore__, and everybody else for what nobody judges.
_IGNORED = 255
_INTEGER = re.compile(r"\d+$")


@dataclass(frozen=True, slots=True)
class LabelList:
    """The classes of a label list file.

    Attributes:
        labels: the classes.
        path: the file; None for a list that was given as a label set.
        numbered: the file says the ids; otherwise they are the positions in it.
    """

    labels: LabelSet
    path: Path | None = None
    numbered: bool = True


def find_label_file(*roots: Path) -> Path | None:
    """Return the label list file of the first of the folders that has one, None if none has."""
    for root in roots:
        there = {path.name.lower(): path for path in sorted(root.iterdir(), reverse=True) if path.is_file()}
        for name in LABEL_FILES:
            # A file of this name may be something else altogether: most folders of models have a config.json.
            if name in there and not (name.startswith("config") and not _is_list(there[name])):
                return there[name]
        # Ultralytics' files are called like their dataset.
        for name, path in there.items():
            if name.endswith((".yaml", ".yml")) and _is_list(path):
                return path
    return None


def unknown_lists(root: Path) -> list[Path]:
    """Return the files of a folder that seem to be label lists though no name of :data:`LABEL_FILES` is theirs."""
    return [p for p in sorted(root.iterdir()) if p.is_file() and _LOOKS_LIKE_A_LIST.search(p.name)]


def _is_list(path: Path) -> bool:
    try:
        read_label_list(path)
    except FormatError:
        return False
    return True


def read_labels(path: Path) -> LabelSet:
    """Return the label set of a label list file; FormatError names the file and what is wrong with it."""
    return read_label_list(path).labels


def read_label_list(path: Path) -> LabelList:
    """Return what a label list file says; FormatError names the file and what is wrong with it."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: cannot read the label list: {error}") from error
    try:
        labels, numbered = _parse(path.name.lower(), text)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        raise FormatError(f"{path}: not a label list: {error or type(error).__name__}") from error
    return LabelList(labels, path, numbered)


def _parse(name: str, text: str) -> tuple[LabelSet, bool]:
    suffix = name.rpartition(".")[2]
    if suffix == "json":
        document = json.loads(text)
        return (labels_from_json(document), True) if name == "labels.json" else _of_json(document)
    if suffix == "pbtxt":
        labels = _label_map(text)
        # The Object Detection API counts classes from 1 and keeps 0 for what is no object.
        return LabelSet(tuple(labels), background_id=None if any(label.id == 0 for label in labels) else 0), True
    if suffix in ("yaml", "yml"):
        return _of_names(names_of(parse_yaml(text)))
    lines = [line.strip("\r\n") for line in text.splitlines() if line.strip()]
    if suffix == "csv" or (lines and _column(_cells(lines[0])) is not None and len(_cells(lines[0])) > 1):
        return _table(lines, headless=suffix == "csv")
    lines = [line.strip() for line in lines if not line.lstrip().startswith("#")]
    # CVAT's and Datumaro's, the latter without colours where there are none.
    if lines and all(re.match(r"[^:]*:(\d+,\d+,\d+)?:[^:]*:|[^:]*:\d+,\d+,\d+", line) for line in lines):
        parts = [line.split(":") for line in lines]
        labels = [Label(i, p[0].strip(), color_from(p[1].split(",")) if p[1] else None) for i, p in enumerate(parts)]
        return with_roles(labels), False
    if name == "labelmap.txt":
        raise LabelError("expected lines such as car:255,0,0::")
    return _lines(lines)


def _lines(lines: list[str]) -> tuple[LabelSet, bool]:
    """Return the labels of lines of names, numbers and colours."""
    words = [re.split(r"[\s,;]+", line) for line in lines]
    numbers = [[bool(_INTEGER.match(word)) for word in row] for row in words]
    if lines and all(len(row) >= 4 and all(n[:3]) and not n[3] for row, n in zip(words, numbers, strict=True)):
        return with_roles([Label(i, " ".join(w[3:]), color_from(w[:3])) for i, w in enumerate(words)]), False
    if lines and all(len(row) >= 4 and all(n[-3:]) and not n[0] for row, n in zip(words, numbers, strict=True)):
        return with_roles([Label(i, " ".join(w[:-3]), color_from(w[-3:])) for i, w in enumerate(words)]), False
    pairs = [re.match(r"(\d+)\s*[:,;]?\s+(.*)|(\d+)\s*[:,;]\s*(.*)", line) for line in lines]
    if not lines or not all(pair and (pair[2] or pair[4]) for pair in pairs):
        return _of_names(lines)
    labels = []
    for pair in pairs:
        assert pair is not None
        rest = (pair[2] or pair[4]).split()
        has_color = len(rest) >= 4 and all(_INTEGER.match(word) for word in rest[-3:])
        name = rest[:-3] if has_color else rest
        labels.append(Label(int(pair[1] or pair[3]), " ".join(name), color_from(rest[-3:]) if has_color else None))
    return with_roles(labels), True


def _of_names(names: Mapping[int, str] | Iterable[str]) -> tuple[LabelSet, bool]:
    """Return the labels of names, by id or by position; labelme counts from -1, its __ignore__."""
    if isinstance(names, Mapping):
        return with_roles([Label(k, name) for k, name in names.items()]), True
    listed = [" ".join(name.split()) for name in names]
    if listed[:1] == ["__ignore__"] and len(listed) > 1:
        labels = with_roles([Label(i, name) for i, name in enumerate(listed[1:])])
        return LabelSet(labels.labels, _IGNORED, labels.background_id), True
    return with_roles([Label(i, name) for i, name in enumerate(listed)]), False


def _label_map(text: str) -> list[Label]:
    """Return the labels of an Object Detection API's label map; only an item's own fields count, not its keypoints'."""
    labels = []
    for item in parse_text_format(text).get("item", []):
        fields = {key: values[-1] for key, values in item.items() if values} if isinstance(item, dict) else {}
        label_id, name = fields.get("id"), fields.get("display_name") or fields.get("name")
        if not isinstance(label_id, int) or not isinstance(name, str):
            raise LabelError(f"an item needs an id and a name or display_name, it has {', '.join(fields) or 'nothing'}")
        labels.append(Label(label_id, name))
    if not labels:
        raise LabelError("it has no item { id: ... name: ... }")
    return labels


def _of_json(document: Any) -> tuple[LabelSet, bool]:
    """Return the labels of the JSON documents that the module lists."""
    if isinstance(document, list) and document and all(isinstance(name, str) for name in document):
        return _of_names(document)
    if not isinstance(document, dict):
        return labels_from_json(document), True
    listed = document.get("labels", document.get("categories"))
    if isinstance(listed, list) and listed and all(isinstance(x, dict) and "id" not in x for x in listed):
        labels = [
            Label(i, x["name"], color_from(x["color"]) if x.get("color") else None, _flag(x.get("instances")))
            for i, x in enumerate(listed)
        ]
        return with_roles(labels), True
    if "categories" in document and "labels" not in document:
        return with_roles(list(labels_from_json({"labels": listed}).labels)), True
    names = document.get("label_map")
    if names is None and document and all(_INTEGER.match(k) and isinstance(v, str) for k, v in document.items()):
        names = document
    if names is None and document and all(isinstance(v, int) and not isinstance(v, bool) for v in document.values()):
        names = {str(v): k for k, v in document.items()}
    if names is None:
        return labels_from_json(document), True
    colors = document.get("segmentation_colors") or []
    by_id = {int(k): name for k, name in (names.items() if isinstance(names, dict) else enumerate(names))}
    found = [
        Label(k, str(name), color_from(colors[i]) if i < len(colors) else None)
        for i, (k, name) in enumerate(sorted(by_id.items()))
    ]
    labels_ = with_roles(found)
    background = document.get("background_label")
    if background is not None and str(background).isdecimal():
        return LabelSet(labels_.labels, labels_.ignore_id, int(background)), True
    return labels_, True


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _cells(line: str) -> list[str]:
    """Return the cells of a table's row, of whatever separates them."""
    separator = next((sign for sign in ("\t", ";", ",") if sign in line), ",")
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])]


def _column(head: list[str], *names: str) -> int | None:
    """Return which column has one of the names (by default those of the label's name), the first name first."""
    lowered = [cell.lower() for cell in head]
    return next((lowered.index(n) for n in names or ("name", "label", "class", "class name") if n in lowered), None)


def _table(lines: list[str], *, headless: bool) -> tuple[LabelSet, bool]:
    """Return the labels of a table with a head; without one, of lines."""
    head = _cells(lines[0]) if lines else []
    named = _column(head)
    if named is None:
        if headless and len(head) > 1 and (_INTEGER.match(head[0]) or all(map(_INTEGER.match, head[1:4]))):
            return _lines([" ".join(_cells(line)) for line in lines])
        raise LabelError("it has no column of names; expected a header such as 'id,name,r,g,b'")
    number = _column(head, "id", "pixel value", "value", "idx", "index", "label_id", "class_id", "trainid")
    number = None if number == named else number
    channels = [_column(head, letter, word) for letter, word in (("r", "red"), ("g", "green"), ("b", "blue"))]
    labels = []
    for i, line in enumerate(lines[1:]):
        cells = _cells(line) + [""] * len(head)
        if not cells[named]:
            raise LabelError(f"row {i + 1} has no name; expected a header such as 'id,name,r,g,b'")
        values = [cells[column] for column in channels if column is not None]
        color = color_from(values) if len(values) == 3 and values[0] else None
        label_id = int(cells[number]) if number is not None and cells[number] else i
        labels.append(Label(label_id, cells[named], color))
    found = with_roles(labels)
    if head[:2] == ["Idx", "Ratio"] and all(label.id for label in labels):  # ADE20K: 0 is what is none of the 150
        found = LabelSet(found.labels, 0)
    return found, number is not None


def with_roles(labels: list[Label]) -> LabelSet:
    """Return labels as a set whose background and ignored label are those that are called so."""

    def role(names: frozenset[str]) -> int | None:
        return next((label.id for label in labels if label.name.lower() in names), None)

    if not labels:
        raise LabelError("the list is empty")
    return LabelSet(tuple(labels), ignore_id=role(_IGNORED_NAMES), background_id=role(_BACKGROUND_NAMES))
