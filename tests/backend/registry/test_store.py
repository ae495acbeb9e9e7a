"""Versions on disk: what is added is there complete, whatever interrupts it."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner, Result
from keras import ops

from maskloop_backend.cli.main import cli
from maskloop_backend.model.bundle import Bundle
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.fcn import build_fcn
from maskloop_backend.model.record import BundleError
from maskloop_backend.registry import Registry, RegistryError
from maskloop_converters.samples import LabelSet

# Keras' NumPy backend is enough to save a model, and the quickest to import
ENVIRONMENT = {**os.environ, "KERAS_BACKEND": "numpy", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def make(seed: int = 0, **options: Any) -> Bundle:
    keras.utils.set_random_seed(seed)
    architecture = Architecture(2, "small", head=False, upsampling="per_class")
    return Bundle.create(build_fcn(architecture), architecture, LabelSet.from_names(["road", "Straße"]), **options)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return make(metrics={"holdout_miou": 0.8125, "iou": {"road": 0.9}})


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "home")


def test_an_empty_registry(registry: Registry) -> None:
    assert registry.versions() == []
    assert registry.serving() is None
    assert not registry.home.exists()
    with pytest.raises(RegistryError, match="none yet; `maskloop train` makes one"):
        registry.record("fcn32s-small-20260101-00000000")


def test_what_is_added_is_what_is_loaded(registry: Registry, bundle: Bundle) -> None:
    version = registry.add(bundle)
    assert registry.versions() == [version]
    loaded = registry.load(version)
    assert loaded.version == version
    assert loaded.record == registry.record(version) == registry.verify(version)
    image = np.random.default_rng(0).integers(0, 256, (1, 40, 40, 3), np.uint8)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(loaded.model(image, training=False)),
        ops.convert_to_numpy(bundle.model(image, training=False)),
    )


def test_the_same_weights_are_one_version(registry: Registry, bundle: Bundle) -> None:
    first = registry.add(bundle)
    record = (registry.models / first / "bundle.json").read_bytes()
    assert registry.add(bundle) == first
    assert registry.versions() == [first]
    assert (registry.models / first / "bundle.json").read_bytes() == record


def test_versions_are_in_the_order_in_which_they_were_made(registry: Registry) -> None:
    times = ["2026-03-01T10:00:00Z", "2026-03-01T09:00:00Z", "2025-12-31T23:59:59Z"]
    names = {}
    for seed, created in enumerate(times):
        bundle = make(seed)
        names[created] = registry.add(Bundle(bundle.model, dataclasses.replace(bundle.record, created=created)))
    assert registry.versions() == [names[created] for created in sorted(times)]
    assert names[times[2]].startswith("fcn32s-small-20251231-")


def test_serving(registry: Registry, bundle: Bundle) -> None:
    version = registry.add(bundle)
    registry.promote(version)
    assert registry.serving() == version
    with pytest.raises(RegistryError, match=f"no model version 'nonsense'.*there are: {version}"):
        registry.promote("nonsense")
    damage(registry, other := registry.add(make(9)))
    with pytest.raises(BundleError, match=other):
        registry.promote(other)
    assert registry.serving() == version
    assert sorted(path.name for path in registry.home.iterdir()) == ["models", "serving.json"]


def test_promote_and_roll_back(registry: Registry, bundle: Bundle) -> None:
    first, second, third = registry.add(bundle), registry.add(make(1)), registry.add(make(2))
    with pytest.raises(RegistryError, match="no version was served before now"):
        registry.rollback()
    for version in (first, second, third):
        registry.promote(version, reason=f"better than {registry.serving()}")
    assert registry.rollback(reason="worse on rain") == second == registry.serving()
    serving = registry.history()
    assert serving is not None
    assert [(change.action, change.version, change.reason) for change in serving.changes] == [
        ("promote", first, "better than None"),
        ("promote", second, f"better than {first}"),
        ("promote", third, f"better than {second}"),
        ("rollback", second, "worse on rain"),
    ]
    damage(registry, first)
    with pytest.raises(BundleError, match=first):
        registry.rollback()
    assert registry.serving() == second
    shutil.rmtree(registry.models / first)
    with pytest.raises(RegistryError, match=f"no version was served before {second}"):
        registry.rollback()


def test_promoting_mends_a_damaged_serving_file(registry: Registry, bundle: Bundle) -> None:
    version = registry.add(bundle)
    (registry.home / "serving.json").write_text("{")
    registry.promote(version)
    assert registry.serving() == version


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 3}'])
def test_a_damaged_serving_file_is_named(registry: Registry, text: str) -> None:
    registry.home.mkdir()
    (registry.home / "serving.json").write_text(text)
    with pytest.raises(RegistryError, match=r"serving\.json: .*writes it anew"):
        registry.serving()


@pytest.mark.parametrize("name", ["../escape", "", ".", "fcn32s-small-20260101-0000000g", "x/../../y"])
def test_names_that_are_no_versions_are_refused(registry: Registry, bundle: Bundle, name: str) -> None:
    registry.add(bundle)
    for method in (registry.record, registry.load, registry.verify, registry.promote):
        with pytest.raises(RegistryError, match="there is no model version"):
            method(name)


def test_a_renamed_version_is_refused(registry: Registry, bundle: Bundle) -> None:
    version = registry.add(bundle)
    (registry.models / version).rename(registry.models / "fcn32s-vgg16-20200101-00000000")
    with pytest.raises(BundleError, match=f"holds the record of {version}"):
        registry.record("fcn32s-vgg16-20200101-00000000")


def damage(registry: Registry, version: str) -> None:
    path = registry.models / version / "model.weights.h5"
    path.write_bytes(path.read_bytes()[:-1000])


ADD = """
import os, signal, sys
from pathlib import Path
import keras
from maskloop_backend.model.bundle import Bundle
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.fcn import build_fcn
from maskloop_backend.registry import Registry
from maskloop_converters import atomic
from maskloop_converters.samples import LabelSet

