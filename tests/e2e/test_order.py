"""`maskloop rank --apply` in the real Label Studio: annotators get the tasks in the order that it printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from maskloop_backend.demo import scenes
from maskloop_backend.model.bundle import Bundle
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.fcn32s import build_fcn32s
from maskloop_backend.registry.store import Registry
from maskloop_backend.studio.client import StudioClient
from maskloop_backend.studio.local import LocalStudio
from maskloop_converters.samples import LabelSet
from rig import LABEL_CONFIG, SIZE, maskloop

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_tasks_are_served_in_the_order_that_was_stored(
    client: StudioClient, studio: LocalStudio, tmp_path: Path
) -> None:
    registry = Registry(tmp_path / "home")
    architecture = Architecture(2, "small", head=False)
    bundle = Bundle.create(build_fcn32s(architecture), architecture, LabelSet.from_names(["sky", "road"]))
    version = registry.add(bundle)
    registry.promote(version)
    project = int(client.create_project("in order", LABEL_CONFIG, sampling="Uncertainty sampling")["id"])
    client.upload(project, scenes.write_scenes(tmp_path / "scenes", 6, 900, SIZE))
    tasks = client.task_ids(project)
    for place, task in enumerate(tasks):
        for score in (0.1 * place, 0.5):  # as after opening a task twice at once: two copies
            values = {"task": task, "model_version": version, "score": score, "result": []}
            client.request("POST", "/api/predictions/", json=values)
    client.update_project(project, model_version=version)

    options = (
        "--studio-url",
        studio.url,
        "--studio-token",
        studio.token,
        "--home",
        str(registry.home),
        "--strategy",
        "random",
    )
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
