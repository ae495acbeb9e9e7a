"""Label maps in mask files to regions: what a number or a colour in them means.

A grey mask holds numbers, an RGB mask colours, and both at once a palette and an RGB mask of three equal channels. Where
two readings are possible and differ, nothing is guessed: that is an error which names both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ... import _runs
from ...codecs import png
from ...errors import CodecError, FormatError
from ...masks import RunList
from ...report import Tally
from ...samples import Color, LabelSet, Region
from ..labels import color_table, voc_color
from .cityscapes_polygons import painted
from .entries import Packed
from .mask_files import MaskSource, read_pixels

#: How palettes and three equal channels are read: what the file leaves no doubt of, always as numbers, as colours.
Values = Literal["auto", "index", "color"]

_DIVISOR = 1000
_VOC_BORDER = 255
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)
_BY_COLOR = "palettes in another order than the labels, read by their colours"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What the numbers of a dataset's masks mean.

    Attributes:
        labels: the classes.
        binary: the id that 255 stands for in masks of 0 and 255 alone; None where 255 is what it is elsewhere.
        built_in: the dataset whose labels these are, where the files say none; then no other number may occur.
        numbers_in_rgb: masks of three channels hold numbers, three times the same, not colours.
        values: how palettes are read.
    """

    labels: LabelSet
    binary: int | None = None
    built_in: str = ""
    numbers_in_rgb: bool = False
    values: Values = "auto"


