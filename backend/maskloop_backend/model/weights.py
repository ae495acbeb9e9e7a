"""Pretrained weights: ImageNet's through Keras, or a local file, moved into an FCN layer by layer.

VGG16's dense layers become convolutions: fc1, (25088, 4096), is a 7 x 7 convolution of the last pooling's 512 channels
flattened row by row, so it is fc6's kernel (7, 7, 512, 4096) reshaped; fc2, (4096, 4096), is fc7's, 1 x 1.

Files are read as HDF5 arrays and nothing else: a `.keras` archive's configuration is never looked at, so no code,
Lambda or pickle in it can run.
"""

from __future__ import annotations

import logging
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from numpy.typing import NDArray

from maskloop_converters.errors import DataError

from .config import Architecture

log = logging.getLogger(__name__)


class WeightsError(DataError):
    """Pretrained weights that cannot be had, cannot be read or do not fit the network."""


@dataclass(frozen=True, slots=True)
class _Layer:
    """One layer's arrays in a source, kernel first: their shapes, and a function that reads them."""

    shapes: tuple[tuple[int, ...], ...]
    read: Callable[[], list[NDArray[Any]]]


def load_pretrained(model: keras.Model, architecture: Architecture, source: str | Path) -> list[str]:
    """Move pretrained weights into a network.

    A file that holds exactly this network is taken whole. Otherwise the backbone, and fc6 and fc7 where the network has
    them and the source holds them, are taken; the score layer and the upsampling keep their initial values.

    Args:
        model: what ``build_fcn32s(architecture)`` gave.
        architecture: of the model.
        source: 'imagenet' (VGG16 only, fetched by keras.applications into its cache at the first use), or the path of a
            `.weights.h5`, `.h5` or `.keras` file: an FCN's, a VGG16 classifier's, or convolutions alone.

    Returns:
        names of the backbone's and head's layers that the source does not hold and that stay random: none, or fc6, fc7.

    Raises:
        WeightsError: no network, no such file, not HDF5, or convolutions that are not this backbone's.
    """
    if str(source) == "imagenet":
        if architecture.backbone != "vgg16":
            raise WeightsError(f"ImageNet weights exist for the backbone vgg16, not for {architecture.backbone!r}")
        return _transplant(model, _layers_of_model(_imagenet(include_top=architecture.head)), "imagenet")
    path = Path(source)
    with _open(path) as file:
        return _transplant(model, _layers_of_file(file), str(path))


def _imagenet(*, include_top: bool) -> keras.Model:
    try:
        return keras.applications.VGG16(weights="imagenet", include_top=include_top)
    except Exception as error:  # keras.utils.get_file raises a bare Exception when it has no network
        raise WeightsError(
            f"VGG16's ImageNet weights are not in Keras' cache and could not be fetched ({error}). Without a network, "
            "give a local .weights.h5 or .keras file with --weights PATH"
        ) from error


@contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
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


def _layers_of_file(file: h5py.File) -> list[_Layer]:
    """Return the layers of a weights file in the order of their names; links to other files are not followed."""
    groups: dict[str, list[h5py.Dataset]] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind == "f":
            if item.external or item.is_virtual:
                raise WeightsError(f"{file.filename}: {name} points to data outside the file; refused")
            groups.setdefault(name.rpartition("/")[0], []).append(item)

    file.visititems(visit)
    layers: list[_Layer] = []
    for name in sorted(groups, key=_natural):
        # Keras numbers a layer's arrays; older files name them, and 'bias' sorts before 'kernel'
        arrays = sorted(groups[name], key=lambda item: (-item.ndim, _natural(item.name)))
        layers.append(_Layer(tuple(a.shape for a in arrays), partial(_read, arrays)))
    return layers


def _read(arrays: list[h5py.Dataset]) -> list[NDArray[Any]]:
    return [array[()] for array in arrays]


def _layers_of_model(model: keras.Model) -> list[_Layer]:
    """Return the layers of a model that have weights, in the order of the graph."""
    own = [layer for layer in model.layers if layer.weights]
    return [_Layer(tuple(tuple(w.shape) for w in layer.weights), layer.get_weights) for layer in own]


def _transplant(model: keras.Model, stored: list[_Layer], source: str) -> list[str]:
    """Fill the network from the source's layers, in order; return the head's layers that found none."""
    own = [layer for layer in model.layers if layer.weights]
    shapes = {layer.name: tuple(tuple(w.shape) for w in layer.weights) for layer in own}
    whole = Counter(shapes.values()) == Counter(layer.shapes for layer in stored)
    rest = list(stored)
    absent: list[str] = []
    for layer in own:
        if layer.name in ("score", "upsampling") and not whole:
            continue
        wanted = shapes[layer.name]
        found = next((i for i, other in enumerate(rest) if _fits(wanted, other.shapes)), None)
        if found is None:
            if not layer.name.startswith(("fc6", "fc7")):
                raise WeightsError(
                    f"{source}: no weights of shape {wanted[0]} for the layer {layer.name}; expected a VGG16 "
                    "classifier, its convolutions, or an FCN of the same backbone"
                )
            absent.append(layer.name)
            continue
        values = rest.pop(found).read()
        layer.set_weights([np.reshape(value, shape) for value, shape in zip(values, wanted, strict=True)])
    if absent:
        log.warning("%s does not hold %s: they keep their random values", source, ", ".join(absent))
    return absent


def _fits(wanted: tuple[tuple[int, ...], ...], stored: tuple[tuple[int, ...], ...]) -> bool:
    """Tell whether stored arrays are the wanted ones, dense kernels counting as convolutions over the whole input."""
    if wanted == stored:
        return True
    if len(wanted) != len(stored) or len(wanted[0]) != 4 or len(stored[0]) != 2:
        return False
    height, width, channels, filters = wanted[0]
    return stored[0] == (height * width * channels, filters) and stored[1:] == wanted[1:]
