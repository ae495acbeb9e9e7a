"""How much two drawings of one image agree, whichever comes first."""

from __future__ import annotations

import numpy as np
import pytest

from maskloop_backend.evaluation.agreement import Agreement
from maskloop_backend.training.metrics import VOID


def square(left: int, label: int = 1) -> np.ndarray:
    drawn = np.zeros((60, 80), np.uint8)
    drawn[20:40, left : left + 20] = label
    return drawn


def test_figures_of_a_pair() -> None:
    found = Agreement.between(square(10), square(20), 3)
    assert found.iou == [pytest.approx((4800 - 600) / (4800 - 200)), pytest.approx(200 / 600), None]
    assert found.share == pytest.approx((4800 - 400) / 4800)
    assert found.boundary_f[2] is None
    # of 76 pixels of an outline 24 have the other within a pixel: half of the upper and lower side, and those next to it
    assert found.boundary_f[1] == pytest.approx(24 / 76)
    same = Agreement.between(square(10), square(10), 3)
    assert (same.share, same.iou, same.boundary_f) == (1, [1, 1, None], [1, 1, None])


def test_nobody_is_right() -> None:
    one, other = square(10), square(12, 2)
    one[:5], other[55:] = VOID, VOID
    there, back = Agreement.between(one, other, 3), Agreement.between(other, one, 3)
    assert (there.iou, there.boundary_f, there.share) == (back.iou, back.boundary_f, back.share)


def test_what_one_left_out_is_disagreement() -> None:
    """An object that only one drew, on nothing."""
    drawn, nothing = np.where(square(10) == 1, square(10), VOID), np.full((60, 80), VOID, np.uint8)
    found = Agreement.between(drawn, nothing, 2)
    assert (found.pixels, found.share, found.iou, found.boundary_f) == (400, 0, [None, 0], [None, 0])
    none = Agreement.between(nothing, nothing, 2)
    assert (none.share, none.iou) == (None, [None, None])


def test_counts_add_up() -> None:
    pairs = [Agreement.between(square(10), square(left), 2) for left in (10, 14, 30)]
    total = sum(pairs, Agreement.none(2))
    assert total.iou[1] == pytest.approx((400 + 320) / (400 + 480 + 800))
    values = total.to_json(["road", "car"])
    assert values["iou"] == {"road": total.iou[0], "car": total.iou[1]}
    assert values["pixels"] == 3 * 4800
