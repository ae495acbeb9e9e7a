"""OpenVINO against Keras on the same networks, and how one of them is chosen."""

from __future__ import annotations

import importlib.util
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

from maskloop_backend.cli.main import cli
from maskloop_backend.inference.predictor import Predictor
from maskloop_backend.inference.runtimes import choosing, openvino_graphs, openvino_runtime
from maskloop_backend.inference.runtimes.choosing import choose
from maskloop_backend.inference.runtimes.keras_runtime import KerasRuntime
from maskloop_backend.inference.runtimes.openvino_runtime import OpenVinoRuntime, RuntimeUnavailableError
from maskloop_backend.model.bundle import Bundle
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.fcn import build_fcn
from maskloop_backend.model.preprocessing import CropLike
from maskloop_backend.model.upsampling import DenseUpsampling
from maskloop_backend.registry import Registry
from maskloop_backend.serving.metrics import Metrics
from maskloop_backend.serving.models import Models, RegistrySource
from maskloop_converters.errors import DataError
from maskloop_converters.samples import LabelSet

Pixels = NDArray[np.uint8]

needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")


def make_bundle(backbone: str = "small", stride: int = 32) -> Bundle:
    return randomly_drawn(Architecture(4, backbone, stride=stride))


def randomly_drawn(architecture: Architecture) -> Bundle:
    """Draw all score layers at random, so that every class appears."""
    keras.utils.set_random_seed(7)
    model = build_fcn(architecture)
    random = np.random.default_rng(7)
    for layer in model.layers:
        if layer.name.startswith("score"):
            kernel, bias = layer.get_weights()
            layer.set_weights([random.normal(0, 0.5, kernel.shape), np.zeros_like(bias)])
    return Bundle.create(model, architecture, LabelSet.from_names(["a", "b", "c", "d"][: architecture.classes]))


def pictures(count: int, height: int, width: int) -> Pixels:
    """Smooth patches of colour, uint8 (count, height, width, 3)."""
    made = []
    for seed in range(count):
        coarse = np.random.default_rng(seed).integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), np.uint8)
        made.append(np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)))
    return np.stack(made)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return make_bundle()


@pytest.fixture(scope="module")
def reference(bundle: Bundle) -> KerasRuntime:
    return KerasRuntime(bundle, precision="float32")


@pytest.fixture(scope="module")
def converted(bundle: Bundle) -> OpenVinoRuntime:
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("openvino is not installed")
    return OpenVinoRuntime(bundle, precision="float32")


def assert_same(found: tuple[Pixels, Pixels], expected: tuple[Pixels, Pixels], *, differing: float = 0.0005) -> None:
    """Pixels where two classes are within rounding of each other may fall either way."""
    for part in found:
        assert part.dtype == np.uint8
    assert found[0].shape == found[1].shape == expected[0].shape
    assert np.mean(found[0] != expected[0]) <= differing
    np.testing.assert_allclose(found[1], expected[1].astype(int), atol=1)


@pytest.mark.parametrize("size", [(1, 1), (20, 90), (64, 96), (97, 131)])
def test_label_maps_are_those_of_keras(
    converted: OpenVinoRuntime, reference: KerasRuntime, size: tuple[int, int]
) -> None:
    images = pictures(2, *size)
    assert_same(converted.labels(images), reference.labels(images))


def test_the_pictures_show_several_classes(reference: KerasRuntime) -> None:
    assert len(np.unique(reference.labels(pictures(4, 97, 131))[0])) >= 3


def test_enlarged_ones_are_those_of_keras(converted: OpenVinoRuntime, reference: KerasRuntime) -> None:
    shrunk = (pictures(2, 64, 96), (slice(3, 60), slice(0, 96)), 300, 200)
    assert_same(converted.enlarged(*shrunk), reference.enlarged(*shrunk))
    # and the network itself is not needed again
    assert_same(converted.enlarged(*shrunk), reference.enlarged(*shrunk))


