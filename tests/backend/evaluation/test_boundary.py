"""Outlines and their distances, against SciPy's pairwise distances and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import cdist

from maskloop_backend.evaluation.boundary import boundary_counts, outline, tolerance_of
from maskloop_backend.evaluation.scores import Scores
from maskloop_backend.training.metrics import VOID


def drawn(*rows: str) -> np.ndarray:
    """Return a target from a picture: digits are classes, a dot is void."""
    return np.array([[VOID if cell == "." else int(cell) for cell in row] for row in rows], np.uint8)


def outline_by_hand(mask: np.ndarray, judged: np.ndarray) -> list[tuple[int, int]]:
    """Pixels of a mask with a judged neighbour outside it, one by one."""
    height, width = mask.shape
    found = []
    for y, x in np.argwhere(mask & judged).tolist():
        sides = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        if any(0 <= a < height and 0 <= b < width and judged[a, b] and not mask[a, b] for a, b in sides):
            found.append((y, x))
    return found


@given(
    hnp.arrays(np.uint8, (9, 11), elements=st.sampled_from([0, 0, 0, 1, 1, 1, 2, VOID])),
    hnp.arrays(np.uint8, (9, 11), elements=st.sampled_from([0, 0, 1, 1, 2, 3])),
    st.integers(0, 4),
)
def test_counts_are_those_of_all_pairs_of_pixels(truth: np.ndarray, predicted: np.ndarray, tolerance: int) -> None:
    counts = boundary_counts(truth, predicted, 3, tolerance=tolerance)
    judged = truth != VOID
    for k in range(3):
        ours, theirs = outline_by_hand(predicted == k, judged), outline_by_hand(truth == k, judged)
        near = cdist(ours, theirs) <= tolerance if ours and theirs else np.zeros((len(ours), len(theirs)), bool)
        assert counts[k].tolist() == [near.any(1).sum(), len(ours), near.any(0).sum(), len(theirs)]


def test_a_drawn_case() -> None:
    truth = drawn("00000", "01110", "01110", "01110", "00000")
    moved = drawn("00000", "00111", "00111", "00111", "00000")
    assert np.argwhere(~outline(truth == 1, truth < 9) & (truth == 1)).tolist() == [[2, 2]]
    # the right column of the moved square touches the border and nothing outside, but for its corners
    assert boundary_counts(truth, moved, 2, tolerance=0)[1].tolist() == [4, 7, 4, 8]
    assert boundary_counts(truth, moved, 2, tolerance=1)[1].tolist() == [7, 7, 8, 8]


def test_void_is_no_outside() -> None:
    truth = drawn("11..", "11..", "1100")
    assert np.argwhere(outline(truth == 1, truth != VOID)).tolist() == [[2, 1]]
    # what is predicted there changes nothing
    for predicted in (drawn("1100", "1100", "1100"), drawn("1111", "1111", "1100")):
        assert boundary_counts(truth, predicted, 2, tolerance=0)[1].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("size", "pixels"), [((1, 1), 1), ((64, 64), 1), ((360, 480), 4), ((720, 960), 9), ((3000, 4000), 38)]
)
def test_the_tolerance_is_three_quarters_of_a_percent_of_the_diagonal(size: tuple[int, int], pixels: int) -> None:
    assert tolerance_of(*size) == pixels


def test_f_is_the_harmonic_mean_of_what_is_found() -> None:
    terms = np.zeros((7, 3))
    # precision 1/2, recall 1/4; not found at all; a class that is in neither
    terms[3:, 0], terms[3:, 1] = (4, 8, 3, 12), (0, 5, 0, 7)
    scores = Scores.of(terms)
    assert scores.boundary[:2].tolist() == [pytest.approx(2 * 0.5 * 0.25 / 0.75), 0]
    assert np.isnan(scores.boundary[2])
    assert scores.boundary_f == pytest.approx(1 / 6)
