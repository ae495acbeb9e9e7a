"""Trainings over HTTP: Label Studio asks for them, people watch and cancel them."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from maskloop_backend.loop.queue import JobQueue
from maskloop_backend.loop.worker import Studio
from maskloop_backend.registry.store import Registry
from maskloop_backend.serving.rollouts import Rollouts
from maskloop_converters.samples import LabelSet
from versions import write_version

from ..studio.studio import LEGACY, FakeStudio, running

# it says that it runs, then waits for the test
TRAINING = """
import json, os, sys
began, gate = sys.argv[1:3]
with open(sys.argv[sys.argv.index("--progress-file") + 1], "w") as file:
    json.dump({"phase": "training", "step": 3, "steps": 9, "seconds_left": 1.5, "miou": None}, file)
print("epoch 1", file=sys.stderr, flush=True)
for path in (began, gate):
    open(path, "w" if path == began else "r").close()
print(json.dumps({"version": "v", "effort": sys.argv[sys.argv.index("--effort") + 1]}))
"""
START = {"action": "START_TRAINING", "project": {"id": 5}}


class Training:
    def __init__(self, folder: Path) -> None:
        self.began, self.gate = folder / "began", folder / "gate"
        for pipe in (self.began, self.gate):
            os.mkfifo(pipe)
        script = folder / "training.py"
        script.write_text(TRAINING)
        self.command = (sys.executable, "-I", "-S", str(script), str(self.began), str(self.gate))

    def wait(self) -> None:
        """Wait until it has begun."""
        self.began.read_text()

    def finish(self) -> None:
        self.gate.write_text("")


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return Training(tmp_path)


def over(client: Any, number: int) -> Any:
    deadline = time.monotonic() + 60
    while (job := client.request("GET", f"/jobs/{number}").json)["finished"] is None:
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)
    return job


def test_a_training_from_the_click_to_its_result(start: Any, training: Training) -> None:
    client = start(studio_url="http://studio", studio_token="geheim", effort="full", training_command=training.command)
    assert client.request("GET", "/jobs").json == {"jobs": []}
    answer = client.request("POST", "/webhook", START)
    assert (answer.status, answer.json["job"]) == (201, 1)
    training.wait()
    running = client.request("GET", "/jobs/1").json
    assert (running["state"], running["progress"]["step"], running["log"]) == ("running", 3, "epoch 1\n")
    assert client.request("GET", "/jobs/1?log=3").json["log"] == ""
    assert client.request("POST", "/webhook", START).json == {"status": "running", "job": 1}
    training.finish()
    job = over(client, 1)
    assert (job["state"], job["result"], job["progress"]) == ("done", {"version": "v", "effort": "full"}, None)
    (listed,) = client.request("GET", "/jobs").json["jobs"]
    assert listed == {key: value for key, value in job.items() if key != "log"}
    assert "geheim" not in str(client.request("GET", "/jobs").body)
    assert client.metric("maskloop_jobs_over_total", state="done") == 1


def test_cancel(start: Any, training: Training) -> None:
    client = start(studio_url="http://studio", studio_token="t", training_command=training.command)
    client.request("POST", "/webhook", START)
    training.wait()
    answer = client.request("DELETE", "/jobs/1")
    assert (answer.status, answer.json["cancel"]) == (202, True)
    assert over(client, 1)["state"] == "cancelled"
    assert client.request("DELETE", "/jobs/1").reason == "job 1 is cancelled already"


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("GET", "/jobs/1", 404, "there is no job 1"),
        ("DELETE", "/jobs/1", 404, "there is no job 1"),
        ("GET", "/jobs/x", 404, "No such endpoint"),
        ("POST", "/jobs", 405, "POST is not possible here"),
    ],
)
def test_refusals(start: Any, method: str, path: str, status: int, reason: str) -> None:
    answer = start().request(method, path)
    assert (answer.status, answer.reason[: len(reason)]) == (status, reason)


def test_a_malformed_log_size(start: Any) -> None:
    client = start()
    client.request("POST", "/webhook", START)
    assert client.request("GET", "/jobs/1?log=x").status == 400


def test_a_training_waits_for_the_token_that_setup_tells(start: Any, training: Training, config: str) -> None:
    client = start(training_command=training.command)
    client.request("POST", "/webhook", START)
    told = threading.Event()
    waits: Callable[[], Any] = lambda: client.request("GET", "/jobs/1").json["waits_for"]  # noqa: E731
    deadline = time.monotonic() + 60
    while waits() is None:
        assert time.monotonic() < deadline
        told.wait(0.01)
    assert waits().startswith("the address and token of Label Studio: ")
    setup = {"project": "5.1", "schema": config, "hostname": "http://studio", "access_token": "t"}
    assert client.request("POST", "/setup", setup).status == 200
    training.wait()
    training.finish()
    assert over(client, 1)["state"] == "done"


def test_no_training(start: Any) -> None:
    client = start(training=False, train_after=1)
    answer = client.request("POST", "/webhook", START)
    assert (answer.status, answer.reason) == (409, "This backend does not train: it was started with --no-training")
    event = {"action": "ANNOTATION_CREATED", "project": {"id": 5}, "task": {"id": 1}, "annotation": {"id": 1}}
    assert client.request("POST", "/webhook", event).json == {"status": "recorded", "job": None}


def test_corrections_train(start: Any, training: Training) -> None:
    client = start(
        studio_url="http://studio", studio_token="t", train_after=2, quiet=0.0, training_command=training.command
    )
    event = {"action": "ANNOTATION_CREATED", "project": {"id": 5}, "annotation": {"id": 1}}
    assert client.request("POST", "/webhook", event | {"task": {"id": 1}}).json["job"] is None
    assert client.request("POST", "/webhook", event | {"task": {"id": 2}}).json["job"] == 1
    training.wait()
    training.finish()
    assert over(client, 1)["reason"] == "2 tasks corrected"


PROMOTED = """
import json, sys
print(json.dumps({"version": sys.argv[1], "promoted": sys.argv[2] == "yes"}))
"""


@pytest.fixture
def studio() -> Iterator[FakeStudio]:
    made = FakeStudio(tasks=[101, 102, 103], labelled={101})
    made.project = {"id": 5, "title": "streets", "label_config": "", "model_version": ""}
    with running(made):
        made.healthy()
        yield made


@pytest.mark.parametrize(("promoted", "rollout"), [("yes", True), ("yes", False), ("no", True)])
def test_a_promoted_version_is_shown_in_its_project(
    start: Any, studio: FakeStudio, tmp_path: Path, promoted: str, rollout: bool
) -> None:
    script = tmp_path / "promoted.py"
    script.write_text(PROMOTED)
    new = "fcn32s-small-20261123-00000002"
    studio.served = studio.connections[0]["model_version"] = new
    client = start(
        studio_url=studio.url,
        studio_token=LEGACY,
        training_command=(sys.executable, "-I", "-S", str(script), new, promoted),
        rollout=rollout,
    )
    client.request("POST", "/webhook", START)
    assert over(client, 1)["state"] == "done"
    # what it does after a job is done by then
    client.app.server.worker.stop()
    shown = promoted == "yes" and rollout
    deadline = time.monotonic() + 60
    while client.app.server.queue.rollouts():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)
    assert (studio.project["model_version"] == studio.connections[0]["title"] == new) is shown
    assert {task for task, version in studio.predictions if version == new} == ({102, 103} if shown else set())


def test_a_rollout_that_failed_is_done_later(studio: FakeStudio, tmp_path: Path) -> None:
    """It is wanted from the moment at which the training is over; who finishes it need not be who began it."""
    new = "fcn32s-small-20261123-00000002"
    studio.served = studio.connections[0]["model_version"] = new
    queue = JobQueue(tmp_path)
    job = queue.begin(queue.start(5, "by hand").id)
    queue.finish(job.id, "done", result={"version": new, "promoted": True}, rollout=new)
    assert Rollouts(queue, lambda project: "no token is known", None).step() == 1
    unreachable = Studio("http://127.0.0.1:9", LEGACY)
    assert Rollouts(queue, lambda project: unreachable, None).step() == 1
    assert queue.rollouts() == [(5, new)]
    queue.close()
    later = JobQueue(tmp_path)
    assert Rollouts(later, lambda project: Studio(studio.url, LEGACY), None).step() == 0
    assert later.rollouts() == []
    assert studio.project["model_version"] == studio.connections[0]["title"] == new
    assert {task for task, version in studio.predictions if version == new} == {102, 103}
    later.close()


def test_a_rollout_of_a_version_that_is_not_served_any_more_is_dropped(studio: FakeStudio, tmp_path: Path) -> None:
    registry = Registry(tmp_path, trial=lambda directory: None)
    labels = LabelSet.from_names(["sky", "road"])
    old, new = (write_version(registry, weights, labels).version for weights in (b"old", b"new"))
    for version in (old, new):
        registry.promote(version)
    queue = JobQueue(tmp_path)
    for project in (5, 6):
        job = queue.begin(queue.start(project, "by hand").id)
        queue.finish(job.id, "done", rollout=new)
    intact = (tmp_path / "serving.json").read_bytes()
    (tmp_path / "serving.json").write_text("{")
    assert Rollouts(queue, lambda project: Studio(studio.url, LEGACY), None).step() == 2
    (tmp_path / "serving.json").write_bytes(intact)
    registry.rollback(reason="it was worse")
    shown = studio.project["model_version"]
    assert Rollouts(queue, lambda project: Studio(studio.url, LEGACY), None).step() == 0
    assert queue.rollouts() == []
    assert studio.project["model_version"] == shown != new
    queue.close()


def test_a_damaged_database_is_named(start: Any, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "jobs.sqlite3").write_bytes(b"nonsense" * 1000)
    with pytest.raises(Exception, match=r"jobs\.sqlite3: file is not a database; move it away"):
        start()
