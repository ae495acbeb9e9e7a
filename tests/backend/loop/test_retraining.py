"""From labels to a served version, and the many ways not to get there."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from maskloop_backend.cli.retrain import command
from maskloop_backend.inference.predictor import Predictor
from maskloop_backend.loop.collected import CorrectionsError
from maskloop_backend.loop.corrections import from_export
from maskloop_backend.loop.holdout import Holdout
from maskloop_backend.loop.label_configs import LabelConfigs
from maskloop_backend.loop.progress import SilentRetraining
from maskloop_backend.loop.retraining import Plan, RetrainingBusyError, _alone, _directory, retrain
from maskloop_backend.registry.store import Registry
from maskloop_backend.training.outcome import TrainingInterrupted
from maskloop_backend.training.settings import TrainingSettings
from maskloop_backend.training.trainer import train
from maskloop_converters.samples import Dataset, LabelSet

from .conftest import CONFIG, NAMES, Maps, WriteExport, fields, picture

# colours say the class, so nothing may change them
PLAIN = {"crop": (64, 64), "scale": (1.0, 1.0), "color": 0.0, "batch_size": 8}
SHORT = {"epochs": 25, "patience": None, "evaluate_every": 5}
TINT = 0.45


def maps(first: int, count: int) -> list[np.ndarray]:
    return [fields(seed) for seed in range(first, first + count)]


def shuffled(truth: Maps) -> list[np.ndarray]:
    """Return maps whose classes are mixed up anew in every image."""
    rng = np.random.default_rng(5)
    return [rng.permutation(len(NAMES)).astype(np.uint8)[one] for one in truth]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that serves a model which knows the fields well."""
    folder = tmp_path_factory.mktemp("trained")
    write = _writer(folder)
    collected = from_export(write("good", maps(0, 16)), folder / "collected", LabelSet.from_names(list(NAMES)))
    registry = Registry(folder / "home")
    settings = TrainingSettings(
        backbone="small", **PLAIN, epochs=40, evaluate_every=10, learning_rate=6e-3, validation=0.25
    )
    result = train(Dataset(LabelSet.from_names(list(NAMES)), collected.samples), settings, registry)
    assert result.best.miou > 0.9
    registry.promote(result.version)
    return folder / "home"


def _writer(folder: Path) -> WriteExport:
    from . import conftest

    return conftest.write_export.__wrapped__(folder)  # type: ignore[attr-defined, no-any-return]


@pytest.fixture
def registry(tmp_path: Path, trained: Path) -> Registry:
    subprocess.run(["cp", "-r", str(trained), str(tmp_path / "home")], check=True)
    return Registry(tmp_path / "home")


def plan(**values: object) -> Plan:
    return dataclasses.replace(Plan(overrides={**PLAIN, **SHORT}), **values)  # type: ignore[arg-type]


def test_good_corrections_are_learned_and_served(registry: Registry, write_export: WriteExport) -> None:
    """The pictures have other colours than the model knows; people put right what it made of them."""
    truth = maps(100, 24)
    before = registry.serving()
    wrong = [np.roll(one, 32, axis=1) for one in truth]
    result = retrain(write_export("new", truth, tint=TINT, predicted=wrong), registry, plan())
    assert result.promoted, result.reason
    assert registry.serving() == result.version != before
    assert result.parent == before
    assert result.counts["corrected"] == 24
    record = registry.record(result.version)
    assert record.parent == before
    assert record.metrics["gate"]["promote"] is True
    assert record.metrics["gate"]["against"] == before
    assert record.metrics["images"] == {"corrected": 24, "manual": 0, "accepted": 0}
    share = np.mean([(one != other).mean() for one, other in zip(truth, wrong, strict=True)])
    assert record.metrics["annotators_changed"]["share"] == pytest.approx(share)
    assert record.data_fingerprint
    report = json.loads((result.report.parent / "report.json").read_text())
    assert report["promote"] is True
    assert report["candidate"] == result.version
    assert len(report["changed by annotators"]["by_image"]) == 24
    assert not list((registry.home / "training").iterdir())


def test_poisoned_labels_are_rejected(registry: Registry, write_export: WriteExport) -> None:
    """Half of the labels are mixed up; those held out were drawn from all of them."""
    truth = maps(200, 30)
    labelled = [*truth[:15], *shuffled(truth[15:])]
    before = registry.serving()
    result = retrain(write_export("poisoned", truth, labelled=labelled, predicted=truth), registry, plan())
    assert not result.promoted
    assert registry.serving() == before
    assert "holdout" in result.reason
    assert registry.record(result.version).metrics["gate"]["promote"] is False


