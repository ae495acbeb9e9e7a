"""Where images come from: files, folders, globs, lists, URLs, and datasets that ``convert`` reads."""

from __future__ import annotations

import glob
import hashlib
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from maskloop_converters import datasets
from maskloop_converters.errors import FormatError
from maskloop_converters.formats.images import IMAGE_SUFFIXES
from maskloop_converters.samples import Sample

from . import storage
from .errors import BatchError
from .items import Item, Read

_LISTS = frozenset({".txt", ".lst", ".list"})
_WILD = frozenset("*?[")
#: The name of a source that is a folder of images, whatever dataset it may look like.
IMAGES = "images"


@dataclass(frozen=True, slots=True)
class Listed:
    """The images of a source.

    Attributes:
        items: in the source's own order, names and places unique.
        format: of the dataset they are in, None where they are plain files.
        repeated: places that were named more than once, and are taken once.
    """

    items: tuple[Item, ...]
    format: str | None = None
    repeated: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Taken:
    """Images that somebody listed already, and what reads them in a worker.

    Attributes:
        listed: the images.
        read: gives the bytes of each; thread-safe.
    """

    listed: Listed
    read: Read


def listed(source: str, source_format: str | None = None) -> Listed:
    """Return the images of a source; no picture is opened.

    Args:
        source: an image, a folder (with those in it, however deep), a glob, a text file that names a path or URL a line
            (relative to the file), a URL of any of these but lists, or a dataset that ``convert`` reads.
        source_format: of a dataset; 'images' takes a folder for images that look like a dataset; None finds out.

    Raises:
        BatchError: there is no image, or two have one name.
        StorageError: a bucket refuses.
        FormatError: a dataset that is damaged.
    """
    if storage.is_url(source):
        return _unique(source, _of_url(source))
    path = Path(source)
    if not path.exists():
        if not _WILD & set(source):
            raise BatchError(
                f"{source} does not exist; expected an image, a folder, a glob, a list (.txt), a dataset or a URL"
            )
        found = sorted(Path(name) for name in glob.glob(source, recursive=True) if Path(name).is_file())  # noqa: PTH207 - may be absolute
        return _unique(source, _of_files([file for file in found if _is_image(file.name)], _fixed_part(source)))
    if path.is_file() and path.suffix.lower() in _LISTS:
        return _unique(source, _of_list(path))
    if path.is_file() and _is_image(path.name):
        return _unique(source, _of_files([path], path.parent))
    if source_format != IMAGES and (name := _dataset(path, source_format)) is not None:
        return _unique(source, _of_dataset(path, name), name)
    if not path.is_dir():
        raise BatchError(f"{source} is neither an image nor a list (.txt) nor a dataset")
    return _unique(source, _of_files(sorted(file for file in path.rglob("*") if _is_image(file.name)), path))


def shuffled(items: Iterable[Item], seed: int) -> list[Item]:
    """Return items in an order that looks random; it does not depend on the others, so a source may grow."""

    def key(item: Item) -> bytes:
        return hashlib.blake2b(f"{seed}\0{item.name}".encode("utf-8", "surrogatepass"), digest_size=16).digest()

    return sorted(items, key=key)


@dataclass(slots=True)
class Reader:
    """Reads the bytes of items, in a worker; thread-safe for files and URLs.

    Args:
        source: path of the dataset they are in; only asked where an item has no file of its own.
        format: of that dataset.
    """

    source: str
    format: str | None
    _ahead: Iterator[tuple[int, Sample]] | None = None
    _at: int = -1

    def __call__(self, item: Item) -> bytes:
        """Return an item's encoded image.

        Raises:
            OSError: it cannot be had.
        """
        if item.at:
            return storage.read(item.at)
        # images inside records are read in order, from the beginning where a worker has to go back
        if self._ahead is None or self._at >= item.number:
            self._ahead = enumerate(datasets.read(self.source, self.format))
        for number, sample in self._ahead:
            self._at = number
            if number == item.number:
                content = sample.image.read_bytes()
                if content is None:
                    raise FileNotFoundError(f"the image of sample {sample.id} is out of reach ({sample.image.uri})")
                return content
        raise FileNotFoundError(f"{self.source} has no sample {item.number} any more")


