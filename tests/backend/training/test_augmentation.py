"""Image and target move together, whatever is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from maskloop_backend.training.augmentation import augment, cut, recolor
from maskloop_backend.training.metrics import VOID
from maskloop_backend.training.recipes import Recipe

GREYS = np.array([20, 90, 160, 230], np.uint8)


def blocks(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture whose grey says its class: four classes in blocks of 16 pixels."""
    y, x = np.mgrid[:height, :width] // 16
    target = ((x + 2 * y) % 4).astype(np.uint8)
    return np.repeat(GREYS[target][..., None], 3, axis=2), target


@pytest.mark.parametrize("size", [(96, 128), (40, 200), (200, 33)])
@pytest.mark.parametrize("seed", range(6))
def test_image_and_target_move_together(size: tuple[int, int], seed: int) -> None:
    recipe = Recipe(color=0, scale=(0.5, 2), aspect=0.3)
    image, target = augment(*blocks(*size), (64, 96), recipe, np.random.default_rng(seed))
    assert image.shape == (64, 96, 3)
    assert target.shape == (64, 96)
    seen = target != VOID
    guess = np.abs(image[..., :1].astype(int) - GREYS).argmin(-1)
    # bilinear edges between blocks are greys of neither class
    assert (guess == target)[seen].mean() > 0.85
    assert (image[~seen] == 127).all()


def test_the_same_seed_gives_the_same_crop_and_another_one_another() -> None:
    crops = [augment(*blocks(96, 128), (64, 64), Recipe(), np.random.default_rng(seed))[0] for seed in (1, 1, 2)]
    np.testing.assert_array_equal(crops[0], crops[1])
    assert (crops[0] != crops[2]).any()


def test_zoom_1_is_the_image_itself() -> None:
    image, target = blocks(64, 96)
    out, out_target = cut(image, target, (32, 48), (1.0, 1.0), (1.0, 0.5))
    np.testing.assert_array_equal(out, image[32:, 24:72])
    np.testing.assert_array_equal(out_target, target[32:, 24:72])


def test_an_image_smaller_than_the_crop_is_whole_and_void_around_it() -> None:
    image, target = blocks(32, 48)
    out, out_target = cut(image, target, (64, 64), (1.0, 1.0), (0.5, 0.0))
    np.testing.assert_array_equal(out_target[16:48, :48], target)
    np.testing.assert_array_equal(out[16:48, :48], image)
    assert (out_target != VOID).sum() == target.size


def test_flips_half_of_the_crops() -> None:
    image, target = blocks(64, 64)
    target[:, 0], target[:, -1] = 0, 3
    recipe = Recipe(color=0, scale=(1, 1))
    rngs = [np.random.default_rng(seed) for seed in range(40)]
    left = [augment(image, target, (64, 64), recipe, rng)[1][0, 0] for rng in rngs]
    assert 8 < left.count(3) < 32
    assert set(left) == {0, 3}


def test_colours_change_and_stay_colours() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    changed = recolor(image, 0.5, np.random.default_rng(1))
    assert changed.dtype == np.uint8
    assert (changed != image).any()
    np.testing.assert_array_equal(recolor(image, 0, np.random.default_rng(1)), image)


def test_colours_are_those_of_exact_arithmetic() -> None:
    image = np.random.default_rng(0).integers(60, 180, (20, 30, 3), np.uint8)
    rng = np.random.default_rng(7)
    brightness, contrast, saturation = np.exp(0.2 * rng.uniform(-1, 1, 3))
    tint = np.exp(0.05 * rng.uniform(-1, 1, 3))
    luma = np.array([0.299, 0.587, 0.114])
    grey = (image @ luma)[..., None]
    expected = grey + saturation * (image - grey)
    middle = image.mean((0, 1)) @ luma
    expected = (middle + contrast * (expected - middle)) * brightness * tint
    np.testing.assert_allclose(recolor(image, 0.2, np.random.default_rng(7)), expected, atol=1)  # in fixed point


def test_stretching_changes_the_shape_of_things_and_not_their_area() -> None:
    image = np.zeros((200, 200, 3), np.uint8)
    target = np.zeros((200, 200), np.uint8)
    target[80:120, 80:120] = 1
    sides = set()
    for seed in range(8):
        recipe = Recipe(color=0, scale=(1, 1), aspect=0.5, flip=False)
        seen = augment(image, target, (200, 200), recipe, np.random.default_rng(seed))[1] == 1
        height, width = int(seen.any(1).sum()), int(seen.any(0).sum())
        sides.add((height, width))
        assert height * width == pytest.approx(1600, rel=0.08)
    assert max(height / width for height, width in sides) > 1.15
    assert min(height / width for height, width in sides) < 0.87
