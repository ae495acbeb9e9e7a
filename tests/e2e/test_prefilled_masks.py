"""The main job, with nothing replaced: images in a real Label Studio, masks by the real server, seen in a real browser."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from browser import Person
from maskloop_backend.demo import scenes
from maskloop_backend.inference.prediction import Prediction
from maskloop_backend.registry.store import Registry
from maskloop_backend.studio.client import StudioClient
from maskloop_backend.studio.errors import StudioError
from maskloop_backend.studio.images import ImageFetcher, decode
from maskloop_backend.studio.local import LocalStudio
from maskloop_converters import datasets
from maskloop_converters.codecs import studio_rle
from rig import LABEL_CONFIG, SIZE, Backend, maskloop, predictor

pytestmark = pytest.mark.e2e

# the model's class of each label of the config
CLASS_OF = {"sky": 0, "building": 1, "road": 2, "tree": 3, "Vehicle": 4, "PERSON": 5}


@dataclass(frozen=True, slots=True)
class Project:
    """A connected project and what its tasks should show.

    Attributes:
        id: in Label Studio.
        images: task id -> uploaded file.
        expected: task id -> the model's prediction, computed here.
        connected: what `maskloop connect --json` said.
    """

    id: int
    images: dict[int, Path]
    expected: dict[int, Prediction]
    connected: dict[str, Any]


@pytest.fixture(scope="module")
def project(
    client: StudioClient, backend: Backend, studio: LocalStudio, tmp_path_factory: pytest.TempPathFactory
) -> Project:
    # The second image is a JPEG that lies on its side and says so in its EXIF data.
    files = scenes.write_scenes(tmp_path_factory.mktemp("tasks") / "scenes", 3, 500, SIZE, rotated=(1,))
    made = client.create_project("pre-filled masks", LABEL_CONFIG)
    tasks: dict[int, Path] = {}
    for path in files:
        client.upload(made["id"], [path])
        (new,) = set(client.task_ids(made["id"])) - set(tasks)
        tasks[new] = path
    done = maskloop(
        *("connect", "--project", "pre-filled masks", "--backend-url", backend.url, "--studio-url", studio.url),
        *("--smart-tools", "--json"),
        env={**backend.environment, "MASKLOOP_STUDIO_TOKEN": studio.token},
    )
    registry = Registry(backend.home)
    images = [decode(path.read_bytes(), path.name) for path in files]
    expected = dict(zip(tasks, predictor(registry, str(registry.serving())).predict(images), strict=True))
    return Project(int(made["id"]), tasks, expected, json.loads(done.stdout))


def regions_of(result: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Return label -> mask of a stored prediction or annotation."""
    masks = {}
    for item in result:
        height, width = item["original_height"], item["original_width"]
        (label,) = item["value"]["brushlabels"]
        assert label not in masks, "one region a class"
        masks[label] = studio_rle.decode([item["value"]["rle"]], height, width).mask(0)
    return masks


def assert_masks_are(masks: dict[str, np.ndarray], prediction: Prediction) -> None:
    present = {name for name, k in CLASS_OF.items() if (prediction.label_map == k).any()}
    assert set(masks) == present
    for name, mask in masks.items():
        np.testing.assert_array_equal(mask, prediction.label_map == CLASS_OF[name])


def test_connect_fills_every_task_with_the_models_masks(project: Project, client: StudioClient) -> None:
    assert project.connected["tasks"] == project.connected["tasks_with_predictions"] == 3
    for task, expected in project.expected.items():
        (stored,) = client.task(task)["predictions"]
        assert stored["model_version"] == project.connected["model_version"]
        assert stored["score"] == pytest.approx(expected.score, abs=1e-6)
        assert_masks_are(regions_of(stored["result"]), expected)
        ids = [item["id"] for item in stored["result"]]
        assert len(set(ids)) == len(ids)


def test_its_images_and_masks_come_out_as_a_dataset(
    project: Project, client: StudioClient, backend: Backend, tmp_path: Path
) -> None:
    before = client.model_versions(project.id)
    place = str(tmp_path / "masks")
    maskloop(
        *("label", f"project:{project.id}", place, "--to", "coco", "--studio-url", client.url, "--quiet"),
        *("--confidence-below", "0", "--home", str(backend.home)),
        env={**backend.environment, "MASKLOOP_STUDIO_TOKEN": client.auth.header().split()[1]},
    )
    dataset = datasets.read(place)
    found = {int(sample.id): sample for sample in dataset}
    assert set(found) == set(project.images)
    channel = {label.id: k for k, label in enumerate(dataset.labels.classes)}
    for task, sample in found.items():
        assert sample.image.read_bytes() == project.images[task].read_bytes()
        assert sample.image.name == f"{task}-{project.images[task].name}"
        label_map = np.vectorize(channel.__getitem__)(sample.label_map(dataset.labels))
        np.testing.assert_array_equal(label_map, project.expected[task].label_map)
    assert client.model_versions(project.id) == before


