"""Writing images with PNG masks."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import IO, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...atomic import atomic_directory
from ...codecs import png
from ...errors import TargetError
from ...options import Option
from ...report import WriteReport
from ...samples import Dataset, LabelSet, Region, Sample
from ..data_yaml import CONFIG, IMAGES, config_text
from ..file_names import FreeNames, file_stem, relative_path
from ..gate import gated
from ..images import ImageMode, Images, store_image
from ..labels import color_table, labels_to_json, palette
from ..records import dumps, image_to_json, region_to_json
from ..reduction import Numbering, count_head
from .entries import INDEX

MaskKind = Literal["auto", "index", "color", "binary"]
WrittenLayout = Literal["folders", "voc", "camvid", "ultralytics"]

_LARGEST_ID = 65535
_IGNORED = 255


@contextmanager
def opening(
    dataset: Dataset,
    path: Path,
    *,
    masks: Annotated[
        MaskKind,
        Option("Label maps of ids or colours, one binary mask a region, or what loses nothing.", metavar="KIND"),
    ] = "auto",
    images: Images = None,
    layout: Annotated[WrittenLayout, Option("Where images and label maps go.")] = "folders",
    colored: Annotated[bool, Option("Give label maps of ids a palette.")] = False,
    overwrite: bool = False,
) -> Iterator[_Writer | Renumbering]:
    """Write a dataset as images with PNG masks; the index that makes it whole stands beside them (see the module).

    Args:
        dataset: what to write.
        path: the folder to make.
        masks: 'index' writes a label map of ids (8 bits, 16 where an id is above 255), 'color' one of the labels'
            colours: both hold one label a pixel, and one region a class. 'binary' writes one PNG a region and holds
            everything. 'auto' writes a label map of ids for every sample and, for those where it would lose
            something, binary masks too, which are then what is read.
        images: how images come along, see :func:`maskloop_converters.formats.images.store_image`; by default they are copied.
        layout: where images and label maps go: 'folders' (images/, masks/), 'voc' (JPEGImages/, SegmentationClass/ with
            palettes, ImageSets/, labelmap.txt), 'camvid' (train/, trainannot/, train.txt with both paths a line) or
            'ultralytics' (images/train/, masks/train/, data.yaml), whose classes are numbered 0, 1, 2, ... and 255 is
            what nobody judges.
        colored: give label maps of ids a palette. Off by default: OpenCV and TensorFlow turn palettes to brightness.
        overwrite: replace what is there.

    Yields:
        The writer of samples; its report says what was written, and what the masks cannot hold.

    Raises:
        OutputExistsError: something is there already.
        TargetError: an id above 65535 in a label map of ids.
    """
    if layout == "ultralytics" and masks in ("color", "binary"):
        raise TargetError(f"--layout ultralytics takes label maps of numbers, not --masks {masks}")
    places = _Places(layout, file_stem("train" if dataset.split is None else dataset.split))
    given = dataset
    numbering = _numbering(dataset.labels) if layout == "ultralytics" else None
    if numbering is not None:
        dataset = replace(dataset, labels=numbering.labels)
    with atomic_directory(path, overwrite=overwrite) as root:
        colored = colored or layout == "voc"
        header: dict[str, Any] = {"maskloop": 1, "format": "png", "masks": masks}
        if dataset.split is not None:
            header["split"] = dataset.split
        if dataset.attributes:
            header["attributes"] = dict(dataset.attributes)
        with (root / INDEX).open("w", encoding="utf-8") as index, places.list_file(root) as listed:
            index.write(dumps(header, "the dataset") + "\n")
            writer = _Writer(root, dataset.labels, masks, images or "copy", colored, places, index, listed)
            if numbering is None:
                yield writer
            else:
                count_head(given, dataset, writer.report.losses)
                yield Renumbering(writer, dataset, numbering)
        document = labels_to_json(dataset.labels)
        if masks == "color" or colored:
            document["mask_colors"] = {str(k): list(color) for k, color in writer.colors.items()}
        (root / "labels.json").write_text(dumps(document, "labels") + "\n", "utf-8")
        if layout == "ultralytics":
            place = f"{IMAGES}/{places.split}"
            (root / CONFIG).write_text(config_text({"train": place, "val": place}, dataset.labels, "masks"), "utf-8")
        if layout == "voc":
            lines = (
                f"{label.name}:{','.join(map(str, writer.colors[label.id]))}::\n" for label in dataset.labels.labels
            )
            (root / "labelmap.txt").write_text("".join(lines), "utf-8")


def join_parts(path: Path, heads: Mapping[str, Dataset], options: Mapping[str, Any]) -> None:
    """Write the data.yaml of a folder of parts, where trainers read one."""
    if options.get("layout") == "ultralytics":
        places = {part: f"{part}/{IMAGES}/{part}" for part in heads}
        labels = _numbering(next(iter(heads.values())).labels).labels
        (path / CONFIG).write_text(config_text(places, labels, "masks"), "utf-8")


def _numbering(labels: LabelSet) -> Numbering:
    return Numbering.of(labels, background=True, ignored=_IGNORED, most=_IGNORED, target="--layout ultralytics")


@dataclass(slots=True)
class Renumbering:
    """A writer that is given samples whose labels have other numbers than what it writes."""

    writer: _Writer
    head: Dataset
    numbering: Numbering
    _held: Sample | None = None

    @property
    def report(self) -> WriteReport:
        """What was written so far."""
        return self.writer.report

    def held(self) -> Sample:
        """Return the sample written last, as it is read back."""
        assert self._held is not None
        return self._held

    def write(self, sample: Sample) -> None:
        """Write a sample."""
        self._held = self.numbering.sample(sample)
        self.writer.write(self._held)


@dataclass(frozen=True, slots=True)
class _Places:
    """Where the files of a layout go."""

    layout: WrittenLayout
    split: str

    def name(self, name: PurePosixPath) -> PurePosixPath:
        """Return an image's name below its folder: without the split's own, which some layouts add."""
        inside = self.layout in ("camvid", "ultralytics") and len(name.parts) > 1 and name.parts[0] == self.split
        return name.relative_to(self.split) if inside else name

    def image(self, name: PurePosixPath) -> str:
        """Return the path of an image in the dataset."""
        if self.layout == "camvid":
            return f"{self.split}/{name}"
        if self.layout == "ultralytics":
            return f"{IMAGES}/{self.split}/{name}"
        return f"{'JPEGImages' if self.layout == 'voc' else 'images'}/{name}"

    def mask(self, name: PurePosixPath) -> str:
        """Return the path of the label map of an image."""
        if self.layout == "camvid":
            return f"{self.split}annot/{name.with_suffix('.png')}"
        if self.layout == "ultralytics":
            return f"masks/{self.split}/{name.with_suffix('.png')}"
        return f"{'SegmentationClass' if self.layout == 'voc' else 'masks'}/{name.with_suffix('.png')}"

    def list_file(self, root: Path) -> AbstractContextManager[IO[str]]:
        """Open the list of the split's images; without one in our own layout, whose index is the list."""
        if self.layout in ("folders", "ultralytics"):
            return nullcontext(io.StringIO())
        folder = root / "ImageSets" / "Segmentation" if self.layout == "voc" else root
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / f"{self.split}.txt").open("w", encoding="utf-8")

    def line(self, record: dict[str, Any]) -> str:
        """Return the line of a sample in the list."""
        if "mask" not in record:
            return ""
        if self.layout == "voc":
            return str(PurePosixPath(record["mask"]).relative_to("SegmentationClass").with_suffix("")) + "\n"
        return f"{record['image'].get('file', record['image']['name'])} {record['mask']}\n"


