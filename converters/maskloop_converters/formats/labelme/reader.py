"""Reading labelme's JSON."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...codecs.boxed import Boxes
from ...errors import FormatError
from ...masks import RunList
from ...options import ImagesFrom, LabelsFrom, PartName
from ...report import ErrorPolicy, OnError, Tally
from ...samples import Dataset, ImageRef, Label, LabelSet, Region, Sample
from ..image_files import ImageFinder, dataset_name, read_address
from ..images import ImageInfo, probe
from ..json_files import LARGEST, ends_of, json_object
from ..kept_regions import KEY, restored
from ..label_files import find_label_file, read_labels, with_roles
from ..labels import label_names
from ..parts import SKIPPED, assemble
from ..records import attributes, check_labels, image_size, whole_number
from .shapes import AREAS, add_mask

LABELS, OWN = "labels.json", "labelme"
SHAPES_SKIPPED = "shapes skipped"
_NO_AREAS = "shapes that are no areas"
_NAMELESS = "datasets without a label list, whose labels are the names of their shapes in alphabetical order"


def is_labelme(head: str) -> bool:
    """Return whether the beginning of a JSON file is that of labelme's."""
    return '"shapes"' in head and head.lstrip("\ufeff \t\r\n").startswith("{")


def detect(path: Path) -> str | None:
    """Return None if ``path`` is labelme's JSON or a folder of it, else the reason why not."""
    path = Path(path)
    try:
        _files(path)
    except FormatError as error:
        return str(error)
    return None


def splits(path: Path) -> tuple[str, ...]:
    """Return the name of the part that a dataset is, as a tuple; empty where it has none."""
    split = _files(Path(path)).own.get("split")
    return (split,) if isinstance(split, str) else ()


@dataclass(frozen=True, slots=True)
class _Files:
    """The files of a dataset: in its own order, and what we noted beside them."""

    root: Path
    files: list[Path]
    own: dict[str, Any]
    labels: Path | None


