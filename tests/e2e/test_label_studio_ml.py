"""The same predictor behind the real label-studio-ml of PyPI, in an environment of its own: a real Label Studio uses it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from browser import CHROMIUM, Person
from maskloop_backend.demo import scenes
from maskloop_backend.loop.queue import JobQueue
from maskloop_backend.registry.store import Registry
from maskloop_backend.studio.client import StudioClient
from maskloop_backend.studio.images import decode
from maskloop_backend.studio.local import LocalStudio
from maskloop_converters.codecs import studio_rle
from rig import LABEL_CONFIG, ROOT, SIZE, environment, predictor

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

CLASS_OF = {"sky": 0, "building": 1, "road": 2, "tree": 3, "Vehicle": 4, "PERSON": 5}


@pytest.fixture(scope="session")
def venv() -> Path:
    """An environment with what `pip install 'maskloop[label-studio-ml]'` brings, kept between runs."""
    path = Path(os.environ.get("MASKLOOP_HOME") or ROOT / ".maskloop") / "label-studio-ml-venv"
    stamp = path / "pyproject.toml"
    wanted = (ROOT / "pyproject.toml").read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(path)], check=True)
        install = [*uv, "pip", "install", "--quiet", "--python", str(path / "bin/python")]
        subprocess.run([*install, "--editable", f"{ROOT}[label-studio-ml]"], check=True)
        stamp.write_text(wanted)
    return path


@dataclass(frozen=True, slots=True)
class Adapter:
    """`label-studio-ml start backend`, running."""

    url: str
    home: Path
    log: Path


@pytest.fixture(scope="module")
def adapter(venv: Path, home: Path, studio: LocalStudio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adapter]:
    # a home of its own: its trainings are nobody else's
    own = tmp_path_factory.mktemp("label-studio-ml")
    shutil.copytree(home / "models", own / "models")
    shutil.copy(home / "serving.json", own / "serving.json")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = own / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(venv / "bin/label-studio-ml"), "start", str(ROOT / "backend"), "-p", str(port)],
            env=environment(
                {
                    "PATH": f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}",
                    "MASKLOOP_HOME": str(own),
                    "MASKLOOP_STUDIO_URL": studio.url,
                    "MASKLOOP_STUDIO_TOKEN": studio.token,
                }
            ),
            stdout=output,
            stderr=output,
            # it starts its server through a shell, which a signal to it alone would leave behind
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 300
        pause = threading.Event()
        while not answers(url):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            pause.wait(0.5)
        yield Adapter(url, own, log)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def masks_of(prediction: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return label -> mask of a stored prediction."""
    found = {}
    for item in prediction["result"]:
        size = item["original_height"], item["original_width"]
        found[item["value"]["brushlabels"][0]] = studio_rle.decode([item["value"]["rle"]], *size).mask(0)
    return found


def test_label_studio_uses_it(
    adapter: Adapter, client: StudioClient, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    said = adapter.log.read_text()
    assert "label-studio-ml 1.0.9, which has no basic auth" in said
    files = scenes.write_scenes(tmp_path / "scenes", 3, 900, SIZE)
    project = int(client.create_project("label-studio-ml", LABEL_CONFIG)["id"])
    client.upload(project, files)
    tasks = client.task_ids(project)
    registry = Registry(adapter.home)
    version = str(registry.serving())
    connection = client.create_connection({"project": project, "url": adapter.url, "title": version})
    assert (connection["state"], connection["model_version"]) == ("CO", version)

    # all tasks at once, twice: the masks are the predictor's, the second time adds nothing
    predicted = predictor(registry, version).predict([decode(path.read_bytes(), path.name) for path in files])
    for _ in range(2):
        client.retrieve_predictions(project, tasks)
        for task, expected in zip(tasks, predicted, strict=True):
            (stored,) = client.task(task)["predictions"]
            assert stored["model_version"] == version
            masks = masks_of(stored)
            assert {CLASS_OF[label] for label in masks} == set(np.unique(expected.label_map).tolist())
            for label, mask in masks.items():
                np.testing.assert_array_equal(mask, expected.label_map == CLASS_OF[label])

    # opening a task adds nothing either
    if CHROMIUM:
        person: Person = request.getfixturevalue("person")
        person.open_task(project, tasks[0], regions=len(masks_of(client.task(tasks[0])["predictions"][0])))
    assert client.model_versions(project) == {version: len(tasks)}

    # Start Training reaches the queue, and the job is worked on
    client.request("POST", f"/api/ml/{connection['id']}/train", json={})
    queue = JobQueue(adapter.home)
    pause = threading.Event()
    for _ in range(600):
        jobs = [job for job in queue.jobs() if job.project == project]
        if jobs and jobs[0].state not in ("queued", "running"):
            break
        pause.wait(0.5)
    (job,) = jobs
    assert job.state == "failed", "nobody labelled anything"
    assert re.search("nothing|no ", str(job.error)), job
    assert registry.serving() == version
    versions = httpx.post(f"{adapter.url}/versions", json={"project": f"{project}.1"}).json()["versions"]
    assert versions[0] == version
    log = adapter.log.read_text()
    assert "Traceback" not in log, log
    assert json.dumps(LABEL_CONFIG)[1:40] not in log
