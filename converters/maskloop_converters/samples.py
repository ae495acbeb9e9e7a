"""Samples, regions and label sets: what a dataset is, whatever files it is kept in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import LabelError
from .masks import RunList
from .report import Tally

Color = tuple[int, int, int]
LARGEST_LABEL_ID = (1 << 32) - 1
# What most tools leave out of loss and metrics.
_USUAL_FILL = 255
Origin = Literal["manual", "prediction", "prediction-changed"]


@dataclass(frozen=True, slots=True)
class Label:
    """One class of a label set.

    Attributes:
        id: the number that stands in label maps and category fields, >= 0, not necessarily contiguous.
        name: as annotators see it, unique in its set.
        color: red, green, blue, each 0..255; None where the source gives none.
        thing: True when objects of this class are told apart (COCO's things), False for stuff, None if unknown.
    """

    id: int
    name: str
    color: Color | None = None
    thing: bool | None = None


@dataclass(frozen=True)
class LabelSet:
    """The classes of a dataset, in the order in which a model's output channels follow them.

    Attributes:
        labels: the classes; ids and names are unique.
        ignore_id: the id of pixels that nobody judges (void, unlabelled), None if the dataset has none. It may or may
            not be listed in ``labels``; :attr:`classes` leaves it out.
        background_id: the id of pixels that belong to no object (0 in VOC), None if every pixel is some class.
    """

    labels: tuple[Label, ...]
    ignore_id: int | None = None
    background_id: int | None = None

    def __post_init__(self) -> None:
        roles = [label_id for label_id in (self.ignore_id, self.background_id) if label_id is not None]
        for label_id in (*(label.id for label in self.labels), *roles):
            if not 0 <= label_id <= LARGEST_LABEL_ID:
                raise LabelError(f"label id {label_id} is not in 0..{LARGEST_LABEL_ID}, what a label map can hold")
        for what in ("id", "name"):
            seen: set[Any] = set()
            for label in self.labels:
                value = getattr(label, what)
                if value in seen:
                    raise LabelError(f"label {what} {value!r} stands twice in the label set; each must be unique")
                seen.add(value)

    @classmethod
    def from_names(cls, names: list[str] | tuple[str, ...], *, ignore_id: int | None = None) -> LabelSet:
        """Return the set of names with ids 0, 1, 2, ..."""
        return cls(tuple(Label(i, name) for i, name in enumerate(names)), ignore_id=ignore_id)

    @property
    def classes(self) -> tuple[Label, ...]:
        """The labels that a model predicts: all but the ignored one. A model's channel k is ``classes[k]``."""
        return tuple(label for label in self.labels if label.id != self.ignore_id)

    def with_ignored(self) -> LabelSet:
        """Return labels that can say of a pixel that nothing is claimed: with an ignored id, 255 where that is free."""
        if self.ignore_id is not None:
            return self
        return replace(self, ignore_id=next(k for k in count(_USUAL_FILL) if k not in self.known_ids))

    @property
    def known_ids(self) -> frozenset[int]:
        """The ids that a region may have: those of the labels, and of the ignored label and background, listed or not."""
        roles = (self.ignore_id, self.background_id)
        return frozenset(label.id for label in self.labels) | {k for k in roles if k is not None}

    @property
    def fill_id(self) -> int:
        """The id of pixels that no region covers: the background's, else the ignored one, else 255, if that is no class.

        Where 255 is a class, it is the first free id above: a fill value is never a class.
        """
        if self.background_id is not None:
            return self.background_id
        if self.ignore_id is not None:
            return self.ignore_id
        return self._free_id

    @cached_property
    def _free_id(self) -> int:
        taken = {label.id for label in self.labels}
        return next(k for k in count(_USUAL_FILL) if k not in taken)

    def by_id(self, label_id: int) -> Label:
        """Return the label of an id; LabelError names the id and those that exist."""
        for label in self.labels:
            if label.id == label_id:
                return label
        known = ", ".join(f"{label.id} {label.name}" for label in self.labels)
        raise LabelError(f"no label has id {label_id}; there are: {known}")

    def by_name(self, name: str) -> Label:
        """Return the label of a name (exact); LabelError names it and those that exist."""
        for label in self.labels:
            if label.name == name:
                return label
        raise LabelError(f"no label is named {name!r}; there are: {', '.join(label.name for label in self.labels)}")


@dataclass(frozen=True, slots=True)
class ImageRef:
    """Which image a sample belongs to, and how to get at its bytes.

    Attributes:
        name: posix path of the image inside its dataset, sub-folders and extension kept ('train/0001.png').
        source: a file, the encoded bytes themselves, a function that returns them, or None when they are out of reach.
        uri: as it stood in the source ('/data/upload/5/x.png', 's3://b/x.png'), None if it is a plain file.
        exif_orientation: 1..8 as stored in the file; masks are always in the frame of the image after this rotation.
    """

    name: str
    source: Path | bytes | Callable[[], bytes] | None = None
    uri: str | None = None
    exif_orientation: int = 1

    def read_bytes(self) -> bytes | None:
        """Return the encoded image (JPEG, PNG, ...), or None when it is out of reach."""
        if self.source is None or isinstance(self.source, bytes):
            return self.source
        return self.source.read_bytes() if isinstance(self.source, Path) else self.source()


@dataclass(frozen=True, slots=True)
class SoftEdge:
    """The pixels of a brush mask that are neither off nor fully on (Label Studio's antialiasing).

    Attributes:
        positions: int64 (n,), ascending row-major pixel indices.
        alpha: uint8 (n,), 1..254, the opacity there; the binary mask has 1 where it is > 127.
    """

    positions: NDArray[np.int64]
    alpha: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Region:
    """One mask's record; the mask itself is the row of the same index in :attr:`Sample.masks`.

    Attributes:
        label: id in the dataset's label set.
        id: identifier in the source, unique in its sample; '' where the source has none.
        score: confidence 0..1, None where a person drew it.
        crowd: COCO's iscrowd: a group of objects under one mask.
        instance: number of the object in the image (panoptic and instance formats), None for a class's whole area.
        origin: who drew it, as Label Studio says it.
        edge: soft pixels, kept only when they were asked for.
        attributes: what else the source says, JSON values by name; formats write what they can hold.
    """

    label: int
    id: str = ""
    score: float | None = None
    crowd: bool = False
    instance: int | None = None
    origin: Origin | None = None
    edge: SoftEdge | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sample:
    """An image and its masks.

    Attributes:
        id: unique in the dataset; survives every hop between formats.
        image: which image it is.
        masks: K masks in C order, of the image's height and width (after EXIF rotation).
        regions: K records, one a mask, in drawing order: later ones lie over earlier ones in a label map.
        attributes: what else the source says of the image or task, JSON values by name.
    """

    id: str
    image: ImageRef
    masks: RunList
    regions: tuple[Region, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def height(self) -> int:
        """Height of image and masks in pixels."""
        return self.masks.height

    @property
    def width(self) -> int:
        """Width of image and masks in pixels."""
        return self.masks.width

    def label_map(self, labels: LabelSet, dtype: Any = None) -> NDArray[Any]:
        """Return the (height, width) map of label ids, uncovered pixels as :attr:`LabelSet.fill_id`.

        Args:
            labels: the dataset's label set.
            dtype: integer type; by default uint8 where every id fits, else uint16, else uint32.
        """
        values = [region.label for region in self.regions]
        if dtype is None:
            top = max([labels.fill_id, *values])
            dtype = np.uint8 if top < 256 else np.uint16 if top < 65536 else np.uint32
        return self.masks.to_label_map(values, fill=labels.fill_id, dtype=dtype)


class SampleSource(Protocol):
    """Something that yields the samples of a dataset anew at each iteration, holding one at a time in memory."""

    def __iter__(self) -> Iterator[Sample]:
        """Yield the samples in the dataset's own, deterministic order."""
        ...


@dataclass(frozen=True, slots=True)
class Dataset:
    """A label set and a re-iterable stream of samples.

    Attributes:
        labels: the classes.
        samples: iterate it as often as needed; every iteration reads the files anew.
        format: 'png', 'coco', ... (``registry.FORMATS``), or '' for one made in memory.
        count: the number of samples where it is known without reading them, else None.
        split: name of the part this is ('train', 'val'), None where there is one part.
        attributes: what else the source says of the whole dataset (COCO's info and licences), JSON values by name.
        skipped: what the latest iteration left out, by kind with examples: records that are wrong (``on_error="skip"``),
            images without a mask and the like; complete at its end.
        notes: what should be said of reading it though nothing was left out; likewise.
    """

    labels: LabelSet
    samples: SampleSource
    format: str = ""
    count: int | None = None
    split: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    skipped: Tally = field(default_factory=Tally, compare=False)
    notes: Tally = field(default_factory=Tally, compare=False)

    def __iter__(self) -> Iterator[Sample]:
        """Yield the samples."""
        return iter(self.samples)
