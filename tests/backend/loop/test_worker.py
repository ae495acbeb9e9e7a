"""Trainings as child processes: one at a time, waited for across a killed server, cancelled, never lost."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from maskloop_backend.cli.main import cli
from maskloop_backend.loop import worker as worker_module
from maskloop_backend.loop.queue import Job, JobQueue
from maskloop_backend.loop.worker import Studio, Worker, log_tail, progress, working
from maskloop_backend.studio.addresses import AddressPolicy

# A training that does what its first argument says; its waiting ends when somebody opens the gate.
TRAINING = """
import json, os, signal, sys
how, gate, began = sys.argv[1:4]
home = sys.argv[sys.argv.index("--home") + 1]
print("talk about", *sys.argv[4:], file=sys.stderr, flush=True)
result = {"token": os.environ["MASKLOOP_STUDIO_TOKEN"], "url": os.environ["MASKLOOP_STUDIO_URL"], "nice": os.nice(0)}
with open(sys.argv[sys.argv.index("--progress-file") + 1], "w") as file:
    told = {"phase": "training", "step": 3, "steps": 9, "seconds_left": 1.5, "miou": None, "resumed": 2}
    json.dump({**told, "kept": 3 if how == "killed, but further" else 2}, file)
if how == "fail":
    print("Error: project 5 has no annotations", file=sys.stderr)
    sys.exit(1)
if how == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if how == "killed once" and not os.path.exists(home + "/killed"):
    open(home + "/killed", "w").close()
    os.kill(os.getpid(), signal.SIGKILL)
if how == "killed, but further":
    with open(home + "/starts", "a+") as file:
        file.write("x")
        file.seek(0)
        if len(file.read()) < 8:
            os.kill(os.getpid(), signal.SIGKILL)
if how == "silent":
    sys.exit(0)
if how == "loud":
    sys.stderr.write(("x" * 99 + "\\n") * 500)
    sys.stderr.flush()
if how == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if how == "polite":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
if how in ("wait", "polite", "stubborn", "loud"):
    with open(began, "w") as file:
        file.write(str(os.getpid()))
    with open(gate) as file:
        file.read()
print(json.dumps(result))
"""

# a server that works on the jobs until it is killed
SERVER = """
import sys, threading
from pathlib import Path
from maskloop_backend.loop.queue import JobQueue
from maskloop_backend.loop.worker import Studio, Worker
Worker(JobQueue(Path(sys.argv[1])), lambda project: Studio("http://studio", "secret"), command=sys.argv[2:],
       interval=0.01).start()
threading.Event().wait()
"""


class Rig:
    """A queue, the pipes through which trainings talk to the test, and workers."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.queue = JobQueue(home)
        self.gate, self.began = home / "gate", home / "began"
        os.mkfifo(self.gate)
        os.mkfifo(self.began)
        self.script = home / "training.py"
        self.script.write_text(TRAINING)
        self.over: list[Job] = []
        self.studio: Studio | str = Studio("http://studio", "secret")

    def command(self, how: str) -> list[str]:
        return [sys.executable, "-I", "-S", str(self.script), how, str(self.gate), str(self.began)]

    def worker(self, how: str, **options: Any) -> Worker:
        return Worker(
            self.queue,
            lambda project: self.studio,
            command=self.command(how),
            finished=self.over.append,
            **{"retry_delay": 0.0, "grace": 20.0} | options,
        )

    def training(self) -> int:
        """Wait until a training waits at the gate; return its process id."""
        return int(self.began.read_text())

    def open_gate(self) -> None:
        self.gate.write_text("go")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.queue.close()


def until(worker: Worker, reached: Callable[[], bool]) -> None:
    """Let a worker step until something is so."""
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        worker.step()
        threading.Event().wait(0.005)


def test_a_training_from_the_queue_to_its_result(rig: Rig) -> None:
    job = rig.queue.start(7, "by hand")
    worker = rig.worker("done", effort="full")
    until(worker, lambda: bool(rig.over))
    (over,) = rig.over
    assert (over.id, over.state, over.error, over.attempts) == (job.id, "done", None, 1)
    assert over.result == {"token": "secret", "url": "http://studio", "nice": os.nice(0) + 10}
    directory = rig.queue.directory(job.id)
    found = progress(directory)
    assert found is not None
    assert found["step"] == 3
    told = log_tail(directory)
    asked = "talk about retrain --project 7 --resume --json --on-error skip --effort full --progress-file"
    assert told.startswith(asked)
    assert told.endswith(f"--home {rig.home}\n")
    assert "secret" not in told
    assert directory.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("how", "attempts", "error"),
    [
        ("fail", 1, "project 5 has no annotations"),
        ("silent", 1, "the training printed no result"),
        ("killed", 5, "the training was killed by signal 9 5 times; is there enough memory?"),
    ],
)
def test_failures_say_why(rig: Rig, how: str, attempts: int, error: str) -> None:
    rig.queue.start(7, "by hand")
    until(rig.worker(how), lambda: bool(rig.over))
    (over,) = rig.over
    assert (over.state, over.attempts) == ("failed", attempts)
    assert str(over.error).startswith(error)


