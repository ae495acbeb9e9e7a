from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from scipy import stats

from maskloop_backend.active.uncertainty import Prober, UncertaintyError, bald, entropy, margin, signals, softmax
from maskloop_backend.inference.predictor import Predictor
from maskloop_backend.model.bundle import Bundle
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.fcn import build_fcn
from maskloop_converters.samples import LabelSet


def make_bundle(*, head: bool = True) -> Bundle:
    keras.utils.set_random_seed(3)
    architecture = Architecture(4, "small", head=head)
    model = build_fcn(architecture)
    width = model.get_layer("score").get_weights()[0].shape[2]
    model.get_layer("score").set_weights([np.random.default_rng(0).normal(0, 0.5, (1, 1, width, 4)), np.zeros(4)])
    return Bundle.create(model, architecture, LabelSet.from_names(["a", "b", "c", "d"]))


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return make_bundle()


def image(height: int = 64, width: int = 96) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("classes", [2, 5, 11])
def test_entropy_is_that_of_scipy(classes: int) -> None:
    probability = np.random.default_rng(0).dirichlet(np.ones(classes), (6, 7)).astype(np.float32)
    wanted = stats.entropy(probability, axis=-1, base=classes)
    np.testing.assert_allclose(entropy(probability), wanted, atol=1e-5)


def test_the_ends_of_entropy_and_margin() -> None:
    probability = np.array([[1, 0, 0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0]], np.float32)
    np.testing.assert_allclose(entropy(probability), [0, 1, np.log(2) / np.log(3)], atol=1e-6)
    np.testing.assert_allclose(margin(probability), [0, 1, 1], atol=1e-6)
    assert margin(np.ones((2, 1), np.float32)).tolist() == [0, 0]


def test_bald_is_what_the_passes_disagree_on() -> None:
    sure_each_other = [np.array([[1, 0]], np.float32), np.array([[0, 1]], np.float32)]
    unsure_alike = [np.array([[0.5, 0.5]], np.float32)] * 2
    assert bald(sure_each_other)[0] == pytest.approx(1)
    assert bald(unsure_alike)[0] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("size", [(64, 96), (50, 70)])
def test_the_probabilities_are_the_predictors(bundle: Bundle, size: tuple[int, int]) -> None:
    picture = image(*size)
    (found,) = Prober(bundle).probe([picture])
    logits = bundle.model.predict_on_batch(picture[None].astype(np.float32))[0]
    probability = softmax(np.asarray(logits))
    tenth = max(1, round(0.1 * probability[..., 0].size))
    wanted = np.sort(entropy(probability).ravel())[-tenth:].mean()
    assert found.scores["entropy"] == pytest.approx(wanted, abs=1e-4)
    (prediction,) = Predictor(bundle, precision="float32").predict([picture])
    area = np.bincount(prediction.label_map.ravel(), minlength=4) / prediction.label_map.size
    np.testing.assert_allclose(found.area, area, atol=2e-3)
    assert np.linalg.norm(found.features) == pytest.approx(1, abs=1e-5)


def test_bald_runs_the_convolutions_once(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    prober = Prober(bundle, measures=("bald",), passes=5)
    calls: dict[str, int] = {"front": 0, "tail": 0}

    def counted(name: str, model: Any) -> Any:
        run = model.predict_on_batch

        def count(batch: Any) -> Any:
            calls[name] += 1
            return run(batch)

        monkeypatch.setattr(model, "predict_on_batch", count)

    counted("front", prober._front)
    counted("tail", prober._random_tail)
    (found,) = prober.probe([image()])
    assert calls == {"front": 1, "tail": 5}
    assert 0 < found.scores["bald"] < 1


def test_the_random_head_agrees_with_the_whole_network_on_average(bundle: Bundle) -> None:
    """Mean probabilities of many passes, against the whole network with its own dropout at work."""
    batch = image(32, 32)[None].astype(np.float32)
    prober = Prober(bundle, measures=("bald",))
    features = prober._front.predict_on_batch(batch)
    draws = 3000
    ours = softmax(np.asarray(prober._random_tail.predict_on_batch(np.repeat(features, draws, axis=0)))).mean(0)
    model = bundle.model
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in norms:
        layer.trainable = False  # its statistics, not the batch's
    try:
        logits = model(np.repeat(batch, draws, axis=0), training=True)
    finally:
        for layer in norms:
            layer.trainable = True
    whole = softmax(np.asarray(keras.ops.convert_to_numpy(logits))).mean(0)
    once = softmax(np.asarray(model.predict_on_batch(batch)))[0]
    # far closer to each other than to the plain prediction
    assert np.abs(ours - whole).mean() < 0.01
    assert np.abs(ours - once).mean() > 0.02


def test_bald_needs_dropout() -> None:
    with pytest.raises(UncertaintyError, match=r"no dropout.*maskloop train --head"):
        Prober(make_bundle(head=False), measures=("bald",))


def test_a_rare_class_counts_as_much_as_a_large_one() -> None:
    label_map = np.zeros((100, 100), np.uint8)
    label_map[:10, :10] = 2
    unsure = np.where(label_map == 2, 0.9, 0.1).astype(np.float32)
    found = signals(label_map, {"entropy": unsure}, unsure, np.ones((3, 3, 5), np.float32), 4, None)
    assert found.by_class == {0: pytest.approx(0.1), 2: pytest.approx(0.9)}
    assert found.stratified == pytest.approx(0.5)
    assert found.scores["entropy"] == pytest.approx(0.18, abs=1e-6)
    np.testing.assert_allclose(found.area, [0.99, 0, 0.01, 0])


def test_large_images_are_shrunk(bundle: Bundle) -> None:
    small = Prober(bundle, max_side=64)
    (found,) = small.probe([image(200, 300)])
    assert 0 <= found.scores["margin"] <= 1
