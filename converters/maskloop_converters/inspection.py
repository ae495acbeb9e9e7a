"""What a dataset holds: counts, classes, sizes, overlaps, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import datasets
from .errors import DataError, OutputExistsError
from .formats.images import probe
from .overlay import Overlays
from .report import Tally
from .samples import Dataset, Sample


@dataclass(slots=True)
class LabelCount:
    """How much of a dataset one label is.

    Attributes:
        samples: that have it.
        regions: that carry it.
        pixels: of those regions.
    """

    samples: int = 0
    regions: int = 0
    pixels: int = 0


@dataclass(slots=True)
class Inspection:
    """What :func:`inspect` found.

    Attributes:
        format: of the files.
        samples: that could be read.
        empty: samples without a region.
        regions: of all samples.
        pixels: of all samples: height times width.
        uncovered: pixels that no region covers.
        overlapping: pixels that two or more regions cover.
        labels: by name, in the order of the label set.
        sizes: number of samples by (height, width).
        origins: number of regions by origin ('manual', 'prediction', ...), of those that have one.
        crowd: regions that are crowds.
        instances: regions that have an instance number.
        rotated: images whose EXIF orientation is not 1.
        problems: what is wrong, by kind with examples.
        notes: what reading took for granted, by kind with examples.
    """

    format: str
    samples: int = 0
    empty: int = 0
    regions: int = 0
    pixels: int = 0
    uncovered: int = 0
    overlapping: int = 0
    labels: dict[str, LabelCount] = field(default_factory=dict)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    origins: Counter[str] = field(default_factory=Counter)
    crowd: int = 0
    instances: int = 0
    rotated: int = 0
    problems: Tally = field(default_factory=Tally)
    notes: Tally = field(default_factory=Tally)

    def add(self, sample: Sample, names: dict[int, str]) -> None:
        """Count one sample."""
        areas = sample.masks.areas()
        covered = int(sample.masks.union([0] * len(sample.masks), 1).areas()[0])
        self.samples += 1
        self.empty += not sample.regions
        self.regions += len(sample.regions)
        self.pixels += sample.height * sample.width
        self.uncovered += sample.height * sample.width - covered
        self.overlapping += sample.masks.overlap_pixels()
        self.sizes[sample.height, sample.width] += 1
        self.rotated += sample.image.exif_orientation != 1
        seen = set()
        for region, area in zip(sample.regions, areas.tolist(), strict=True):
            name = names.get(region.label)
            if name is None:
                self.problems.add("regions of an unknown label", f"{sample.id}: id {region.label}")
                continue
            label = self.labels.setdefault(name, LabelCount())
            label.samples += name not in seen
            label.regions += 1
            label.pixels += area
            seen.add(name)
            self.crowd += region.crowd
            self.instances += region.instance is not None
            if region.origin:
                self.origins[region.origin] += 1
            if not area:
                self.problems.add("empty masks", f"{sample.id}: a region of {name}")
        self._check_image(sample)

    def _check_image(self, sample: Sample) -> None:
        source = sample.image.source
        if source is None:
            self.problems.add("images out of reach", f"{sample.id}: {sample.image.uri or sample.image.name}")
            return
        try:
            info = probe(source if isinstance(source, Path) else sample.image.read_bytes() or b"", sample.id)
        except (DataError, OSError) as error:
            self.problems.add("images missing or unreadable", str(error))
            return
        if (info.height, info.width) != (sample.height, sample.width):
            self.problems.add(
                "masks of another size than their image",
                f"{sample.id}: mask {sample.height} x {sample.width}, image {info.height} x {info.width}",
            )

    def to_dict(self) -> dict[str, Any]:
        """Return what was found as JSON values."""
        return {
            "format": self.format,
            "samples": self.samples,
            "empty_samples": self.empty,
            "regions": self.regions,
            "pixels": self.pixels,
            "uncovered_pixels": self.uncovered,
            "overlapping_pixels": self.overlapping,
            "labels": {
                name: {"samples": x.samples, "regions": x.regions, "pixels": x.pixels}
                for name, x in self.labels.items()
            },
            "sizes": {f"{height}x{width}": count for (height, width), count in self.sizes.most_common()},
            "origins": dict(self.origins),
            "crowd_regions": self.crowd,
            "instance_regions": self.instances,
            "rotated_images": self.rotated,
            "problems": self.problems.to_dict(),
            "notes": self.notes.to_dict(),
        }


def inspect(
    path: str | Path,
    format: str | None = None,  # noqa: A002 - the field's word
    *,
    overlay: Path | None = None,
    progress: Callable[[int, int | None], None] = lambda done, count: None,
    **options: Any,
) -> Inspection:
    """Read a whole dataset and return what it holds and what is wrong with it.

    Args:
        path: file or folder.
        format: 'png', 'coco', 'tfrecord' or 'labelstudio'; None finds out.
        overlay: a folder for pictures of every sample with its masks drawn over, and a contact sheet; outside of what is
            read.
        progress: is called with (samples read, number of samples or None).
        **options: of the format's ``read``.

    Raises:
        OutputExistsError: ``overlay`` is in the dataset, or has files that are no pictures of maskloop.
    """
    if overlay is not None:
        _keep_apart(Path(path), overlay)
    dataset: Dataset = datasets.read(path, format, on_error="skip", **options)
    found = Inspection(dataset.format, labels={label.name: LabelCount() for label in dataset.labels.labels})
    names = {label.id: label.name for label in dataset.labels.labels}
    # ids of the background and the ignored label need not be listed
    for role, label_id in (("background", dataset.labels.background_id), ("ignored", dataset.labels.ignore_id)):
        if label_id is not None and label_id not in names:
            names[label_id] = f"({role} {label_id})"
    pictures = Overlays(overlay, dataset.labels) if overlay is not None else None
    for done, sample in enumerate(dataset, 1):
        found.add(sample, names)
        if pictures is not None:
            pictures.add(sample)
        progress(done, dataset.count)
    if pictures is not None:
        pictures.finish()
    found.problems.merge(dataset.skipped)
    found.notes.merge(dataset.notes)
    return found


def _keep_apart(source: Path, overlay: Path) -> None:
    """Refuse to draw into what is read."""
    read, drawn = source.resolve(), overlay.resolve()
    if read == drawn or read in drawn.parents:
        raise OutputExistsError(
            f"{overlay} is in the dataset {source} itself; nothing was drawn: give a folder outside"
        )
