"""The features of each schema: what their readers ask for, by name."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...codecs import pictures, png
from ...codecs.tfexample import FeatureLike
from ...errors import CodecError, FormatError, TargetError
from ...report import WriteReport
from ...samples import LabelSet, Sample
from ..images import probe, upright

Schema = Literal["segmentation", "panoptic", "detection", "tfds"]
SCHEMAS: tuple[Schema, ...] = ("segmentation", "panoptic", "detection", "tfds")

MAP, MAP_FORMAT = "image/segmentation/class/encoded", "image/segmentation/class/format"
OBJECT_MASKS, OBJECT_LABELS = "image/object/mask", "image/object/class/label"
OBJECT_TEXTS = "image/object/class/text"
TFDS_MASKS, TFDS_LABELS, TFDS_MAP = "objects/mask", "objects/label", "segmentation_mask"
# Ours, beside the schema's: the sample as JSON, its masks where the schema loses some, the image as it was.
RECORD, MASKS, ORIGINAL = "maskloop/sample", "maskloop/masks", "maskloop/image"

#: DeepLab leaves pixels of this value out of loss and metrics.
IGNORED = 255
#: DeepLab2's panoptic value is class * divisor + instance.
DIVISOR = 1000
_LARGEST = 65535


@dataclass(frozen=True, slots=True)
class Numbers:
    """How label ids are numbered in the records.

    Attributes:
        shift: added to ids in the Object Detection API's label field, which starts at 1.
        ignored: the id that stands as 255 in label maps, None where none does.
        wide: label maps have 16 bits.
        positions: id -> position in TFDS's list of classes.
    """

    shift: int = 0
    ignored: int | None = None
    wide: bool = False
    positions: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, labels: LabelSet, names: Mapping[int, str]) -> Numbers:
        """Return the numbering for a label set; TargetError if an id is beyond 16 bits."""
        top = max([labels.fill_id, *names])
        if top > _LARGEST:
            raise TargetError(f"label id {top} does not fit a PNG's 16 bits; give labels ids up to {_LARGEST} (--map)")
        ignored = labels.ignore_id if labels.ignore_id != IGNORED and IGNORED not in names and top < 256 else None
        positions = {label_id: k for k, label_id in enumerate(names)}
        return cls(int(0 in names), ignored, top > 255, positions)

    def stored(self, label_map: NDArray[Any]) -> NDArray[Any]:
        """Return a label map as it stands in records."""
        out = label_map.astype(np.uint16 if self.wide else np.uint8)
        if self.ignored is not None:
            out[label_map == self.ignored] = IGNORED
        return out

    def ids(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Return the label ids of a map in a record."""
        if self.ignored is None:
            return stored
        out = stored.copy()
        out[stored == IGNORED] = self.ignored
        return out


@dataclass(frozen=True, slots=True)
class Picture:
    """An image as TensorFlow reads it, which heeds no EXIF: upright, JPEG or PNG."""

    data: bytes
    format: str
    channels: int
    original: bytes | None

    @classmethod
    def of(cls, sample: Sample, report: WriteReport, where: str) -> Picture:
        """Return the image of a sample; the original is kept where it had to be encoded anew."""
        data = sample.image.read_bytes()
        if data is None:
            report.notes.add("images out of reach", f"{where}: {sample.image.uri or sample.image.name}")
            return cls(b"", "", 3, None)
        info = probe(data, where)
        if (info.height, info.width) != (sample.height, sample.width):
            raise FormatError(
                f"{where}: the image is {info.width} x {info.height} pixels, its masks are "
                f"{sample.width} x {sample.height}"
            )
        new = upright(sample.image, where) or b"" if info.orientation != 1 else data
        kind = info.format
        if kind not in ("JPEG", "PNG"):
            new, kind = _as_png(new, where), "PNG"
        if new is not data:
            report.notes.add("images encoded anew for TensorFlow (the original is kept beside)", where)
        channels = info.channels if new is data else probe(new, where).channels
        return cls(new, kind.lower(), channels, data if new is not data else None)


