"""The same predictor behind label-studio-ml, in an environment that has it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from maskloop_backend.model.bundle import Bundle
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.fcn import build_fcn
from maskloop_backend.registry.store import Registry
from maskloop_converters.samples import LabelSet

pytest.importorskip("label_studio_ml", reason="label-studio-ml is not installed")

CONFIG = (
    '<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image">'
    '<Label value="road"/><Label value="car"/></BrushLabels></View>'
)
PIXEL = "data:image/gif;base64,R0lGODdhAQABAIAAAP///////ywAAAAAAQABAAACAkQBADs="


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a client of label-studio-ml's own application around our model."""
    architecture = Architecture(backbone="small", classes=2)
    registry = Registry(tmp_path)
    bundle = Bundle.create(build_fcn(architecture), architecture, LabelSet.from_names(["road", "car"]))
    registry.promote(registry.add(bundle))
    monkeypatch.setenv("MASKLOOP_HOME", str(tmp_path))
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "backend"))
    wsgi = importlib.import_module("_wsgi")
    yield wsgi.app.test_client()
    sys.modules["model"].server().close()
    for name in ("_wsgi", "model"):
        del sys.modules[name]


def test_setup_and_predict(client: Any, tmp_path: Path) -> None:
    setup = client.post("/setup", json={"project": "5.1", "schema": CONFIG, "hostname": "", "access_token": ""})
    assert setup.status_code == 200
    tasks = [{"id": 1, "data": {"image": PIXEL}}, {"id": 2, "data": {"image": "data:,"}}]
    params = {"login": None, "password": None, "context": None}
    answer = client.post(
        "/predict", json={"tasks": tasks, "project": "5.1", "label_config": CONFIG, "params": params}
    ).json
    first, second = answer["results"]
    assert second == []
    (region,) = first["result"]
    assert (region["original_width"], region["original_height"]) == (1, 1)
    # Label Studio stores /setup's version where the prediction does not say one; 1.0.9 always says INITIAL there
    named = hasattr(sys.modules["model"].LabelStudioMLBase, "setup")
    expected = Registry(tmp_path).serving() if named else "INITIAL"
    assert setup.json["model_version"] == expected
    assert first.get("model_version", setup.json["model_version"]) == expected
