"""FCN-32s, then 16s from it, then 8s: how the paper trains skips, as a row of trainings that each start from the last."""

from __future__ import annotations

from dataclasses import replace

from ..model.config import STRIDES
from .settings import TrainingSettings


def stages(settings: TrainingSettings) -> list[TrainingSettings]:
    """Return the settings of one training after the other, from stride 32 down to the one that is wanted.

    Together they take the epochs of ``settings``, half of them the first, whose backbone has most to learn; the later ones
    start from the version before, at half the learning rate (Long, Shelhamer, Darrell, CVPR 2015, section 4.2, lower theirs
    to a hundredth; AdamW's steps need less).
    """
    own = settings.recipe
    strides = [stride for stride in STRIDES if stride >= own.stride]
    if len(strides) == 1:
        return [settings]
    later = max(1, own.epochs // 2 // (len(strides) - 1))
    first = max(1, own.epochs - later * (len(strides) - 1))
    return [
        replace(settings, stride=stride, epochs=later, weights=None, learning_rate=own.learning_rate / 2)
        if stride < strides[0]
        else replace(settings, stride=stride, epochs=first)
        for stride in strides
    ]
