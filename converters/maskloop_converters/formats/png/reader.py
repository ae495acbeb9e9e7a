"""Reading images with PNG masks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import FormatError
from ...masks import RunList
from ...options import ImagesFrom, LabelsFrom, Option, PartName, Soft
from ...report import ErrorPolicy, OnError, Tally
from ...samples import Dataset, ImageRef, LabelSet, Region, Sample, SoftEdge
from ..file_names import relative_path
from ..image_files import ImageFinder, dataset_name, read_address
from ..images import probe
from ..label_files import find_label_file, read_labels
from ..parts import SKIPPED, Part, assemble, split_names
from ..records import attributes, check_labels, image_size, region_from_json, whole_number
from . import layers
from .entries import INDEX, PARTS, Entry, Layout, with_images_from
from .label_maps import Decoder, Meaning, Values
from .layouts import find_layout, why_not
from .mask_files import read_pixels
from .naming import meaning


def detect(path: Path) -> str | None:
    """Return None if ``path`` is a folder of images with PNG masks, else the reason why not."""
    path = Path(path)
    if not path.is_dir():
        return f"{path} is not a folder"
    if any((root / INDEX).is_file() for root in _roots(path)):
        return None
    return None if any(why_not(root) is None for root in _roots(path)) else why_not(path)


def splits(path: Path) -> tuple[str, ...]:
    """Return the names of the parts that a dataset has ('train', 'val'); empty where it has no parts."""
    path = Path(path)
    return split_names(_parts(path, None, soft=False))


def read(
    path: Path,
    *,
    labels: LabelsFrom = None,
    split: PartName = None,
    on_error: OnError = "fail",
    images_from: ImagesFrom = None,
    soft: Soft = False,
    values: Annotated[
        Values, Option("What palette masks are read by, where their indices and their colours name different labels.")
    ] = "auto",
) -> Dataset:
    """Return a dataset of images with PNG masks.

    Label maps become one region a class that is there, or one an object where VOC's ``SegmentationObject`` or Cityscapes'
    ``*_instanceIds.png`` or ``*_polygons.json`` tells objects apart; pixels of :attr:`LabelSet.fill_id` belong to no region.

    Args:
        path: the dataset's folder, see the module for the layouts.
        labels: the classes, or a label list file; by default the list in the folder, else those of the dataset that
            the layout comes from if the masks look like it, else class 0..n.
        split: read this part only; by default all of them, one after another.
        on_error: 'skip' leaves out samples that cannot be read and counts them in :attr:`Dataset.skipped`.
        images_from: the folder that has the images that are not beside their masks.
        soft: keep the soft edges of binary masks (:class:`SoftEdge`).
        values: palettes are read by 'index' or by 'color'; 'auto' is by index, by colour where the indices are no labels,
            and an error where both are labels and differ.

    Raises:
        FormatError: no such dataset or part. While iterating: a file that is missing or unreadable, a mask whose size
            is not its image's, an id or colour that is no label's, a sample's id that stands twice.
    """
    path = Path(path)
    return assemble(path, _parts(path, labels, soft, values, images_from), split, on_error, "png")


def _roots(path: Path) -> list[Path]:
    """Return the folders that may hold a layout of their own: the dataset's, else one a part.

    Sub-folders of any name are parts if they all are datasets.
    """
    usual = [path / part for part in PARTS if (path / part).is_dir()]
    folders = sorted(folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    if not usual and folders and all(why_not(folder) is None for folder in folders):
        usual = folders
    return [path, *usual]


def _parts(
    path: Path, labels: LabelSet | Path | None, soft: bool, values: Values = "auto", images_from: Path | None = None
) -> list[Part]:
    if not path.is_dir():
        raise FormatError(f"{path} is not a folder; a png dataset is a folder with images and masks")
    if (path / INDEX).is_file():
        return [_indexed(path, labels, None, soft, values, images_from)]
    indexed = any((root / INDEX).is_file() for root in _roots(path)[1:])
    if why_not(path) is None and not indexed:
        return _plain(path, labels, None, values, images_from)
    found: list[Part] = []
    left_out = []
    for root in _roots(path)[1:]:
        if (root / INDEX).is_file():
            found.append(_indexed(root, labels, root.name, soft, values, images_from))
        elif why_not(root) is None:
            found.extend(_plain(root, labels, root.name, values, images_from))
        else:
            left_out.append(("parts without masks", root.name))
    if not found:
        raise FormatError(why_not(path) or str(path))
    if left_out and isinstance(found[0], _Plain | _Indexed):
        found[0].left_out.extend(left_out)
    return found


@dataclass(frozen=True, slots=True)
class _Plain:
    """Images and label maps without an index."""

    split: str | None
    meaning: Meaning
    layout: Layout
    entries: list[Entry]
    left_out: list[tuple[str, str]] = field(default_factory=list)
    notes: Tally = field(default_factory=Tally)

    @property
    def labels(self) -> LabelSet:
        return self.meaning.labels

    @property
    def count(self) -> int:
        return len(self.entries)

    @property
    def attributes(self) -> dict[str, Any]:
        return {}

    def samples(self, policy: ErrorPolicy) -> Iterator[Sample]:
        for kind, example in self.left_out:
            policy.leave_out(kind, example)
        policy.notes.merge(self.notes)
        decode = Decoder(self.meaning, policy.notes)
        for entry in self.entries:
            with policy.record(SKIPPED):
                yield _plain_sample(entry, self.layout, decode)


def _plain(
    root: Path, labels: LabelSet | Path | None, split: str | None, values: Values, images_from: Path | None
) -> list[Part]:
    layout = find_layout(root)
    if images_from is not None:
        layout = replace(layout, entries=with_images_from(layout.entries, images_from))
    notes = Tally()
    for kind, example in layout.notes:
        notes.add(kind, example)
    meant = meaning(root, layout, labels, (root.parent,) if split else (), values, notes)
    if split is not None:
        return [_Plain(split, meant, layout, layout.entries, layout.left_out, notes)]
    names: list[str | None] = [*layout.splits]
    if any(entry.split is None for entry in layout.entries) or not names:
        names.append(None)
    parts = [_Plain(name, meant, layout, [e for e in layout.entries if e.split == name]) for name in names]
    parts[0].left_out.extend(layout.left_out)
    parts[0].notes.merge(notes)
    return [*parts]


def _plain_sample(entry: Entry, layout: Layout, decode: Decoder) -> Sample:
    where = f"sample {entry.id}"
    if entry.reason:
        raise FormatError(f"{where}: {entry.reason}")
    if entry.image is None and layout.images:
        raise FormatError(
            f"{where}: there is no image {entry.name} for the mask {entry.mask or entry.combined}; say where the images are "
            "(--images-from DIR)"
        )
    if (mask := entry.mask or entry.combined) is None:
        raise FormatError(f"{where}: there is no mask for the image {entry.image}")
    size, turned = None, 1
    if entry.image is not None:
        info = probe(entry.image, where)
        size, turned = (info.height, info.width), info.orientation
    if entry.mask is None:
        regions, masks = decode.combined(mask, size, where, layout.divisor)
    elif entry.layers:
        regions, masks = layers.regions(entry.layers, decode.labels, size, where)
    elif layout.packed is not None:
        regions, masks = decode.packed(entry.mask, layout.packed, size, where)
    elif entry.instances is not None:
        regions, masks = decode.objects(entry.mask, entry.instances, size, where, layout.divisor, layout.first)
    else:
        ids, masks = decode.regions(entry.mask, size, where)
        regions = [Region(label) for label in ids]
    return Sample(entry.id, ImageRef(entry.name, entry.image, exif_orientation=turned), masks, tuple(regions))


@dataclass(frozen=True, slots=True)
class _Indexed:
    """A folder with our index."""

    root: Path
    split: str | None
    labels: LabelSet
    count: int
    attributes: dict[str, Any]
    soft: bool
    values: Values
    finder: ImageFinder
    left_out: list[tuple[str, str]] = field(default_factory=list)

    def samples(self, policy: ErrorPolicy) -> Iterator[Sample]:
        for kind, example in self.left_out:
            policy.leave_out(kind, example)
        decode = Decoder(Meaning(self.labels, values=self.values), policy.notes)
        path = self.root / INDEX
        known = self.labels.known_ids
        with path.open("rb") as lines:
            next(lines)
            for number, line in enumerate(lines, 2):
                with policy.record(SKIPPED):
                    where = f"{path}, line {number}"
                    sample = _indexed_sample(self.root, self.finder, _record(line, where), decode, self.soft, where)
                    check_labels(sample, known, where)
                    yield sample


def _indexed(
    root: Path,
    given: LabelSet | Path | None,
    split: str | None,
    soft: bool,
    values: Values,
    images_from: Path | None,
) -> _Indexed:
    path = root / INDEX
    with path.open("rb") as lines:
        header = _record(lines.readline(), f"{path}, line 1")
        count = sum(1 for _ in lines)
    if header.get("maskloop") != 1:
        raise FormatError(f'{path}, line 1: expected a header with "maskloop": 1, received {header.get("maskloop")!r}')
    file = find_label_file(root) if given is None else given
    if file is None:
        raise FormatError(f"{root} has no list of labels; labels.json belongs beside {INDEX}")
    labels = read_labels(file) if isinstance(file, Path) else file
    finder = ImageFinder([root] if images_from is None else [images_from])
    own = header.get("split")
    split = own if isinstance(own, str) else split
    return _Indexed(
        root, split, labels, count, attributes(header.get("attributes"), f"{path}, line 1"), soft, values, finder
    )


def _record(line: bytes, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where}: not JSON, perhaps truncated: {error}") from error
    if not isinstance(record, dict):
        raise FormatError(f"{where}: expected an object, received {record!r:.80}")
    return record


def _indexed_sample(
    root: Path, finder: ImageFinder, record: dict[str, Any], decode: Decoder, soft: bool, where: str
) -> Sample:
    sample_id, image, size = record.get("id"), record.get("image"), record.get("size")
    if not isinstance(sample_id, str) or not isinstance(image, dict) or not isinstance(record.get("regions"), list):
        raise FormatError(f"{where}: a sample needs a text id, an image and a list of regions")
    if not isinstance(size, list) or len(size) != 2:
        raise FormatError(f"{where}: size must be [height, width], received {size!r:.80}")
    where = f"{where}, sample {sample_id}"
    height, width = image_size(size[0], size[1], where)
    ref = _image_ref(root, finder, image, (height, width), where)
    regions = [region_from_json(r, f"{where}, region {k}") for k, r in enumerate(record["regions"])]
    files = [r.get("mask") for r in record["regions"]]
    if any(files) or "mask" not in record:
        binary = [_binary(root, file, (height, width), f"{where}, region {k}") for k, file in enumerate(files)]
        masks = RunList.from_masks((alpha > 127 for alpha in binary), height=height, width=width)
        if soft:
            regions = [_with_edge(region, alpha) for region, alpha in zip(regions, binary, strict=True)]
    else:
        mask = root / relative_path(str(record["mask"]), where)
        regions, masks = decode.listed(regions, mask, (height, width), where)
    extra = attributes(record.get("attributes"), where)
    return Sample(sample_id, ref, masks, tuple(regions), extra)


def _image_ref(root: Path, finder: ImageFinder, record: dict[str, Any], size: tuple[int, int], where: str) -> ImageRef:
    """Return a record's image: the file beside the masks, else what lies in the folders that may be looked in."""
    name, uri, file, source = (record.get(key) for key in ("name", "uri", "file", "source"))
    if not isinstance(name, str) or not all(value is None or isinstance(value, str) for value in (uri, file, source)):
        raise FormatError(f"{where}: the image needs a text as its name, file and source, received {record!r:.80}")
    path: Path | None
    if file:
        path = root / relative_path(file, where)
        if not path.is_file():
            path = finder.find(read_address(file), where) or path
    else:
        # Where the images are not said to be elsewhere, what is called like one here is a mask.
        path = finder.find(read_address("" if root in finder.folders else name), where, source=source)
    name = dataset_name(name)
    if path is None:
        return ImageRef(name, None, uri, whole_number(record.get("exif_orientation", 1), f"{where}: exif_orientation"))
    info = probe(path, where)
    if (info.height, info.width) != size:
        raise FormatError(
            f"{where}: the image {path} is {info.width} x {info.height} pixels, its masks are {size[1]} x {size[0]}"
        )
    return ImageRef(name, path, uri, info.orientation)


def _binary(root: Path, file: Any, size: tuple[int, int], where: str) -> NDArray[np.uint8]:
    """Return the opacity of a region's own PNG: uint8 (H, W)."""
    if not isinstance(file, str):
        raise FormatError(f"{where}: expected the path of its mask, received {file!r:.80}")
    path = root / relative_path(file, where)
    alpha = read_pixels(path, where, size).indices()
    if alpha.dtype != np.uint8:
        raise FormatError(f"{where}: {path} has 16 bits, expected an 8-bit mask of 0 and 255")
    return alpha


def _with_edge(region: Region, alpha: NDArray[np.uint8]) -> Region:
    flat = alpha.ravel()
    positions = np.flatnonzero((flat > 0) & (flat < 255))
    if not positions.size:
        return region
    edge = SoftEdge(positions, flat[positions])
    return Region(
        region.label,
        region.id,
        region.score,
        region.crowd,
        region.instance,
        region.origin,
        edge,
        region.attributes,
    )
