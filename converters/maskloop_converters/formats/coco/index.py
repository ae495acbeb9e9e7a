"""Where the images and annotations of a COCO file stand: one pass over the file, then each image's own are read."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ...errors import FormatError
from ...report import Tally
from ..json_stream import load, scan
from ..parts import SKIPPED
from .loose import number, plain_id

ANNOTATIONS_SKIPPED = "annotations skipped"
# Annotation ids are numbers; what is none of 62 bits is numbered from here.
_FIRST_TEXT = 1 << 62


@dataclass(slots=True)
class Index:
    """A COCO file's members, and the places of its images and annotations.

    Memory: about 100 bytes an image and 32 an annotation; no segmentation is kept.

    Attributes:
        path: the file with the images.
        annotated: the file with the annotations; another one for results.
        members: all top-level members but the two arrays.
        problems: what is wrong with the arrays as a whole: images without an id or with one that stands twice,
            annotations of no image.
        notes: annotation ids that several annotations have.
        categories: the ids of categories that annotations have.
    """

    path: Path
    annotated: Path
    members: dict[str, Any] = field(default_factory=dict)
    problems: Tally = field(default_factory=Tally)
    notes: Tally = field(default_factory=Tally)
    categories: set[int] = field(default_factory=set)
    _images: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    _annotations: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    _first: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))

    def __len__(self) -> int:
        """The number of images."""
        return len(self._images)

    def __iter__(self) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """Yield each image's record and its annotations, both in the order of the file."""
        with self.path.open("rb") as images, self.annotated.open("rb") as annotations:
            for k, (start, size) in enumerate(self._images.tolist()):
                record = _load(images, start, size, self.path)
                places = self._annotations[self._first[k] : self._first[k + 1]].tolist()
                yield record, [_load(annotations, at, length, self.annotated) for at, length in places]


def build(
    path: Path, results: Path | None = None, seen: Callable[[dict[str, Any]], None] = lambda record: None
) -> Index:
    """Return the index of a COCO file; with ``results``, of its images and that file's annotations.

    ``seen`` is called with the record of every image.

    Raises:
        FormatError: not JSON, or no COCO file: a record is no object or has no id.
    """
    index = Index(path, results or path)
    rows: dict[Any, int] = {}
    images = array("q")
    annotations = _Annotations(index, rows)
    # Annotations may stand before the images, so whose they are is settled at the end.
    found = False
    for element in scan(path, ("images", "annotations")):
        if not element.in_array:
            index.members[element.key] = element.value
        elif element.key == "images":
            try:
                image_id = _id(element.value, "id", f"{path}, image at byte {element.start}")
            except FormatError as error:
                index.problems.add(SKIPPED, str(error))
                continue
            if image_id in rows:
                row = 2 * rows[image_id]
                if _record_at(path, images[row], images[row + 1]) == element.value:
                    index.notes.add("image records that stand twice and are equal", f"{path.name}: id {image_id!r}")
                    continue
                where = f"the second time at byte {element.start}"
                index.problems.add(SKIPPED, f"{path}: image id {image_id!r} stands twice, {where}")
                continue
            rows[image_id] = len(rows)
            seen(element.value)
            images.extend((element.start, element.size))
        elif element.key == "annotations":
            found = True
            if results is None:
                annotations.add(element.value, element.start, element.size)
        else:
            raise FormatError(
                f"{path}: a list, perhaps of results, which go with the COCO file of their images: --images-of FILE (images_of=)"
            )
    if results is not None:
        for element in scan(results, ("annotations",)):
            if element.in_array:
                annotations.add(element.value, element.start, element.size)
    elif not images and not found and "images" not in index.members:
        raise FormatError(f"{path} is no COCO file: it has neither images nor annotations")
    index._images = np.frombuffer(images, np.int64).reshape(-1, 2) if images else index._images
    index._annotations, index._first = annotations.grouped()
    return index


