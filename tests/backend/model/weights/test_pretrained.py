"""Pretrained weights: where they end up, and what is refused."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import ops
from numpy.typing import NDArray

from maskloop_backend.model.backbones.applications import application
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.fcn import build_fcn
from maskloop_backend.model.weights.errors import WeightsError
from maskloop_backend.model.weights.keras_files import open_file
from maskloop_backend.model.weights.pretrained import load_pretrained

CONVOLUTIONS = Architecture(3, "vgg16", head=False, upsampling="per_class")


@pytest.fixture(scope="module")
def convolutions() -> keras.Model:
    keras.utils.set_random_seed(1)
    return keras.applications.VGG16(weights=None, include_top=False)


def features(model: keras.Model, layer: str, image: NDArray[Any]) -> NDArray[Any]:
    part = keras.Model(model.input, model.get_layer(layer).output)
    return np.asarray(ops.convert_to_numpy(part(image, training=False)))


@pytest.mark.slow
def test_the_transplanted_head_is_the_dense_classifier(tmp_path: Path) -> None:
    """On the classifier's 224 x 224 image, fc7 in the middle of the 7 x 7 map is its second dense layer."""
    keras.utils.set_random_seed(0)
    classifier = keras.applications.VGG16(weights=None, classes=2)
    image = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3)).astype("float32")
    expected = features(classifier, "fc2", keras.applications.vgg16.preprocess_input(image.copy()))
    classifier.save_weights(path := tmp_path / "vgg16.weights.h5")
    del classifier
    model = build_fcn(Architecture(2, "vgg16", upsampling="per_class"), weights=path, blank=True)
    found = features(model, "fc7_relu", image)
    assert found.shape == (1, 7, 7, 4096)
    assert expected.std() > 0.01
    np.testing.assert_allclose(found[:, 3, 3], expected, rtol=1e-3, atol=1e-4 * expected.max())


def save_by_keras(model: keras.Model, path: Path) -> None:
    model.save_weights(path)


def save_as_keras_2_did(model: keras.Model, path: Path) -> None:
    with h5py.File(path, "w") as file:
        for layer in model.layers:
            for name, value in zip(("kernel:0", "bias:0"), layer.get_weights(), strict=False):
                file[f"model_weights/{layer.name}/{layer.name}/{name}"] = value


def save_in_blocks(model: keras.Model, path: Path) -> None:
    """As a network saves it whose blocks are layers of their own and that has other convolutions besides."""
    with h5py.File(path, "w") as file:
        for layer in model.layers:
            if layer.weights:
                block, number = layer.name.split("_conv")
                name = "conv2d" if number == "1" else f"conv2d_{int(number) - 1}"
                for index, value in enumerate(layer.get_weights()):
                    file[f"{block}/layers/{name}/vars/{index}"] = value
        file["fuse/vars/0"] = np.zeros((1, 1, 5, 1), "float32")
        file["fuse/vars/1"] = np.zeros(1, "float32")
        file["steps"] = 7


@pytest.mark.parametrize(
    ("save", "file_name"),
    [(save_by_keras, "by_keras.weights.h5"), (save_as_keras_2_did, "old.h5"), (save_in_blocks, "blocks.weights.h5")],
)
def test_convolutions_alone(
    convolutions: keras.Model, tmp_path: Path, save: Callable[[keras.Model, Path], None], file_name: str
) -> None:
    save(convolutions, tmp_path / file_name)
    model = build_fcn(CONVOLUTIONS, weights=tmp_path / file_name)
    for name, values in weights_of(convolutions).items():
        for value, found in zip(values, weights_of(model)[name], strict=True):
            np.testing.assert_array_equal(value, found)
    assert not np.any(model.get_layer("score").get_weights()[0])


