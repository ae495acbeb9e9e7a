"""One compiled network for many sets of weights of its last layers: a set that was just learned predicts at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from .deciding import Enlarging, decide
from .protocol import Computed, LabelMaps


class SharedNetwork:
    """A network whose trainable weights are given with every call; the others are its own.

    Args:
        model: images -> logits; what is trainable must stay so, and the rest must keep its weights.
        classes: K.
    """

    def __init__(self, model: keras.Model, classes: int) -> None:
        self._labels = _compiled(model, decide)
        self._logits = _compiled(model, lambda logits: logits)
        self._enlarge = Enlarging(classes)

    def runtime(self, weights: Sequence[NDArray[Any]]) -> SharedRuntime:
        """Return what predicts with a set of weights, in the order of the model's trainable variables."""
        return SharedRuntime(self._labels, self._logits, self._enlarge, weights)


class SharedRuntime:
    """A :class:`~.protocol.Runtime`: a shared network with weights of its own, which never change."""

    name = "keras"
    precision: Computed = "float32"

    def __init__(
        self,
        labels: Callable[..., Any],
        logits: Callable[..., Any],
        enlarge: Enlarging,
        weights: Sequence[NDArray[Any]],
    ) -> None:
        self._compiled_labels = labels
        self._compiled_logits = logits
        self._enlarge = enlarge
        self._weights = [ops.convert_to_tensor(array) for array in weights]

    @property
    def static_shapes(self) -> bool:
        """True on JAX, which compiles one program a shape."""
        return bool(keras.backend.backend() == "jax")

    def prepare(self, batch: int, height: int, width: int) -> None:
        """Do nothing: TensorFlow has one graph for all sizes, JAX compiles each at its first use; see the protocol."""

    def start_stretch(self) -> None:
        """Do nothing: an image has one graph, whatever came before; see the protocol."""

    def labels(self, images: NDArray[np.uint8]) -> LabelMaps:
        """Return class index and confidence of every pixel, see the protocol."""
        index, confidence = self._compiled_labels(self._weights, images)
        return ops.convert_to_numpy(index), ops.convert_to_numpy(confidence)

    def enlarged(self, images: NDArray[np.uint8], inner: tuple[slice, slice], height: int, width: int) -> LabelMaps:
        """Return class index and confidence of images that were shrunk, at their former size, see the protocol."""
        return self._enlarge(self._compiled_logits(self._weights, images)[:, inner[0], inner[1]], height, width)


def _compiled(model: keras.Model, finish: Callable[[Any], Any]) -> Callable[..., Any]:
    """Return ``finish(model(images))`` of (trainable weights, images), compiled by Keras' backend."""

    def run(weights: Any, others: Any, images: Any) -> Any:
        return finish(model.stateless_call(weights, others, images, training=False)[0])

    others = [variable.value for variable in model.non_trainable_variables]
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        weights = [tf.TensorSpec(variable.shape, variable.dtype) for variable in model.trainable_variables]
        signature = [weights, tf.TensorSpec((None, None, None, 3), tf.uint8)]
        return tf.function(  # type: ignore[no-any-return]
            lambda given, images: run(given, others, images), input_signature=signature
        )
    if keras.backend.backend() == "jax":
        import jax

        compiled = jax.jit(run)
        return lambda given, images: compiled(given, others, images)
    return lambda given, images: run(given, others, images)
