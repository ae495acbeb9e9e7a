"""The loop on tiny pictures: it learns, survives interruption, keeps the best, says what is wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from maskloop_backend.cli.train import command
from maskloop_backend.demo.scenes import write_scenes
from maskloop_backend.registry.store import Registry
from maskloop_backend.training import trainer
from maskloop_backend.training.dataset import Examples, read_source
from maskloop_backend.training.metrics import Evaluation
from maskloop_backend.training.settings import TrainingSettings
from maskloop_backend.training.trainer import (
    Silent,
    TrainingError,
    TrainingInterrupted,
    UnfinishedTrainingError,
    evaluate,
    train,
)
from maskloop_converters.samples import Dataset

QUICK = TrainingSettings(epochs=3, batch_size=2, crop=(64, 64), validation=0.34, seed=1, patience=None)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("scenes") / "street"
    write_scenes(directory, 6, size=(64, 96))
    return directory


@pytest.fixture
def dataset(scenes: Path) -> Dataset:
    return read_source(scenes)[0]


class Stop(Silent):
    """Presses Ctrl-C after a step."""

    def __init__(self, after: int) -> None:
        self.after = after

    def stepped(self, *, step: int, loss: float, learning_rate: float) -> None:
        if step == self.after:
            # not os.kill, which may reach another thread first and the training a step later
            signal.raise_signal(signal.SIGINT)


def test_it_learns_four_scenes_by_heart(tmp_path: Path, dataset: Dataset) -> None:
    four = Dataset(dataset.labels, list(dataset)[:4])
    settings = TrainingSettings(
        epochs=60, batch_size=4, learning_rate=6e-3, scale=(1, 1), flip=False, color=0, evaluate_every=20, patience=None
    )
    result = train(four, settings, Registry(tmp_path), validation=four)
    # 2 x 3 cells of 32 pixels are too few for the outlines of people; one class everywhere has 0.07 and 0.4
    assert result.best.miou > 0.5
    assert result.best.pixel_accuracy > 0.8
    losses = [evaluation.loss for evaluation in result.history]
    assert losses == sorted(losses, reverse=True)


def test_the_version_holds_what_was_measured(tmp_path: Path, dataset: Dataset) -> None:
    result = train(dataset, QUICK, Registry(tmp_path))
    bundle = Registry(tmp_path).load(result.version)
    assert bundle.labels == dataset.labels
    assert bundle.record.metrics["holdout_miou"] == result.best.miou
    assert TrainingSettings.from_json(bundle.record.settings) == QUICK
    assert bundle.record.data_fingerprint
    held_out = [sample for sample in dataset if sample.id in result.validation]
    assert {*result.train, *result.validation} == {sample.id for sample in dataset}
    matrix = evaluate(bundle.model, Examples(held_out, dataset.labels))
    assert matrix.miou() == pytest.approx(result.best.miou, abs=1e-6)
    assert result.best.miou == max(evaluation.miou for evaluation in result.history)
    assert not list((tmp_path / "training").iterdir())


@pytest.mark.parametrize(("after", "stopped"), [(1, 2), (3, 4), (4, 4)])
def test_resuming_gives_the_same_weights_as_never_stopping(
    tmp_path: Path, dataset: Dataset, after: int, stopped: int
) -> None:
    """Two steps an epoch: in the middle of the first, in the second, and between two epochs."""
    whole = train(dataset, QUICK, Registry(tmp_path / "whole"))
    registry = Registry(tmp_path / "parts")
    with pytest.raises(TrainingInterrupted, match=f"stopped after {stopped} of 6 steps.*--resume"):
        train(dataset, QUICK, registry, Stop(after))
    with pytest.raises(UnfinishedTrainingError, match="--resume goes on with it, --restart throws it away"):
        train(dataset, QUICK, registry)
    resumed = train(dataset, QUICK, registry, resume=True)
    assert resumed.history == whole.history
    models = [Registry(tmp_path / "whole").load(whole.version).model, registry.load(resumed.version).model]
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, other)


def test_restart_begins_anew(tmp_path: Path, dataset: Dataset) -> None:
    registry = Registry(tmp_path)
    with pytest.raises(TrainingInterrupted):
        train(dataset, QUICK, registry, Stop(1))
    assert len(train(dataset, QUICK, registry, restart=True).history) == 3


def test_a_damaged_checkpoint_is_named(tmp_path: Path, dataset: Dataset) -> None:
    registry = Registry(tmp_path)
    with pytest.raises(TrainingInterrupted):
        train(dataset, QUICK, registry, Stop(1))
    state = next(tmp_path.glob("training/*/state.npz"))
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"state.npz: the checkpoint cannot be read .*--restart"):
        train(dataset, QUICK, registry, resume=True)


@pytest.mark.filterwarnings("ignore:(overflow|invalid value)")
def test_a_loss_that_is_no_number_stops_the_training(tmp_path: Path, dataset: Dataset) -> None:
    settings = TrainingSettings(epochs=30, batch_size=2, crop=(64, 64), learning_rate=1e30, warmup=0)
    with pytest.raises(TrainingError, match=r"the loss became (nan|inf) at step .*--learning-rate 1e"):
        train(dataset, settings, Registry(tmp_path))
    assert not Registry(tmp_path).versions()


def test_it_stops_when_nothing_gets_better_and_keeps_the_best(
    tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.3, 0.5, 0.4, 0.45, 0.2, 0.9])

    def measured(*args: object, epoch: int, loss: float | None) -> Evaluation:
        return Evaluation(epoch, next(scores), 0.5, {}, loss)

    monkeypatch.setattr(trainer.Evaluation, "of", measured)
    settings = TrainingSettings(epochs=6, batch_size=2, crop=(64, 64), patience=3)
    result = train(dataset, settings, Registry(tmp_path))
    assert result.stopped_early
    assert len(result.history) == 5
    assert (result.best.epoch, result.best.miou) == (2, 0.5)


def test_frozen_blocks_keep_their_weights(tmp_path: Path, dataset: Dataset) -> None:
    versions = []
    for epochs in (1, 2):
        settings = TrainingSettings(epochs=epochs, batch_size=2, crop=(64, 64), frozen_blocks=2, patience=None)
        versions.append(Registry(tmp_path).load(train(dataset, settings, Registry(tmp_path)).version).model)
    kernels = [[model.get_layer(f"block{k}_conv1").get_weights()[0] for k in (1, 2, 3)] for model in versions]
    np.testing.assert_array_equal(kernels[0][0], kernels[1][0])
    np.testing.assert_array_equal(kernels[0][1], kernels[1][1])
    assert (kernels[0][2] != kernels[1][2]).any()


OPTIONS = ["--epochs", "1", "--batch-size", "2", "--size", "64", "--validation", "0.3"]


def test_the_command_prints_the_result_as_json(tmp_path: Path, scenes: Path) -> None:
    run = CliRunner().invoke(command, [str(scenes), "--home", str(tmp_path), "--json", *OPTIONS])
    assert run.exit_code == 0, run.output
    report = json.loads(run.stdout)
    assert report["version"] in Registry(tmp_path).versions()
    assert 0 <= report["holdout_miou"] <= 1
    assert set(report["iou"]) == {"sky", "building", "road", "tree", "car", "person"}
    assert "epoch 1: mIoU" in run.stderr


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax"])
def test_it_trains_on_another_keras_backend(tmp_path: Path, scenes: Path, backend: str) -> None:
    code = (
        "import sys, keras\n"
        "from maskloop_backend.cli.train import command\n"
        "assert keras.backend.backend() == sys.argv[1]\n"
        "command(sys.argv[2:])\n"
    )
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [str(scenes), "--home", str(tmp_path), "--json", *OPTIONS]
    run = subprocess.run(
        [sys.executable, "-c", code, backend, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["version"] in Registry(tmp_path).versions()
