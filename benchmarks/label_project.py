"""A real Label Studio project labelled by `maskloop label`, and the same images by `serve` and "Retrieve predictions".

    python benchmarks/label_project.py FOLDER --home HOME --version VERSION --screenshot task.png      # 2,000 tasks
    python benchmarks/label_project.py FOLDER --home HOME --version VERSION --tasks 100 --retrieved 40

Starts the real Label Studio (installed once into HOME/studio-venv, or MASKLOOP_STUDIO_VENV), a server of images and, for the
second part, `maskloop serve`, all on loopback, and stops them. The images of FOLDER are taken again and again, each task's
with bytes of its own, so that no cache answers. Checked: every task has exactly one prediction of the version; a second run
changes none (the same ids); the data manager, ordered by prediction score, has the order of the model's uncertainty; a browser
shows a task's masks (--screenshot; wants Chromium). Then as many tasks as --retrieved says go both ways, in turns.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import processes

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "backend"), str(ROOT / "converters"), str(ROOT / "tests/e2e")]

from maskloop_backend.registry.store import Registry  # noqa: E402
from maskloop_backend.studio.client import StudioClient  # noqa: E402
from maskloop_backend.studio.local import LocalStudio  # noqa: E402
from maskloop_converters.formats.labelstudio import config  # noqa: E402

# Tasks whose uncertainty is computed here, too, and by how much it may differ: what is predicted together rounds otherwise.
_JUDGED, _ROUNDING = 24, 0.01


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command took.

    Attributes:
        seconds: from start to end.
        cpu_seconds: of its processes.
        peak: of their memory together, MB.
        said: on stdout, JSON.
    """

    seconds: float
    cpu_seconds: float
    peak: float
    said: dict[str, Any]


class Bench:
    """A Label Studio, a folder of images that a server hands out, and a version.

    Args:
        studio: that runs.
        client: of it.
        images: address of the folder.
        arguments: of this program.
    """

    def __init__(self, studio: LocalStudio, client: StudioClient, images: str, arguments: argparse.Namespace) -> None:
        self.studio, self.client, self.images, self.arguments = studio, client, images, arguments
        labels = Registry(arguments.home).record(arguments.version).labels
        self.config = config.render(labels, [("BrushLabels", "tag", "image")], {"image": "image"})

    def project(self, title: str, names: list[str]) -> int:
        """Make a project with a task an image and return its id."""
        made = self.client.create_project(title, self.config, sampling="Uncertainty sampling")
        self.client.add_tasks(int(made["id"]), [{"data": {"image": f"{self.images}/{name}"}} for name in names])
        return int(made["id"])

    def command(self, *arguments: str) -> Ran:
        """Run `maskloop` in a process group of its own."""
        command = [
            sys.executable,
            "-m",
            "maskloop_backend.cli.main",
            *arguments,
            "--studio-url",
            self.studio.url,
            "--json",
        ]
        began, spent, peak = time.perf_counter(), 0.0, 0.0
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(command, env=environment(self.studio), stdout=said, start_new_session=True)
            try:
                while process.poll() is None:
                    # a process that has just ended has nothing to read
                    spent = max(spent, processes.cpu_seconds(process.pid))
                    peak = max(peak, processes.peak_mb(process.pid))
                    time.sleep(0.1)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            said.seek(0)
            if process.returncode:
                raise SystemExit(f"{' '.join(arguments)} ended with {process.returncode}")
            return Ran(time.perf_counter() - began, spent, peak, json.loads(said.read()))

    def label(self, project: int, *more: str) -> Ran:
        """Label a project's tasks."""
        return self.command("label", f"project:{project}", *model_options(self.arguments), "--quiet", *more)

    def stored(self, project: int) -> list[tuple[int, int, str, float]]:
        """Return the predictions of a project as the database has them, by task: (id, task, version, score)."""
        place = self.studio.directory / "data/label_studio.sqlite3"
        with closing(sqlite3.connect(f"file:{place}?mode=ro", uri=True, timeout=60)) as database:
            return database.execute(
                "SELECT id, task_id, model_version, score FROM prediction WHERE project_id = ? ORDER BY task_id, id",
                (project,),
            ).fetchall()

    def served_order(self, project: int) -> list[int]:
        """Return the tasks as the data manager shows them, ordered by the score of their predictions."""
        data = {"title": "least sure first", "ordering": ["tasks:predictions_score"]}
        view = self.client.request("POST", "/api/dm/views/", json={"project": project, "data": data})["id"]
        found: list[int] = []
        for page in itertools.count(1):
            asked = {"project": project, "view": view, "page": page, "page_size": 500, "fields": "all", "include": "id"}
            tasks = self.client.request("GET", "/api/tasks", params=asked)
            found += [int(task["id"]) for task in tasks["tasks"]]
            if len(found) >= tasks["total"] or not tasks["tasks"]:
                return found
        raise AssertionError


