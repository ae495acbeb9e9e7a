from __future__ import annotations

import json
from typing import Any

import pytest

from maskloop_backend.training.settings import SettingsError, TrainingSettings


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
    settings = TrainingSettings(learning_rate=1.0, warmup=0.1)
    rates = [settings.learning_rate_at(step, 100) for step in range(100)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[10] == 1.0 == max(rates)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.02
