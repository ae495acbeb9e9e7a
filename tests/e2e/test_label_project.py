"""`maskloop label project:ID` in the real Label Studio: every task once, least sure first, the masks in a browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browser import Person
from maskloop_backend.demo import scenes
from maskloop_backend.registry.store import Registry
from maskloop_backend.studio.client import StudioClient
from maskloop_backend.studio.images import decode
from maskloop_backend.studio.local import LocalStudio
from maskloop_converters.formats.labelstudio import config
from rig import SIZE, maskloop, predictor

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

COUNT = 6


def test_a_project_is_labelled_once_and_least_sure_first(
    client: StudioClient, studio: LocalStudio, home: Path, person: Person, tmp_path: Path
) -> None:
    registry = Registry(home)
    version = str(registry.serving())
    files = scenes.write_scenes(tmp_path / "scenes", COUNT, 1200, SIZE)
    expected = predictor(registry, version).predict([decode(file.read_bytes(), file.name) for file in files])
    xml = config.render(scenes.LABELS, [("BrushLabels", "tag", "image")], {"image": "image"})
    project = int(client.create_project("labelled in bulk", xml, sampling="Uncertainty sampling")["id"])
    client.upload(project, files)
    tasks = client.task_ids(project)
    scores = {task: prediction.score for task, prediction in zip(tasks, expected, strict=True)}

    def label() -> dict[str, Any]:
        reached = ("--studio-url", studio.url, "--studio-token", studio.token, "--home", str(home))
        return dict(json.loads(maskloop("label", f"project:{project}", *reached, "--quiet", "--json").stdout))

    def stored() -> dict[int, list[int]]:
        return {task: client.task_predictions(task, version) for task in tasks}

    assert label()["labelled_now"] == COUNT
    first = stored()
    assert [len(numbers) for numbers in first.values()] == [1] * COUNT
    assert label()["labelled_now"] == 0
    assert stored() == first

    view = {"project": project, "data": {"ordering": ["tasks:predictions_score"]}}
    number = client.request("POST", "/api/dm/views/", json=view)["id"]
    listed = client.request("GET", "/api/tasks", params={"project": project, "view": number, "page_size": 50})
    order = [int(task["id"]) for task in listed["tasks"]]
    assert order == sorted(tasks, key=lambda task: scores[task])

    least_sure = expected[tasks.index(order[0])]
    present = np.unique(least_sure.label_map)
    person.label_next(project, regions=len(present))
    assert person.open_task_id() == order[0]
    classes = {label.name: k for k, label in enumerate(scenes.LABELS.classes)}
    drawn = {region.labels[0]: region.alpha > 127 for region in person.drawn()}
    assert {classes[name] for name in drawn} == set(present.tolist())
    for name, mask in drawn.items():
        np.testing.assert_array_equal(mask, least_sure.label_map == classes[name])
