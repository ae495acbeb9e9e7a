"""The loop, with nothing replaced: people correct masks in a real Label Studio, the better model goes live, a worse one does not."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from browser import CHROMIUM, Person
from maskloop_backend.demo import scenes
from maskloop_backend.demo.labels import LABELS
from maskloop_backend.loop.holdout import Holdout, project_directory
from maskloop_backend.registry.store import Registry
from maskloop_backend.studio.client import StudioClient
from maskloop_backend.studio.local import LocalStudio
from maskloop_converters import RunList
from maskloop_converters.codecs import studio_rle
from maskloop_converters.formats.labelstudio import config
from rig import Backend, maskloop, predictor, serving

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

SIZE = (128, 160)
CLASSES = [label.name for label in LABELS.classes]
LABELLED, OPEN = 24, 4


@dataclass(slots=True)
class Loop:
    """A project whose model knows little, and the server that serves it.

    Attributes:
        project: id in Label Studio.
        tasks: task id -> its scene.
        first: the version that begins.
        backend: serves it.
        studio: the Label Studio.
    """

    project: int
    tasks: dict[int, scenes.Scene]
    first: str
    backend: Backend
    studio: LocalStudio

    @property
    def registry(self) -> Registry:
        return Registry(self.backend.home)

    @property
    def corrected(self) -> list[int]:
        """The tasks that people label; the others stay open."""
        return sorted(self.tasks)[:LABELLED]

    @property
    def open(self) -> list[int]:
        return sorted(self.tasks)[LABELLED:]

    def run(self, *arguments: str) -> str:
        """Run a command as a user would and return its output."""
        environment = {
            **self.backend.environment,
            "MASKLOOP_HOME": str(self.backend.home),
            "MASKLOOP_STUDIO_URL": self.studio.url,
            "MASKLOOP_STUDIO_TOKEN": self.studio.token,
        }
        done = maskloop(*arguments, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def get(self, path: str) -> Any:
        """Return what the backend answers."""
        answer = httpx.get(f"{self.backend.url}{path}", auth=(self.backend.user, self.backend.password))
        assert answer.status_code == 200, answer.text
        return answer.json()

    def answers(self) -> str:
        """Return the version that the server answers the project with now."""
        return str(self.get(f"/versions?project={self.project}")["versions"][0])

    def masks(self, version: str, task: int) -> NDArray[np.uint8]:
        """Return what a version says of a task's image, computed here."""
        (prediction,) = predictor(self.registry, version).predict([self.tasks[task].image])
        return prediction.label_map

    def train(self, client: StudioClient) -> dict[str, Any]:
        """Press Start Training in Label Studio and return the job when it is over."""
        before = {job["id"] for job in self.get("/jobs")["jobs"]}
        (connection,) = client.connections(self.project)
        client.request("POST", f"/api/ml/{connection['id']}/train", json={})
        pause = threading.Event()
        deadline = time.monotonic() + 420
        while time.monotonic() < deadline:
            new = [job for job in self.get("/jobs")["jobs"] if job["id"] not in before]
            if new and new[0]["state"] not in ("queued", "running"):
                assert len(new) == 1
                return dict(new[0])
            pause.wait(1)
        raise AssertionError(f"the training is not over: {self.get('/jobs')}\n{self.backend.log.read_text()}")


