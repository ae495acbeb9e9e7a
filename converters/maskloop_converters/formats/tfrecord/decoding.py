"""One record of a TFRecord file -> one sample."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...codecs import coco_rle, png
from ...codecs.tfexample import Feature
from ...errors import CodecError, DataError, FormatError
from ...masks import RunList
from ...samples import ImageRef, LabelSet, Region, Sample
from ..image_files import dataset_name, read_address
from ..images import probe
from ..records import attributes, check_labels, region_from_json, whole_number
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
    TFDS_LABELS,
    TFDS_MAP,
    TFDS_MASKS,
    Numbers,
    Schema,
)
from .survey import text, texts

Features = Mapping[str, Feature]
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


def is_listed(labels: LabelSet, label_id: int) -> bool:
    """Return whether a label set lists an id."""
    return any(label.id == label_id for label in labels.labels)


@dataclass(frozen=True, slots=True)
class Decoder:
    """Turns records into samples."""

    schema: Schema
    labels: LabelSet
    numbers: Numbers

    def sample(self, features: Features, where: str, fallback_id: str) -> Sample:
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

    def _own(self, features: Features, where: str) -> Sample:
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
        if not (name := dataset_name(name)):
            raise FormatError(f"{where}: {RECORD} says an image name of which nothing stays inside a dataset")
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

    def _label_map(self, features: Features, size: tuple[int, int]) -> NDArray[Any]:
        """Return the map of label ids, (H, W)."""
        if self.schema == "panoptic":
            return self._panoptic(features, size) // DIVISOR
        key = TFDS_MAP if self.schema == "tfds" else MAP
        return self.numbers.ids(_indices(_bytes(features, key), size))

    def _panoptic(self, features: Features, size: tuple[int, int]) -> NDArray[np.int32]:
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

    def _foreign(self, features: Features, where: str, fallback_id: str) -> Sample:
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
        fill, ignored = self.labels.fill_id, None if is_listed(self.labels, IGNORED) else self.labels.ignore_id
        for k, value in enumerate(found.tolist()):
            label, number = divmod(value, DIVISOR)
            label = ignored if label == IGNORED and ignored is not None else label
            if label != fill:
                regions.append(Region(label, instance=number or None))
                rows.append(k)
        self._check([region.label for region in regions])
        return regions, masks.select(rows)

    def _foreign_objects(self, features: Features, size: tuple[int, int]) -> tuple[list[Region], RunList]:
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


def _stored_size(features: Features, data: bytes, where: str) -> tuple[tuple[int, int], int]:
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


def _image_bytes(features: Features) -> bytes:
    key = "image/encoded" if "image/encoded" in features else "image"
    return _bytes(features, key) if key in features else b""


def _list(features: Features, key: str) -> list[bytes]:
    value = features.get(key, [])
    if not isinstance(value, list):
        raise FormatError(f"{key} is a list of numbers, expected bytes")
    return value


def _bytes(features: Features, key: str) -> bytes:
    values = _list(features, key)
    if len(values) != 1:
        raise FormatError(f"{key} has {len(values)} values, expected one")
    return values[0]


def _integers(features: Features, key: str) -> list[int]:
    value = features.get(key, [])
    if isinstance(value, list):
        if value:
            raise FormatError(f"{key} is a list of bytes, expected integers")
        return []
    return [int(number) for number in value.tolist()]
