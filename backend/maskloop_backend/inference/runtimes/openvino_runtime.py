"""The network compiled by OpenVINO, for Intel and AMD processors (and ARM's) without TensorFlow's overhead.

A graph for open sizes takes a quarter more processor time than one that is compiled for its size. So there is one of the
former, for whatever comes, and a few of the latter, for the sizes that keep coming.
"""

from __future__ import annotations

import importlib.util
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from maskloop_converters.errors import MaskloopError

from ...model import quantized
from ...model.bundle import Bundle
from .deciding import Enlarging
from .openvino_graphs import (
    Tail,
    apart,
    enlarged_graph,
    import_openvino,
    labels_graph,
    logits_graph,
    read_graph,
    scores_graph,
    weight_bytes,
)
from .protocol import Computed, LabelMaps, Precision, checked, cpu_has_bfloat16

# Beside quantised operations there are others, which compute in bfloat16 where that is quick.
_HINTS = {"float32": "f32", "bfloat16": "bf16", "int8": "bf16" if cpu_has_bfloat16() else "f32"}

# Sizes that have a graph of their own at once, and the bytes that all their weights may take together: none of VGG16's.
_SIZES = 4
_SIZES_BYTES = 128 << 20
# A size is compiled when it comes for this time, which costs as much as 10 to 40 predictions; anew only after twice as many
# since: many sizes that take turns must not be compiled all the time.
_USES = 8
# The same where answers must be repeatable, in every stretch anew: what was compiled for one stretch is there for the next.
_USES_IN_STRETCH = 3
# Sizes whose uses are counted.
_COUNTED = 256
# Logits that may be interpolated as a whole: 64 MB in float32.
_ENLARGED = 1 << 24


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

    Each thread that predicts has an infer request of its own, which is kept.

    Args:
        bundle: the model, in float32.
        precision: 'bfloat16' only helps where the processor has it; 'auto' looks. 'int8' is for versions that were
            quantised.
        threads: to compute with; None takes all cores.
        repeatable: which sizes get a graph of their own, which may round otherwise than the one for all sizes, depends on
            what came since :meth:`start_stretch` alone.

    Raises:
        DataError: no such precision, or int8 of a version that has none.
        RuntimeUnavailableError: OpenVINO is not installed, or Keras does not run on TensorFlow.
    """

    name = "openvino"
    static_shapes = False

    def __init__(
        self, bundle: Bundle, *, precision: Precision = "auto", threads: int | None = None, repeatable: bool = False
    ) -> None:
        checked(precision)
        if precision == "int8" and bundle.int8 is None:
            raise quantized.missing(bundle.version)
        require()
        self.precision: Computed
        if precision == "auto":
            self.precision = "bfloat16" if cpu_has_bfloat16() else "float32"
        else:
            self.precision = precision
        self._threads = threads
        self._tail = Tail.of(bundle.model)
        if precision == "int8" and bundle.int8 is not None:
            self._scores = read_graph(bundle.int8.graph)
        else:
            self._scores = scores_graph(bundle.model)
        self._labels = self._compiled(labels_graph(self._scores, self._tail))
        # only resized images of rare sizes need logits, and weights would be in memory twice
        self._logits: _Compiled | None = None
        self._first = threading.Lock()
        most = min(_SIZES, _SIZES_BYTES // max(1, weight_bytes(self._scores)))
        self._by_size = _BySizeInStretch(most) if repeatable else _BySize(most)
        self._enlarge = Enlarging(bundle.record.architecture.classes)

    def prepare(self, batch: int, height: int, width: int) -> None:
        """Compile for a size, see the protocol."""
        shape = (batch, height, width)
        self._by_size.prepare(shape, lambda: self._own_labels(shape))

    def start_stretch(self) -> None:
        """Count sizes anew, see the protocol."""
        self._by_size.start_stretch()

    def labels(self, images: NDArray[np.uint8]) -> LabelMaps:
        """Return class index and confidence of every pixel, see the protocol."""
        shape = images.shape[:3]
        own = self._by_size.get(shape, lambda: self._own_labels(shape))
        index, confidence = (own or self._labels)(images)
        return index, confidence

    def enlarged(self, images: NDArray[np.uint8], inner: tuple[slice, slice], height: int, width: int) -> LabelMaps:
        """Return class index and confidence of images that were resized, at their former size, see the protocol."""
        shape = images.shape[:3]
        if shape[0] * height * width * self._tail.classes <= _ENLARGED:
            key = (*shape, *((side.start, side.stop) for side in inner), height, width)
            own = self._by_size.get(key, lambda: self._own_enlarged(shape, inner, (height, width)))
            if own is not None:
                index, confidence = own(images)
                return index, confidence
        with self._first:
            if self._logits is None:
                self._logits = self._compiled(logits_graph(self._scores, self._tail))
        (logits,) = self._logits(images)
        return self._enlarge(logits[:, inner[0], inner[1]], height, width)

    def _compiled(self, graph: Any, shape: tuple[int, ...] | None = None) -> _Compiled:
        return _Compiled(graph, self.precision, self._threads, shape)

    def _own_labels(self, shape: tuple[int, ...]) -> _Compiled:
        return self._compiled(labels_graph(self._scores, self._tail), shape)

    def _own_enlarged(self, shape: tuple[int, ...], inner: tuple[slice, slice], size: tuple[int, int]) -> _Compiled:
        return self._compiled(enlarged_graph(self._scores, self._tail, inner, size), shape)


class _BySize:
    """Graphs that are compiled for one size, the least recently used goes first.

    Args:
        most: graphs that are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, _Compiled] = OrderedDict()
        # uses so far, and at how many the size is compiled
        self._uses: OrderedDict[Hashable, tuple[int, int]] = OrderedDict()
        self._changing = threading.Lock()
        self._compiling = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], _Compiled]) -> _Compiled | None:
        """Count a use of a size and return its graph, None where it has none; whoever makes it due compiles it."""
        if not self._most:
            return None
        with self._changing:
            if (found := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return found
            uses, due = self._uses.pop(key, (0, _USES))
            uses += 1
            self._uses[key] = (uses, due)
            if len(self._uses) > _COUNTED:
                self._uses.popitem(last=False)
        # others go on with the graph for all sizes meanwhile
        if uses < due or not self._compiling.acquire(blocking=False):
            return None
        try:
            return self._keep(key, make())
        finally:
            self._compiling.release()

    def prepare(self, key: Hashable, make: Callable[[], _Compiled]) -> None:
        """Compile a size now."""
        with self._compiling:
            if self._most and key not in self._kept:
                self._keep(key, make())

    def start_stretch(self) -> None:
        """Do nothing: whatever came counts."""

    def _keep(self, key: Hashable, made: _Compiled) -> _Compiled:
        with self._changing:
            uses, _ = self._uses.pop(key, (0, _USES))
            self._uses[key] = (uses, 2 * max(uses, _USES))
            self._kept[key] = made
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return made


class _BySizeInStretch:
    """Graphs that are compiled for one size, where the answers of a stretch must not depend on what was before it.

    A size has its graph from its third use in the stretch on, the first few sizes that come so far; whether it was compiled
    before makes no difference but in time.

    Args:
        most: graphs that are kept, and sizes of a stretch that have one.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, _Compiled] = OrderedDict()
        # of this stretch: uses, and the sizes that have a graph of their own
        self._uses: dict[Hashable, int] = {}
        self._chosen: set[Hashable] = set()
        self._changing = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], _Compiled]) -> _Compiled | None:
        """Count a use of a size and return its graph, None where it has none in this stretch."""
        with self._changing:
            if key not in self._chosen:
                self._uses[key] = self._uses.get(key, 0) + 1
                if self._uses[key] < _USES_IN_STRETCH or len(self._chosen) >= self._most:
                    return None
            return self._choose(key, make)

    def prepare(self, key: Hashable, make: Callable[[], _Compiled]) -> None:
        """Let a size have its graph in this stretch, from now on."""
        with self._changing:
            if key in self._chosen or len(self._chosen) < self._most:
                self._choose(key, make)

    def start_stretch(self) -> None:
        """Forget which sizes came; what is compiled stays."""
        with self._changing:
            self._uses.clear()
            self._chosen.clear()

    def _choose(self, key: Hashable, make: Callable[[], _Compiled]) -> _Compiled:
        self._chosen.add(key)
        if key not in self._kept:
            # those of this stretch were used last: the one that goes is of another
            if len(self._kept) >= self._most:
                self._kept.popitem(last=False)
            self._kept[key] = make()
        self._kept.move_to_end(key)
        return self._kept[key]


class _Compiled:
    """A graph, compiled; its calls may come from several threads.

    Args:
        graph: images in, any outputs. It is changed where a shape is given.
        precision: what to compute in.
        threads: to compute with; None takes all cores.
        shape: (B, H, W) of all images that will come; None takes any.
    """

    def __init__(
        self, graph: Any, precision: Computed, threads: int | None, shape: tuple[int, ...] | None = None
    ) -> None:
        if shape is not None:
            graph.reshape({graph.inputs[0]: [*shape, 3]})
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            # trainings and other programs run beside a server: a thread that is bound to a busy core waits
            "ENABLE_CPU_PINNING": False,
            **({} if threads is None else {"INFERENCE_NUM_THREADS": threads}),
        }
        self._compiled = apart(import_openvino().Core().compile_model, graph, "CPU", options)
        self._outputs = list(self._compiled.outputs)
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
