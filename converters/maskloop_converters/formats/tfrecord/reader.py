"""Reading TFRecord files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...codecs import coco_rle, png
from ...codecs.tfexample import Feature
from ...errors import CodecError, DataError, FormatError
from ...masks import RunList
from ...options import LabelsFrom, PartName
from ...report import ErrorPolicy, OnError, Tally
from ...samples import Dataset, ImageRef, Label, LabelSet, Region, Sample
from ..image_files import read_address
from ..images import probe
from ..label_files import find_label_file, read_labels
from ..labels import label_names, labels_from_json
from ..parts import SKIPPED, Part, assemble, split_names
from ..records import attributes, check_labels, region_from_json, whole_number
from .layout import CLASS_NAMES, LABEL_MAP, LABELS, Files, find_files, folders_of_parts
from .schemas import (
    DIVISOR,
    IGNORED,
    MAP,
    MASKS,
    OBJECT_LABELS,
    OBJECT_MASKS,
    OBJECT_TEXTS,
    ORIGINAL,
    RECORD,
    SCHEMAS,
    TFDS_LABELS,
    TFDS_MAP,
    TFDS_MASKS,
    Numbers,
    Schema,
)
from .survey import count_records, decoded, named_in_records, records, schema_of, text, texts

_FEATURES = Mapping[str, Feature]
# By EXIF orientation: what turns an array in the frame of the file upright.
_TURNS: dict[int, Any] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: a.T[:, ::-1],
    7: lambda a: a[::-1, ::-1].T,
    8: lambda a: a.T[::-1],
}


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
    decoder: _Decoder
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
        and not _names(labels, IGNORED)
        and labels.ignore_id is None
    ):
        labels = replace(labels, ignore_id=IGNORED)
    if numbers is None:
        numbers = _foreign_numbers(labels)
    decoder = _Decoder(schema, labels, numbers)
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


def _names(labels: LabelSet, label_id: int) -> bool:
    """Return whether a label set lists an id."""
    return any(label.id == label_id for label in labels.labels)


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
        if not _names(labels, IGNORED) and labels.ignore_id is not None and labels.ignore_id < IGNORED
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


@dataclass(frozen=True, slots=True)
class _Decoder:
    """Turns records into samples."""

    schema: Schema
    labels: LabelSet
    numbers: Numbers

    def sample(self, features: _FEATURES, where: str, fallback_id: str) -> Sample:
        """Return the sample of a record; FormatError says what is wrong with it."""
        try:
            if RECORD in features:
                return self._own(features, where)
            return self._foreign(features, where, fallback_id)
        except FormatError as error:
            if str(error).startswith(where):
                raise
            raise FormatError(f"{where}: {error}") from error
        except (CodecError, DataError) as error:
            raise FormatError(f"{where}: {error}") from error

    def _own(self, features: _FEATURES, where: str) -> Sample:
        try:
            record = json.loads(_bytes(features, RECORD))
        except (ValueError, RecursionError) as error:
            raise FormatError(f"{where}: {RECORD} is no JSON: {error}") from error
        if not isinstance(record, dict) or not isinstance(record.get("id"), str):
            raise FormatError(f"{where}: {RECORD} has no id")
        where = f"{where}, sample {record['id']}"
        size, image, listed = record.get("size"), record.get("image"), record.get("regions")
        if not isinstance(size, list) or len(size) != 2 or not isinstance(image, dict) or not isinstance(listed, list):
            raise FormatError(f"{where}: {RECORD} has no size, image or list of regions")
        height, width = (whole_number(value, f"{where}: size") for value in size)
        if not height or not width:
            raise FormatError(f"{where}: {RECORD} says {width} x {height} pixels")
        regions = tuple(region_from_json(r, f"{where}, region {k}") for k, r in enumerate(listed))
        if MASKS in features:
            masks = coco_rle.decode(_list(features, MASKS), height, width).reordered("C")
        elif self.schema in ("segmentation", "panoptic"):
            masks = self._of_map(self._label_map(features, (height, width)), [r.label for r in regions])
        else:
            masks = _masks(_list(features, TFDS_MASKS if self.schema == "tfds" else OBJECT_MASKS), (height, width))
        if len(masks) != len(regions):
            raise FormatError(f"{where}: {len(masks)} masks for {len(regions)} regions")
        data = _bytes(features, ORIGINAL) if ORIGINAL in features else _image_bytes(features)
        name, uri = image.get("name"), image.get("uri")
        if not isinstance(name, str) or not (uri is None or isinstance(uri, str)):
            raise FormatError(f"{where}: {RECORD} has no image name")
        orientation = whole_number(image.get("exif_orientation", 1), f"{where}: exif_orientation")
        if data:
            info = probe(data, where)
            if (info.height, info.width) != (height, width):
                raise FormatError(
                    f"{where}: the image is {info.width} x {info.height}, its masks are {width} x {height}"
                )
            orientation = info.orientation
        extra = attributes(record.get("attributes"), where)
        sample = Sample(record["id"], ImageRef(name, data or None, uri, orientation), masks, regions, extra)
        check_labels(sample, self.labels.known_ids, where)
        return sample

    def _label_map(self, features: _FEATURES, size: tuple[int, int]) -> NDArray[Any]:
        """Return the map of label ids, (H, W)."""
        if self.schema == "panoptic":
            return self._panoptic(features, size) // DIVISOR
        key = TFDS_MAP if self.schema == "tfds" else MAP
        return self.numbers.ids(_indices(_bytes(features, key), size))

    def _panoptic(self, features: _FEATURES, size: tuple[int, int]) -> NDArray[np.int32]:
        data = _bytes(features, MAP)
        if len(data) != 4 * size[0] * size[1]:
            raise FormatError(f"{MAP} has {len(data)} bytes, expected 4 x {size[0]} x {size[1]}")
        return np.frombuffer(data, "<i4").reshape(size).astype(np.int32)

    def _of_map(self, label_map: NDArray[Any], wanted: list[int]) -> RunList:
        """Return the mask of each of the labels, empty where it is not there."""
        ids, masks = RunList.from_label_map(label_map)
        rows = {label: k for k, label in enumerate(ids.tolist())}
        height, width = label_map.shape
        nothing = RunList.from_rows([np.array([height * width])], height=height, width=width)
        return RunList.concatenate([masks, nothing]).select([rows.get(label, len(rows)) for label in wanted])

    def _foreign(self, features: _FEATURES, where: str, fallback_id: str) -> Sample:
        data = _image_bytes(features)
        stored, turn = _stored_size(features, data, where)
        if self.schema == "detection" or (self.schema == "tfds" and TFDS_MAP not in features):
            regions, masks = self._foreign_objects(features, stored)
        elif self.schema == "panoptic":
            regions, masks = self._foreign_segments(self._panoptic(features, stored))
        else:
            regions, masks = self._foreign_map(self._label_map(features, stored))
        if turn != 1:
            turned = [_TURNS[turn](masks.mask(k)) for k in range(len(masks))]
            height, width = stored if turn < 5 else stored[::-1]
            masks = RunList.from_masks(turned, height=height, width=width)
        said = text(features, "image/filename") or text(features, "file_name")
        sample_id = text(features, "image/source_id") or text(features, "id") or said or fallback_id
        suffix = ".png" if data.startswith(b"\x89PNG") else ".jpg"
        # Most tools keep the path that the image had on the machine where the records were made.
        name = read_address(said or sample_id + suffix).name or f"{fallback_id}{suffix}"
        ref = ImageRef(name, data or None, said if said and said != name else None, turn)
        return Sample(sample_id, ref, masks, tuple(regions))

    def _foreign_map(self, label_map: NDArray[Any]) -> tuple[list[Region], RunList]:
        ids, masks = RunList.from_label_map(label_map)
        fill = self.labels.fill_id
        rows = [k for k, label in enumerate(ids.tolist()) if label != fill]
        found = [int(ids[k]) for k in rows]
        self._check(found)
        return [Region(label) for label in found], masks.select(rows)

    def _foreign_segments(self, values: NDArray[np.int32]) -> tuple[list[Region], RunList]:
        found, masks = RunList.from_label_map(values)
        regions, rows = [], []
        fill, ignored = self.labels.fill_id, None if _names(self.labels, IGNORED) else self.labels.ignore_id
        for k, value in enumerate(found.tolist()):
            label, number = divmod(value, DIVISOR)
            label = ignored if label == IGNORED and ignored is not None else label
            if label != fill:
                regions.append(Region(label, instance=number or None))
                rows.append(k)
        self._check([region.label for region in regions])
        return regions, masks.select(rows)

    def _foreign_objects(self, features: _FEATURES, size: tuple[int, int]) -> tuple[list[Region], RunList]:
        mask_key, label_key = (TFDS_MASKS, TFDS_LABELS) if self.schema == "tfds" else (OBJECT_MASKS, OBJECT_LABELS)
        stored = features.get(mask_key, [])
        if isinstance(stored, list):
            masks = _masks(stored, size)
        elif stored.size % (size[0] * size[1]) == 0:
            arrays = stored.reshape(-1, *size) > 0.5
            masks = RunList.from_masks(list(arrays), height=size[0], width=size[1])
        else:
            raise FormatError(f"{mask_key} has {stored.size} values, expected a multiple of {size[0]} x {size[1]}")
        numbers = _integers(features, label_key)
        if self.schema == "tfds":
            ids = {position: label_id for label_id, position in self.numbers.positions.items()}
            numbers = [ids.get(number, number) for number in numbers]
        else:
            numbers = self._named(
                [number - self.numbers.shift for number in numbers], texts(features, OBJECT_TEXTS), len(masks)
            )
        self._check(numbers)
        if len(numbers) != len(masks):
            raise FormatError(f"{len(masks)} masks in {mask_key}, {len(numbers)} labels in {label_key}")
        crowds = _integers(features, "image/object/is_crowd") or [0] * len(numbers)
        if len(crowds) != len(numbers):
            raise FormatError(f"{len(crowds)} values in image/object/is_crowd for {len(numbers)} objects")
        regions = [Region(label, crowd=bool(crowd)) for label, crowd in zip(numbers, crowds, strict=True)]
        return regions, masks

    def _named(self, numbers: list[int], names: list[str], count: int) -> list[int]:
        """Return the ids of objects, by their names where they have no numbers; FormatError where the two disagree."""
        by_name = {label.name: label.id for label in self.labels.labels}
        if len(names) != count or not names:
            return numbers
        if not numbers:
            unknown = sorted({name for name in names if name not in by_name})
            if unknown:
                raise FormatError(
                    f"{OBJECT_TEXTS} says {unknown}, which are no labels; there are: {', '.join(by_name)}"
                )
            return [by_name[name] for name in names]
        for number, name in zip(numbers, names, strict=False):
            if by_name.get(name, number) != number:
                listed = next((label.name for label in self.labels.labels if label.id == number), None)
                raise FormatError(
                    f"an object's label is {number}, which the list calls {listed!r}, and its {OBJECT_TEXTS} is {name!r}, "
                    f"which has number {by_name[name]} there: the list is not that of these records; give the right one "
                    "with --labels"
                )
        return numbers

    def _check(self, ids: list[int]) -> None:
        known = {label.id for label in self.labels.labels} | {self.labels.ignore_id, self.labels.background_id}
        unknown = sorted({label for label in ids if label not in known})
        if unknown:
            there = ", ".join(f"{label.id} {label.name}" for label in self.labels.labels)
            raise FormatError(f"the ids {unknown} are no labels; there are: {there}")


def _stored_size(features: _FEATURES, data: bytes, where: str) -> tuple[tuple[int, int], int]:
    """Return (height, width) in the frame of the file, which is the one that TensorFlow sees, and the orientation."""
    if data:
        info = probe(data, where)
        size = (info.height, info.width)
        return (size if info.orientation < 5 else size[::-1]), info.orientation
    said = [_integers(features, key) for key in ("image/height", "image/width")]
    if not all(len(values) == 1 and values[0] > 0 for values in said):
        raise FormatError("it has no image, and no image/height and image/width either")
    return (said[0][0], said[1][0]), 1


def _masks(files: list[bytes], size: tuple[int, int]) -> RunList:
    """Return the masks of PNG files: where they are not 0."""
    arrays = (_indices(file, size) != 0 for file in files)
    return RunList.from_masks(arrays, height=size[0], width=size[1])


def _indices(data: bytes, size: tuple[int, int]) -> NDArray[Any]:
    """Return the numbers of a label map or mask PNG of the expected (height, width)."""
    image = png.read(data, max_pixels=size[0] * size[1])
    if image.pixels.shape[:2] != size:
        raise FormatError(
            f"a mask is {image.pixels.shape[1]} x {image.pixels.shape[0]}, its image {size[1]} x {size[0]}"
        )
    return image.indices()


def _image_bytes(features: _FEATURES) -> bytes:
    key = "image/encoded" if "image/encoded" in features else "image"
    return _bytes(features, key) if key in features else b""


def _list(features: _FEATURES, key: str) -> list[bytes]:
    value = features.get(key, [])
    if not isinstance(value, list):
        raise FormatError(f"{key} is a list of numbers, expected bytes")
    return value


def _bytes(features: _FEATURES, key: str) -> bytes:
    values = _list(features, key)
    if len(values) != 1:
        raise FormatError(f"{key} has {len(values)} values, expected one")
    return values[0]


def _integers(features: _FEATURES, key: str) -> list[int]:
    value = features.get(key, [])
    if isinstance(value, list):
        if value:
            raise FormatError(f"{key} is a list of bytes, expected integers")
        return []
    return [int(number) for number in value.tolist()]
