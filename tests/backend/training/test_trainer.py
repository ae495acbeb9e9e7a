"""The loop on tiny pictures: it learns, survives interruption, keeps the best, says what is wrong."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from maskloop_backend.cli.train import command
from maskloop_backend.demo.scenes import write_scenes
from maskloop_backend.evaluation.measurement import measure
from maskloop_backend.inference.predictor import Predictor
from maskloop_backend.model.bundle import Bundle
from maskloop_backend.registry.store import Registry
from maskloop_backend.training import run
from maskloop_backend.training.dataset import Examples, read_source
from maskloop_backend.training.metrics import Evaluation
from maskloop_backend.training.outcome import (
    Silent,
    TrainingError,
    TrainingInterrupted,
    TrainingResult,
    UnfinishedTrainingError,
)
from maskloop_backend.training.run import Run
from maskloop_backend.training.settings import TrainingSettings
from maskloop_backend.training.trainer import train
from maskloop_backend.training.validation import evaluate
from maskloop_converters.samples import Dataset, LabelSet, Sample

QUICK = TrainingSettings(
    backbone="small", epochs=3, batch_size=2, crop=(64, 64), validation=0.34, seed=1, patience=None
)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("scenes") / "street"
    write_scenes(directory, 6, size=(64, 96))
    return directory


@pytest.fixture
def dataset(scenes: Path) -> Dataset:
    return read_source(scenes)[0]


@dataclass(frozen=True)
class Trained:
    """A training that nothing stopped.

    Attributes:
        registry: where its version is.
        result: what it returned.
        bundle: the version.
    """

    registry: Registry
    result: TrainingResult
    bundle: Bundle


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, scenes: Path) -> Trained:
    registry = Registry(tmp_path_factory.mktemp("whole"))
    result = train(read_source(scenes)[0], QUICK, registry)
    return Trained(registry, result, registry.load(result.version))


def without(dataset: Dataset, labels: set[int]) -> Iterator[Sample]:
    """Yield samples without the regions of some labels."""
    for sample in dataset:
        kept = [k for k, region in enumerate(sample.regions) if region.label not in labels]
        yield replace(sample, masks=sample.masks.select(kept), regions=tuple(sample.regions[k] for k in kept))


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
        backbone="small",
        epochs=60,
        batch_size=4,
        learning_rate=6e-3,
        scale=(1, 1),
        flip=False,
        color=0,
        evaluate_every=20,
        patience=None,
    )
    result = train(four, settings, Registry(tmp_path), validation=four)
    # 2 x 3 cells of 32 pixels are too few for the outlines of people; one class everywhere has 0.07 and 0.4
    assert result.best.miou > 0.5
    assert result.best.pixel_accuracy > 0.8
    losses = [evaluation.loss for evaluation in result.history]
    assert losses == sorted(losses, reverse=True)


def test_the_version_holds_what_was_measured(dataset: Dataset, whole: Trained) -> None:
    result, bundle = whole.result, whole.bundle
    assert bundle.labels == dataset.labels
    assert bundle.record.metrics["holdout_miou"] == result.best.miou
    assert TrainingSettings.from_json(bundle.record.settings) == QUICK.resolved()
    assert bundle.record.data_fingerprint
    held_out = [sample for sample in dataset if sample.id in result.validation]
    assert {*result.train, *result.validation} == {sample.id for sample in dataset}
    matrix = evaluate(bundle.model, Examples(held_out, dataset.labels))
    assert matrix.miou() == pytest.approx(result.best.miou, abs=1e-6)
    assert result.best.miou == max(evaluation.miou for evaluation in result.history)
    assert not list((whole.registry.home / "training").iterdir())


@pytest.mark.parametrize(
    ("after", "stopped"),
    [(1, 2), pytest.param(3, 4, marks=pytest.mark.slow), pytest.param(4, 4, marks=pytest.mark.slow)],
)
def test_resuming_gives_the_same_weights_as_never_stopping(
    tmp_path: Path, dataset: Dataset, whole: Trained, after: int, stopped: int
) -> None:
    """Two steps an epoch: in the middle of the first, in the second, and between two epochs."""
    registry = Registry(tmp_path)
    with pytest.raises(TrainingInterrupted, match=f"stopped after {stopped} of 6 steps.*--resume"):
        train(dataset, QUICK, registry, Stop(after))
    with pytest.raises(UnfinishedTrainingError, match="--resume goes on with it, --restart throws it away"):
        train(dataset, QUICK, registry)
    resumed = train(dataset, QUICK, registry, resume=True)
    assert resumed.history == whole.result.history
    models = [whole.bundle.model, registry.load(resumed.version).model]
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
    settings = TrainingSettings(backbone="small", epochs=30, batch_size=2, crop=(64, 64), learning_rate=1e30, warmup=0)
    with pytest.raises(TrainingError, match=r"the loss became (nan|inf) at step .*--learning-rate 1e"):
        train(dataset, settings, Registry(tmp_path))
    assert not Registry(tmp_path).versions()


def test_it_stops_when_nothing_gets_better_and_keeps_the_best(
    tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.3, 0.5, 0.4, 0.45, 0.2, 0.9])

    def measured(*args: object, epoch: int, loss: float | None) -> Evaluation:
        return Evaluation(epoch, next(scores), 0.5, {}, loss)

    monkeypatch.setattr(Evaluation, "of", measured)
    settings = TrainingSettings(backbone="small", epochs=6, batch_size=2, crop=(64, 64), patience=3)
    result = train(dataset, settings, Registry(tmp_path))
    assert result.stopped_early
    assert len(result.history) == 5
    assert (result.best.epoch, result.best.miou) == (2, 0.5)


def test_frozen_blocks_keep_their_weights(tmp_path: Path, dataset: Dataset) -> None:
    versions = []
    for epochs in (1, 2):
        settings = TrainingSettings(
            backbone="small", epochs=epochs, batch_size=2, crop=(64, 64), frozen_blocks=2, patience=None
        )
        versions.append(Registry(tmp_path).load(train(dataset, settings, Registry(tmp_path)).version).model)
    kernels = [[model.get_layer(f"block{k}_conv1").get_weights()[0] for k in (1, 2, 3)] for model in versions]
    np.testing.assert_array_equal(kernels[0][0], kernels[1][0])
    np.testing.assert_array_equal(kernels[0][1], kernels[1][1])
    assert (kernels[0][2] != kernels[1][2]).any()


def test_the_same_training_gives_the_same_version(tmp_path: Path, dataset: Dataset, whole: Trained) -> None:
    assert train(dataset, QUICK, Registry(tmp_path)).version == whole.result.version


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory, scenes: Path) -> Bundle:
    """A version that knows four of the six classes."""
    dataset = read_source(scenes)[0]
    fewer = Dataset(LabelSet(dataset.labels.labels[:4]), list(without(dataset, {4, 5})))
    registry = Registry(tmp_path_factory.mktemp("parent"))
    settings = TrainingSettings(backbone="small", epochs=1, batch_size=2, crop=(64, 64))
    return registry.load(train(fewer, settings, registry).version)


FROZEN = TrainingSettings(
    backbone="small",
    epochs=2,
    batch_size=2,
    crop=(64, 64),
    validation=0.34,
    frozen_blocks=5,
    cached_views=2,
    patience=None,
)


def test_it_starts_from_a_version_and_grows_its_head(tmp_path: Path, dataset: Dataset, parent: Bundle) -> None:
    registry = Registry(tmp_path)
    result = train(dataset, FROZEN, registry, initial=parent)
    child = registry.load(result.version)
    assert child.record.parent == parent.version
    assert child.labels == dataset.labels
    for name in ("block1_conv1", "block5_conv2", "block3_conv1_norm"):
        for one, other in zip(*(m.model.get_layer(name).get_weights() for m in (parent, child)), strict=True):
            np.testing.assert_array_equal(one, other)
    assert (child.model.get_layer("fc6").get_weights()[0] != parent.model.get_layer("fc6").get_weights()[0]).any()
    assert not list((tmp_path / "training").iterdir())


def test_resuming_on_cached_features_gives_the_same_weights(tmp_path: Path, dataset: Dataset, parent: Bundle) -> None:
    names = []
    for place, stops in (("whole", ()), ("parts", (1,))):
        registry = Registry(tmp_path / place)
        for stop in stops:
            with pytest.raises(TrainingInterrupted):
                train(dataset, FROZEN, registry, Stop(stop), initial=parent, resume=True)
        names.append(train(dataset, FROZEN, registry, initial=parent, resume=True).version)
    assert names[0] == names[1]


@pytest.mark.parametrize("steps", [(), (3,)])
def test_the_best_weights_between_start_and_end_are_kept(
    tmp_path: Path, dataset: Dataset, parent: Bundle, steps: tuple[int, ...]
) -> None:
    """Without the last upsampling, which keeps its weights: the loss looks at some pixels only."""
    settings = dataclasses.replace(FROZEN, blended=True, loss_every=4, learning_rate=0.05, evaluate_every=2)
    registry = Registry(tmp_path)
    for stop in steps:
        with pytest.raises(TrainingInterrupted):
            train(dataset, settings, registry, Stop(stop), initial=parent)
    result = train(dataset, settings, registry, initial=parent, resume=True)
    assert [evaluation.epoch for evaluation in result.history] == [2, 2, 2, 2]
    assert result.best.miou == max(evaluation.miou for evaluation in result.history)
    child = registry.load(result.version)
    kernels = [bundle.model.get_layer("fc6").get_weights()[0] for bundle in (parent, child)]
    assert (kernels[0] != kernels[1]).any()


@pytest.mark.slow
def test_the_backbone_learns_more_slowly_where_that_was_asked_for(
    tmp_path: Path, dataset: Dataset, parent: Bundle
) -> None:
    registry = Registry(tmp_path)
    moved = []
    for rate in (1.0, 0.01):
        settings = TrainingSettings(backbone="small", epochs=1, batch_size=2, crop=(64, 64), backbone_rate=rate)
        child = registry.load(train(dataset, settings, registry, initial=parent).version)
        kernels = [bundle.model.get_layer("block4_conv1").get_weights()[0] for bundle in (parent, child)]
        moved.append(float(np.abs(kernels[1] - kernels[0]).mean()))
    assert 0 < moved[1] < 0.05 * moved[0]


def test_another_network_is_no_start(tmp_path: Path, dataset: Dataset, parent: Bundle) -> None:
    with pytest.raises(
        TrainingError, match="has the backbone small with a head, the settings say small without a head"
    ):
        train(dataset, TrainingSettings(backbone="small", head=False), Registry(tmp_path), initial=parent)


@pytest.mark.slow
def test_too_little_memory_means_smaller_batches_and_then_a_clear_stop(
    tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can run out of memory on purpose in a test: the step says that it did."""
    step = Run._step
    most = [2]

    def limited(self: Run, images: np.ndarray, targets: np.ndarray, rate: float) -> float:
        if len(images) > most[0]:
            raise MemoryError
        return step(self, images, targets, rate)

    monkeypatch.setattr(Run, "_step", limited)
    settings = TrainingSettings(backbone="small", epochs=1, batch_size=8, crop=(64, 64))
    result = train(dataset, settings, Registry(tmp_path))
    assert Registry(tmp_path).record(result.version).settings["batch_size"] == 2
    most[0] = 0
    with pytest.raises(TrainingError, match="the memory does not suffice to train on one crop of 64 x 64 pixels"):
        train(dataset, settings, Registry(tmp_path / "other"))
    assert not Registry(tmp_path / "other").versions()