def test_imagenet_comes_through_keras(convolutions: keras.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def fetch(**options: Any) -> keras.Model:
        asked.append(options)
        return convolutions

    monkeypatch.setattr(keras.applications, "VGG16", fetch)
    model = build_fcn(CONVOLUTIONS, weights="imagenet")
    assert asked == [{"weights": "imagenet", "include_top": False}]
    np.testing.assert_array_equal(
        model.get_layer("block5_conv3").get_weights()[0], convolutions.get_layer("block5_conv3").get_weights()[0]
    )


def test_without_a_network_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # nothing listens on port 9 of the loopback, so the connection fails at once
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    with pytest.raises(WeightsError, match=r"could not be fetched.*--weights PATH"):
        load_pretrained(build_fcn(CONVOLUTIONS), CONVOLUTIONS, "imagenet")


def weights_of(model: keras.Model) -> dict[str, list[NDArray[Any]]]:
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def small_network(classes: int, seed: int, **options: Any) -> keras.Model:
    keras.utils.set_random_seed(seed)
    model = build_fcn(Architecture(classes, "small", **options))
    random = np.random.default_rng(seed)
    for layer in model.layers:
        layer.set_weights([random.random(w.shape).astype("float32") for w in layer.weights])
    return model


@pytest.mark.parametrize("suffix", ["weights.h5", "keras"])
def test_the_same_network_is_taken_whole(tmp_path: Path, suffix: str) -> None:
    source = small_network(3, seed=1)
    path = tmp_path / f"s.{suffix}"
    source.save(path) if suffix == "keras" else source.save_weights(path)
    target = small_network(3, seed=2)
    assert load_pretrained(target, Architecture(3, "small"), path) == []
    for name, values in weights_of(source).items():
        for value, found in zip(values, weights_of(target)[name], strict=True):
            np.testing.assert_array_equal(value, found)


def test_other_classes_take_backbone_and_head(tmp_path: Path) -> None:
    source, target = small_network(3, seed=1), small_network(5, seed=2)
    before = weights_of(target)
    source.save_weights(tmp_path / "s.weights.h5")
    assert load_pretrained(target, Architecture(5, "small"), tmp_path / "s.weights.h5") == []
    for name, values in weights_of(target).items():
        expected = before[name] if name in ("score", "upsampling") else weights_of(source)[name]
        for value, wanted in zip(values, expected, strict=True):
            np.testing.assert_array_equal(value, wanted)


def test_a_source_without_head_leaves_it_random_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    small_network(3, seed=1, head=False).save_weights(tmp_path / "s.weights.h5")
    absent = load_pretrained(small_network(3, seed=2), Architecture(3, "small"), tmp_path / "s.weights.h5")
    assert absent == ["fc6", "fc6_norm", "fc7", "fc7_norm"]
    assert "does not hold fc6, fc6_norm, fc7, fc7_norm" in caplog.text


def write_text(path: Path) -> None:
    path.write_text("not weights")


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")


def write_other_network(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["layers/conv2d/vars/0"] = np.zeros((5, 5, 3, 8), "float32")


def write_external(path: Path) -> None:
    (path.parent / "secret").write_bytes(bytes(432 * 4))
    with h5py.File(path, "w") as file:
        file.create_dataset("a/0", (3, 3, 3, 16), "float32", external=[(str(path.parent / "secret"), 0, 432 * 4)])


def write_truncated(path: Path) -> None:
    small_network(3, seed=1).save_weights(path)
    path.write_bytes(path.read_bytes()[:-5000])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "there is no weights file"),
        (lambda path: path.mkdir(), "there is no weights file"),
        (write_text, "not a readable HDF5 weights file"),
        (write_zip, "without a readable model.weights.h5"),
        (write_truncated, "not a readable HDF5 weights file"),
        (write_other_network, r"no weights of shape \(3, 3, 3, 16\) for the layer block1_conv1"),
        (write_external, "points to data outside the file; refused"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path: Path, write: Callable[[Path], object], message: str) -> None:
    path = tmp_path / "x.weights.h5"
    write(path)
    with pytest.raises(WeightsError, match=message) as caught:
        build_fcn(Architecture(3, "small"), weights=path)
    assert "x.weights.h5" in str(caught.value)


def test_small_has_no_imagenet_weights() -> None:
    with pytest.raises(WeightsError, match="no ImageNet weights for the backbone 'small'"):
        build_fcn(Architecture(3, "small"), weights="imagenet")


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "weights.h5"
    os.mkfifo(pipe)
    with pytest.raises(WeightsError, match="there is no weights file"), open_file(pipe):
        pass


@pytest.mark.parametrize("name", ["mobilenetv3-large", "convnext-tiny"])
def test_networks_of_keras_applications_load_from_a_file(tmp_path: Path, name: str) -> None:
    """Many of their layers have weights of the same shapes: each gets its own."""
    keras.utils.set_random_seed(0)
    source = application(name, weights=None, input_shape=(None, None, 3))
    random = np.random.default_rng(0)
    source.set_weights([random.normal(size=w.shape).astype("float32") for w in source.weights])
    source.save_weights(path := tmp_path / "source.weights.h5")
    model = build_fcn(Architecture(3, name, stride=8), weights=path)
    own = [layer for layer in model.layers if layer.weights and not layer.name.startswith(("score", "upsampling"))]
    given = [layer for layer in source.layers if layer.weights]
    for layer, other in zip(own, given, strict=True):
        for value, wanted in zip(layer.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(value, wanted)


def test_another_network_of_keras_applications_is_refused(tmp_path: Path, convolutions: keras.Model) -> None:
    convolutions.save_weights(path := tmp_path / "vgg16.weights.h5")
    with pytest.raises(WeightsError, match=r"vgg16\.weights\.h5: not the weights of MobileNetV3Large"):
        build_fcn(Architecture(3, "mobilenetv3-large"), weights=path)
