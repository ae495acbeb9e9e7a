from __future__ import annotations

import json
from typing import Any

import pytest

from maskloop_backend.training.recipes import recipe
from maskloop_backend.training.settings import SettingsError, TrainingSettings
from maskloop_backend.training.staged import stages


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs is 0; expected a whole number from 1"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"crop": (16, 64)}, "crop"),
        ({"scale": (2.0, 1.0)}, "scale"),
        ({"validation": 1.0}, "validation"),
        ({"class_weighting": "inverse"}, "none or median_frequency"),
        ({"aspect": -0.1}, "aspect is -0.1"),
        ({"average": 1.0}, "average is 1.0"),
        ({"clip": -1.0}, "clip is -1.0"),
        ({"backbone": "small", "frozen_blocks": 6}, "frozen_blocks is 6; expected a number of blocks 0..5"),
        (
            {"backbone": "efficientnet-lite0", "frozen_blocks": 17},
            r"frozen_blocks is 17; expected a number of blocks 0\.\.16",
        ),
        ({"precision": "float16"}, "float32 or mixed_bfloat16"),
    ],
)
def test_settings_that_make_no_sense_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        TrainingSettings(**values)


def test_json_gives_the_same_settings() -> None:
    settings = TrainingSettings(crop=(64, 96), learning_rate=1e-3, backbone="vgg16", patience=None)
    assert TrainingSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings
    with pytest.raises(SettingsError, match="unknown training settings \\['rate'\\]; there are: backbone"):
        TrainingSettings.from_json({"rate": 1})


def test_the_learning_rate_rises_then_falls_to_almost_0() -> None:
    settings = TrainingSettings(backbone="small", learning_rate=1.0, warmup=0.1)
    rates = [settings.learning_rate_at(step, 100) for step in range(100)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[10] == 1.0 == max(rates)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.02


def test_what_is_not_given_is_the_backbones() -> None:
    settings = TrainingSettings(backbone="efficientnet-lite0", epochs=7, weights="imagenet")
    own, default = settings.recipe, recipe("efficientnet-lite0")
    assert (own.epochs, own.stride, own.learning_rate) == (7, default.stride, default.learning_rate)
    assert own.frozen_blocks == 3
    assert TrainingSettings(backbone="small").recipe == recipe("small")
    resolved = settings.resolved()
    assert resolved.recipe == own
    assert resolved.frozen_blocks == 3
    assert resolved.resolved() == resolved


def test_settings_that_older_versions_recorded_mean_what_they_meant() -> None:
    old = {
        "backbone": "small",
        "head": True,
        "weights": None,
        "epochs": 12,
        "batch_size": 8,
        "learning_rate": None,
        "weight_decay": None,
        "warmup": 0.05,
        "power": 0.9,
        "size": None,
        "crop": None,
        "scale": [0.75, 1.5],
        "flip": True,
        "color": 0.3,
        "class_weighting": "none",
        "frozen_blocks": 0,
        "frozen_head": False,
        "cached_views": 0,
        "backbone_rate": 1.0,
        "shrink": 1.0,
        "perturb": 0.0,
        "validation": 0.2,
        "patience": 10,
        "evaluate_every": 1,
        "checkpoint_every": None,
        "seed": 0,
        "precision": "float32",
    }
    own = TrainingSettings.from_json(old).recipe
    assert (own.stride, own.learning_rate, own.weight_decay) == (32, 2e-3, 1e-4)
    assert (own.aspect, own.clip, own.average) == (0, 0, 0)
    vgg = TrainingSettings.from_json({**old, "backbone": "vgg16"}).recipe
    assert (vgg.stride, vgg.learning_rate, vgg.weight_decay) == (32, 1e-4, 1e-6)


def test_stages_share_the_epochs_and_go_from_coarse_to_fine() -> None:
    row = stages(TrainingSettings(backbone="efficientnet-lite0", weights="imagenet", epochs=20))
    assert [stage.stride for stage in row] == [32, 16, 8]
    assert [stage.epochs for stage in row] == [10, 5, 5]
    assert [stage.weights for stage in row] == ["imagenet", None, None]
    assert row[1].recipe.learning_rate == row[0].recipe.learning_rate / 2
    alone = TrainingSettings(backbone="efficientnet-lite0", stride=32)
    assert stages(alone) == [alone]
    assert [stage.epochs for stage in stages(TrainingSettings(backbone="efficientnet-lite0", epochs=1))] == [1, 1, 1]
