"""`maskloop review` with a real network: a wrong label comes first, and goes when it is confirmed."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image

from maskloop_backend.cli.main import cli
from maskloop_backend.inference.predictor import Predictor
from maskloop_backend.loop.confirmed import Confirmed, ReviewError
from maskloop_backend.loop.holdout import project_directory
from maskloop_backend.model.bundle import Bundle
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.fcn import build_fcn
from maskloop_backend.registry.store import Registry
from maskloop_converters.samples import LabelSet

from ..studio.studio import LEGACY, FakeStudio, running
from .conftest import CONFIG, NAMES, annotation, fields, picture, regions
from .test_project import LabelledStudio, task

SIZE = 128
TASKS = (1, 2, 3, 4)
WRONG = 3


class Reviewed(LabelledStudio):
    """A Label Studio whose predictions can be given other scores."""

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        if method == "PATCH":
            return FakeStudio.answer(self, method, path, query, body)
        return super().answer(method, path, query, body)

    @property
    def scored(self) -> dict[int, float]:
        """The score of each task's prediction of the version that is shown."""
        return {self.predictions[number][0]: score for number, score in self.scores.items()}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """A served version from before the labels."""
    keras.utils.set_random_seed(3)
    architecture = Architecture(len(NAMES), "small")
    model = build_fcn(architecture)
    weights = np.random.default_rng(3).normal(0, 4, (1, 1, 192, len(NAMES)))
    model.get_layer("score").set_weights([weights, np.zeros(len(NAMES))])
    made = Bundle.create(model, architecture, LabelSet.from_names(list(NAMES)))
    registry = Registry(tmp_path_factory.mktemp("home"))
    record = dataclasses.replace(made.record, created="2026-11-20T00:00:00Z")
    registry.promote(registry.add(Bundle(model, record)))
    return registry


@pytest.fixture(scope="module")
def predicted(registry: Registry) -> dict[int, NDArray[np.uint8]]:
    """What the version says of each task's image."""
    version = registry.serving()
    assert version is not None
    images = [picture(fields(number, size=SIZE), number) for number in TASKS]
    found = [one.label_map for one in Predictor(registry.load(version)).predict(images)]
    assert len(np.unique(np.stack(found))) > 1, "a version that says one thing of everything proves nothing"
    return dict(zip(TASKS, found, strict=True))


def labelled(number: int, label_map: NDArray[np.uint8]) -> dict[str, Any]:
    """Return a task of the fake Label Studio, its picture larger, with these labels."""
    made = task(number)
    out = io.BytesIO()
    Image.fromarray(picture(fields(number, size=SIZE), number)).save(out, "PNG")
    made["data"]["image"] = "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
    made["annotations"][0]["result"] = regions(label_map, "manual")
    return made


