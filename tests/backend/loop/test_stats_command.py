"""`maskloop stats`: the same figures as text and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from maskloop_backend.cli.main import cli
from maskloop_backend.loop.outcome_store import OutcomeStore
from maskloop_backend.loop.outcomes import Fate, Outcome


@pytest.fixture
def home(tmp_path: Path) -> Path:
    store = OutcomeStore(tmp_path)
    fates = {"road": Fate(kept=1, pixels=60), "car": Fate(changed=1, pixels=40, off=20)}
    store.record(Outcome(5, 1, 101, "v1", "changed", 100, 20, fates))
    store.record(Outcome(6, 1, 102, None, "drawn", 0, 0, {"tree": Fate(added=2)}))
    store.close()
    return tmp_path


def stats(home: Path, *arguments: str) -> str:
    done = CliRunner().invoke(cli, ["stats", "--home", str(home), *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_tables(home: Path) -> None:
    text = stats(home)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    for line in ("v1 1 0 1 0 0 20.0%", "(none or unknown) 1 0 0 0 1 -", "car 0 1 0 0 50.0%", "tree 0 0 0 2 -"):
        assert line in lines
    assert "project 5, task 1" in text
    assert "tree" not in stats(home, "--project", "5")


def test_json_and_nothing_yet(home: Path, tmp_path: Path) -> None:
    values = json.loads(stats(home, "--project", "5", "--json"))
    assert (values["project"], values["totals"]["changed"]) == (5, 1)
    assert "Nobody in project 9 has submitted a task yet" in stats(home, "--project", "9")