def test_a_size_that_keeps_coming_gets_its_own_graph(
    bundle: Bundle, reference: KerasRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answers stay those of Keras; the least recently used size goes."""
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("openvino is not installed")
    monkeypatch.setattr(openvino_runtime, "_USES", 3)
    monkeypatch.setattr(openvino_runtime, "_SIZES", 2)
    runtime = OpenVinoRuntime(bundle, precision="float32")
    kept = runtime._by_size._kept
    images, inner = pictures(2, 64, 96), (slice(3, 60), slice(0, 96))
    for uses in range(1, 5):
        assert_same(runtime.labels(images), reference.labels(images))
        assert_same(runtime.enlarged(images, inner, 90, 70), reference.enlarged(images, inner, 90, 70))
        assert len(kept) == (2 if uses >= 3 else 0)
    runtime.prepare(1, 97, 131)
    assert_same(runtime.labels(pictures(1, 97, 131)), reference.labels(pictures(1, 97, 131)))
    assert list(kept) == [(2, 64, 96, (3, 60), (0, 96), 90, 70), (1, 97, 131)]
    # one that went comes back after twice as many uses
    for _ in range(2):
        runtime.labels(images)
        assert (2, 64, 96) not in kept
    runtime.labels(images)
    assert (2, 64, 96) in kept


@needs_openvino
def test_repeatable_answers_depend_on_nothing_before_their_stretch(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which of a stretch's images get graphs of their sizes is the same whatever was compiled or prepared before."""
    monkeypatch.setattr(openvino_runtime, "_USES_IN_STRETCH", 2)
    monkeypatch.setattr(openvino_runtime, "_SIZES", 2)
    stretch = [(2, 64, 96), (1, 64, 96), (2, 64, 96), (1, 33, 40), (1, 33, 40), (1, 64, 96), (2, 64, 96), (1, 64, 96)]
    own = [False, False, True, False, True, False, True, False]
    runtime = choose(bundle, "openvino", "float32", repeatable=True).runtime
    assert isinstance(runtime, OpenVinoRuntime)
    sizes, made = runtime._by_size, []
    compiled = runtime._compiled
    monkeypatch.setattr(runtime, "_compiled", lambda graph, shape=None: made.append(shape) or compiled(graph, shape))
    answers = []
    for before in ([], [(1, 64, 96)] * 3, [(1, 97, 131)] * 2):
        for shape in before:
            runtime.labels(pictures(*shape))
        runtime.prepare(1, 64, 96)
        runtime.start_stretch()
        chosen = []
        for shape in stretch:
            answers.append(runtime.labels(pictures(*shape)))
            chosen.append(shape in sizes._chosen)
        assert chosen == own
    for first, *others in zip(*(answers[k : k + 8] for k in (0, 8, 16)), strict=True):
        for other in others:
            np.testing.assert_array_equal(first, other)
    assert len(sizes._kept) == 2
    assert made == [(1, 64, 96), (2, 64, 96), (1, 33, 40)], "what is compiled is there for the next stretch"


@needs_openvino
def test_large_weights_are_not_held_several_times(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_runtime, "_USES", 1)
    monkeypatch.setattr(openvino_runtime, "_SIZES_BYTES", 1 << 20)
    runtime = OpenVinoRuntime(bundle, precision="float32")
    runtime.labels(pictures(1, 64, 96))
    runtime.prepare(1, 64, 96)
    assert not runtime._by_size._kept


@needs_openvino
@pytest.mark.parametrize(
    "architecture",
    [
        Architecture(3, "small", stride=16),
        Architecture(3, "small", upsampling="per_class"),
        Architecture(3, "small", stride=8, upsampling="per_class"),
    ],
)
def test_every_upsampling(architecture: Architecture) -> None:
    """In the graph of any size, and in the one of theirs."""
    drawn = randomly_drawn(architecture)
    images, inner = pictures(1, 70, 100), (slice(0, 70), slice(5, 90))
    runtime, reference = OpenVinoRuntime(drawn, precision="float32"), KerasRuntime(drawn, precision="float32")
    labels, enlarged = reference.labels(images), reference.enlarged(images, inner, 50, 200)
    assert_same(runtime.labels(images), labels)
    assert_same(runtime.enlarged(images, inner, 50, 200), enlarged)
    runtime.prepare(1, 70, 100)
    assert_same(runtime.labels(images), labels)
    assert_same(runtime.enlarged(images, inner, 50, 200), enlarged)


@needs_openvino
def test_zeros_round_the_image() -> None:
    """As the authors' networks pad and crop, with other layers than VGG16's between."""
    keras.utils.set_random_seed(3)
    image = keras.layers.Input((None, None, 3), dtype="float32")
    cells = keras.layers.AveragePooling2D(8)(keras.layers.ZeroPadding2D(40)(image))
    full = DenseUpsampling(4, 8, border="zeros", kernel_initializer="he_normal", name="upsampling")(
        keras.layers.Conv2D(4, 3)(cells)
    )
    model = keras.Model(image, CropLike(31, name="logits")(full, image))
    images = pictures(1, 45, 70)
    graph = openvino_graphs.logits_graph(openvino_graphs.scores_graph(model), openvino_graphs.Tail.of(model))
    (found,) = openvino_runtime._Compiled(graph, "float32", None)(images)
    expected = keras.ops.convert_to_numpy(model(images))
    assert found.shape == expected.shape == (1, 45, 70, 4)
    np.testing.assert_allclose(found, expected, atol=1e-3)


@needs_openvino
def test_a_pretrained_kind_with_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    """1x1 layers stay convolutions: as matrix products they took three times as long."""
    skips = make_bundle("efficientnet-lite0", stride=8)
    images = pictures(1, 70, 100)
    found = OpenVinoRuntime(skips, precision="float32")
    assert_same(found.labels(images), KerasRuntime(skips, precision="float32").labels(images))
    kinds = [op.get_rt_info()["layerType"] for op in found._labels._compiled.get_runtime_model().get_ops()]
    convolutions = sum(isinstance(x, keras.layers.Conv2D | keras.layers.DepthwiseConv2D) for x in skips.model.layers)
    assert sum(str(kind.value) in ("Convolution", "GroupConvolution") for kind in kinds) >= convolutions


def test_threads_share_it(converted: OpenVinoRuntime) -> None:
    images = [pictures(1, 40 + i, 64) for i in range(8)]
    expected = [converted.labels(image)[0] for image in images]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda image: converted.labels(image)[0], images * 3))
    for labels, wanted in zip(found, expected * 3, strict=True):
        np.testing.assert_array_equal(labels, wanted)


