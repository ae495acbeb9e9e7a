"""Writing labelme's JSON."""

from __future__ import annotations

import os.path
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...atomic import atomic_directory
from ...report import WriteReport
from ...samples import Dataset, Sample
from ..file_names import FreeNames, file_stem, relative_path
from ..gate import gated
from ..images import ImageMode, Images, store_image
from ..kept_regions import KEY, records_of
from ..labels import label_names, labels_to_json
from ..records import dumps, image_to_json
from .reader import LABELS, OWN
from .shapes import to_stored

# The version that knows masks; labelme opens files of older versions.
_VERSION = "5.5.0"


@contextmanager
def opening(dataset: Dataset, path: Path, *, images: Images = None, overwrite: bool = False) -> Iterator[_Writer]:
    """Write a dataset as labelme's JSON (see the module).

    Args:
        dataset: what to write.
        path: the folder to make.
        images: how images come along; by default they are copied, beside their files.
        overwrite: replace what is there.

    Yields:
        The writer of samples; its report says what was written, and what the files cannot hold: soft edges.

    Raises:
        OutputExistsError: something is there already.
    """
    own: dict[str, Any] = {}
    if dataset.split is not None:
        own["split"] = file_stem(dataset.split)
    if dataset.attributes:
        own["attributes"] = dict(dataset.attributes)
    with atomic_directory(path, overwrite=overwrite) as root:
        writer = _Writer(root, dataset, images or "copy")
        yield writer
        document = {OWN: {"version": 1, **own, "samples": writer.files}, **labels_to_json(dataset.labels)}
        (root / LABELS).write_text(dumps(document, "the dataset") + "\n", "utf-8")


@dataclass(slots=True)
class _Writer:
    """Writes images and files below a folder."""

    root: Path
    dataset: Dataset
    images: ImageMode
    report: WriteReport = field(default_factory=WriteReport)
    files: list[str] = field(default_factory=list)
    _names: FreeNames = field(default_factory=FreeNames)
    _labels: dict[int, str] = field(init=False)

    def __post_init__(self) -> None:
        self._names.take(relative_path(LABELS, ""), by_stem=True)
        self._labels = label_names(self.dataset.labels)

    def write(self, sample: Sample) -> None:
        """Write a sample's image and file."""
        where = f"sample {sample.id}"
        name = self._names.take(relative_path(sample.image.name, where), by_stem=True)
        if name.suffix.lower() == ".json":  # an image may be called so; its file may not be called like it
            name = self._names.take(name.with_name(f"{name.name}.image"), by_stem=True)
        file = name.with_name(f"{name.stem if name.suffix else name.name}.json")
        own = {**image_to_json(sample), "id": sample.id}
        if sample.attributes:
            own["attributes"] = dict(sample.attributes)
        (self.root / file).parent.mkdir(parents=True, exist_ok=True)
        placed = store_image(sample.image, self.root / name, self.images, self.report, where)
        if not placed and isinstance(sample.image.source, Path):
            own["source"] = str(sample.image.source.resolve())
        shapes = self._shapes(sample, own, where)
        document = {
            "version": _VERSION,
            "flags": {},
            "shapes": shapes,
            # from the file's own folder, where the image is there; else what it is called
            "imagePath": os.path.basename(name) if placed else sample.image.name,  # noqa: PTH119
            "imageData": None,
            "imageHeight": sample.height,
            "imageWidth": sample.width,
            KEY: own,
        }
        (self.root / file).write_text(dumps(document, where) + "\n", "utf-8")
        self.files.append(str(file))
        self.report.samples += 1
        self.report.regions += len(sample.regions)

    def _shapes(self, sample: Sample, own: dict[str, Any], where: str) -> list[dict[str, Any]]:
        """Return the shapes of the regions that have pixels, after noting all regions."""
        placed = (sample.masks.areas() > 0).tolist()
        own["regions"] = records_of(sample, placed)
        kept = [k for k, has_pixels in enumerate(placed) if has_pixels]
        shapes: list[dict[str, Any]] = []
        for k, (mask, points) in zip(kept, to_stored(sample.masks.select(kept)), strict=True):
            region = sample.regions[k]
            shapes.append(
                {
                    "label": self._labels[region.label],
                    "points": points,
                    "group_id": region.instance,
                    "description": "",
                    "shape_type": "mask",
                    "flags": {},
                    "mask": mask,
                }
            )
        for region in sample.regions:
            if region.edge is not None:
                pixels = region.edge.positions.size
                self.report.losses.add("soft edge pixels made hard", f"{where}: {pixels}", pixels)
        return shapes


write = gated(opening)
