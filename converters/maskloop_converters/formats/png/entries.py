"""Which image belongs to which mask: by their names, by lists, by what tools append to the names of masks."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from numpy.typing import NDArray

from ...codecs import png
from ...errors import FormatError
from ...report import Tally
from ...samples import LabelSet
from ..image_files import ImageFinder, read_address
from ..images import IMAGE_SUFFIXES
from ..label_files import LabelList
from .mask_files import MASK_SUFFIXES

INDEX = "maskloop.jsonl"
#: What the parts of a dataset are called, by whoever made it.
PARTS = (
    *("train", "training", "val", "valid", "validation", "test", "testing", "trainval", "dev", "eval"),
    *("default", "train_extra", "minival"),
)
# What tools append to, or set before, the name of an image for that of its mask, and to that of the image itself.
_MASK_TAIL = re.compile(
    r"[-_. ](?:seg_?mask|masks?|label_?ids|label_?train_?ids|labels?|annotations?|segmentation|seg|gt|ground_?truth|"
    r"pixels\d+|[LP])$",
    re.I,
)
_MASK_HEAD = re.compile(r"^(?:masks?|labels?|gt|seg|segmentation)[-_. ]", re.I)
_IMAGE_TAIL = re.compile(r"[-_. ](?:images?|img|sat|rgb|leftImg8bit)$", re.I)
_LOSSY = frozenset({".jpg", ".jpeg"})


@dataclass(frozen=True, slots=True)
class Layer:
    """A region with a file of its own.

    Attributes:
        name: what its file's name says of its label.
        mask: file of its opacities.
    """

    name: str
    mask: Path


@dataclass(frozen=True, slots=True)
class Entry:
    """An image and its label map, as far as they are there.

    Attributes:
        id: of the sample.
        name: of the image inside the dataset, a posix path.
        image: file of the image, None where only the mask is there.
        mask: file of the label map, None where only the image is there.
        split: the part that it belongs to, None where the dataset has no parts.
        instances: file that tells objects of a class apart: VOC's numbers them from 1, Cityscapes' holds class * 1000 +
            number for them; None where there is none.
        reason: what is missing, where the layout knows better than "no image" and "no mask".
        combined: file that says class and object of each pixel by itself, where there is no mask: Cityscapes'
            ``*_instanceIds.png``, or the ``*_polygons.json`` that its masks are drawn from.
        layers: the regions, where each has a file of its own; ``mask`` is then the first of them.
    """

    id: str
    name: str
    image: Path | None
    mask: Path | None
    split: str | None = None
    instances: Path | None = None
    reason: str = ""
    combined: Path | None = None
    layers: tuple[Layer, ...] = ()


class Packed(Protocol):
    """Masks whose channels hold classes and objects at once."""

    def keys(self, image: png.PngImage, where: str) -> NDArray[Any]:
        """Return what each pixel's channels hold as one number: unsigned (H, W)."""

    def meant(self, keys: list[int]) -> list[tuple[int, int]]:
        """Return the class and the number of the object, 0 for none, of all numbers that an image holds, ascending."""

    def named(self, root: Path, listed: LabelList | None, masks: list[Path], notes: Tally) -> LabelSet:
        """Return the classes, by a list if there is one."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A way to lay out a dataset, found in a folder.

    Attributes:
        name: 'folders', 'camvid', 'voc', ...
        entries: all images and masks, in the dataset's order.
        known: the datasets that have this layout and their labels, for where there is no label list.
        images: whether the layout has images at all; CVAT leaves them out unless it is asked.
        divisor: of 16-bit instance numbers: label * divisor + number.
        first: the first number of an object; what is below it belongs to none.
        ignored: the number that the layout's masks have for what nobody judges; None where a list or the masks say it.
        packed: what the channels of the masks mean, where they are no numbers and no colours.
        layered: each region has a file of its own, see :attr:`Entry.layers`.
        relisted: what a label list means in the masks' own numbers, where the two differ; None where they do not.
        left_out: what is there and is not taken: (kind, example).
        notes: what should be said: (kind, example).
    """

    name: str
    entries: list[Entry]
    known: tuple[tuple[str, LabelSet], ...] = ()
    images: bool = True
    divisor: int = 1000
    first: int = 0
    ignored: int | None = None
    packed: Packed | None = None
    layered: bool = False
    relisted: Callable[[LabelList], LabelList] | None = None
    left_out: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)

    @property
    def splits(self) -> tuple[str, ...]:
        """The parts, in the order in which they are first met."""
        return tuple(dict.fromkeys(entry.split for entry in self.entries if entry.split is not None))


@dataclass(frozen=True, slots=True)
class Pair:
    """An image and its mask; either may be missing."""

    image: Path | None
    mask: Path | None
    reason: str = ""


