"""Reading rows of Hugging Face's datasets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from ...errors import FormatError
from ...masks import RunList
from ...options import ImagesFrom, LabelsFrom, Option, PartName
from ...report import ErrorPolicy, OnError, Tally
from ...samples import Dataset, ImageRef, Label, LabelSet, Region, Sample
from ..image_files import ImageFinder, dataset_name, read_address
from ..images import ImageInfo, probe
from ..kept_regions import restored
from ..label_files import LabelList, find_label_file, read_label_list, with_roles
from ..parts import SKIPPED, assemble, split_names
from ..png.label_maps import Decoder, Meaning
from ..png.mask_files import MaskSource, StoredMask, read_pixels
from ..png.naming import Seen, by_list, nameless
from ..records import attributes, check_labels, image_size, region_from_json, whole_number
from .columns import RECORD, Columns, choose, plain_values
from .files import DATA, LABELS, OWN, Rows, find

_LOOKED_AT = 16
_LARGEST = 1 << 26
_COLUMNS_LEFT_OUT = "columns that are not taken"


def detect(path: Path) -> str | None:
    """Return None if ``path`` holds rows of Hugging Face's datasets, else the reason why not."""
    try:
        find(Path(path))
    except FormatError as error:
        return str(error)
    return None


def splits(path: Path) -> tuple[str, ...]:
    """Return the names of the parts that a dataset has; empty where it has none."""
    found = find(Path(path))
    own = _own(_root(Path(path)) / LABELS).get("split")
    if len(found) == 1 and isinstance(own, str):
        return (own,)
    return tuple(rows.split for rows in found if rows.split is not None)


def read(
    path: Path,
    *,
    labels: LabelsFrom = None,
    split: PartName = None,
    on_error: OnError = "fail",
    images_from: ImagesFrom = None,
    image_column: Annotated[
        str | None, Option("The column of the images, where its name does not say it.", metavar="NAME")
    ] = None,
    mask_column: Annotated[str | None, Option("The column of the label maps, likewise.", metavar="NAME")] = None,
) -> Dataset:
    """Return a dataset of Parquet files, of what ``save_to_disk`` left, or of an imagefolder with masks.

    Args:
        path: a Parquet file or a folder, see the module.
        labels: the classes, or a label list file; by default the list beside, else the ``ClassLabel``s of a column, else
            class 0..n, for which all masks are looked at.
        split: read this part only.
        on_error: 'skip' leaves out samples that cannot be read and counts them.
        images_from: folder that has the images that rows name and do not hold.
        image_column: of the images.
        mask_column: of the label maps.

    Raises:
        FormatError: no such dataset or columns, or the library is not installed. While iterating: a row with a fault.
    """
    path = Path(path)
    root = _root(path)
    found = find(path)
    own = _own(root / LABELS)
    parts = []
    for rows in found:
        columns = choose(rows.features, rows.where, image_column, mask_column)
        notes = Tally()
        if columns.left_out:
            notes.add(_COLUMNS_LEFT_OUT, f"{rows.where}: {', '.join(columns.left_out)}", len(columns.left_out))
        finder = ImageFinder([root] if images_from is None else [images_from])
        said = own.get("split")
        name = said if isinstance(said, str) and len(found) == 1 else rows.split
        extras = attributes(own.get("attributes"), str(root / LABELS))
        meant = _meaning(root, rows, columns, labels, bool(own), notes)
        parts.append(_Part(name, meant, root, rows, columns, finder, rows.count(), extras, notes))
    if split is not None and split not in split_names(parts):
        there = ", ".join(split_names(parts))
        raise FormatError(f"{path} has no part {split!r}; {f'there are: {there}' if there else 'it has no parts'}")
    return assemble(path, parts, split, on_error, "huggingface")


def _root(path: Path) -> Path:
    """Return the folder that a dataset is in."""
    folder = path.parent if path.is_file() else path
    return folder.parent if path.is_file() and folder.name == DATA else folder