def in_order(reader: Read) -> bool:
    """Return whether a reader may only be asked by one thread, in order."""
    return isinstance(reader, Reader) and reader.format is not None


def _dataset(path: Path, source_format: str | None) -> str | None:
    """Return the format of a dataset, None where it is none."""
    if source_format is not None:
        return source_format
    try:
        return datasets.detect(path)
    except FormatError as error:
        if "--from" in str(error) and " and as " in str(error):
            raise
        return None


def _of_files(files: Iterable[Path], root: Path) -> Iterator[Item]:
    for file in files:
        inside = file.relative_to(root) if file.is_relative_to(root) else Path(file.name)
        yield Item(inside.as_posix(), str(file.absolute()))


def _of_list(path: Path) -> Iterator[Item]:
    lines = path.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
    places = [line.strip() for line in lines if line.strip()]
    absolute = [place if storage.is_url(place) else str((path.parent / place).absolute()) for place in places]
    yield from _named(absolute)


def _of_url(source: str) -> Iterator[Item]:
    if _is_image(source) and not _WILD & set(source):
        yield Item(posixpath.basename(source), source)
        return
    root = _fixed_url(source)
    for place in storage.find(source):
        if _is_image(place):
            _, _, inside = place.partition(root.rstrip("/") + "/")
            yield Item(inside or posixpath.basename(place), place)


def _of_dataset(path: Path, name: str) -> Iterator[Item]:
    for number, sample in enumerate(datasets.read(path, name)):
        image = sample.image
        at = str(image.source.absolute()) if isinstance(image.source, Path) else ""
        yield Item(image.name, at, sample.id, number)


def _named(places: list[str]) -> Iterator[Item]:
    """Yield an item a place, named by its path below what all have in common."""
    paths = [
        place.partition("://")[2].partition("?")[0] if storage.is_url(place) else place.lstrip("/") for place in places
    ]
    folders = [posixpath.dirname(path) for path in dict.fromkeys(paths)]
    common = posixpath.commonpath(folders) if folders and not any(folder == "" for folder in folders) else ""
    for place, path in zip(places, paths, strict=True):
        yield Item(posixpath.relpath(path, common) if common else path, place)


def _unique(source: str, items: Iterable[Item], source_format: str | None = None) -> Listed:
    names: dict[str, Item] = {}
    ids: dict[str, Item] = {}
    repeated = []
    for item in items:
        other = names.setdefault(item.name, item)
        same = ids.setdefault(item.sample_id, item)
        if other is item and same is item:
            continue
        if item.at and item.at in (other.at, same.at):
            repeated.append(item.name)
            continue
        one = other if other is not item else same
        raise BatchError(
            f"{storage.spoken(item.at) or item.name} and {storage.spoken(one.at) or one.name} would both be called "
            f"{item.name!r} in the output; label them one after the other, into two places"
        )
    if not names:
        raise BatchError(f"{storage.spoken(source)} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return Listed(tuple(names.values()), source_format, tuple(repeated))


def _is_image(name: str) -> bool:
    return posixpath.splitext(name.partition("?")[0])[1].lower() in IMAGE_SUFFIXES and not posixpath.basename(
        name
    ).startswith(".")


def _fixed_part(pattern: str) -> Path:
    """Return the folders of a glob that hold no wildcard."""
    parts = Path(pattern).parts
    fixed = next((k for k, part in enumerate(parts) if _WILD & set(part)), len(parts))
    return Path(*parts[:fixed])


def _fixed_url(pattern: str) -> str:
    parts = pattern.split("/")
    fixed = next((k for k, part in enumerate(parts) if _WILD & set(part)), len(parts))
    return "/".join(parts[:fixed])
