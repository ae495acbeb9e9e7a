"""How each backbone is trained unless somebody asks for something else; docs/ablations.md has the figures behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

ClassWeighting = Literal["none", "median_frequency", "sqrt_median_frequency"]

# What `train`, `demo` and the first `retrain` take.
DEFAULT_BACKBONE = "efficientnet-lite0"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network learns.

    Attributes:
        stride: of the finest scores: 32, 16, 8 or 4.
        weights: what a training begins with where nobody says it: 'imagenet', or None for random ones.
        epochs: passes over the training images.
        batch_size: crops a step.
        learning_rate: at the end of the warm-up. The loss is a mean over pixels, so it need not change with their number.
        backbone_rate: the backbone learns at this share of it, 0..1: what it knows should not be washed away.
        weight_decay: of AdamW; biases, scales and shifts have none.
        warmup: share of all steps in which the rate rises from 0, 0..1.
        power: of the polynomial decay to 0 after the warm-up.
        clip: the gradient of all variables together is not longer than this; 0 does not limit it.
        average: the weights that are measured and kept are a running mean over the steps with this share of the past,
            0 <= average < 1; 0 takes the weights themselves.
        frozen_blocks: so many of the backbone's first blocks keep their weights.
        crop: (height, width) of the training crops; None takes the median image's, at most 512 a side.
        scale: (least, greatest) factor of the random zoom.
        aspect: crops are stretched or squeezed by up to this share, 0..1.
        flip: mirror half of the crops left to right.
        color: strength of the random brightness, contrast and saturation, 0 none .. 1 strong; each colour changes by a
            quarter of it besides.
        class_weighting: how much more rare classes count, see :func:`~.loss.class_weights`.
        jaccard: weight of the soft IoU in the loss, beside cross-entropy, see :func:`~.loss.cross_entropy`; 0 leaves it out.
        zoom: the version sees images so many times as large, 1..4, if that is measured to be better; 1 does not try.
        evaluate_every: epochs between evaluations; the last epoch is always followed by one.
    """

    stride: int = 32
    weights: str | None = None
    epochs: int = 40
    batch_size: int = 8
    learning_rate: float = 2e-3
    backbone_rate: float = 1.0
    weight_decay: float = 1e-4
    warmup: float = 0.05
    power: float = 0.9
    clip: float = 0.0
    average: float = 0.0
    frozen_blocks: int = 0
    crop: tuple[int, int] | None = None
    scale: tuple[float, float] = (0.75, 1.5)
    aspect: float = 0.0
    flip: bool = True
    color: float = 0.3
    class_weighting: ClassWeighting = "none"
    jaccard: float = 0.0
    zoom: float = 1.0
    evaluate_every: int = 1


# Fine-tuning of a pretrained backbone without batch normalisation of its own.
_PRETRAINED = Recipe(
    stride=8,
    weights="imagenet",
    batch_size=4,
    learning_rate=1e-3,
    backbone_rate=0.3,
    weight_decay=1e-2,
    clip=5.0,
    average=0.995,
    frozen_blocks=3,
    crop=(256, 320),
    scale=(0.6, 1.8),
    aspect=0.08,
    jaccard=1.0,
    zoom=1.5,
    evaluate_every=5,
)

_RECIPES: Mapping[str, Recipe] = {
    "small": Recipe(),
    "vgg16": Recipe(weights="imagenet", learning_rate=1e-4, weight_decay=1e-6),
}


def recipe(backbone: str) -> Recipe:
    """Return how a backbone is trained; those without a recipe of their own take that of pretrained ones."""
    return _RECIPES.get(backbone, _PRETRAINED)
