"""The gate's decisions as a table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maskloop_backend.evaluation.comparison import Comparison, compare
from maskloop_backend.evaluation.gate import Decision, decide
from maskloop_backend.evaluation.measurement import Measurement

from .labelled import measured as two_class_measurement
from .labelled import two_classes

RANDOM = np.random.default_rng(11)
# how difficult each of 40 images is, and how much a version's share of right pixels wanders besides
LEVEL = RANDOM.uniform(0.5, 0.8, 40)
NOISE = RANDOM.normal(0, 0.02, 40)
NOISE -= NOISE.mean()
NOTHING = NOISE * 0


def measured(version: str, right: NDArray[Any]) -> Measurement:
    """Return a measurement of two large classes and a small one: right is (N,) for all, or (N, 3)."""
    shares = np.clip(np.broadcast_to(right[:, None], (len(right), 3)) if right.ndim == 1 else right, 0, 1)
    areas = np.array([5000, 5000, 500])
    confusion = np.zeros((len(right), 3, 4), np.int64)
    for k in range(3):
        hits = np.rint(shares[:, k] * areas[k]).astype(int)
        confusion[:, k, k] = hits
        confusion[:, k, (k + 1) % 2 if k < 2 else 0] += areas[k] - hits
    boundary = np.zeros((len(right), 3, 4), np.int64)
    return Measurement(
        version, ("sky", "road", "sign"), tuple(f"{k:03}" for k in range(len(right))), confusion, boundary,
        np.zeros((len(right), 15, 3), np.int64),
    )  # fmt: skip


def against(change: NDArray[Any], images: int = 40) -> Comparison:
    """Compare a candidate whose share of right pixels differs by ``change``, (40,) or (40, 3), on the first images."""
    level = LEVEL if change.ndim == 1 else LEVEL[:, None] + np.zeros(3)
    return compare(measured("new", (level + change)[:images]), measured("old", level[:images]))


def only(label: int, change: float, others: float = 0.0) -> NDArray[Any]:
    """Return a change of one class and another of the others."""
    table = np.full((40, 3), others)
    table[:, label] = change
    return table


@pytest.mark.parametrize(
    ("holdout", "corrections", "promote", "reason"),
    [
        # better on both
        (against(NOISE + 0.03), against(NOISE + 0.05, 8), True, "mIoU rises on the held-out corrections"),
        # as good on the holdout, better where annotators corrected
        (against(NOTHING), against(NOISE + 0.05, 8), True, "the holdout does not drop"),
        (against(NOISE - 0.001), against(NOISE + 0.05, 8), True, "the holdout does not drop"),
        # poisoned labels: the candidate agrees with them, the holdout does not
        (against(NOISE - 0.1), against(NOISE + 0.3, 8), False, "mIoU drops on the holdout: 0."),
        (against(NOISE - 0.01), against(NOISE + 0.3, 8), False, "mIoU drops on the holdout: 0."),
        # little, but in every image
        (against(NOTHING - 0.002), against(NOISE + 0.1, 8), False, "little but surely (in 100% of the redraws)"),
        # no better where annotators corrected
        (against(NOISE + 0.03), against(NOTHING - 0.01, 8), False, "does not rise at all on the held-out corrections"),
        (against(NOISE + 0.03), against(NOTHING, 8), False, "does not rise at all on the held-out corrections"),
        # no corrections held out, or too few of them: the holdout decides
        (against(NOISE + 0.03), None, True, "mIoU rises on the holdout: 0."),
        (against(NOISE + 0.03), against(NOISE - 0.3, 2), True, "mIoU rises on the holdout"),
        (against(NOISE - 0.002), None, False, "does not rise at all on the holdout"),
        (against(NOISE * 4 + 0.004), None, False, "that may be luck"),
        # a rise of few corrections that the holdout confirms, and one that it does not
        (against(NOISE + 0.02), against(NOISE * 5 + 0.06, 4), True, "rises on the held-out corrections"),
        (against(NOISE * 4 + 0.001), against(np.resize([0.2, -0.1, -0.06], 40), 4), False, "that may be luck"),
        # tiny holdouts
        (against(NOISE + 0.3, 1), None, False, "the holdout has 1 image, fewer than 3"),
        (against(NOISE + 0.3, 2), against(NOISE + 0.3, 8), False, "the holdout has 2 images"),
        (against(NOISE + 0.1, 3), None, True, "mIoU rises on the holdout"),
        # nothing changed
        (against(NOTHING), None, False, "does not differ from the serving version on 40 images"),
        (against(NOTHING), against(NOTHING, 8), False, "does not differ"),
        # the small class is given up, the others win more
        (against(only(2, -0.3, others=0.15)), None, False, "the class 'sign' gets lost: its IoU on the holdout falls"),
        (
            against(NOISE + 0.03),
            against(only(2, -0.3, others=0.15), 8),
            False,
            "the class 'sign' gets lost: its IoU on the held-out corrections",
        ),
        # a small class that loses a little is the price of the others
        (against(only(2, -0.02, others=0.1)), None, True, "mIoU rises on the holdout"),
    ],
)  # fmt: skip
def test_decisions(holdout: Comparison, corrections: Comparison | None, promote: bool, reason: str) -> None:
    found = decide(holdout, corrections)
    assert reason in found.reason
    assert found.promote is promote
    assert found.holdout is holdout
    assert found.corrections is corrections


def test_a_lost_class_is_no_matter_of_a_mean_that_rises() -> None:
    """Else the table's case of the lost class would show the drop of the mean."""
    assert against(only(2, -0.3, others=0.15)).miou.value > 0.01


