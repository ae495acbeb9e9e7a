"""The network compiled by the backend that Keras uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from maskloop_converters.errors import DataError

from ...model.bundle import Bundle
from ...model.fcn import backbone_layers, build_fcn
from .deciding import Enlarging, decide
from .protocol import Computed, LabelMaps, Precision, checked, cpu_has_bfloat16


class KerasRuntime:
    """A :class:`~.protocol.Runtime`: a bundle's network, compiled by TensorFlow or JAX.

    Args:
        bundle: the model; it is used as it is where it has the precision already, else copied.
        precision: 'bfloat16' halves the time of VGG16 where the processor has it, and makes it several times as long
            where it has not; 'auto' looks.

    Raises:
        DataError: no such precision, or int8.
    """

    name = "keras"

    def __init__(self, bundle: Bundle, *, precision: Precision = "auto") -> None:
        checked(precision)
        self.precision: Computed
        if precision == "int8":
            raise DataError("Keras computes in float32 or bfloat16; int8 wants --runtime openvino")
        if precision == "auto":
            self.precision = "bfloat16" if computes_bfloat16() else "float32"
        else:
            self.precision = precision
        model = bundle.model
        # the policy of the backbone's layers; input and output are float32 always
        layer = backbone_layers(model, bundle.record.architecture.backbone)[-1]
        if layer.compute_dtype != self.precision:
            model = _recast(bundle, "float32" if self.precision == "float32" else "mixed_bfloat16")
        self._logits = _compiled_network(model, lambda logits: logits)
        self._labels = _compiled_network(model, decide)
        self._enlarge = Enlarging(bundle.record.architecture.classes)

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
        index, confidence = self._labels(images)
        return ops.convert_to_numpy(index), ops.convert_to_numpy(confidence)

    def enlarged(self, images: NDArray[np.uint8], inner: tuple[slice, slice], height: int, width: int) -> LabelMaps:
        """Return class index and confidence of images that were shrunk, at their former size, see the protocol."""
        return self._enlarge(self._logits(images)[:, inner[0], inner[1]], height, width)


def _compiled_network(model: keras.Model, finish: Callable[[Any], Any]) -> Callable[..., Any]:
    """Return ``finish(model(images))``, compiled by Keras' backend."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        # one graph for all sizes
        signature = [tf.TensorSpec((None, None, None, 3), tf.uint8)]
        return tf.function(  # type: ignore[no-any-return]
            lambda images: finish(model(images, training=False)), input_signature=signature
        )
    if backend == "jax":
        import jax

        # weights go in as arguments: a closure would compile them into the program as constants
        trainable = [variable.value for variable in model.trainable_variables]
        others = [variable.value for variable in model.non_trainable_variables]
        run = jax.jit(lambda a, b, images: finish(model.stateless_call(a, b, images, training=False)[0]))
        return lambda images: run(trainable, others, images)
    return lambda images: finish(model(images, training=False))


def _recast(bundle: Bundle, dtype: str) -> keras.Model:
    """Return a copy of the bundle's network that computes in another precision."""
    record = bundle.record
    model = build_fcn(record.architecture, preprocessing=record.preprocessing, dtype=dtype, blank=True)
    for layer, source in zip(model.layers, bundle.model.layers, strict=True):
        if source.weights:
            layer.set_weights(source.get_weights())
    return model


def computes_bfloat16() -> bool:
    """Tell whether the device that Keras uses multiplies bfloat16 in hardware; elsewhere it is emulated and slow."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        if gpus:
            # Ampere is the first with bfloat16
            capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
            return bool(capability >= (8, 0))
        return cpu_has_bfloat16()
    # JAX's CPU compiler does not use the instructions
    if backend == "jax":
        import jax

        return jax.default_backend() == "tpu"
    return False
