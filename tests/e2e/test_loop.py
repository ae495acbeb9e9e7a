"""The loop, with nothing replaced: people correct masks in a real Label Studio, the better model goes live, a worse one does not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from browser import Person
from maskloop_backend.demo import scenes
from maskloop_backend.inference.predictor import Predictor
from maskloop_backend.registry.store import Registry
from maskloop_backend.studio.client import StudioClient
from maskloop_backend.studio.images import decode
from maskloop_backend.studio.local import LocalStudio
from maskloop_converters import RunList
from maskloop_converters.codecs import studio_rle
from maskloop_converters.formats.labelstudio import config
from rig import Backend, maskloop, serving

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SIZE = (128, 160)
CLASSES = [label.name for label in scenes.LABELS.classes]
LABELLED, OPEN = 24, 4


@dataclass(slots=True)
class Loop:
    """A project whose model knows little, and the server that serves it.

    Attributes:
        project: id in Label Studio.
        tasks: task id -> its scene.
        first: the version that begins.
        backend: serves it.
    """

    project: int
    tasks: dict[int, scenes.Scene]
    first: str
    backend: Backend

    @property
    def registry(self) -> Registry:
        return Registry(self.backend.home)

    def run(self, studio: LocalStudio, *arguments: str) -> Any:
        """Run a command as a user would and return what --json printed."""
        environment = {
            **self.backend.environment,
            "MASKLOOP_HOME": str(self.backend.home),
            "MASKLOOP_STUDIO_URL": studio.url,
            "MASKLOOP_STUDIO_TOKEN": studio.token,
        }
        return json.loads(maskloop(*arguments, "--json", env=environment).stdout)

    def masks(self, version: str, task: int) -> NDArray[np.uint8]:
        """Return what a version says of a task's image, computed here."""
        (prediction,) = Predictor(self.registry.load(version)).predict([self.tasks[task].image])
        return prediction.label_map


@pytest.fixture(scope="module")
def loop(client: StudioClient, studio: LocalStudio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    home = tmp_path_factory.mktemp("loop-home")
    scenes.write_scenes(home / "few", 6, 0, SIZE)
    maskloop("train", str(home / "few"), "--epochs", "8", "--home", str(home), "--seed", "1")
    registry = Registry(home)
    (first,) = registry.versions()
    registry.promote(first)
    files = scenes.write_scenes(tmp_path_factory.mktemp("loop-tasks") / "scenes", LABELLED + OPEN, 700, SIZE)
    drawn = list(scenes.scenes(LABELLED + OPEN, 700, SIZE))
    xml = config.render(scenes.LABELS, [("BrushLabels", "tag", "image")], {"image": "image"})
    project = int(client.create_project("the loop", xml, sampling="Uncertainty sampling")["id"])
    tasks: dict[int, scenes.Scene] = {}
    for path, scene in zip(files, drawn, strict=True):
        client.upload(project, [path])
        (new,) = set(client.task_ids(project)) - set(tasks)
        np.testing.assert_array_equal(decode(path.read_bytes(), path.name), scene.image)
        tasks[new] = scene
    with serving(home, studio) as backend:
        made = Loop(project, tasks, first, backend)
        connected = made.run(studio, "connect", "--project", str(project), "--backend-url", backend.url)
        assert connected["tasks_with_predictions"] == LABELLED + OPEN
        yield made


def annotate(client: StudioClient, task: int, label_map: NDArray[np.uint8]) -> None:
    """Store an annotation as the editor does after somebody corrected every predicted region."""
    (prediction, *_) = client.task(task)["predictions"]
    ids, masks = RunList.from_label_map(label_map)
    height, width = label_map.shape
    result = [
        {
            "id": f"r{task}c{number}",
            "type": "brushlabels",
            "from_name": "tag",
            "to_name": "image",
            "origin": "prediction-changed",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {"format": "rle", "rle": list(stream), "brushlabels": [CLASSES[number]]},
        }
        for number, stream in zip(ids.tolist(), studio_rle.encode(masks), strict=True)
    ]
    client.request(
        "POST",
        f"/api/tasks/{task}/annotations/",
        json={"result": result, "parent_prediction": prediction["id"], "lead_time": 12.5},
    )