def test_a_class_of_few_images_is_no_veto_but_a_note() -> None:
    change, level = only(2, -0.4, others=0.1), LEVEL[:, None] + np.zeros(3)
    pair = [measured("new", level + change), measured("old", level)]
    for measurement in pair:
        measurement.confusion[2:, 2] = 0
    found = decide(compare(*pair), None, tolerance=1)
    assert "gets lost" not in found.reason
    assert "sign: on two of the 40 images of the holdout, too few to judge the class by itself" in found.notes
    assert "no corrections are held out: the holdout alone decides" in found.notes
    for measurement in pair:
        measurement.confusion[:, 2] = 0
    assert "sign: on none of the 40 images of the holdout, nothing is known of it" in decide(compare(*pair), None).notes


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"minimum_gain": 0.1}, "does not rise by more than 0.1 on the holdout"),
        ({"tolerance": -0.2}, "mIoU drops"),
        ({"certainty": 1.1}, "may be luck"),
        ({}, "mIoU rises"),
    ],
)
def test_the_settings_decide_and_stand_in_the_rule(settings: dict[str, float], reason: str) -> None:
    found = decide(against(NOISE + 0.03), None, **settings)
    assert reason in found.reason
    for value in settings.values():
        assert f"{value:g}" in found.rule or f"{value:.0%}" in found.rule


def test_a_version_without_a_new_class_loses_to_one_that_has_learnt_it() -> None:
    level = LEVEL[:, None] + np.zeros(3)
    old = level.copy()
    old[:, 2] = 0
    found = decide(compare(measured("new", level), measured("old", old)), None)
    assert found.promote
    assert found.holdout is not None
    assert found.holdout.iou["sign"] is not None
    assert found.holdout.iou["sign"].serving == 0


@pytest.mark.parametrize(
    ("gain", "least", "most"), [(-0.04, 0, 0), (-0.02, 0, 0.03), (0, 0.02, 0.25), (0.02, 0.6, 1), (0.04, 0.93, 1)]
)
def test_worse_versions_stay_out_and_better_ones_go_live(gain: float, least: float, most: float) -> None:
    """Of 150 candidates that are better by ``gain`` in truth, so many are promoted on 20 images and 8 corrections."""
    random = np.random.default_rng(0)

    def drawn(images: int) -> Comparison:
        level = random.normal(0.75, 0.1, images)
        pair = (level + random.normal(gain, 0.05, images), level)
        one, two = (two_class_measurement(two_classes(right)) for right in pair)
        return compare(one, two, resamples=300)

    promoted = sum(decide(drawn(20), drawn(8)).promote for _ in range(150))
    assert least <= promoted / 150 <= most


def test_json_says_it_all() -> None:
    found: Decision = decide(against(NOISE + 0.03), against(NOISE + 0.05, 8))
    values = found.to_json()
    assert values["promote"] is True
    assert values["holdout"]["images"] == 40
    assert values["corrections"]["miou"]["difference"] > 0
    assert "Promoted only if" in values["rule"]
    assert decide(against(NOISE), None).to_json()["corrections"] is None
