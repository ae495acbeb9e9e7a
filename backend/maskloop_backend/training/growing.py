"""Starting a training from a model version: its weights, for the classes that both know; and shaking them up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from ..model.config import STRIDE
from ..model.upsampling import linear_taps

# The layers whose sizes depend on the number of classes.
_SCORE, _UPSAMPLING = "score", "upsampling"


def take_weights(model: keras.Model, source: keras.Model, names: Sequence[str], known: Sequence[str]) -> None:
    """Give a network the weights of another one with the same backbone and head, class by class.

    A class of both keeps its scores and its way through the upsampling. A new one begins with score 0 everywhere and
    linear interpolation, so the logits of the others stay what they were. A class that ``names`` lacks is dropped.

    Args:
        model: gets the weights; its channel k is ``names[k]``.
        source: gives them; its channel k is ``known[k]``.
        names: classes of ``model``.
        known: classes of ``source``.

    Raises:
        ValueError: the networks differ in more than their classes.
    """
    kept = [(new, known.index(name)) for new, name in enumerate(names) if name in known]
    new, old = (np.array([pair[side] for pair in kept], np.intp) for side in (0, 1))
    for layer in model.layers:
        weights = source.get_layer(layer.name).get_weights()
        if layer.name == _SCORE:
            weights = [_columns(array, len(names), new, old) for array in weights]
        elif layer.name == _UPSAMPLING:
            weights = [_interpolation(array, len(names), new, old) for array in weights]
        layer.set_weights(weights)


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
        if not layer.trainable or layer.name in (_SCORE, _UPSAMPLING) or not hasattr(layer, "kernel"):
            continue
        pairs = zip(layer.get_weights(), fresh.get_layer(layer.name).get_weights(), strict=True)
        layer.set_weights([shrink * own + perturb * random for own, random in pairs])


def _columns(array: NDArray[Any], classes: int, new: NDArray[np.intp], old: NDArray[np.intp]) -> NDArray[Any]:
    """Return a score kernel (1, 1, C, K) or bias (K,) for other classes; new ones are 0."""
    out = np.zeros((*array.shape[:-1], classes), array.dtype)
    out[..., new] = array[..., old]
    return out


def _interpolation(array: NDArray[Any], classes: int, new: NDArray[np.intp], old: NDArray[np.intp]) -> NDArray[Any]:
    """Return an upsampling kernel, (2s, 2s, K, K) or (2s, 2s, K), for other classes; new ones interpolate linearly."""
    plane = np.outer(linear_taps(STRIDE), linear_taps(STRIDE)).astype(array.dtype)
    out: NDArray[Any] = np.repeat(plane[:, :, None], classes, axis=2)
    if array.ndim == 3:
        out[..., new] = array[..., old]
        return out
    out = out[..., None] * np.eye(classes, dtype=array.dtype)
    out[:, :, new[:, None], new[None, :]] = array[:, :, old[:, None], old[None, :]]
    return out
