"""Files of the home that are damaged: whoever needs one hears which and what to do, everybody else is answered as before."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from maskloop_backend.batch.status import BatchStatus
from maskloop_backend.cli.main import cli
from maskloop_backend.loop.outcome_store import OutcomeStore
from maskloop_backend.loop.outcomes import Outcome
from maskloop_backend.loop.queue import JobQueue
from maskloop_backend.registry.store import Registry
from maskloop_backend.serving.models import RegistrySource
from maskloop_converters.samples import LabelSet
from versions import write_version

from .conftest import CONFIG, Brightness

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
EVENT = {"action": "TASKS_CREATED", "project": {"id": 5}}
# (method, path) -> the file that the answer needs
NEEDS = {
    ("GET", "/health"): "",
    ("GET", "/ready"): "",
    ("GET", "/stats"): "outcomes.sqlite3",
    ("GET", "/stats?project=5"): "outcomes.sqlite3",
    ("GET", "/versions"): "",
    ("GET", "/versions?project=5"): "",
    ("GET", "/jobs"): "jobs.sqlite3",
    ("GET", "/jobs/1"): "jobs.sqlite3",
    ("DELETE", "/jobs/1"): "jobs.sqlite3",
    ("GET", "/batches"): "batches.sqlite3",
    ("GET", "/metrics"): "",
    ("GET", "/"): "",
    ("GET", "/page/running"): "",
    ("POST", "/setup"): "serving.json",
    ("POST", "/webhook"): "jobs.sqlite3",
    ("POST", "/predict"): "serving.json",
}


class Source(RegistrySource):
    """Versions of the registry, each as the segmenter of these tests."""

    def load(self, version: str) -> Any:
        return Brightness(version)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """One of each file that endpoints read, large enough for several pages."""
    home = tmp_path / "home"
    registry = Registry(home, trial=lambda directory: None)
    version = write_version(registry, b"1", LabelSet.from_names(["road", "car"])).version
    registry.promote(version)
    registry.promote(version, project=5)
    with closing(BatchStatus(home)) as status:
        status.begin("a", "b", version, 300, range(300))
    with closing(OutcomeStore(home)) as store:
        for task in range(300):
            store.record(Outcome(5, task, task, version, "changed", 100, 10, {}))
    with closing(JobQueue(home)) as queue:
        job = queue.begin(queue.start(3, "test").id)
        queue.directory(job.id).mkdir(parents=True)
        (queue.directory(job.id) / "progress.json").write_text("{}")
    project = home / "projects" / "project-5"
    project.mkdir(parents=True)
    (project / "label_config.xml").write_text(CONFIG)
    return home


def files(home: Path) -> dict[str, Path]:
    return {
        **{name: home / name for name in ("outcomes.sqlite3", "jobs.sqlite3", "batches.sqlite3", "serving.json")},
        "bundle.json": next(home.glob("models/*/bundle.json")),
        "label_config.xml": home / "projects" / "project-5" / "label_config.xml",
        "progress.json": home / "jobs" / "1" / "progress.json",
    }


def damage(path: Path, how: str) -> None:
    if path.suffix == ".sqlite3":
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if how == "folder":
        path.unlink()
        path.mkdir()
        return
    # in place: a server has the file open
    keep = 4096 if how == "pages" else 0
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(keep)
        file.write(b"\xa5" * max(64, size - keep))


def answers(client: Any, image: str) -> dict[tuple[str, str], Any]:
    bodies = {
        "/setup": {"project": "5.1", "schema": CONFIG, "hostname": "http://localhost:8080", "access_token": "x"},
        "/webhook": EVENT,
        "/predict": {"tasks": [{"id": 1, "data": {"image": image}}], "project": "5.1", "label_config": CONFIG},
    }
    return {
        (method, path): client.request(
            method, path, bodies.get(path), BROWSER if path in {"/", "/page/running"} else None
        )
        for method, path in NEEDS
    }


def check(found: dict[tuple[str, str], Any], damaged: str) -> None:
    for asked, answer in found.items():
        if NEEDS[asked] != damaged:
            assert answer.status < 500, (asked, answer.reason)
            continue
        assert answer.status == (507 if asked[1] == "/webhook" else 503), (asked, answer.reason)
        told = answer.json["error"]
        assert damaged in told
        assert "move" in told or "maskloop models promote VERSION" in told
    # what cannot be shown is said on the page
    if damaged in {"outcomes.sqlite3", "jobs.sqlite3"}:
        assert damaged in found["GET", "/"].body.decode() or "cannot be read" in found["GET", "/"].body.decode()


@pytest.mark.parametrize("how", ["noise", "folder"])
@pytest.mark.parametrize(
    "name", ["outcomes.sqlite3", "batches.sqlite3", "serving.json", "bundle.json", "label_config.xml", "progress.json"]
)
def test_server_that_starts_on_a_damaged_file(start: Any, home: Path, image_uri: Any, name: str, how: str) -> None:
    damage(files(home)[name], how)
    check(answers(start(Source(home), training=False, ready=name != "serving.json"), image_uri()), name)


@pytest.mark.parametrize("name", ["outcomes.sqlite3", "jobs.sqlite3", "batches.sqlite3"])
def test_file_that_is_damaged_under_a_server(start: Any, home: Path, image_uri: Any, name: str) -> None:
    client = start(Source(home), training=False)
    damage(files(home)[name], "pages")
    check(answers(client, image_uri()), name)


@pytest.mark.parametrize("how", ["noise", "folder", "pages"])
@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("jobs.sqlite3", ["jobs", "list"]),
        ("jobs.sqlite3", ["jobs", "cancel", "1"]),
        ("outcomes.sqlite3", ["stats"]),
        ("batches.sqlite3", ["label", "--status"]),
    ],
)
def test_commands_say_it_in_one_line(home: Path, name: str, command: list[str], how: str) -> None:
    damage(files(home)[name], how)
    done = CliRunner().invoke(cli, [*command, "--home", str(home)])
    assert (done.exit_code, isinstance(done.exception, SystemExit)) == (1, True), done.exception
    assert name in done.stderr
    assert "move" in done.stderr
    assert done.stderr.count("\n") <= 2
