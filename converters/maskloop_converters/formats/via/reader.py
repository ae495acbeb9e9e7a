"""Reading VIA's JSON."""

from __future__ import annotations

import os.path
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from ...errors import FormatError
from ...masks import RunList
from ...options import ImagesFrom, LabelsFrom, Option, PartName
from ...report import ErrorPolicy, OnError, Tally
from ...samples import Dataset, ImageRef, LabelSet, Region, Sample
from ..image_files import ImageFinder, read_address
from ..images import ImageInfo, probe
from ..json_files import ends_of, json_object
from ..label_files import find_label_file, read_labels
from ..labels import label_names
from ..parts import SKIPPED, assemble
from .classes import chosen_attribute, class_of, labels_of
from .shapes import AREAS, mask_of

REGIONS_SKIPPED = "regions skipped"
_NO_AREAS = "regions that are no areas"
_METADATA, _SETTINGS, _ATTRIBUTES, _ORDER = (
    "_via_img_metadata",
    "_via_settings",
    "_via_attributes",
    "_via_image_id_list",
)


def is_via(text: str) -> bool:
    """Return whether the beginning of a JSON file, or its ends, is that of VIA's."""
    return f'"{_METADATA}"' in text or all(f'"{key}"' in text for key in ("filename", "regions", "file_attributes"))


def detect(path: Path) -> str | None:
    """Return None if ``path`` is VIA's JSON or a folder with one, else the reason why not."""
    try:
        _file(Path(path))
    except FormatError as error:
        return str(error)
    return None


def splits(path: Path) -> tuple[str, ...]:
    """Return the names of the parts that a dataset has: none."""
    _file(Path(path))
    return ()


def read(
    path: Path,
    *,
    labels: LabelsFrom = None,
    split: PartName = None,
    on_error: OnError = "fail",
    images_from: ImagesFrom = None,
    attribute: Annotated[
        str | None, Option("The attribute of regions that is their class, where there are several.", metavar="NAME")
    ] = None,
) -> Dataset:
    """Return a dataset of VIA's JSON, a sample an image.

    Args:
        path: a project or an export of annotations, or the folder that has one.
        labels: the classes, or a label list file; by default the list beside, else what the project offers and the
            regions have.
        split: VIA has no parts; any name is an error.
        on_error: 'skip' leaves out regions and samples that cannot be read and counts them.
        images_from: folder that has the images; by default they are beside the file, in images/, or where the project
            says, if that is inside the dataset.
        attribute: of the regions that is their class; the module says which is by default.

    Raises:
        FormatError: no such dataset; several attributes that may be the class. While iterating: a region or image with a
            fault, named.
    """
    file = _file(Path(path))
    document = _Document.of(file)
    notes = Tally()
    regions = [_attributes(region) for record in document.records.values() for region in _regions(record)]
    chosen = chosen_attribute(attribute, document.declared, regions, str(file), notes)
    beside = find_label_file(file.parent) if labels is None else None
    if isinstance(labels, Path):
        labels = read_labels(labels)
    elif labels is None and beside is not None and beside != file:
        labels = read_labels(beside)
    elif labels is None:
        labels = labels_of(chosen, document.declared, regions)
    if chosen is None and len(labels.classes) != 1:
        raise FormatError(
            f"{file}: the regions have no attribute that says their class, and the list has {len(labels.classes)} labels"
        )
    part = _Part(labels, file, chosen, images_from, len(document.records), notes)
    return assemble(Path(path), [part], split, on_error, "via")


def _file(path: Path) -> Path:
    """Return the file of a dataset; FormatError says why there is none."""
    if path.is_file():
        if path.suffix.lower() != ".json" or (reason := _why_not(path)) is not None:
            raise FormatError(f"{path} is no JSON of VIA: {reason if path.suffix.lower() == '.json' else 'no .json'}")
        return path
    if not path.is_dir():
        raise FormatError(f"there is no {path}")
    there = sorted(file for place in ("*.json", "annotations/*.json") for file in path.glob(place) if file.is_file())
    fitting = [file for file in there if _why_not(file) is None]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(str(file.relative_to(path)) for file in fitting)
        raise FormatError(
            f"{path} holds several files of VIA: {names}; read one of them (a project has all that it exports)"
        )
    raise FormatError(f"{path} holds no JSON of VIA, which has regions of files with their attributes")


def _why_not(path: Path) -> str | None:
    """Return None if a file looks like VIA's, else what it misses."""
    text = ends_of(path)
    if is_via(text):
        return None
    if '"vid_fmtid"' in text or '"__VIA_PROJECT_ID__"' in text:
        return "it is a project of VIA 3, which is not read; VIA 2 saves what is"
    return f"it has neither {_METADATA} nor filename, regions and file_attributes"


@dataclass(frozen=True, slots=True)
class _Document:
    """What a file says.

    Attributes:
        records: of the images by VIA's key, in the project's order.
        declared: the attributes of regions that the project declares; empty for an export.
        folder: where the images are by the project's settings, '' where it does not say.
    """

    records: dict[str, Any]
    declared: dict[str, Any]
    folder: str

    @classmethod
    def of(cls, path: Path) -> _Document:
        document = json_object(path)
        if _METADATA not in document:
            return cls(document, {}, "")
        records = document[_METADATA]
        if not isinstance(records, dict):
            raise FormatError(f"{path}: {_METADATA} must be an object, received {records!r:.80}")
        order = document.get(_ORDER)
        listed = [key for key in order if isinstance(key, str) and key in records] if isinstance(order, list) else []
        folder = _member(_member(document, _SETTINGS), "core").get("default_filepath")
        return cls(
            {
                key: records[key]
                for key in (*dict.fromkeys(listed), *(key for key in records if key not in set(listed)))
            },
            _member(_member(document, _ATTRIBUTES), "region"),
            folder if isinstance(folder, str) else "",
        )


