"""Each kind of graph in its own runtime: the label map that Keras computes, for images of any size; nothing of maskloop runs."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from maskloop_backend.cli.main import cli
from maskloop_backend.exporting import KINDS, GraphKind, export_graph
from maskloop_backend.inference.runtimes.keras_runtime import KerasRuntime
from maskloop_backend.inference.runtimes.openvino_runtime import RuntimeUnavailableError
from maskloop_backend.model.bundle import Bundle
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.fcn import build_fcn
from maskloop_backend.registry import Registry
from maskloop_converters.errors import OutputExistsError
from maskloop_converters.samples import Label, LabelSet

LABELS = LabelSet((Label(0, "sky", (1, 2, 3)), Label(7, "road"), Label(9, "Tür"), Label(11, "void")), ignore_id=11)
SIZES = [(1, 1, 1), (1, 40, 50), (2, 65, 33), (1, 96, 128)]
Maps = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@pytest.fixture(scope="module", params=[("small", 32), ("efficientnet-lite0", 8)], ids=["small", "lite0-8s"])
def bundle(request: pytest.FixtureRequest) -> Bundle:
    backbone, stride = request.param
    architecture = Architecture(3, backbone, stride=stride)
    keras.utils.set_random_seed(1)
    model = build_fcn(architecture)
    rng = np.random.default_rng(1)
    for weight in model.weights:  # scores that differ from pixel to pixel
        if "kernel" in weight.path:
            weight.assign(weight + 0.05 * rng.standard_normal(weight.shape).astype(np.float32))
    return Bundle.create(model, architecture, LABELS)


@pytest.fixture(scope="module")
def images() -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(2)
    return [rng.integers(0, 256, (*size, 3), np.uint8) for size in SIZES]


def in_onnxruntime(path: Path) -> Callable[[NDArray[np.uint8]], Maps]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda batch: tuple(session.run(["label_map", "confidence"], {"images": batch}))


def in_openvino(path: Path) -> Callable[[NDArray[np.uint8]], Maps]:
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(str(path / "model.xml"), "CPU", options)

    def run(batch: NDArray[np.uint8]) -> Maps:
        found = compiled(batch)
        return found["label_map"], found["confidence"]

    return run


def in_tflite(path: Path) -> Callable[[NDArray[np.uint8]], Maps]:
    import tensorflow as tf

    with pytest.warns(UserWarning, match="tf.lite.Interpreter is deprecated"):
        interpreter = tf.lite.Interpreter(str(path))
    place = interpreter.get_input_details()[0]["index"]

    def run(batch: NDArray[np.uint8]) -> Maps:
        interpreter.resize_tensor_input(place, batch.shape)
        found = interpreter.get_signature_runner()(images=batch)
        return found["label_map"].copy(), found["confidence"].copy()

    return run


def in_tensorflow(path: Path) -> Callable[[NDArray[np.uint8]], Maps]:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    network = loaded.signatures["serving_default"]

    def run(batch: NDArray[np.uint8]) -> Maps:
        found = network(images=tf.constant(batch))
        return found["label_map"].numpy(), found["confidence"].numpy()

    run.loaded = loaded  # type: ignore[attr-defined]
    return run


RUNTIMES: dict[GraphKind, Any] = {
    "onnx": in_onnxruntime,
    "openvino": in_openvino,
    "tflite": in_tflite,
    "saved-model": in_tensorflow,
}


def told(kind: GraphKind, path: Path) -> dict[str, Any]:
    """The metadata, read as users of the runtime read it."""
    if kind == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        text = session.get_modelmeta().custom_metadata_map["maskloop"]
    elif kind == "tflite":
        text = zipfile.ZipFile(path).read("maskloop.json").decode()
    else:
        text = (path / "maskloop.json").read_text()
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_its_own_runtime_gives_the_same_label_map(
    tmp_path: Path, bundle: Bundle, images: list[NDArray[np.uint8]], kind: GraphKind
) -> None:
    path = tmp_path / "graph"
    export_graph(bundle, kind, path)
    run = RUNTIMES[kind](path)
    keras_runtime = KerasRuntime(bundle, precision="float32")
    seen = set()
    for batch in images:
        label_map, confidence = run(batch)
        expected, sure = keras_runtime.labels(batch)
        assert label_map.dtype == confidence.dtype == np.uint8
        assert label_map.shape == batch.shape[:3]
        differing = np.asarray(label_map) != np.asarray(expected)
        # where two classes are level, the order of additions decides
        assert differing.mean() < 1e-3
        assert np.abs(confidence.astype(int) - np.asarray(sure).astype(int))[~differing].max() <= 1
        seen |= set(np.unique(label_map).tolist())
    assert len(seen) > 1
    found = told(kind, path)
    assert [(x["id"], x["name"]) for x in found["labels"]] == [(0, "sky"), (7, "road"), (9, "Tür")]
    assert found["labels"][0]["color"] == [1, 2, 3]
    assert found["ignore_id"] == 11


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_there_stays(tmp_path: Path, bundle: Bundle, kind: GraphKind) -> None:
    path = tmp_path / "graph"
    if kind in ("openvino", "saved-model"):
        path.mkdir()
        (path / "mine.txt").write_text("mine")
        message = "maskloop did not write"
    else:
        path.write_text("mine")
        message = "overwrite"
    with pytest.raises(OutputExistsError, match=message):
        export_graph(bundle, kind, path, overwrite=kind in ("openvino", "saved-model"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["graph"]
    assert (path / "mine.txt" if path.is_dir() else path).read_text() == "mine"


def test_what_is_missing_is_said(tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RuntimeUnavailableError, match=r"pip install 'maskloop\[onnx\]'"):
        export_graph(bundle, "onnx", tmp_path / "a.onnx")
    with pytest.raises(RuntimeUnavailableError, match="openvino"):
        export_graph(bundle, "openvino", tmp_path / "a")
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(RuntimeUnavailableError, match="unset KERAS_BACKEND"):
        export_graph(bundle, "tflite", tmp_path / "a.tflite")
    assert not list(tmp_path.iterdir())


def test_the_command(tmp_path: Path, bundle: Bundle) -> None:
    version = Registry(tmp_path / "home").add(bundle)
    run = CliRunner().invoke
    home = ["--home", str(tmp_path / "home")]
    result = run(cli, ["models", "export", version, str(tmp_path / "a.tflite"), "--to", "tflite", *home])
    assert result.exit_code == 0, result.output
    assert told("tflite", tmp_path / "a.tflite")["version"] == version
    assert run(cli, ["models", "export", version, str(tmp_path / "a.maskloop"), *home]).exit_code == 0
    assert run(cli, ["models", "export", version, str(tmp_path / "home"), *home]).exit_code == 2