def test_a_command_that_is_not_there(rig: Rig) -> None:
    rig.queue.start(7, "by hand")
    worker = Worker(rig.queue, lambda project: rig.studio, command=["/no/such/python"], finished=rig.over.append)
    until(worker, lambda: bool(rig.over))
    assert "/no/such/python" in str(rig.over[0].error)


def test_a_killed_training_is_started_again(rig: Rig) -> None:
    rig.queue.start(7, "by hand")
    until(rig.worker("killed once"), lambda: bool(rig.over))
    assert (rig.over[0].state, rig.over[0].attempts) == ("done", 2)


def test_a_training_that_gets_further_each_time_is_always_started_again(rig: Rig) -> None:
    rig.queue.start(7, "by hand")
    until(rig.worker("killed, but further"), lambda: bool(rig.over))
    assert (rig.over[0].state, rig.over[0].error) == ("done", None)
    assert len((rig.home / "starts").read_text()) == 8


@pytest.mark.parametrize("how", ["polite", "stubborn", "wait"])
def test_cancel(rig: Rig, how: str) -> None:
    job = rig.queue.start(7, "by hand")
    worker = rig.worker(how, grace=0.05 if how == "stubborn" else 20.0)
    worker.step()
    rig.training()
    rig.queue.cancel(job.id)
    until(worker, lambda: bool(rig.over))
    assert (rig.over[0].state, rig.over[0].error) == ("cancelled", None)


def test_one_at_a_time_and_the_next_at_once(rig: Rig) -> None:
    first, second = rig.queue.start(1, "a"), rig.queue.start(2, "b")
    worker = rig.worker("wait")
    worker.step()
    rig.training()
    worker.step()
    assert [rig.queue.job(job.id).state for job in (first, second)] == ["running", "queued"]
    rig.open_gate()
    until(worker, lambda: rig.queue.job(second.id).state == "running")
    rig.training()
    rig.open_gate()
    until(worker, lambda: len(rig.over) == 2)
    assert [job.state for job in rig.over] == ["done", "done"]


def test_a_job_without_a_token_waits_and_says_so(rig: Rig) -> None:
    job = rig.queue.start(1, "a")
    worker = rig.worker("done")
    rig.studio = "no token is known"
    worker.step()
    waiting = rig.queue.job(job.id)
    assert (waiting.state, waiting.waits_for, waiting.attempts) == ("queued", "no token is known", 0)
    rig.studio = Studio("http://studio", "secret")
    until(worker, lambda: bool(rig.over))
    assert rig.over[0].state == "done"


def test_the_log_is_bounded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "LOG_BYTES", 10_000)
    job = rig.queue.start(1, "a")
    worker = rig.worker("loud")
    worker.step()
    rig.training()
    worker.step()
    assert (rig.queue.directory(job.id) / "log").stat().st_size < 3000
    assert log_tail(rig.queue.directory(job.id)).startswith("... the beginning of this log was dropped")
    rig.open_gate()
    until(worker, lambda: bool(rig.over))
    assert log_tail(rig.queue.directory(job.id), 250) == ("x" * 99 + "\n") * 2


