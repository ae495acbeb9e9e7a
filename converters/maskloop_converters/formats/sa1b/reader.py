"""Reading SA-1B's JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import FormatError
from ...masks import RunList
from ...options import ImagesFrom, PartName
from ...report import ErrorPolicy, OnError
from ...samples import Dataset, ImageRef, Label, LabelSet, Region, Sample
from ..coco.loose import plain_id
from ..coco.segmentation import Counts, counts_of, decoded
from ..image_files import ImageFinder, read_address
from ..images import probe
from ..json_files import ends_of, json_object
from ..parts import SKIPPED, assemble
from ..records import image_size, score

ANNOTATIONS_SKIPPED = "annotations skipped"
#: What all that SA-1B marks is.
LABELS = LabelSet((Label(1, "object", thing=True),), background_id=0)
_USUAL_NAME = "sa_*.json"
_IMAGE, _ANNOTATIONS = re.compile(r'"image"\s*:\s*\{'), re.compile(r'"annotations"\s*:\s*\[')
_KEPT = ("predicted_iou", "stability_score", "crop_box", "point_coords")


def is_sa1b(text: str) -> bool:
    """Return whether the beginning of a JSON file, or its ends, is that of SA-1B's."""
    return text.lstrip("\ufeff \t\r\n").startswith("{") and all(key.search(text) for key in (_IMAGE, _ANNOTATIONS))


def detect(path: Path) -> str | None:
    """Return None if ``path`` is SA-1B's JSON or a folder of it, else the reason why not."""
    path = Path(path)
    if path.is_file():
        if path.suffix.lower() == ".json" and _looks_like_it(path):
            return None
        return f"{path} is no JSON of SA-1B: it has not both an image and annotations"
    if not path.is_dir():
        return f"there is no {path}"
    if any(_looks_like_it(file) for file in _json_files(path)):
        return None
    return f"{path} holds no JSON of SA-1B, which has an image and its annotations"


def splits(path: Path) -> tuple[str, ...]:
    """Return the names of the parts that a dataset has: none."""
    _files(Path(path))
    return ()


def read(path: Path, *, split: PartName = None, on_error: OnError = "fail", images_from: ImagesFrom = None) -> Dataset:
    """Return a dataset of SA-1B's JSON, a sample a file.

    Args:
        path: a JSON file, or a folder of them, sub-folders included.
        split: SA-1B has no parts; any name is an error.
        on_error: 'skip' leaves out annotations and samples that cannot be read and counts them.
        images_from: folder that has the images; by default they are beside their files.

    Raises:
        FormatError: no such dataset. While iterating: a record with a fault, named with its file and id.
    """
    path = Path(path)
    root = path.parent if path.is_file() else path
    return assemble(path, [_Part(root, _files(path), images_from)], split, on_error, "sa1b")


def _files(path: Path) -> list[Path]:
    """Return the files of a dataset; FormatError if there are none."""
    reason = detect(path)
    if reason is not None:
        raise FormatError(reason)
    if path.is_file():
        return [path]
    # What is called as SA-1B's files are is one, damaged or not.
    return [file for file in _json_files(path) if file.match(_USUAL_NAME) or _looks_like_it(file)]


def _json_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*.json") if file.is_file())


def _looks_like_it(path: Path) -> bool:
    return is_sa1b(ends_of(path))


@dataclass(frozen=True, slots=True)
class _Part:
    """The files of a dataset."""

    root: Path
    files: list[Path]
    images_from: Path | None
    split: str | None = None

    @property
    def labels(self) -> LabelSet:
        return LABELS

    @property
    def count(self) -> int:
        return len(self.files)

    @property
    def attributes(self) -> dict[str, Any]:
        return {}

    def samples(self, policy: ErrorPolicy) -> Iterator[Sample]:
        elsewhere = None if self.images_from is None else ImageFinder([self.images_from])
        for file in self.files:
            with policy.record(SKIPPED):
                yield self._sample(file, elsewhere, policy)

    def _sample(self, file: Path, elsewhere: ImageFinder | None, policy: ErrorPolicy) -> Sample:
        document, where = json_object(file), str(file)
        record, annotations = document.get("image"), document.get("annotations")
        if not isinstance(record, dict):
            raise FormatError(f"{where}: image must be an object, received {record!r:.80}")
        if not isinstance(annotations, list) or not all(isinstance(a, dict) for a in annotations):
            raise FormatError(f"{where}: annotations must be a list of objects, received {annotations!r:.80}")
        size = image_size(record.get("height"), record.get("width"), f"{where}, image")
        image = self._image(file, record, size, elsewhere, where)
        regions, masks = _objects(annotations, size, where, policy)
        told = {"image_id": record["image_id"]} if "image_id" in record else {}
        sample_id = file.relative_to(self.root).with_suffix("").as_posix()
        return Sample(sample_id, image, masks, tuple(regions), told)

    def _image(
        self,
        file: Path,
        record: dict[str, Any],
        size: tuple[int, int],
        elsewhere: ImageFinder | None,
        where: str,
    ) -> ImageRef:
        listed = record.get("file_name")
        if not isinstance(listed, str) or not (address := read_address(listed)).name:
            raise FormatError(f"{where}: file_name must be a file's name, received {listed!r:.80}")
        finder = elsewhere or ImageFinder(dict.fromkeys([file.parent, self.root]))
        path = finder.find(address, where)
        if path is None and elsewhere is not None:
            raise FormatError(f"{where}: {finder.missing(f'the image {listed}')}")
        name = (file.parent.relative_to(self.root) / address.name).as_posix()
        if path is None:
            return ImageRef(name)
        info = probe(path, where)
        if (info.height, info.width) != size:
            raise FormatError(
                f"{where}: height and width are {size[0]} and {size[1]}, those of {path} are {info.height} and {info.width}"
            )
        return ImageRef(name, path, exif_orientation=info.orientation)


def _objects(
    annotations: list[dict[str, Any]], size: tuple[int, int], where: str, policy: ErrorPolicy
) -> tuple[list[Region], RunList]:
    """Return the objects of an image, the largest first."""
    found: list[tuple[str, Region, Counts]] = []
    seen: set[str] = set()
    for number, record in enumerate(annotations, 1):
        with policy.record(ANNOTATIONS_SKIPPED):
            place = f"{where}, annotation {record.get('id', f'{number} of the image')!r:.80}"
            counts, _ = counts_of(record.get("segmentation"), *size, place)
            own_id = "" if record.get("id") is None else str(plain_id(record["id"], f"{place}: id"))
            quality = score(record.get("predicted_iou"), f"{place}: predicted_iou")
            region = Region(
                LABELS.labels[0].id,
                id="" if own_id in seen else own_id,  # ids are unique in a sample
                score=None if quality is None else min(max(quality, 0.0), 1.0),  # an estimate: it may be 1.01
                instance=number,
                attributes={key: record[key] for key in _KEPT if record.get(key) is not None},
            )
            seen.add(own_id)
            found.append((place, region, counts))
    regions, masks = decoded(found, size, policy, ANNOTATIONS_SKIPPED)
    order = (-masks.areas()).argsort(kind="stable").tolist()
    return [regions[k] for k in order], masks.select(order)
