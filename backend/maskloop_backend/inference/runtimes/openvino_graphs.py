"""A network as a graph of OpenVINO: image -> label map and confidence, or logits. Nothing is compiled here.

TensorFlow traces the network up to its scores and writes it as a SavedModel into a temporary folder, which OpenVINO's own
reader takes. The last upsampling, the crop and the decision are put behind it in OpenVINO's operations: the decision is
made where the pixels between four cells are still channels, so that one byte a pixel is put in rows instead of K numbers.

    scores = scores_graph(bundle.model)
    tail = Tail.of(bundle.model)
    graph = logits_graph(scores, tail)          # a model of its own that shares the constants

Images are uint8 (B, H, W, 3) RGB of any size everywhere: preprocessing and padding are part of the graph.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import keras
import numpy as np
from numpy.typing import NDArray

from ...model.config import STRIDE
from ...model.fcn import LAST, scores_network
from ...model.upsampling import as_convolution
from .saved_graph import write_saved_model

_T = TypeVar("_T")

# Height and width are these axes of what a convolution gives.
_SIDES = np.array([2, 3], np.int64)
_CLASSES = 1


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """What makes logits of scores.

    Attributes:
        kernel: see :func:`~...model.upsampling.as_convolution`.
        factor: s, pixels a cell.
        mirrored: cells outside of the scores are those at their border, else zeros.
        offset: rows and columns before the image; None is half of the padding to multiples of 32.
    """

    kernel: NDArray[np.float32]
    factor: int
    mirrored: bool
    offset: int | None

    @classmethod
    def of(cls, model: keras.Model) -> Tail:
        """Return that of a network of :func:`~...model.fcn.build_fcn`."""
        layer = model.get_layer(LAST)
        return cls(as_convolution(layer), layer.factor, layer.border == "repeat", model.get_layer("logits").offset)

    @property
    def classes(self) -> int:
        """K."""
        grouped = self.kernel.ndim == 5
        return int(self.kernel.shape[0] if grouped else self.kernel.shape[0] // self.factor**2)


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry, which reports every import to Intel unless the user has opted out.

    Where the package is missing it reports nothing; nothing of maskloop leaves the machine unasked.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def apart(call: Callable[..., _T], *arguments: Any) -> _T:
    """Call what compiles in a thread that ends with it, and return what it returns.

    OpenVINO (2026.4) gives the thread that compiles a stack for signals of its own, frees it with the compiled model,
    and then sets the one from before wherever the model ends. In the main thread the next Ctrl-C or SIGTERM would find
    a stack that is gone, and the process would die of a segmentation fault instead of stopping.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="maskloop-compile") as pool:
        return pool.submit(call, *arguments).result()


def scores_graph(model: keras.Model) -> Any:
    """Return the graph of a network up to its scores: uint8 (B, H, W, 3) -> float32 (B, h, w, K), sizes open."""
    core = import_openvino().Core()
    # the files go at the end
    core.set_property({"ENABLE_MMAP": False})
    with tempfile.TemporaryDirectory(prefix="maskloop-openvino-") as folder:
        write_saved_model(scores_network(model), lambda scores: {"scores": scores}, Path(folder))
        return core.read_model(folder)


def read_graph(path: Path) -> Any:
    """Return a graph that was stored as OpenVINO's own pair of files.

    Args:
        path: of the .xml, the .bin stands beside it.
    """
    core = import_openvino().Core()
    # the folder may be removed or replaced while the graph is in use
    core.set_property({"ENABLE_MMAP": False})
    return core.read_model(path)


def logits_graph(scores: Any, tail: Tail) -> Any:
    """Return a graph images -> logits, float32 (B, H, W, K)."""
    op = _operations()
    graph = scores.clone()
    planes = _cropped(_pixels(_cells(graph, tail), tail), tail, graph)
    logits = op.transpose(planes, op.constant(np.array([0, 2, 3, 1], np.int64)))
    return _model(graph, [logits], ["logits"])


def labels_graph(scores: Any, tail: Tail) -> Any:
    """Return a graph images -> class index and confidence, uint8 (B, H, W) twice; see Runtime.labels."""
    op = _operations()
    graph = scores.clone()
    decided = [_cropped(_pixels(part, tail), tail, graph) for part in _decided(_cells(graph, tail), tail.classes)]
    axis = op.constant(np.int64(_CLASSES))
    return _model(graph, [op.squeeze(part, axis) for part in decided], ["index", "confidence"])


