"""The network and what is done with its logits as one TensorFlow graph, for images of all sizes: what other runtimes read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def graph_of(model: Any, finish: Callable[[Any], dict[str, Any]]) -> Any:
    """Return a ``tf.Module`` whose ``network`` is a ``tf.function`` of uint8 images (B, H, W, 3), called 'images'.

    Args:
        model: the network, on Keras' TensorFlow backend.
        finish: makes the named outputs of the logits.
    """
    import tensorflow as tf

    def network(images: Any) -> dict[str, Any]:
        return finish(model(images, training=False))

    module = tf.Module()
    module.weights = [variable.value for variable in model.variables]
    module.network = tf.function(network, input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, "images")])
    return module


def write_saved_model(model: Any, finish: Callable[[Any], dict[str, Any]], folder: Path) -> list[str]:
    """Write the graph as a SavedModel; return the names of its outputs, sorted."""
    import tensorflow as tf

    module = graph_of(model, finish)
    tf.saved_model.save(module, str(folder), signatures=module.network)
    return sorted(module.network.get_concrete_function().structured_outputs)
