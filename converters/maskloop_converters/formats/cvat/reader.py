"""Reading CVAT's XML for images."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from PIL import ImageColor

from ...errors import FormatError, LabelError
from ...masks import RunList
from ...options import ImagesFrom, LabelsFrom, PartName
from ...report import ErrorPolicy, OnError, Tally
from ...samples import Color, Dataset, ImageRef, Label, LabelSet, Origin, Region, Sample
from ..image_files import ImageFinder, dataset_name, read_address
from ..images import probe
from ..kept_regions import KEY, restored
from ..label_files import read_labels, with_roles
from ..labels import labels_from_json
from ..parts import SKIPPED, assemble
from ..records import attributes, check_labels, image_size, whole_number
from ..xml_stream import elements
from .shapes import AREAS, OTHERS, Stored, decoded, mask_of

ROOT, FILE = "annotations", "annotations.xml"
SHAPES_SKIPPED = "shapes skipped"
_NO_AREAS = "shapes that are no areas"
_TRACKS = "tracks, which belong to videos"
_ORIGINS: dict[str, Origin] = {"manual": "manual", "auto": "prediction", "semi-auto": "prediction-changed"}
_HEAD = frozenset({"meta"})
_ALL = frozenset({"meta", "image", "track"})


def detect(path: Path) -> str | None:
    """Return None if ``path`` is CVAT's XML for images or a folder with it, else the reason why not."""
    path = Path(path)
    try:
        for file in _files(path):
            with closing(elements(file, _HEAD)) as found:
                root = next(found)
                if root.tag != ROOT:
                    return f"{file} is no XML of CVAT: its root is <{root.tag[:40]}>, expected <{ROOT}>"
    except FormatError as error:
        return str(error)
    return None


def splits(path: Path) -> tuple[str, ...]:
    """Return the names of the parts that a dataset has, CVAT's subsets; empty where it has no parts."""
    found = _surveyed(Path(path))
    return tuple(dict.fromkeys(part for _, part, _ in found if part is not None))


def read(
    path: Path,
    *,
    labels: LabelsFrom = None,
    split: PartName = None,
    on_error: OnError = "fail",
    images_from: ImagesFrom = None,
) -> Dataset:
    """Return a dataset of CVAT's XML for images; each shape is an object.

    Args:
        path: the XML, or a folder with ``annotations.xml`` or one XML a part.
        labels: the classes, or a label list file; by default those of the file.
        split: read this part (subset) only.
        on_error: 'skip' leaves out shapes and samples that cannot be read and counts them.
        images_from: folder that has the images; by default ``images/`` beside the XML, or its own folder.

    Raises:
        FormatError: no XML of CVAT. While iterating: a shape or image with a fault, named by its image and number.
    """
    path = Path(path)
    given = read_labels(labels) if isinstance(labels, Path) else labels
    heads = {file: _head(file, given) for file in _files(path)}
    parts = []
    for file, part, count in _surveyed(path):
        places = [file.parent / "images", file.parent] if images_from is None else [images_from]
        if part is not None and images_from is None:
            places[:0] = [file.parent / "images" / part, file.parent / part]
        parts.append(_Part(file, part, heads[file], count, ImageFinder(p for p in places if p.is_dir())))
    return assemble(path, parts, split, on_error, "cvat")


def _files(path: Path) -> list[Path]:
    """Return the XML files of a dataset; FormatError if there is none."""
    if path.is_file():
        if path.suffix.lower() != ".xml":
            raise FormatError(f"{path} is not called .xml")
        return [path]
    if not path.is_dir():
        raise FormatError(f"there is no {path}")
    if (path / FILE).is_file():
        return [path / FILE]
    files = sorted(file for file in path.glob("*.xml") if file.is_file())
    if not files:
        raise FormatError(f"{path} holds neither {FILE} nor another XML")
    return files


def _surveyed(path: Path) -> list[tuple[Path, str | None, int]]:
    """Return each file's parts and how many images each has, from one pass over the file."""
    found: list[tuple[Path, str | None, int]] = []
    files = _files(path)
    for file in files:
        counts: Counter[str | None] = Counter()
        named = file.stem if len(files) > 1 else None
        for element in elements(file, frozenset({"image"})):
            if element.tag == "image":
                counts[element.get("subset") or named] += 1
        found += [(file, part, count) for part, count in counts.items()] or [(file, named, 0)]
    return found


@dataclass(frozen=True, slots=True)
class _Head:
    """What a file says before its images."""

    labels: LabelSet
    split: str | None
    attributes: dict[str, Any]


def _head(path: Path, given: LabelSet | None) -> _Head:
    with closing(elements(path, _HEAD)) as found:
        root = next(found)
        if root.tag != ROOT:
            raise FormatError(f"{path} is no XML of CVAT: its root is <{root.tag[:40]}>, expected <{ROOT}>")
        meta = next(found, None)
    if meta is None:
        raise FormatError(f"{path} has no <meta>, which names the labels")
    own = _extras(meta, f"{path}, meta")
    try:
        if given is None:
            given = labels_from_json(own) if "labels" in own else _labels(meta)
    except (LabelError, ValueError) as error:
        raise FormatError(f"{path}: labels: {error}") from error
    split = own.get("split")
    return _Head(given, split if isinstance(split, str) else None, attributes(own.get("attributes"), str(path)))


def _labels(meta: Element) -> LabelSet:
    """Return the labels of a task, project or job; parts of skeletons are none."""
    found: list[Label] = []
    for label in meta.iter("label"):
        name = label.findtext("name")
        if name is None:
            raise LabelError("a label has no name")
        if label.find("parent") is None and name not in {other.name for other in found}:
            found.append(Label(len(found), name, _color(label.findtext("color"))))
    if not found:
        raise LabelError("there are none; name them with --labels")
    return with_roles(found)


