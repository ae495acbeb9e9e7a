"""How a model is trained, as a plain record; it stands in the model version's record afterwards."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from maskloop_converters.errors import DataError

from ..model.config import Architecture

ClassWeighting = Literal["none", "median_frequency"]
Precision = Literal["float32", "mixed_bfloat16"]


class SettingsError(DataError):
    """A training setting that makes no sense; the message names it, its value and what is allowed."""


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How a model is trained.

    Attributes:
        backbone: see :class:`~maskloop_backend.model.config.Architecture`.
        head: fc6 and fc7 between backbone and score layer.
        weights: 'imagenet', the path of a weights file, or None for random ones.
        epochs: passes over the training images at most.
        batch_size: crops a step.
        learning_rate: at the end of the warm-up; None takes the backbone's (vgg16 1e-4, small 2e-3). The loss is a mean
            over pixels, so the rate need not change with the image size.
        weight_decay: of AdamW, None takes the backbone's (vgg16 1e-6, small 1e-4).
        warmup: share of all steps in which the rate rises from 0, 0..1.
        power: of the polynomial decay to 0 after the warm-up.
        size: images with a longer side are shrunk to this many pixels before anything else; None keeps them.
        crop: (height, width) of the training crops; None takes the median image's, at most 512 a side.
        scale: (least, greatest) factor of the random zoom.
        flip: mirror half of the crops left to right.
        color: strength of the random brightness, contrast and saturation, 0 none .. 1 strong.
        class_weighting: 'median_frequency' weighs rare classes up (Eigen, Fergus, ICCV 2015), at most tenfold.
        frozen_blocks: this many of the backbone's five blocks keep their weights: fine-tuning in less time.
        frozen_head: fc6 and fc7 keep their weights too; all five blocks must be frozen.
        cached_views: 0 passes images through the whole network at every step; more compute the frozen layers' features
            of so many random views of every image once and train the rest on them; blocks must be frozen.
        backbone_rate: the backbone learns at this share of the learning rate, 0..1: a start from a trained model should
            not wash its features away.
        shrink: the weights that a training starts from are multiplied by it, 0..1; with ``perturb``, "shrink and
            perturb" (Ash, Adams 2020). 1 keeps them.
        perturb: this share of random weights is added to them, 0..1; 0 adds none.
        validation: share of the images held out where the dataset has no validation part of its own.
        patience: stop after this many evaluations without a better mIoU; None never stops early.
        evaluate_every: epochs between evaluations; the last epoch is always followed by one.
        checkpoint_every: steps between checkpoints; None writes one an epoch.
        seed: of the initial weights, the split, the order of the images, the augmentation and the dropout.
        precision: 'mixed_bfloat16' computes the backbone in bfloat16, faster where the CPU or GPU has it.
    """

    backbone: str = "small"
    head: bool = True
    weights: str | None = None
    epochs: int = 40
    batch_size: int = 8
    learning_rate: float | None = None
    weight_decay: float | None = None
    warmup: float = 0.05
    power: float = 0.9
    size: int | None = None
    crop: tuple[int, int] | None = None
    scale: tuple[float, float] = (0.75, 1.5)
    flip: bool = True
    color: float = 0.3
    class_weighting: ClassWeighting = "none"
    frozen_blocks: int = 0
    frozen_head: bool = False
    cached_views: int = 0
    backbone_rate: float = 1.0
    shrink: float = 1.0
    perturb: float = 0.0
    validation: float = 0.2
    patience: int | None = 10
    evaluate_every: int = 1
    checkpoint_every: int | None = None
    seed: int = 0
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        checks: list[tuple[str, bool, str]] = [
            ("epochs", self.epochs >= 1, "a whole number from 1"),
            ("batch_size", self.batch_size >= 1, "a whole number from 1"),
            ("learning_rate", _positive(self.learning_rate), "a number above 0"),
            ("weight_decay", self.weight_decay is None or self.weight_decay >= 0, "a number from 0"),
            ("warmup", 0 <= self.warmup < 1, "a share, 0 <= warmup < 1"),
            ("power", self.power > 0, "a number above 0"),
            ("size", self.size is None or self.size >= 32, "a number of pixels from 32"),
            ("crop", self.crop is None or min(self.crop) >= 32, "two numbers of pixels from 32"),
            ("scale", 0 < self.scale[0] <= self.scale[1], "two factors, 0 < least <= greatest"),
            ("color", 0 <= self.color <= 1, "a number 0..1"),
            (
                "class_weighting",
                self.class_weighting in get_args(ClassWeighting),
                " or ".join(get_args(ClassWeighting)),
            ),
            ("frozen_blocks", 0 <= self.frozen_blocks <= 5, "a number of blocks 0..5"),
            (
                "frozen_head",
                not self.frozen_head or (self.head and self.frozen_blocks == 5),
                "False unless the network has a head and frozen_blocks is 5",
            ),
            (
                "cached_views",
                self.cached_views == 0 or (self.cached_views > 0 and self.frozen_blocks > 0),
                "0, or a whole number from 1 with frozen_blocks from 1",
            ),
            ("backbone_rate", 0 < self.backbone_rate <= 1, "a share, 0 < backbone_rate <= 1"),
            ("shrink", 0 < self.shrink <= 1, "a share, 0 < shrink <= 1"),
            ("perturb", 0 <= self.perturb <= 1, "a share 0..1"),
            ("validation", 0 < self.validation < 1, "a share, 0 < validation < 1"),
            ("patience", self.patience is None or self.patience >= 1, "a whole number from 1"),
            ("evaluate_every", self.evaluate_every >= 1, "a whole number from 1"),
            ("checkpoint_every", self.checkpoint_every is None or self.checkpoint_every >= 1, "a whole number from 1"),
            ("seed", self.seed >= 0, "a whole number from 0"),
            ("precision", self.precision in get_args(Precision), " or ".join(get_args(Precision))),
        ]
        for name, good, expected in checks:
            if not good:
                raise SettingsError(f"the training setting {name} is {getattr(self, name)!r}; expected {expected}")

    def architecture(self, classes: int) -> Architecture:
        """Return the network that these settings train; DataError where there is no such backbone."""
        return Architecture(classes, backbone=self.backbone, head=self.head)

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate at the end of the warm-up."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 1e-4 if self.backbone == "vgg16" else 2e-3

    @property
    def decay(self) -> float:
        """The weight decay of AdamW."""
        if self.weight_decay is not None:
            return self.weight_decay
        return 1e-6 if self.backbone == "vgg16" else 1e-4

    def learning_rate_at(self, step: int, total: int) -> float:
        """Return the rate of step 0 .. total - 1: a linear rise, then a polynomial fall towards 0."""
        rising = math.ceil(self.warmup * total)
        if step < rising:
            return self.peak_learning_rate * (step + 1) / (rising + 1)
        return self.peak_learning_rate * float((1 - (step - rising) / max(1, total - rising)) ** self.power)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        values = asdict(self)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TrainingSettings:
        """Return the settings of what :meth:`to_json` gave; what is missing takes its default.

        Raises:
            SettingsError: an unknown setting, or a value that makes no sense.
        """
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            known = ", ".join(field.name for field in fields(cls))
            raise SettingsError(f"unknown training settings {unknown}; there are: {known}")
        plain: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in values.items()}
        return cls(**plain)


def _positive(value: float | None) -> bool:
    return value is None or (value > 0 and math.isfinite(value))
