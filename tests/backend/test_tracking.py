"""What MLflow has of a command, read back from its own store; and that nothing of it is there without an address."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from maskloop_backend import tracking
from maskloop_backend.training.metrics import Evaluation


class Told:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def stepped(self, **said: Any) -> None:
        self.calls.append("stepped")

    def evaluated(self, evaluation: Evaluation, *, best: bool) -> None:
        self.calls.append("evaluated")

    def exhausted(self, *, batch_size: int) -> None:
        self.calls.append(f"exhausted {batch_size}")


def evaluation(miou: float) -> Evaluation:
    return Evaluation(epoch=1, miou=miou, pixel_accuracy=0.9, iou={"road": 0.8, "Tür": None}, loss=0.5)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "streets")
    return tmp_path / "store"


def runs() -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name("streets")
    assert experiment is not None
    found: list[Any] = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])
    return found


def test_settings_curves_figures_version_and_report(store: Path, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "index.html").write_text("<p>")
    told = Told()
    with tracking.run("train", parent="old") as run:
        run.settings({"backbone": "small", "recipe": {"epochs": 3}, "nothing": None})
        progress = tracking.Followed(told, run)
        for step in range(1, 61):
            progress.stepped(step=step, loss=1 / step, learning_rate=0.1)
        progress.evaluated(evaluation(0.5), best=True)
        progress.exhausted(batch_size=2)
        run.figures({"holdout_miou": 0.75, "iou": {"road": 0.8, "Tür": float("nan")}, "version": "x", "early": True})
        run.tags(version="fcn-1", project=None)
        run.files(tmp_path / "report")
    (found,) = runs()
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "train"
    assert found.data.params == {"backbone": "small", "recipe.epochs": "3"}
    assert {key: value for key, value in found.data.tags.items() if key.startswith("maskloop.")} == {
        "maskloop.parent": "old",
        "maskloop.version": "fcn-1",
    }
    assert found.data.metrics["holdout_miou"] == 0.75
    assert found.data.metrics["iou.road"] == 0.8
    assert "early" not in found.data.metrics
    client = MlflowClient()
    curve = client.get_metric_history(found.info.run_id, "loss")
    assert sorted((point.step, point.value) for point in curve) == [(k, 1 / k) for k in range(1, 61)]
    assert [(p.step, p.value) for p in client.get_metric_history(found.info.run_id, "miou")] == [(60, 0.5)]
    assert [file.path for file in client.list_artifacts(found.info.run_id)] == ["index.html"]
    assert told.calls == ["stepped"] * 60 + ["evaluated", "exhausted 2"]


def test_how_a_run_ends_is_noted(store: Path) -> None:
    for error in (ValueError("x"), KeyboardInterrupt()):
        with pytest.raises(type(error)), tracking.run("train"):
            raise error
    assert [found.info.status for found in runs()] == ["FAILED", "KILLED"]


def test_without_an_address_nothing_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    told = Told()
    with tracking.run("train", version="x") as run:
        run.settings({"a": 1})
        run.figures({"a": 1})
        run.files(tmp_path)
        tracking.Followed(told, run).stepped(step=1, loss=1.0, learning_rate=0.1)
    assert type(run) is tracking.Run
    assert told.calls == ["stepped"]
    assert not list(tmp_path.iterdir())


def test_a_store_that_fails_costs_a_warning_without_its_address(
    store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "maskloop_backend.tracking")
    store.parent.joinpath("store").write_text("no folder")
    with tracking.run("train") as run:
        run.figures({"a": 1})
    assert type(run) is tracking.Run
    store.unlink()
    with tracking.run("train") as run:

        def refuse(*args: Any, **kwargs: Any) -> None:
            raise OSError("http://user:secret@host")

        monkeypatch.setattr(run._client, "log_batch", refuse)  # type: ignore[attr-defined]
        run.figures({"a": 1})
        run.figures({"a": 2})
    assert len([r for r in caplog.records if r.name == "maskloop_backend.tracking"]) == 2
    assert "secret" not in caplog.text


def test_a_package_that_is_missing_is_said(
    store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with tracking.run("train") as run:
        run.figures({"a": 1})
    assert "pip install 'maskloop[mlflow]'" in caplog.text