def test_connecting_again_changes_nothing(project: Project, client: StudioClient, backend: Backend) -> None:
    before = client.connections(project.id), client.webhooks(project.id), client.model_versions(project.id)
    again = maskloop(
        *("connect", "--project", str(project.id), "--backend-url", backend.url, "--studio-url", client.url),
        *("--smart-tools", "--json"),
        env={**backend.environment, "MASKLOOP_STUDIO_TOKEN": client.auth.header().split()[1]},
    )
    assert json.loads(again.stdout)["changes"] == []
    after = client.connections(project.id), client.webhooks(project.id), client.model_versions(project.id)
    assert [c["id"] for c in after[0]] == [c["id"] for c in before[0]]
    assert after[1:] == before[1:]
    (hook,) = after[1]
    assert hook["headers"]["Authorization"].startswith("Basic ")


def test_doctor_finds_no_problem(project: Project, client: StudioClient, backend: Backend, studio: LocalStudio) -> None:
    done = maskloop(
        *("doctor", "--project", str(project.id), "--studio-url", studio.url, "--json"),
        env={**backend.environment, "MASKLOOP_STUDIO_TOKEN": studio.token},
        check=False,
    )
    findings = json.loads(done.stdout)
    assert done.returncode == 0, findings
    assert {finding["level"] for finding in findings} == {"ok"}
    assert {"token", "project", "connection", "backend", "labels", "webhook", "version"} <= {
        finding["subject"] for finding in findings
    }


def test_what_the_annotator_sees_is_the_prediction_and_submitting_keeps_it(
    project: Project, client: StudioClient, person: Person, tmp_path: Path
) -> None:
    submitted = set()
    for _ in project.images:
        # the label stream serves each of the tasks, the rotated JPEG among them, until it is labelled
        person.label_next(project.id, regions=2)
        task = person.open_task_id()
        assert task not in submitted
        expected = project.expected[task]
        drawn = person.drawn()
        person.screenshot(tmp_path / f"task-{task}.png")
        masks = {}
        for region in drawn:
            (label,) = region.labels
            assert region.alpha.shape == expected.label_map.shape, "the frame is that of the upright image"
            masks[label] = region.alpha > 127
        assert_masks_are(masks, expected)
        person.submit()
        submitted.add(task)
    assert submitted == set(project.images)
    exported = {task["id"]: task for task in client.export(project.id)}
    for task, expected in project.expected.items():
        (annotation,) = exported[task]["annotations"]
        assert_masks_are(regions_of(annotation["result"]), expected)
        stored = client.task(task)["predictions"][0]["result"]
        before = {item["value"]["brushlabels"][0]: item["value"]["rle"] for item in stored}
        after = {item["value"]["brushlabels"][0]: item["value"]["rle"] for item in annotation["result"]}
        assert after == before, "the frontend's own encoder gives our bytes back"
        assert {item["origin"] for item in annotation["result"]} == {"prediction"}


def test_a_smart_tool_click_answers_with_the_part_under_it(project: Project, client: StudioClient) -> None:
    task, expected = next(iter(project.expected.items()))
    seen = int(np.bincount(expected.label_map.ravel()).argmax())
    ys, xs = np.nonzero(expected.label_map == seen)
    height, width = expected.label_map.shape
    click = {
        "type": "keypointlabels",
        "from_name": "point",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "value": {
            "x": 100 * (xs[0] + 0.5) / width,
            "y": 100 * (ys[0] + 0.5) / height,
            "width": 0.3,
            "keypointlabels": ["Vehicle"],
        },
    }
    connection = project.connected["connection"]
    answer = client.ask_smart_tool(connection, task, {"result": [click]})
    assert not answer.get("errors")
    (item,) = answer["data"]["result"]
    assert item["value"]["brushlabels"] == ["Vehicle"], "the annotator's label, whatever the model saw"
    mask = studio_rle.decode([item["value"]["rle"]], height, width).mask(0)
    assert mask[ys[0], xs[0]]
    assert (expected.label_map[mask] == seen).all()


