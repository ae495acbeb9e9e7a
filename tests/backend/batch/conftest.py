"""Pictures on disk, a segmenter whose answers are known, and a version that really computes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from maskloop_backend.inference.prediction import Prediction
from maskloop_converters.samples import LabelSet

# Worker processes import the packages as this one does.
ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    path = [str(ROOT / "backend"), str(ROOT / "converters"), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))


@dataclass
class Brightness:
    """Dark pixels are road, bright ones are cars; of middling ones it is unsure."""

    version: str = "fcn32s-small-20261122-00000001"
    labels: LabelSet = field(default_factory=lambda: LabelSet.from_names(["road", "car"]))
    calls: list[int] = field(default_factory=list)

    def predict(self, images: Sequence[NDArray[Any]]) -> list[Prediction]:
        self.calls.append(len(images))
        return [self._one(image) for image in images]

    @staticmethod
    def _one(image: NDArray[Any]) -> Prediction:
        grey = image.mean(axis=2)
        confidence = (128 + np.abs(grey - 127.5)).clip(0, 255).astype(np.uint8)
        return Prediction((grey > 127).astype(np.uint8), confidence, float(confidence.mean()) / 255)


@pytest.fixture
def brightness() -> Brightness:
    return Brightness()


Draw = Callable[..., Path]


@pytest.fixture
def draw() -> Draw:
    """Return a function that draws a picture: dark, its left columns bright, and a grey row below."""

    def picture(path: Path, seed: int = 0, height: int = 24, width: int = 32) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        array = np.full((height, width, 3), 10 + seed % 40, np.uint8)
        array[:, : 4 + seed % (width - 8)] = 245
        array[-2:] = 120
        Image.fromarray(array).save(path)
        return path

    return picture


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose served version is a small network with random weights: its masks are odd, and always the same."""
    import keras

    from maskloop_backend.model.bundle import Bundle
    from maskloop_backend.model.config import Architecture
    from maskloop_backend.model.fcn import build_fcn
    from maskloop_backend.registry import Registry

    directory = tmp_path_factory.mktemp("home")
    keras.utils.set_random_seed(3)
    architecture = Architecture(3, "small", head=False)
    model = build_fcn(architecture)
    kernel, _ = model.get_layer("score").get_weights()
    # scores that differ from place to place, so that there is something to draw and to be unsure of
    kernel = np.random.default_rng(0).normal(0, 0.05, kernel.shape).astype(np.float32)
    model.get_layer("score").set_weights([kernel, np.zeros(3, np.float32)])
    registry = Registry(directory)
    registry.promote(registry.add(Bundle.create(model, architecture, LabelSet.from_names(["road", "car", "sky"]))))
    return directory
