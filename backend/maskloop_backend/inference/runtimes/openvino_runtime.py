"""The network compiled by OpenVINO, for Intel and AMD processors (and ARM's) without TensorFlow's overhead.

TensorFlow traces the network and writes it as a SavedModel into a temporary folder; OpenVINO's own reader takes it from
there.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from maskloop_converters.errors import MaskloopError

from ...model.bundle import Bundle
from .deciding import Enlarging, decide_planes
from .protocol import Computed, LabelMaps, Precision, checked, cpu_has_bfloat16

_HINTS = {"float32": "f32", "bfloat16": "bf16"}


class RuntimeUnavailableError(MaskloopError):
    """A runtime that was asked for cannot run here; the message says the fix."""


def unavailable() -> str | None:
    """Return why OpenVINO cannot be used here, None where it can. Cheap: nothing is imported."""
    if importlib.util.find_spec("openvino") is None:
        return "OpenVINO is not installed: pip install 'maskloop[openvino]'"
    if keras.backend.backend() != "tensorflow":
        return (
            f"OpenVINO reads the network from TensorFlow, and Keras runs on {keras.backend.backend()}: "
            "unset KERAS_BACKEND, or use --runtime keras"
        )
    return None


def require() -> None:
    """Raise RuntimeUnavailableError where OpenVINO cannot be used here."""
    if (reason := unavailable()) is not None:
        raise RuntimeUnavailableError(reason)


class OpenVinoRuntime:
    """A :class:`~.protocol.Runtime`: a bundle's network, compiled by OpenVINO for the processor.

    One graph for images of all sizes. Each thread that predicts has an infer request of its own, which is kept.

    Args:
        bundle: the model, in float32.
        precision: 'bfloat16' only helps where the processor has it; 'auto' looks.
        threads: to compute with; None takes all cores.

    Raises:
        DataError: no such precision.
        RuntimeUnavailableError: OpenVINO is not installed, or Keras does not run on TensorFlow.
    """

    name = "openvino"
    static_shapes = False

    def __init__(self, bundle: Bundle, *, precision: Precision = "auto", threads: int | None = None) -> None:
        checked(precision)
        require()
        self._threads = threads
        self.precision: Computed
        if precision == "auto":
            self.precision = "bfloat16" if cpu_has_bfloat16() else "float32"
        else:
            self.precision = precision
        self._model: keras.Model | None = bundle.model
        self._labels = _Compiled(bundle.model, decide_planes, self.precision, threads)
        # only shrunk images need logits, and weights would be in memory twice
        self._logits: _Compiled | None = None
        self._first = threading.Lock()
        self._enlarge = Enlarging(bundle.record.architecture.classes)

    def labels(self, images: NDArray[np.uint8]) -> LabelMaps:
        """Return class index and confidence of every pixel, see the protocol."""
        index, confidence = self._labels(images)
        return index, confidence

    def enlarged(self, images: NDArray[np.uint8], inner: tuple[slice, slice], height: int, width: int) -> LabelMaps:
        """Return class index and confidence of images that were shrunk, at their former size, see the protocol."""
        with self._first:
            if self._logits is None:
                self._logits = _Compiled(self._model, lambda logits: (logits,), self.precision, self._threads)
                self._model = None
        (logits,) = self._logits(images)
        return self._enlarge(logits[:, inner[0], inner[1]], height, width)


class _Compiled:
    """``finish(model(images))``, compiled; its calls may come from several threads.

    Args:
        model: the network.
        finish: makes a tuple of tensors of the logits.
        precision: what to compute in.
        threads: to compute with; None takes all cores.
    """

    def __init__(
        self, model: Any, finish: Callable[[Any], tuple[Any, ...]], precision: Computed, threads: int | None
    ) -> None:
        core = _openvino().Core()
        with tempfile.TemporaryDirectory(prefix="maskloop-openvino-") as folder:
            names = _save(model, finish, Path(folder))
            graph = core.read_model(folder)
            # compiled before the folder goes: weights may be mapped from its files
            compiled = core.compile_model(
                graph,
                "CPU",
                {
                    "PERFORMANCE_HINT": "LATENCY",
                    "INFERENCE_PRECISION_HINT": _HINTS[precision],
                    # trainings and other programs run beside a server: a thread that is bound to a busy core waits
                    "ENABLE_CPU_PINNING": False,
                    **({} if threads is None else {"INFERENCE_NUM_THREADS": threads}),
                },
            )
        self._compiled = compiled
        self._outputs = [compiled.output(name) for name in names]
        # append and pop of a list are atomic
        self._idle: list[Any] = []

    def __call__(self, images: NDArray[np.uint8]) -> list[NDArray[Any]]:
        """Return the outputs for uint8 images (B, H, W, 3), copied out of the request's memory."""
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        results = request.infer([np.ascontiguousarray(images)], share_inputs=True)
        found = [results[output] for output in self._outputs]
        self._idle.append(request)
        return found


def _openvino() -> Any:
    """Import OpenVINO without its telemetry, which reports every import to Intel unless the user has opted out.

    Where the package is missing it reports nothing; nothing of maskloop leaves the machine unasked.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def _save(model: Any, finish: Callable[[Any], tuple[Any, ...]], folder: Path) -> list[str]:
    """Write the network as a SavedModel; return the names of its outputs in the order of ``finish``."""
    import tensorflow as tf

    def network(images: Any) -> dict[str, Any]:
        return {f"output_{k}": tensor for k, tensor in enumerate(finish(model(images, training=False)))}

    module = tf.Module()
    module.weights = [variable.value for variable in model.variables]
    module.network = tf.function(network, input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, "images")])
    tf.saved_model.save(module, str(folder), signatures=module.network)
    return sorted(module.network.get_concrete_function().structured_outputs)
