"""Two projects with different labels on one backend, in the real Label Studio: each is trained, rolled out and taken back by itself."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
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
from maskloop_converters import RunList
from maskloop_converters.codecs import studio_rle
from rig import Backend, maskloop, predictor, serving

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

SIZE = (128, 160)
LABELLED, OPEN = 10, 2
CLASSES = [label.name for label in LABELS.classes]
# what each project draws: its label, and the classes that it stands for
GROUND = {"sky": ("sky",), "road": ("road",)}
TOWN = {"Standing": ("building", "tree"), "road": ("road",), "car": ("car",)}
ALL = {name: (name,) for name in CLASSES}


@dataclass(frozen=True, slots=True)
class Project:
    """A connected project.

    Attributes:
        id: in Label Studio.
        labels: what it draws.
        tasks: task id -> its scene.
    """

    id: int
    labels: Mapping[str, tuple[str, ...]]
    tasks: dict[int, scenes.Scene]

    @property
    def labelled(self) -> list[int]:
        return sorted(self.tasks)[:LABELLED]

    @property
    def open(self) -> list[int]:
        return sorted(self.tasks)[LABELLED:]


@dataclass(frozen=True, slots=True)
class Town:
    """One backend and the projects that it serves.

    Attributes:
        backend: the server.
        studio: the Label Studio.
        common: the version that is served by default.
        ground: the project with two of the six classes.
        town: the one with four of them in three labels.
        third: one that is never trained.
    """

    backend: Backend
    studio: LocalStudio
    common: str
    ground: Project
    town: Project
    third: Project

    @property
    def registry(self) -> Registry:
        return Registry(self.backend.home)

    def run(self, *arguments: str) -> str:
        """Run a command as a user would and return its output."""
        environment = {
            **self.backend.environment,
            "MASKLOOP_HOME": str(self.backend.home),
            "MASKLOOP_STUDIO_URL": self.studio.url,
            "MASKLOOP_STUDIO_TOKEN": self.studio.token,
        }
        done = maskloop(*arguments, env=environment, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def get(self, path: str) -> Any:
        answer = httpx.get(f"{self.backend.url}{path}", auth=(self.backend.user, self.backend.password))
        assert answer.status_code == 200, answer.text
        return answer.json()


def config(labels: Mapping[str, tuple[str, ...]]) -> str:
    shown = "".join(f'<Label value="{name}" predicted_values="{",".join(own)}"/>' for name, own in labels.items())
    return (
        f'<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image">{shown}</BrushLabels></View>'
    )


@pytest.fixture(scope="module")
def place(
    home: Path, client: StudioClient, studio: LocalStudio, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("two-projects")
    trained = Registry(home)
    common = str(trained.serving())
    trained.export(common, folder / "version.tar")
    registry = Registry(folder / "home")
    registry.promote(registry.add_archive(folder / "version.tar"))
    with serving(folder / "home", studio) as backend:

        def made(title: str, labels: Mapping[str, tuple[str, ...]], count: int, seed: int) -> Project:
            number = int(client.create_project(title, config(labels))["id"])
            client.upload(number, scenes.write_scenes(folder / title, count, seed, SIZE))
            drawn = list(scenes.scenes(count, seed, SIZE))
            return Project(number, labels, dict(zip(client.task_ids(number), drawn, strict=True)))

        ground = made("ground", GROUND, LABELLED + OPEN, 300)
        town = made("town", TOWN, LABELLED + OPEN, 400)
        third = made("third", ALL, OPEN, 500)
        where = Town(backend, studio, common, ground, town, third)
        for project in (ground, town, third):
            where.run("connect", "--project", str(project.id), "--backend-url", backend.url, "--json")
            for task in project.labelled if project is not third else []:
                annotate(client, project, task)
        yield where


def annotate(client: StudioClient, project: Project, task: int) -> None:
    """Draw everything that the project has a label for."""
    mask = project.tasks[task].mask
    height, width = mask.shape
    result = []
    for name, own in project.labels.items():
        area = np.isin(mask, [CLASSES.index(one) for one in own])
        if area.any():
            (stream,) = studio_rle.encode(RunList.from_masks([area], height=height, width=width))
            result.append(
                {
                    "id": f"{name}-{task}",
                    "type": "brushlabels",
                    "from_name": "tag",
                    "to_name": "image",
                    "origin": "manual",
                    "original_width": width,
                    "original_height": height,
                    "image_rotation": 0,
                    "value": {"format": "rle", "rle": list(stream), "brushlabels": [name]},
                }
            )
    client.request("POST", f"/api/tasks/{task}/annotations/", json={"result": result, "lead_time": 3.0})


def shown(client: StudioClient, task: int, version: str) -> dict[str, NDArray[np.bool_]]:
    """Return label -> mask of a task's only prediction by a version."""
    (found,) = [one for one in client.task(task)["predictions"] if one["model_version"] == version]
    masks = {}
    for item in found["result"]:
        size = item["original_height"], item["original_width"]
        masks[item["value"]["brushlabels"][0]] = studio_rle.decode([item["value"]["rle"]], *size).mask(0)
    return masks