@dataclass(slots=True)
class _Loss:
    """What a label map of a sample loses; all zero when reading it back gives the sample."""

    hidden: int = 0
    merged: int = 0
    soft: int = 0
    unmarked: int = 0

    def __bool__(self) -> bool:
        return bool(self.hidden or self.merged or self.soft or self.unmarked)


def label_map_loss(sample: Sample, labels: LabelSet, label_map: NDArray[Any] | None = None) -> _Loss:
    """Return what is lost when a sample is kept as a label map with the list of its regions beside it.

    Args:
        sample: what to keep.
        labels: the dataset's label set.
        label_map: of the sample, where it is there already: counting its pixels is quickest.
    """
    masks = sample.masks
    fill = labels.fill_id
    looks_uncovered = any(region.label == fill for region in sample.regions)
    if label_map is None or looks_uncovered:
        covered = masks.covered_pixels()
    else:
        covered = int(np.count_nonzero(label_map != fill))
    return _Loss(
        hidden=int(masks.areas().sum()) - covered,
        merged=len(masks) - len({region.label for region in sample.regions}),
        soft=sum(region.edge.positions.size for region in sample.regions if region.edge is not None),
        unmarked=sample.height * sample.width - covered if looks_uncovered else 0,
    )


@dataclass(slots=True)
class _Writer:
    """Writes samples below a folder, and their lines into the index."""

    root: Path
    labels: LabelSet
    masks: MaskKind
    images: ImageMode
    colored: bool
    places: _Places
    _index: IO[str]
    _listed: IO[str]
    report: WriteReport = field(default_factory=WriteReport)
    colors: dict[int, tuple[int, int, int]] = field(init=False)
    _names: FreeNames = field(default_factory=FreeNames)
    # that were made for masks, by name
    _folders: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.colors = color_table(self.labels)

    def _name(self, sample: Sample) -> PurePosixPath:
        """Return the name of a sample's files: its image's, with other extensions."""
        name = self.places.name(relative_path(sample.image.name, f"sample {sample.id}"))
        return self._names.take(name, by_stem=True)

    def write(self, sample: Sample) -> None:
        """Write the files of a sample and its line of the index."""
        record = self._files(sample)
        self._index.write(dumps(record, f"sample {sample.id}") + "\n")
        self._listed.write(self.places.line(record))

    def _files(self, sample: Sample) -> dict[str, Any]:
        """Write the files of a sample and return its record."""
        where = f"sample {sample.id}"
        image = image_to_json(sample)
        # what is refused is refused before anything of it is written
        ids = None if self.masks == "binary" else sample.label_map(self.labels)
        if ids is not None and ids.dtype == np.uint32 and self.masks == "index":
            raise TargetError(
                f"{where}: label id {ids.max()} is above {_LARGEST_ID}, a PNG's largest; use --masks color or binary"
            )
        name = self._name(sample)
        file = self.places.image(name)
        if store_image(sample.image, self.root / file, self.images, self.report, where):
            image["file"] = file
        elif isinstance(sample.image.source, Path):
            image["source"] = str(sample.image.source.resolve())
        record: dict[str, Any] = {"id": sample.id, "image": image, "size": [sample.height, sample.width]}
        stem = name.with_suffix("").as_posix()
        loss = _Loss()
        regions: list[Region] = list(sample.regions)
        if ids is not None:
            loss = label_map_loss(sample, self.labels, ids)
            written = self._label_map(ids, self.places.mask(name))
            if written is not None:
                record["mask"] = written
            if self.masks in ("index", "color"):
                self._count(loss, where)
                regions = _one_a_class(regions) if loss.merged else regions
        records = [region_to_json(region) for region in regions]
        if self.masks == "binary" or (self.masks == "auto" and (loss or "mask" not in record)):
            if self.masks == "auto":
                self.report.notes.add("samples with binary masks, as a label map would lose something", where)
            for r, file in zip(records, self._binary(sample, stem), strict=True):
                r["mask"] = file
        record["regions"] = records
        if sample.attributes:
            record["attributes"] = dict(sample.attributes)
        self.report.samples += 1
        self.report.regions += len(regions)
        return record

    def _count(self, loss: _Loss, where: str) -> None:
        losses = self.report.losses
        losses.add("pixels hidden by regions that lie over them", f"{where}: {loss.hidden}", loss.hidden)
        losses.add("regions merged into the one of their class", f"{where}: {loss.merged}", loss.merged)
        losses.add("soft edge pixels made hard", f"{where}: {loss.soft}", loss.soft)
        kind = f"uncovered pixels that read as label {self.labels.fill_id}"
        losses.add(kind, f"{where}: {loss.unmarked}", loss.unmarked)

    def _label_map(self, ids: NDArray[Any], file: str) -> str | None:
        """Write the label map and return its path; None where 'auto' does without one."""
        if self.masks == "color":
            data = png.write_label_map(self._paint(ids))
        elif ids.dtype == np.uint32:
            return None
        else:
            colors = palette(self.colors) if self.colored and ids.dtype == np.uint8 else None
            data = png.write_label_map(ids, colors)
        return self._save(file, data)

    def _paint(self, ids: NDArray[Any]) -> NDArray[np.uint8]:
        present, index = np.unique(ids, return_inverse=True)
        table = np.array([self.colors[k] for k in present.tolist()], np.uint8)
        painted: NDArray[np.uint8] = table[index.reshape(ids.shape)]
        return painted

    def _binary(self, sample: Sample, stem: str) -> list[str]:
        """Write one PNG a region and return their paths in the dataset."""
        names = {label.id: re.sub(r"[^\w-]+", "_", label.name)[:60] for label in self.labels.labels}
        files = []
        for k, (region, data) in enumerate(zip(sample.regions, png.write_masks(sample.masks, 255), strict=True)):
            if region.edge is not None:
                alpha = np.where(sample.masks.mask(k), np.uint8(255), np.uint8(0))
                alpha.ravel()[region.edge.positions] = region.edge.alpha
                data = png.write_label_map(alpha)
            name = names.get(region.label, str(region.label))
            files.append(self._save(f"regions/{stem}/{k:03d}-{name}.png", data))
        return files

    def _save(self, name: str, data: bytes) -> str:
        folder, _, base = name.rpartition("/")
        if folder not in self._folders:
            self._folders[folder] = self.root / folder
            self._folders[folder].mkdir(parents=True, exist_ok=True)
        (self._folders[folder] / base).write_bytes(data)
        return name


def _one_a_class(regions: list[Region]) -> list[Region]:
    """Return one region a class, where the last of its class lay; what only one of several had is left out."""
    often = Counter(region.label for region in regions)
    last = {region.label: region for region in regions}
    order = dict.fromkeys(region.label for region in reversed(regions))
    merged = [last[label] if often[label] == 1 else Region(label) for label in reversed(order)]
    return [replace(region, edge=None) for region in merged]


write = gated(opening)
