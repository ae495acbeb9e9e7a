"""What a retraining trains with, by how much it may cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import keras

from ..model.backbones.table import backbone
from ..model.record import ModelRecord
from ..training.recipes import recipe
from ..training.settings import TrainingSettings

Effort = Literal["quick", "full"]
# What a retraining takes over from how its parent was trained.
_KEPT = ("crop", "scale", "aspect", "flip", "color", "class_weighting", "jaccard", "zoom")
# Epochs are few steps on what a project has at first; an evaluation costs as much as a fifth of one.
_LONG: Mapping[str, Any] = {"epochs": 60, "evaluate_every": 5, "patience": None}
# Crops that a quick training of a head looks at, and views whose features it keeps, about; many images have more.
_QUICK_DRAWS, _QUICK_VIEWS = 1200, 400
# A head that begins with new weights needs more of them than one that knows the classes already.
_JUDGE_DRAWS = 3000


def settings_of(base: TrainingSettings, effort: Literal["quick", "full", "fresh"], images: int) -> Mapping[str, Any]:
    """Return what an effort sets; the figures are measured, see benchmarks/README.md."""
    own, entry = recipe(base.backbone), backbone(base.backbone)
    if effort == "fresh":
        return {"precision": _precision(), **_LONG, "weights": own.weights if base.weights is None else base.weights}
    found: dict[str, Any] = {**_LONG, "weights": None}
    if effort == "full":
        faster = 1.5 if base.backbone == "small" else 0.5
        slower = {"learning_rate": faster * own.learning_rate, "backbone_rate": 0.3}
        return {**found, **slower, "precision": _precision()}
    quick = {**found, "epochs": 40, "cached_views": 8}
    if base.backbone == "small":
        # the first three blocks take most of the time and see edges and textures; the last two cost little and gain most
        return {**quick, "learning_rate": 1.5 * own.learning_rate, "frozen_blocks": 3}
    if base.backbone == "vgg16":
        # VGG16's fc6 and fc7 are 120 M weights: on a CPU they would take longer than the backbone
        return {**quick, "frozen_blocks": len(entry.blocks), "frozen_head": base.head}
    # the head and the scores alone: the blocks before them, trained on some dozen images, forget more than they learn
    epochs = min(40, max(4, _QUICK_DRAWS // images))
    return {
        **quick,
        "frozen_blocks": len(entry.blocks),
        "backbone_rate": 1.0,
        "learning_rate": 0.5 * own.learning_rate,
        "epochs": epochs,
        "evaluate_every": epochs,
        "checkpoint_every": 100,
        "cached_views": min(8, max(2, _QUICK_VIEWS // images)),
        "loss_every": min(4, base.recipe.stride // 2),
        "blended": True,
    }


def judging_settings(served: ModelRecord | None, images: int) -> TrainingSettings:
    """Return what a training from new weights has whose version is only asked about labels, and goes.

    Its cost is bounded: it looks at the same number of crops whatever the number of images is. Where the backbone has
    pretrained weights on this machine, these stay and the head is trained on their features; one whose weights would have
    to be downloaded gives way to the default one.

    Args:
        served: whose network and look at images are taken over; None: the defaults.
        images: to train on.
    """
    base = TrainingSettings() if served is None else inherited(served)
    entry = backbone(base.backbone)
    if isinstance(entry.weights, str):
        base = TrainingSettings(size=base.size)
        entry = backbone(base.backbone)
    own = recipe(base.backbone)
    epochs = min(200, max(4, _JUDGE_DRAWS // images))
    found: dict[str, Any] = {
        "epochs": epochs,
        "evaluate_every": epochs,
        "checkpoint_every": 10**6,
        "patience": None,
        "zoom": 1.0,
    }
    if entry.weights is None:
        return dataclasses.replace(base, **found, weights=None)
    return dataclasses.replace(
        base,
        **found,
        weights=own.weights,
        frozen_blocks=len(entry.blocks),
        backbone_rate=1.0,
        cached_views=min(8, max(2, _QUICK_VIEWS // images)),
        loss_every=min(4, base.recipe.stride // 2),
    )


def _precision() -> str:
    """Return what to compute in: bfloat16 where there is an accelerator that has it."""
    try:
        devices = keras.distribution.list_devices()
    except (RuntimeError, ValueError, NotImplementedError):
        return "float32"
    return "float32" if all(device.startswith("cpu") for device in devices) else "mixed_bfloat16"


def inherited(record: ModelRecord) -> TrainingSettings:
    """Return what a training takes over from the version it starts from: the network and how it sees images."""
    architecture, settings = record.architecture, record.settings
    kept = {key: settings[key] for key in _KEPT if key in settings}
    return TrainingSettings.from_json(
        {
            **kept,
            "backbone": architecture.backbone,
            "head": architecture.head,
            "stride": architecture.stride,
            "weights": settings.get("weights"),
            "size": record.max_side,
        }
    )
