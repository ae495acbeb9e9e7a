"""Label maps in PNG files to regions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...codecs import png
from ...errors import CodecError, FormatError
from ...masks import RunList
from ...samples import LabelSet, Region
from ..labels import color_table

_DIVISOR = 1000
_VOC_BORDER = 255


class Decoder:
    """Label maps to regions, by a label set."""

    def __init__(self, labels: LabelSet) -> None:
        self._labels = labels
        self._fill = labels.fill_id
        self._known = labels.known_ids | {labels.fill_id}
        table = color_table(labels)
        self._color_ids = np.array(list(table), np.int64)
        self._colors = np.array(list(table.values()), np.uint8).reshape(-1, 3)

    def regions(
        self, path: Path, size: tuple[int, int], where: str, keep: set[int] | None = None
    ) -> tuple[list[int], RunList]:
        """Return the label ids that a mask file holds, ascending, and their masks.

        Args:
            path: the mask file.
            size: (height, width) that it must have.
            where: file and record, for errors.
            keep: ids that count though they are the fill id.
        """
        found, masks = RunList.from_label_map(self._label_map(path, size, where))
        ids: list[int] = found.tolist()
        self._check(ids, path, where)
        rows = [k for k, label in enumerate(ids) if label != self._fill or label in (keep or ())]
        return [ids[k] for k in rows], masks.select(rows)

    def objects(self, path: Path, instances: Path, size: tuple[int, int], where: str) -> tuple[list[Region], RunList]:
        """Return a region an object, and one a class for the pixels of none, from two mask files.

        Args:
            path: the classes.
            instances: the objects: of 16 bits class * 1000 + number as Cityscapes has it, whose numbers below 1000 are
                classes, not objects; of 8 bits VOC's numbers from 1, whose 255 is the border of objects.
            size: (height, width) that both must have.
            where: file and record, for errors.
        """
        classes = self._label_map(path, size, where)
        image = read_pixels(instances, size, where)
        try:
            numbers = image.indices()
        except CodecError as error:
            raise FormatError(f"{where}: {instances}: {error}") from error
        if image.depth == 16:
            numbers = np.where(numbers < _DIVISOR, 0, numbers % _DIVISOR + 1)
        else:
            numbers = np.where(numbers == _VOC_BORDER, 0, numbers)
        # One pass over the pixels for both: no two objects, and no two classes, share a number.
        found, masks = RunList.from_label_map(classes.astype(np.uint64) << 32 | numbers.astype(np.uint64))
        ids = [(key >> 32, key & 0xFFFFFFFF) for key in found.tolist()]
        self._check(sorted({label for label, _ in ids}), path, where)
        rows = [k for k, (label, _) in enumerate(ids) if label != self._fill]
        first = int(image.depth == 16)
        regions = [Region(label, instance=number - first if number else None) for label, number in ids]
        return [regions[k] for k in rows], masks.select(rows)

    def _label_map(self, path: Path, size: tuple[int, int], where: str) -> NDArray[Any]:
        """Return the label ids of a mask file: integers (H, W)."""
        image = read_pixels(path, size, where)
        if image.kind in ("grey", "palette"):
            return image.indices()
        try:
            ids: NDArray[Any] = self._color_ids[png.from_colors(image.rgb(), self._colors)]
        except CodecError as error:
            raise FormatError(f"{where}: {path}: {error}") from error
        return ids

    def _check(self, ids: list[int], path: Path, where: str) -> None:
        """Raise FormatError for ids that are no labels."""
        unknown = [label for label in ids if label not in self._known]
        if unknown:
            known = ", ".join(f"{label.id} {label.name}" for label in self._labels.labels)
            raise FormatError(f"{where}: {path} holds the ids {unknown}, which are no labels; there are: {known}")


def read_pixels(path: Path, size: tuple[int, int], where: str) -> png.PngImage:
    """Return the pixels of a mask file, of the expected (height, width)."""
    try:
        image = png.read(path.read_bytes(), max_pixels=min(size[0] * size[1], png.MAX_PIXELS))
    except FileNotFoundError as error:
        raise FormatError(f"{where}: there is no mask {path}") from error
    except (OSError, CodecError) as error:
        raise FormatError(f"{where}: cannot read the mask {path}: {error}") from error
    height, width = image.pixels.shape[:2]
    if (height, width) != size:
        raise FormatError(f"{where}: the mask {path} is {width} x {height} pixels, its image is {size[1]} x {size[0]}")
    return image
