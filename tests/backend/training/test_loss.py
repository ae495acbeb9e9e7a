"""The loss against NumPy: void counts nowhere, and the size of the image does not matter."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from maskloop_backend.training.loss import class_weights, cross_entropy, median_frequency
from maskloop_backend.training.metrics import VOID


def reference(target: np.ndarray, logits: np.ndarray, weights: list[float]) -> float:
    total = weight = 0.0
    for truth, row in zip(target.ravel(), logits.reshape(-1, logits.shape[-1]), strict=True):
        if truth != VOID:
            total += weights[truth] * (np.log(np.exp(row).sum()) - row[truth])
            weight += weights[truth]
    return total / weight


def value(target: np.ndarray, logits: np.ndarray, weights: list[float]) -> float:
    return float(ops.convert_to_numpy(cross_entropy(weights)(target, ops.convert_to_tensor(logits))))


def example(void: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    target = rng.integers(0, 3, (2, 6, 5)).astype(np.int32)
    target[rng.random(target.shape) < void] = VOID
    return target, rng.normal(size=(2, 6, 5, 3)).astype(np.float32) * 4


@pytest.mark.parametrize("void", [0, 0.4])
@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [0.5, 1.0, 7.0]])
def test_it_is_the_weighted_mean_over_judged_pixels(void: float, weights: list[float]) -> None:
    target, logits = example(void)
    assert value(target, logits, weights) == pytest.approx(reference(target, logits, weights), rel=1e-5)


def test_logits_of_void_pixels_do_not_matter() -> None:
    target, logits = example(0.4)
    other = np.where((target == VOID)[..., None], 50 - logits, logits)
    assert value(target, other, [1.0] * 3) == value(target, logits, [1.0] * 3)


def test_the_size_of_the_image_does_not_matter() -> None:
    target, logits = example(0.2)
    larger = np.tile(target, (1, 4, 4)), np.tile(logits, (1, 4, 4, 1))
    assert value(*larger, [1.0] * 3) == pytest.approx(value(target, logits, [1.0] * 3), rel=1e-5)


def test_all_void_is_0_and_not_nan() -> None:
    _, logits = example(0)
    assert value(np.full((2, 6, 5), VOID, np.int32), logits, [1.0] * 3) == 0


def test_the_gradient_keeps_its_size_with_the_image() -> None:
    """One step of plain gradient descent on a bias changes it alike for a small and a large image."""
    target, _ = example(0.3)
    moved = []
    for size in (1, 8):
        inputs = keras.Input((None, None, 1))
        start = keras.initializers.Zeros()
        outputs = keras.layers.Conv2D(3, 1, kernel_initializer=start, bias_initializer=start)(inputs)
        model = keras.Model(inputs, outputs)
        model.compile(keras.optimizers.SGD(1.0), cross_entropy([1.0] * 3), jit_compile=False)
        tiled = np.tile(target, (1, size, size))
        model.train_on_batch(np.zeros((*tiled.shape, 1), np.float32), tiled)
        moved.append(model.get_weights()[1])
    assert np.abs(moved[0]).max() > 0.01
    np.testing.assert_allclose(moved[0], moved[1], rtol=1e-4)


def test_median_frequency_weighs_rare_classes_up_to_a_limit() -> None:
    assert median_frequency(np.array([1000, 100, 50, 1, 0])) == [0.075, 0.75, 1.5, 10.0, 1.0]


def test_the_soft_iou_of_present_classes_is_added() -> None:
    target, logits = example(0.4)
    target[target == 1] = 0
    judged = target != VOID
    probability = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    missed = []
    for k in (0, 2):
        p, t = probability[..., k][judged], (target == k)[judged]
        missed.append(1 - ((p * t).sum() + 1) / (p.sum() + t.sum() - (p * t).sum() + 1))
    plain = value(target, logits, [1.0] * 3)
    with_iou = float(ops.convert_to_numpy(cross_entropy([1.0] * 3, jaccard=0.5)(target, ops.convert_to_tensor(logits))))
    assert with_iou - plain == pytest.approx(0.5 * np.mean(missed), rel=1e-4)
    void = np.full_like(target, VOID)
    assert float(ops.convert_to_numpy(cross_entropy([1.0] * 3, jaccard=0.5)(void, ops.convert_to_tensor(logits)))) == 0


def test_class_weights_by_name() -> None:
    pixels = np.array([1600, 100, 25, 1, 0])
    assert class_weights(pixels, "none") == [1.0] * 5
    assert class_weights(pixels, "median_frequency") == median_frequency(pixels)
    found = class_weights(pixels, "sqrt_median_frequency")
    assert found == pytest.approx([0.1976, 0.7906, 1.5811, 4.0, 1.0], abs=1e-4)