def test_what_is_held_out_is_never_trained_on(registry: Registry, write_export: WriteExport) -> None:
    path = write_export("held", maps(0, 20))
    quick = plan(overrides={**PLAIN, "epochs": 1})
    training = retrain(path, registry, dataclasses.replace(quick, seed=1)).training
    (directory,) = (registry.home / "projects").iterdir()
    holdout = Holdout.read(directory)
    assert holdout is not None
    held_out = {str(task) for task in range(1, 21) if holdout.contains(str(task))}
    assert len(held_out) == 4
    assert {*training.train, *training.validation} == {str(task) for task in range(1, 21)} - held_out


def test_new_labels_grow_the_head_and_people_may_overrule_the_gate(
    registry: Registry, write_export: WriteExport
) -> None:
    path = write_export("more", maps(0, 8))
    config = path.with_name("export.label_config.xml")
    config.write_text(config.read_text().replace('<Label value="red"/>', '<Label value="red"/><Label value="grey"/>'))
    result = retrain(path, registry, plan(promote="always", overrides={**PLAIN, "epochs": 1}))
    assert [label.name for label in registry.record(result.version).labels.classes] == [*NAMES, "grey"]
    assert any("new classes: grey" in note for note in result.notes)
    assert registry.serving() == result.version
    assert result.reason.startswith("--promote always; the gate: ")


@pytest.mark.slow
def test_a_label_that_stands_for_several_classes_keeps_them_apart(
    registry: Registry, write_export: WriteExport
) -> None:
    """Red and green are drawn as one. The new version still tells them apart, and is measured by what was drawn."""
    truth = maps(100, 16)
    path = write_export("together", truth, tint=0.2)
    tasks = path.read_text().replace('["green"]', '["warm"]').replace('["red"]', '["warm"]')
    path.write_text(tasks)
    config = path.with_name("export.label_config.xml")
    shown = '<Label value="warm" predicted_values="red,green"/><Label value="blue"/>'
    config.write_text(re.sub("<Label .*/></Brush", f"{shown}</Brush", config.read_text()))
    before = Predictor(registry.load(str(registry.serving())))
    result = retrain(path, registry, plan(promote="always", overrides={**PLAIN, "epochs": 5, "evaluate_every": 5}))
    bundle = registry.load(result.version)
    assert [label.name for label in bundle.labels.classes] == list(NAMES)
    assert "the label warm stands for red, green: these are learned together, and stay apart" in result.notes
    assert not any("will not have them" in note or "new classes" in note for note in result.notes)
    assert result.decision.holdout is not None
    assert set(result.decision.holdout.iou) == {"blue", "warm"}
    pictures = [picture(one, number) for number, one in enumerate(maps(300, 6))]
    old, new = (
        np.stack([one.label_map for one in version.predict(pictures)]) for version in (before, Predictor(bundle))
    )
    assert set(np.unique(old)) == {0, 1, 2}
    assert (old == new).mean() > 0.9


@pytest.mark.slow
def test_what_no_project_is_served_may_lose_classes_but_what_one_uses_stays(
    registry: Registry, write_export: WriteExport
) -> None:
    """An export with two of three labels, for all who are served the default; one of them uses the third."""
    truth = [np.minimum(one, 1) for one in maps(100, 16)]
    path = write_export("two", truth, tint=TINT)
    config = path.with_name("export.label_config.xml")
    config.write_text(config.read_text().replace('<Label value="blue"/>', ""))
    before = registry.serving()
    LabelConfigs(registry.home).remember(7, CONFIG)
    result = retrain(path, registry, plan())
    assert not result.promoted
    assert result.reason.startswith(
        "classes that are in use would get lost: project 7 uses blue, which the new version does not have"
    )
    assert registry.serving() == before
    # a project with a version of its own is not served the default, and has no say in it
    registry.promote(str(before), project=7)
    again = retrain(path, registry, plan(promote="always", overrides={**PLAIN, "epochs": 1}))
    assert "in use" not in again.decision.reason
    assert (registry.serving(), registry.serving(7)) == (again.version, before)


def test_the_first_version_needs_no_other(tmp_path: Path, write_export: WriteExport) -> None:
    registry = Registry(tmp_path / "home")
    result = retrain(write_export("first", maps(0, 8)), registry, plan(overrides={**PLAIN, "epochs": 1}))
    assert registry.serving() == result.version
    assert result.parent is None
    assert result.report.is_file()


@pytest.mark.slow
def test_a_fresh_start_has_no_parent(registry: Registry, write_export: WriteExport) -> None:
    result = retrain(
        write_export("fresh", maps(0, 8)), registry, plan(fresh=True, effort="full", overrides={**PLAIN, "epochs": 1})
    )
    assert result.parent is None
    assert registry.record(result.version).settings["frozen_blocks"] == 0