def model_options(arguments: argparse.Namespace) -> list[str]:
    """Return what says how the version runs; it is the same both ways."""
    return ["--home", str(arguments.home), "--runtime", arguments.runtime, "--precision", arguments.precision]


def promoted(arguments: argparse.Namespace, home: Path) -> Path:
    """Return a home in which the version is served, and nothing else is known."""
    place = Path("models", arguments.version)
    shutil.copytree(arguments.home / place, home / place)
    Registry(home).promote(arguments.version)
    return home


def environment(studio: LocalStudio) -> dict[str, str]:
    """Return what commands find Label Studio by."""
    path = os.pathsep.join((str(ROOT / "backend"), str(ROOT / "converters")))
    return {**os.environ, "PYTHONPATH": path, "MASKLOOP_STUDIO_TOKEN": studio.token, "TF_CPP_MIN_LOG_LEVEL": "3"}


def write_images(folder: Path, sources: list[Path], number: int) -> list[str]:
    """Write PNGs of different bytes, the pixels those of the sources by turns, and return their names."""
    for k, source in zip(range(number), itertools.cycle(sources)):
        content = source.read_bytes()
        text = b"tEXt" + f"Comment\0{k}".encode()
        chunk = (len(text) - 4).to_bytes(4, "big") + text + zlib.crc32(text).to_bytes(4, "big")
        # before IEND, which has 12 bytes
        (folder / f"{k:05}.png").write_bytes(content[:-12] + chunk + content[-12:])
    return [f"{k:05}.png" for k in range(number)]


