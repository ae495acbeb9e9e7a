"""A project's tasks labelled in bulk: once each, whatever Label Studio answers on the way."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from maskloop_backend.batch import importing
from maskloop_backend.batch.errors import BatchError
from maskloop_backend.batch.project import Access, ProjectRequest, label_project, prepare
from maskloop_backend.batch.report import Report
from maskloop_backend.batch.shard import label_shard
from maskloop_backend.batch.status import BatchStatus, stored
from maskloop_backend.batch.work import Model
from maskloop_backend.inference.prediction import Prediction
from maskloop_backend.locks import held
from maskloop_backend.model.bundle import Bundle
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.fcn import build_fcn
from maskloop_backend.registry import Registry
from maskloop_backend.studio.client import StudioClient
from maskloop_backend.studio.errors import StudioError
from maskloop_converters.errors import LabelError
from maskloop_converters.samples import LabelSet

from .studio import LEGACY, FakeStudio

OLD = "fcn32s-small-20250101-00000001"


class Brightness:
    """Dark pixels are road, bright ones are cars."""

    labels = LabelSet.from_names(["road", "car"])

    def __init__(self, version: str) -> None:
        self.version = version

    def predict(self, images: Sequence[NDArray[Any]]) -> list[Prediction]:
        bright = [image.mean(axis=2) > 127 for image in images]
        return [Prediction(one.astype(np.uint8), np.full(one.shape, 204, np.uint8), 0.8) for one in bright]


class Inline:
    """Runs shards here, with the segmenter above instead of the version's network."""

    title = "inline"

    def run(self, work: Any, shards: Any, tick: Any) -> Iterator[Any]:
        for shard in shards:
            with work.destination.opening(shard) as writer:
                finished = label_shard(
                    shard, Brightness(work.model.version), work.read, writer, below=work.below, tick=tick
                )
            finished.lines = writer.lines
            yield shard, finished


def uri(bright: int) -> str:
    array = np.zeros((20, 30, 3), np.uint8)
    array[:, :bright] = 255
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("home")
    keras.utils.set_random_seed(1)
    architecture = Architecture(2, "small", head=False)
    Registry(directory).add(Bundle.create(build_fcn(architecture), architecture, Brightness.labels))
    return directory


@pytest.fixture
def version(home: Path) -> str:
    return Registry(home).versions()[0]


@pytest.fixture
def run(studio: FakeStudio, client: StudioClient, home: Path, version: str) -> Any:
    studio.tasks = list(range(1, 121))
    studio.images = {task: uri(task % 29 + 1) for task in studio.tasks}
    studio.predictions = []
    studio.connections = []

    def label(**options: Any) -> Report:
        request = ProjectRequest(Model(home, version), "5", Access(studio.url, LEGACY), **options)
        pauses: list[float] = []
        with closing(BatchStatus(home)) as status:
            plan = prepare(client, request)
            return label_project(client, request, plan, Inline(), status, pause=pauses.append)

    return label


def test_every_task_gets_one_prediction_and_a_second_time_adds_none(
    run: Any, studio: FakeStudio, version: str, home: Path
) -> None:
    report = run()
    assert (report.images, report.done, report.missing) == (120, 120, 0)
    assert sorted(studio.predictions) == [(task, version) for task in studio.tasks]
    assert len(studio.imports) < 5, "in bulk"
    assert studio.project["model_version"] == version
    labels = {item["value"]["brushlabels"][0] for item in studio.results[7, version]}
    assert labels == {"road", "car"}
    again = run()
    assert (again.done, again.labelled) == (120, 0)
    assert len(studio.predictions) == 120
    told = next(one for one in stored(home) if one["version"] == version)
    assert told["state"] == "done"
    assert told["tasks"]["done"] == 120


def test_bad_images_are_in_the_report_and_in_the_status(run: Any, studio: FakeStudio, home: Path) -> None:
    studio.images[3] = "data:image/png;base64,AAAA"
    studio.images[5] = ""
    report = run()
    assert sorted(f.name for f in report.failures) == ["task 3", "task 5"]
    assert (report.done, report.missing) == (118, 2)
    told = stored(home)[0]
    assert (told["state"], told["tasks"]) == ("incomplete", {"done": 118, "failed": 2})
    assert {one["task"] for one in told["reasons"]} == {3, 5}
    assert "AAAA" not in str(told)
    studio.images[3] = studio.images[5] = uri(3)
    assert run().labelled == 2


@pytest.mark.parametrize("answers", [[(503, False)], [(502, True)], [(429, False), (500, True)], [(504, False)] * 3])
def test_what_label_studio_stumbles_over_is_sent_again_but_never_stored_twice(
    answers: list[tuple[int, bool]], run: Any, studio: FakeStudio
) -> None:
    studio.stumbles = list(answers)
    report = run()
    assert report.missing == 0
    assert len(studio.predictions) == len(set(studio.predictions)) == 120


def test_one_that_is_refused_does_not_take_the_others_with_it(
    run: Any, studio: FakeStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio.refused = {17}
    report = run()
    assert [f.name for f in report.failures] == ["task 17"]
    assert "no such label" in report.failures[0].reason
    assert len(studio.predictions) == len(set(studio.predictions)) == 119


def test_a_label_studio_that_does_not_come_back_ends_it_and_what_is_stored_stays(
    run: Any, studio: FakeStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "CHUNK_BYTES", 1)
    studio.stumbles = [(503, False)] * 20
    with pytest.raises(StudioError, match="503"):
        run()
    assert studio.predictions == []
    studio.stumbles = []
    assert run().done == 120


def test_only_the_wanted_tasks_and_old_versions_go_where_nobody_annotated(
    run: Any, studio: FakeStudio, version: str
) -> None:
    studio.predictions = [(task, OLD) for task in studio.tasks]
    studio.labelled = {1, 2}
    studio.half_labelled = {3}
    report = run(only="unlabelled", limit=50, replace=True)
    assert report.labelled == 50
    mine = {task for task, name in studio.predictions if name == version}
    assert mine == set(range(4, 54))
    assert {task for task, name in studio.predictions if name == OLD} == set(studio.tasks) - mine
    studio.labelled, studio.half_labelled = set(), set()
    run(replace=True)
    there = [(task, name) for task, name in studio.predictions if task]
    assert sorted(there) == [(task, version) for task in studio.tasks]
    assert studio.project["model_version"] == version


def test_a_project_that_a_backend_serves_keeps_what_it_shows(run: Any, studio: FakeStudio) -> None:
    studio.connect()
    studio.project["model_version"] = "something"
    report = run()
    assert studio.project["model_version"] == "something"
    assert any("maskloop rollout" in note for note in report.notes)


def test_what_cannot_work_is_said_before_anything_is_sent(run: Any, studio: FakeStudio, home: Path) -> None:
    with held(home / "label-project-5.lock"), pytest.raises(BatchError, match="another `maskloop label`"):
        run()
    studio.project["label_config"] = studio.project["label_config"].replace("car", "bus")
    assert any("no label for car" in note for note in run(limit=1).notes)
    studio.project["label_config"] = studio.project["label_config"].replace("road", "tram")
    with pytest.raises(LabelError, match="None of the model's classes"):
        run()