def _own(path: Path) -> dict[str, Any]:
    """Return what we noted in our list of labels; empty where it is not ours."""
    try:
        document = json.loads(path.read_bytes()) if path.stat().st_size <= _LARGEST else None
    except (OSError, ValueError, RecursionError):
        return {}
    own = document.get(OWN) if isinstance(document, dict) else None
    return own if isinstance(own, dict) else {}


def _meaning(
    root: Path, rows: Rows, columns: Columns, given: LabelSet | Path | None, own: bool, notes: Tally
) -> Meaning:
    """Return what the numbers in the masks mean."""
    folders = [folder for folder in dict.fromkeys([rows.files[0], rows.files[0].parent, root]) if folder.is_dir()]
    file = given if isinstance(given, Path) else find_label_file(*folders)
    listed = LabelList(given) if isinstance(given, LabelSet) else None
    if listed is None and file is not None:
        listed = read_label_list(file)
    if listed is None and columns.names:
        listed = LabelList(with_roles([Label(k, name) for k, name in enumerate(columns.names)]))
    if listed is not None and own and columns.record:
        return Meaning(listed.labels)
    masks = (mask for row in rows.rows([columns.mask]) if (mask := _mask(row, columns, root, rows.where)) is not None)
    if listed is not None:
        return by_list(listed, Seen.of(islice(masks, _LOOKED_AT)), "auto", notes)
    return nameless(root, Seen.of(masks), [], "auto", notes)


def _mask(row: dict[str, Any], columns: Columns, root: Path, where: str) -> MaskSource | None:
    """Return a row's mask, None where it has none."""
    stored = _stored(row.get(columns.mask), root, f"{where}: {columns.mask}")
    if isinstance(stored, bytes):
        return StoredMask(f"{where}, {columns.mask}", stored)
    return stored if isinstance(stored, Path) else None