class Files(SimpleHTTPRequestHandler):
    """Hands out images as an object store does: the editor may read their pixels."""

    protocol_version = "HTTP/1.1"

    def end_headers(self) -> None:
        self.send_header("Access-Control-Allow-Origin", "*")
        super().end_headers()

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def handing_out(folder: Path) -> Iterator[str]:
    """Serve a folder on loopback and give its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def serving(bench: Bench, log: Path) -> Iterator[tuple[str, int]]:
    """Run `maskloop serve` and give its address and its process group."""
    options = [*model_options(bench.arguments), "--port", "0", "--no-training", "--studio-url", bench.studio.url]
    command = [sys.executable, "-m", "maskloop_backend.cli.main", "serve", *options]
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            command, stdout=stderr, stderr=stderr, env=environment(bench.studio), start_new_session=True
        )
    try:
        while not (found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())):
            if process.poll() is not None:
                raise SystemExit(f"maskloop serve ended: {log.read_text()}")
            time.sleep(0.1)
        yield found[0], process.pid
    finally:
        process.terminate()
        process.wait()


def label_all(bench: Bench, names: list[str], sources: list[Path]) -> None:
    """Label a project of all images, twice, and check what is in it."""
    version = bench.arguments.version
    began = time.perf_counter()
    project = bench.project("labelled in bulk", names)
    print(f"project {project}: {len(names):,} tasks made in {time.perf_counter() - began:.1f} s", flush=True)
    studio = bench.studio.process_group
    before = processes.cpu_seconds(studio)
    first = bench.label(project)
    stored = bench.stored(project)
    tasks = bench.client.task_ids(project)
    print(
        f"labelled in {first.seconds:.0f} s ({first.said['seconds']:.0f} s from the first batch on, "
        f"{first.said['images_per_second']:.1f} images/s, load {os.getloadavg()[0]:.0f}); processor seconds: label "
        f"{first.cpu_seconds:.0f}, Label Studio {processes.cpu_seconds(studio) - before:.0f}; peaks: label {first.peak:.0f} MB, "
        f"Label Studio {processes.peak_mb(studio):.0f} MB",
        flush=True,
    )
    assert [(task, version) for task in tasks] == [(task, made) for _, task, made, _ in stored], "one prediction a task"
    second = bench.label(project)
    assert bench.stored(project) == stored, "a second run changes nothing"
    assert second.said["labelled_now"] == 0
    print(f"every task has exactly one prediction; a second run changed nothing, in {second.seconds:.0f} s", flush=True)
    check_order(bench, project, dict(zip(tasks, names, strict=True)), stored)
    if bench.arguments.screenshot:
        take_picture(bench, project)


def check_order(bench: Bench, project: int, names: dict[int, str], stored: list[tuple[int, int, str, float]]) -> None:
    """Check that the data manager's order, and the label stream's, is that of the model's uncertainty, computed here, too."""
    from maskloop_backend.batch.work import Model
    from maskloop_backend.studio.images import decode

    scores = {task: score for _, task, _, score in stored}
    order = bench.served_order(project)
    assert sorted(order) == sorted(names)
    assert [scores[task] for task in order] == sorted(scores.values()), "the data manager's order"
    shown = int(bench.client.request("GET", f"/api/projects/{project}/next")["id"])
    assert scores[shown] == min(scores.values()), "the least sure task is labelled first"
    arguments = bench.arguments
    segmenter = Model(arguments.home, arguments.version, arguments.runtime, arguments.precision).load()
    judged = order[:: max(1, len(order) // _JUDGED)]
    files = [Path(arguments.images, names[task]) for task in judged]
    computed = [segmenter.predict([decode(file.read_bytes(), file.name)])[0].score for file in files]
    off = max(abs(scores[task] - score) for task, score in zip(judged, computed, strict=True))
    apart = [b - a for a, b in itertools.pairwise(computed)]
    assert off < _ROUNDING, f"scores differ by {off}"
    assert min(apart) > -_ROUNDING, "the order of the computed uncertainty"
    print(
        f"the data manager's order by prediction score is that of the uncertainty computed anew for {len(judged)} of the tasks "
        f"({computed[0]:.3f} to {computed[-1]:.3f}; scores differ by {off:.4f} at most); the label stream begins with the least sure",
        flush=True,
    )


def take_picture(bench: Bench, project: int) -> None:
    """Have a browser open the task that the label stream begins with."""
    from browser import browse, chromium

    task = bench.client.request("GET", f"/api/projects/{project}/next")
    regions = len(task["predictions"][0]["result"])
    studio = bench.studio
    with chromium() as browser, browse(browser, studio.url, email=studio.email, password=studio.password) as person:
        person.label_next(project, regions=regions)
        person.screenshot(bench.arguments.screenshot)
        print(
            f"a browser shows {len(person.drawn())} masks of task {person.open_task_id()}: {bench.arguments.screenshot}"
        )


def both_ways(bench: Bench, names: list[str], log: Path) -> None:
    """Label halves of some tasks with `label` and by "Retrieve predictions", in turns."""
    parts = [names[: len(names) // 2], names[len(names) // 2 :]]
    studio, version = bench.studio.process_group, bench.arguments.version
    rows: dict[str, list[tuple[float, float]]] = {"label": [], "retrieve": []}
    with serving(bench, log) as (url, server):
        for number, part in enumerate(parts):
            project = bench.project(f"label, {number}", part)
            before = processes.cpu_seconds(studio)
            ran = bench.label(project)
            spent = ran.cpu_seconds + processes.cpu_seconds(studio) - before
            rows["label"].append((ran.seconds, spent))
            project = bench.project(f"retrieved, {number}", part)
            before = processes.cpu_seconds(studio) + processes.cpu_seconds(server)
            ran = bench.command("connect", "--project", str(project), "--backend-url", url)
            assert [made for *_, made, _ in bench.stored(project)] == [version] * len(part)
            spent = ran.cpu_seconds + processes.cpu_seconds(studio) + processes.cpu_seconds(server) - before
            rows["retrieve"].append((ran.seconds, spent))
    seconds, cpu = [sum(row[k] for row in rows["label"]) for k in range(2)]
    retrieved, retrieved_cpu = [sum(row[k] for row in rows["retrieve"]) for k in range(2)]
    print(
        f"\n{len(names)} tasks, in two halves each; the start of `label` is counted, that of `serve` is not\n\n"
        f"| | seconds | processor seconds, Label Studio's included |\n|---|--:|--:|\n| maskloop label | {seconds:.0f} | {cpu:.0f} |\n"
        f'| serve and "Retrieve predictions" | {retrieved:.0f} | {retrieved_cpu:.0f} |\n'
        f"| times | {retrieved / seconds:.2f} | {retrieved_cpu / cpu:.2f} |\n\n"
        f"load {os.getloadavg()[0]:.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with PNGs")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--retrieved", type=int, default=500, help="tasks that go both ways")
    parser.add_argument("--runtime", default="openvino", choices=["keras", "openvino"])
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16", "int8"])
    parser.add_argument("--screenshot", type=Path, help="a PNG to write")
    arguments = parser.parse_args()
    # what was started is stopped, too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sources = sorted(arguments.folder.glob("*.png"))
    with tempfile.TemporaryDirectory(prefix="label-project-") as name, ExitStack() as running:
        folder = Path(name)
        arguments.images = folder / "images"
        arguments.images.mkdir()
        names = write_images(arguments.images, sources, arguments.tasks)
        images = running.enter_context(handing_out(arguments.images))
        venv = arguments.home / "studio-venv"
        arguments.home = promoted(arguments, folder / "home")
        studio = running.enter_context(LocalStudio(folder / "studio", venv=venv))
        client = running.enter_context(StudioClient(studio.url, studio.token))
        bench = Bench(studio, client, images, arguments)
        label_all(bench, names, sources)
        both_ways(bench, names[: arguments.retrieved], folder / "serve.log")


if __name__ == "__main__":
    main()