def test_what_follows_the_saving_is_done_again_after_a_crash(tmp_path: Path, dataset: Dataset, parent: Bundle) -> None:
    registry, seen = Registry(tmp_path), []

    def crash(result: TrainingResult) -> None:
        seen.append(result.version)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        train(dataset, FROZEN, registry, initial=parent, saved=crash, owner="project-7")
    assert registry.versions() == seen
    steps = []

    class Count(Silent):
        def stepped(self, *, step: int, loss: float, learning_rate: float) -> None:
            steps.append(step)

    again = train(
        dataset,
        FROZEN,
        registry,
        Count(),
        initial=parent,
        resume=True,
        saved=lambda r: seen.append(r.version),
        owner="project-7",
    )
    assert seen == [again.version] * 2
    assert not steps
    assert not list((tmp_path / "training").iterdir())


def test_an_owner_has_one_unfinished_training_at_most(tmp_path: Path, dataset: Dataset) -> None:
    """Its data changed: nobody can go on with the old one. Those of others stay."""
    registry = Registry(tmp_path)
    for owner, seed in (("a", 1), ("a-b", 1), ("a", 2)):
        with pytest.raises(TrainingInterrupted):
            train(dataset, replace(QUICK, seed=seed), registry, Stop(1), owner=owner, resume=True)
    assert sorted(path.name.rpartition("-")[0] for path in (tmp_path / "training").iterdir()) == ["a", "a-b"]


