"""`serve --live` with the real Label Studio: people submit corrections, and the next task that is opened has other masks."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from maskloop_backend.demo import scenes
from maskloop_backend.demo.labels import LABELS
from maskloop_backend.registry.store import Registry
from maskloop_backend.studio.client import StudioClient
from maskloop_backend.studio.local import LocalStudio
from maskloop_converters.codecs import studio_rle
from maskloop_converters.formats.labelstudio import config
from rig import SIZE, Backend, maskloop, serving
from test_loop import CLASSES, annotate

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

TASKS, CORRECTED = 8, 4


@dataclass(frozen=True, slots=True)
class Live:
    """A connected project, and the server with --live.

    Attributes:
        project: id in Label Studio.
        tasks: task id -> its scene.
        version: that is served.
        backend: serves it.
        client: of the Label Studio.
    """

    project: int
    tasks: dict[int, scenes.Scene]
    version: str
    backend: Backend
    client: StudioClient

    def announced(self) -> str:
        """Return the version that Label Studio is told for the project."""
        xml = self.client.project(self.project)["label_config"]
        login = (self.backend.user, self.backend.password)
        body = {"project": f"{self.project}.1", "schema": xml}
        answer = httpx.post(f"{self.backend.url}/setup", auth=login, json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["model_version"])

    def wait(self, reached: Callable[[str], bool]) -> str:
        """Return the announced version once it is as wanted."""
        pause, deadline = threading.Event(), time.monotonic() + 240
        while not reached(version := self.announced()):
            assert time.monotonic() < deadline, f"{version}\n{self.backend.log.read_text()}"
            pause.wait(0.2)
        return version

    def open_next(self) -> tuple[int, dict[str, Any]]:
        """Open the next task as an annotator does; return its id and the prediction that is shown."""
        task = self.client.request("GET", f"/api/projects/{self.project}/next")
        (shown,) = task["predictions"]
        return int(task["id"]), dict(shown)


@pytest.fixture(scope="module")
def live(
    home: Path, client: StudioClient, studio: LocalStudio, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("live")
    trained = Registry(home)
    version = str(trained.serving())
    trained.export(version, folder / "version.tar")
    registry = Registry(folder / "home")
    registry.promote(registry.add_archive(folder / "version.tar"))
    files = scenes.write_scenes(folder / "scenes", TASKS, 900, SIZE)
    drawn = list(scenes.scenes(TASKS, 900, SIZE))
    xml = config.render(LABELS, [("BrushLabels", "tag", "image")], {"image": "image"})
    project = int(client.create_project("live", xml)["id"])
    client.upload(project, files)
    tasks = dict(zip(client.task_ids(project), drawn, strict=True))
    with serving(folder / "home", studio, "--live", "--no-training") as backend:
        done = maskloop(
            *("connect", "--project", str(project), "--backend-url", backend.url, "--studio-url", studio.url, "--json"),
            env={**backend.environment, "MASKLOOP_STUDIO_TOKEN": studio.token},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["model_version"] == version
        yield Live(project, tasks, version, backend, client)


def test_the_next_task_shows_what_was_just_learned_and_one_switch_takes_it_back(live: Live) -> None:
    first, _ = live.open_next()
    assert live.announced() == live.version
    # a lesson that nobody can miss: what the model calls road is called tree
    for task in sorted(live.tasks)[:CORRECTED]:
        annotate(live.client, task, changed(live.tasks[task].mask))
    version = live.wait(lambda name: f"images={CORRECTED} " in live.backend.log.read_text() and name != live.version)
    assert version.startswith(f"{live.version}+live-")
    task, shown = live.open_next()
    assert task != first
    assert shown["model_version"].startswith(f"{live.version}+live-")
    (served,) = [one for one in live.client.task(task)["predictions"] if one["model_version"] == live.version]
    before, after = (drawn(one["result"], live.tasks[task].mask.shape) for one in (served, shown))
    assert (before != after).mean() > 0.02
    wanted = changed(live.tasks[task].mask)
    assert (after == wanted).mean() > (before == wanted).mean()
    # it is no version of the registry, and nothing promotes it
    registry = Registry(live.backend.home)
    assert registry.versions() == [live.version] == [registry.serving()]

    maskloop("live", "off", "--home", str(live.backend.home))
    assert live.wait(lambda name: "+live-" not in name) == live.version
    assert live.open_next()[1]["model_version"] == live.version
    maskloop("live", "on", "--home", str(live.backend.home))
    annotate(live.client, task, wanted)
    live.wait(lambda name: "+live-" in name and name != version)


def changed(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a label map whose road is called tree."""
    road, tree = CLASSES.index("road"), CLASSES.index("tree")
    return np.where(mask == road, np.uint8(tree), mask)


def drawn(result: list[dict[str, Any]], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the label map that a prediction's regions make."""
    streams = [bytes(one["value"]["rle"]) for one in result]
    masks = studio_rle.decode(streams, *shape)
    channels = [CLASSES.index(one["value"]["brushlabels"][0]) for one in result]
    return masks.to_label_map(channels, fill=255, dtype=np.uint8)
