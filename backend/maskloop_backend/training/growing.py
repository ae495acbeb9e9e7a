"""Starting a training from a model version: its weights, for the classes that both know; and shaking them up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from ..model.config import CLASS_LAYERS
from ..model.upsampling import Bilinear


def take_weights(model: keras.Model, source: keras.Model, names: Sequence[str], known: Sequence[str]) -> list[str]:
    """Give a network the weights of another one with the same backbone and head, layer by name and class by class.

    A class of both keeps its scores and its way through the upsampling. A new one begins with score 0 everywhere and
    linear interpolation, so the logits of the others stay what they were. A class that ``names`` lacks is dropped.

    So do layers begin that ``source`` has no counterpart for, or one of another size: an FCN-8s starts from an FCN-16s or
    FCN-32s with the same scores, which it enlarges linearly where they had learned another way.

    Args:
        model: gets the weights; its channel k is ``names[k]``.
        source: gives them; its channel k is ``known[k]``.
        names: classes of ``model``.
        known: classes of ``source``.

    Returns:
        names of the layers of ``model`` that begin anew.

    Raises:
        ValueError: the backbones or heads differ.
    """
    kept = [(new, known.index(name)) for new, name in enumerate(names) if name in known]
    new, old = (np.array([pair[side] for pair in kept], np.intp) for side in (0, 1))
    theirs = {layer.name: layer for layer in source.layers}
    initial: list[str] = []
    for layer in model.layers:
        if not layer.name.startswith(CLASS_LAYERS):
            layer.set_weights(source.get_layer(layer.name).get_weights() if layer.weights else [])
            continue
        own = _initial(layer)
        weights = theirs[layer.name].get_weights() if layer.name in theirs else []
        if len(weights) != len(own) or any(_sizes(a) != _sizes(b) for a, b in zip(own, weights, strict=True)):
            initial.append(layer.name)
            layer.set_weights(own)
            continue
        square = len(own[0].shape) == 4 and layer.name.startswith("upsampling")
        layer.set_weights([_merged(a, b, new, old, square=square) for a, b in zip(own, weights, strict=True)])
    return initial


def shrink_and_perturb(model: keras.Model, fresh: keras.Model, shrink: float, perturb: float) -> None:
    """Replace every trainable kernel and bias by ``shrink`` times itself plus ``perturb`` times a fresh one.

    Warm starts generalise worse than fresh ones on data that grew; this keeps most of what was learned and most of the
    freshness (Ash, Adams: On Warm-Starting Neural Network Training, NeurIPS 2020). The statistics and scales of
    batch normalisation and the score and upsampling layers stay: shrunk scores would only flatten the softmax.

    Args:
        model: is changed.
        fresh: the same network with random weights.
        shrink: 0..1, 1 keeps.
        perturb: 0..1, 0 adds nothing.
    """
    for layer in model.layers:
        if not layer.trainable or layer.name.startswith(CLASS_LAYERS) or not hasattr(layer, "kernel"):
            continue
        pairs = zip(layer.get_weights(), fresh.get_layer(layer.name).get_weights(), strict=True)
        layer.set_weights([shrink * own + perturb * random for own, random in pairs])


def _initial(layer: Any) -> list[NDArray[Any]]:
    """Return the weights with which a class layer begins: zeros, or linear interpolation."""
    arrays = layer.get_weights()
    if not layer.name.startswith("upsampling"):
        return [np.zeros_like(array) for array in arrays]
    return [keras.ops.convert_to_numpy(Bilinear()(array.shape)) for array in arrays]


def _sizes(array: NDArray[Any]) -> tuple[int, ...]:
    """Return what does not depend on the classes: height and width of a kernel, and the channels that a score reads."""
    return array.shape[:2] if array.ndim > 1 else ()


def _merged(
    own: NDArray[Any], other: NDArray[Any], new: NDArray[np.intp], old: NDArray[np.intp], *, square: bool
) -> NDArray[Any]:
    """Return the weights of a class layer with those of other classes put to their place.

    Args:
        own: (..., K), and (..., K, K) where ``square``.
        other: the same for other classes.
        new: places in ``own``.
        old: places in ``other``.
        square: the last axis but one counts classes, too.
    """
    merged = own.copy()
    if square:
        merged[:, :, new[:, None], new[None, :]] = other[:, :, old[:, None], old[None, :]]
    else:
        merged[..., new] = other[..., old]
    return merged
