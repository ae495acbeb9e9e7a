"""Label maps in PNG files to regions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...codecs import png
from ...errors import CodecError, FormatError
from ...masks import RunList
from ...samples import LabelSet
from ..labels import color_table


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
        image = read_pixels(path, size, where)
        if image.kind in ("grey", "palette"):
            label_map = image.indices()
        else:
            try:
                label_map = self._color_ids[png.from_colors(image.rgb(), self._colors)]
            except CodecError as error:
                raise FormatError(f"{where}: {path}: {error}") from error
        found, masks = RunList.from_label_map(label_map)
        ids: list[int] = found.tolist()
        unknown = [label for label in ids if label not in self._known]
        if unknown:
            known = ", ".join(f"{label.id} {label.name}" for label in self._labels.labels)
            raise FormatError(f"{where}: {path} holds the ids {unknown}, which are no labels; there are: {known}")
        rows = [k for k, label in enumerate(ids) if label != self._fill or label in (keep or ())]
        return [ids[k] for k in rows], masks.select(rows)


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