@pytest.mark.usefixtures("converted")
def test_nothing_is_reported_to_anybody() -> None:
    assert sys.modules["openvino_telemetry"] is None


@needs_openvino
def test_bfloat16_is_near(bundle: Bundle, reference: KerasRuntime) -> None:
    images = pictures(2, 97, 131)
    reduced = OpenVinoRuntime(bundle, precision="bfloat16")
    assert reduced.precision == "bfloat16"
    assert np.mean(reduced.labels(images)[0] != reference.labels(images)[0]) <= 0.05


@needs_openvino
def test_broken_weights_give_zero_confidence() -> None:
    broken = make_bundle()
    broken.model.get_layer("score").set_weights([np.full((1, 1, 192, 4), np.nan), np.zeros(4)])
    assert OpenVinoRuntime(broken, precision="float32").labels(pictures(1, 40, 40))[1].max() == 0


@needs_openvino
def test_a_predictor_runs_on_it(bundle: Bundle, converted: OpenVinoRuntime) -> None:
    image = pictures(1, 97, 131)[0]
    predictor = Predictor(bundle, runtime=converted)
    assert (predictor.runtime, predictor.precision) == ("openvino", "float32")
    (found,), (expected,) = predictor.predict([image]), Predictor(bundle, precision="float32").predict([image])
    assert_same((found.label_map, found.confidence), (expected.label_map, expected.confidence))


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "_chosen", {})


@needs_openvino
@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(("seconds", "expected"), [([0.1, 0.05], "openvino"), ([0.1, 0.095], "keras")])
def test_the_faster_one_is_taken(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, seconds: list[float], expected: str
) -> None:
    measured = []
    monkeypatch.setattr(choosing, "_in_turns", lambda calls: measured.append(len(calls)) or seconds)
    choice = choose(bundle, precision="float32")
    assert choice.runtime.name == expected
    assert f"Keras float32 100 ms, OpenVINO float32 {1000 * seconds[1]:.0f} ms" in choice.reason
    # once a process and kind of network
    again = choose(bundle, precision="float32")
    assert (again.runtime.name, again.reason, measured) == (expected, choice.reason, [2])