def test_it_logs_for_tensorboard(whole: Trained) -> None:
    (file,) = whole.registry.home.glob("tensorboard/small-*/events.out.tfevents.*")
    assert file.stat().st_size > 500


@pytest.mark.slow
def test_a_zoom_is_kept_where_it_measures_better(
    tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = replace(QUICK, epochs=1, zoom=2.0)
    registry = Registry(tmp_path)
    monkeypatch.setattr(run, "_WORTH", -1.0)
    better = train(dataset, tried, registry)
    bundle = registry.load(better.version)
    assert bundle.record.zoom == 2
    held_out = Examples([one for one in dataset if one.id in better.validation], dataset.labels)
    assert measure(Predictor(bundle, precision="float32"), held_out).scores.miou == pytest.approx(
        bundle.record.metrics["holdout_miou"], abs=0.002
    )
    monkeypatch.setattr(run, "_WORTH", 1.0)
    worse = train(dataset, replace(tried, seed=2), registry)
    assert registry.record(worse.version).zoom == 1


@pytest.mark.slow
def test_stages_go_on_after_those_that_are_done(tmp_path: Path, scenes: Path) -> None:
    arguments = [str(scenes), "--home", str(tmp_path), *OPTIONS, "--epochs", "4", "--stride", "16", "--staged"]
    registry = Registry(tmp_path)
    whole = CliRunner().invoke(command, arguments)
    assert whole.exit_code == 0, whole.output
    coarse, fine = sorted(registry.versions(), key=lambda name: name.startswith("fcn16s"))
    assert (coarse[:7], fine[:7]) == ("fcn32s-", "fcn16s-")
    assert registry.record(fine).parent == coarse
    registry.remove(fine)
    again = CliRunner().invoke(command, [*arguments, "--resume", "--json"])
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["version"] == fine
    assert sorted(registry.versions()) == sorted([coarse, fine])


OPTIONS = ["--backbone", "small", "--epochs", "1", "--batch-size", "2", "--size", "64", "--validation", "0.3"]


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
