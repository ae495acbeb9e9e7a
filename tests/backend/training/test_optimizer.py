"""AdamW with rates, without decay on biases, and the mean of what the variables were."""

from __future__ import annotations

import keras
import numpy as np

from maskloop_backend.training.optimizer import RatedAdamW


def model(optimizer: RatedAdamW) -> keras.Model:
    inputs = keras.Input((3,))
    outputs = keras.layers.Dense(2, kernel_initializer="ones", bias_initializer="ones")(inputs)
    network = keras.Model(inputs, outputs)
    network.compile(optimizer, "mse", jit_compile=False)
    optimizer.build(network.trainable_variables)
    return network


def test_biases_do_not_decay() -> None:
    network = model(RatedAdamW([1.0, 1.0], 0.1, weight_decay=0.5))
    # zeros in and ones wanted: no gradient at all
    network.train_on_batch(np.zeros((4, 3), np.float32), np.ones((4, 2), np.float32))
    kernel, bias = network.get_weights()
    np.testing.assert_allclose(kernel, 0.95, rtol=1e-6)
    np.testing.assert_allclose(bias, 1.0)


def test_the_mean_is_that_of_the_weights_after_every_step_and_the_weights_come_back() -> None:
    optimizer = RatedAdamW([1.0, 0.5], 0.1, average=0.4)
    network = model(optimizer)
    rng = np.random.default_rng(0)
    with optimizer.averaged():
        np.testing.assert_array_equal(network.get_weights()[0], 1)
    expected = [np.zeros((3, 2)), np.zeros(2)]
    for step in range(12):
        network.train_on_batch(rng.normal(size=(4, 3)).astype(np.float32), np.zeros((4, 2), np.float32))
        past = min(0.4, step / (step + 10))
        now = network.get_weights()
        expected = [past * mean + (1 - past) * weight for mean, weight in zip(expected, now, strict=True)]
    with optimizer.averaged():
        for mean, weight in zip(expected, network.get_weights(), strict=True):
            np.testing.assert_allclose(weight, mean, rtol=1e-5)
    for before, after in zip(now, network.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_without_an_average_nothing_is_kept() -> None:
    optimizer = RatedAdamW([1.0, 1.0], 0.1)
    network = model(optimizer)
    count = len(optimizer.variables)
    network.train_on_batch(np.ones((4, 3), np.float32), np.zeros((4, 2), np.float32))
    before = network.get_weights()
    with optimizer.averaged():
        np.testing.assert_array_equal(network.get_weights()[0], before[0])
    averaging = RatedAdamW([1.0, 1.0], 0.1, average=0.9)
    model(averaging)
    assert len(averaging.variables) == count + 2
