"""How a model is trained, as a plain record; it stands in the model version's record afterwards."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from maskloop_converters.errors import DataError

from ..model.backbones.table import backbone
from ..model.config import Architecture
from .recipes import DEFAULT_BACKBONE, ClassWeighting, Recipe, recipe

Precision = Literal["float32", "mixed_bfloat16"]


class SettingsError(DataError):
    """A training setting that makes no sense; the message names it, its value and what is allowed."""


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How a model is trained: the recipe of its backbone, and what somebody wants otherwise.

    Attributes:
        backbone: see :class:`~maskloop_backend.model.config.Architecture`.
        head: the backbone's head, fc6 and fc7 of VGG16, between it and the score layer.
        weights: 'imagenet', the path of a weights file, or None for random ones.
        size: images with a longer side are shrunk to this many pixels before anything else; None keeps them.
        frozen_head: the head keeps its weights too; all blocks must be frozen.
        cached_views: 0 passes images through the whole network at every step; more compute the frozen layers' features
            of so many random views of every image once and train the rest on them; blocks must be frozen.
        loss_every: with cached views, the loss looks at every n-th row and column, others at each step, and the last
            upsampling keeps its weights; n divides half of the stride. 1 looks at all of them.
        blended: of the weights on the line from the start to the end of the training, those that are best on the validation
            images are kept: half the way often generalises better than either (Wortsman et al.: Robust Fine-Tuning of
            Zero-Shot Models, CVPR 2022). For trainings that start from a version.
        shrink: the weights that a training starts from are multiplied by it, 0..1; with ``perturb``, "shrink and
            perturb" (Ash, Adams 2020). 1 keeps them.
        perturb: this share of random weights is added to them, 0..1; 0 adds none.
        validation: share of the images held out where the dataset has no validation part of its own.
        patience: stop after this many evaluations without a better mIoU; None never stops early.
        checkpoint_every: steps between checkpoints; None writes one an epoch.
        seed: of the initial weights, the split, the order of the images, the augmentation and the dropout.
        precision: 'mixed_bfloat16' computes the backbone in bfloat16, faster where the CPU or GPU has it.

    All others are those of :class:`~.recipes.Recipe` of the same name; None takes the backbone's, and ``recipe`` has what
    holds in the end.
    """

    backbone: str = DEFAULT_BACKBONE
    head: bool = True
    weights: str | None = None
    stride: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    backbone_rate: float | None = None
    weight_decay: float | None = None
    warmup: float | None = None
    power: float | None = None
    clip: float | None = None
    average: float | None = None
    size: int | None = None
    crop: tuple[int, int] | None = None
    scale: tuple[float, float] | None = None
    aspect: float | None = None
    flip: bool | None = None
    color: float | None = None
    class_weighting: ClassWeighting | None = None
    jaccard: float | None = None
    zoom: float | None = None
    frozen_blocks: int | None = None
    frozen_head: bool = False
    cached_views: int = 0
    loss_every: int = 1
    blended: bool = False
    shrink: float = 1.0
    perturb: float = 0.0
    validation: float = 0.2
    patience: int | None = 10
    evaluate_every: int | None = None
    checkpoint_every: int | None = None
    seed: int = 0
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        own, blocks = self.recipe, len(backbone(self.backbone).blocks)
        checks: list[tuple[str, bool, str]] = [
            ("epochs", own.epochs >= 1, "a whole number from 1"),
            ("batch_size", own.batch_size >= 1, "a whole number from 1"),
            ("learning_rate", own.learning_rate > 0 and math.isfinite(own.learning_rate), "a number above 0"),
            ("backbone_rate", 0 < own.backbone_rate <= 1, "a share, 0 < backbone_rate <= 1"),
            ("weight_decay", own.weight_decay >= 0, "a number from 0"),
            ("warmup", 0 <= own.warmup < 1, "a share, 0 <= warmup < 1"),
            ("power", own.power > 0, "a number above 0"),
            ("clip", own.clip >= 0, "a number from 0"),
            ("average", 0 <= own.average < 1, "a share, 0 <= average < 1"),
            ("size", self.size is None or self.size >= 32, "a number of pixels from 32"),
            ("crop", own.crop is None or min(own.crop) >= 32, "two numbers of pixels from 32"),
            ("scale", 0 < own.scale[0] <= own.scale[1], "two factors, 0 < least <= greatest"),
            ("aspect", 0 <= own.aspect <= 1, "a share 0..1"),
            ("color", 0 <= own.color <= 1, "a number 0..1"),
            (
                "class_weighting",
                own.class_weighting in get_args(ClassWeighting),
                " or ".join(get_args(ClassWeighting)),
            ),
            ("jaccard", own.jaccard >= 0, "a number from 0"),
            ("zoom", 1 <= own.zoom <= 4, "a factor 1..4"),
            ("frozen_blocks", 0 <= own.frozen_blocks <= blocks, f"a number of blocks 0..{blocks}"),
            (
                "frozen_head",
                not self.frozen_head or (self.head and own.frozen_blocks == blocks),
                f"False unless the network has a head and frozen_blocks is {blocks}",
            ),
            (
                "cached_views",
                self.cached_views == 0 or (self.cached_views > 0 and own.frozen_blocks > 0),
                "0, or a whole number from 1 with frozen_blocks from 1",
            ),
            (
                "loss_every",
                self.loss_every == 1
                or (self.loss_every > 1 and self.cached_views > 0 and (own.stride // 2) % self.loss_every == 0),
                f"1, or with cached_views a divisor of {own.stride // 2}, half of the stride",
            ),
            ("shrink", 0 < self.shrink <= 1, "a share, 0 < shrink <= 1"),
            ("perturb", 0 <= self.perturb <= 1, "a share 0..1"),
            ("validation", 0 < self.validation < 1, "a share, 0 < validation < 1"),
            ("patience", self.patience is None or self.patience >= 1, "a whole number from 1"),
            ("evaluate_every", own.evaluate_every >= 1, "a whole number from 1"),
            ("checkpoint_every", self.checkpoint_every is None or self.checkpoint_every >= 1, "a whole number from 1"),
            ("seed", self.seed >= 0, "a whole number from 0"),
            ("precision", self.precision in get_args(Precision), " or ".join(get_args(Precision))),
        ]
        for name, good, expected in checks:
            if not good:
                value = getattr(self, name)
                raise SettingsError(f"the training setting {name} is {value!r}; expected {expected}")

    @property
    def recipe(self) -> Recipe:
        """The recipe of the backbone with what these settings want otherwise."""
        own = recipe(self.backbone)
        asked = {field.name: getattr(self, field.name) for field in fields(Recipe) if field.name != "weights"}
        return replace(own, weights=self.weights, **{key: value for key, value in asked.items() if value is not None})

    def resolved(self) -> TrainingSettings:
        """Return the same settings with nothing left to the recipe: what stands in a version's record."""
        own = self.recipe
        return replace(self, **{field.name: getattr(own, field.name) for field in fields(Recipe)})

    def architecture(self, classes: int) -> Architecture:
        """Return the network that these settings train; DataError where there is no such backbone or stride."""
        return Architecture(classes, backbone=self.backbone, head=self.head, stride=self.recipe.stride)

    def learning_rate_at(self, step: int, total: int) -> float:
        """Return the rate of step 0 .. total - 1: a linear rise, then a polynomial fall towards 0."""
        own = self.recipe
        rising = math.ceil(own.warmup * total)
        if step < rising:
            return own.learning_rate * (step + 1) / (rising + 1)
        return own.learning_rate * float((1 - (step - rising) / max(1, total - rising)) ** own.power)

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