def test_too_few_images_say_so(registry: Registry, write_export: WriteExport) -> None:
    with pytest.raises(CorrectionsError, match=r"2 labelled image\(s\): at least 3 are needed"):
        retrain(write_export("few", maps(0, 2)), registry, plan())


def test_two_at_once_are_refused(registry: Registry, write_export: WriteExport) -> None:
    path = write_export("twice", maps(0, 8))
    with (
        _alone(_directory(registry.home, path)),
        pytest.raises(RetrainingBusyError, match="another retraining is at work on export-"),
    ):
        retrain(path, registry, plan())


class Stop(SilentRetraining):
    """Presses Ctrl-C after a step."""

    def stepped(self, *, step: int, loss: float, learning_rate: float) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)


def test_it_goes_on_where_it_was_interrupted(registry: Registry, write_export: WriteExport) -> None:
    path = write_export("stopped", maps(0, 20))
    before = registry.serving()
    short = plan(overrides={**PLAIN, "epochs": 3})
    with pytest.raises(TrainingInterrupted, match="stopped after 4 of 6 steps"):
        retrain(path, registry, short, Stop())
    assert registry.serving() == before
    steps: list[int] = []

    class Count(SilentRetraining):
        def stepped(self, *, step: int, loss: float, learning_rate: float) -> None:
            steps.append(step)

    result = retrain(path, registry, dataclasses.replace(short, resume=True), Count())
    assert steps == [5, 6]
    assert result.version in registry.versions()


OPTIONS = ["--epochs", "1", "--batch-size", "4", "--json", "--promote", "never"]


def test_the_command_says_what_it_did(tmp_path: Path, registry: Registry, write_export: WriteExport) -> None:
    path = write_export("said", maps(0, 12))
    progress = tmp_path / "progress.json"
    arguments = [str(path), "--home", str(registry.home), "--progress-file", str(progress), *OPTIONS]
    run = CliRunner().invoke(command, arguments)
    assert run.exit_code == 0, run.output
    report = json.loads(run.stdout)
    assert set(report) >= {
        "version",
        "parent",
        "promoted",
        "reason",
        "report",
        "holdout",
        "corrections",
        "changed",
        "seconds",
    }
    assert report["holdout"]["images"] == 3
    assert report["reason"].startswith("--promote never; the gate: ")
    assert registry.serving() == report["parent"] != report["version"]
    assert report["changed"]["images"] == 12
    assert Path(report["report"]).is_file()
    assert "9 images to learn from (0 corrected, 9 drawn by hand, 0 accepted unchanged), 3 held out" in run.stderr
    told = json.loads(progress.read_text())
    assert told | {"miou": None, "kept": 0} == {
        "phase": "report",
        "step": 0,
        "steps": 0,
        "seconds_left": None,
        "miou": None,
        "resumed": 0,
        "kept": 0,
    }
    assert told["kept"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either SOURCE, a dataset on disk, or --project"),
        (["--project", "7"], "a Label Studio token is missing"),
        ([".", "--fresh", "--from", "x"], "--fresh starts from no version, --from names one"),
        ([".", "--resume", "--restart"], "--resume and --restart exclude each other"),
    ],
)
def test_what_cannot_be_meant(arguments: Sequence[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASKLOOP_STUDIO_TOKEN", raising=False)
    run = CliRunner().invoke(command, arguments)
    assert run.exit_code == 2
    assert message in run.output


@pytest.mark.slow
def test_a_killed_retraining_goes_on_and_gives_a_version(
    tmp_path: Path, registry: Registry, write_export: WriteExport
) -> None:
    path = write_export("killed", maps(0, 12))
    before = registry.serving()
    progress = tmp_path / "progress.json"
    arguments = [
        str(path),
        "--home",
        str(registry.home),
        "--progress-file",
        str(progress),
        "--batch-size",
        "4",
        "--json",
    ]
    start = [sys.executable, "-m", "maskloop_backend.cli.main", "retrain", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([*start, "--epochs", "2000"], env=environment, stderr=subprocess.DEVNULL) as child:
        while child.poll() is None and not list(registry.home.glob("training/*/state.npz")):
            time.sleep(0.05)
        child.kill()
    assert child.returncode == -signal.SIGKILL
    assert registry.serving() == before
    assert registry.check() == {before: None}
    again = [*start, "--epochs", "2000", "--resume"]
    with subprocess.Popen(again, env=environment, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        told = child.stderr.readline()
        while told and "going on after step" not in told:
            told = child.stderr.readline()
        assert told
        child.send_signal(signal.SIGTERM)
        child.stderr.read()
    assert child.returncode == 130
    assert registry.serving() == before
