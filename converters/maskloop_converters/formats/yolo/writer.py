"""Writing YOLO segmentation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ...atomic import atomic_directory
from ...codecs.polygons import drawn, drawn_outlines
from ...errors import FormatError
from ...masks import RunList
from ...report import WriteReport
from ...samples import Dataset, LabelSet, Region, Sample
from ..coco.extras import is_object
from ..data_yaml import CONFIG, IMAGES, config_text
from ..file_names import FreeNames, file_stem, relative_path
from ..gate import gated
from ..images import IMAGE_SUFFIXES, ImageMode, Images, probe, store_image
from ..reduction import Numbering, count_head, count_sample
from .layout import LABELS

# Numbers that every trainer's parser takes; a corner of a picture of 10,000 pixels is told from its neighbour.
_DIGITS = 6
_MOST = 1 << 16


@contextmanager
def opening(dataset: Dataset, path: Path, *, images: Images = None, overwrite: bool = False) -> Iterator[_Writer]:
    """Write a dataset as YOLO segmentation (see the module).

    Args:
        dataset: what to write.
        path: the folder to make.
        images: how images come along; they have to, as corners are shares of their size.
        overwrite: replace what is there.

    Yields:
        The writer of samples; its report says what was written, and what lines of corners cannot hold.

    Raises:
        OutputExistsError: something is there already.
    """
    split = None if dataset.split is None else file_stem(dataset.split)
    with atomic_directory(path, overwrite=overwrite) as root:
        writer = _Writer(root, dataset, images or "copy", split or "")
        (root / IMAGES / writer.split).mkdir(parents=True)
        (root / LABELS / writer.split).mkdir(parents=True)
        place = IMAGES if split is None else f"{IMAGES}/{split}"
        (root / CONFIG).write_text(config_text({"train": place, "val": place}, writer.head.labels), "utf-8")
        yield writer


def join_parts(path: Path, heads: Mapping[str, Dataset], options: Mapping[str, Any]) -> None:
    """Write the data.yaml of a folder of parts, so that a trainer takes all of them at once."""
    del options
    labels = _numbering(next(iter(heads.values())).labels).labels
    places = {part: f"{part}/{IMAGES}/{part}" for part in heads}
    (path / CONFIG).write_text(config_text(places, labels), "utf-8")


def _numbering(labels: LabelSet) -> Numbering:
    return Numbering.of(labels, background=False, ignored=None, most=_MOST, target="yolo")


@dataclass(slots=True)
class _Writer:
    """Writes images and texts below a folder."""

    root: Path
    dataset: Dataset
    images: ImageMode
    split: str
    report: WriteReport = field(default_factory=WriteReport)
    head: Dataset = field(init=False)
    _numbering: Numbering = field(init=False)
    _held: Sample | None = None
    _names: FreeNames = field(default_factory=FreeNames)

    def __post_init__(self) -> None:
        self._numbering = _numbering(self.dataset.labels)
        labels = tuple(replace(label, color=None, thing=None) for label in self._numbering.labels.labels)
        self.head = replace(self.dataset, labels=LabelSet(labels), attributes={}, samples=())
        count_head(self.dataset, self.head, self.report.losses)

    def held(self) -> Sample:
        """Return the sample written last, as it is read back."""
        assert self._held is not None
        return self._held

    def write(self, sample: Sample) -> None:
        """Write a sample's image and text."""
        where = f"sample {sample.id}"
        if sample.image.source is None or self.images == "reference":
            raise FormatError(
                f"{where}: yolo keeps corners as shares of the image's size, so the image {sample.image.name} has to come "
                "along: say where the images are (--images-from DIR)"
            )
        name = self._name(sample, where)
        store_image(sample.image, self.root / IMAGES / self.split / name, self.images, self.report, where)
        kept, source, lines = self._objects(sample, where)
        text = self.root / LABELS / self.split / name.with_suffix(".txt")
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text("".join(f"{line}\n" for line in lines), "utf-8")
        turned = 1 if self.images == "upright" else sample.image.exif_orientation
        image = replace(sample.image, name=str(name), uri=None, exif_orientation=turned)
        held = Sample(name.with_suffix("").as_posix(), image, *kept)
        numbered = self._numbering.sample(sample)
        count_sample(numbered, held, source, self.report.losses)
        self._held = held
        self.report.samples += 1
        self.report.regions += len(held.regions)

    def _name(self, sample: Sample, where: str) -> PurePosixPath:
        """Return the path of a sample's image, below the part's folder."""
        name = relative_path(sample.image.name, where)
        # Trainers look for the text of images/a/images/b.jpg in images/a/labels/, and for images by their extension.
        name = PurePosixPath(*(f"{part}_" if part in (IMAGES, LABELS) else part for part in name.parts))
        if name.suffix.lower() not in IMAGE_SUFFIXES:
            data = sample.image.source if isinstance(sample.image.source, Path) else sample.image.read_bytes() or b""
            name = name.with_name(f"{name.name}.{probe(data, where).format.lower()}")
        return self._names.take(name, by_stem=True)

    def _objects(self, sample: Sample, where: str) -> tuple[tuple[RunList, tuple[Region, ...]], list[int], list[str]]:
        """Return masks and regions as they are read back, the region of the source of each, and the lines."""
        labels = self.dataset.labels
        lost = [k for k, region in enumerate(sample.regions) if not is_object(region.label, labels)]
        if lost:
            pixels = int(sample.masks.areas()[lost].sum())
            self.report.losses.add("pixels of the ignored label and of the background", f"{where}: {pixels}", pixels)
            self.report.losses.add("regions of the ignored label and of the background", where, len(lost))
        numbered = self._numbering.sample(sample)
        height, width = sample.height, sample.width
        digits = _DIGITS if max(height, width) < 10_000 else _DIGITS + 3
        outlines, source = [], []
        boxes = numbered.masks.boxes().tolist()
        for k, region in enumerate(numbered.regions):
            x, y, w, h = boxes[k]
            if not w:
                continue
            own = drawn_outlines(numbered.masks.mask(k)[y : y + h, x : x + w], joined=region.instance is not None)
            outlines += [outline + np.array([x, y]) for outline in own]
            source += [k] * len(own)
        masks = drawn(outlines, height, width)
        lines = []
        for outline, k in zip(outlines, source, strict=True):
            # The middle of a pixel is safe from rounding.
            shares = ((outline + 0.5) / (width, height)).ravel().tolist()
            lines.append(" ".join([str(numbered.regions[k].label), *(f"{share:.{digits}f}" for share in shares)]))
        order = (-masks.areas()).argsort(kind="stable")
        regions = tuple(Region(numbered.regions[source[k]].label, instance=k + 1) for k in order.tolist())
        return (masks.select(order), regions), np.array(source, np.int64)[order].tolist(), lines


write = gated(opening)