def start_server(rig: Rig, how: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen([sys.executable, "-c", SERVER, str(rig.home), *rig.command(how)], env=environment)


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def test_a_training_outlives_the_killed_server_and_is_waited_for(rig: Rig) -> None:
    job = rig.queue.start(1, "a")
    server = start_server(rig, "wait")
    training = rig.training()
    kill(server)
    worker = rig.worker("wait")
    worker.step()
    worker.step()
    assert rig.queue.job(job.id).state == "running"
    os.kill(training, 0)
    rig.open_gate()
    until(worker, lambda: bool(rig.over))
    assert (rig.over[0].state, rig.over[0].attempts) == ("done", 1)
    assert rig.over[0].result["url"] == "http://studio"


def test_a_training_that_was_killed_with_the_server_is_started_again(rig: Rig) -> None:
    job = rig.queue.start(1, "a")
    server = start_server(rig, "wait")
    training = rig.training()
    kill(server)
    os.kill(training, signal.SIGKILL)
    worker = rig.worker("done")
    until(worker, lambda: bool(rig.over))
    assert (rig.over[0].id, rig.over[0].state, rig.over[0].attempts) == (job.id, "done", 2)


def test_a_training_of_a_killed_server_can_be_cancelled(rig: Rig) -> None:
    job = rig.queue.start(1, "a")
    server = start_server(rig, "polite")
    rig.training()
    kill(server)
    rig.queue.cancel(job.id)
    until(rig.worker("done"), lambda: bool(rig.over))
    assert rig.over[0].state == "cancelled"


def test_a_server_killed_before_it_started_the_training(rig: Rig) -> None:
    job = rig.queue.start(1, "a")
    rig.queue.begin(job.id)
    until(rig.worker("done"), lambda: bool(rig.over))
    assert (rig.over[0].id, rig.over[0].state) == (job.id, "done")


def test_of_two_servers_one_works(rig: Rig) -> None:
    with working(rig.home) as alone, working(rig.home) as other:
        assert (alone, other) == (True, False)
    rig.queue.start(1, "a")
    over = threading.Event()
    workers = [rig.worker("done", interval=0.01) for _ in range(2)]
    for worker in workers:
        worker._finished = lambda job: over.set()
        worker.start()
    assert over.wait(60)
    for worker in workers:
        worker.stop()
    assert [job.attempts for job in rig.queue.jobs()] == [1]


def test_a_database_that_fails_for_a_while_does_not_end_the_thread(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = iter([sqlite3.OperationalError("database or disk is full"), OSError("no space")])
    running = rig.queue.running

    def fail() -> Job | None:
        for error in failures:
            raise error
        return running()

    monkeypatch.setattr(rig.queue, "running", fail)
    rig.queue.start(1, "a")
    over = threading.Event()
    worker = rig.worker("done", interval=0.01)
    worker._finished = lambda job: over.set()
    worker.start()
    assert over.wait(60)
    worker.stop()


def test_the_token_is_nowhere_on_disk(rig: Rig) -> None:
    rig.studio = Studio("http://studio", "tok-3f9a")
    assert "tok-3f9a" not in repr(rig.studio)
    rig.queue.start(1, "a")
    until(rig.worker("fail"), lambda: bool(rig.over))
    files = [path for path in rig.home.rglob("*") if path.is_file()]
    assert any(path.name == "log" for path in files)
    assert all(b"tok-3f9a" not in path.read_bytes() for path in files)
    assert "tok-3f9a" not in json.dumps(rig.over[0].to_json())


class TestCommand:
    def run(self, rig: Rig, *arguments: str) -> Result:
        return CliRunner().invoke(cli, ["jobs", *arguments, "--home", str(rig.home)])

    def test_start_list_show_log_cancel(self, rig: Rig) -> None:
        assert "No jobs yet" in self.run(rig, "list").stderr
        started = self.run(rig, "start", "--project", "7")
        assert (started.stdout, "no `maskloop serve`" in started.stderr) == ("1\n", True)
        assert self.run(rig, "start", "--project", "7").stdout == "1\n"
        worker = rig.worker("wait")
        worker.step()
        rig.training()
        assert "training 3/9" in self.run(rig, "list").stdout
        (row,) = json.loads(self.run(rig, "list", "--json").stdout)
        assert row == json.loads(self.run(rig, "show", "1", "--json").stdout)
        assert (row["state"], row["progress"]["step"]) == ("running", 3)
        assert "reason     maskloop jobs start" in self.run(rig, "show", "1").stdout
        assert self.run(rig, "log", "1").stdout.startswith("talk about retrain --project 7")
        with working(rig.home):
            # a server works: it is the one that stops the training
            assert "job 1 is running" in self.run(rig, "cancel", "1").stderr
        until(worker, lambda: bool(rig.over))
        refused = self.run(rig, "cancel", "1")
        assert (refused.exit_code, "job 1 is cancelled already" in refused.stderr) == (1, True)

    def test_cancel_after_the_server_was_killed(self, rig: Rig) -> None:
        rig.queue.start(1, "a")
        server = start_server(rig, "polite")
        rig.training()
        kill(server)
        assert "job 1 is cancelled" in self.run(rig, "cancel", "1").stderr

    @pytest.mark.parametrize("arguments", [("show", "9"), ("log", "9"), ("cancel", "9")])
    def test_a_job_that_is_not_there(self, rig: Rig, arguments: tuple[str, ...]) -> None:
        refused = self.run(rig, *arguments)
        assert (refused.exit_code, "there is no job 9" in refused.stderr) == (1, True)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("http://studio", "--allow-hosts minio:9000,* --deny-private"),
        (None, "--allow-hosts minio:9000,* --deny-private --foreign-studio"),
    ],
)
def test_a_training_may_fetch_from_where_its_server_may(rig: Rig, own: str | None, expected: str) -> None:
    rig.studio = Studio("http://studio", "secret", AddressPolicy.parse(["minio:9000,*"], True, own))
    job = rig.queue.start(7, "by hand")
    worker = rig.worker("done")
    until(worker, lambda: bool(rig.over))
    assert expected in (log_tail(rig.queue.directory(job.id)) or "")
    if own is not None:
        assert "--foreign-studio" not in (log_tail(rig.queue.directory(job.id)) or "")