def _color(text: str | None) -> Color | None:
    try:
        red, green, blue = ImageColor.getrgb(text or "")[:3]
    except ValueError:
        return None
    return red, green, blue


def _extras(element: Element, where: str) -> dict[str, Any]:
    """Return what stands under our name."""
    text = element.findtext(KEY)
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where}: <{KEY}> is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise FormatError(f"{where}: <{KEY}> must be an object, received {found!r:.80}")
    return found


@dataclass(frozen=True, slots=True)
class _Part:
    """The images of one subset of a file."""

    path: Path
    subset: str | None
    head: _Head
    count: int
    finder: ImageFinder
    notes: Tally = field(default_factory=Tally)

    @property
    def split(self) -> str | None:
        return self.subset or self.head.split

    @property
    def labels(self) -> LabelSet:
        return self.head.labels

    @property
    def attributes(self) -> dict[str, Any]:
        return self.head.attributes

    def samples(self, policy: ErrorPolicy) -> Iterator[Sample]:
        number = 0
        for element in elements(self.path, _ALL):
            if element.tag == "track":
                policy.leave_out(_TRACKS, f"{self.path}: track {element.get('id')}")
            if element.tag != "image":
                continue
            number += 1
            if (element.get("subset") or self.subset) == self.subset:
                with policy.record(SKIPPED):
                    yield self._sample(element, number, policy)

    def _sample(self, image: Element, number: int, policy: ErrorPolicy) -> Sample:
        listed = image.get("name")
        where = f"{self.path}, image {number}"
        if not listed:
            raise FormatError(f"{where}: it has no name")
        where = f"{where} ({listed[:80]})"
        size = self._size(image, where)
        extras = _extras(image, where)
        ref = self._image(listed, extras, size, where)
        known = extras.get("regions")
        if known is not None:
            regions, masks = self._own(image, known, size, where)
        else:
            regions, masks = self._shapes(image, size, where, policy)
        sample_id = extras.get("id", ref.name.rpartition(".")[0] or ref.name)
        own = attributes(extras.get("attributes"), where)
        sample = Sample(str(sample_id), ref, masks, tuple(regions), own)
        check_labels(sample, self.labels.known_ids, where)
        return sample

    def _size(self, image: Element, where: str) -> tuple[int, int]:
        sides = []
        for key in ("height", "width"):
            text = image.get(key, "")
            if not text.isascii() or not text.isdecimal() or len(text) > 9:
                raise FormatError(f"{where}: {key} must be a whole number, received {text!r:.80}")
            sides.append(int(text))
        return image_size(sides[0], sides[1], where)

    def _image(self, listed: str, extras: dict[str, Any], size: tuple[int, int], where: str) -> ImageRef:
        name, uri, source = (extras.get(key) for key in ("name", "uri", "source"))
        address = read_address(listed)
        path = self.finder.find(address, where, source=source if isinstance(source, str) else None)
        name = dataset_name(name) if isinstance(name, str) else address.name
        if not name:
            raise FormatError(f"{where}: the image {listed!r:.80} has no name")
        uri = uri if isinstance(uri, str) else None
        if path is None:
            turn = whole_number(extras.get("exif_orientation", 1), f"{where}: exif_orientation")
            return ImageRef(name, None, uri, turn)
        info = probe(path, where)
        if (info.height, info.width) != size:
            raise FormatError(
                f"{where}: height and width are {size[0]} and {size[1]}, those of {path} upright are {info.height} and "
                f"{info.width}"
            )
        return ImageRef(name, path, uri, info.orientation)

    def _own(self, image: Element, known: Any, size: tuple[int, int], where: str) -> tuple[list[Region], RunList]:
        """Return the regions that we wrote, those among them that CVAT has no place for."""
        shapes = [Stored.of(shape, *size, f"{where}, mask {k}") for k, shape in enumerate(image.findall("mask"))]
        return restored(known, decoded(shapes, *size), size, where)

    def _shapes(
        self, image: Element, size: tuple[int, int], where: str, policy: ErrorPolicy
    ) -> tuple[list[Region], RunList]:
        """Return the shapes that are areas, in drawing order."""
        ids = {label.name: label.id for label in self.labels.labels}
        found: list[tuple[int, Region, Stored | bytes | RunList]] = []
        for number, shape in enumerate(image, 1):
            place = f"{where}, {shape.tag[:20]} {number}"
            if shape.tag in OTHERS:
                policy.leave_out(_NO_AREAS, place)
            if shape.tag not in AREAS:
                continue
            with policy.record(SHAPES_SKIPPED):
                name = shape.get("label", "")
                if name not in ids:
                    raise FormatError(f"{place}: no label is named {name!r:.80}; there are: {', '.join(ids)}")
                depth = shape.get("z_order", "0")
                if not depth.lstrip("-").isdecimal() or len(depth) > 12:
                    raise FormatError(f"{place}: z_order must be a whole number, received {depth!r:.80}")
                told: dict[str, Any] = {a.get("name", ""): a.text or "" for a in shape.findall("attribute")}
                if shape.get("occluded") == "1":
                    told["occluded"] = True
                if (group := shape.get("group_id", "0")) != "0":
                    told["group_id"] = group
                region = Region(
                    ids[name], instance=number, origin=_ORIGINS.get(shape.get("source", "")), attributes=told
                )
                drawn = Stored.of if shape.tag == "mask" else mask_of
                found.append((int(depth), region, drawn(shape, *size, place)))
        found.sort(key=lambda entry: entry[0])
        return [region for _, region, _ in found], decoded([shape for _, _, shape in found], *size)
