"""Reading YOLO segmentation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...codecs.polygons import drawn
from ...errors import CodecError, FormatError
from ...masks import RunList
from ...options import ImagesFrom, LabelsFrom, PartName
from ...report import ErrorPolicy, OnError, Tally
from ...samples import Dataset, ImageRef, LabelSet, Region, Sample
from ..image_files import ImageFinder, read_address
from ..images import IMAGE_SUFFIXES, probe
from ..label_files import read_labels
from ..parts import SKIPPED, assemble
from .layout import LARGEST, Pair, find, nameless

_BOXES = "boxes, which are no masks"
# Rounding goes so far over the edge.
_SLACK = 0.01
# Of the outlines that are drawn at once.
_AT_ONCE = 1 << 20


def detect(path: Path) -> str | None:
    """Return None if ``path`` is a YOLO dataset or its data.yaml, else the reason why not."""
    path = Path(path)
    try:
        if not path.exists():
            raise FormatError(f"there is no {path}")
        find(path)
    except FormatError as error:
        return str(error)
    return None


def splits(path: Path) -> tuple[str, ...]:
    """Return the names of the parts that a dataset has ('train', 'val'); empty where it has no parts."""
    return tuple(name for name in find(Path(path)).parts if name is not None)


def read(
    path: Path,
    *,
    labels: LabelsFrom = None,
    split: PartName = None,
    on_error: OnError = "fail",
    images_from: ImagesFrom = None,
) -> Dataset:
    """Return a YOLO segmentation dataset; each line is an object.

    Args:
        path: the dataset's folder, or its data.yaml.
        labels: the classes, or a label list file; by default the names of the data.yaml, or of the list beside, else
            class 0..n.
        split: read this part only; by default all of them.
        on_error: 'skip' leaves out samples that cannot be read and counts them.
        images_from: the folder that has the images that are not in the dataset.

    Raises:
        FormatError: no such dataset or part. While iterating: an image that is missing, a line that is no class and
            corners between 0 and 1, a class that no name is given for.
    """
    path = Path(path)
    layout = find(path)
    given = read_labels(labels) if isinstance(labels, Path) else labels
    known = given or layout.labels
    if known is None:
        known = nameless(layout)
        said = f"{layout.root}: {len(known.labels)} classes"
        layout.notes.add(
            "datasets without names, called class 0..n; name them in a classes.txt beside, a name a line", said
        )
    finder = None if images_from is None else ImageFinder([images_from])
    parts = [_Part(name, known, pairs, finder) for name, pairs in layout.parts.items()]
    parts[0].notes.merge(layout.notes)
    return assemble(path, parts, split, on_error, "yolo")


@dataclass(frozen=True, slots=True)
class _Part:
    """The images of a part."""

    split: str | None
    labels: LabelSet
    pairs: list[Pair]
    finder: ImageFinder | None
    notes: Tally = field(default_factory=Tally)

    @property
    def count(self) -> int:
        return len(self.pairs)

    @property
    def attributes(self) -> dict[str, Any]:
        return {}

    def samples(self, policy: ErrorPolicy) -> Iterator[Sample]:
        policy.notes.merge(self.notes)
        known = {label.id for label in self.labels.labels}
        for pair in self.pairs:
            with policy.record(SKIPPED):
                yield self._sample(pair, known, policy)

    def _sample(self, pair: Pair, known: set[int], policy: ErrorPolicy) -> Sample:
        where = f"sample {pair.key}"
        image, name = pair.image, pair.name
        if image is None and self.finder is not None:
            names = (f"{pair.key}{suffix}" for suffix in (Path(name).suffix, *sorted(IMAGE_SUFFIXES)))
            found = ((self.finder.find(read_address(n), where), n) for n in names)
            image, name = next((pair_ for pair_ in found if pair_[0] is not None), (None, name))
        if image is None:
            raise FormatError(
                f"{where}: there is no image for {pair.text}, whose numbers are shares of its size; say where the images "
                "are (--images-from DIR)"
            )
        info = probe(image, where)
        objects = _objects(pair.text, known, policy) if pair.text.is_file() else []
        regions, masks = _regions(objects, (info.height, info.width), str(pair.text))
        return Sample(pair.key, ImageRef(name, image, exif_orientation=info.orientation), masks, tuple(regions))


@dataclass(frozen=True, slots=True)
class _Object:
    """A line: class, corners float64 (N, 2) in 0..1, confidence."""

    label: int
    corners: NDArray[np.float64]
    score: float | None


def _objects(path: Path, known: set[int], policy: ErrorPolicy) -> list[_Object]:
    """Return the objects of a text; FormatError names the line."""
    try:
        if path.stat().st_size > LARGEST:
            raise FormatError(f"{path}: {path.stat().st_size} bytes are no text of objects")
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise FormatError(f"{path}: cannot read it: {error}") from error
    found = []
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        where = f"{path}, line {number}"
        try:
            values = np.array([float(word) for word in words])
        except ValueError:
            raise FormatError(
                f"{where}: expected a class and numbers, received {line.decode(errors='replace')!r:.80}"
            ) from None
        low, high = float(values.min()), float(values.max())  # nan, where there is one
        if not math.isfinite(low + high) or values[0] != int(values[0]):
            raise FormatError(
                f"{where}: expected the number of a class and corners, received {words[0].decode(errors='replace')!r:.40}"
            )
        label, values = int(values[0]), values[1:]
        if label not in known:
            raise FormatError(f"{where}: class {label} has no name; there are {len(known)}, from 0")
        if len(values) == 4:
            policy.leave_out(_BOXES, where)
            continue
        score = float(values[-1]) if len(values) % 2 else None
        corners = values[: len(values) // 2 * 2].reshape(-1, 2)
        if len(corners) < 3:
            raise FormatError(
                f"{where}: an object has three corners or more, x and y each; it has {len(values)} numbers"
            )
        low, high = float(values.min()), float(values.max())
        if low < -_SLACK or high > 1 + _SLACK or (score is not None and not 0 <= score <= 1):
            raise FormatError(
                f"{where}: numbers are shares of width and height from 0 to 1, received {high:g} and {low:g}"
            )
        found.append(_Object(label, corners if 0 <= low <= high <= 1 else np.clip(corners, 0, 1), score))
    return found


def _regions(objects: list[_Object], size: tuple[int, int], where: str) -> tuple[list[Region], RunList]:
    """Return regions and masks of objects, the largest first: the smaller lies on top, as for the trainers."""
    height, width = size
    if not objects:
        return [], RunList.empty(height, width)
    sizes = np.array([len(o.corners) for o in objects])
    stops = sizes.cumsum()
    points = (np.concatenate([o.corners for o in objects]) * (width, height)).astype(np.int64)
    # About how many pixels each outline has: they are drawn together, and not without bounds.
    steps = np.abs(points[1:] - points[:-1]).sum(axis=1, initial=1)
    batch = np.append(steps, 0).cumsum()[stops - 1] // _AT_ONCE
    try:
        masks = [
            drawn(np.split(points, stops[:-1])[first:last], height, width)
            for first, last in pairwise(np.searchsorted(batch, np.unique([*batch, batch[-1] + 1])).tolist())
        ]
    except CodecError as error:
        raise FormatError(f"{where}: {error}") from error
    every = RunList.concatenate(masks)
    order = (-every.areas()).argsort(kind="stable")
    regions = [Region(o.label, score=o.score, instance=k + 1) for k, o in enumerate(objects)]
    return [regions[k] for k in order.tolist()], every.select(order)
