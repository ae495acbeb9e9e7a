"""ADE20K as it was released: a mask of three channels beside each image, whose red and green are the class and blue the object.

images/training/a/abbey/      ADE_train_00000001.jpg, ADE_train_00000001_seg.png       2017; index_ade20k.mat has the names
images/ADE/training/urban/    the same, and ADE_train_00000001.json with the names     2020 and 2021

The masks of parts (``*_parts_1.png``) are not read. The benchmark's ``annotations/`` of 150 classes are plain folders.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .... import _runs
from ....codecs import png
from ....errors import FormatError
from ....report import Tally
from ....samples import Label, LabelSet
from ...label_files import LabelList
from ..entries import Entry, Layout
from ..mask_files import read_pixels

_SEG = "_seg.png"
_PARTS = ("training", "validation")
_PLACES = ("images/ADE", "images", "ADE", "")
_INDEX = "index_ade20k.mat"
_LARGEST = 1 << 26  # of a JSON file, in bytes
_LARGEST_INDEX = 1 << 29
_NAMELESS = (
    "objects of ADE20K without a list of their names, called class n; put index_ade20k.mat beside, or give --labels"
)


def missing(root: Path) -> str | None:
    """Return None if a folder has this layout, else what is missing."""
    if root.is_dir() and any(next(folder.rglob(f"ADE_*{_SEG}"), None) for _, folder in _folders(root)):
        return None
    return "ade20k needs images/training/**/ADE_train_*_seg.png"


def find(root: Path) -> Layout:
    """Return the images and masks."""
    entries, tables = [], []
    parts: list[tuple[str, str]] = []
    for part, folder in _folders(root):
        for mask in sorted(folder.rglob(f"ADE_*{_SEG}")):
            body = mask.name.removesuffix(_SEG)
            image = mask.with_name(f"{body}.jpg")
            name = image.relative_to(folder).as_posix()
            entries.append(Entry(body, name, image if image.is_file() else None, mask, part))
            if (table := mask.with_name(f"{body}.json")).is_file():
                tables.append(table)
            if not parts and (other := mask.with_name(f"{body}_parts_1.png")).is_file():
                parts.append(("masks of the parts of objects (_parts_1.png), which are not read", other.name))
    return Layout("ade20k", entries, packed=_Packed(tuple(tables)), left_out=parts)


def _folders(root: Path) -> list[tuple[str | None, Path]]:
    """Return the folders that may hold images, by part."""
    for place in _PLACES:
        folders: list[tuple[str | None, Path]] = [
            (part, root / place / part) for part in _PARTS if (root / place / part).is_dir()
        ]
        if folders:
            return folders
    return [(None, root)] if next(root.glob(f"ADE_*{_SEG}"), None) else []


@dataclass(frozen=True, slots=True)
class _Packed:
    """What the channels mean."""

    tables: tuple[Path, ...]

    def keys(self, image: png.PngImage, where: str) -> NDArray[np.uint32]:
        """Return R + 256 G + 65536 B of every pixel: uint32 (H, W)."""
        if image.kind not in ("rgb", "rgba") or image.depth != 8:
            raise FormatError(f"{where}: ADE20K's masks have three channels of 8 bits, this one is {image.kind}")
        return png.color_ids(image.pixels)

    def meant(self, keys: list[int]) -> list[tuple[int, int]]:
        """Return the class and the number of the object of all colours of an image, 0 for none."""
        # Blue is just different for each object: the k-th of its values is the k-th object.
        present = sorted({key >> 16 for key in keys})
        rank = {blue: k for k, blue in enumerate(present, 1 if present[0] else 0)}
        return [((key & 255) // 10 * 256 + (key >> 8 & 255), rank[key >> 16]) for key in keys]

    def named(self, root: Path, listed: LabelList | None, masks: list[Path], notes: Tally) -> LabelSet:
        """Return the classes: those of a list, of the JSON files, of the index, else called by their numbers; 0 is none."""
        if listed is not None:
            numbered = listed.numbered or any(
                label.id == 0 and listed.labels.background_id == 0 for label in listed.labels.labels
            )
            shift = 0 if numbered else 1  # the index counts from 1
            names = {label.id + shift: label.name for label in listed.labels.labels}
        elif self.tables:
            names = _names_in(self.tables)
        else:
            names = next((_names_of_index(p / _INDEX) for p in (root, root.parent) if (p / _INDEX).is_file()), {})
        if not names:
            found: set[int] = set()
            for mask in masks:
                try:
                    keys = self.keys(read_pixels(mask, ""), "")
                except FormatError:
                    continue  # is told when it is read
                found |= {label for label, _ in self.meant(_runs.present(keys))}
            names = {k: f"class {k}" for k in found if k}
            notes.add(_NAMELESS, f"{root}: {len(names)} classes")
        return LabelSet(tuple(Label(k, name) for k, name in sorted(_unique(names).items()) if k), ignore_id=0)


def _unique(names: dict[int, str]) -> dict[int, str]:
    """Return names that are told apart: ADE20K has some twice."""
    first: dict[str, int] = {}
    for k in sorted(names):
        first.setdefault(names[k], k)
    return {k: name if first[name] == k else f"{name} ({k})" for k, name in names.items()}


def _names_in(tables: tuple[Path, ...]) -> dict[int, str]:
    """Return the names by class of the JSON files beside the images."""
    names: dict[int, str] = {}
    for table in tables:
        for thing in _objects(table):
            number, name = thing.get("name_ndx"), thing.get("name")
            if (
                isinstance(number, int)
                and not isinstance(number, bool)
                and 0 < number < 1 << 16
                and isinstance(name, str)
            ):
                names.setdefault(number, " ".join(name.split()))
    return {number: name for number, name in names.items() if name}


def _objects(table: Path) -> Iterator[dict[str, Any]]:
    try:
        if table.stat().st_size > _LARGEST:
            raise FormatError(f"{table}: {table.stat().st_size} bytes are more than such a file has")
        text = table.read_bytes()
        try:
            document = json.loads(text)
        except UnicodeDecodeError:  # those of 2021 have names in Latin-1
            document = json.loads(text.decode("latin-1"))
    except OSError as error:
        raise FormatError(f"{table}: cannot read it: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{table}: not JSON, perhaps truncated: {error}") from error
    annotation = document.get("annotation") if isinstance(document, dict) else None
    listed = annotation.get("object") if isinstance(annotation, dict) else None
    if not isinstance(listed, list):
        raise FormatError(f"{table}: expected annotation.object, a list of objects")
    yield from (thing for thing in listed if isinstance(thing, dict))


def _names_of_index(path: Path) -> dict[int, str]:
    """Return the names by class of the release's index, a file of MATLAB's."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise FormatError(f"{path}: reading MATLAB's files needs SciPy: pip install scipy; or give --labels") from error
    try:
        if path.stat().st_size > _LARGEST_INDEX:
            raise FormatError(f"{path}: {path.stat().st_size} bytes are more than the index has")
        index = loadmat(io.BytesIO(path.read_bytes()), squeeze_me=True, struct_as_record=False)["index"]
        listed = [str(name) for name in np.atleast_1d(index.objectnames)]
    except FormatError:
        raise
    except Exception as error:  # whatever SciPy raises on a damaged file
        raise FormatError(f"{path}: no index of ADE20K: {type(error).__name__}: {error}") from error
    return dict(enumerate(listed, 1))
