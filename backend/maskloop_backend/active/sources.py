"""Images that wait for a label: a folder of them, a dataset, or the tasks of a Label Studio project."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskloop_converters import datasets
from maskloop_converters.errors import DataError, FormatError

from ..studio import label_config
from ..studio.client import StudioClient
from ..studio.errors import ImageError
from ..studio.images import ImageFetcher, decode

Image = tuple[str, NDArray[np.uint8]]

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})


class SourceError(DataError):
    """There is no image to rank."""


@dataclass(frozen=True, slots=True)
class Source:
    """Images, loaded one by one as they are iterated.

    Attributes:
        names: of all images, in order.
        images: gives (name, uint8 (H, W, 3) RGB after EXIF rotation) of each; a task with several images gives them one
            after the other, under one name.
    """

    names: tuple[str, ...]
    images: Iterator[Image]


def from_path(path: Path) -> Source:
    """Return the images of a folder, or of a dataset that ``convert`` reads.

    A folder that is no dataset is searched for image files, folders in it too; they are named by their path in it.

    Raises:
        SourceError: no image there.
        ImageError: one that cannot be read.
    """
    try:
        datasets.detect(path)
    except FormatError as error:
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in _SUFFIXES) if path.is_dir() else []
        if not files:
            raise SourceError(f"{path}: neither a dataset ({error}) nor a folder with images") from error
        names = tuple(file.relative_to(path).as_posix() for file in files)
        return Source(names, ((n, decode(f.read_bytes(), n)) for n, f in zip(names, files, strict=True)))
    samples = list(datasets.read(path))
    if not samples:
        raise SourceError(f"{path}: the dataset holds no image")

    def images() -> Iterator[Image]:
        for sample in samples:
            encoded = sample.image.read_bytes()
            if encoded is None:
                raise SourceError(f"sample {sample.id!r}: its image is out of reach ({sample.image.uri})")
            yield sample.id, decode(encoded, sample.id)

    return Source(tuple(sample.id for sample in samples), images())


def from_project(
    client: StudioClient,
    fetcher: ImageFetcher,
    project: int | str,
    *,
    annotated: bool = False,
    lost: Callable[[int, ImageError], None] = lambda task, error: None,
) -> Source:
    """Return the images of a project's tasks that nobody annotated, or of those that somebody did, named by task id.

    Args:
        client: of Label Studio.
        fetcher: of its images.
        project: id or exact title.
        annotated: which tasks.
        lost: called with each task whose image cannot be had, and why; it is left out.

    Raises:
        SourceError: none is left to annotate; while iterated: no image can be had.
        StudioError: Label Studio does not answer.
    """
    found = client.project(project)
    tags = label_config.parse(str(found["label_config"])).images
    ids = [task.id for task in client.task_states(int(found["id"])) if bool(task.annotations) == annotated]
    if not ids and not annotated:
        raise SourceError(f"project {found['id']} has no task without an annotation")

    def images() -> Iterator[Image]:
        missing = 0
        for task in ids:
            described: dict[str, Any] = client.task(task)
            there = [tag for tag in tags if tag.address(described.get("data")) is not None] or tags[:1]
            try:
                pictures = [fetcher.fetch(tag.alone(described), tag.key).array for tag in there]
            except ImageError as error:
                missing += 1
                lost(task, error)
                continue
            yield from ((str(task), picture) for picture in pictures)
        if missing and missing == len(ids):
            raise SourceError(f"none of the {missing} images of project {found['id']} can be had")

    return Source(tuple(map(str, ids)), images())
