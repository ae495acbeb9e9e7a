"""Where the images and annotations of a COCO file stand: one pass over the file, then each image's own are read."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ...errors import FormatError
from ...report import Tally
from ..json_stream import load, scan
from ..parts import SKIPPED

ANNOTATIONS_SKIPPED = "annotations skipped"


@dataclass(slots=True)
class Index:
    """A COCO file's members, and the places of its images and annotations.

    Memory: about 100 bytes an image and 32 an annotation; no segmentation is kept.

    Attributes:
        path: the file with the images.
        annotated: the file with the annotations; another one for results.
        members: all top-level members but the two arrays.
        problems: what is wrong with the arrays as a whole: ids that stand twice, annotations of no image.
    """

    path: Path
    annotated: Path
    members: dict[str, Any] = field(default_factory=dict)
    problems: Tally = field(default_factory=Tally)
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


def build(path: Path, results: Path | None = None) -> Index:
    """Return the index of a COCO file; with ``results``, of its images and that file's annotations.

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
            image_id = _id(element.value, "id", f"{path}, image at byte {element.start}")
            if image_id in rows:
                where = f"the second time at byte {element.start}"
                index.problems.add(SKIPPED, f"{path}: image id {image_id!r} stands twice, {where}")
                continue
            rows[image_id] = len(rows)
            images.extend((element.start, element.size))
        elif element.key == "annotations":
            found = True
            if results is None:
                annotations.add(element.value, element.start, element.size)
        else:
            raise FormatError(
                f"{path}: a list, perhaps of results, which go with the COCO file of their images (images_of)"
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
        self._texts: dict[Any, int] = {}
        self._owners = array("q")
        self._places = array("q")
        self._ids = array("q")

    def add(self, record: Any, start: int, size: int) -> None:
        owner = _id(record, "image_id", f"{self._index.annotated}, annotation at byte {start}")
        number = self._rows.get(owner)
        if number is None:
            # Not met yet, or never: a negative number stands for the id until all images are known.
            number = -1 - self._texts.setdefault(owner, len(self._texts))
        own = record.get("id")
        self._owners.append(number)
        self._places.extend((start, size))
        self._ids.append(hash(own) if isinstance(own, int | str) else -1)

    def grouped(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the places (N, 2) by image, and where each image's begin (images + 1,)."""
        if not self._owners:
            return np.zeros((0, 2), np.int64), np.zeros(len(self._rows) + 1, np.int64)
        owners = np.array(self._owners, np.int64)
        places = np.array(self._places, np.int64).reshape(-1, 2)
        late = np.array([self._rows.get(owner, -1) for owner in self._texts] or [-1], np.int64)
        waiting = owners < 0
        owners[waiting] = late[-1 - owners[waiting]]
        names = list(self._texts)
        for k in np.flatnonzero(owners < 0).tolist():
            image_id = names[-1 - self._owners[k]]
            self._problem(places[k, 0], f"belongs to the image {image_id!r}, which is not in {self._index.path.name}")
        keep = (owners >= 0) & ~self._repeated(places)
        kept = np.flatnonzero(keep)
        order = kept[owners[kept].argsort(kind="stable")]
        return places[order], np.searchsorted(owners[order], np.arange(len(self._rows) + 1))

    def _repeated(self, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which annotations have an id that stood before; those without an id have not."""
        ids = np.array(self._ids, np.int64)
        order = ids.argsort(kind="stable")
        again: NDArray[np.bool_] = np.zeros(ids.size, bool)
        again[order[1:]] = (ids[order[1:]] == ids[order[:-1]]) & (ids[order[1:]] != -1)
        for k in np.flatnonzero(again).tolist():
            self._problem(places[k, 0], "has an id that stood before")
        return again

    def _problem(self, start: int, what: str) -> None:
        self._index.problems.add(ANNOTATIONS_SKIPPED, f"{self._index.annotated}: the annotation at byte {start} {what}")


def _id(record: Any, key: str, where: str) -> int | str:
    """Return an id of a record of the scan."""
    if not isinstance(record, dict):
        raise FormatError(f"{where}: expected an object, received {record!r:.80}")
    value = record.get(key)
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise FormatError(f"{where}: {key} must be a number or a text, received {value!r:.80}")
    return value


def _load(file: BinaryIO, start: int, size: int, path: Path) -> dict[str, Any]:
    file.seek(start)
    record: dict[str, Any] = load(file.read(size), f"{path}, byte {start}")
    return record
