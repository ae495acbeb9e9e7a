"""A project moves to another version and back, in the real Label Studio: what annotators see is of one version."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskloop_backend.demo import scenes
from maskloop_backend.inference.prediction import Prediction
from maskloop_backend.model.bundle import Bundle
from maskloop_backend.registry.store import Registry
from maskloop_backend.studio.client import StudioClient
from maskloop_backend.studio.images import decode
from maskloop_backend.studio.local import LocalStudio
from maskloop_converters.codecs import studio_rle
from rig import LABEL_CONFIG, SIZE, Backend, maskloop, predictor, serving

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

LABELS = ("sky", "building", "road", "tree", "Vehicle", "PERSON")


@dataclass(frozen=True, slots=True)
class Street:
    """A connected project.

    Attributes:
        id: in Label Studio.
        tasks: their ids.
        versions: that the backend can serve, the one of the connection first.
        expected: version -> task -> the prediction, computed here.
    """

    id: int
    tasks: list[int]
    versions: tuple[str, str]
    expected: dict[str, dict[int, Prediction]]


@pytest.fixture(scope="module")
def two_versions(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of its own with the trained version, carried over in a file, and one whose scores are shifted."""
    folder = tmp_path_factory.mktemp("two-versions")
    trained = Registry(home)
    registry = Registry(folder)
    version = str(trained.serving())
    trained.export(version, folder / "version.tar")
    bundle = registry.load(registry.add_archive(folder / "version.tar"))
    weights = bundle.model.get_weights()
    shift = np.random.default_rng(0).normal(0, 0.05, weights[-1].shape).astype(np.float32)
    bundle.model.set_weights([*weights[:-1], weights[-1] + shift])
    other = Bundle.create(bundle.model, bundle.record.architecture, bundle.labels, max_side=bundle.record.max_side)
    assert registry.add(other) != version
    registry.promote(version)
    return folder


@pytest.fixture(scope="module")
def server(two_versions: Path, studio: LocalStudio) -> Iterator[Backend]:
    with serving(two_versions, studio) as running:
        yield running


@pytest.fixture(scope="module")
def street(
    client: StudioClient, server: Backend, studio: LocalStudio, tmp_path_factory: pytest.TempPathFactory
) -> Street:
    files = scenes.write_scenes(tmp_path_factory.mktemp("rollout") / "scenes", 3, 700, SIZE)
    number = int(client.create_project("rollout", LABEL_CONFIG)["id"])
    client.upload(number, files)
    tasks = client.task_ids(number)
    connected = run("connect", server, studio, "--project", "rollout", "--backend-url", server.url)
    registry = Registry(server.home)
    first = connected["model_version"]
    (second,) = set(registry.versions()) - {first}
    images = [decode(path.read_bytes(), path.name) for path in files]
    expected = {
        version: dict(zip(tasks, predictor(registry, version).predict(images), strict=True))
        for version in (first, second)
    }
    assert any((expected[first][task].label_map != expected[second][task].label_map).any() for task in tasks)
    return Street(number, tasks, (first, second), expected)


def run(command: str, server: Backend, studio: LocalStudio, *arguments: str) -> Any:
    done = maskloop(
        *(command, *arguments, "--studio-url", studio.url, "--json"),
        env={**server.environment, "MASKLOOP_STUDIO_TOKEN": studio.token, "MASKLOOP_HOME": str(server.home)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def shown(client: StudioClient, street: Street, task: int) -> dict[str, Any]:
    """Return what the editor shows of a task: its prediction of the project's selected version."""
    version = client.project(street.id)["model_version"]
    (found,) = [p for p in client.task(task)["predictions"] if p["model_version"] == version]
    return dict(found)


def assert_shows(client: StudioClient, street: Street, version: str, tasks: list[int]) -> None:
    (connection,) = client.connections(street.id)
    project = client.project(street.id)
    assert connection["title"] == connection["model_version"] == project["model_version"] == version
    for task in tasks:
        prediction = shown(client, street, task)
        expected = street.expected[version][task]
        assert prediction["score"] == pytest.approx(expected.score, abs=1e-6)
        for item in prediction["result"]:
            height, width = item["original_height"], item["original_width"]
            mask = studio_rle.decode([item["value"]["rle"]], height, width).mask(0)
            (label,) = item["value"]["brushlabels"]
            np.testing.assert_array_equal(mask, expected.label_map == LABELS.index(label))


def test_to_a_new_version_and_back(street: Street, client: StudioClient, server: Backend, studio: LocalStudio) -> None:
    first, second = street.versions
    done, *waiting = street.tasks
    start = shown(client, street, done)
    client.request(
        "POST",
        f"/api/tasks/{done}/annotations/",
        json={"result": start["result"], "parent_prediction": start["id"], "was_cancelled": False},
    )
    assert_shows(client, street, first, waiting)

    moved = run("rollout", server, studio, "rollout", second, "--promote")
    assert (moved["model_version"], moved["previous"], moved["tasks_with_predictions"]) == (second, first, 2)
    registry = Registry(server.home)
    assert (registry.serving(street.id), registry.serving()) == (second, first)
    assert_shows(client, street, second, waiting)
    assert client.model_versions(street.id) == {first: 3, second: 2}

    # the stream serves tasks in the order of the selected version's scores, as uncertainty sampling has it
    client.update_project(street.id, sampling="Uncertainty sampling")
    scores = {task: shown(client, street, task)["score"] for task in waiting}
    assert client.request("GET", f"/api/projects/{street.id}/next")["id"] == min(waiting, key=scores.__getitem__)

    back = run("rollout", server, studio, str(street.id), first, "--promote", "--remove-old")
    assert (back["model_version"], back["previous"], back["removed"]) == (first, second, 2)
    assert_shows(client, street, first, waiting)
    assert client.model_versions(street.id) == {first: 3}
    # opening tasks stored nothing
    assert client.project(street.id)["model_version"] == first

    serving = registry.history(street.id)
    assert serving is not None
    reasons = [change.reason for change in serving.changes]
    assert reasons == ["rollout of project rollout", f"rollout of project {street.id}"]


def test_without_a_promotion_it_says_what_is_served(street: Street, server: Backend, studio: LocalStudio) -> None:
    refused = maskloop(
        *("rollout", "rollout", street.versions[1], "--studio-url", studio.url),
        env={**server.environment, "MASKLOOP_STUDIO_TOKEN": studio.token, "MASKLOOP_HOME": str(server.home)},
        check=False,
    )
    assert refused.returncode == 1
    assert f"the backend serves {street.versions[0]}" in refused.stderr