sync, calls = atomic.sync, 0

def kill_at(path):
    global calls
    calls += 1
    if calls == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    sync(path)

atomic.sync = kill_at
keras.utils.set_random_seed(int(sys.argv[3]))
architecture = Architecture(2, "small", head=False, upsampling="per_class")
bundle = Bundle.create(build_fcn(architecture), architecture, LabelSet.from_names(["a", "b"]))
print(Registry(Path(sys.argv[1])).add(bundle))
"""


def add_in_a_process(home: Path, *, kill_at: int, seed: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", ADD, str(home), str(kill_at), str(seed)]
    return subprocess.Popen(arguments, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_kill_9_leaves_no_version_and_the_next_add_clears_up(registry: Registry, bundle: Bundle) -> None:
    # 1 is the first file's sync, 4 comes after the rename inside the hidden directory
    processes = [add_in_a_process(registry.home / str(at), kill_at=at, seed=at) for at in (1, 4)]
    for at, process in zip((1, 4), processes, strict=True):
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        killed = Registry(registry.home / str(at))
        assert killed.versions() == []
        assert any(path.name.startswith(".writing-") for path in killed.models.iterdir())
        version = killed.add(bundle)
        assert sorted(path.name for path in killed.models.iterdir()) == [".lock", version]


def test_two_processes_at_once(registry: Registry) -> None:
    processes = [add_in_a_process(registry.home, kill_at=0, seed=seed) for seed in (1, 1, 2)]
    answers = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], answers
    versions = [out.strip() for out, _ in answers]
    assert versions[0] == versions[1] != versions[2]
    assert set(registry.versions()) == set(versions)
    assert registry.check() == dict.fromkeys(registry.versions())


class TestCommand:
    def run(self, registry: Registry, *arguments: str) -> Result:
        return CliRunner().invoke(cli, ["models", *arguments, "--home", str(registry.home)])

    def test_list_show_promote_verify(self, registry: Registry, bundle: Bundle) -> None:
        version = registry.add(bundle)
        assert version in self.run(registry, "list").stdout
        assert self.run(registry, "promote", version).exit_code == 0
        assert f"* {version}" in (listed := self.run(registry, "list").stdout)
        assert "2 classes  holdout_miou 0.812" in listed
        (row,) = json.loads(self.run(registry, "list", "--json").stdout)
        assert row["version"] == version
        assert row["serving"] is True
        assert row["labels"] == ["road", "Straße"]
        shown = json.loads(self.run(registry, "show", version, "--json").stdout)
        assert shown == {**registry.record(version).to_json(), "int8": None}
        assert "Straße" in self.run(registry, "show", version).stdout
        assert json.loads(self.run(registry, "verify", "--json").stdout) == {version: None}

    def test_damage_is_told_with_exit_code_1(self, registry: Registry, bundle: Bundle) -> None:
        intact, broken = registry.add(bundle), registry.add(make(4))
        damage(registry, broken)
        result = self.run(registry, "verify")
        assert result.exit_code == 1
        assert f"{intact}  intact" in result.stdout
        assert "the file is damaged or was replaced" in result.stdout
        (registry.models / broken / "bundle.json").write_text("{")
        assert "not readable as JSON" in self.run(registry, "list").stdout
        result = self.run(registry, "promote", broken)
        assert result.exit_code == 1
        assert "not readable as JSON" in result.stderr

    def test_an_empty_list(self, registry: Registry) -> None:
        result = self.run(registry, "list")
        assert result.exit_code == 0
        assert "maskloop train" in result.stderr
        assert json.loads(self.run(registry, "list", "--json").stdout) == []


def test_the_command_needs_no_keras() -> None:
    script = """