def _member(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def _regions(record: Any) -> list[Any]:
    """Return the regions of an image; VIA 1 numbers them in an object. Empty where they are none."""
    regions = record.get("regions") if isinstance(record, dict) else None
    if isinstance(regions, dict):
        return list(regions.values())
    return regions if isinstance(regions, list) else []


def _attributes(region: Any) -> dict[str, Any]:
    return _member(region, "region_attributes") if isinstance(region, dict) else {}


@dataclass(frozen=True, slots=True)
class _Part:
    """The images of a file."""

    labels: LabelSet
    file: Path
    attribute: str | None
    images_from: Path | None
    count: int
    notes: Tally
    split: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)

    def samples(self, policy: ErrorPolicy) -> Iterator[Sample]:
        policy.notes.merge(self.notes)
        document = _Document.of(self.file)
        finder = ImageFinder(self._folders(document.folder))
        listed = {key: _listed(record) for key, record in document.records.items()}
        for name in listed.values():
            finder.foresee(name)
        ids = _sample_ids(listed)
        for key, record in document.records.items():
            with policy.record(SKIPPED):
                yield self._sample(ids[key], record, listed[key], finder, f"{self.file}, image {key!r:.80}", policy)

    def _folders(self, said: str) -> list[Path]:
        """Return the folders that may have the images; what the project says counts where it stays inside."""
        if self.images_from is not None:
            return [self.images_from]
        root = self.file.parent
        base = root.parent if root.name == "annotations" else root
        folders = [base / "images", root, base]
        parts = PurePosixPath(said.replace("\\", "/")).parts
        if parts and "\0" not in said and (root / Path(*parts)).resolve().is_relative_to(base.resolve()):
            folders.insert(0, root / Path(*parts))
        # os.path: pathlib's raises where a name is too long
        return [folder for folder in dict.fromkeys(folders) if os.path.isdir(folder)]  # noqa: PTH112

    def _sample(
        self, sample_id: str, record: Any, listed: str, finder: ImageFinder, where: str, policy: ErrorPolicy
    ) -> Sample:
        if not isinstance(record, dict) or not isinstance(record.get("regions", []), list | dict):
            raise FormatError(f"{where}: expected an object with filename and regions, received {record!r:.80}")
        image, info = _image(record, listed, finder, where)
        regions, masks = self._objects(_regions(record), (info.height, info.width), where, policy)
        return Sample(sample_id, image, masks, tuple(regions), _member(record, "file_attributes"))

    def _objects(
        self, shapes: list[Any], size: tuple[int, int], where: str, policy: ErrorPolicy
    ) -> tuple[list[Region], RunList]:
        ids = {name: label_id for label_id, name in label_names(self.labels).items()}
        regions: list[Region] = []
        masks = [RunList.empty(*size)]
        for number, region in enumerate(shapes, 1):
            place = f"{where}, region {number}"
            with policy.record(REGIONS_SKIPPED):
                shape = region.get("shape_attributes") if isinstance(region, dict) else None
                if not isinstance(shape, dict) or not isinstance(kind := shape.get("name"), str):
                    raise FormatError(
                        f"{place}: shape_attributes must be an object with a name, received {region!r:.80}"
                    )
                if kind not in AREAS:
                    policy.leave_out(_NO_AREAS, f"{place}: {kind[:20]}")
                    continue
                told = _attributes(region)
                if self.attribute is None:
                    label = self.labels.classes[0].id
                else:
                    label = class_of(told, self.attribute, ids, place)
                masks.append(mask_of(shape, *size, place))
                others = {name: value for name, value in told.items() if name != self.attribute}
                regions.append(Region(label, instance=number, attributes=others))
        return regions, RunList.concatenate(masks)


def _listed(record: Any) -> str:
    """Return how a record names its image; '' where it does not."""
    name = record.get("filename") if isinstance(record, dict) else None
    return name if isinstance(name, str) else ""


def _image(record: dict[str, Any], listed: str, finder: ImageFinder, where: str) -> tuple[ImageRef, ImageInfo]:
    """Return an image, which must be there: nothing else says its size."""
    address = read_address(listed)
    if not address.name:
        raise FormatError(f"{where}: filename must be a file's name, received {record.get('filename')!r:.80}")
    path = finder.find(address, where)
    if path is None:
        raise FormatError(f"{where}: {finder.missing(f'the image {listed}, which alone says its size,')}")
    info = probe(path, where)
    return ImageRef(address.name, path, listed if "://" in listed else None, info.orientation), info


def _sample_ids(listed: Mapping[str, str]) -> dict[str, str]:
    """Return the ids of samples by VIA's key: the image's name without its extension, or as much as it takes to be unique."""
    names = {key: read_address(name).name for key, name in listed.items()}
    stems = {key: PurePosixPath(name).with_suffix("").as_posix() if name else key for key, name in names.items()}
    how_often = Counter(stems.values()), Counter(names.values())
    return {
        key: stems[key] if how_often[0][stems[key]] == 1 else names[key] if how_often[1][names[key]] == 1 else key
        for key in listed
    }
