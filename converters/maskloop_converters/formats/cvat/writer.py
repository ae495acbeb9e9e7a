"""Writing CVAT's XML for images."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO
from xml.sax.saxutils import escape, quoteattr

from ...atomic import atomic_directory, atomic_file
from ...codecs import cvat_rle
from ...errors import TargetError
from ...report import WriteReport
from ...samples import Dataset, Sample
from ..coco.extras import is_object
from ..file_names import FreeNames, file_stem, relative_path
from ..gate import gated
from ..images import ImageMode, Images, store_image
from ..kept_regions import KEY, records_of
from ..labels import color_table, labels_to_json
from ..records import dumps, image_to_json
from .reader import FILE

_SOURCES = {None: "manual", "manual": "manual", "prediction": "auto", "prediction-changed": "semi-auto"}
# What no XML may hold, whatever is done to it.
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@contextmanager
def opening(dataset: Dataset, path: Path, *, images: Images = None, overwrite: bool = False) -> Iterator[_Writer]:
    """Write a dataset as CVAT's XML for images.

    Args:
        dataset: what to write.
        path: the folder to make; or, with the ending ``.xml``, the file alone.
        images: how images come along; by default they are copied into a folder and referenced from a file.
        overwrite: replace what is there.

    Yields:
        The writer of samples; its report says what was written, and what the file cannot hold: soft edges.

    Raises:
        OutputExistsError: something is there already.
        TargetError: images to copy, with a path that is one file.
    """
    if dataset.split is not None:
        file_stem(dataset.split)
    with ExitStack() as stack:
        if path.suffix.lower() == ".xml":
            if images not in (None, "reference"):
                raise TargetError(f"{path} is one file, which cannot hold images; give a folder")
            file, images_root = stack.enter_context(atomic_file(path, overwrite=overwrite)), None
        else:
            root = stack.enter_context(atomic_directory(path, overwrite=overwrite))
            file, images_root = root / FILE, root / "images"
        document = stack.enter_context(file.open("w", encoding="utf-8"))
        writer = _Writer(document, images_root, dataset, "reference" if images_root is None else images or "copy")
        writer.begin()
        yield writer
        document.write("</annotations>\n")


@dataclass(slots=True)
class _Writer:
    """Writes the elements of images into a file."""

    document: TextIO
    images_root: Path | None
    dataset: Dataset
    images: ImageMode
    report: WriteReport = field(default_factory=WriteReport)
    _names: FreeNames = field(default_factory=FreeNames)
    _labels: dict[int, str] = field(default_factory=dict)

    def begin(self) -> None:
        """Write what stands before the images."""
        labels = self.dataset.labels
        colors = color_table(labels)
        lines = ['<?xml version="1.0" encoding="utf-8"?>', "<annotations>", "  <version>1.1</version>", "  <meta>"]
        lines += ["    <task>", "      <labels>"]
        for label in labels.labels:
            if is_object(label.id, labels):
                self._labels[label.id] = label.name
                red, green, blue = colors[label.id]
                name = escape(_clean(label.name))
                color = f"<color>#{red:02x}{green:02x}{blue:02x}</color>"
                lines.append(
                    f"        <label><name>{name}</name>{color}<type>any</type><attributes></attributes></label>"
                )
        extras: dict[str, Any] = {"version": 1, **labels_to_json(labels)}
        if self.dataset.split is not None:
            extras["split"] = self.dataset.split
        if self.dataset.attributes:
            extras["attributes"] = dict(self.dataset.attributes)
        lines += ["      </labels>", "    </task>", f"    {_element(extras, 'the dataset')}", "  </meta>"]
        self.document.write("\n".join(lines) + "\n")

    def write(self, sample: Sample) -> None:
        """Write a sample's image and element."""
        where = f"sample {sample.id}"
        name = self._names.take(relative_path(sample.image.name, where))
        extras = image_to_json(sample)
        extras["id"] = sample.id
        if sample.attributes:
            extras["attributes"] = dict(sample.attributes)
        placed = self.images_root is not None and store_image(
            sample.image, self.images_root / name, self.images, self.report, where
        )
        if not placed and isinstance(sample.image.source, Path):
            extras["source"] = str(sample.image.source.resolve())
        records, shapes = self._regions(sample, where)
        extras["regions"] = records
        head = {"id": str(self.report.samples), "name": str(name)}
        if self.dataset.split is not None:
            head["subset"] = self.dataset.split
        head |= {"width": str(sample.width), "height": str(sample.height)}
        lines = [f"  <image {_attributes(head)}>", *shapes, f"    {_element(extras, where)}", "  </image>"]
        self.document.write("\n".join(lines) + "\n")
        self.report.samples += 1
        self.report.regions += len(sample.regions)

    def _regions(self, sample: Sample, where: str) -> tuple[list[dict[str, Any]], list[str]]:
        """Return the records of all regions, and the elements of those that CVAT has a place for."""
        shapes = []
        areas = sample.masks.areas().tolist()
        placed = [region.label in self._labels and area > 0 for region, area in zip(sample.regions, areas, strict=True)]
        encoded = cvat_rle.encode(sample.masks)
        for k, region in enumerate(sample.regions):
            if region.edge is not None:
                pixels = region.edge.positions.size
                self.report.losses.add("soft edge pixels made hard", f"{where}: {pixels}", pixels)
            if placed[k]:
                runs, (left, top, width, height) = encoded[k]
                mask = {
                    "label": _clean(self._labels[region.label]),
                    "source": _SOURCES[region.origin],
                    "occluded": "0",
                    "rle": ", ".join(map(str, runs.tolist())),
                    "left": str(left),
                    "top": str(top),
                    "width": str(width),
                    "height": str(height),
                    "z_order": str(k),
                }
                shapes.append(f"    <mask {_attributes(mask)}></mask>")
        return records_of(sample, placed), shapes


def _attributes(values: dict[str, str]) -> str:
    return " ".join(f"{key}={quoteattr(_clean(value))}" for key, value in values.items())


def _element(extras: dict[str, Any], where: str) -> str:
    """Return our element; its JSON is ASCII, which every XML can hold."""
    dumps(extras, where)
    return f"<{KEY}>{escape(json.dumps(extras, separators=(',', ':')))}</{KEY}>"


def _clean(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)


write = gated(opening)