@needs_openvino
@pytest.mark.usefixtures("unmeasured")
def test_it_really_measures(bundle: Bundle) -> None:
    assert "measured at 512 x 384: Keras" in choose(bundle, precision="float32").reason


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(("seconds", "expected"), [([0.1, 0.05], "bfloat16"), ([0.1, 0.4], "float32")])
def test_bfloat16_must_be_faster(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, seconds: list[float], expected: str
) -> None:
    """Which it is depends on the network, whatever the processor has."""
    monkeypatch.setattr(choosing, "computes_bfloat16", lambda: True)
    monkeypatch.setattr(choosing, "_in_turns", lambda _: seconds)
    choice = choose(bundle, "keras")
    assert (choice.runtime.name, choice.runtime.precision) == ("keras", expected)


@needs_openvino
@pytest.mark.usefixtures("unmeasured")
def test_what_answers_otherwise_is_not_taken(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "_in_turns", lambda _: [0.1, 0.05])
    monkeypatch.setattr(OpenVinoRuntime, "labels", lambda *_: (np.full((1, 384, 512), 9, np.uint8),) * 2)
    choice = choose(bundle, precision="float32")
    assert (choice.runtime.name, choice.reason) == (
        "keras",
        "OpenVINO float32 answers otherwise at 100.0 % of the pixels",
    )


@needs_openvino
@pytest.mark.usefixtures("unmeasured")
def test_a_network_that_cannot_be_converted_runs_on_keras(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> list[str]:
        raise RuntimeError("no such operation")

    monkeypatch.setattr(openvino_runtime, "scores_graph", refuse)
    choice = choose(bundle, precision="float32")
    assert choice.runtime.name == "keras"
    assert "cannot run this network (RuntimeError)" in choice.reason


@pytest.mark.usefixtures("unmeasured")
def test_not_installed(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RuntimeUnavailableError, match=r"not installed: pip install 'maskloop\[openvino\]'"):
        choose(bundle, "openvino")
    choice = choose(bundle, precision="float32")
    assert choice.runtime.name == "keras"
    assert "not installed" in choice.reason
    result = CliRunner().invoke(cli, ["serve", "--home", str(tmp_path), "--runtime", "openvino"])
    assert result.exit_code == 1
    assert "pip install 'maskloop[openvino]'" in result.output


@needs_openvino
def test_another_backend_of_keras(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(RuntimeUnavailableError, match=r"Keras runs on jax: unset KERAS_BACKEND"):
        OpenVinoRuntime(bundle)


@pytest.mark.parametrize(
    ("name", "precision", "message"),
    [("onnx", "auto", "no runtime 'onnx'"), ("keras", "int4", "no precision 'int4'")],
)
def test_what_there_is_not(bundle: Bundle, name: Any, precision: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        choose(bundle, name, precision)


@needs_openvino
def test_the_server_says_what_runs(bundle: Bundle, tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.promote(registry.add(bundle))
    models = Models(RegistrySource(tmp_path, runtime="openvino", precision="float32"), Metrics())
    assert models.runtime is None
    models.get(60)
    assert models.runtime == "openvino, float32"
    assert models.runtime_reason == "asked for"


@needs_openvino
@pytest.mark.usefixtures("unmeasured")
def test_doctor_measures_as_the_server_does(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry(tmp_path)
    version = registry.add(bundle)
    registry.promote(version)
    monkeypatch.setattr(choosing, "_in_turns", lambda calls: [1 / (k + 1) for k, _ in enumerate(calls)])
    result = CliRunner().invoke(cli, ["doctor", "--runtime", "--home", str(tmp_path), "--json"])
    assert result.exit_code == 0, result.output
    (finding,) = json.loads(result.stdout)
    assert (finding["level"], finding["subject"]) == ("ok", "runtime")
    assert finding["message"].startswith(f"{version}: openvino, ")
    assert "measured at 512 x 384" in finding["message"]
