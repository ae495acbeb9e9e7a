"""Reading COCO datasets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

from ...codecs import png
from ...errors import CodecError, FormatError
from ...masks import RunList
from ...options import ImagesFrom, LabelsFrom, Option, PartName
from ...report import ErrorPolicy, OnError, Tally
from ...samples import Dataset, ImageRef, LabelSet, Region, Sample
from ..file_names import relative_path
from ..image_files import ImageFinder, dataset_name, read_address
from ..images import probe
from ..json_stream import scan
from ..label_files import read_labels
from ..parts import SKIPPED, assemble
from ..records import attributes, check_labels, origin, region_from_json, score, whole_number
from .extras import (
    ANNOTATION_FIELDS,
    CATEGORIES,
    DOCUMENT_FIELDS,
    IMAGE_FIELDS,
    INFO,
    KEY,
    Categories,
    attributes_of,
    categories_in,
    extras_of,
)
from .index import ANNOTATIONS_SKIPPED, Index, build
from .loose import crowd, plain_id, stated_size
from .loose import number as number_of
from .segmentation import Counts, counts_of, decoded, has_mask, masks_of, size_of

# Of several kinds of files about the same images, the first kind that is there is read.
_PREFIXES = ("instances", "panoptic", "person_keypoints", "keypoints", "stuff", "lvis_v1", "lvis")
# Any of these makes an image of a record with an id.
_IMAGE_FIELDS = {"file_name", "coco_url"}
_NO_MASK = "annotations without a mask"
_NO_AREA = "pieces of fewer than 3 points, which enclose nothing, left out of their mask"
_SIZES = "sizes taken from the image, as the file says none"


def detect(path: Path) -> str | None:
    """Return None if ``path`` is a COCO file or a folder with one, else the reason why not."""
    path = Path(path)
    try:
        _files(path)
    except FormatError as error:
        return str(error)
    return None


def splits(path: Path) -> tuple[str, ...]:
    """Return the names of the parts that a dataset has ('train2017', 'val2017'); empty where it has no parts."""
    return tuple(split for _, split in _files(Path(path)).files if split is not None)


def read(
    path: Path,
    *,
    labels: LabelsFrom = None,
    split: PartName = None,
    on_error: OnError = "fail",
    images_from: ImagesFrom = None,
    images_of: Annotated[
        Path | None, Option("The COCO file with the images, when SRC is a list of results.", metavar="FILE")
    ] = None,
) -> Dataset:
    """Return a COCO dataset of instances or panoptic segments.

    The JSON is read once for the places of its records, then image by image; memory holds the places only.

    Args:
        path: a JSON file, or a folder with ``annotations/*.json``. Panoptic PNGs are in the folder beside the JSON that
            is called like it.
        labels: the classes, or a label list file; by default the file's categories.
        split: read this part only (``instances_SPLIT.json``); by default all of them, one after another.
        on_error: 'skip' leaves out annotations and samples that cannot be read and counts them.
        images_from: folder that has the images; by default the folders where datasets have them are tried (images/,
            data/, a folder called like the part, the JSON's own), and images that are in none of them are out of reach.
        images_of: the COCO file with the images and categories, when ``path`` is a file of results.

    Raises:
        FormatError: not a COCO dataset. While iterating: a record with a fault, named with its file and id.
    """
    path = Path(path)
    if isinstance(labels, Path):
        labels = read_labels(labels)
    if images_of is not None:
        parts = [_part(images_of, path, None, labels, images_from)]
    else:
        found = _files(path)
        files = found.files
        if split is not None and any(name == split for _, name in files):
            files = [(file, name) for file, name in files if name == split]
        parts = [_part(file, None, name, labels, images_from) for file, name in files]
        parts[0].index.notes.merge(found.notes)
        if split is None:
            parts[0].index.problems.merge(found.problems)
    return assemble(path, parts, split, on_error, "coco")


@dataclass(frozen=True, slots=True)
class _Found:
    """The COCO files of a dataset.

    Attributes:
        files: and the split of each, None where the dataset has no parts; sorted by name.
        notes: files that are not read, and are not missing: of another kind about the same images, or no COCO files.
        problems: files that are called like those that are read, and cannot be.
    """

    files: list[tuple[Path, str | None]]
    notes: Tally = field(default_factory=Tally)
    problems: Tally = field(default_factory=Tally)


def _files(path: Path) -> _Found:
    """Return the COCO files of a dataset; FormatError if there are none."""
    if path.is_file():
        _require_coco(path)
        return _Found([(path, None)])
    if not path.is_dir():
        raise FormatError(f"there is no {path}")
    # Roboflow keeps a file in each split's folder; a conversion with a split makes a whole dataset of each.
    places = ("annotations/*.json", "*.json", "*/_annotations.coco.json", "*/annotations/*.json")
    candidates = sorted(file for place in places for file in path.glob(place))
    named = next(filter(None, ([f for f in candidates if f.name.startswith(prefix)] for prefix in _PREFIXES)), [])
    files = []
    found = _Found([])
    reasons = []
    for file in named or candidates:
        try:
            _require_coco(file)
        except FormatError as error:
            reasons.append(str(error))
            if named:
                found.problems.add("files skipped", str(error))
            else:
                found.notes.add("JSON files that are no COCO files", file.name)
            continue
        files.append(file)
    if not files:
        raise FormatError("; ".join(reasons) or f"{path} holds no COCO file: expected annotations/instances*.json")
    for file in candidates if named else ():
        if file not in named:
            found.notes.add("JSON files of another kind beside those that are read", file.name)
    found.files.extend((file, _split_of(file, path, alone=len(files) == 1)) for file in files)
    return found


def _split_of(file: Path, root: Path, *, alone: bool) -> str | None:
    if file.name == "_annotations.coco.json":
        return file.parent.name
    above = file.relative_to(root).parts[:-1]
    folder = above[0] if above and above[0] != "annotations" else None
    name = file.stem
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            return name.removeprefix(prefix).removeprefix("_") or folder
    return folder if alone else name


def _require_coco(path: Path) -> None:
    """Raise FormatError unless the beginning of a JSON file looks like COCO."""
    keys = []
    reason = ""
    for element in islice(scan(path, ("images", "annotations")), 20):
        if element.key in ("images", "annotations") and element.value != []:
            record = element.value
            if not element.in_array:
                raise FormatError(f"{path} is no COCO file: {element.key} is not a list of objects")
            if isinstance(record, dict) and (
                "image_id" in record or ("id" in record and _IMAGE_FIELDS & record.keys())
            ):
                return
            # One bad record does not make another file of it.
            reason = f"a record of {element.key} has neither file_name nor image_id"
            keys.append(element.key)
            continue
        if not element.key:
            if isinstance(element.value, dict) and {"image_id", "category_id", "segmentation"} <= element.value.keys():
                return
            raise FormatError(f"{path} is no COCO file: it is a list, and not of results")
        keys.append(element.key)
    if reason:
        raise FormatError(f"{path} is no COCO file: {reason}")
    if not {"images", CATEGORIES} & set(keys):
        raise FormatError(f"{path} is no COCO file: it has neither images, annotations nor categories")


def _part(
    path: Path, results: Path | None, split: str | None, labels: LabelSet | None, images_from: Path | None
) -> _Part:
    images = _Images(path, images_from)
    index = build(path, results, images.foresee)
    if labels is None:
        categories = categories_in(index.members, index.categories, str(path))
    else:
        categories = Categories(labels, [])
    for problem in categories.problems:
        index.problems.add("categories skipped", problem)
    extras = extras_of(index.members, str(path))
    members = {name: value for name, value in index.members.items() if name not in DOCUMENT_FIELDS}
    if categories.others:
        members[CATEGORIES] = categories.others
    if members.get("info") == INFO:
        del members["info"]
    members |= attributes(extras.get("attributes"), str(path))
    named = extras.get("split")
    return _Part(
        split=named if isinstance(named, str) else split,
        categories=categories,
        attributes=members,
        index=index,
        images=images,
        ours=KEY in index.members,
    )


@dataclass(frozen=True)
class _Part:
    """One COCO file."""

    split: str | None
    categories: Categories
    attributes: dict[str, Any]
    index: Index
    images: _Images
    ours: bool

    @property
    def labels(self) -> LabelSet:
        return self.categories.labels

    @property
    def count(self) -> int:
        return len(self.index)

    def samples(self, policy: ErrorPolicy) -> Iterator[Sample]:
        if self.index.problems:
            with policy.record(SKIPPED):
                if policy.on_error == "fail":
                    raise FormatError(next(iter(self.index.problems.examples.values()))[0])
                policy.skipped.merge(self.index.problems)
        policy.notes.merge(self.index.notes)
        for note in self.categories.notes:
            policy.notes.add("categories of one name", f"{self.index.path.name}: {note}")
        for record, own in self.index:
            with policy.record(SKIPPED):
                yield self._sample(record, own, policy)

    def _sample(self, record: dict[str, Any], annotations: list[dict[str, Any]], policy: ErrorPolicy) -> Sample:
        image_id = plain_id(record["id"], "id")
        where = f"{self.index.path}, image {image_id!r}"
        extras = extras_of(record, where)
        size = stated_size(record.get("height"), record.get("width"), where)
        image, found = self.images.find(record, extras, size, where)
        if size is None:
            size = found or next(filter(None, (size_of(a.get("segmentation")) for a in annotations)), None)
            if size is None:
                raise FormatError(
                    f"{where}: height and width are missing, and {image.name} is not there to tell them; "
                    + self.images.way_out
                )
            policy.notes.add(_SIZES, where)
        if any("segments_info" in annotation for annotation in annotations):
            regions, masks = self._segments(annotations, size, where, policy)
        else:
            regions, masks = self._instances(annotations, size, policy)
        hidden = extras.get("regions", [])
        if hidden:
            regions, masks = _insert(regions, masks, hidden, size, where)
        sample_id = extras.get("id", str(image_id))
        own = attributes_of(record, IMAGE_FIELDS, where, policy.notes)
        sample = Sample(str(sample_id), image, masks, tuple(regions), own)
        check_labels(sample, self.labels.known_ids, where)
        return sample

    def _instances(
        self, annotations: list[dict[str, Any]], size: tuple[int, int], policy: ErrorPolicy
    ) -> tuple[list[Region], RunList]:
        found: list[tuple[str, Region, Counts]] = []
        seen: set[str] = set()
        for number, record in enumerate(annotations, 1):
            with policy.record(ANNOTATIONS_SKIPPED):
                where = f"{self.index.annotated}, annotation {record.get('id', f'{number} of the image')!r}"
                if not has_mask(record.get("segmentation")):
                    policy.leave_out(_NO_MASK, where)
                    continue
                counts, pieces = counts_of(record.get("segmentation"), *size, where)
                policy.notes.add(_NO_AREA, where, pieces)
                region = self._region(record, where, number, policy)
                if region.id in seen:
                    region = replace(region, id="")  # ids are unique in a sample; that it stood twice is noted
                seen.add(region.id)
                found.append((where, region, counts))
        return decoded(found, size, policy, ANNOTATIONS_SKIPPED)

    def _segments(
        self, annotations: list[dict[str, Any]], size: tuple[int, int], where: str, policy: ErrorPolicy
    ) -> tuple[list[Region], RunList]:
        """Return the segments of a panoptic annotation: the PNG's ids, in the order of the JSON."""
        if len(annotations) != 1:
            raise FormatError(f"{where}: {len(annotations)} panoptic annotations, expected one")
        (annotation,) = annotations
        segments, file = annotation.get("segments_info"), annotation.get("file_name")
        if not isinstance(segments, list) or not isinstance(file, str):
            raise FormatError(f"{where}: a panoptic annotation needs segments_info and file_name")
        name = relative_path(file, where)
        # COCO's folder is called like the JSON; Mapillary's PNGs stand beside it.
        folders = (self.index.path.with_suffix(""), self.index.path.parent)
        path = next((folder / name for folder in folders if (folder / name).is_file()), folders[0] / name)
        ids, masks = _panoptic(path, size, where)
        rows = {segment: k for k, segment in enumerate(ids)}
        regions, chosen, seen = [], [], set()
        for number, record in enumerate(segments, 1):
            segment = _segment_id(record, where)
            if segment in seen or segment not in rows:
                fault = "stands twice" if segment in seen else f"has no pixels in {path}"
                raise FormatError(f"{where}: segment {segment} {fault}")
            seen.add(segment)
            regions.append(self._region(record, f"{where}, segment {segment}", number, policy))
            chosen.append(rows[segment])
        unknown = sorted(rows.keys() - seen - {0})
        if unknown:
            raise FormatError(f"{where}: {path} holds the ids {unknown[:10]}, which segments_info does not list")
        masks = masks.select(chosen)
        # What other regions hide in the PNG stands whole under our key.
        full = [extras_of(record, where).get("segmentation") for record in segments]
        if any(full):
            counts = [counts_of(f, *size, where)[0] for f in full if f]
            whole = iter(range(len(masks), len(masks) + len(counts)))
            masks = RunList.concatenate([masks, masks_of(counts, *size)])
            masks = masks.select([next(whole) if f else k for k, f in enumerate(full)])
        return regions, masks

    def _region(self, record: dict[str, Any], where: str, number: int, policy: ErrorPolicy) -> Region:
        label = number_of(record.get("category_id"), f"{where}: category_id")
        label = self.categories.aliases.get(label, label)
        if label not in self._known:
            known = ", ".join(f"{label.id} {label.name}" for label in self.labels.labels)
            raise FormatError(f"{where}: category_id {label} is no category; there are: {known}")
        extras = extras_of(record, where)
        is_crowd = crowd(record.get("iscrowd"), where)
        own_id = extras.get("id", record.get("id"))
        if isinstance(own_id, float) and own_id.is_integer():
            own_id = int(own_id)
        instance = extras.get("instance") if self.ours else self._instance(label, is_crowd, number)
        return Region(
            label=label,
            id="" if own_id is None else str(own_id),
            score=score(record.get("score"), where),
            crowd=is_crowd,
            instance=None if instance is None else whole_number(instance, f"{where}: instance"),
            origin=origin(extras.get("origin"), where),
            attributes=attributes_of(record, ANNOTATION_FIELDS, where, policy.notes),
        )

    def _instance(self, label: int, is_crowd: bool, number: int) -> int | None:
        """Return the number of the object that an annotation of another tool is; a crowd and stuff are no object."""
        return None if is_crowd or label in self._stuff else number

    @cached_property
    def _known(self) -> frozenset[int]:
        return frozenset(label.id for label in self.labels.labels)

    @cached_property
    def _stuff(self) -> set[int]:
        return {label.id for label in self.labels.labels if label.thing is False}


class _Images:
    """Where the images of a COCO file are.

    Args:
        path: the COCO file.
        given: the folder that the user named, None to try those where datasets have their images.
    """

    def __init__(self, path: Path, given: Path | None) -> None:
        base = path.parent.parent if path.parent.name == "annotations" else path.parent
        roots = [base / "images", path.parent, base, base / "data"] if given is None else [given]
        # person_keypoints_train2017.json goes with train2017/.
        words = path.stem.split("_")
        called = ["_".join(words[k:]) for k in range(len(words))]
        folders = [*roots, *(root / name for root in roots for name in called if name)]
        if path.stem.startswith("panoptic"):
            folders = [
                folder for folder in folders if folder != path.with_suffix("")
            ]  # has the segments, not the images
        self._given = given is not None
        self._finder = ImageFinder(dict.fromkeys(folder for folder in folders if folder.is_dir()) or roots)

    @property
    def way_out(self) -> str:
        """What a user does where an image is not found."""
        return "say where the images are with --images-from DIR (images_from=)"

    def foresee(self, record: dict[str, Any]) -> None:
        """Take note of a record's image before any is asked for."""
        listed = _listed(record)
        if listed is not None:
            self._finder.foresee(listed)

    def find(
        self, record: dict[str, Any], extras: dict[str, Any], size: tuple[int, int] | None, where: str
    ) -> tuple[ImageRef, tuple[int, int] | None]:
        """Return the image of a record, its size compared with the record's, and that size; None where it is not there."""
        listed = _listed(record)
        if listed is None:
            raise FormatError(f"{where}: file_name must be a text, received {record.get('file_name')!r:.80}")
        name, uri, source = (extras.get(key) for key in ("name", "uri", "source"))
        address = read_address(listed)
        path = self._finder.find(address, where, source=source if isinstance(source, str) else None)
        if path is None and self._given:
            raise FormatError(f"{where}: {self._finder.missing(f'the image {listed}')}")
        name = dataset_name(name) if isinstance(name, str) else address.name
        if not name:
            raise FormatError(f"{where}: the image {listed!r:.80} has no name")
        if not isinstance(uri, str):
            uri = listed if "://" in listed or listed.startswith(("/data/upload/", "/data/local-files/")) else None
        if path is None:
            turn = whole_number(extras.get("exif_orientation", 1), f"{where}: exif_orientation")
            return ImageRef(name, None, uri, turn), None
        info = probe(path, where)
        if size is not None and (info.height, info.width) != size:
            turned = " upright" if info.orientation > 4 else ""
            raise FormatError(
                f"{where}: height and width are {size[0]} and {size[1]}, those of {path}{turned} are "
                f"{info.height} and {info.width}"
            )
        return ImageRef(name, path, uri, info.orientation), (info.height, info.width)


def _listed(record: Mapping[str, Any]) -> str | None:
    """Return how a record names its image; LVIS has a URL only."""
    return next(
        (value for key in ("file_name", "coco_url") if isinstance(value := record.get(key), str) and value), None
    )


def _panoptic(path: Path, size: tuple[int, int], where: str) -> tuple[list[int], RunList]:
    """Return the segment ids of a panoptic PNG, ascending, 0 for void among them, and their masks."""
    try:
        ids = png.read(path.read_bytes(), max_pixels=size[0] * size[1]).panoptic_ids()
    except (OSError, CodecError) as error:
        raise FormatError(f"{where}: cannot read the segments {path}: {error}") from error
    if ids.shape != size:
        raise FormatError(f"{where}: {path} is {ids.shape[1]} x {ids.shape[0]} pixels, its image {size[1]} x {size[0]}")
    found, masks = RunList.from_label_map(ids)
    return found.tolist(), masks


def _insert(
    regions: list[Region], masks: RunList, hidden: Any, size: tuple[int, int], where: str
) -> tuple[list[Region], RunList]:
    """Return all regions in drawing order, those that stand under our key put back where they were."""
    if not isinstance(hidden, list) or not all(isinstance(record, dict) for record in hidden):
        raise FormatError(f"{where}: regions under {KEY} must be a list of objects")
    places = [whole_number(record.get("position"), f"{where}: position") for record in hidden]
    counts = [counts_of(record.get("segmentation"), *size, where)[0] for record in hidden]
    masks = RunList.concatenate([masks, masks_of(counts, *size)])
    order = list(range(len(regions)))
    regions = list(regions)
    for place, record, row in sorted(
        zip(places, hidden, range(len(order), len(masks)), strict=True), key=lambda entry: entry[0]
    ):
        order.insert(place, row)
        regions.insert(place, region_from_json(record, where))
    return regions, masks.select(order)


def _segment_id(record: Any, where: str) -> int:
    if not isinstance(record, dict):
        raise FormatError(f"{where}: a segment must be an object, received {record!r:.80}")
    return whole_number(record.get("id"), f"{where}: segment id")
