"""Images that wait for a label: a folder of them, a dataset, or the tasks of a Label Studio project."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskloop_converters import datasets
from maskloop_converters.errors import DataError, FormatError

from ..studio import label_config
from ..studio.client import StudioClient
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
        images: gives (name, uint8 (H, W, 3) RGB after EXIF rotation) of each.
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


def from_project(client: StudioClient, fetcher: ImageFetcher, project: int | str) -> Source:
    """Return the images of a project's tasks that nobody annotated; they are named by the task's id.

    Raises:
        SourceError: every task is annotated.
        StudioError: Label Studio does not answer.
        ImageError: an image cannot be had.
    """
    found = client.project(project)
    key = label_config.parse(str(found["label_config"])).image_key
    ids = [task.id for task in client.task_states(int(found["id"])) if not task.annotations]
    if not ids:
        raise SourceError(f"project {found['id']} has no task without an annotation")

    def image(task: int) -> Image:
        described: dict[str, Any] = client.task(task)
        return str(task), fetcher.fetch(described, key).array

    return Source(tuple(map(str, ids)), map(image, ids))
