"""`maskloop rank --apply` in the real Label Studio: annotators get the tasks in the order that it printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from maskloop_backend.demo import scenes
from maskloop_backend.model.bundle import Bundle
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.fcn import build_fcn
from maskloop_backend.registry.store import Registry
from maskloop_backend.studio.client import StudioClient
from maskloop_backend.studio.local import LocalStudio
from maskloop_converters.samples import LabelSet
from rig import LABEL_CONFIG, SIZE, maskloop

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    made = Registry(tmp_path / "home")
    architecture = Architecture(2, "small", head=False)
    bundle = Bundle.create(build_fcn(architecture), architecture, LabelSet.from_names(["sky", "road"]))
    made.promote(made.add(bundle))
    return made


@pytest.fixture
def options(studio: LocalStudio, registry: Registry) -> tuple[str, ...]:
    reached = ("--studio-url", studio.url, "--studio-token", studio.token)
    return (*reached, "--home", str(registry.home), "--strategy", "random")


def test_tasks_are_served_in_the_order_that_was_stored(
    client: StudioClient, registry: Registry, options: tuple[str, ...], tmp_path: Path
) -> None:
    version = registry.serving()
    project = int(client.create_project("in order", LABEL_CONFIG, sampling="Uncertainty sampling")["id"])
    client.upload(project, scenes.write_scenes(tmp_path / "scenes", 6, 900, SIZE))
    tasks = client.task_ids(project)
    for place, task in enumerate(tasks):
        for score in (0.1 * place, 0.5):  # as after opening a task twice at once: two copies
            values = {"task": task, "model_version": version, "score": score, "result": []}
            client.request("POST", "/api/predictions/", json=values)
    client.update_project(project, model_version=version)

    done = maskloop("rank", "--project", str(project), *options, "--seed", "3", "--apply", "--json")
    printed = json.loads(done.stdout)
    order = [int(one["id"]) for one in printed["ranked"]]
    assert sorted(order) == tasks
    assert order not in (tasks, tasks[::-1])
    assert printed["stored"] == {
        "project": project,
        "model_version": version,
        "tasks": 6,
        "without_prediction": [],
        "sampling": "Uncertainty sampling",
    }
    served = []
    for _ in tasks:
        task = int(client.request("GET", f"/api/projects/{project}/next")["id"])
        served.append(task)
        client.request("POST", f"/api/tasks/{task}/annotations/", json={"result": []})
    assert served == order
    after = [client.request("GET", "/api/predictions/", params={"task": task}) for task in order]
    assert [[one["score"] for one in found] for found in after] == [[pytest.approx(k / 7)] * 2 for k in range(1, 7)]
    refused = maskloop("rank", "--project", str(project), *options, "--apply", check=False)
    assert refused.returncode == 1
    assert "no task without an annotation" in refused.stderr


def test_a_task_whose_image_is_gone_is_left_out_and_named(
    client: StudioClient, options: tuple[str, ...], tmp_path: Path
) -> None:
    project = int(client.create_project("gone", LABEL_CONFIG)["id"])
    nowhere = [{"data": {"image": "http://127.0.0.1:9/gone.png"}}]
    client.request("POST", f"/api/projects/{project}/import", json=nowhere)
    (gone,) = client.task_ids(project)
    alone = maskloop("rank", "--project", str(project), *options, check=False)
    assert alone.returncode == 1
    assert f"none of the 1 images of project {project} can be had" in alone.stderr
    client.upload(project, scenes.write_scenes(tmp_path / "scenes", 2, 950, SIZE))
    done = maskloop("rank", "--project", str(project), *options, "--json")
    assert f"task {gone} is left out: " in done.stderr
    ranked = [int(one["id"]) for one in json.loads(done.stdout)["ranked"]]
    assert sorted([*ranked, gone]) == client.task_ids(project)