def pairs(
    images: Path,
    masks: Path,
    *,
    image_key: Callable[[str], str | None] = lambda key: key,
    mask_key: Callable[[str], str | None] = lambda key: key,
    suffixes: Iterable[str] = MASK_SUFFIXES,
) -> dict[str, Pair]:
    """Return image and mask by key, the image's path without extension; sorted, either may be missing.

    A mask belongs to the image of its name, with or without the image's extension (``a.jpg.png``); to one without such an
    image belongs that whose name it has but for what tools append (``a_mask.png``, ``a_L.png``).

    Args:
        images: folder of the images.
        masks: folder of the masks; may be the same.
        image_key: the key of an image by its path without extension, None where it is none.
        mask_key: likewise of a mask.
        suffixes: what the files of masks end in.
    """
    found_images = _by_key(images, IMAGE_SUFFIXES, image_key)
    found_masks = _by_key(masks, suffixes, mask_key)
    lossy = _by_key(masks, _LOSSY, mask_key, once=False) if masks != images else {}
    by_file = {path.relative_to(images).as_posix(): key for key, path in found_images.items()}
    # 1_sat.jpg beside 1_mask.png
    by_body = {_body(key, _IMAGE_TAIL): key for key in found_images}
    given: dict[str, Path] = {}
    alone: list[tuple[str, Path]] = []
    for key, mask in found_masks.items():
        own = key if key in found_images else by_file.get(key)
        if own is None:
            alone.append((key, mask))
        else:
            given[own] = mask
    unpaired: dict[str, Path] = {}
    appended: dict[str, Path] = {}
    for key, mask in alone:
        bodies = (_body(key, _MASK_TAIL), _body(key, _MASK_HEAD), _body(_body(key, _MASK_TAIL), _MASK_TAIL))
        own = next(
            (k for body in bodies for k in (body, by_body.get(body, ""), by_file.get(body, "")) if k in found_images),
            None,
        )
        if own is None or own in given:
            unpaired[key] = mask
        elif own in appended:
            raise FormatError(
                f"{mask} and {appended[own].name} may both be the mask of {found_images[own]}; remove one"
            )
        else:
            appended[own] = mask
    given |= appended
    out = {}
    for key in sorted(found_images.keys() | unpaired.keys()):
        image, reason = found_images.get(key), ""
        if image is not None and key not in given and key in lossy:
            reason = f"{lossy[key]} is a JPEG, which does not keep label numbers; save the masks as PNG"
        out[key] = Pair(image, given.get(key, unpaired.get(key)), reason)
    return out


def _body(key: str, affix: re.Pattern[str]) -> str:
    """Return a path without what was appended to, or set before, its last part."""
    folder, slash, name = key.rpartition("/")
    return folder + slash + (affix.sub("", name) or name)


def _by_key(
    root: Path, suffixes: Iterable[str], key_of: Callable[[str], str | None], *, once: bool = True
) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for name in _files(root):
        body, suffix = os.path.splitext(name)  # noqa: PTH122 - a path of each file takes most of the time
        if suffix.lower() not in suffixes:
            continue
        key = key_of(body)
        if key is None:
            continue
        path = root / name
        if key in found and once:
            raise FormatError(f"{path} and {found[key].name} differ in their extension only; which one is {key!r}?")
        found[key] = path
    return found


def _files(root: Path) -> list[str]:
    """Return the files below a folder as posix paths in it, those that begin with a dot left out, in the order of paths."""
    found = []
    for folder, _, names in os.walk(root):
        below = os.path.relpath(folder, root).replace(os.sep, "/")
        begin = "" if below == "." else f"{below}/"
        found += [begin + name for name in names if not name.startswith(".")]
    return sorted(found, key=lambda name: name.split("/"))


def holds_masks(folder: Path) -> bool:
    """Return whether a folder or one below it holds a file that may be a mask."""
    return folder.is_dir() and any(path.suffix.lower() in MASK_SUFFIXES for path in folder.rglob("*"))


def listed_names(path: Path, known: Iterable[str] = ()) -> list[str]:
    """Return the names of a split list, a line each: the whole line if that is known, else its first word.

    The class lists of VOC have a second word; names of photos have spaces.
    """
    whole = set(known)
    lines = (line.strip() for line in read_lines(path))
    return [line if line in whole else line.split()[0] for line in lines if line]


def read_lines(path: Path) -> list[str]:
    """Return the lines of a split list; FormatError where it cannot be read."""
    try:
        return path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: cannot read the list of images: {error}") from error


@dataclass(slots=True)
class Membership:
    """Which part each image belongs to, by the lists of names that a dataset has."""

    parts: dict[str, str] = field(default_factory=dict)
    notes: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def of(cls, lists: dict[str, Path], names: dict[str, str]) -> Membership:
        """Return the membership that lists say.

        A list that is the sum of others (trainval) says nothing new. An image in two other lists goes to the first.

        Args:
            lists: file by part.
            names: what an image may be called in a list -> its key.
        """
        found = cls()
        keys = {split: [names.get(n, n) for n in listed_names(path, names)] for split, path in lists.items()}
        for split, listed in keys.items():
            others = {key for other, more in keys.items() if other != split for key in more}
            smaller = [other for other, more in keys.items() if other != split and set(more) < set(listed)]
            if listed and len(smaller) > 1 and set(listed) <= others:
                continue
            if split == "trainval" and smaller:
                rest = set(listed) - others
                listed = [key for key in listed if key in rest]
            for key in listed:
                first = found.parts.setdefault(key, split)
                if first != split:
                    found.notes.append(("images that two parts list, taken for the first", f"{key}: {first}, {split}"))
        return found


def within(finder: ImageFinder, root: Path, listed: str, where: str) -> Path:
    """Return the file that a list names, where :class:`ImageFinder` finds it, or else where it should be below ``root``."""
    address = read_address(listed)
    if not address.name:
        raise FormatError(f"{where}: {listed!r:.80} is no file's name")
    return finder.find(address, where) or root.joinpath(*address.name.split("/")[-2:])


def key_of(name: str) -> str:
    """Return a file's path without its extension."""
    return PurePosixPath(name).with_suffix("").as_posix()


def with_images_from(entries: Iterable[Entry], folder: Path) -> list[Entry]:
    """Return entries, those without an image with the image of a folder that is called like their mask."""
    finder = ImageFinder([folder])
    found = []
    for entry in entries:
        if entry.image is None and (entry.mask is not None or entry.combined is not None):
            for name in (entry.name, *(f"{key_of(entry.name)}{suffix}" for suffix in sorted(IMAGE_SUFFIXES))):
                path = finder.find(read_address(name), f"sample {entry.id}")
                if path is not None:
                    entry = replace(entry, image=path, name=name, reason="")
                    break
        found.append(entry)
    return found
