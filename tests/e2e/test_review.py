"""`maskloop review` in the real Label Studio: a wrong label comes first, where its data manager sorts and filters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maskloop_backend.demo import scenes
from maskloop_backend.registry.store import Registry
from maskloop_backend.studio.client import StudioClient
from maskloop_backend.studio.local import LocalStudio
from maskloop_converters import RunList
from maskloop_converters.codecs import studio_rle
from maskloop_converters.formats.labelstudio import config
from rig import SIZE, maskloop

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

CLASSES = [label.name for label in scenes.LABELS.classes]
COUNT = 4


def annotate(client: StudioClient, task: int, label_map: NDArray[np.uint8]) -> None:
    """Store what somebody drew."""
    ids, masks = RunList.from_label_map(label_map)
    height, width = label_map.shape
    result = [
        {
            "id": f"r{task}c{number}",
            "type": "brushlabels",
            "from_name": "tag",
            "to_name": "image",
            "origin": "manual",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {"format": "rle", "rle": list(stream), "brushlabels": [CLASSES[number]]},
        }
        for number, stream in zip(ids.tolist(), studio_rle.encode(masks), strict=True)
    ]
    client.request("POST", f"/api/tasks/{task}/annotations/", json={"result": result})


def shown(client: StudioClient, project: int, *, most: float | None = None) -> list[int]:
    """Return the tasks that the data manager shows in the order of their prediction score, up to one."""
    item = {
        "filter": "filter:tasks:predictions_score",
        "operator": "less_or_equal",
        "type": "Number",
        "value": most,
    }
    values: dict[str, Any] = {
        "project": project,
        "data": {
            "ordering": ["tasks:predictions_score"],
            "filters": {"conjunction": "and", "items": [item] if most is not None else []},
        },
    }
    view = client.request("POST", "/api/dm/views/", json=values)["id"]
    listed = client.request("GET", "/api/tasks", params={"project": project, "view": view, "page_size": 50})
    return [int(task["id"]) for task in listed["tasks"]]


def test_a_wrong_label_comes_first_and_goes_once_it_is_confirmed(
    client: StudioClient, studio: LocalStudio, home: Path, tmp_path: Path
) -> None:
    version = str(Registry(home).serving())
    xml = config.render(scenes.LABELS, [("BrushLabels", "tag", "image")], {"image": "image"})
    project = int(client.create_project("reviewed", xml)["id"])
    client.upload(project, scenes.write_scenes(tmp_path / "scenes", COUNT, 970, SIZE))
    drawn = dict(zip(client.task_ids(project), scenes.scenes(COUNT, 970, SIZE), strict=True))
    road, building = CLASSES.index("road"), CLASSES.index("building")
    wrong = sorted(drawn)[2]
    for task, scene in drawn.items():
        label_map = scene.mask.copy()
        if task == wrong:
            label_map[scene.mask == road] = building
        annotate(client, task, label_map)
        for made_by in (version, "of-somebody-else"):
            values = {"task": task, "model_version": made_by, "score": 0.5, "result": []}
            client.request("POST", "/api/predictions/", json=values)
    client.update_project(project, model_version=version)
    annotations = {task: client.task(task)["annotations"] for task in drawn}

    reached = ("--studio-url", studio.url, "--studio-token", studio.token, "--home", str(home))
    options = ("review", "--project", str(project), *reached, "--json")
    report = tmp_path / "found"
    found = json.loads(maskloop(*options, "--apply", "--report", str(report)).stdout)
    assert found["stored"] == {"model_version": version, "tasks": COUNT, "without_prediction": []}
    assert found["versions"] == {version: COUNT}
    order = [one["task"] for one in found["tasks"]]
    assert order[0] == wrong, found
    first = found["tasks"][0]
    assert first["score"] > 0.5
    assert {(one["label"], one["predicted"]) for one in first["images"][0]["suspects"]} >= {("building", "road")}
    assert (report / "report.html").is_file()

    assert shown(client, project)[0] == wrong
    assert shown(client, project) == order, found
    assert wrong in shown(client, project, most=0.5)
    assert shown(client, project, most=0.5) == [one["task"] for one in found["tasks"] if one["score"] >= 0.5]

    after = json.loads(maskloop(*options, "--confirm", str(wrong), "--apply").stdout)
    assert after["confirmed"] == [wrong]
    assert wrong not in [one["task"] for one in after["tasks"]]
    assert shown(client, project)[-1] == wrong
    assert wrong not in shown(client, project, most=0.5)
    assert {task: client.task(task)["annotations"] for task in drawn} == annotations, "annotations stay as they are"

    (annotation,) = annotations[wrong]
    changed = [item for item in annotation["result"] if item["value"]["brushlabels"] != ["building"]]
    client.request("PATCH", f"/api/annotations/{annotation['id']}/", json={"result": changed})
    again = json.loads(maskloop(*options).stdout)
    assert again["confirmed"] == []
    assert wrong in [one["task"] for one in again["tasks"]]
