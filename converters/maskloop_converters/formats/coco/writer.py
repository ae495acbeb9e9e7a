"""Writing COCO datasets."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, TextIO

import numpy as np
from numpy.typing import NDArray

from ...atomic import atomic_directory, atomic_file
from ...codecs import png
from ...errors import TargetError
from ...masks import RunList
from ...options import Option
from ...report import WriteReport
from ...samples import Dataset, LabelSet, Region, Sample
from ..file_names import FreeNames, file_stem, relative_path
from ..gate import gated
from ..images import ImageMode, Images, store_image
from ..records import dumps, image_to_json, region_to_json
from .extras import (
    ANNOTATION_FIELDS,
    CATEGORIES,
    DOCUMENT_FIELDS,
    IMAGE_FIELDS,
    INFO,
    KEY,
    categories_of,
    document_extras,
    is_object,
    others_of,
    with_attributes,
)
from .segmentation import outlines_of, run_lengths

Kind = Literal["instances", "panoptic"]

# Readers keep ids as JavaScript numbers or int64; a panoptic PNG has 24 bits for an id, 0 is void.
_LARGEST_ID = 2**53
_LARGEST_SEGMENT = 2**24


@contextmanager
def opening(
    dataset: Dataset,
    path: Path,
    *,
    kind: Annotated[Kind, Option("An annotation a region, or a PNG of segments an image.")] = "instances",
    images: Images = None,
    compressed: Annotated[
        bool, Option("Run lengths as COCO's compressed text, or lists of numbers.", flag="--compressed/--uncompressed")
    ] = True,
    polygons: Annotated[
        bool,
        Option("Write outlines as polygons where they are the mask to the pixel; holes and crowds keep run lengths."),
    ] = False,
    overwrite: bool = False,
) -> Iterator[_Writer]:
    """Write a dataset as COCO JSON.

    Args:
        dataset: what to write.
        path: the folder to make; or, with the ending ``.json``, the file of instances alone.
        kind: 'instances', an annotation with run lengths a region, or 'panoptic', a PNG of segments an image.
        images: how images come along, see :func:`maskloop_converters.formats.images.store_image`; by default they are copied
            into a folder and referenced from a file.
        compressed: run lengths as COCO's compressed text; False for lists of numbers.
        polygons: instances as polygons along the edges of their pixels, where pycocotools makes the same mask of them;
            regions with holes, which no list of polygons can have, and crowds keep run lengths.
        overwrite: replace what is there.

    Yields:
        The writer of samples; its report says what was written, and what COCO cannot hold: soft edges. Regions that lie
        under others in a panoptic PNG are kept for our reader only, which is noted.

    Raises:
        OutputExistsError: something is there already.
        TargetError: panoptic, or images to copy, with a path that is one file.
    """
    with ExitStack() as stack:
        if path.suffix == ".json":
            if kind == "panoptic" or images not in (None, "reference"):
                raise TargetError(f"{path} is one file, which cannot hold PNGs or images; give a folder")
            file = stack.enter_context(atomic_file(path, overwrite=overwrite))
            images_root = segments_root = None
            images = "reference"
        else:
            name = kind if dataset.split is None else f"{kind}_{file_stem(dataset.split)}"
            root = stack.enter_context(atomic_directory(path, overwrite=overwrite))
            folder = root / "annotations"
            folder.mkdir()
            file, images_root, segments_root = folder / f"{name}.json", root / "images", folder / name
        document, spool = stack.enter_context(_spool(file))
        writer = _Writer(
            document, spool, images_root, segments_root, dataset, kind, images or "copy", compressed, polygons
        )
        writer.begin()
        yield writer
        writer.end()


@dataclass(slots=True)
class _Writer:
    """Writes one COCO file: images go straight into it, annotations into a file beside it, appended in the end."""

    document: TextIO
    spool: TextIO
    images_root: Path | None
    segments_root: Path | None
    dataset: Dataset
    kind: Kind
    images: ImageMode
    compressed: bool
    polygons: bool
    report: WriteReport = field(default_factory=WriteReport)
    _labels: LabelSet = field(init=False)
    _annotations: int = 0
    _names: FreeNames = field(default_factory=FreeNames)
    _segment_names: FreeNames = field(default_factory=FreeNames)
    _image_ids: Ids = field(default_factory=lambda: Ids(_LARGEST_ID))
    _annotation_ids: Ids = field(default_factory=lambda: Ids(_LARGEST_ID))

    def __post_init__(self) -> None:
        self._labels = self.dataset.labels

    def begin(self) -> None:
        """Write what stands before the images."""
        self.document.write(dumps(self._members(), "the dataset")[:-1] + ',"images":[')

    def write(self, sample: Sample) -> None:
        """Write a sample's record and files, and its annotations aside."""
        where = f"sample {sample.id}"
        record, annotations = self._sample(sample, where)
        texts = [dumps(annotation, where) for annotation in annotations]
        self.document.write(",\n"[not self.report.samples :] + dumps(record, where))
        for text in texts:
            self.spool.write(",\n"[not self._annotations :] + text)
            self._annotations += 1
        self.report.samples += 1
        self.report.regions += len(sample.regions)

    def end(self) -> None:
        """Write the annotations behind the images."""
        self.document.write('\n],"annotations":[\n')
        self.spool.seek(0)
        shutil.copyfileobj(self.spool, self.document)
        self.document.write("\n]}\n")

    def _members(self) -> dict[str, Any]:
        members: dict[str, Any] = {"info": dict(INFO)}
        extras = document_extras(self._labels)
        own = dict(self.dataset.attributes)
        categories = own.pop(CATEGORIES, [])
        with_attributes(members, own, DOCUMENT_FIELDS)
        if self.dataset.split is not None:
            extras["split"] = self.dataset.split
        members[KEY] = {**extras, **members.get(KEY, {})}
        members[CATEGORIES] = categories_of(self._labels, categories)
        if others_of(members[CATEGORIES]) != categories:
            # of categories that are not written: renamed, dropped, or one of two of a name
            members[KEY].setdefault("attributes", {})[CATEGORIES] = categories
        return members

    def _sample(self, sample: Sample, where: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Return the image's record and its annotations, after writing its files."""
        for region in sample.regions:
            if region.edge is not None:
                pixels = region.edge.positions.size
                self.report.losses.add("soft edge pixels made hard", f"{where}: {pixels}", pixels)
        image_id = self._image_ids.take(sample.id)
        name = self._names.take(relative_path(sample.image.name, where))
        record: dict[str, Any] = {
            "id": image_id,
            "file_name": str(name),
            "width": sample.width,
            "height": sample.height,
        }
        extras = image_to_json(sample)
        if extras["name"] == str(name):
            del extras["name"]
        if sample.id != str(image_id):
            extras["id"] = sample.id
        placed = self.images_root is not None and store_image(
            sample.image, self.images_root / name, self.images, self.report, where
        )
        if not placed and isinstance(sample.image.source, Path):
            extras["source"] = str(sample.image.source.resolve())
        if extras:
            record[KEY] = extras
        with_attributes(record, sample.attributes, IMAGE_FIELDS)
        if self.kind == "panoptic":
            annotations, hidden = self._panoptic(sample, image_id, name, where)
        else:
            annotations, hidden = self._instances(sample, image_id)
        if hidden:
            record.setdefault(KEY, {})["regions"] = hidden
        return record, annotations

    def _instances(self, sample: Sample, image_id: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        masks: list[Any] = [*run_lengths(sample.masks, compressed=self.compressed)]
        areas, boxes = sample.masks.areas().tolist(), sample.masks.boxes().tolist()
        annotations, hidden = [], []
        for k, region in enumerate(sample.regions):
            if self.polygons and not region.crowd and is_object(region.label, self._labels):
                outlined = outlines_of(sample.masks.select([k]))
                if outlined is None:
                    kind = "regions with holes or without pixels, kept as run lengths"
                    self.report.notes.add(kind, f"sample {sample.id}, region {region.id or k}")
                else:
                    masks[k] = outlined
            if not is_object(region.label, self._labels):
                hidden.append({"position": k, **region_to_json(region), "segmentation": masks[k]})
                continue
            number = self._annotation_ids.take(region.id)
            record = {
                "id": number,
                "image_id": image_id,
                "category_id": region.label,
                "segmentation": masks[k],
                "area": areas[k],
                "bbox": boxes[k],
                "iscrowd": int(region.crowd),
            }
            _complete(record, region)
            annotations.append(record)
        return annotations, hidden

    def _panoptic(
        self, sample: Sample, image_id: int, name: PurePosixPath, where: str
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        assert self.segments_root is not None
        objects = [k for k, region in enumerate(sample.regions) if is_object(region.label, self._labels)]
        ids = Ids(_LARGEST_SEGMENT)
        numbers = [ids.take(sample.regions[k].id) for k in objects]
        segments = sample.masks.select(objects).to_label_map(numbers, fill=0, dtype=np.uint32)
        found, visible = RunList.from_label_map(segments)
        rows = {number: row for row, number in enumerate(found.tolist())}
        areas, boxes = visible.areas().tolist(), visible.boxes().tolist()
        whole = sample.masks.areas().tolist()
        # Other readers refuse segments without pixels, and take the background for an object.
        shown = {k: number for k, number in zip(objects, numbers, strict=True) if number in rows}
        hidden = [k for k in range(len(sample.regions)) if k not in shown]
        covered = [k for k, number in shown.items() if areas[rows[number]] != whole[k]]
        lost = sorted([*hidden, *covered])
        kept = dict(zip(lost, run_lengths(sample.masks.select(lost), compressed=self.compressed), strict=True))
        infos = []
        for k, number in shown.items():
            region, area = sample.regions[k], areas[rows[number]]
            record: dict[str, Any] = {
                "id": number,
                "category_id": region.label,
                "area": area,
                "bbox": boxes[rows[number]],
                "iscrowd": int(region.crowd),
            }
            if k in kept:
                record[KEY] = {"segmentation": kept[k]}
                pixels = whole[k] - area
                self.report.notes.add(
                    "pixels under other segments, kept for maskloop only", f"{where}: {pixels}", pixels
                )
            _complete(record, region)
            infos.append(record)
        file = self._segment_names.take(name.with_suffix(".png"))
        path = self.segments_root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png.write_label_map(_panoptic_colors(segments)))
        return [{"image_id": image_id, "file_name": str(file), "segments_info": infos}], [
            {"position": k, **region_to_json(sample.regions[k]), "segmentation": kept[k]} for k in hidden
        ]


class Ids:
    """Whole numbers as ids: the source's own where they are numbers and free, else the next free one."""

    _PAGE = 4096

    def __init__(self, end: int) -> None:
        self._end = end
        self._next = 1
        # A bit an id, in pages: ids are mostly dense, and a set of ten million takes a gigabyte.
        self._pages: dict[int, bytearray] = {}

    def take(self, wanted: str) -> int:
        """Return ``wanted`` as a number if it is one from 1 in plain form and free, else the next free number."""
        if wanted.isdecimal() and len(wanted) < 17 and str(int(wanted)) == wanted:
            number = int(wanted)
            if 0 < number < self._end and self._mark(number):
                return number
        while not self._mark(self._next):
            self._next += 1
        return self._next

    def _mark(self, number: int) -> bool:
        """Take a number and say whether it was free."""
        page, place = divmod(number, self._PAGE)
        bits = self._pages.get(page)
        if bits is None:
            bits = self._pages[page] = bytearray(self._PAGE // 8)
        byte, bit = divmod(place, 8)
        free = not bits[byte] >> bit & 1
        bits[byte] |= 1 << bit
        return free


def _complete(record: dict[str, Any], region: Region) -> None:
    """Add to an annotation what COCO has no field for."""
    if region.score is not None:
        record["score"] = region.score
    extras: dict[str, Any] = {}
    if region.id != str(record["id"]):
        extras["id"] = region.id
    if region.instance is not None:
        extras["instance"] = region.instance
    if region.origin is not None:
        extras["origin"] = region.origin
    if extras:
        record.setdefault(KEY, {}).update(extras)
    with_attributes(record, region.attributes, ANNOTATION_FIELDS)


def _panoptic_colors(ids: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Return ids as colours, R + 256 G + 65536 B: uint8 (H, W, 3)."""
    little = ids.astype("<u4").view(np.uint8).reshape(*ids.shape, 4)
    return np.ascontiguousarray(little[..., :3])


@contextmanager
def _spool(file: Path) -> Iterator[tuple[TextIO, TextIO]]:
    """Open a document for writing and a file beside it that goes away."""
    beside = file.with_name(f"{file.name}.annotations")
    with ExitStack() as stack:
        document = stack.enter_context(file.open("w", encoding="utf-8"))
        stack.callback(beside.unlink, missing_ok=True)
        spool = stack.enter_context(beside.open("w+", encoding="utf-8"))
        yield document, spool


write = gated(opening)