@pytest.fixture(scope="module")
def loop(client: StudioClient, studio: LocalStudio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    home = tmp_path_factory.mktemp("loop-home")
    scenes.write_scenes(home / "few", 6, 0, SIZE)
    maskloop("train", str(home / "few"), "--backbone", "small", "--epochs", "8", "--home", str(home), "--seed", "1")
    registry = Registry(home)
    (first,) = registry.versions()
    registry.promote(first)
    files = scenes.write_scenes(tmp_path_factory.mktemp("loop-tasks") / "scenes", LABELLED + OPEN, 700, SIZE)
    drawn = list(scenes.scenes(LABELLED + OPEN, 700, SIZE))
    xml = config.render(LABELS, [("BrushLabels", "tag", "image")], {"image": "image"})
    project = int(client.create_project("the loop", xml, sampling="Uncertainty sampling")["id"])
    client.upload(project, files)
    tasks = dict(zip(client.task_ids(project), drawn, strict=True))
    with serving(home, studio) as backend:
        made = Loop(project, tasks, first, backend, studio)
        arguments = ("--project", str(project), "--backend-url", backend.url, "--json")
        connected = json.loads(made.run("connect", *arguments))
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


def served(loop: Loop) -> str:
    """Return the version that the server answers the project with, after it had the time to notice a promotion."""
    wanted = loop.registry.serving(loop.project)
    pause = threading.Event()
    for _ in range(120):
        if loop.answers() == wanted:
            break
        pause.wait(0.5)
    return loop.answers()


def next_task(client: StudioClient, project: int) -> dict[str, Any]:
    """Return the task that an annotator gets next."""
    return dict(client.request("GET", f"/api/projects/{project}/next"))


def scores(client: StudioClient, loop: Loop, version: str) -> dict[int, float]:
    """Return the stored score of every open task's prediction by a version."""
    found = {}
    for task in loop.open:
        described = client.task(task)
        if not described["annotations"]:
            (found[task],) = [p["score"] for p in described["predictions"] if p["model_version"] == version]
    return found


def assert_next_shows(
    loop: Loop, person: Person, client: StudioClient, version: str, folder: Path, *, opened: int | None = None
) -> int:
    """Open the label stream and check its first task: the least sure one, with the masks of a version.

    A task that this person has opened and not submitted comes first, whatever the order is: Label Studio keeps it for them.
    """
    order = scores(client, loop, version)
    assert len(set(order.values())) == len(order), "equal scores have no order"
    expected = min(order, key=lambda task: order[task]) if opened is None else opened
    assert next_task(client, loop.project)["id"] == expected
    label_map = loop.masks(version, expected)
    present = np.unique(label_map).tolist()
    person.label_next(loop.project, regions=len(present))
    assert person.open_task_id() == expected, (
        order,
        client.project(loop.project)["model_version"],
        next_task(client, loop.project)["id"],
    )
    person.screenshot(folder / f"{version}.png")
    drawn = {region.labels[0]: region.alpha > 127 for region in person.drawn()}
    assert set(drawn) == {CLASSES[k] for k in present}
    for k in present:
        np.testing.assert_array_equal(drawn[CLASSES[k]], label_map == k)
    return expected


@pytest.fixture(scope="module")
def improved(loop: Loop, client: StudioClient, request: pytest.FixtureRequest) -> dict[str, Any]:
    """The result of the training on corrected tasks; where there is a browser, a person corrected one of them in it."""
    by_hand = loop.corrected[:1] if CHROMIUM else []
    for number in by_hand:
        person: Person = request.getfixturevalue("person")
        # not from the label stream, which gives a task that was opened once to the same person again
        person.open_task(loop.project, number, regions=len(np.unique(loop.masks(loop.first, number))))
        # somebody adds a person that the model did not see; hotkeys count the labels from 1
        person.paint("6", (0.45, 0.5), (0.5, 0.6), (0.55, 0.5))
        person.submit()
        (annotation,) = client.task(number)["annotations"]
        assert {item["origin"] for item in annotation["result"]} == {"prediction", "manual"}
    for number in loop.corrected:
        if number not in by_hand:
            annotate(client, number, loop.tasks[number].mask)
    job = loop.train(client)
    assert job["state"] == "done", (job, loop.run("jobs", "log", str(job["id"])))
    return dict(job["result"])


def test_corrections_make_a_better_model_that_goes_live_by_itself(loop: Loop, improved: dict[str, Any]) -> None:
    assert improved["promoted"], improved["reason"]
    assert improved["parent"] == loop.first
    assert improved["counts"]["corrected"] == LABELLED
    assert improved["holdout"]["miou"]["difference"] > 0
    assert improved["changed"]["share"] > 0.05
    assert Path(improved["report"]).is_file()
    # nobody restarted anything
    assert loop.registry.serving(loop.project) == improved["version"] == served(loop)
    # for the others nothing has changed
    assert loop.registry.serving() == loop.first


def test_the_next_task_opens_with_the_better_masks(
    loop: Loop, improved: dict[str, Any], client: StudioClient, person: Person, tmp_path: Path
) -> None:
    # the project is moved, and the next task opens with the new masks, the least sure first
    second = improved["version"]
    moved = json.loads(loop.run("rollout", str(loop.project), "--json"))
    assert (moved["model_version"], moved["tasks_with_predictions"]) == (second, OPEN)
    first_task = assert_next_shows(loop, person, client, second, tmp_path)
    person.submit()
    next_one = assert_next_shows(loop, person, client, second, tmp_path)
    assert next_one != first_task
    # and back
    loop.run("models", "rollback", "--project", str(loop.project), "--reason", "test")
    assert served(loop) == loop.first
    loop.run("rollout", str(loop.project), "--json")
    assert_next_shows(loop, person, client, loop.first, tmp_path, opened=next_one)
    loop.run("models", "promote", second, "--project", "the loop")
    assert served(loop) == second


def test_poisoned_corrections_change_nothing(loop: Loop, improved: dict[str, Any], client: StudioClient) -> None:
    """Somebody swaps the classes of everything that is learned from."""
    serving = loop.registry.serving(loop.project)
    assert serving == improved["version"]
    holdout = Holdout.read(project_directory(loop.backend.home, loop.project))
    assert holdout is not None
    poisoned = [task for task in loop.corrected if not holdout.contains(str(task))]
    assert len(poisoned) > LABELLED / 2
    loop.run("rollout", str(loop.project), "--json")
    for task in poisoned:
        annotate(client, task, ((loop.tasks[task].mask + 1) % len(CLASSES)).astype(np.uint8))
    before = client.model_versions(loop.project)
    job = loop.train(client)
    assert job["state"] == "done", (job, loop.run("jobs", "log", str(job["id"])))
    result = job["result"]
    assert not result["promoted"]
    assert result["version"] != serving
    assert "drop" in result["reason"] or "gets lost" in result["reason"], result["reason"]
    assert loop.registry.serving(loop.project) == serving == served(loop)
    assert client.model_versions(loop.project) == before
