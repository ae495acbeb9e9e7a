"""The promotion gate: a candidate goes live only if it is better, by a rule that a person can check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .comparison import Comparison, Difference

# mIoU that the holdout may seem to lose: redrawing a few dozen images moves it by as much.
TOLERANCE = 0.005
# Share of the redraws that have to agree before a rise, or a drop, is taken for more than luck.
CERTAINTY = 0.9
# IoU that no class may lose, however much the others win.
CLASS_TOLERANCE = 0.1
# Fewer images say nothing: of two, both rise by luck every fourth time.
MINIMUM_IMAGES = 3


@dataclass(frozen=True, slots=True)
class Decision:
    """What the gate decided.

    Attributes:
        promote: the candidate is to be served.
        reason: why or why not, in a sentence with figures.
        rule: by which rule.
        holdout: the comparison on the holdout; None where none could be made.
        corrections: the comparison on the held-out corrections, None where there are none.
        notes: what the figures cannot say.
    """

    promote: bool
    reason: str
    rule: str
    holdout: Comparison | None
    corrections: Comparison | None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "promote": self.promote,
            "reason": self.reason,
            "rule": self.rule,
            "notes": list(self.notes),
            "holdout": None if self.holdout is None else self.holdout.to_json(),
            "corrections": None if self.corrections is None else self.corrections.to_json(),
        }


def decide(
    holdout: Comparison,
    corrections: Comparison | None,
    *,
    lost: Sequence[str] = (),
    minimum_gain: float = 0.0,
    tolerance: float = TOLERANCE,
    certainty: float = CERTAINTY,
    class_tolerance: float = CLASS_TOLERANCE,
) -> Decision:
    """Decide whether a candidate replaces the serving version; see :func:`rule_of` for the rule.

    Labels that are wrong make a model that agrees with them and disagrees with the holdout, which was drawn at random
    from all labels: its mIoU drops, and the candidate stays out, however well it does on the corrections.

    Args:
        holdout: both versions on images that were drawn at random and never trained on.
        corrections: both on corrected images that were not trained on; None where there are none.
        lost: classes in use that the candidate would take away from whom it is promoted for, a line each.
        minimum_gain: mIoU that has to be won.
        tolerance: mIoU that the holdout may seem to lose.
        certainty: share of the redraws that have to agree before a rise or drop is taken for more than luck.
        class_tolerance: IoU that no class may lose.
    """
    rule = rule_of(minimum_gain=minimum_gain, tolerance=tolerance, certainty=certainty, class_tolerance=class_tolerance)
    enough = corrections is not None and corrections.images >= MINIMUM_IMAGES
    judge = corrections if corrections is not None and enough else holdout
    where = "held-out corrections" if enough else "holdout"

    def decision(promote: bool, reason: str) -> Decision:
        return Decision(promote, reason, rule, holdout, corrections, _notes(holdout, corrections))

    if lost:
        return decision(False, f"classes that are in use would get lost: {'; '.join(lost)}")
    if holdout.images < MINIMUM_IMAGES:
        return decision(
            False,
            f"the holdout has {_images(holdout.images)}, fewer than {MINIMUM_IMAGES}: nobody can tell a better version "
            "from luck; label more images",
        )
    if holdout.same and (corrections is None or corrections.same):
        return decision(False, f"the candidate does not differ from the serving version on {_images(holdout.images)}")
    drop = holdout.miou
    if drop.value < -tolerance:
        return decision(False, f"mIoU drops on the holdout: {_figures(holdout)}")
    if drop.value < 0 and drop.falling >= certainty:
        return decision(
            False,
            f"mIoU drops on the holdout, little but surely (in {drop.falling:.0%} of the redraws): {_figures(holdout)}",
        )
    for comparison, name in ((holdout, "holdout"), (corrections, "held-out corrections")):
        if comparison is not None and (worst := _collapsed(comparison, class_tolerance, certainty)):
            label, change = worst
            return decision(
                False,
                f"the class {label!r} gets lost: its IoU on the {name} falls from {change.serving:.3f} to "
                f"{change.candidate:.3f}, though mIoU goes from {comparison.miou.serving:.3f} to "
                f"{comparison.miou.candidate:.3f}",
            )
    rise = judge.miou
    if rise.value <= minimum_gain:
        needed = f"by more than {minimum_gain:g}" if minimum_gain else "at all"
        return decision(False, f"mIoU does not rise {needed} on the {where}: {_figures(judge)}")
    surest = max(rise.rising, drop.rising if drop.value > 0 else 0.0)
    if surest < certainty:
        return decision(
            False,
            f"mIoU seems to rise on the {where}, but that may be luck (it rises in {surest:.0%} of the redraws, "
            f"{certainty:.0%} are needed): {_figures(judge)}",
        )
    kept = f"; the holdout does not drop: {_figures(holdout)}" if judge is corrections else ""
    return decision(True, f"mIoU rises on the {where}: {_figures(judge)}{kept}")


def rule_of(
    *,
    minimum_gain: float = 0.0,
    tolerance: float = TOLERANCE,
    certainty: float = CERTAINTY,
    class_tolerance: float = CLASS_TOLERANCE,
) -> str:
    """Return the rule in words."""
    return (
        f"Promoted only if (1) mIoU on the holdout does not drop: by at most {tolerance:g}, and not in {certainty:.0%} "
        f"or more of the redraws of its images; (2) no class that at least {MINIMUM_IMAGES} images have loses more than "
        f"{class_tolerance:g} IoU and falls in {certainty:.0%} or more of the redraws, on the holdout or the held-out "
        f"corrections; "
        f"(3) mIoU rises by more than {minimum_gain:g} on the held-out corrections (on the holdout where fewer than "
        f"{MINIMUM_IMAGES} are held out), and in {certainty:.0%} or more of the redraws of these or of the holdout. "
        f"A holdout of fewer than {MINIMUM_IMAGES} images promotes nothing, nor does a version that lacks a class which a "
        "project that would be served it uses."
    )


def _collapsed(comparison: Comparison, tolerance: float, certainty: float) -> tuple[str, Difference] | None:
    """Return the class that loses most, if it loses more than it may."""
    lost = [
        (name, change)
        for name, change in comparison.iou.items()
        if change is not None
        and comparison.class_images[name] >= MINIMUM_IMAGES
        and change.value < -tolerance
        and change.falling >= certainty
    ]
    return min(lost, key=lambda item: item[1].value) if lost else None


def _notes(holdout: Comparison, corrections: Comparison | None) -> tuple[str, ...]:
    notes = []
    if corrections is None:
        notes.append("no corrections are held out: the holdout alone decides")
    elif corrections.images < MINIMUM_IMAGES:
        notes.append(f"only {_images(corrections.images)} of corrections held out: the holdout alone decides")
    for count, text in ((0, "on none of"), (1, "on one of"), (2, "on two of")):
        names = [name for name, images in holdout.class_images.items() if images == count]
        if names:
            notes.append(
                f"{', '.join(names)}: {text} the {_images(holdout.images)} of the holdout, "
                + ("nothing is known of it" if count == 0 else "too few to judge the class by itself")
            )
    return tuple(notes)


def _figures(comparison: Comparison) -> str:
    change = comparison.miou
    interval = (
        "" if change.low is None else f", {comparison.confidence:.0%} interval {change.low:+.3f} to {change.high:+.3f}"
    )
    return (
        f"{change.serving:.3f} -> {change.candidate:.3f} ({change.value:+.3f}{interval}; {_images(comparison.images)})"
    )


def _images(count: int) -> str:
    return f"{count} image" if count == 1 else f"{count} images"
