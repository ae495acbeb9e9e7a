"""The table of backbones against the networks that are built."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from maskloop_backend.model.backbones.lite_plan import lite_blocks
from maskloop_backend.model.backbones.table import BACKBONES, backbone
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.fcn import backbone_layers, boundary, build_fcn, output_of, split_network
from maskloop_converters.errors import DataError


@pytest.fixture(scope="module", params=list(BACKBONES))
def network(request: pytest.FixtureRequest) -> tuple[str, keras.Model]:
    name = request.param
    stride = min(backbone(name).taps)
    # VGG16's head is 120 M weights
    architecture = Architecture(3, name, head=name != "vgg16", stride=stride)
    return name, build_fcn(architecture, blank=name == "vgg16")


def shape(model: keras.Model, layer: str) -> tuple[int, ...]:
    part = keras.Model(model.input, output_of(model, layer))
    return tuple(part.compute_output_shape((1, 64, 96, 3)))


def test_taps_and_blocks_are_where_the_table_says(network: tuple[str, keras.Model]) -> None:
    name, model = network
    entry = backbone(name)
    for stride, tap in entry.taps.items():
        if name != "vgg16" or stride < 32:
            assert (tap.layer, shape(model, tap.layer)) == (tap.layer, (1, 64 // stride, 96 // stride, tap.channels))
    for block in entry.blocks:
        assert (block.output, shape(model, block.output)[1:3]) == (
            block.output,
            (64 // block.stride, 96 // block.stride),
        )
    assert sorted(block.stride for block in entry.blocks) == [block.stride for block in entry.blocks]


def test_blocks_are_the_whole_backbone_in_order(network: tuple[str, keras.Model]) -> None:
    name, model = network
    count = len(backbone(name).blocks)
    before: set[str] = set()
    for blocks in range(count + 1):
        layers = {layer.name for layer in backbone_layers(model, name, blocks)}
        assert before < layers or blocks == 0
        before = layers
    learning = {layer.name for layer in model.layers if layer.weights}
    outside = {layer for layer in learning - before if not layer.startswith(("score", "upsampling"))}
    assert outside == {"small": {"fc6", "fc6_norm", "fc7", "fc7_norm"}}.get(name, {"head"} & learning)
    assert not any(layer.startswith(("score", "upsampling", "logits", "head")) for layer in before)


def test_a_network_in_two_parts_gives_the_same_logits(network: tuple[str, keras.Model]) -> None:
    name, model = network
    random = np.random.default_rng(0)
    for layer in model.layers:
        if layer.name.startswith("score"):
            layer.set_weights([random.normal(size=w.shape).astype("float32") for w in layer.weights])
    images = random.integers(0, 256, (1, 64, 32, 3)).astype("float32")
    whole = ops.convert_to_numpy(model(images, training=False))
    entry = backbone(name)
    for block in (entry.blocks[len(entry.blocks) // 2], entry.blocks[-1]):
        front, rest = split_network(model, block.output)
        tensors = boundary(model, block.output)
        assert tensors[0] is output_of(model, block.output)
        parts = ops.convert_to_numpy(rest(front(images, training=False), training=False))
        np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-5)


def test_maps_of_few_channels_are_kept_instead_of_what_comes_of_them() -> None:
    """FCN-8s on Lite0: 40, 112 and 320 channels instead of 240, 672 and 320; the logits stay, and some of them are some."""
    model = build_fcn(Architecture(2, "efficientnet-lite0", stride=8))
    random = np.random.default_rng(0)
    for layer in model.layers:
        if layer.name.startswith("score"):
            layer.set_weights([random.normal(size=w.shape).astype("float32") for w in layer.weights])
    images = random.integers(0, 256, (1, 64, 32, 3)).astype("float32")
    whole = ops.convert_to_numpy(model(images, training=False))
    front, rest = split_network(model, "block15_project", narrow=True)
    assert sorted(one.shape[-1] for one in front.outputs) == [40, 112, 320]
    np.testing.assert_allclose(ops.convert_to_numpy(rest(front(images))), whole, rtol=1e-4, atol=1e-4)
    front, rest = split_network(model, "block15_project", narrow=True, every=4)
    some = ops.convert_to_numpy(rest([*front(images), ops.convert_to_tensor(np.array([[1, 3]], np.int32))]))
    np.testing.assert_allclose(some, whole[:, 1::4, 3::4], rtol=1e-4, atol=1e-4)


def test_the_lite_networks_are_those_of_the_paper() -> None:
    lite0, lite2 = lite_blocks(1.0, 1.0), lite_blocks(1.1, 1.2)
    assert (len(lite0), len(lite2)) == (16, 21)
    assert [block.filters for block in lite0][-1] == 320
    assert sorted({block.filters for block in lite2}) == [16, 24, 48, 88, 120, 208, 352]
    # published: 4.65 M and 6.09 M parameters, of which 1.281 M are the classifier; folded normalisation has half as many
    for name, count in (("efficientnet-lite0", 3.35e6), ("efficientnet-lite2", 4.78e6)):
        model = build_fcn(Architecture(2, name), blank=True)
        own = sum(layer.count_params() for layer in backbone_layers(model, name, head=True))
        assert own == pytest.approx(count, rel=0.01)


def test_unknown_names_list_what_there_is() -> None:
    with pytest.raises(DataError, match=r"no backbone 'lite0'; there are: vgg16, small, efficientnet-lite0"):
        backbone("lite0")


@pytest.mark.parametrize("name", ["mobilenetv3-large", "resnet50v2", "efficientnetv2-b0"])
def test_statistics_of_keras_applications_stay(name: str) -> None:
    model = build_fcn(Architecture(2, name))
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert norms
    assert not any(layer.trainable for layer in norms)


@pytest.mark.parametrize("dtype", [None, "mixed_bfloat16"])
def test_the_precision_of_a_backbone_is_its_own(dtype: Any) -> None:
    before = keras.config.dtype_policy().name
    model = build_fcn(Architecture(2, "mobilenetv3-large", stride=8), dtype=dtype)
    assert keras.config.dtype_policy().name == before
    kinds = {layer.name: layer.compute_dtype for layer in model.layers}
    assert kinds["conv"] == ("bfloat16" if dtype else "float32")
    assert {kinds[name] for name in ("score", "score_8", "upsampling", "upsampling_8")} == {"float32"}
