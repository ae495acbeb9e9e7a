"""Networks of keras.applications as backbones, with their own layers and names.

Their batch normalisation keeps its statistics: a few images a step, as one trains with here, would spoil those of
ImageNet.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import layers

from .table import backbone

# Keras numbers what has no name by how often it did so before in this process.
_NUMBERED = re.compile(r"(re_lu|activation|add|multiply|layer_normalization)(_\d+)?")
_KINDS = {"re_lu": "relu", "layer_normalization": "norm"}
# The functions take no dtype, only what is set for the whole process.
_POLICY = threading.Lock()


def build(x: Any, name: str, *, head: bool, dropout: float, dtype: Any) -> dict[int, Any]:
    """Return what the score layers read: (B, H, W, 3) with sides that are multiples of 32 -> stride -> feature map."""
    entry = backbone(name)
    with _policy(dtype):
        network = application(name, weights=None, input_tensor=x)
    outputs = _outputs(network)
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False
    taps = {stride: outputs[tap.layer] for stride, tap in entry.taps.items()}
    if head:
        taps[32] = layers.SpatialDropout2D(dropout, dtype=dtype, name="head_dropout")(taps[32])
    return taps


def application(name: str, **options: Any) -> keras.Model:
    """Return the network of keras.applications without its classifier and without preprocessing."""
    function = backbone(name).weights
    assert isinstance(function, str)
    if function in ("MobileNetV3Large", "EfficientNetV2B0", "ConvNeXtTiny"):
        options["include_preprocessing"] = False
    return getattr(keras.applications, function)(include_top=False, **options)


@contextmanager
def _policy(dtype: Any) -> Iterator[None]:
    """Let layers that are made meanwhile compute in a precision; None leaves what is set."""
    if dtype is None:
        yield
        return
    with _POLICY:
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(dtype)
        try:
            yield
        finally:
            keras.config.set_dtype_policy(before)


def _outputs(network: keras.Model) -> dict[str, Any]:
    """Return the network's tensors by the name of what makes them, which is called after its input if Keras counted it."""
    outputs: dict[str, Any] = {}
    for operation in network.operations:
        numbered = _NUMBERED.fullmatch(operation.name)
        if numbered:
            tensors = operation.input if isinstance(operation.input, list) else [operation.input]
            source = tensors[-1]._keras_history.operation.name
            operation.name = f"{source}_{_KINDS.get(numbered[1], numbered[1])}"
        outputs[operation.name] = operation.output
    return outputs
