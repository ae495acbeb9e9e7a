"""Training examples from a dataset of any format: upright RGB images and their targets, decoded once where they fit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maskloop_converters import datasets
from maskloop_converters.codecs import pictures
from maskloop_converters.errors import CodecError, DataError, OptionError
from maskloop_converters.options import declared
from maskloop_converters.samples import Dataset, LabelSet, Sample

from .merging import Resolver
from .metrics import VOID

# Decoded images take 4 bytes a pixel; more than this and they are decoded anew at every use.
MEMORY_LIMIT = 2 * 1024**3

Example = tuple[NDArray[np.uint8], NDArray[np.uint8]]


class TrainingDataError(DataError):
    """A dataset that cannot be trained on; the message names the sample and what is wrong."""


# What other tools call the two parts.
_TRAIN_PARTS = ("train", "training")
_VAL_PARTS = ("val", "valid", "validation")


def read_source(path: Path, format: str | None = None) -> tuple[Dataset, Dataset | None]:  # noqa: A002
    """Return the training part of a dataset on disk, and its validation part where it has one.

    Args:
        path: a dataset in any format that ``maskloop convert`` reads.
        format: its name; None finds out.

    Raises:
        FormatError: no dataset that we can read.
    """
    name = format or datasets.detect(path)
    parts = datasets.splits(path, name)
    train, val = (next((part for part in names if part in parts), None) for names in (_TRAIN_PARTS, _VAL_PARTS))
    if train is not None:
        validation = read_labelled(path, name, split=val) if val is not None else None
        return read_labelled(path, name, split=train), validation
    return read_labelled(path, name), None


def read_labelled(
    path: Path,
    format: str | None = None,  # noqa: A002 - the field's word
    *,
    images: Path | None = None,
    **options: Any,
) -> Dataset:
    """Return a labelled dataset of any format; what Label Studio has as predictions is no label.

    Args:
        path: file or folder.
        format: 'png', 'coco', 'tfrecord' or 'labelstudio'; None finds out.
        images: the folder with the images, for the formats that have them elsewhere.
        **options: of the format's own ``read``: ``split``, ``labels``, ``label_config``, ``annotations``.

    Raises:
        FormatError: no dataset that we can read.
        OptionError: the format has no such option.
    """
    name = format or datasets.detect(path)
    if name == "labelstudio":
        options["use"] = "annotations"
    if images is not None:
        if "images_from" not in declared(name, "read"):
            raise OptionError(
                f"{name} has its images beside its masks; --images-from (images=) is for COCO and Label Studio"
            )
        options["images_from"] = images
    return datasets.read(path, name, **options)


class Examples(Sequence[Example]):
    """The samples of a dataset as (image, target): uint8 (H, W, 3) RGB and uint8 (H, W).

    A target holds the channel of each pixel, the index into ``labels.classes``, or VOID where nobody judged it.

    Args:
        samples: with images within reach.
        labels: of their dataset.
        size: images with a longer side are shrunk to it.
        memory_limit: bytes of decoded pixels kept; what lies beyond is decoded at every use.
        resolver: says which class each pixel has where labels stand for several; ``labels`` are its classes then.

    Raises:
        TrainingDataError: no sample, no class, more classes than a target can hold, or an image that is out of reach,
            unreadable or of another size than its masks.
    """

    def __init__(
        self,
        samples: Iterable[Sample],
        labels: LabelSet,
        *,
        size: int | None = None,
        memory_limit: int = MEMORY_LIMIT,
        resolver: Resolver | None = None,
    ) -> None:
        if not 1 <= len(labels.classes) <= VOID:
            raise TrainingDataError(f"training needs 1 to {VOID} classes, the label set has {len(labels.classes)}")
        self.labels = labels if resolver is None else resolver.classes
        self._resolver = resolver
        self._size = size
        self._channels = {label.id: channel for channel, label in enumerate(labels.classes)}
        background = None if labels.background_id == labels.ignore_id else labels.background_id
        self._fill = VOID if background is None else self._channels.get(background, VOID)
        self._samples = sorted(samples, key=lambda sample: sample.id)
        if not self._samples:
            raise TrainingDataError("the dataset holds no sample; training needs images with masks")
        digest = hashlib.sha256(repr(labels).encode())
        self._kept: dict[int, Example] = {}
        self.shapes: list[tuple[int, int]] = []
        self.pixels = np.zeros(len(self.labels.classes), np.int64)
        free = memory_limit
        for index, sample in enumerate(self._samples):
            image, target = self._decode(sample, digest)
            self.shapes.append((target.shape[0], target.shape[1]))
            self.pixels += np.bincount(target.ravel(), minlength=VOID + 1)[: len(self.labels.classes)]
            free -= image.nbytes + target.nbytes
            if free >= 0:
                self._kept[index] = image, target
        if not self.pixels.any():
            raise TrainingDataError("no pixel of the dataset has a class: all of them are ignored")
        self.fingerprint = digest.hexdigest()

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self._samples)

    def __getitem__(self, index: Any) -> Any:
        """Return one example; the arrays are shared and must not be changed."""
        kept = self._kept.get(index)
        return self._decode(self._samples[index]) if kept is None else kept

    @property
    def ids(self) -> list[str]:
        """The samples' ids, ascending."""
        return [sample.id for sample in self._samples]

    def _decode(self, sample: Sample, digest: Any = None) -> Example:
        where = f"sample {sample.id!r} ({sample.image.name})"
        data = sample.image.read_bytes()
        if data is None:
            raise TrainingDataError(
                f"{where}: its image is out of reach ({sample.image.uri}); training needs the pixels"
            )
        try:
            picture = Image.fromarray(pictures.decode(data))
        except CodecError as error:
            raise TrainingDataError(f"{where}: the image cannot be decoded: {error}") from error
        if picture.size != (sample.width, sample.height):
            raise TrainingDataError(
                f"{where}: the image is {picture.width} x {picture.height} pixels, its masks are "
                f"{sample.width} x {sample.height}"
            )
        values = [self._channels.get(region.label, VOID) for region in sample.regions]
        target = sample.masks.to_label_map(values, fill=self._fill, dtype=np.uint8)
        if digest is not None:
            digest.update(sample.id.encode() + b"\0" + hashlib.sha256(data).digest() + target.tobytes())
        longest = max(picture.size)
        if self._size is not None and longest > self._size:
            width, height = (max(1, round(side * self._size / longest)) for side in picture.size)
            picture = picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=3.0)
            target = np.asarray(Image.fromarray(target).resize((width, height), Image.Resampling.NEAREST))
        image = np.asarray(picture)
        return image, target if self._resolver is None else self._resolver(image, target)


def split(samples: Sequence[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Return the samples to train on and those held out, drawn by seed; at least one each.

    Raises:
        TrainingDataError: there are less than two.
    """
    if len(samples) < 2:
        raise TrainingDataError(
            f"the dataset holds {len(samples)} sample(s); at least 2 are needed, one of them to measure on"
        )
    ordered = sorted(samples, key=lambda sample: sample.id)
    held_out = min(max(1, round(share * len(ordered))), len(ordered) - 1)
    drawn = set(np.random.default_rng(seed).permutation(len(ordered))[:held_out].tolist())
    train = [sample for index, sample in enumerate(ordered) if index not in drawn]
    return train, [sample for index, sample in enumerate(ordered) if index in drawn]