def test_webhook_events_reach_the_backend_with_its_credentials(
    project: Project, client: StudioClient, backend: Backend
) -> None:
    def recorded() -> float:
        page = httpx.get(f"{backend.url}/metrics", auth=(backend.user, backend.password)).text
        lines = [line for line in page.splitlines() if "ANNOTATION_CREATED" in line and not line.startswith("#")]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if "_total" in line)

    before = recorded()
    task = next(iter(project.images))
    made = client.request("POST", f"/api/tasks/{task}/annotations/", json={"result": [], "was_cancelled": False})
    assert recorded() == before + 1
    # the task is still to be labelled
    client.request("DELETE", f"/api/annotations/{made['id']}/")


def test_a_personal_access_token_works_everywhere(
    project: Project, client: StudioClient, backend: Backend, studio: LocalStudio
) -> None:
    token = client.request("POST", "/api/token/")["token"]
    done = maskloop(
        *("doctor", "--project", str(project.id), "--studio-url", studio.url, "--json"),
        env={**backend.environment, "MASKLOOP_STUDIO_TOKEN": token},
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "personal access token" in next(f["message"] for f in json.loads(done.stdout) if f["subject"] == "token")
    task, path = next(iter(project.images.items()))
    image = ImageFetcher(studio_url=studio.url, token=token).fetch(client.task(task), "image")
    np.testing.assert_array_equal(image.array, decode(path.read_bytes(), path.name))


def test_a_wrong_backend_password_says_so(client: StudioClient, backend: Backend, studio: LocalStudio) -> None:
    made = client.create_project("wrong password", LABEL_CONFIG)
    done = maskloop(
        *("connect", "--project", str(made["id"]), "--backend-url", backend.url, "--studio-url", studio.url),
        env={
            "MASKLOOP_STUDIO_TOKEN": studio.token,
            "MASKLOOP_BASIC_AUTH_USER": backend.user,
            "MASKLOOP_BASIC_AUTH_PASSWORD": "wrong",
        },
        check=False,
    )
    assert done.returncode == 1
    assert "authentication parameters" in done.stderr
    assert "the user and password that `maskloop serve` was started with" in done.stderr
    assert client.connections(made["id"]) == []


def test_a_wrong_studio_token_says_so(studio: LocalStudio) -> None:
    done = maskloop(
        *("doctor", "--studio-url", studio.url, "--json"), env={"MASKLOOP_STUDIO_TOKEN": "0" * 40}, check=False
    )
    assert done.returncode == 1
    (finding,) = json.loads(done.stdout)
    assert finding["subject"] == "token"
    assert "refuses the legacy token" in finding["message"]
    assert "0" * 40 not in done.stdout + done.stderr


def test_an_unreachable_image_leaves_its_task_empty_and_the_others_filled(
    client: StudioClient, backend: Backend, studio: LocalStudio, project: Project
) -> None:
    made = client.create_project("unreachable image", LABEL_CONFIG)
    good = client.task(next(iter(project.images)))["data"]["image"]
    addresses = [good, "/data/upload/999/nowhere.png", f"{studio.url}/static/no-such.png", "ftp://x/y.png", good]
    client.add_tasks(made["id"], [{"image": address} for address in addresses])
    done = maskloop(
        *("connect", "--project", str(made["id"]), "--backend-url", backend.url, "--studio-url", studio.url, "--json"),
        env={**backend.environment, "MASKLOOP_STUDIO_TOKEN": studio.token},
    )
    assert json.loads(done.stdout)["tasks_with_predictions"] == 2
    tasks = client.task_ids(made["id"])
    log = backend.log.read_text()
    for task, address in zip(tasks, addresses, strict=True):
        assert (f"task {task}," in log) == (address != good)
    assert "HTTP 404" in log


def test_a_label_config_without_masks_is_refused_with_the_reason(
    client: StudioClient, backend: Backend, studio: LocalStudio
) -> None:
    config = '<View><Image name="i" value="$image"/><Choices name="c" toName="i"><Choice value="a"/></Choices></View>'
    made = client.create_project("no masks here", config)
    with pytest.raises(StudioError, match="Label config has no BrushLabels"):
        client.create_connection(
            {
                "project": made["id"],
                "url": backend.url,
                "title": "x",
                "auth_method": "BASIC_AUTH",
                "basic_auth_user": backend.user,
                "basic_auth_pass": backend.password,
            }
        )


def test_nothing_secret_is_in_the_log(backend: Backend, studio: LocalStudio, project: Project) -> None:
    log = backend.log.read_text()
    basic = b64encode(f"{backend.user}:{backend.password}".encode()).decode()
    for secret in (backend.password, studio.token, basic, "Vehicle"):
        assert secret not in log
