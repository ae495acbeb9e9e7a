"""`maskloop models quantize` with a real network and the real quantiser, and what serves its result."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from maskloop_backend.cli.main import cli
from maskloop_backend.inference.runtimes import choosing
from maskloop_backend.inference.runtimes.choosing import choose
from maskloop_backend.inference.runtimes.keras_runtime import KerasRuntime
from maskloop_backend.inference.runtimes.openvino_runtime import OpenVinoRuntime
from maskloop_backend.model.bundle import Bundle
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.fcn import build_fcn
from maskloop_backend.registry import Registry
from maskloop_converters.errors import DataError
from maskloop_converters.samples import LabelSet

NAMES = ["sky", "road", "car"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("openvino", "nncf")), reason="NNCF is not installed"
    ),
]


def picture(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((96, 64), Image.Resampling.BICUBIC))


def quantize(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["models", "quantize", *arguments, "--home", str(home)])


@pytest.fixture(scope="module")
def unquantized() -> Bundle:
    keras.utils.set_random_seed(7)
    architecture = Architecture(3, "small", stride=8)
    model = build_fcn(architecture)
    random = np.random.default_rng(7)
    for layer in model.layers:
        if layer.name.startswith("score"):
            kernel, bias = layer.get_weights()
            layer.set_weights([random.normal(0, 0.5, kernel.shape), np.zeros_like(bias)])
    return Bundle.create(model, architecture, LabelSet.from_names(NAMES))


@pytest.fixture(scope="module")
def dataset(unquantized: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, labelled as the network does it: float32 has an mIoU of 1."""
    folder = tmp_path_factory.mktemp("camvid")
    runtime = KerasRuntime(unquantized, precision="float32")
    for part, seeds in (("train", range(6)), ("val", range(6, 9))):
        for kind in (part, f"{part}annot"):
            (folder / kind).mkdir()
        for seed in seeds:
            image = picture(seed)
            Image.fromarray(image).save(folder / part / f"{seed}.png")
            Image.fromarray(runtime.labels(image[None])[0][0]).save(folder / f"{part}annot" / f"{seed}.png")
    (folder / "labels.txt").write_text("\n".join(NAMES))
    return folder


@pytest.fixture(scope="module")
def home(unquantized: Bundle, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    version = Registry(home).add(unquantized)
    result = quantize(home, version, str(dataset), "--images", "4")
    assert result.exit_code == 0, result.output
    assert "calibrated on 4 images, measured on 3" in result.output
    return home


@pytest.fixture(scope="module")
def bundle(home: Path) -> Bundle:
    registry = Registry(home)
    return registry.load(registry.versions()[0])


def test_it_is_measured_and_kept(bundle: Bundle) -> None:
    assert bundle.int8 is not None
    record = bundle.int8.record
    # the labels are the network's own
    assert record.miou == pytest.approx(1, abs=0.01)
    assert 0.8 < record.int8_miou < 1
    assert record.made_by.startswith("nncf ")


def test_it_predicts_with_8_bits(bundle: Bundle) -> None:
    runtime = OpenVinoRuntime(bundle, precision="int8")
    assert runtime.precision == "int8"
    image = picture(7)[None]
    labels = runtime.labels(image)[0]
    assert np.mean(labels != KerasRuntime(bundle, precision="float32").labels(image)[0]) < 0.1
    kinds = [op.get_rt_info()["runtimePrecision"] for op in runtime._labels._compiled.get_runtime_model().get_ops()]
    assert sum(str(kind.value) in ("u8", "i8") for kind in kinds) > 5


def test_it_is_served_when_asked_for(bundle: Bundle) -> None:
    choice = choose(bundle, "auto", "int8")
    assert (choice.runtime.name, choice.runtime.precision) == ("openvino", "int8")
    with pytest.raises(DataError, match="int8 wants --runtime openvino"):
        choose(bundle, "keras", "int8")


@pytest.mark.parametrize(("loss", "expected"), [(0.004, "int8"), (0.006, "bfloat16")])
def test_unasked_only_where_little_is_lost(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, loss: float, expected: str
) -> None:
    assert bundle.int8 is not None
    monkeypatch.setattr(choosing, "_chosen", {})
    monkeypatch.setattr(choosing, "cpu_has_bfloat16", lambda: True)
    monkeypatch.setattr(choosing, "computes_bfloat16", lambda: False)
    # each faster than the one before
    monkeypatch.setattr(choosing, "_in_turns", lambda calls: [1 / (k + 1) for k, _ in enumerate(calls)])
    record = dataclasses.replace(bundle.int8.record, miou=0.9, int8_miou=0.9 - loss)
    choice = choose(dataclasses.replace(bundle, int8=dataclasses.replace(bundle.int8, record=record)))
    assert (choice.runtime.name, choice.runtime.precision) == ("openvino", expected)
    assert f"int8 costs {loss:.4f} mIoU" in choice.reason


def test_a_version_without(unquantized: Bundle) -> None:
    with pytest.raises(DataError, match="has no int8 graph: `maskloop models quantize"):
        choose(unquantized, "openvino", "int8")


def test_again_only_when_asked(home: Path, dataset: Path) -> None:
    version = Registry(home).versions()[0]
    result = quantize(home, version, str(dataset))
    assert result.exit_code == 1
    assert "has an int8 graph already; --overwrite replaces it" in result.output
    result = quantize(home, version, str(dataset), "--overwrite", "--images", "2", "--json")
    assert json.loads(result.stdout)["calibration_images"] == 2


def test_no_such_version(home: Path, dataset: Path) -> None:
    result = quantize(home, "fcn8s-small-20260101-00000000", str(dataset))
    assert result.exit_code == 1
    assert "there is no model version" in result.output


def test_not_installed(home: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "nncf" else found(name, *rest))
    monkeypatch.setitem(sys.modules, "nncf", None)
    result = quantize(home, Registry(home).versions()[0], str(dataset), "--overwrite")
    assert result.exit_code == 1
    assert "pip install 'maskloop[int8]'" in result.output
