"""What may be removed, what is kept, and what differs between versions."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from maskloop_backend.cli.main import cli
from maskloop_backend.loop.label_configs import LabelConfigs
from maskloop_backend.registry import Registry, RegistryError
from maskloop_backend.registry.difference import difference

CONFIG = (
    '<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image">'
    '<Label value="road"/><Label value="car"/></BrushLabels></View>'
)


@pytest.fixture
def versions(save: Any) -> list[str]:
    """Nine versions, one a day."""
    return [save(bytes([day]), created=f"2026-11-{day:02}T10:00:00Z").version for day in range(1, 10)]


def test_the_served_one_and_those_before_it_stay(registry: Registry, versions: list[str]) -> None:
    first, second, third, fourth = versions[:4]
    for version in (first, second, third):
        registry.promote(version)
    with pytest.raises(RegistryError, match=f"{third} is served and stays"):
        registry.remove(third, force=True)
    with pytest.raises(RegistryError, match=f"{second} was served before"):
        registry.remove(second)
    assert registry.remove(fourth) > 0
    assert registry.remove(second, force=True) > 0
    assert registry.versions() == [first, third, *versions[4:]]
    assert registry.rollback() == first
    with pytest.raises(RegistryError, match="there is no model version"):
        registry.remove("../home")


def test_gc(registry: Registry, versions: list[str]) -> None:
    for version in versions[:6]:
        registry.promote(version)
    gone = versions[:3]
    assert list(registry.superfluous(newest=2, before=2)) == [*gone, versions[6]]
    assert registry.versions() == versions
    assert list(registry.collect(newest=2, before=2)) == [*gone, versions[6]]
    assert registry.versions() == [*versions[3:6], *versions[7:]]
    assert registry.collect(newest=2, before=2) == {}
    assert registry.collect(newest=0, before=0)
    assert registry.versions() == [versions[5]]
    with pytest.raises(RegistryError, match="no version was served before"):
        registry.rollback()


def test_gc_without_anything_served(registry: Registry, versions: list[str]) -> None:
    assert list(registry.collect(newest=8)) == versions[:1]


def test_gc_removes_nothing_while_nobody_knows_what_is_served(registry: Registry, versions: list[str]) -> None:
    (registry.home / "serving.json").write_text("{")
    with pytest.raises(RegistryError, match=r"serving\.json"):
        registry.collect(newest=0)
    assert registry.versions() == versions


def test_killed_while_it_removes(registry: Registry, versions: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The version is gone at once; the next who writes clears up."""
    for version in versions[:2]:
        registry.promote(version)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            registry.remove(versions[0], force=True)
    assert registry.versions() == versions[1:]
    assert registry.serving() == versions[1]
    registry.promote(versions[2])
    assert list(registry.models.glob(".writing*")) == []
    assert registry.rollback() == versions[1]


PROMOTE = """
import os, signal, sys
from pathlib import Path
from maskloop_backend.registry import Registry
from maskloop_converters import atomic

sync, calls = atomic.sync, 0

def kill_at(path):
    global calls
    calls += 1
    if calls == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    sync(path)

atomic.sync = kill_at
Registry(Path(sys.argv[1]), trial=lambda directory: None).promote(sys.argv[2], project=int(sys.argv[4]) or None, reason="killed")
"""


@pytest.mark.parametrize("project", [None, 7])
@pytest.mark.parametrize(("kill_at", "served"), [(1, 0), (2, 1)])
def test_killed_while_it_promotes(
    registry: Registry, versions: list[str], kill_at: int, served: int, project: int | None
) -> None:
    """The first sync comes before the rename, the second after it: it is all or nothing, and nothing to the others."""
    for other in {None, 7, 8}:
        registry.promote(versions[0], project=other)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    arguments = [sys.executable, "-c", PROMOTE, str(registry.home), versions[1], str(kill_at), str(project or 0)]
    assert subprocess.run(arguments, env=environment, check=False).returncode == -signal.SIGKILL
    serving = registry.history(project)
    assert serving is not None
    assert serving.version == versions[served]
    assert len(serving.changes) == served + 1
    assert {registry.serving(other) for other in {None, 7, 8} - {project}} == {versions[0]}
    registry.promote(versions[2], project=project)
    assert registry.rollback(project=project) == versions[served]
    assert sorted(path.name for path in registry.home.iterdir()) == ["models", "serving.json"]


