"""Reading TFRecord files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import DataError, FormatError
from ...options import LabelsFrom, PartName
from ...report import ErrorPolicy, OnError, Tally
from ...samples import Dataset, Label, LabelSet, Sample
from ..label_files import find_label_file, read_labels
from ..labels import label_names, labels_from_json
from ..parts import SKIPPED, Part, assemble, split_names
from ..records import attributes, whole_number
from .decoding import Decoder, is_listed
from .layout import CLASS_NAMES, LABEL_MAP, LABELS, Files, find_files, folders_of_parts
from .schemas import (
    IGNORED,
    SCHEMAS,
    Numbers,
    Schema,
)
from .survey import count_records, decoded, named_in_records, records, schema_of


def detect(path: Path) -> str | None:
    """Return None if ``path`` holds TFRecords of one of the schemas, else the reason why not."""
    path = Path(path)
    try:
        for root in folders_of_parts(path) or [path]:
            found = find_files(root)
            if not (root / LABELS).is_file():
                schema_of(found)
    except DataError as error:
        return str(error)
    return None


def splits(path: Path) -> tuple[str, ...]:
    """Return the names of the parts that a dataset has ('train', 'val'); empty where it has no parts."""
    return split_names(_parts(Path(path), None))


def read(path: Path, *, labels: LabelsFrom = None, split: PartName = None, on_error: OnError = "fail") -> Dataset:
    """Return a dataset of TFRecord files; the schema is seen from the features of the first records.

    Args:
        path: a folder of shards, whose names end in .tfrecord, .tfrecord-00000-of-0000N or .record-..., a folder of such
            folders, or one file.
        labels: the classes, or a label list file (.pbtxt too); by default the list beside the files, else the names that
            stand in the records (image/object/class/text).
        split: read this part only.
        on_error: 'skip' leaves out records that are damaged or wrong and counts them in :attr:`Dataset.skipped`; what
            follows a damaged length in its file cannot be found any more and counts as one.

    Raises:
        FormatError: no TFRecords, a shard that is missing, none of the schemas, no list of labels. While iterating: what
            is wrong with a record; the message names file, record and offset.
    """
    path = Path(path)
    return assemble(path, _parts(path, labels), split, on_error, "tfrecord")


@dataclass(frozen=True, slots=True)
class _Part:
    """The records of one split."""

    split: str | None
    labels: LabelSet
    count: int
    attributes: dict[str, Any]
    paths: tuple[Path, ...]
    lengths: tuple[int, ...] | None
    decoder: Decoder
    notes: Tally

    def samples(self, policy: ErrorPolicy) -> Iterator[Sample]:
        policy.notes.merge(self.notes)
        number = 0
        for shard, path in enumerate(self.paths):
            with policy.record(SKIPPED):
                seen = 0
                for index, (record, where) in records(path, policy):
                    with policy.record(SKIPPED):
                        yield self.decoder.sample(decoded(record, where), where, f"{path.name}-{number}")
                    number += 1
                    seen = index + 1
                # A file that ends between two records looks whole.
                if self.lengths is not None and policy.on_error == "fail" and seen != self.lengths[shard]:
                    raise FormatError(f"{path}: holds {seen} records, {LABELS} beside says {self.lengths[shard]}")


def _parts(path: Path, labels: LabelSet | Path | None) -> list[Part]:
    folders = folders_of_parts(path)
    if not folders:
        return _parts_of(path, labels, None)
    several = len(folders) > 1
    return [part for root in folders for part in _parts_of(root, labels, root.name if several else None)]


def _parts_of(path: Path, labels: LabelSet | Path | None, folder: str | None) -> list[Part]:
    """Return the parts whose files are in one folder.

    Args:
        path: the folder, or a file.
        labels: that were given.
        folder: what the part is called by the folder, None where its files say it.
    """
    found = find_files(path)
    root = path if path.is_dir() else path.parent
    notes = Tally()
    own: dict[str, Any] = {}
    if (root / LABELS).is_file():
        try:
            document = json.loads((root / LABELS).read_text("utf-8"))
            own = document.get("tfrecord", {})
            own_labels = labels_from_json(document)
            schema: Schema = own.get("schema") or schema_of(found)
            lengths, split = own.get("lengths", []), own.get("split")
            if (
                schema not in SCHEMAS
                or not (isinstance(lengths, list) and all(isinstance(n, int) and n >= 0 for n in lengths))
                or not (split is None or isinstance(split, str))
            ):
                raise FormatError("its member 'tfrecord' is damaged")
            numbers = _own_numbers(own, own_labels)
        except (OSError, ValueError, TypeError, RecursionError, AttributeError) as error:
            raise FormatError(f"{root / LABELS}: not a label list: {error}") from error
        labels = own_labels if labels is None else labels
    else:
        schema, numbers = schema_of(found), None
    if isinstance(labels, Path):
        labels = read_labels(labels)
    if labels is None:
        labels = _labels_beside([root, root.parent] if folder else [root], schema, found, notes)
    if (
        schema in ("segmentation", "panoptic")
        and numbers is None
        and not is_listed(labels, IGNORED)
        and labels.ignore_id is None
    ):
        labels = replace(labels, ignore_id=IGNORED)
    if numbers is None:
        numbers = _foreign_numbers(labels)
    decoder = Decoder(schema, labels, numbers)
    ours = own if len(found) == 1 else {}
    parts: list[Part] = []
    for files in found:
        name = _split_name(files.split, schema)
        if folder is not None:
            name = folder if len(found) == 1 else f"{folder}-{name}"
        name = ours["split"] if ours.get("split") is not None or ("split" in ours and folder is None) else name
        count = sum(ours["lengths"]) if "lengths" in ours else sum(count_records(file) for file in files.paths)
        extra = attributes(ours.get("attributes"), str(root / LABELS))
        listed = ours.get("lengths")
        lengths = tuple(listed) if isinstance(listed, list) and len(listed) == len(files.paths) else None
        parts.append(_Part(name, labels, count, extra, files.paths, lengths, decoder, notes))
    return parts


def _split_name(name: str, schema: Schema) -> str:
    return name.rpartition("-")[2] if schema == "tfds" else name


def _own_numbers(own: Mapping[str, Any], labels: LabelSet) -> Numbers | None:
    if not own:
        return None
    ignored = own.get("ignored")
    positions = {label_id: k for k, label_id in enumerate(label_names(labels))}
    shift = whole_number(own.get("shift", 0), "shift")
    if ignored is not None and whole_number(ignored, "ignored") >= IGNORED:
        raise FormatError(f"ignored is the id of 255 in label maps, below 255, received {ignored}")
    return Numbers(shift, ignored, own.get("wide") is True, positions)


def _foreign_numbers(labels: LabelSet) -> Numbers:
    """Return the numbering in files of others: 255 is what nobody judged, whatever number the list gives that."""
    ignored = (
        labels.ignore_id
        if not is_listed(labels, IGNORED) and labels.ignore_id is not None and labels.ignore_id < IGNORED
        else None
    )
    return Numbers(ignored=ignored, positions={label.id: k for k, label in enumerate(labels.labels)})


def _labels_beside(roots: list[Path], schema: Schema, found: list[Files], notes: Tally) -> LabelSet:
    """Return the labels of the list beside the records, else those that the records name."""
    for root in roots:
        maps = [root / LABEL_MAP, *sorted(root.glob("*.pbtxt"))]
        file = next((file for file in maps if file.is_file()), None) or find_label_file(root)
        if file is not None:
            return read_labels(file)
        names = root / CLASS_NAMES
        if schema == "tfds" and names.is_file():
            lines = names.read_text("utf-8").splitlines()
            return LabelSet(tuple(Label(k, name) for k, name in enumerate(lines)))
    labels = named_in_records(found) if schema == "detection" else None
    if labels is None:
        raise FormatError(f"{roots[0]} has no list of labels; add labels.txt or {LABEL_MAP}, or give --labels")
    listed = ", ".join(f"{label.id} {label.name}" for label in labels.labels[:5])
    notes.add("datasets without a label list, named as their records say", f"{roots[0]}: {listed}")
    return labels
