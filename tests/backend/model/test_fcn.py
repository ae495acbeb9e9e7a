"""The whole network: sizes, alignment, padding, options, backends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops
from numpy.typing import NDArray

from maskloop_backend.model.backbones.table import backbone
from maskloop_backend.model.config import Architecture, Preprocessing
from maskloop_backend.model.fcn import build_fcn, output_of
from maskloop_backend.model.preprocessing import MirrorPad, Preprocess, mirror_indices
from maskloop_converters.errors import DataError


def randomised(architecture: Architecture, seed: int = 0) -> keras.Model:
    """A network whose score layer is not zero, so that its logits say something."""
    keras.utils.set_random_seed(seed)
    model = build_fcn(architecture)
    score = model.get_layer("score")
    random = np.random.default_rng(seed)
    score.set_weights([random.normal(size=w.shape).astype("float32") for w in score.weights])
    return model


def photo(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (1, height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def small() -> keras.Model:
    return randomised(Architecture(4, "small"))


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (7, 300), (31, 33), (32, 64), (65, 95), (100, 2)])
def test_size_in_is_size_out(small: keras.Model, size: tuple[int, int]) -> None:
    logits = ops.convert_to_numpy(small(photo(*size), training=False))
    assert logits.shape == (1, *size, 4)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("size", [1, 2, 5, 16, 31, 32, 33, 50, 64])
def test_mirror_indices_continue_the_image(size: int) -> None:
    indices = mirror_indices(size)
    before = (-size % 32) // 2
    assert indices.size % 32 == 0
    assert indices.size - size < 32
    np.testing.assert_array_equal(indices[before : before + size], np.arange(size))
    # numpy's own reflect mode, which repeats itself where the padding is longer than the side
    reference = np.pad(np.arange(size), (before, indices.size - size - before), mode="reflect")
    np.testing.assert_array_equal(indices, reference)


def test_padding_is_the_same_whether_the_size_is_known_or_not() -> None:
    layer = MirrorPad()
    images = photo(37, 5).astype("float32")
    dynamic = keras.Model(image := keras.Input((None, None, 3)), MirrorPad()(image))
    np.testing.assert_array_equal(dynamic.predict(images, verbose=0), ops.convert_to_numpy(layer(images)))


def test_odd_sizes_are_aligned(small: keras.Model) -> None:
    """A padded image's logits are those of the image that was mirrored by hand, cropped back."""
    images = photo(45, 70)
    rows, columns = mirror_indices(45), mirror_indices(70)
    by_hand = images[:, rows][:, :, columns]
    whole = ops.convert_to_numpy(small(by_hand, training=False))
    top, left = (-45 % 32) // 2, (-70 % 32) // 2
    np.testing.assert_allclose(
        ops.convert_to_numpy(small(images, training=False)),
        whole[:, top : top + 45, left : left + 70],
        atol=1e-4,
    )


def test_the_first_prediction_says_nothing() -> None:
    logits = build_fcn(Architecture(3, "small"))(photo(40, 40), training=False)
    np.testing.assert_array_equal(ops.convert_to_numpy(logits), 0)


def test_preprocessing_reorders_and_subtracts() -> None:
    layer = Preprocess(**backbone("vgg16").preprocessing.to_json())
    image = np.array([[[[10, 20, 30]]]], np.uint8)
    expected = [[[[30 - 103.939, 20 - 116.779, 10 - 123.68]]]]
    np.testing.assert_allclose(ops.convert_to_numpy(layer(image)), expected, rtol=1e-5)
    reference = keras.applications.vgg16.preprocess_input(image.astype("float32"))
    np.testing.assert_allclose(ops.convert_to_numpy(layer(image)), reference, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "trainable", "upsampling_shape"),
    [
        ({}, True, (64, 64, 4, 4)),
        ({"upsampling_trainable": False}, False, (64, 64, 4, 4)),
        ({"upsampling": "per_class"}, True, (64, 64, 4)),
        ({"upsampling": "per_class", "upsampling_trainable": False, "head": False}, False, (64, 64, 4)),
    ],
)
def test_options(options: dict[str, Any], trainable: bool, upsampling_shape: tuple[int, ...]) -> None:
    model = build_fcn(Architecture(4, "small", **options))
    upsampling = model.get_layer("upsampling")
    assert tuple(upsampling.kernel.shape) == upsampling_shape
    assert any(w is upsampling.kernel for w in model.trainable_weights) is trainable
    assert ("fc6" in {layer.name for layer in model.layers}) is options.get("head", True)


def test_a_frozen_upsampling_stays_and_a_free_one_learns() -> None:
    images, labels = photo(64, 64), np.random.default_rng(1).integers(0, 2, (1, 64, 64))
    for free in (True, False):
        model = randomised(Architecture(2, "small", upsampling_trainable=free))
        before = model.get_layer("upsampling").get_weights()[0]
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.train_on_batch(images, labels)
        assert np.array_equal(before, model.get_layer("upsampling").get_weights()[0]) is not free