import sys
import maskloop_backend.cli.models
assert not {"keras", "tensorflow", "jax", "h5py"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, check=True)


class TestProjects:
    """Each project may have a version of its own; the others are served the default."""

    def test_one_promotion_is_no_other_projects(self, registry: Registry, save: Any) -> None:
        first, second, third = (save(bytes([number])).version for number in range(3))
        registry.promote(first)
        registry.promote(second, project=7, reason="its own labels")
        assert [registry.serving(project) for project in (None, 7, 8)] == [first, second, first]
        registry.promote(third)
        assert [registry.serving(project) for project in (None, 7, 8)] == [third, second, third]
        own = registry.history(7)
        assert own is not None
        assert [(change.action, change.version, change.reason) for change in own.changes] == [
            ("promote", second, "its own labels")
        ]
        assert registry.history(8) is None
        rows = {row["version"]: (row["serving"], row["projects"]) for row in registry.summary()}
        assert rows == {first: (False, []), second: (False, [7]), third: (True, [])}

    def test_a_rollback_is_the_projects_alone(self, registry: Registry, save: Any) -> None:
        first, second, third = (save(bytes([number])).version for number in range(3))
        registry.promote(first)
        with pytest.raises(RegistryError, match=rf"project 7 has no version of its own.*default \({first}\)"):
            registry.rollback(project=7)
        for version in (second, third):
            registry.promote(version, project=7)
        assert registry.rollback(project=7) == second == registry.serving(7)
        # before its first version it was served the default, which is another one by now
        registry.promote(third)
        assert registry.rollback(project=7) == third == registry.serving(7)
        with pytest.raises(RegistryError, match="project 7 has no version of its own"):
            registry.rollback(project=7)
        assert registry.rollback() == first == registry.serving(7)

    def test_nothing_was_served_before_where_there_is_no_default(self, registry: Registry, save: Any) -> None:
        version = save(b"1").version
        registry.promote(version, project=7)
        assert (registry.serving(), registry.serving(7)) == (None, version)
        with pytest.raises(RegistryError, match=f"no version was served to project 7 before {version}"):
            registry.rollback(project=7)

    def test_following_and_forgetting(self, registry: Registry, save: Any) -> None:
        first, second = (save(bytes([number])).version for number in range(2))
        registry.promote(first)
        registry.promote(second, project=7)
        assert registry.follow(7, reason="the default has its labels by now") == first == registry.serving(7)
        assert registry.rollback(project=7) == second
        assert registry.forget(7)
        assert not registry.forget(7)
        assert registry.serving(7) == first
        assert registry.history(7) is None

    def test_what_any_project_is_served_stays(self, registry: Registry, save: Any) -> None:
        versions = [save(bytes([day]), created=f"2026-11-{day:02}T10:00:00Z").version for day in range(1, 6)]
        registry.promote(versions[4])
        for version in versions[:3]:
            registry.promote(version, project=7)
        with pytest.raises(RegistryError, match=f"{versions[2]} is served to project 7 and stays"):
            registry.remove(versions[2], force=True)
        with pytest.raises(RegistryError, match=f"{versions[1]} was served before"):
            registry.remove(versions[1])
        assert list(registry.superfluous(newest=0, before=1)) == [versions[0], versions[3]]
        assert list(registry.collect(newest=0, before=0)) == [versions[0], versions[1], versions[3]]
        assert registry.rollback(project=7) == versions[4]

    def test_a_damaged_file_is_not_written_anew_for_one_project(self, registry: Registry, save: Any) -> None:
        """The others would lose theirs."""
        version = save(b"1").version
        (registry.home / "serving.json").parent.mkdir(parents=True, exist_ok=True)
        (registry.home / "serving.json").write_text("{")
        with pytest.raises(RegistryError, match="not readable as JSON"):
            registry.promote(version, project=7)
        assert (registry.home / "serving.json").read_text() == "{"
