"""Weights as Keras keeps them, in a file or a network: the arrays of each layer, in the order of the layers.

Files are read as HDF5 arrays and nothing else: a `.keras` archive's configuration is never looked at, so no code,
Lambda or pickle in it can run.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import keras
from numpy.typing import NDArray

from .errors import WeightsError


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """One layer's arrays in a source, kernel first: their shapes, and a function that reads them."""

    shapes: tuple[tuple[int, ...], ...]
    read: Callable[[], list[NDArray[Any]]]


@contextmanager
def open_file(path: Path) -> Iterator[h5py.File]:
    """Open the HDF5 file that a path is, or that a `.keras` archive holds."""
    if not path.is_file():
        raise WeightsError(
            f"there is no weights file {str(path)!r}; expected 'imagenet' or a path to a .weights.h5 or .keras file"
        )
    try:
        if zipfile.is_zipfile(path):
            with (
                zipfile.ZipFile(path) as archive,
                archive.open("model.weights.h5") as member,
                h5py.File(member, "r") as file,
            ):
                yield file
        else:
            with h5py.File(path, "r") as file:
                yield file
    except (zipfile.BadZipFile, KeyError) as error:
        raise WeightsError(f"{path}: a zip archive without a readable model.weights.h5: {error}") from error
    except OSError as error:
        raise WeightsError(f"{path}: not a readable HDF5 weights file: {error}") from error


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key under which conv2d_10 follows conv2d_9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def check_self_contained(file: h5py.File) -> None:
    """Check that nothing in a weights file leads out of it.

    Raises:
        WeightsError: a link or a dataset points to another file.
    """
    links: dict[str, Any] = {}
    file.visititems_links(links.__setitem__)
    for name, link in links.items():
        if isinstance(link, h5py.ExternalLink):
            raise WeightsError(f"{file.filename}: {name} is a link to another file; refused")
        item = file[name] if isinstance(link, h5py.HardLink) else None
        if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
            raise WeightsError(f"{file.filename}: {name} points to data outside the file; refused")


def layers_of_file(file: h5py.File) -> list[StoredLayer]:
    """Return the layers of a weights file in the order of their names; links to other files are not followed."""
    check_self_contained(file)
    groups: dict[str, list[h5py.Dataset]] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind == "f":
            groups.setdefault(name.rpartition("/")[0], []).append(item)

    file.visititems(visit)
    layers: list[StoredLayer] = []
    for name in sorted(groups, key=_natural):
        # Keras numbers a layer's arrays; older files name them, and 'bias' sorts before 'kernel'
        arrays = sorted(groups[name], key=lambda item: (-item.ndim, _natural(item.name)))
        layers.append(StoredLayer(tuple(a.shape for a in arrays), partial(_read, arrays)))
    return layers


def _read(arrays: list[h5py.Dataset]) -> list[NDArray[Any]]:
    return [array[()] for array in arrays]


def layers_of_model(model: keras.Model) -> list[StoredLayer]:
    """Return the layers of a model that have weights, in the order of the graph."""
    own = [layer for layer in model.layers if layer.weights]
    return [StoredLayer(tuple(tuple(w.shape) for w in layer.weights), layer.get_weights) for layer in own]