def assert_shows(place: Town, client: StudioClient, project: Project, version: str) -> set[str]:
    """Check that a project's open tasks show exactly what a version predicts in its labels; return the labels seen."""
    (connection,) = client.connections(project.id)
    selected = client.project(project.id)["model_version"]
    assert connection["title"] == connection["model_version"] == selected == version
    classes = [label.name for label in place.registry.record(version).labels.classes]
    seen: set[str] = set()
    for task in project.open or sorted(project.tasks):
        (expected,) = predictor(place.registry, version).predict([project.tasks[task].image])
        masks = shown(client, task, version)
        for name, own in project.labels.items():
            channels = [classes.index(one) for one in own if one in classes]
            wanted = np.isin(expected.label_map, channels)
            np.testing.assert_array_equal(masks.get(name, np.zeros_like(wanted)), wanted)
        assert set(masks) <= set(project.labels)
        seen |= set(masks)
    return seen


def start_training(place: Town, client: StudioClient, project: Project) -> dict[str, Any]:
    """Press Start Training in Label Studio and return the job when it is over."""
    (connection,) = client.connections(project.id)
    client.request("POST", f"/api/ml/{connection['id']}/train", json={})
    pause, deadline = threading.Event(), time.monotonic() + 420
    while time.monotonic() < deadline:
        jobs = [job for job in place.get("/jobs")["jobs"] if job["project"] == project.id]
        if jobs and jobs[0]["state"] not in ("queued", "running"):
            return dict(jobs[0])
        pause.wait(0.5)
    raise AssertionError(f"the training is not over: {place.get('/jobs')}\n{place.backend.log.read_text()}")


def wait_for(place: Town, version: str, path: str) -> None:
    """Wait until the server serves a version, which it notices within about a second."""
    pause = threading.Event()
    while place.get(path)["versions"][0] != version:
        pause.wait(0.2)


@pytest.fixture(scope="module")
def trained(place: Town, client: StudioClient) -> tuple[str, str]:
    """The versions of both projects: one trained in the background, one by a command."""
    job = start_training(place, client, place.ground)
    assert job["state"] == "done", (job, place.run("jobs", "log", str(job["id"])))
    result = job["result"]
    assert result["promoted"], result["reason"]
    arguments = ("--project", str(place.town.id), "--promote", "always", "--epochs", "6", "--json")
    other = json.loads(place.run("retrain", *arguments))
    assert (result["project"], other["project"]) == (place.ground.id, place.town.id)
    return result["version"], other["version"]


def test_neither_is_served_the_others_version(place: Town, client: StudioClient, trained: tuple[str, str]) -> None:
    ground, town = trained
    for project in (place.ground, place.town, place.third):
        place.run("rollout", str(project.id), "--json")
    # each shows its own version in its own labels; who was never trained shows what it showed before
    assert assert_shows(place, client, place.ground, ground) == set(GROUND)
    # of cars there may be none in two images
    assert assert_shows(place, client, place.town, town) >= {"Standing", "road"}
    assert assert_shows(place, client, place.third, place.common) >= {"building", "road", "tree"}
    health = place.get("/health")
    assert health["model_version"] == place.common == place.registry.serving()
    assert health["projects"] == {str(place.ground.id): ground, str(place.town.id): town}
    for project, own in ((place.ground, ground), (place.town, town), (place.third, place.common)):
        assert set(client.model_versions(project.id)) <= {place.common, own}


def test_no_class_got_lost(place: Town, trained: tuple[str, str]) -> None:
    ground, town = ({label.name for label in place.registry.record(version).labels.classes} for version in trained)
    assert ground == set(GROUND)
    # one label stands for two classes, which stay two
    assert town == {"building", "tree", "road", "car"}


def test_a_version_for_all_must_have_what_they_use(place: Town, trained: tuple[str, str]) -> None:
    """The version of two classes is no default: the third project uses all six."""
    environment = {"MASKLOOP_HOME": str(place.backend.home)}
    done = maskloop("models", "promote", trained[0], "--reason", "by hand", env=environment)
    assert f"warning: project {place.third.id} uses building, tree, car, person" in done.stderr
    maskloop("models", "rollback", env=environment)
    assert place.registry.serving() == place.common
    wait_for(place, place.common, "/versions")


def test_a_rollback_is_one_projects_alone(place: Town, client: StudioClient, trained: tuple[str, str]) -> None:
    place.run("models", "rollback", "--project", "ground", "--reason", "test")
    assert place.registry.serving(place.ground.id) == place.common
    wait_for(place, place.common, f"/versions?project={place.ground.id}")
    place.run("rollout", str(place.ground.id), "--json")
    place.run("rollout", "town", "--json")
    assert_shows(place, client, place.ground, place.common)
    assert_shows(place, client, place.town, trained[1])
    history = json.loads(place.run("models", "history", "--project", "ground", "--json"))
    assert [(one["action"], one["version"]) for one in history] == [("promote", trained[0]), ("rollback", None)]
    # and back again, with the version's name
    place.run("rollout", "ground", trained[0], "--promote", "--json")
    assert_shows(place, client, place.ground, trained[0])
    told = place.run("doctor", "--project", "ground")
    assert f"serves {trained[0]}, this project's own" in told
    assert f"serves {place.common}, its default" in place.run("doctor", "--project", "third")
