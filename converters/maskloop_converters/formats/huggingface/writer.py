"""Writing Parquet with an image and a mask a row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...atomic import atomic_directory
from ...codecs import png
from ...errors import FormatError
from ...report import WriteReport
from ...samples import Dataset, LabelSet, Sample
from ..file_names import file_stem, relative_path
from ..gate import gated
from ..images import ImageMode, Images, upright
from ..kept_regions import records_of
from ..labels import label_names, labels_to_json
from ..png.writer import label_map_loss
from ..records import dumps, image_to_json
from .columns import CLASSES, IMAGE, MASK, RECORD
from .files import DATA, LABELS, OWN
from .library import library

# Readers fetch a group of rows at a time.
_ROWS = 64
# A list of names has one for each number up to the largest.
_MOST_NAMES = 4096


@contextmanager
def opening(dataset: Dataset, path: Path, *, images: Images = None, overwrite: bool = False) -> Iterator[_Writer]:
    """Write a dataset as Parquet (see the module).

    Args:
        dataset: what to write.
        path: the folder to make.
        images: how images come along; by default, and with 'link', their bytes stand in the rows.
        overwrite: replace what is there.

    Yields:
        The writer of samples; its report says what was written, and what rows cannot hold: soft edges.

    Raises:
        OutputExistsError: something is there already.
        FormatError: the library is not installed.
    """
    own: dict[str, Any] = {"version": 1}
    if dataset.split is not None:
        own["split"] = file_stem(dataset.split)
    if dataset.attributes:
        own["attributes"] = dict(dataset.attributes)
    datasets, writing = library(), library("datasets.arrow_writer")
    features = {IMAGE: datasets.Image(), MASK: datasets.Image()}
    names = _names(dataset.labels)
    if names:
        features[CLASSES] = datasets.List(datasets.ClassLabel(names=names))
    features[RECORD] = datasets.Value("string")
    with atomic_directory(path, overwrite=overwrite) as root:
        (root / DATA).mkdir()
        document = {OWN: own, **labels_to_json(dataset.labels)}
        (root / LABELS).write_text(dumps(document, "the dataset") + "\n", "utf-8")
        file = root / DATA / f"{own.get('split', 'train')}-00000-of-00001.parquet"
        rows = writing.ParquetWriter(path=str(file), features=datasets.Features(features), writer_batch_size=_ROWS)
        try:
            yield _Writer(dataset.labels, images or "copy", rows, bool(names))
            rows.finalize()
        finally:
            rows.close()


def _names(labels: LabelSet) -> list[str]:
    """Return a name for each number up to the largest label's, empty where these are too many."""
    known = label_names(labels)
    if not known or max(known) >= _MOST_NAMES:
        return []
    used = set(known.values())
    names = []
    for k in range(max(known) + 1):
        name = known.get(k, f"class {k}")
        while k not in known and name in used:
            name += " (none)"
        names.append(name)
    return names


@dataclass(slots=True)
class _Writer:
    """Writes rows."""

    labels: LabelSet
    images: ImageMode
    rows: Any
    named: bool
    report: WriteReport = field(default_factory=WriteReport)

    def write(self, sample: Sample) -> None:
        """Write a sample's row."""
        where = f"sample {sample.id}"
        name = str(relative_path(sample.image.name, where))
        image = image_to_json(sample)
        data = self._image(sample, where)
        if data is None and isinstance(sample.image.source, Path):
            image["source"] = str(sample.image.source.resolve())
        ids = sample.label_map(self.labels)
        fits = ids.dtype != np.uint32  # what a PNG holds
        shown = fits and not label_map_loss(sample, self.labels, ids)
        record: dict[str, Any] = {"id": sample.id, "image": image, "size": [sample.height, sample.width]}
        record["regions"] = records_of(sample, [shown] * len(sample.regions))
        if sample.attributes:
            record["attributes"] = dict(sample.attributes)
        row: dict[str, Any] = {
            IMAGE: {"bytes": data, "path": name},
            MASK: {"bytes": png.write_label_map(ids), "path": f"{name}.mask.png"} if fits else None,
            RECORD: dumps(record, where),
        }
        if self.named:
            row[CLASSES] = sorted({region.label for region in sample.regions})
        self.rows.write(row)
        self.report.samples += 1
        self.report.regions += len(sample.regions)
        for region in sample.regions:
            if region.edge is not None:
                pixels = region.edge.positions.size
                self.report.losses.add("soft edge pixels made hard", f"{where}: {pixels}", pixels)

    def _image(self, sample: Sample, where: str) -> bytes | None:
        """Return the bytes that stand in the row, None where the image stays where it is."""
        ref = sample.image
        if self.images == "reference":
            return None
        if ref.source is None:
            self.report.notes.add(
                "images out of reach, kept by their name and URI only", f"{where}: {ref.uri or ref.name}"
            )
            return None
        if isinstance(ref.source, Path) and not ref.source.is_file():
            raise FormatError(f"{where}: there is no image {ref.source}")
        if ref.exif_orientation == 1:
            return ref.read_bytes()
        if self.images == "upright":
            self.report.notes.add("images re-encoded upright", f"{where}: {ref.name}")
            return upright(ref, where)
        self.report.notes.add(
            "images that a reader must rotate by their EXIF orientation (--images upright rotates them)",
            f"{where}: {ref.name}",
        )
        return ref.read_bytes()


write = gated(opening)
