"""A head for other classes: what both versions know stays what it was."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from maskloop_backend.model.config import Architecture, Upsampling
from maskloop_backend.model.fcn import build_fcn
from maskloop_backend.training.growing import shrink_and_perturb, take_weights

OLD = ["sky", "road", "car"]


def trained(classes: int, upsampling: Upsampling = "dense") -> keras.Model:
    """Return a network whose weights are all random, as after a training."""
    model = build_fcn(Architecture(classes, backbone="small", upsampling=upsampling))
    rng = np.random.default_rng(0)
    for name in ("score", "upsampling"):
        layer = model.get_layer(name)
        layer.set_weights([rng.normal(0, 0.1, w.shape).astype(np.float32) for w in layer.get_weights()])
    return model


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 255, (1, 70, 64, 3)).astype(np.float32)


@pytest.mark.parametrize("upsampling", ["dense", "per_class"])
@pytest.mark.parametrize("names", [["sky", "road", "car", "person"], ["person", "car", "dog", "sky", "road"], OLD])
def test_known_classes_keep_their_logits_and_new_ones_begin_at_zero(
    image: np.ndarray, names: list[str], upsampling: Upsampling
) -> None:
    source = trained(len(OLD), upsampling)
    model = trained(len(names), upsampling)
    take_weights(model, source, names, OLD)
    before, after = source.predict_on_batch(image), model.predict_on_batch(image)
    for channel, name in enumerate(names):
        expected = before[..., OLD.index(name)] if name in OLD else np.zeros_like(before[..., 0])
        np.testing.assert_allclose(after[..., channel], expected, rtol=0, atol=1e-5, err_msg=name)
    assert np.abs(before).max() > 0.01


def test_a_class_that_is_gone_takes_its_rows_along() -> None:
    source, model = trained(3), trained(2)
    take_weights(model, source, ["car", "sky"], OLD)
    np.testing.assert_array_equal(
        model.get_layer("score").get_weights()[0], source.get_layer("score").get_weights()[0][..., [2, 0]]
    )
    kernel, old = (network.get_layer("upsampling").get_weights()[0] for network in (model, source))
    np.testing.assert_array_equal(kernel, old[:, :, [2, 0]][:, :, :, [2, 0]])


def test_a_new_class_is_interpolated_linearly() -> None:
    """Its kernel is that of a network that nobody has trained yet."""
    model = trained(4)
    take_weights(model, trained(3), [*OLD, "person"], OLD)
    kernel = model.get_layer("upsampling").get_weights()[0]
    untrained = build_fcn(Architecture(4, backbone="small")).get_layer("upsampling").get_weights()[0]
    np.testing.assert_array_equal(kernel[:, :, 3], untrained[:, :, 3])
    np.testing.assert_array_equal(kernel[:, :, :, 3], untrained[:, :, :, 3])


def test_shrinking_and_perturbing_mixes_what_was_learned_with_fresh_weights() -> None:
    model, fresh = trained(3), trained(3)
    model.get_layer("block1_conv1").trainable = False
    before = {layer.name: layer.get_weights() for layer in model.layers}
    shrink_and_perturb(model, fresh, 0.5, 0.1)
    for layer in model.layers:
        own = before[layer.name]
        if layer.name in ("block2_conv1", "fc6"):
            other = fresh.get_layer(layer.name).get_weights()
            expected = [0.5 * one + 0.1 * two for one, two in zip(own, other, strict=True)]
        elif layer.name in ("block1_conv1", "score", "upsampling", "fc6_norm"):
            expected = own
        else:
            continue
        for got, want in zip(layer.get_weights(), expected, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-6, err_msg=layer.name)
