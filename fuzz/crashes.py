"""Kill trainings, servers and promotions with -9 at random moments: nothing may be half, lost or silent.

    python fuzz/crashes.py --kills 50 --seed 0 --home /tmp/crashes      # a new folder

Everything is real: a Label Studio, `maskloop serve`, the trainings that its webhook enqueues, `maskloop models promote`.
Somebody asks for predictions all the time. The server is started again when it is the one that was killed; while
anything else is killed, every request must be answered, by one version and whole.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import io
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "converters"))

from maskloop_backend.demo.labels import LABELS
from maskloop_backend.demo.scenes import Scene, scenes, write_scenes
from maskloop_backend.loop.queue import JobQueue
from maskloop_backend.registry import Registry
from maskloop_backend.studio.client import StudioClient
from maskloop_backend.studio.local import LocalStudio
from maskloop_converters.codecs import studio_rle

ROOT = Path(__file__).resolve().parents[1]
SIZE = (64, 96)
NAMES = [label.name for label in LABELS.classes]
CONFIG = (
    '<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image">'
    + "".join(f'<Label value="{name}"/>' for name in NAMES)
    + "</BrushLabels></View>"
)


def picture(scene: Scene) -> bytes:
    out = io.BytesIO()
    Image.fromarray(scene.image).save(out, "PNG")
    return out.getvalue()


def regions(scene: Scene) -> list[dict[str, Any]]:
    ids, streams = studio_rle.encode_label_map(scene.mask)
    height, width = scene.mask.shape
    return [
        {
            "id": f"r{k}",
            "from_name": "tag",
            "to_name": "image",
            "type": "brushlabels",
            "original_width": width,
            "original_height": height,
            "value": {"format": "rle", "rle": list(stream), "brushlabels": [NAMES[int(k)]]},
        }
        for k, stream in zip(ids, streams, strict=True)
    ]


@dataclass
class Rig:
    """What is killed, and who watches.

    Attributes:
        home: of maskloop.
        studio: a running Label Studio.
        port: that the server listens on, each time again.
        down: the server was killed and does not answer yet.
        outages: (start, end) of each time it was down.
        answers: number of complete answers by version.
        faults: what must not be.
    """

    home: Path
    studio: LocalStudio
    port: int
    process: subprocess.Popen[bytes] | None = None
    down: float | None = None
    outages: list[tuple[float, float]] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    over: bool = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(ROOT / "backend"), str(ROOT / "converters"))),
            "MASKLOOP_HOME": str(self.home),
            "MASKLOOP_STUDIO_URL": self.studio.url,
            "MASKLOOP_STUDIO_TOKEN": self.studio.token,
            "OMP_NUM_THREADS": "1",
            "TF_NUM_INTRAOP_THREADS": "1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }

    def command(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "maskloop_backend.cli.main", *arguments]
        with (self.home / "commands.log").open("ab") as log:
            return subprocess.Popen(command, env=self.environment(), stdout=log, stderr=log)

    def serve(self) -> None:
        """Start the server and wait until it answers with a model."""
        self.process = self.command("serve", "--port", str(self.port), "--train-after", "3")
        until(lambda: self.health() == "ready", 180, "the server does not come up")
        if self.down is not None:
            self.outages.append((self.down, time.monotonic()))
            self.down = None

    def health(self) -> str:
        assert self.process is not None
        if self.process.poll() is not None:
            raise SystemExit(f"the server ended by itself: {self.home / 'commands.log'}")
        with contextlib.suppress(httpx.HTTPError):
            return str(httpx.get(f"{self.url}/health", timeout=5).json()["model"])
        return ""

    def predict(self, tasks: list[dict[str, Any]]) -> None:
        """Ask for predictions until everything is over; note what is not whole."""
        while not self.over:
            began, fault = time.monotonic(), None
            try:
                body = {"tasks": tasks, "label_config": CONFIG, "project": "1.1"}
                answer = httpx.post(f"{self.url}/predict", json=body, timeout=120)
                results = answer.json()["results"] if answer.status_code == 200 else []
                versions = {result["model_version"] for result in results}
                if len(results) != len(tasks) or len(versions) != 1:
                    fault = f"{answer.status_code} {answer.reason_phrase}: {len(results)} results of {sorted(versions)}"
                else:
                    self.answers[versions.pop()] += 1
            except (httpx.HTTPError, ValueError) as error:
                fault = repr(error)
            if fault and not self._excused(began):
                self.faults.append(f"a prediction failed while the server ran: {fault}")
            if fault:
                time.sleep(0.2)

    def _excused(self, began: float) -> bool:
        """Tell whether the server was killed, or not up again, at some time since then."""
        return self.down is not None or any(end >= began for _, end in self.outages)


def until(reached: Callable[[], bool], seconds: float, complaint: str) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > deadline:
            raise SystemExit(complaint)
        time.sleep(0.1)


class People:
    """Annotators: each turn corrects one more image and asks for a training until the server has taken it."""

    def __init__(self, rig: Rig, client: StudioClient, project: int, drawn: list[Scene]) -> None:
        self._rig, self._client, self._project = rig, client, project
        self._left = list(zip(client.task_ids(project), drawn, strict=True))
        self._redo = list(self._left)
        self.accepted: set[int] = set()

    def annotate(self, count: int = 1) -> None:
        for _ in range(count):
            task, scene = self._left.pop() if self._left else random.choice(self._redo)
            self._client.request("POST", f"/api/tasks/{task}/annotations/", json={"result": regions(scene)})

    def ask(self) -> bool:
        """Ask for a training once; return whether the server took it."""
        body = {"action": "START_TRAINING", "project": {"id": self._project}}
        try:
            answer = httpx.post(f"{self._rig.url}/webhook", json=body, timeout=10)
        except httpx.HTTPError:
            return False
        if answer.status_code == 201:
            self.accepted.add(int(answer.json()["job"]))
        return answer.status_code == 201


def trainer(queue: JobQueue) -> int | None:
    """Return the process id of the training that runs."""
    job = queue.running()
    with contextlib.suppress(OSError, ValueError):
        if job is not None:
            pid = int((queue.directory(job.id) / "pid").read_text())
            # is it that training still, and not dead already?
            if "retrain" in Path(f"/proc/{pid}/cmdline").read_text():
                return pid
    return None


def kill_one(rig: Rig, queue: JobQueue, dice: random.Random) -> str:
    """Kill something after a while; return what it was."""
    victim = dice.choice(["trainer", "trainer", "server", "server", "promotion"])
    if victim == "trainer":
        # one that was killed is started again after a while
        until(
            lambda: trainer(queue) is not None or not queue.counts().keys() & {"queued", "running"}, 120, "no training"
        )
    time.sleep(dice.uniform(0.0, 12.0))
    pid = trainer(queue)
    if victim == "trainer" and pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return "trainer"
    if victim == "promotion":
        version = dice.choice(Registry(rig.home).versions())
        # for all projects, or for the one that is trained
        whom = dice.choice([(), *(("--project", str(job.project)) for job in queue.jobs(limit=1))])
        process = rig.command("models", *dice.choice([("promote", version), ("rollback",)]), *whom)
        # Python and its packages need about half a second, the promotion itself milliseconds
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(dice.uniform(0.2, 1.2))
        process.kill()
        return "promotion" if process.wait() == -signal.SIGKILL else "promotion, too late"
    assert rig.process is not None
    rig.down = time.monotonic()
    rig.process.kill()
    rig.process.wait()
    both = victim == "server" and dice.random() < 0.3 and pid is not None
    if both and pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    rig.serve()
    return "server and trainer" if both else "server"


def verdict(rig: Rig, people: People, queue: JobQueue) -> Iterator[str]:
    """Yield everything that is wrong in the end."""
    yield from rig.faults
    registry = Registry(rig.home)
    for version in sorted(registry.served().versions - set(registry.versions())):
        yield f"serving.json names {version}, which is not there"
    # whoever writes next clears up what a kill left
    registry.promote(str(registry.serving()))
    for path in registry.models.iterdir():
        if path.name not in (*registry.versions(), ".lock"):
            yield f"left behind: {path}"
    yield from (f"left behind: {path}" for path in rig.home.glob(".serving.json*"))
    for version, problem in registry.check().items():
        if problem:
            yield f"damaged version {version}: {problem}"
    jobs = {job.id: job for job in queue.jobs()}
    for number in sorted(people.accepted):
        if number not in jobs:
            yield f"job {number} was accepted and is lost"
        elif jobs[number].state not in ("done", "failed") and "does the same" not in str(jobs[number].error):
            yield f"job {number} was accepted and ended {jobs[number].state}: {jobs[number].error}"
    for job in jobs.values():
        if job.state == "failed" and "killed" not in str(job.error):
            yield f"job {job.id} failed: {job.error}"
    with contextlib.closing(sqlite3.connect(rig.home / "jobs.sqlite3")) as database:
        ((sound,),) = database.execute("PRAGMA integrity_check").fetchall()
        if sound != "ok":
            yield f"jobs.sqlite3: {sound}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--home", type=Path, required=True, help="a new folder")
    arguments = parser.parse_args()
    dice = random.Random(arguments.seed)
    arguments.home.mkdir(parents=True)
    home = arguments.home.resolve()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    venv = Path(os.environ.get("MASKLOOP_HOME") or ROOT / ".maskloop") / "studio-venv"
    with LocalStudio(home / "label-studio", venv=venv, say=lambda line: print(line, flush=True)) as studio:
        rig = Rig(home, studio, port)
        write_scenes(home / "street", 8, 1, SIZE)
        first = rig.command("train", str(home / "street"), "--backbone", "small", "--epochs", "2", "--batch-size", "4")
        if first.wait():
            raise SystemExit(f"the first training failed: {home / 'commands.log'}")
        registry, queue = Registry(home), JobQueue(home)
        registry.promote(registry.versions()[0])
        with StudioClient(studio.url, studio.token) as client:
            try:
                run(rig, client, queue, dice, arguments.kills)
            finally:
                rig.over = True
                if rig.process is not None:
                    rig.process.terminate()
                    rig.process.wait()
        queue.close()


def run(rig: Rig, client: StudioClient, queue: JobQueue, dice: random.Random, kills: int) -> None:
    project = int(client.create_project("crashes", CONFIG)["id"])
    drawn = list(scenes(40, 100, SIZE))
    for scene in drawn:
        path = rig.home / f"{scene.name}.png"
        path.write_bytes(picture(scene))
        client.upload(project, [path])
    people = People(rig, client, project, drawn)
    rig.serve()
    values = {"project": project, "url": rig.url, "title": "maskloop", "auth_method": "NONE"}
    client.create_connection(values)
    people.annotate(10)
    uris = ["data:image/png;base64," + base64.b64encode(picture(scene)).decode() for scene in scenes(2, 900, SIZE)]
    asker = threading.Thread(
        target=rig.predict, args=([{"id": i, "data": {"image": uri}} for i, uri in enumerate(uris)],), daemon=True
    )
    asker.start()
    killed: Counter[str] = Counter()
    began = time.monotonic()
    while (done := sum(killed.values()) - killed["promotion, too late"]) < kills:
        if queue.running() is None or dice.random() < 0.5:
            people.annotate()
            people.ask()
        what = kill_one(rig, queue, dice)
        killed[what] += 1
        job = queue.running()
        print(f"{done + 1}/{kills} {what}; job {job.id if job else '-'} {queue.counts()}", flush=True)
    people.annotate()
    until(people.ask, 60, "the server takes no job")
    # everything that was accepted is done now, in peace
    until(lambda: not {"queued", "running"} & set(queue.counts()), 900, "the queue does not empty")
    rig.over = True
    asker.join()
    wrong = list(verdict(rig, people, queue))
    print(f"\n{sum(killed.values())} kills in {time.monotonic() - began:.0f} s: {dict(killed)}")
    print(f"{len(Registry(rig.home).versions())} versions, {len(people.accepted)} jobs accepted, {queue.counts()}")
    print(
        f"{sum(rig.answers.values())} answers of {len(rig.answers)} versions, server up again after "
        f"{sum(end - start for start, end in rig.outages) / max(1, len(rig.outages)):.1f} s on average"
    )
    print("\n".join(wrong) or "nothing is corrupt, half-written or lost; served throughout")
    if wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