class Decoder:
    """Label maps to regions, by what their numbers and colours mean."""

    def __init__(self, meaning: Meaning, notes: Tally | None = None) -> None:
        labels = meaning.labels
        self._labels = labels
        self._meaning = meaning
        self._notes = Tally() if notes is None else notes
        self._fill = labels.fill_id
        self._known = labels.known_ids | {labels.fill_id}
        table = color_table(labels)
        self._color_ids = np.array(list(table), np.int64)
        self._colors = np.array(list(table.values()), np.uint8).reshape(-1, 3)
        self._id_of: dict[Color, int] = {color: label_id for label_id, color in table.items()}
        if {0, 1} <= self._known <= {0, 1, self._fill}:
            # Black and white are the colours of two classes whatever the list says.
            self._id_of = {_BLACK: 0, _WHITE: 1} | self._id_of
        explicit = [label.color for label in labels.labels if label.color is not None]
        self._explicit = {
            label.color: label.id
            for label in labels.labels
            if label.color is not None and explicit.count(label.color) == 1
        }

    @property
    def labels(self) -> LabelSet:
        """The classes."""
        return self._labels

    def regions(
        self, path: MaskSource, size: tuple[int, int] | None, where: str, keep: set[int] | None = None
    ) -> tuple[list[int], RunList]:
        """Return the label ids that a mask file holds, ascending, and their masks.

        Args:
            path: the mask file.
            size: (height, width) that it must have; None for any.
            where: file and record, for errors.
            keep: ids that count though they are the fill id.
        """
        image = read_pixels(path, where, size)
        numbers = self._numbers(image)
        if numbers is None:
            found, masks = RunList.from_label_map(self._painted(image, path, where))
            ids: list[int] = found.tolist()
        else:
            found, masks = RunList.from_label_map(numbers)
            meant = self._meant(found.tolist(), image, path, where)
            ids = sorted(set(meant))
            if ids != meant:
                masks = masks.union([ids.index(label) for label in meant], len(ids))
        rows = [k for k, label in enumerate(ids) if label != self._fill or label in (keep or ())]
        return [ids[k] for k in rows], masks.select(rows)

    def listed(
        self, regions: list[Region], path: MaskSource, size: tuple[int, int], where: str
    ) -> tuple[list[Region], RunList]:
        """Return the listed regions with their pixels; classes that somebody painted later come behind them."""
        ids, masks = self.regions(path, size, where, keep={region.label for region in regions})
        rows = {label: k for k, label in enumerate(ids)}
        known = {region.label for region in regions}
        regions = [*regions, *(Region(label) for label in ids if label not in known)]
        nothing = RunList.from_rows([np.array([size[0] * size[1]])], height=size[0], width=size[1])
        masks = RunList.concatenate([masks, nothing])
        return regions, masks.select([rows.get(region.label, len(rows)) for region in regions])

    def objects(
        self,
        path: MaskSource,
        instances: MaskSource,
        size: tuple[int, int] | None,
        where: str,
        divisor: int = _DIVISOR,
        least: int = 0,
    ) -> tuple[list[Region], RunList]:
        """Return a region an object, and one a class for the pixels of none, from two mask files.

        Args:
            path: the classes.
            instances: the objects: of 16 bits class * divisor + number as Cityscapes has it, whose numbers below the
                divisor are classes, not objects; of 8 bits VOC's numbers from 1, whose 255 is the border of objects;
                in colours, black is none and VOC's 255 the border.
            size: (height, width) that both must have; None for any.
            where: file and record, for errors.
            divisor: of the 16-bit numbers; Mapillary and KITTI have 256, and no number that is a class.
            least: the first number of an object; KITTI's 0 is none.
        """
        classes = self._label_map(path, size, where)
        image = read_pixels(instances, where, (classes.shape[0], classes.shape[1]))
        if image.depth != 16:
            return self._told_apart(classes, _object_numbers(image), 0)

        def number(value: int) -> int:
            told = value >= divisor if divisor == _DIVISOR else value % divisor >= least
            return value % divisor + 1 if told else 0

        return self._told_apart(classes, image.indices(), 1, number)

    def packed(
        self, path: MaskSource, packed: Packed, size: tuple[int, int] | None, where: str
    ) -> tuple[list[Region], RunList]:
        """Return a region an object, and one a class for the pixels of none, of a mask whose channels hold both."""
        found, masks = RunList.from_label_map(packed.keys(read_pixels(path, where, size), f"{where}: {path}"))
        keys = packed.meant(found.tolist())
        unknown = sorted({label for label, _ in keys} - self._known)
        if unknown:
            raise FormatError(
                f"{where}: {path} holds the classes {unknown[:8]}, which have no name; give their list with --labels (labels=)"
            )
        return self._objects(*_united(keys, masks), 0)

    def _told_apart(
        self,
        classes: NDArray[Any],
        numbers: NDArray[Any],
        first: int,
        number: Callable[[int], int] = lambda value: value,
    ) -> tuple[list[Region], RunList]:
        """Return a region for each class and object: numbers from 1 are objects, called less ``first``, 0 is none.

        ``number`` says which one a value in ``numbers`` is.
        """
        # One pass over the pixels for both: no two objects, and no two classes, share a key.
        bits = max(1, int(numbers.max()).bit_length())
        needed = bits + int(classes.max()).bit_length()
        kind = np.uint16 if needed <= 16 else np.uint32 if needed <= 32 else np.uint64
        joint: NDArray[Any] = classes.astype(kind)
        np.left_shift(joint, kind(bits), out=joint)
        np.bitwise_or(joint, numbers.astype(kind, copy=False), out=joint)
        found, masks = RunList.from_label_map(joint)
        keys = [(key >> bits, number(key & ((1 << bits) - 1))) for key in found.tolist()]
        return self._objects(*_united(keys, masks), first)

    def combined(
        self, path: Path, size: tuple[int, int] | None, where: str, divisor: int = _DIVISOR
    ) -> tuple[list[Region], RunList]:
        """Return a region an object, and one a class for the pixels of none, from a file that says both.

        Args:
            path: a mask file of class * divisor + number, whose numbers below the divisor are classes; or Cityscapes'
                polygons, which are drawn as its own tool does.
            size: (height, width) that it must have; None for any.
            where: file and record, for errors.
            divisor: of the numbers.
        """
        if path.suffix.lower() == ".json":
            drawn, keys = painted(path, size, where, self._labels, self._notes)
            found, masks = RunList.from_label_map(drawn)
            keys = [keys[value] for value in found.tolist()]
        else:
            found, masks = RunList.from_label_map(read_pixels(path, where, size).indices())
            keys = [
                (value // divisor, value % divisor + 1) if value >= divisor else (value, 0) for value in found.tolist()
            ]
            present = sorted({label for label, _ in keys})
            if not self._known >= set(present):
                raise FormatError(f"{where}: {self._unknown(present, path)}")
        return self._objects(*_united(keys, masks), 1)

    def _objects(self, keys: list[tuple[int, int]], masks: RunList, first: int) -> tuple[list[Region], RunList]:
        """Return the regions of masks by their label and number, 0 for no object; ``first`` is what others call 0."""
        rows = [k for k, (label, _) in enumerate(keys) if label != self._fill]
        stuff = {label.id for label in self._labels.labels if label.thing is False}
        regions = [
            Region(label, instance=number - first if number and label not in stuff else None) for label, number in keys
        ]
        return [regions[k] for k in rows], masks.select(rows)

    def _label_map(self, path: MaskSource, size: tuple[int, int] | None, where: str) -> NDArray[Any]:
        """Return the label ids of a mask file: integers (H, W)."""
        image = read_pixels(path, where, size)
        numbers = self._numbers(image)
        if numbers is None:
            return self._painted(image, path, where)
        present = _runs.present(numbers)
        meant = self._meant(present, image, path, where)
        if meant == present:
            return numbers
        table = np.zeros(max(present) + 1, np.min_scalar_type(max(meant)))
        table[present] = meant
        ids: NDArray[Any] = table[numbers]
        return ids

    def _numbers(self, image: png.PngImage) -> NDArray[Any] | None:
        """Return the numbers of a mask, unsigned (H, W), None where it holds colours."""
        is_rgb = image.kind in ("rgb", "rgba")
        return None if is_rgb and not self._meaning.numbers_in_rgb else equal_channels(image)

    def _painted(self, image: png.PngImage, path: MaskSource, where: str) -> NDArray[Any]:
        """Return the label ids of a mask of colours: integers (H, W)."""
        try:
            ids: NDArray[Any] = self._color_ids[png.from_colors(image.rgb(), self._colors)]
        except CodecError as error:
            raise FormatError(f"{where}: {path}: {error}") from error
        return ids

    def _meant(self, present: list[int], image: png.PngImage, path: MaskSource, where: str) -> list[int]:
        """Return the label id that each number of a mask stands for."""
        by_number = self._by_number(present)
        by_color = self._by_color(present, image) if self._meaning.values != "index" else None
        if self._meaning.values == "color" and image.kind == "palette":
            by_number = None
        if by_number is None and by_color is None:
            raise FormatError(f"{where}: {self._unknown(present, path)}")
        if by_color is None or by_number == by_color or (by_number is not None and image.kind != "palette"):
            return by_number or []
        if by_number is None:
            if image.kind == "palette":
                self._notes.add(_BY_COLOR, f"{where}: {path.name}")
            return by_color
        one, other = (self._listed(present, reading) for reading in (by_number, by_color))
        raise FormatError(
            f"{where}: the palette of {path} can be read in two ways: by its indices the mask holds {one}, by its colours "
            f"{other}; say which with --values index or --values color (values=)"
        )

    def _by_number(self, present: list[int]) -> list[int] | None:
        """Return what numbers mean as ids, None if one of them is no label."""
        if self._meaning.binary is not None:
            binary = {0: 0, 255: self._meaning.binary}
            return [binary[value] for value in present] if binary.keys() >= set(present) else None
        return present if self._known >= set(present) else None

    def _by_color(self, present: list[int], image: png.PngImage) -> list[int] | None:
        """Return what numbers mean by the colours that they have in the file, None if one of these is no label's."""
        if image.depth == 16:
            return None
        if image.palette is not None:
            if max(present) >= len(image.palette):
                return None
            colors = [_color(image.palette[value]) for value in present]
            # A ramp of greys is a grey image that became a palette; colours that stand twice tell nothing apart.
            says_nothing = colors == [(v, v, v) for v in present] or len(set(colors)) < len(colors)
            if says_nothing and self._meaning.values == "auto":
                return None
            table = self._id_of
        else:
            step = 255 // ((1 << image.depth) - 1)
            colors = [(value * step, value * step, value * step) for value in present]
            table = self._explicit if image.kind == "grey" else self._id_of
        unjudged = {k for k in (self._fill, self._labels.ignore_id) if k is not None}
        meant = []
        for value, color in zip(present, colors, strict=True):
            if color in table:
                meant.append(table[color])
            elif value in unjudged and image.palette is not None:
                meant.append(value)
            else:
                return None
        return meant

    def _listed(self, present: list[int], meant: list[int]) -> str:
        names = {label.id: label.name for label in self._labels.labels}
        return ", ".join(f"{value} = {names.get(label, label)}" for value, label in zip(present, meant, strict=True))

    def _unknown(self, present: list[int], path: MaskSource) -> str:
        """Return what is wrong with numbers that are no labels."""
        known = ", ".join(f"{label.id} {label.name}" for label in self._labels.labels)
        if self._meaning.binary is not None:
            strange = [value for value in present if value not in (0, 255)]
            return f"{path} holds {strange}, but the masks before it hold 0 and 255 alone; there are: {known}"
        unknown = [value for value in present if value not in self._known]
        text = f"{path} holds the ids {unknown}, which are no labels; there are: {known}"
        if self._meaning.built_in:
            text += f" ({self._meaning.built_in}, as there is no label list); give your own with --labels (labels=)"
        elif 0 in unknown:
            text += "; name 0 too, 'background' or 'void', in the list"
        return text


def equal_channels(image: png.PngImage) -> NDArray[Any] | None:
    """Return the numbers of a mask, unsigned (H, W): those of colours if their channels are equal, else None."""
    if image.kind in ("grey", "palette"):
        return image.pixels
    if image.kind == "grey-alpha":
        return np.ascontiguousarray(image.pixels[..., 0])
    rgb = image.pixels
    first = rgb[..., 0]
    equal = np.array_equal(first, rgb[..., 1]) and np.array_equal(first, rgb[..., 2])
    return np.ascontiguousarray(first) if equal else None


def _united(keys: list[tuple[int, int]], masks: RunList) -> tuple[list[tuple[int, int]], RunList]:
    """Return keys in ascending order, each once, and the mask of all that had it."""
    ordered = sorted(set(keys))
    if ordered == keys:
        return keys, masks
    if len(ordered) == len(keys):
        return ordered, masks.select(sorted(range(len(keys)), key=keys.__getitem__))
    places = {key: k for k, key in enumerate(ordered)}
    return ordered, masks.union([places[key] for key in keys], len(ordered))


def _object_numbers(image: png.PngImage) -> NDArray[Any]:
    """Return the number of the object at each pixel, 0 for none and for the borders of objects: integers (H, W).

    Objects in colours get the number whose colour VOC's colour map says it is, as all tools that save them so use it;
    where one is none of them, the colours are numbered in ascending order.
    """
    numbers = equal_channels(image)
    if numbers is not None and image.palette is None:
        return np.where(numbers == _VOC_BORDER, 0, numbers)
    if image.palette is not None:
        present = _runs.present(image.pixels)
        colors = [_color(image.palette[v]) if v < len(image.palette) else _BLACK for v in present]
        if len(set(colors)) < len(colors) or _BLACK not in colors:  # they do not tell objects apart
            return np.where(image.pixels == _VOC_BORDER, 0, image.pixels)
        table = np.zeros(256, np.int64)
        table[present] = _numbered(colors)
        return table.take(image.pixels)
    found, index = np.unique(png.color_ids(image.rgb()), return_inverse=True)
    colors = [(key & 255, key >> 8 & 255, key >> 16) for key in found.tolist()]
    return np.array(_numbered(colors), np.int64)[index.reshape(image.pixels.shape[:2])]


def _numbered(colors: list[Color]) -> list[int]:
    """Return the number of the object of each colour."""
    voc = {voc_color(k): k for k in range(256)}
    none = (_BLACK, voc_color(_VOC_BORDER))
    if all(color in voc for color in colors):
        return [0 if color in none else voc[color] for color in colors]
    told = {color: k for k, color in enumerate(sorted(set(colors) - set(none)), 1)}
    return [told.get(color, 0) for color in colors]


def _color(row: NDArray[np.uint8]) -> Color:
    red, green, blue = row.tolist()
    return red, green, blue