def test_difference(save: Any) -> None:
    one = save(
        b"1", labels=("road", "car"), metrics={"miou": 0.5, "iou": {"road": 0.5, "car": 0.5}}, settings={"epochs": 3}
    )
    other = save(
        b"2",
        labels=("car", "road", "Bäume"),
        parent=one.version,
        metrics={"miou": 0.75, "iou": {"road": 0.5, "car": 0.7, "Bäume": 0.9}},
        settings={"epochs": 3},
        max_side=512,
    )
    assert difference(one, other) == {
        "versions": [one.version, other.version],
        "parents": [None, one.version],
        "labels": {"added": ["Bäume"], "removed": [], "moved": ["car", "road"]},
        "architecture": {"classes": [2, 3]},
        "preprocessing": {},
        "max_side": {"": [None, 512]},
        "zoom": {},
        "settings": {},
        "metrics": {"miou": [0.5, 0.75], "iou.car": [0.5, 0.7], "iou.Bäume": [None, 0.9]},
        "data_fingerprint": {},
        "code_version": {},
    }
    assert difference(one, one)["metrics"] == {}


class TestCommands:
    def run(self, registry: Registry, *arguments: str) -> Result:
        return CliRunner().invoke(cli, ["models", *arguments, "--home", str(registry.home)])

    def test_diff(self, registry: Registry, save: Any) -> None:
        one, other = save(b"1", metrics={"miou": 0.5}), save(b"2", labels=("road", "car"), metrics={"miou": 0.75})
        told = self.run(registry, "diff", one.version, other.version).stdout
        assert told.splitlines() == [
            "labels added      car",
            "labels removed    Straße",
            "metrics.miou  0.5 -> 0.75  (+0.25)",
        ]
        assert json.loads(self.run(registry, "diff", one.version, other.version, "--json").stdout) == difference(
            one, other
        )

    def test_promote_rollback_history_remove_gc(self, registry: Registry, versions: list[str]) -> None:
        for version in versions[:2]:
            assert self.run(registry, "promote", version, "--reason", "better").exit_code == 0
        assert versions[0] in self.run(registry, "rollback", "--reason", "rain").stderr
        lines = self.run(registry, "history").stdout.splitlines()
        assert [line.split()[1:] for line in lines] == [
            ["promote", versions[0], "better"],
            ["promote", versions[1], "better"],
            ["rollback", versions[0], "rain"],
        ]
        assert len(json.loads(self.run(registry, "history", "--json").stdout)) == 3
        assert self.run(registry, "remove", versions[0]).exit_code == 1
        assert self.run(registry, "remove", versions[1]).exit_code == 0
        assert "7 versions would be removed" in self.run(registry, "gc", "--newest", "0", "--dry-run").stderr
        assert len(json.loads(self.run(registry, "gc", "--newest", "0", "--json").stdout)) == 7
        assert registry.versions() == [versions[0]]

    def test_the_versions_of_a_project(self, registry: Registry, save: Any) -> None:
        """None of these asks Label Studio, as the project's id is given."""
        common, own = save(b"1", labels=("road", "car")).version, save(b"2", labels=("road",)).version
        LabelConfigs(registry.home).remember(7, CONFIG)
        LabelConfigs(registry.home).remember(8, CONFIG)
        assert self.run(registry, "promote", common).stderr == f"{common} is served from now on.\n"
        promoted = self.run(registry, "promote", own, "--project", "7", "--reason", "roads only")
        assert promoted.stderr.splitlines() == [
            "warning: project 7 uses car, which the new version does not have",
            f"{own} is served to project 7 from now on.",
        ]
        assert (registry.serving(7), registry.serving()) == (own, common)
        listed = self.run(registry, "list").stdout.splitlines()
        assert [line.endswith("project 7") for line in sorted(listed, key=lambda line: own in line)] == [False, True]
        refused = self.run(registry, "remove", own)
        assert (refused.exit_code, f"{own} is served to project 7 and stays" in refused.stderr) == (1, True)
        assert self.run(registry, "follow", "--project", "7").stderr == (
            f"{common} is served to project 7 from now on, as the default.\n"
        )
        assert own in self.run(registry, "rollback", "--project", "7").stderr
        lines = self.run(registry, "history", "--project", "7").stdout.splitlines()
        assert [line.split()[1:] for line in lines] == [
            ["promote", own, "roads", "only"],
            ["follow", "the", "default"],
            ["rollback", own],
        ]
        assert "project 7 is forgotten" in self.run(registry, "forget", "7").stderr
        assert "project 7 is not known" in self.run(registry, "forget", "7").stderr
        assert registry.serving(7) == common
        assert set(LabelConfigs(registry.home).known()) == {8}
        # those that are served the default
        assert "warning: project 8 uses car" in self.run(registry, "promote", own).stderr


def test_an_empty_home(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "home")
    assert registry.superfluous() == {}
    with pytest.raises(RegistryError):
        registry.remove("fcn32s-small-20261122-00000000")