@pytest.fixture
def studio(
    registry: Registry, predicted: dict[int, NDArray[np.uint8]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Reviewed]:
    """Tasks labelled as the version has it, one of them with its classes mixed up."""
    made = Reviewed()
    version = str(registry.serving())
    made.project = {"id": 5, "title": "fields", "label_config": CONFIG, "model_version": version}
    made.exported = [labelled(n, (predicted[n] + (n == WRONG)) % len(NAMES)) for n in TASKS]
    made.stored = {}
    made.tasks = [*TASKS, 9]
    made.labelled = set(TASKS)
    made.served = version
    made.predictions = [(number, version) for number in TASKS]
    with running(made):
        monkeypatch.setenv("MASKLOOP_STUDIO_URL", made.url)
        monkeypatch.setenv("MASKLOOP_STUDIO_TOKEN", LEGACY)
        yield made
    (project_directory(registry.home, 5) / "confirmed.json").unlink(missing_ok=True)


def review(registry: Registry, *arguments: str, code: int = 0) -> Result:
    done = CliRunner().invoke(cli, ["review", "--project", "5", "--home", str(registry.home), *arguments])
    assert done.exit_code == code, done.output
    return done


def found(registry: Registry, *arguments: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(review(registry, "--json", *arguments).stdout)
    return values


def test_the_wrong_label_comes_first(registry: Registry, studio: Reviewed, tmp_path: Path) -> None:
    public = "https://labels.example.com/studio/"
    values = found(registry, "--report", str(tmp_path / "found"), "--studio-public-url", public)
    assert values["versions"] == {registry.serving(): 4}
    assert values["tasks"][0]["task"] == WRONG
    first, *others = values["tasks"]
    assert (first["rank"], first["role"], first["images"][0]["share"]) == (1, "manual", 1)
    assert first["score"] > 0.5
    assert first["images"][0]["suspects"]
    assert all(one["score"] == 0 and one["images"][0]["share"] == 0 for one in others)
    assert (values["confirmed"], values["not_judged"]) == ([], [])
    page = (tmp_path / "found" / "report.html").read_text()
    assert page.count("<img") == 3 * len(TASKS)
    assert f"task {WRONG}" in page
    assert f'<a href="https://labels.example.com/studio/projects/5/data?task={WRONG}">' in page
    assert studio.url not in page
    assert "looks like" in page
    kept = json.loads((tmp_path / "found" / "report.json").read_text())
    assert kept["tasks"] == values["tasks"]
    assert not studio.scores, "nothing is stored unless --apply says so"
    text = review(registry, "--limit", "1")
    assert f"{WRONG}  {first['score']:.3f}  100.0%" in text.stdout
    assert "and 3 more" in text.stdout
    refused = review(registry, "--report", str(tmp_path / "found"), code=1)
    assert "found" in refused.stderr
    again = found(registry, "--limit", "2", "--report", str(tmp_path / "found"), "--overwrite")
    assert len(again["tasks"]) == 2
    assert len(json.loads((tmp_path / "found" / "report.json").read_text())["tasks"]) == 4


def test_scores_in_the_data_manager(registry: Registry, studio: Reviewed) -> None:
    dry = review(registry, "--apply", "--dry-run", "--confirm", "1")
    assert "nothing was stored" in dry.stderr
    assert not studio.scores
    assert not Confirmed.read(project_directory(registry.home, 5)).digests
    values = found(registry, "--apply")
    first = values["tasks"][0]
    assert values["stored"] == {"model_version": registry.serving(), "tasks": 4, "without_prediction": []}
    assert studio.scored == {n: 1 - first["score"] if n == WRONG else 1 for n in TASKS}
    assert first["score"] > 0.5


def test_predictions_that_labelled_tasks_lack_are_fetched_first(registry: Registry, studio: Reviewed) -> None:
    studio.predictions = [(2, str(registry.serving()))]
    told = review(registry, "--apply")
    assert "3 tasks have no prediction" in told.stderr
    assert list(studio.scored) == [2]
    studio.predictions = []
    refused = review(registry, "--apply", code=1)
    assert "none of the 4 labelled tasks has a prediction" in refused.stderr
    studio.connect()
    values = found(registry, "--apply")
    assert values["stored"]["tasks"] == 4
    assert sorted(studio.scored) == list(TASKS)


def test_what_was_confirmed_is_not_shown_until_it_changes(
    registry: Registry, studio: Reviewed, predicted: dict[int, NDArray[np.uint8]]
) -> None:
    values = found(registry, "--confirm", str(WRONG), "--apply")
    assert values["confirmed"] == [WRONG]
    assert WRONG not in [one["task"] for one in values["tasks"]]
    assert studio.scored[WRONG] == 1
    for region in studio.exported[2]["annotations"][0]["result"]:
        region["id"] = f"other-{region['id']}"
    assert found(registry)["confirmed"] == [WRONG], "what nobody sees is no change"
    studio.exported[2] = labelled(WRONG, (predicted[WRONG] + 2) % len(NAMES))
    after = found(registry)
    assert after["confirmed"] == []
    assert after["tasks"][0]["task"] == WRONG
    refused = review(registry, "--confirm", "77", code=1)
    assert "task 77 of project 5 has no label" in refused.stderr


def test_labels_that_every_version_may_know_are_not_judged(registry: Registry, studio: Reviewed) -> None:
    studio.exported[0]["annotations"][0]["created_at"] = "2026-11-19T00:00:00Z"
    values = found(registry)
    assert [one["task"] for one in values["not_judged"]] == [1]
    assert 1 not in [one["task"] for one in values["tasks"]]
    assert "not judged: 1 (task 1)" in review(registry).stderr
    assert 1 in [one["task"] for one in found(registry, "--model", str(registry.serving()))["tasks"]]


def test_nothing_to_ask(studio: Reviewed, tmp_path: Path) -> None:
    refused = review(Registry(tmp_path / "empty"), code=1)
    assert "no version is served to project 5 yet" in refused.stderr


def test_a_damaged_list_of_confirmed_tasks_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "confirmed.json").write_text('{"tasks": [1]}')
    with pytest.raises(ReviewError, match=r"confirmed\.json: not readable"):
        Confirmed(tmp_path, {}).adding({"1": "x"})
    assert (tmp_path / "confirmed.json").read_text() == '{"tasks": [1]}'


@pytest.fixture
def several(studio: Reviewed, predicted: dict[int, NDArray[np.uint8]]) -> Reviewed:
    """Task 1 has two annotations that are the same, task 2 a second one with its classes mixed up, and a skipped one."""
    for place, shift in ((0, 0), (1, 1)):
        number = TASKS[place]
        mine = studio.exported[place]["annotations"][0] | {"completed_by": 7}
        other = annotation(100 + number, regions((predicted[number] + shift) % len(NAMES), "manual"), completed_by=8)
        skipped = annotation(200 + number, [], completed_by=9, was_cancelled=True)
        studio.exported[place]["annotations"] = [mine, other, skipped]
    return studio


def test_annotators_agree_or_not(registry: Registry, several: Reviewed) -> None:
    values = found(registry, "--agreement")
    assert [(one["task"], one["share"], one["annotators"]) for one in values["tasks"]] == [
        ("2", 0, ["7", "8"]),
        ("1", 1, ["7", "8"]),
    ]
    assert values["total"]["share"] == 0.5
    assert [(one["annotators"], one["share"]) for one in values["pairs"]] == [(["7", "8"], 0.5)]
    assert set(values["total"]["iou"]) == set(NAMES) == set(values["total"]["boundary_f"])
    assert all(value == 1 for value in values["tasks"][1]["boundary_f"].values() if value is not None)
    assert len(found(registry, "--agreement", "--limit", "1")["tasks"]) == 1
    text = review(registry, "--agreement", "--limit", "1").stdout
    assert "2 images that several people labelled" in text
    assert " 50.0%  7 and 8" in text
    assert "  0.0%  task 2 (2 annotations)" in text
    assert "and 1 more" in text


def test_agreement_needs_several_annotators(registry: Registry, studio: Reviewed) -> None:
    assert "no task of project 5 has annotations of several people" in review(registry, "--agreement", code=1).stderr
    assert "--agreement compares annotators" in review(registry, "--agreement", "--apply", code=2).stderr
