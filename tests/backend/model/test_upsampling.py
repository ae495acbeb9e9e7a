"""The transposed convolution against what it is said to be."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops
from numpy.typing import NDArray

from maskloop_backend.model.upsampling import (
    Bilinear,
    DenseUpsampling,
    PerClassUpsampling,
    SampledUpsampling,
    linear_taps,
)

Array = NDArray[Any]


def repeat_edges(scores: Array) -> Array:
    return np.pad(scores, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")


def insert_zeros_and_convolve(scores: Array, kernel: Array, factor: int) -> Array:
    """The idea, word for word: zero rows and columns between the cells, then a regular convolution."""
    batch, height, width, k = scores.shape
    spread = np.zeros((batch, height * factor, width * factor, k))
    spread[:, ::factor, ::factor] = scores
    side = 2 * factor
    padded = np.pad(spread, ((0, 0), (side - 1, side - 1), (side - 1, side - 1), (0, 0)))
    out = np.zeros((batch, (height + 1) * factor, (width + 1) * factor, k))
    for y in range(side):
        for x in range(side):
            # position (y, x) of a transposed convolution's kernel is (-y, -x) of the regular one
            window = padded[:, side - 1 - y :, side - 1 - x :][:, : out.shape[1], : out.shape[2]]
            out += np.einsum("bhwi,oi->bhwo", window, kernel[y, x])
    return out


@pytest.mark.parametrize(("factor", "height", "width"), [(2, 3, 4), (4, 1, 1), (8, 2, 3)])
def test_dense_equals_inserting_zeros_and_convolving(factor: int, height: int, width: int) -> None:
    random = np.random.default_rng(1)
    scores = random.normal(size=(2, height, width, 3)).astype("float32")
    layer = DenseUpsampling(3, factor)
    layer.build(scores.shape)
    kernel = random.normal(size=layer.kernel.shape).astype("float32")
    layer.set_weights([kernel])
    full = insert_zeros_and_convolve(repeat_edges(scores), kernel, factor)
    start = factor + factor // 2
    expected = full[:, start : start + height * factor, start : start + width * factor]
    np.testing.assert_allclose(ops.convert_to_numpy(layer(scores)), expected, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (4, 3)])
def test_dense_equals_keras_conv2dtranspose(size: tuple[int, int]) -> None:
    random = np.random.default_rng(2)
    scores = random.normal(size=(2, *size, 5)).astype("float32")
    layer = DenseUpsampling(5, 32)
    layer.build(scores.shape)
    layer.set_weights([random.normal(size=layer.kernel.shape).astype("float32")])
    reference = keras.layers.Conv2DTranspose(5, 64, strides=32, padding="same", use_bias=False)
    reference.build(scores.shape)
    reference.set_weights(layer.get_weights())
    expected = ops.convert_to_numpy(reference(repeat_edges(scores)))[:, 32:-32, 32:-32]
    np.testing.assert_allclose(ops.convert_to_numpy(layer(scores)), expected, atol=1e-4)


@pytest.mark.parametrize("layer", [DenseUpsampling(4, 32), PerClassUpsampling(32)], ids=["dense", "per_class"])
def test_the_initial_kernel_is_linear_interpolation(layer: Any) -> None:
    scores = np.random.default_rng(3).normal(size=(1, 3, 4, 4)).astype("float32")
    # centres of output pixels in cells; np.interp holds the outermost values beyond the outermost centres
    rows, columns = ((np.arange(32 * n) + 0.5) / 32 - 0.5 for n in (3, 4))
    expected = np.stack(
        [
            np.stack(
                [
                    np.interp(rows, range(3), [np.interp(x, range(4), line) for line in scores[0, :, :, k]])
                    for x in columns
                ],
                axis=1,
            )
            for k in range(4)
        ],
        axis=-1,
    )
    np.testing.assert_allclose(ops.convert_to_numpy(layer(scores))[0], expected, atol=1e-5)


def test_per_class_is_the_diagonal_of_dense() -> None:
    random = np.random.default_rng(4)
    scores = random.normal(size=(2, 3, 2, 3)).astype("float32")
    per_class, dense = PerClassUpsampling(8), DenseUpsampling(3, 8)
    per_class.build(scores.shape)
    dense.build(scores.shape)
    kernel = random.normal(size=(16, 16, 3)).astype("float32")
    per_class.set_weights([kernel])
    dense.set_weights([kernel[:, :, :, None] * np.eye(3, dtype="float32")])
    np.testing.assert_allclose(ops.convert_to_numpy(per_class(scores)), ops.convert_to_numpy(dense(scores)), atol=1e-5)


def test_taps_of_the_two_cells_that_a_pixel_sees_sum_to_one() -> None:
    taps = linear_taps(32)
    assert taps.shape == (64,)
    np.testing.assert_allclose(taps[:32] + taps[32:], 1)
    assert taps[31] == taps[32] == taps.max()


@pytest.mark.parametrize("shape", [(4, 4), (3, 3, 2), (4, 2, 2), (4, 4, 2, 3)])
def test_a_kernel_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(2s, 2s, K\)"):
        Bilinear()(shape)


@pytest.mark.parametrize("layer", [DenseUpsampling(4, 16, name="u"), PerClassUpsampling(16, name="u")])
def test_config_round_trip(layer: Any) -> None:
    config = keras.layers.serialize(layer)
    again = keras.layers.deserialize(config)
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()
    scores = np.ones((1, 2, 2, 4), "float32")
    np.testing.assert_array_equal(ops.convert_to_numpy(again(scores)), ops.convert_to_numpy(layer(scores)))


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize(("factor", "every"), [(4, 2), (8, 4), (16, 4)])
def test_some_pixels_are_those_of_the_whole_map(factor: int, every: int, per_class: bool) -> None:
    random = np.random.default_rng(3)
    scores = random.normal(size=(2, 3, 2, 3)).astype("float32")
    layer = PerClassUpsampling(factor) if per_class else DenseUpsampling(3, factor)
    whole = ops.convert_to_numpy(layer(scores))
    layer.set_weights([random.normal(size=layer.kernel.shape).astype("float32")])
    whole = ops.convert_to_numpy(layer(scores))
    sampled = SampledUpsampling(layer, every)
    for top, left in ((0, 0), (1, 0), (every - 1, 1)):
        some = ops.convert_to_numpy(sampled(scores, np.full((2, 2), (top, left), np.int32)))
        np.testing.assert_allclose(some, whole[:, top::every, left::every], atol=1e-5)


def test_pixels_lie_where_the_map_begins_anew() -> None:
    with pytest.raises(ValueError, match="expected a divisor of 4, half of the factor, got 3"):
        SampledUpsampling(DenseUpsampling(3, 8), 3)
