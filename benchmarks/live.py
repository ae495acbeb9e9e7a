"""How soon `serve --live` shows what was submitted, how good that is, and what people wait meanwhile.

    python benchmarks/live.py --home /tmp/retrain-bench
    python benchmarks/live.py --home /tmp/retrain-camvid --camvid CAMVID

Starts the real Label Studio and `maskloop serve --live` on the first version that benchmarks/retrain.py made (the same --home),
submits corrections of 20 images as people do, and measures from the last submit until the task that Label Studio hands out next
has the new version's masks. Requests for one image at a time, each with an image of its own, are timed before and while
refits run. mIoU is that of images that nothing learned from.
"""

from __future__ import annotations

import argparse
import base64
import io
import itertools
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from maskloop_backend.registry.store import Registry
from maskloop_backend.studio.client import StudioClient
from maskloop_backend.studio.local import LocalStudio
from maskloop_backend.training.metrics import ConfusionMatrix
from maskloop_converters.codecs import studio_rle
from retrain import Material, Pair, camvid, config, drawn, results

REFITS, REQUESTS = 5, 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corrected", type=int, default=20, help="images that people corrected")
    parser.add_argument("--unseen", type=int, default=50, help="images to measure on")
    parser.add_argument("--camvid", type=Path, help="photographs instead of drawn scenes")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--studio-venv", type=Path, help="an environment with Label Studio; else one is made in --home")
    parser.add_argument("--runtime", default="auto", help="as of `maskloop serve`")
    arguments = parser.parse_args()
    numbers = 40, arguments.corrected + 2 * REFITS + 2, arguments.unseen
    material = camvid(arguments.camvid, *numbers) if arguments.camvid else drawn(arguments.home / "street", *numbers)
    home = arguments.home / "live"
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(arguments.home / "first", home)
    venv = arguments.studio_venv or arguments.home / "studio-venv"
    with (
        LocalStudio(home / "label-studio", port=0, venv=venv) as studio,
        serving(home, studio, arguments.runtime) as server,
        StudioClient(studio.url, studio.token) as client,
    ):
        measure(client, server, studio, material, arguments.corrected)