class _Annotations:
    """The places of annotations as they come, then grouped by image."""

    def __init__(self, index: Index, rows: dict[Any, int]) -> None:
        self._index = index
        self._rows = rows
        #: owners that are no image yet, and annotation ids that are no number of 62 bits: their place of first use
        self._waiting: dict[int | str, int] = {}
        self._others: dict[int | str, int] = {}
        self._owners = array("q")
        self._places = array("q")
        self._ids = array("q")

    def add(self, record: Any, start: int, size: int) -> None:
        try:
            owner = _id(record, "image_id", f"{self._index.annotated}, annotation at byte {start}")
        except FormatError as error:
            self._index.problems.add(ANNOTATIONS_SKIPPED, str(error))
            return
        row = self._rows.get(owner)
        if row is None:
            # Not met yet, or never: a negative number stands for the id until all images are known.
            row = -1 - self._waiting.setdefault(owner, len(self._waiting))
        self._owners.append(row)
        self._places.extend((start, size))
        self._ids.append(self._short(record.get("id")))
        segments = record.get("segments_info")
        for part in segments if isinstance(segments, list) else (record,):
            if isinstance(part, dict) and isinstance(category := part.get("category_id"), int | float | str):
                with suppress(FormatError):
                    self._index.categories.add(number(category, "category_id"))

    def _short(self, own: Any) -> int:
        """Return a number of 64 bits for an annotation's id, different for different ones; -1 for none."""
        if isinstance(own, int) and not isinstance(own, bool) and 0 <= own < _FIRST_TEXT:
            return own
        if isinstance(own, int | str) and not isinstance(own, bool):
            return _FIRST_TEXT + self._others.setdefault(own, len(self._others))
        return -1

    def grouped(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the places (N, 2) by image, and where each image's begin (images + 1,)."""
        if not self._owners:
            return np.zeros((0, 2), np.int64), np.zeros(len(self._rows) + 1, np.int64)
        owners = np.array(self._owners, np.int64)
        places = np.array(self._places, np.int64).reshape(-1, 2)
        names = list(self._waiting)
        late = np.array([self._row(owner) for owner in names] or [-1], np.int64)
        waiting = owners < 0
        owners[waiting] = late[-1 - owners[waiting]]
        for k in np.flatnonzero(owners < 0).tolist():
            image_id = names[-1 - self._owners[k]]
            self._problem(places[k, 0], f"belongs to the image {image_id!r}, which is not in {self._index.path.name}")
        self._note_repeated()
        kept = np.flatnonzero(owners >= 0)
        order = kept[owners[kept].argsort(kind="stable")]
        return places[order], np.searchsorted(owners[order], np.arange(len(self._rows) + 1))

    def _row(self, owner: int | str) -> int:
        """Return the row of an image, -1 if there is none; VIA writes image ids as texts in its annotations only."""
        row = self._rows.get(owner)
        if row is None and isinstance(owner, str) and owner.isdecimal() and len(owner) < 20:
            row = self._rows.get(int(owner))
        elif row is None and isinstance(owner, int):
            row = self._rows.get(str(owner))
        return -1 if row is None else row

    def _note_repeated(self) -> None:
        ids = np.array(self._ids, np.int64)
        texts = list(self._others)
        values, counts = np.unique(ids[ids >= 0], return_counts=True)
        for value, count in zip(values[counts > 1].tolist(), counts[counts > 1].tolist(), strict=True):
            own = texts[value - _FIRST_TEXT] if value >= _FIRST_TEXT else value
            self._index.notes.add(
                "annotations whose id another one has too", f"{self._index.annotated.name}: id {own!r}", count - 1
            )

    def _problem(self, start: int, what: str) -> None:
        self._index.problems.add(ANNOTATIONS_SKIPPED, f"{self._index.annotated}: the annotation at byte {start} {what}")


def _id(record: Any, key: str, where: str) -> int | str:
    """Return an id of a record of the scan."""
    if not isinstance(record, dict):
        raise FormatError(f"{where}: expected an object, received {record!r:.80}")
    return plain_id(record.get(key), f"{where}: {key}")


def _record_at(path: Path, start: int, size: int) -> dict[str, Any]:
    with path.open("rb") as file:
        return _load(file, start, size, path)


def _load(file: BinaryIO, start: int, size: int, path: Path) -> dict[str, Any]:
    file.seek(start)
    record: dict[str, Any] = load(file.read(size), f"{path}, byte {start}")
    return record