def enlarged_graph(scores: Any, tail: Tail, inner: tuple[slice, slice], size: tuple[int, int]) -> Any:
    """Return a graph images -> class index and confidence of a part of them, at another size; see Runtime.enlarged.

    Args:
        scores: graph.
        tail: what follows it.
        inner: rows and columns that are the part. It is a constant of the graph, as is the size: as inputs, they make
            OpenVINO's interpolation take longer than the network.
        size: height and width of the results.
    """
    op = _operations()
    graph = scores.clone()
    planes = _cropped(_pixels(_cells(graph, tail), tail), tail, graph)
    first, last = (
        op.constant(np.array(ends, np.int64)) for ends in zip(*((x.start, x.stop) for x in inner), strict=True)
    )
    larger = op.interpolate(
        op.slice(planes, first, last, _ones(), op.constant(_SIDES)),
        op.constant(np.array(size, np.int64)),
        mode="linear_onnx",
        shape_calculation_mode="sizes",
        coordinate_transformation_mode="half_pixel",
        axes=op.constant(_SIDES),
    )
    axis = op.constant(np.int64(_CLASSES))
    decided = [op.squeeze(each, axis) for each in _decided(larger, tail.classes)]
    return _model(graph, decided, ["index", "confidence"])


def _operations() -> Any:
    import_openvino()
    from openvino import opset13

    return opset13


def _model(graph: Any, outputs: list[Any], names: list[str]) -> Any:
    """Return a graph with other outputs."""
    for output, name in zip(outputs, names, strict=True):
        output.output(0).set_names({name})
    op = _operations()
    results = [op.result(output) for output in outputs]
    return import_openvino().Model(results, graph.get_parameters(), "maskloop")


def weight_bytes(graph: Any) -> int:
    """Return the bytes of a graph's constants."""
    return sum(node.get_byte_size() for node in graph.get_ops() if node.get_type_name() == "Constant")


def _of(values: Any, positions: list[int]) -> Any:
    """Return some of a list of numbers."""
    op = _operations()
    return op.gather(values, op.constant(np.array(positions, np.int64)), op.constant(np.int64(0)))


def _ones() -> Any:
    return _operations().constant(np.ones(2, np.int64))


def _cells(graph: Any, tail: Tail) -> Any:
    """Return the logits of the pixels between four cells, (B, K * s * s, h + 1, w + 1), of a graph of scores."""
    op = _operations()
    scores = graph.outputs[0].get_node().input_value(0)
    planes = op.transpose(scores, op.constant(np.array([0, 3, 1, 2], np.int64)))
    border = op.constant(np.array([0, 0, 1, 1], np.int64))
    if tail.mirrored:
        padded = op.pad(planes, border, border, "symmetric")
    else:
        padded = op.pad(planes, border, border, "constant", op.constant(np.float32(0)))
    convolution = op.convolution if tail.kernel.ndim == 4 else op.group_convolution
    return convolution(padded, op.constant(tail.kernel), [1, 1], [0, 0], [0, 0], [1, 1])


def _pixels(cells: Any, tail: Tail) -> Any:
    """Put (B, C * s * s, h + 1, w + 1) in rows: (B, C, (h + 1) * s, (w + 1) * s)."""
    return _operations().depth_to_space(cells, "depth_first", tail.factor)


def _cropped(pixels: Any, tail: Tail, graph: Any) -> Any:
    """Return the part (B, C, H, W) that is the image."""
    op = _operations()
    shape = op.shape_of(graph.get_parameters()[0], "i64")
    size = _of(shape, [1, 2])
    if tail.offset is None:
        padding = op.floor_mod(op.negative(size), op.constant(np.int64(STRIDE)))
        before = op.divide(padding, op.constant(np.int64(2)))
    else:
        before = op.constant(np.full(2, tail.offset, np.int64))
    if tail.mirrored:
        before = op.add(before, op.constant(np.int64(tail.factor // 2)))
    return op.slice(pixels, before, op.add(before, size), _ones(), op.constant(_SIDES))


def _decided(logits: Any, classes: int) -> list[Any]:
    """Return index and confidence, uint8 (B, C, h, w) twice, of logits (B, K * C, h, w), class by class."""
    op = _operations()
    channels = op.split(logits, op.constant(np.int64(_CLASSES)), classes).outputs()
    peak, index = channels[0], op.constant(np.float32(0))
    for k, channel in enumerate(channels[1:], 1):
        index = op.select(op.greater(channel, peak), op.constant(np.float32(k)), index)
        peak = op.maximum(peak, channel)
    total = op.exp(op.subtract(channels[0], peak))
    for channel in channels[1:]:
        total = op.add(total, op.exp(op.subtract(channel, peak)))
    probability = op.divide(op.constant(np.float32(255)), total)
    # of logits that are no numbers
    known = op.select(op.is_finite(probability), probability, op.constant(np.float32(0)))
    return [op.convert(index, "u8"), op.convert(op.round(known, "half_to_even"), "u8")]