class Server:
    """`maskloop serve --live` in a process of its own.

    Attributes:
        url: where it answers.
        home: its registry.
    """

    def __init__(self, url: str, home: Path, process: subprocess.Popen[bytes]) -> None:
        self.url = url
        self.home = home
        self._process = process
        self._numbers = itertools.count()

    def cpu_seconds(self) -> float:
        """Return the processor time of all its threads."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def version(self, project: int, xml: str) -> str:
        """Return the version that a project is told."""
        body = {"project": f"{project}.1", "schema": xml}
        return str(httpx.post(f"{self.url}/setup", json=body, timeout=60).json()["model_version"])

    def predict(self, project: int, xml: str, image: Any) -> dict[str, Any]:
        """Return the prediction of an image; no two requests have the same bytes."""
        once = image.copy()
        once[0, 0, 0], once[0, 0, 1] = divmod(next(self._numbers), 256)
        out = io.BytesIO()
        Image.fromarray(once).save(out, "PNG", compress_level=1)
        address = "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
        body = {"tasks": [{"id": 1, "data": {"image": address}}], "project": f"{project}.1", "label_config": xml}
        return dict(httpx.post(f"{self.url}/predict", json=body, timeout=60).json()["results"][0])


@contextmanager
def serving(home: Path, studio: LocalStudio, runtime: str) -> Iterator[Server]:
    command = [sys.executable, "-m", "maskloop_backend.cli.main", "serve", "--live", "--no-training", "--port", "0"]
    command += ["--home", str(home), "--studio-url", studio.url, "--runtime", runtime]
    log = home / "serve.log"
    with log.open("wb") as stderr:
        environment = {**os.environ, "MASKLOOP_STUDIO_TOKEN": studio.token}
        process = subprocess.Popen(command, stdout=stderr, stderr=stderr, env=environment)
    try:
        while "url=" not in (text := log.read_text()):
            time.sleep(0.1)
        url = text.partition("url=")[2].split()[0].strip('"')
        while httpx.get(f"{url}/health", timeout=60).json()["model"] != "ready":
            time.sleep(0.2)
        yield Server(url, home, process)
    finally:
        process.terminate()
        process.wait()


def measure(client: StudioClient, server: Server, studio: LocalStudio, material: Material, corrected: int) -> None:
    names = material.names
    xml = config(names)
    project = int(client.create_project("live benchmark", xml)["id"])
    folder = server.home / "tasks"
    folder.mkdir()
    files = []
    for number, (image, _) in enumerate(material.new):
        files.append(folder / f"{number:03}.png")
        Image.fromarray(image).save(files[-1])
    client.upload(project, files)
    tasks = dict(zip(client.task_ids(project), material.new, strict=True))
    environment = {**os.environ, "MASKLOOP_STUDIO_TOKEN": studio.token}
    arguments = ["--project", str(project), "--backend-url", server.url, "--studio-url", studio.url]
    command = [sys.executable, "-m", "maskloop_backend.cli.main", "connect", *arguments]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print(f"load {os.getloadavg()[0]:.1f} at the start, {os.cpu_count()} cores")
    base = Registry(server.home).serving() or ""
    waiting = iter(tasks)
    for task in itertools.islice(waiting, corrected - 1):
        annotate(client, task, tasks[task], names)
    quiet_version(server, project, xml)
    for _ in range(3):
        timed_requests(server, project, xml, material, 5)
    alone = timed_requests(server, project, xml, material, REQUESTS)
    times, busy = [], []
    for task in itertools.islice(waiting, REFITS):
        before, used, began = server.version(project, xml), server.cpu_seconds(), time.perf_counter()
        annotate(client, task, tasks[task], names)
        submitted = time.perf_counter() - began
        while server.version(project, xml) == before:
            time.sleep(0.05)
        shown = client.request("GET", f"/api/projects/{project}/next")
        assert any(str(one["model_version"]).startswith(f"{base}+live-") for one in shown["predictions"])
        times.append(time.perf_counter() - began)
        busy.append(server.cpu_seconds() - used)
        print(f"submit {submitted:.2f} s, until the next task has new masks {times[-1]:.2f} s", flush=True)
        quiet_version(server, project, xml)
    over = threading.Event()

    def submit_on() -> None:
        while not over.is_set() and (task := next(waiting, None)) is not None:
            before = server.version(project, xml)
            annotate(client, task, tasks[task], names)
            while not over.is_set() and server.version(project, xml) == before:
                time.sleep(0.1)

    submitting = threading.Thread(target=submit_on)
    submitting.start()
    meanwhile = timed_requests(server, project, xml, material, REQUESTS)
    over.set()
    submitting.join()
    quiet_version(server, project, xml)
    live = miou(server, project, xml, material.unseen, names)
    # a project that nobody annotated has the served version
    first = miou(server, 10**6, xml, material.unseen, names)
    print("| corrected | seconds | CPU seconds | mIoU before | mIoU after | request alone | while refitting | ratio |")
    print("|--:|--:|--:|--:|--:|--:|--:|--:|")
    ratio = statistics.median(meanwhile) / statistics.median(alone)
    print(
        f"| {corrected} | {statistics.median(times):.1f} ({max(times):.1f} at most) | {statistics.median(busy):.1f} | {first:.3f} "
        f"| {live:.3f} | {1000 * statistics.median(alone):.0f} ms | {1000 * statistics.median(meanwhile):.0f} ms | {ratio:.2f} |"
    )
    print(f"load {os.getloadavg()[0]:.1f} at the end")


def annotate(client: StudioClient, task: int, pair: Pair, names: list[str]) -> None:
    """Submit a correction as the editor does."""
    body = {"result": results(pair[1], names, "prediction-changed"), "lead_time": 12.5}
    client.request("POST", f"/api/tasks/{task}/annotations/", json=body)


def quiet_version(server: Server, project: int, xml: str) -> str:
    """Return the version once it has not changed for some seconds and nothing is computed."""
    version, since, used = "", time.monotonic(), server.cpu_seconds()
    while time.monotonic() - since < 3:
        time.sleep(0.5)
        now, computed = server.version(project, xml), server.cpu_seconds()
        if now != version or "+live-" not in now or computed - used > 0.3:
            version, since = now, time.monotonic()
        used = computed
    return version


def timed_requests(server: Server, project: int, xml: str, material: Material, number: int) -> list[float]:
    """Return the seconds that requests for one image took, one after the other with a pause between, as people open tasks."""
    times = []
    for image, _ in itertools.islice(itertools.cycle(material.unseen), number):
        began = time.perf_counter()
        server.predict(project, xml, image)
        times.append(time.perf_counter() - began)
        time.sleep(0.25)
    return times


def miou(server: Server, project: int, xml: str, unseen: Any, names: list[str]) -> float:
    """Return the mIoU of what a project's version draws."""
    matrix = ConfusionMatrix(len(names))
    for image, target in unseen:
        found = server.predict(project, xml, image)["result"]
        masks = studio_rle.decode([bytes(one["value"]["rle"]) for one in found], *target.shape)
        channels = [names.index(one["value"]["brushlabels"][0]) for one in found]
        matrix.add(target, masks.to_label_map(channels, fill=0, dtype=np.uint8))
    return matrix.miou()


if __name__ == "__main__":
    main()
