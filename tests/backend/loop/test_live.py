"""What a project has so far: collected task by task from a Label Studio, bounded, with what is wrong left out."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import pytest
from PIL import Image

from maskloop_backend.loop.holdout import HOLDOUT_FILE, Holdout
from maskloop_backend.loop.live import LiveProject, Source
from maskloop_backend.model.bundle import Bundle
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.fcn import build_fcn
from maskloop_backend.studio.client import StudioClient
from maskloop_backend.studio.errors import StudioError
from maskloop_backend.studio.images import ImageFetcher
from maskloop_converters.samples import LabelSet

from ..studio.studio import LEGACY, FakeStudio, running
from .conftest import CONFIG, NAMES, annotation, fields, picture, regions


@dataclasses.dataclass
class Annotated(FakeStudio):
    """A Label Studio with annotated tasks, exported by their ids.

    Attributes:
        done: task id -> the task as its export has it.
        exports: the ids that exports were asked for.
    """

    done: dict[int, dict[str, Any]] = dataclasses.field(default_factory=dict)
    exports: list[set[int]] = dataclasses.field(default_factory=list)
    down: bool = False

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        if self.down:
            raise ConnectionAbortedError
        if path.strip("/") == "api/projects/5/export":
            self.exports.append({int(number) for number in query["ids[]"].split(",")})
            return 200, [task for number, task in self.done.items() if number in self.exports[-1]]
        return super().answer(method, path, query, body)

    def submit(self, number: int, **data: Any) -> None:
        """Let a person submit a task; ``data`` replaces its image's address."""
        out = io.BytesIO()
        Image.fromarray(picture(fields(number), number)).save(out, "PNG")
        address = "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
        # made from a prediction that nobody needs to be asked for
        result = annotation(number, regions(fields(number), "prediction-changed"), parent_prediction=300 + number)
        self.done[number] = {"id": number, "data": {"image": address, **data}, "annotations": [result]}
        self.tasks = sorted({*self.tasks, number})
        self.labelled.add(number)


@pytest.fixture
def studio() -> Iterator[Annotated]:
    made = Annotated()
    made.project = {"id": 5, "title": "fields", "label_config": CONFIG}
    for number in (1, 2, 3):
        made.submit(number)
    made.tasks.append(4)
    with running(made):
        yield made


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    keras.utils.set_random_seed(0)
    architecture = Architecture(len(NAMES), backbone="small")
    made = Bundle.create(build_fcn(architecture), architecture, LabelSet.from_names(list(NAMES)))
    return Bundle(made.model, dataclasses.replace(made.record, version="v1"))


@pytest.fixture
def source(studio: Annotated, tmp_path: Path) -> Iterator[Source]:
    with StudioClient(studio.url, LEGACY) as client:
        yield Source(client, ImageFetcher(studio.url, LEGACY), 5, tmp_path / "project-5")


@pytest.fixture
def project(bundle: Bundle) -> LiveProject:
    return LiveProject(bundle.record, lambda: bundle)


def wait(spent: float) -> None:
    """Wait for nobody."""


def test_only_what_changed_is_asked_for_again(studio: Annotated, source: Source, project: LiveProject) -> None:
    project.update(source, None, wait)
    assert (project.images, studio.exports) == (3, [{1, 2, 3}])
    studio.submit(4)
    project.update(source, {4}, wait)
    assert (project.images, studio.exports[1:]) == (4, [{4}])
    # its annotation was deleted
    del studio.done[2]
    project.update(source, {2, 4}, wait)
    assert (project.images, studio.exports[2:]) == (3, [{2, 4}])
    assert not [path for _, path, _ in studio.asked if "predictions" in path], "nobody needs the predictions"
    weights = project.fit(wait)
    assert weights is not None
    predictor = project.predictor(weights, "v1+live-7")
    assert (predictor.version, predictor.predict([picture(fields(1), 1)])[0].label_map.shape) == ("v1+live-7", (64, 64))


def test_images_that_cannot_be_had_are_left_out(studio: Annotated, source: Source, project: LiveProject) -> None:
    studio.submit(2, image="/data/upload/5/gone.png")
    studio.submit(3, image="data:image/png;base64,AAAA")
    project.update(source, None, wait)
    assert project.images == 1
    studio.submit(4, image=None)
    project.update(source, {4}, wait)
    assert project.images == 1


def test_nothing_annotated_is_nothing_learned(studio: Annotated, source: Source, project: LiveProject) -> None:
    studio.done, studio.labelled = {}, set()
    project.update(source, None, wait)
    project.update(source, {1}, wait)
    assert project.images == 0
    assert project.fit(wait) is None


def test_labels_that_changed_are_collected_anew(studio: Annotated, source: Source, project: LiveProject) -> None:
    project.update(source, None, wait)
    studio.project["label_config"] = CONFIG.replace(
        '<Label value="red"/>', '<Label value="violet"/><Label value="red"/>'
    )
    project.update(source, {1}, wait)
    assert project.images == 3
    weights = project.fit(wait)
    assert weights is not None
    labels = project.predictor(weights, "v1+live-8").labels
    assert {label.name for label in labels.classes} == {*NAMES, "violet"}


def test_features_are_bounded_and_the_newest_stay(
    studio: Annotated, source: Source, project: LiveProject, bundle: Bundle
) -> None:
    project.update(source, None, wait)
    room = project.nbytes - 1
    small = LiveProject(bundle.record, lambda: bundle, most=room)
    small.update(source, None, wait)
    assert (small.images, small.nbytes <= room) == (2, True)
    small.update(source, {1}, wait)
    assert small.images == 2


def test_what_is_held_out_is_not_learned(studio: Annotated, source: Source, project: LiveProject) -> None:
    seed = next(n for n in range(100) if [task for task in "123" if Holdout(n, 0.4).contains(task)] == ["2"])
    source.directory.mkdir()
    (source.directory / HOLDOUT_FILE).write_text(json.dumps({"seed": seed, "share": 0.4}))
    project.update(source, None, wait)
    assert project.images == 2


def test_a_label_studio_that_is_down_is_said(studio: Annotated, source: Source, project: LiveProject) -> None:
    project.update(source, None, wait)
    studio.down = True
    with pytest.raises(StudioError):
        project.update(source, {1}, wait)
