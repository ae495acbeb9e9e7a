"""Training on cached features is training the network with its backbone frozen."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from maskloop_backend.demo.labels import LABELS
from maskloop_backend.demo.scenes import scenes, write_scenes
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.fcn import build_fcn, split_network
from maskloop_backend.training.batches import Batches, Draw, Emphasis
from maskloop_backend.training.dataset import Examples
from maskloop_backend.training.features import FeatureBatches
from maskloop_backend.training.loss import cross_entropy
from maskloop_backend.training.settings import SettingsError, TrainingSettings
from maskloop_converters import datasets

SETTINGS = TrainingSettings(backbone="small", batch_size=3, crop=(64, 96), frozen_blocks=5, cached_views=2, seed=4)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    folder = tmp_path_factory.mktemp("features") / "street"
    write_scenes(folder, 3, size=(64, 96))
    dataset = datasets.read(folder)
    return Examples(dataset, dataset.labels)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    network = build_fcn(Architecture(len(LABELS.classes), backbone="small", dropout=0.0))
    for name in ("score", "upsampling"):
        layer = network.get_layer(name)
        layer.set_weights([w + np.random.default_rng(0).normal(0, 0.1, w.shape) for w in layer.get_weights()])
    for layer in network.layers:
        layer.trainable = not layer.name.startswith("block")
    return network


def features(examples: Examples, model: keras.Model, directory: Path, **limits: int) -> FeatureBatches:
    draw = Draw(examples.ids, Emphasis(), SETTINGS.batch_size, SETTINGS.seed)
    return FeatureBatches(examples, draw, SETTINGS, split_network(model, "block5_pool")[0], directory, **limits)


def ignore(done: int, total: int) -> None:
    """Watch nothing."""


def test_logits_and_gradients_are_those_of_the_whole_network(
    tmp_path: Path, examples: Examples, model: keras.Model
) -> None:
    cached = features(examples, model, tmp_path)
    cached.compute(ignore)
    rest = split_network(model, "block5_pool")[1]
    loss = cross_entropy([1.0] * len(LABELS.classes))
    # the same views, through the whole network
    inputs, targets = cached.at(2)
    rows = [
        int(np.flatnonzero((cached._features[0].astype(np.float32) == one).all(axis=(1, 2, 3)))[0]) for one in inputs
    ]
    images = np.stack([cached._view(row)[0] for row in rows]).astype(np.float32)
    results = []
    for network, batch in ((model, images), (rest, inputs)):
        with tf.GradientTape() as tape:
            logits = network(batch, training=False)
            value = loss(targets, logits)
        results.append(
            (logits.numpy(), [g.numpy() for g in tape.gradient(value, [v.value for v in rest.trainable_variables])])
        )
    (logits, gradients), (cached_logits, cached_gradients) = results
    # features are kept in half precision
    np.testing.assert_allclose(cached_logits, logits, rtol=2e-3, atol=2e-3)
    assert len(gradients) == len(model.trainable_variables)
    assert any(np.abs(gradient).max() > 1e-4 for gradient in gradients)
    for one, other in zip(cached_gradients, gradients, strict=True):
        # a few ReLUs stand the other way round after half precision
        assert np.linalg.norm(one - other) < 0.01 * np.linalg.norm(other)


def test_earlier_maps_that_score_layers_read_are_kept_too(tmp_path: Path, examples: Examples) -> None:
    keras.utils.set_random_seed(0)
    network = build_fcn(Architecture(len(LABELS.classes), backbone="small", dropout=0.0, stride=8))
    for layer in network.layers:
        if layer.name.startswith("score"):
            layer.set_weights([w + np.random.default_rng(0).normal(0, 0.1, w.shape) for w in layer.get_weights()])
    front, rest = split_network(network, "block4_pool")
    draw = Draw(examples.ids, Emphasis(), SETTINGS.batch_size, SETTINGS.seed)
    cached = FeatureBatches(examples, draw, SETTINGS, front, tmp_path)
    cached.compute(ignore)
    inputs, _ = cached.at(1)
    assert sorted(one.shape for one in inputs) == [(3, 4, 6, 96), (3, 8, 12, 64)]
    rows = [
        int(np.flatnonzero((cached._features[0].astype(np.float32) == one).all(axis=(1, 2, 3)))[0]) for one in inputs[0]
    ]
    images = np.stack([cached._view(row)[0] for row in rows]).astype(np.float32)
    np.testing.assert_allclose(rest(inputs), network(images), atol=2e-3)


def test_a_loss_at_some_pixels_gets_the_targets_of_these(
    tmp_path: Path, examples: Examples, model: keras.Model
) -> None:
    front, rest = split_network(model, "block5_pool", every=4)
    draw = Draw(examples.ids, Emphasis(), SETTINGS.batch_size, SETTINGS.seed)
    settings = dataclasses.replace(SETTINGS, loss_every=4)
    cached = FeatureBatches(examples, draw, settings, front, tmp_path)
    cached.compute(ignore)
    phases = set()
    for step in range(4):
        (*maps, phase), targets = cached.at(step)
        assert targets.shape == (3, 16, 24)
        top, left = phase[0]
        phases.add((int(top), int(left)))
        whole = split_network(model, "block5_pool")[1](maps[0]).numpy()
        np.testing.assert_allclose(rest([*maps, phase]).numpy(), whole[:, top::4, left::4], atol=1e-5)
    assert len(phases) > 1


def test_an_interrupted_computation_goes_on_where_it_stopped(
    tmp_path: Path, examples: Examples, model: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskloop_backend.training.features._AT_ONCE", 1)
    monkeypatch.setattr("maskloop_backend.training.features._BETWEEN", 1)
    whole = features(examples, model, tmp_path / "whole")
    whole.compute(ignore)

    def stop(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        features(examples, model, tmp_path / "parts").compute(stop)
    seen: list[int] = []
    resumed = features(examples, model, tmp_path / "parts")
    resumed.compute(lambda done, total: seen.append(done))
    assert seen == [4, 5, 6]
    for one, other in zip(whole.at(1), resumed.at(1), strict=True):
        np.testing.assert_array_equal(one, other)


def test_too_little_space_means_fewer_views(tmp_path: Path, examples: Examples, model: keras.Model) -> None:
    view = 2 * 2 * 3 * 128 + 64 * 96
    assert features(examples, model, tmp_path).views == 2
    assert features(examples, model, tmp_path, limit=5 * view).views == 1
    assert features(examples, model, tmp_path, limit=2 * view).views == 0


def test_views_are_what_any_training_sees(tmp_path: Path, examples: Examples, model: keras.Model) -> None:
    """Crops of the same kind: same sizes, targets in range, images of every scene."""
    cached = features(examples, model, tmp_path)
    cached.compute(ignore)
    draw = Draw(examples.ids, Emphasis(), SETTINGS.batch_size, SETTINGS.seed)
    images, targets = Batches(examples, examples.shapes, draw, SETTINGS).at(0)
    inputs, cached_targets = cached.at(0)
    assert targets.shape == cached_targets.shape == images.shape[:3]
    assert targets.dtype == cached_targets.dtype
    assert inputs.shape == (3, 2, 3, 128)
    assert len(list(scenes(3, size=(64, 96)))) == len(examples)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"loss_every": 2}, "loss_every is 2; expected 1, or with cached_views a divisor of 16, half of the stride"),
        ({"cached_views": 2}, "cached_views is 2; expected 0, or a whole number from 1 with frozen_blocks from 1"),
        ({"frozen_head": True}, "frozen_head is True; expected False unless"),
        ({"backbone_rate": 0.0}, "backbone_rate is 0.0"),
        ({"shrink": 1.5}, "shrink is 1.5"),
        ({"perturb": -1.0}, "perturb is -1.0"),
    ],
)
def test_settings_that_do_not_go_together(values: dict[str, float], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        TrainingSettings.from_json({"backbone": "small", **values})