def test_bfloat16_is_for_backbone_and_head_only() -> None:
    model = build_fcn(Architecture(2, "small"), dtype="mixed_bfloat16")
    kinds = {layer.name: layer.compute_dtype for layer in model.layers}
    assert {kinds[name] for name in ("preprocess", "pad", "score", "upsampling", "logits")} == {"float32"}
    assert {kinds[name] for name in ("block1_conv1", "block5_pool", "fc6", "fc7_dropout")} == {"bfloat16"}
    assert ops.convert_to_numpy(model(photo(33, 40))).dtype == np.float32


@pytest.mark.parametrize("backbone", ["small", "vgg16"])
def test_the_model_survives_keras_own_serialisation(backbone: Any) -> None:
    model = build_fcn(Architecture(3, backbone, head=backbone == "small", upsampling="per_class"))
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model))
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(
        ops.convert_to_numpy(again(photo(33, 35), training=False)),
        ops.convert_to_numpy(model(photo(33, 35), training=False)),
    )


@pytest.mark.parametrize(
    "architecture",
    [
        Architecture(1),
        Architecture(2, "efficientnet-lite2", stride=8),
        Architecture(2, "convnext-tiny", stride=4),
        Architecture(256, "small", head=False, dropout=0.1, upsampling="per_class", upsampling_trainable=False),
    ],
)
def test_the_architecture_round_trips(architecture: Architecture) -> None:
    assert Architecture.from_json(architecture.to_json()) == architecture
    preprocessing = backbone(architecture.backbone).preprocessing
    assert Preprocessing.from_json(preprocessing.to_json()) == preprocessing


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": 0}, "1 to 256 classes.*got 0"),
        ({"classes": 257}, "got 257"),
        ({"classes": 2, "backbone": "resnet"}, "no backbone 'resnet'; there are: vgg16, small, "),
        ({"classes": 2, "upsampling": "x"}, "no upsampling 'x'; there are: dense, per_class"),
        ({"classes": 2, "stride": 5}, "has the stride 32, 16, 8, 4, got 5"),
        ({"classes": 2, "dropout": 1.0}, "dropout.*got 1.0"),
    ],
)
def test_an_impossible_architecture_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Architecture(**arguments)


def test_unknown_keys_of_a_record_are_named() -> None:
    with pytest.raises(DataError, match=r"missing keys \['classes'\], unknown keys \['klasses'\]"):
        Architecture.from_json({**{k: v for k, v in Architecture(2).to_json().items() if k != "classes"}, "klasses": 2})


def test_it_runs_on_jax_without_tensorflow(small: keras.Model, tmp_path: Path) -> None:
    """The same weights give the same logits on the other backend, which loads no TensorFlow."""
    weights, images = tmp_path / "w.weights.h5", photo(45, 70)
    small.save_weights(weights)
    np.save(tmp_path / "images.npy", images)
    script = """
import sys
import numpy as np
from maskloop_backend.model.backbones.table import backbone
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.fcn import build_fcn
folder = sys.argv[1]
model = build_fcn(Architecture(4, "small"), weights=folder + "/w.weights.h5", blank=True)
np.save(folder + "/logits.npy", model.predict(np.load(folder + "/images.npy"), verbose=0))
other = build_fcn(Architecture(3, "small", upsampling="per_class", head=False), blank=True)
other.predict(np.zeros((1, 5, 70, 3)), verbose=0)
assert "tensorflow" not in sys.modules, "TensorFlow was imported"
"""
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        check=True,
    )
    expected = ops.convert_to_numpy(small(images, training=False))
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("name", "stride"), [("small", 16), ("small", 4), ("efficientnet-lite0", 8)])
@pytest.mark.parametrize("upsampling", ["dense", "per_class"])
def test_skips_add_scores_of_earlier_maps(name: str, stride: int, upsampling: Any) -> None:
    """With random scores the network is what one computes by hand from its taps."""
    architecture = Architecture(3, name, stride=stride, upsampling=upsampling)
    model = build_fcn(architecture)
    random = np.random.default_rng(0)
    for layer in model.layers:
        if layer.name.startswith(("score", "upsampling")):
            layer.set_weights([random.normal(size=w.shape).astype("float32") for w in layer.weights])
    taps = backbone(name).taps
    fronts = {s: keras.Model(model.input, output_of(model, taps[s].layer)) for s in architecture.strides}
    images = photo(64, 96)
    found: Any = None
    for s, front in fronts.items():
        score = model.get_layer("score" if s == 32 else f"score_{s}")(front(images, training=False))
        found = score if found is None else model.get_layer(f"upsampling_{s}")(found) + score
    expected = ops.convert_to_numpy(model.get_layer("upsampling")(found))
    assert expected.shape == (1, 64, 96, 3)
    np.testing.assert_allclose(ops.convert_to_numpy(model(images, training=False)), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (33, 65)])
def test_finer_strides_take_any_size(size: tuple[int, int]) -> None:
    model = build_fcn(Architecture(2, "efficientnet-lite0", stride=8))
    assert model(photo(*size), training=False).shape == (1, *size, 2)


def test_records_from_before_there_were_skips_have_none() -> None:
    old = {
        "classes": 3,
        "backbone": "small",
        "head": True,
        "dropout": 0.5,
        "upsampling": "dense",
        "upsampling_trainable": True,
    }
    assert Architecture.from_json(old) == Architecture(3, "small")