def _files(path: Path) -> _Files:
    if path.is_file():
        if path.suffix.lower() != ".json" or not _looks_like_it(path):
            raise FormatError(f"{path} is no JSON of labelme: it has no shapes")
        return _Files(path.parent, [path], {}, find_label_file(path.parent))
    if not path.is_dir():
        raise FormatError(f"there is no {path}")
    own = _own(path / LABELS)
    there = sorted(file for file in path.rglob("*.json") if file.is_file() and file != path / LABELS)
    top = next((file for file in there if file.parent == path and _looks_like_it(file)), None)
    if top is None and not own:
        raise FormatError(f"{path} holds no JSON of labelme, which has shapes")
    names = own.get("samples", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise FormatError(f"{path / LABELS}: samples must be a list of files' names")
    known = dict.fromkeys(path / read_address(name).name for name in names if read_address(name).name)
    files = [*known, *(file for file in there if file not in known and _looks_like_it(file))]
    return _Files(path, files, own, find_label_file(path))


def listed_files(path: Path) -> list[Path] | None:
    """Return the samples' files that our list names, there or not; None where a folder has no list of ours."""
    own = _own(path / LABELS)
    names = own.get("samples")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    return [path / name for name in names]


def _own(path: Path) -> dict[str, Any]:
    """Return what we noted in our list of labels; empty where it is not ours."""
    if not path.is_file() or path.stat().st_size > LARGEST:
        return {}
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    own = document.get(OWN) if isinstance(document, dict) else None
    return own if isinstance(own, dict) else {}


def _looks_like_it(path: Path) -> bool:
    return is_labelme(ends_of(path))  # older versions have the image before the shapes


def read(
    path: Path,
    *,
    labels: LabelsFrom = None,
    split: PartName = None,
    on_error: OnError = "fail",
    images_from: ImagesFrom = None,
) -> Dataset:
    """Return a dataset of labelme's JSON.

    Args:
        path: a JSON file, or a folder of them, sub-folders included.
        labels: the classes, or a label list file; by default the list beside, else the names of the shapes.
        split: read this part only.
        on_error: 'skip' leaves out shapes and samples that cannot be read and counts them.
        images_from: folder that has the images; by default they are beside their files.

    Raises:
        FormatError: no such dataset. While iterating: a shape or file with a fault, named.
    """
    path = Path(path)
    found = _files(path)
    notes = Tally()
    if isinstance(labels, Path):
        labels = read_labels(labels)
    elif labels is None and found.labels is not None:
        labels = read_labels(found.labels)
    elif labels is None:
        labels = _named_by_shapes(found.files)
        notes.add(_NAMELESS, f"{found.root}: {len(labels.labels)} labels")
    own = found.own.get("split")
    extras = attributes(found.own.get("attributes"), str(found.root / LABELS))
    part = _Part(own if isinstance(own, str) else None, labels, found.root, found.files, extras, images_from, notes)
    return assemble(path, [part], split, on_error, "labelme")


def _named_by_shapes(files: list[Path]) -> LabelSet:
    names = set()
    for file in files:
        try:
            shapes = json_object(file).get("shapes")
        except FormatError:
            continue  # is told when it is read
        for shape in shapes if isinstance(shapes, list) else ():
            if isinstance(shape, dict) and isinstance(shape.get("label"), str):
                names.add(shape["label"])
    ordered = sorted(names)
    return with_roles([Label(k, name) for k, name in enumerate(ordered)]) if ordered else LabelSet(())


@dataclass(frozen=True, slots=True)
class _Part:
    """The files of a dataset."""

    split: str | None
    labels: LabelSet
    root: Path
    files: list[Path]
    attributes: dict[str, Any]
    images_from: Path | None
    notes: Tally = field(default_factory=Tally)

    @property
    def count(self) -> int:
        return len(self.files)

    def samples(self, policy: ErrorPolicy) -> Iterator[Sample]:
        policy.notes.merge(self.notes)
        elsewhere = None if self.images_from is None else ImageFinder([self.images_from])
        for file in self.files:
            with policy.record(SKIPPED):
                yield self._sample(file, elsewhere, policy)

    def _sample(self, file: Path, elsewhere: ImageFinder | None, policy: ErrorPolicy) -> Sample:
        document, where = json_object(file), str(file)
        shapes = document.get("shapes")
        if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
            raise FormatError(f"{where}: shapes must be a list of objects, received {shapes!r:.80}")
        own = attributes(document.get(KEY), f"{where}, {KEY}")
        ref, info = self._image(file, document, own, elsewhere, where)
        size = self._size(document, info, where)
        if "regions" in own:
            masks = Boxes(*size)
            for k, shape in enumerate(shapes):
                add_mask(masks, shape, *size, f"{where}, shape {k}")
            regions, runs = restored(own["regions"], masks.masks(), size, where)
        else:
            regions, runs = self._shapes(shapes, size, where, policy)
        sample_id = own.get("id", file.relative_to(self.root).with_suffix("").as_posix())
        told = attributes(own.get("attributes"), where)
        if isinstance(flags := document.get("flags"), dict) and flags and KEY not in document:
            told = {"flags": flags}
        sample = Sample(str(sample_id), ref, runs, tuple(regions), told)
        check_labels(sample, self.labels.known_ids, where)
        return sample

    def _image(
        self, file: Path, document: dict[str, Any], own: dict[str, Any], elsewhere: ImageFinder | None, where: str
    ) -> tuple[ImageRef, ImageInfo | None]:
        listed = document.get("imagePath")
        if not isinstance(listed, str) or not (address := read_address(listed)).name:
            raise FormatError(f"{where}: imagePath must be a file's name, received {listed!r:.80}")
        name, uri, source = (own.get(key) for key in ("name", "uri", "source"))
        finder = elsewhere or ImageFinder(dict.fromkeys([file.parent, self.root]))
        path = finder.find(address, where, source=source if isinstance(source, str) else None)
        below = file.parent.relative_to(self.root)
        if isinstance(name, str) and dataset_name(name):
            name = dataset_name(name)
        else:
            name = address.name if "/" in address.name else (below / address.name).as_posix()
        uri = uri if isinstance(uri, str) else None
        data = document.get("imageData")
        if path is not None:
            info = probe(path, where)
            return ImageRef(name, path, uri, info.orientation), info
        if isinstance(data, str) and data:
            try:
                image = base64.b64decode(data, validate=True)
            except (binascii.Error, ValueError) as error:
                raise FormatError(f"{where}: imageData is no base64: {error}") from error
            info = probe(image, f"{where}: imageData")
            return ImageRef(name, image, uri, info.orientation), info
        turn = whole_number(own.get("exif_orientation", 1), f"{where}: exif_orientation")
        return ImageRef(name, None, uri, turn), None

    def _size(self, document: dict[str, Any], info: ImageInfo | None, where: str) -> tuple[int, int]:
        """Return the size that the file says, which is its image's; older files say none."""
        height, width = document.get("imageHeight"), document.get("imageWidth")
        if height is None and width is None and info is not None:
            return info.height, info.width
        size = image_size(height, width, where)
        if info is not None and size != (info.height, info.width):
            raise FormatError(
                f"{where}: imageHeight and imageWidth are {size[0]} and {size[1]}, the image upright has {info.height} and "
                f"{info.width}"
            )
        return size

    def _shapes(
        self, shapes: list[dict[str, Any]], size: tuple[int, int], where: str, policy: ErrorPolicy
    ) -> tuple[list[Region], RunList]:
        """Return the shapes that are areas; those of one label and group are one region, where the first of them stands."""
        ids = {name: label_id for label_id, name in label_names(self.labels).items()}
        regions: list[Region] = []
        masks = Boxes(*size)
        groups: list[int] = []
        of_group: dict[tuple[int, int], int] = {}
        for number, shape in enumerate(shapes, 1):
            kind, place = shape.get("shape_type"), f"{where}, shape {number}"
            if isinstance(kind, str) and kind not in AREAS:
                policy.leave_out(_NO_AREAS, f"{place}: {kind[:20]}")
                continue
            with policy.record(SHAPES_SKIPPED):
                if kind is not None and not isinstance(kind, str):
                    raise FormatError(f"{place}: shape_type must be a text, received {kind!r:.80}")
                label = shape.get("label")
                if not isinstance(label, str) or label not in ids:
                    raise FormatError(f"{place}: no label is named {label!r:.80}; there are: {', '.join(ids)}")
                add_mask(masks, shape, *size, place)
                group = shape.get("group_id")
                key = None
                if isinstance(group, int) and not isinstance(group, bool) and 0 <= group < 1 << 32:
                    key = ids[label], group
                at = len(regions) if key is None else of_group.setdefault(key, len(regions))
                if at == len(regions):
                    told = {name: shape[name] for name in ("description", "flags") if shape.get(name)}
                    instance = number if key is None else key[1]
                    regions.append(Region(ids[label], instance=instance, attributes=told))
                groups.append(at)
        return regions, masks.masks(groups, len(regions))
