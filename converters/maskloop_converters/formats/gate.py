"""The one gate before every writer: what passes can be written by every format, and read again.

A dataset made in memory can hold anything, and one that was read can have changed on disk since. A sample that does not
pass goes to the error policy, as a record that cannot be read does.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, Protocol

from ..errors import DataError, FormatError, TargetError
from ..report import ErrorPolicy, WriteReport
from ..samples import LARGEST_LABEL_ID, Dataset, ImageRef, LabelSet, Sample
from .file_names import relative_path
from .images import probe
from .parts import SKIPPED
from .records import check_labels, dumps, image_size, origin, score

Options = ParamSpec("Options")


class SampleWriter(Protocol):
    """What a format's ``opening`` gives: takes samples one by one, and counts."""

    @property
    def report(self) -> WriteReport:
        """What was written so far."""

    def write(self, sample: Sample) -> None:
        """Write one sample; it has passed the gate."""


Opening = Callable[Concatenate[Dataset, Path, Options], AbstractContextManager[SampleWriter]]


def gated(opening: Opening[Options]) -> Callable[Concatenate[Dataset, Path, Options], WriteReport]:
    """Return a format's ``write`` for its ``opening``: a whole dataset, every sample through the gate.

    Args:
        opening: a context manager that is given the dataset's head (labels, split, attributes; its samples come one by
            one) and a path, and whose output is there whole when the block ends well, or not at all.
    """

    @wraps(opening)
    def write(dataset: Dataset, path: Path, /, *args: Options.args, **options: Options.kwargs) -> WriteReport:
        with opening(dataset, Path(path), *args, **options) as writer:
            Gate(dataset.labels).write_all(dataset, writer)
        return writer.report

    write.__doc__ = opening.__doc__
    return write


class Gate:
    """Lets samples through to a writer.

    Args:
        labels: of their dataset.
        policy: what is done with samples that may not pass; by default the first one is an error.
    """

    def __init__(self, labels: LabelSet, policy: ErrorPolicy | None = None) -> None:
        self._known = labels.known_ids
        self._policy = policy or ErrorPolicy()
        self._seen: set[str] = set()

    def write_all(self, dataset: Dataset, writer: SampleWriter) -> None:
        """Write all samples of a dataset that pass."""
        for sample in dataset:
            self.write(sample, writer)

    def write(self, sample: Sample, writer: SampleWriter) -> bool:
        """Write a sample if it passes; whether it was written, where the policy is to skip."""
        before = writer.report.samples
        with self._policy.record(SKIPPED, DataError, TargetError):
            self.check(sample)
            writer.write(sample)
        return writer.report.samples > before

    def check(self, sample: Sample) -> None:
        """Raise DataError, which names sample and region, where a sample cannot be written and read again."""
        where = f"sample {sample.id}"
        if not sample.id:
            raise FormatError(f"the sample of the image {sample.image.name}: its id is empty")
        if sample.id in self._seen:
            raise FormatError(f"{where}: the id stands twice in the dataset; each must be unique")
        if len(sample.regions) != len(sample.masks):
            raise FormatError(
                f"{where}: {len(sample.regions)} regions and {len(sample.masks)} masks; expected one a mask"
            )
        height, width = image_size(sample.height, sample.width, where)
        relative_path(sample.image.name, where)
        check_labels(sample, self._known, where)
        if sample.attributes:
            dumps(dict(sample.attributes), where)
        for k, region in enumerate(sample.regions):
            place = f"{where}, region {region.id or k}"
            score(region.score, place)
            origin(region.origin, place)
            if region.instance is not None and not 0 <= region.instance <= LARGEST_LABEL_ID:
                raise FormatError(f"{place}: instance must be a number from 0, received {region.instance!r:.80}")
            if region.attributes:
                dumps(dict(region.attributes), place)
            edge = region.edge
            if edge is not None and edge.positions.size:
                low, high = int(edge.positions.min()), int(edge.positions.max())
                if low < 0 or high >= height * width or edge.positions.shape != edge.alpha.shape:
                    raise FormatError(f"{place}: its soft edge does not lie within {width} x {height} pixels")
        dumps([sample.id, [region.id for region in sample.regions]], where)
        _check_image(sample.image, (height, width), where)
        self._seen.add(sample.id)


def _check_image(image: ImageRef, size: tuple[int, int], where: str) -> None:
    """Raise FormatError unless an image that is within reach has the size of its masks."""
    if image.exif_orientation not in range(1, 9):
        raise FormatError(f"{where}: an EXIF orientation is 1..8, received {image.exif_orientation!r:.80}")
    if not isinstance(image.source, Path | bytes):
        return
    info = probe(image.source, where)
    if (info.height, info.width) != size:
        raise FormatError(
            f"{where}: the image {image.name} is {info.width} x {info.height} pixels, its masks are "
            f"{size[1]} x {size[0]}"
        )
