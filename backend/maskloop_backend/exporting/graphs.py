"""A version as a graph that needs nothing of maskloop: images in, label map and confidence out.

Every kind has the same input and outputs, for images of any size:

    images       uint8 (B, H, W, 3), RGB as people see it (turned by EXIF)
    label_map    uint8 (B, H, W), channel k is the k-th label of the metadata
    confidence   uint8 (B, H, W), the label's probability times 255

Colours, padding and the way back are inside. What is not: images with a longer side than ``max_side`` of the metadata are
best shrunk before, and enlarged by ``zoom``; maskloop's own predictor does both, and cuts large images into tiles.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import keras

from maskloop_converters.atomic import atomic_directory, atomic_file
from maskloop_converters.errors import OutputExistsError
from maskloop_converters.formats.labels import color_table

from ..inference.runtimes.deciding import decide, decide_planes
from ..inference.runtimes.openvino_graphs import Tail, import_openvino, labels_graph, scores_graph
from ..inference.runtimes.openvino_runtime import RuntimeUnavailableError, unavailable
from ..inference.runtimes.saved_graph import graph_of, write_saved_model
from ..model.bundle import Bundle
from ..model.record import ModelRecord

GraphKind = Literal["onnx", "openvino", "tflite", "saved-model"]
KINDS: tuple[GraphKind, ...] = get_args(GraphKind)
#: Kinds that are a folder.
FOLDERS = frozenset({"openvino", "saved-model"})
#: The file of metadata in a folder, or in the archive at the end of a TensorFlow Lite file; the key elsewhere.
METADATA, KEY = "maskloop.json", "maskloop"
_NAMES = "labels.txt"
# Of ONNX's operators: what onnxruntime has read since 2022.
_OPSET = 17


def metadata(record: ModelRecord) -> dict[str, Any]:
    """Return what a graph's user has to know, JSON values."""
    colors = color_table(record.labels)
    labels = [{"id": label.id, "name": label.name, "color": list(colors[label.id])} for label in record.labels.classes]
    return {
        "version": record.version,
        "labels": labels,
        "ignore_id": record.labels.ignore_id,
        "background_id": record.labels.background_id,
        "input": "images: uint8 (batch, height, width, 3), RGB, any size",
        "outputs": {
            "label_map": "uint8 (batch, height, width), place in labels",
            "confidence": "uint8 (batch, height, width), probability times 255",
        },
        "max_side": record.max_side,
        "zoom": record.zoom,
    }


def export_graph(bundle: Bundle, kind: GraphKind, path: Path, *, overwrite: bool = False) -> None:
    """Write a version as a graph.

    Args:
        bundle: the version, in float32.
        kind: 'onnx' or 'tflite' (a file), 'openvino' (a folder of model.xml and model.bin) or 'saved-model' (a folder).
        path: the file or folder to make; it appears whole or not at all.
        overwrite: replace what is there, where it is such a file, or a folder of ours.

    Raises:
        OutputExistsError: something is there.
        RuntimeUnavailableError: what writes the kind is not installed, or Keras does not run on TensorFlow.
    """
    _require(kind)
    told = metadata(bundle.record)
    if kind in FOLDERS:
        _check_folder(path)
        with atomic_directory(path, overwrite=overwrite) as folder:
            (_openvino if kind == "openvino" else _saved_model)(bundle, folder, told)
        return
    if path.is_dir():
        raise OutputExistsError(f"{path} is a folder, and {kind} is one file; nothing was written")
    with atomic_file(path, overwrite=overwrite) as file:
        (_onnx if kind == "onnx" else _tflite)(bundle, file, told)


def _require(kind: GraphKind) -> None:
    if keras.backend.backend() != "tensorflow":
        raise RuntimeUnavailableError(
            f"graphs are traced by TensorFlow, and Keras runs on {keras.backend.backend()}: unset KERAS_BACKEND"
        )
    if kind == "openvino" and (reason := unavailable()):
        raise RuntimeUnavailableError(reason)
    if kind == "onnx" and (importlib.util.find_spec("tf2onnx") is None or importlib.util.find_spec("onnx") is None):
        raise RuntimeUnavailableError(
            "ONNX is written by tf2onnx, which is not installed: pip install 'maskloop[onnx]'"
        )


def _check_folder(path: Path) -> None:
    """Raise OutputExistsError where a folder has something else than what this module writes."""
    if path.is_dir() and any(path.iterdir()) and not (path / METADATA).is_file():
        raise OutputExistsError(f"{path} holds what maskloop did not write (no {METADATA}); nothing was written")


def _named(finish: Callable[[Any], tuple[Any, Any]]) -> Callable[[Any], dict[str, Any]]:
    def outputs(logits: Any) -> dict[str, Any]:
        label_map, confidence = finish(logits)
        return {"label_map": label_map, "confidence": confidence}

    return outputs


def _texts(told: dict[str, Any]) -> dict[str, str]:
    """Return the files of metadata: ours, and the names alone, as many tools want them."""
    names = "".join(f"{label['name']}\n" for label in told["labels"])
    return {METADATA: json.dumps(told, indent=1, ensure_ascii=False) + "\n", _NAMES: names}


def _saved_model(bundle: Bundle, folder: Path, told: dict[str, Any]) -> None:
    write_saved_model(bundle.model, _named(decide), folder)
    _write_beside(folder, told)


def _write_beside(folder: Path, told: dict[str, Any]) -> None:
    for name, text in _texts(told).items():
        (folder / name).write_text(text, "utf-8")


def _openvino(bundle: Bundle, folder: Path, told: dict[str, Any]) -> None:
    graph = labels_graph(scores_graph(bundle.model), Tail.of(bundle.model))
    graph.outputs[0].set_names({"label_map"})
    graph.set_rt_info(json.dumps(told), KEY)
    import_openvino().save_model(graph, str(folder / "model.xml"), compress_to_fp16=False)
    _write_beside(folder, told)


def _onnx(bundle: Bundle, file: Path, told: dict[str, Any]) -> None:
    import onnx
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.WARNING)
    network = graph_of(bundle.model, _named(decide_planes)).network
    model, _ = tf2onnx.convert.from_function(network, input_signature=network.input_signature, opset=_OPSET)
    _name_sides(model.graph)
    onnx.helper.set_model_props(
        model, {KEY: json.dumps(told), "names": json.dumps([x["name"] for x in told["labels"]])}
    )
    onnx.checker.check_model(model)
    onnx.save(model, str(file))


def _name_sides(graph: Any) -> None:
    """Call the sides of the outputs as those of the input: tracing loses that they are the same."""
    sides = ("batch", "height", "width")
    for value in (*graph.input, *graph.output):
        for side, dimension in zip(sides, value.type.tensor_type.shape.dim, strict=False):
            dimension.Clear()
            dimension.dim_param = side


def _tflite(bundle: Bundle, file: Path, told: dict[str, Any]) -> None:
    import tensorflow as tf

    module = graph_of(bundle.model, _named(decide))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.network.get_concrete_function()], module)
    file.write_bytes(converter.convert())
    # TensorFlow Lite's way to keep files in a model: a ZIP archive behind it, which interpreters pass over
    with zipfile.ZipFile(file, "a") as archive:
        for name, text in _texts(told).items():
            archive.writestr(zipfile.ZipInfo(name), text)
