"""Borders move to the image's edges, and nothing else moves."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from maskloop_backend.inference import edges
from maskloop_backend.inference.edges import refined


def two_halves(height: int, width: int, edge: int) -> NDArray[np.uint8]:
    """Blue on the left, brown on the right."""
    image = np.empty((height, width, 3), np.uint8)
    image[:, :edge], image[:, edge:] = (60, 90, 200), (120, 80, 40)
    return image


@pytest.mark.parametrize("size", [(64, 96), (63, 95), (9, 40), (1, 40)])
@pytest.mark.parametrize("off", [-3, -1, 1, 3])
def test_a_border_beside_an_edge_moves_onto_it(size: tuple[int, int], off: int) -> None:
    height, width = size
    edge = width // 2
    labels = np.full(size, 4, np.uint8)
    labels[:, edge + off :] = 9
    found = refined(two_halves(height, width, edge), labels)
    expected = np.full(size, 4, np.uint8)
    expected[:, edge:] = 9
    assert found.dtype == np.uint8
    assert found.shape == size
    # blocks of 2 x 2 pixels see both sides where the edge is odd
    assert np.mean(found != expected) < np.mean(labels != expected)
    np.testing.assert_array_equal(found[:, edge + 2 :], expected[:, edge + 2 :])


def test_without_an_edge_a_straight_border_stays() -> None:
    labels = np.zeros((64, 96), np.uint8)
    labels[:, 50:] = 1
    np.testing.assert_array_equal(refined(np.full((64, 96, 3), 128, np.uint8), labels), labels)


def test_one_class_is_left_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    labels = np.full((40, 50), 7, np.uint8)
    np.testing.assert_array_equal(refined(image, labels), labels)


def test_strips_join_without_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    image = random.integers(0, 256, (203, 121, 3), np.uint8)
    labels = random.integers(0, 3, (21, 13), np.uint8).repeat(10, axis=0).repeat(10, axis=1)[:203, :121]
    whole = refined(image, labels)
    monkeypatch.setattr(edges, "_STRIP_PIXELS", 121 * 17)
    # sums of floats in another order decide between equals
    assert np.mean(refined(image, labels) != whole) < 1e-3
    assert np.mean(whole != labels) > 0.01