def _as_png(data: bytes, where: str) -> bytes:
    try:
        picture = pictures.decode(data)
    except CodecError as error:
        raise FormatError(f"{where}: cannot read the image: {error}") from error
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG")
    return out.getvalue()


def features(
    schema: Schema, sample: Sample, picture: Picture, labels: LabelSet, names: Mapping[int, str], numbers: Numbers
) -> dict[str, FeatureLike]:
    """Return the features that a schema's readers ask for."""
    if schema == "tfds":
        values = numbers.stored(sample.label_map(labels))
        return {
            "image": picture.data,
            "file_name": sample.image.name,
            "id": sample.id,
            TFDS_MAP: png.write_label_map(values),
            TFDS_MASKS: png.write_masks(sample.masks, 1),
            TFDS_LABELS: np.array([numbers.positions[r.label] for r in sample.regions], np.int64),
        }
    out: dict[str, FeatureLike] = {
        "image/encoded": picture.data,
        "image/filename": sample.image.name,
        "image/format": picture.format,
        "image/height": sample.height,
        "image/width": sample.width,
    }
    if schema == "detection":
        return out | _objects(sample, picture, names, numbers)
    out["image/channels"] = picture.channels
    if schema == "panoptic":
        out[MAP], out[MAP_FORMAT] = _panoptic(sample, labels).astype("<i4").tobytes(), "raw"
    else:
        out[MAP], out[MAP_FORMAT] = png.write_label_map(numbers.stored(sample.label_map(labels))), "png"
    return out


def _objects(sample: Sample, picture: Picture, names: Mapping[int, str], numbers: Numbers) -> dict[str, FeatureLike]:
    boxes = sample.masks.boxes().astype(np.float64)
    left, top = boxes[:, 0] / sample.width, boxes[:, 1] / sample.height
    right, bottom = left + boxes[:, 2] / sample.width, top + boxes[:, 3] / sample.height
    return {
        "image/source_id": sample.id,
        "image/key/sha256": hashlib.sha256(picture.data).hexdigest(),
        "image/object/bbox/xmin": left.astype(np.float32),
        "image/object/bbox/xmax": np.minimum(right, 1).astype(np.float32),
        "image/object/bbox/ymin": top.astype(np.float32),
        "image/object/bbox/ymax": np.minimum(bottom, 1).astype(np.float32),
        OBJECT_TEXTS: [names[r.label] for r in sample.regions],
        OBJECT_LABELS: np.array([r.label + numbers.shift for r in sample.regions], np.int64),
        "image/object/is_crowd": np.array([r.crowd for r in sample.regions], np.int64),
        "image/object/area": sample.masks.areas().astype(np.float32),
        OBJECT_MASKS: png.write_masks(sample.masks, 1),
    }


def _panoptic(sample: Sample, labels: LabelSet) -> NDArray[np.int32]:
    """Return DeepLab2's panoptic map: class * 1000 + instance, int32 (H, W); stuff has instance 0."""
    things = {label.id for label in labels.labels if label.thing}
    # 255 is DeepLab2's ignored label, unless the dataset has a class of that number.
    is_class = any(label.id == IGNORED for label in labels.labels)
    ignored = labels.ignore_id if is_class else IGNORED
    numbers: dict[int, int] = {}
    values = []
    for region in sample.regions:
        number = region.instance or 0
        if region.instance is None and region.label in things:
            number = numbers[region.label] = numbers.get(region.label, 0) + 1
        if number >= DIVISOR:
            raise TargetError(
                f"sample {sample.id}: instance {number} of label {region.label}; DeepLab2 has room for {DIVISOR - 1}"
            )
        label = ignored if region.label == labels.ignore_id and ignored is not None else region.label
        values.append(label * DIVISOR + number)
    fill = ignored if labels.fill_id == labels.ignore_id and ignored is not None else labels.fill_id
    return sample.masks.to_label_map(values, fill=fill * DIVISOR, dtype=np.int32)