def _stored(value: Any, root: Path, where: str) -> bytes | Path | str | None:
    """Return what a column of pictures holds: their bytes, a file inside the dataset, or just a name."""
    if isinstance(value, bytes) or value is None:
        return value
    if not isinstance(value, dict):
        raise FormatError(f"{where}: expected an encoded picture, received {type(value).__name__}")
    data, path = value.get("bytes"), value.get("path")
    if isinstance(data, bytes):
        return data
    if not isinstance(path, str) or not path or "\0" in path:
        return None
    file = Path(path)
    if file.is_absolute() and file.resolve().is_relative_to(root.resolve()) and file.is_file():
        return file
    return path


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of a part."""

    split: str | None
    meaning: Meaning
    root: Path
    rows: Rows
    columns: Columns
    finder: ImageFinder
    count: int
    attributes: dict[str, Any]
    notes: Tally = field(default_factory=Tally)

    @property
    def labels(self) -> LabelSet:
        return self.meaning.labels

    def samples(self, policy: ErrorPolicy) -> Iterator[Sample]:
        policy.notes.merge(self.notes)
        decode = Decoder(self.meaning, policy.notes)
        taken: set[str] = set()
        names = [self.columns.image, self.columns.mask]
        for number, row in enumerate(self.rows.rows(names), 1):
            with policy.record(SKIPPED):
                where = f"{self.rows.where}, row {number}"
                sample = self._sample(row, number, decode, taken, where)
                check_labels(sample, self.labels.known_ids, where)
                yield sample

    def _sample(self, row: dict[str, Any], number: int, decode: Decoder, taken: set[str], where: str) -> Sample:
        own = _record(row.get(RECORD) if self.columns.record else None, where)
        mask = _mask(row, self.columns, self.root, where)
        ref, info = self._image(row, number, own, where)
        size = None if info is None else (info.height, info.width)
        if own:
            return self._noted(own, ref, size, mask, decode, where)
        if mask is None:
            raise FormatError(f"{where}: there is no mask in the column {self.columns.mask}")
        ids, masks = decode.regions(mask, size, where)
        sample_id = ref.name.rpartition(".")[0] or ref.name
        if sample_id in taken:  # rows have no names of their own
            sample_id = f"{sample_id}-{number}"
        taken.add(sample_id)
        return Sample(sample_id, ref, masks, tuple(Region(k) for k in ids), plain_values(row, self.columns))

    def _image(
        self, row: dict[str, Any], number: int, own: dict[str, Any], where: str
    ) -> tuple[ImageRef, ImageInfo | None]:
        value = row.get(self.columns.image)
        stored = _stored(value, self.root, f"{where}: {self.columns.image}")
        named = value.get("path") if isinstance(value, dict) else None
        told = own.get("image", {})
        if not isinstance(told, dict):
            raise FormatError(f"{where}: image under {RECORD} must be an object, received {told!r:.80}")
        uri, source = (x if isinstance(x := told.get(key), str) else None for key in ("uri", "source"))
        if isinstance(stored, Path):
            relative = stored.resolve().relative_to(self.root.resolve()).as_posix()
            info = probe(stored, where)
            return ImageRef(relative, stored, uri, info.orientation), info
        name = told.get("name") if isinstance(told.get("name"), str) else named
        name = dataset_name(name) if isinstance(name, str) else ""
        if isinstance(stored, bytes):
            info = probe(stored, f"{where}: {self.columns.image}")
            name = name or f"{number:06d}.{info.format.lower().replace('jpeg', 'jpg')}"
            return ImageRef(name, stored, uri, info.orientation), info
        if not name:
            raise FormatError(f"{where}: there is no image in the column {self.columns.image}, and no name of one")
        path = self.finder.find(read_address(name), where, source=source)
        if path is not None:
            info = probe(path, where)
            return ImageRef(name, path, uri, info.orientation), info
        turn = whole_number(told.get("exif_orientation", 1), f"{where}: exif_orientation")
        return ImageRef(name, None, uri, turn), None

    def _noted(
        self,
        own: dict[str, Any],
        ref: ImageRef,
        shown: tuple[int, int] | None,
        mask: MaskSource | None,
        decode: Decoder,
        where: str,
    ) -> Sample:
        """Return a sample that we wrote; its mask may have been painted over since, where nothing lies beside it."""
        size, records = own.get("size"), own.get("regions")
        if not isinstance(size, list) or len(size) != 2 or not isinstance(records, list):
            raise FormatError(f"{where}: {RECORD} needs size, [height, width], and a list of regions")
        height, width = image_size(size[0], size[1], where)
        if shown is not None and shown != (height, width):
            raise FormatError(
                f"{where}: the image {ref.name} is {shown[1]} x {shown[0]} pixels, its masks are {width} x {height}"
            )
        sample_id = own.get("id")
        if not isinstance(sample_id, str):
            raise FormatError(f"{where}: id under {RECORD} must be a text, received {sample_id!r:.80}")
        extra = attributes(own.get("attributes"), where)
        if any(isinstance(record, dict) and "counts" in record for record in records) or (not records and mask is None):
            regions, masks = restored(records, RunList.empty(height, width), (height, width), where)
            sample = Sample(sample_id, ref, masks, tuple(regions), extra)
            check_labels(sample, self.labels.known_ids, where)
            if mask is not None:
                pixels = read_pixels(mask, where, (height, width)).indices()
                if not np.array_equal(pixels, sample.label_map(self.labels)):
                    raise FormatError(
                        f"{where}: the mask is not the one that {RECORD!r} was written with; remove that column to read "
                        "the masks alone"
                    )
            return sample
        if mask is None:
            raise FormatError(f"{where}: there is no mask in the column {self.columns.mask}")
        regions = [region_from_json(record, f"{where}, region {k}") for k, record in enumerate(records)]
        regions, masks = decode.listed(regions, mask, (height, width), where)
        return Sample(sample_id, ref, masks, tuple(regions), extra)


def _record(value: Any, where: str) -> dict[str, Any]:
    """Return what we noted of a row; empty where it is not ours."""
    if value is None:
        return {}
    try:
        record = json.loads(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise FormatError(f"{where}: {RECORD} is not JSON, perhaps truncated: {error}") from error
    if not isinstance(record, dict):
        raise FormatError(f"{where}: {RECORD} must be an object, received {record!r:.80}")
    return record
