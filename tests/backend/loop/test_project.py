"""Collecting from a Label Studio that answers as recorded, and from one that fails half-way."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from maskloop_backend.cli.main import cli
from maskloop_backend.demo.scenes import write_scenes
from maskloop_backend.loop.changes import channels
from maskloop_backend.loop.collected import Collected, CorrectionsError
from maskloop_backend.loop.corrections import from_project
from maskloop_backend.loop.label_configs import LabelConfigs
from maskloop_backend.loop.retraining import Plan, StudioProject, retrain
from maskloop_backend.loop.still_there import ASK_EVERY, StillThere
from maskloop_backend.model.bundle import Bundle
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.fcn import build_fcn
from maskloop_backend.registry.store import Registry
from maskloop_backend.studio.client import StudioClient
from maskloop_backend.studio.errors import StudioError
from maskloop_backend.studio.images import ImageFetcher
from maskloop_converters.samples import LabelSet

from ..studio.studio import LEGACY, FakeStudio, problem, running
from .conftest import CONFIG, NAMES, annotation, fields, picture, regions

KNOWN = LabelSet.from_names(list(NAMES))


class LabelledStudio(FakeStudio):
    """A Label Studio with annotated tasks.

    Attributes:
        exported: what its export gives.
        stored: predictions by id.
        after_export: is called when the export was asked for.
        serves_images: False: it goes down when the first image is asked for.
        down: nothing is answered any more.
    """

    exported: list[dict[str, Any]]
    stored: dict[int, Any]
    after_export: Callable[[], None] = staticmethod(lambda: None)
    down: bool = False
    serves_images: bool = True

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        self.down |= not self.serves_images and path.startswith("/data/upload/")
        if self.down:
            raise ConnectionAbortedError
        match [part for part in path.split("/") if part]:
            case ["api", "projects", "5", "export"]:
                assert query == {"exportType": "JSON"}
                self.after_export()
                return 200, self.exported
            case ["api", "predictions", number]:
                found = self.stored.get(int(number))
                return problem(404, "Not found.") if found is None else (200, found)
        return super().answer(method, path, query, body)


def task(number: int, **facts: Any) -> dict[str, Any]:
    out = io.BytesIO()
    Image.fromarray(picture(fields(number), number)).save(out, "PNG")
    done = annotation(number, regions(fields(number), "prediction-changed"), **facts)
    address = "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
    return {"id": number, "data": {"image": address}, "annotations": [done], "predictions": [300 + number]}


@pytest.fixture
def studio() -> Iterator[LabelledStudio]:
    made = LabelledStudio()
    made.project = {"id": 5, "title": "fields", "label_config": CONFIG}
    made.exported = [task(number, parent_prediction=300 + number) for number in (1, 2, 3)]
    made.stored = {301: {"id": 301, "result": regions(np.roll(fields(1), 8, axis=0), "prediction")}}
    with running(made):
        yield made


def collect(studio: LabelledStudio, directory: Path, **options: Any) -> Collected:
    with StudioClient(studio.url, LEGACY) as client:
        return from_project(client, ImageFetcher(studio.url, LEGACY), 5, directory, KNOWN, **options)


def test_annotations_and_the_predictions_they_were_made_from(studio: LabelledStudio, tmp_path: Path) -> None:
    """Predictions 302 and 303 were deleted."""
    collected = collect(studio, tmp_path)
    assert [sample.id for sample in collected.samples] == ["1", "2", "3"]
    assert set(collected.roles.values()) == {"corrected"}
    for sample in collected.samples:
        np.testing.assert_array_equal(channels(sample, collected.labels), fields(int(sample.id)))
        assert sample.image.read_bytes()
    assert list(collected.predictions) == ["1"]
    before = channels(collected.predictions["1"], collected.labels)
    np.testing.assert_array_equal(before, np.roll(fields(1), 8, axis=0))


def test_images_are_fetched_once(studio: LabelledStudio, tmp_path: Path) -> None:
    studio.exported[0]["data"]["image"] = "/data/upload/5/gone.png"
    collect(studio, tmp_path, on_error="skip")
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "images").iterdir()}
    assert len(kept) == 2
    collect(studio, tmp_path, on_error="skip")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "images").iterdir()} == kept
    asked = [path for _, path, _ in studio.asked if path == "/data/upload/5/gone.png"]
    assert len(asked) == 2


def test_an_image_that_is_gone_is_named(studio: LabelledStudio, tmp_path: Path) -> None:
    studio.exported[1]["data"]["image"] = "/data/upload/5/gone.png"
    with pytest.raises(CorrectionsError, match=r"1 image\(s\) cannot be had.*task 2, .*/gone.png: HTTP 404"):
        collect(studio, tmp_path)
    collected = collect(studio, tmp_path, on_error="skip")
    assert [sample.id for sample in collected.samples] == ["1", "3"]


def test_a_label_config_that_changes_meanwhile(studio: LabelledStudio, tmp_path: Path) -> None:
    def change() -> None:
        studio.project["label_config"] = CONFIG.replace("blue", "azure")

    studio.after_export = change  # type: ignore[method-assign]
    with pytest.raises(CorrectionsError, match="the label config of project 5 was changed while"):
        collect(studio, tmp_path)


@pytest.mark.parametrize("on_error", ["fail", "skip"])
def test_a_label_studio_that_goes_down_in_the_middle_is_no_missing_image(
    studio: LabelledStudio, tmp_path: Path, on_error: str
) -> None:
    """Every image would be gone; leaving all of them out would train on nothing."""
    for one in studio.exported:
        one["data"]["image"] = f"/data/upload/5/{one['id']}.png"
    studio.serves_images = False
    with pytest.raises(StudioError, match=r"Label Studio does not answer at http://127\.0\.0\.1"):
        collect(studio, tmp_path, on_error=on_error)


def test_an_export_that_breaks_off_leaves_the_old_one(studio: LabelledStudio, tmp_path: Path) -> None:
    collect(studio, tmp_path)
    before = (tmp_path / "export.json").read_bytes()

    def fail() -> None:
        raise ConnectionAbortedError

    studio.after_export = fail  # type: ignore[method-assign]
    with pytest.raises(StudioError, match="stopped answering in the middle of GET /api/projects/5/export"):
        collect(studio, tmp_path)
    assert (tmp_path / "export.json").read_bytes() == before
    assert json.loads(before)[0]["id"] == 1


class Seconds:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_project_that_was_deleted_ends_its_training(studio: LabelledStudio) -> None:
    seconds = Seconds()
    with StudioClient(studio.url, LEGACY) as client:
        watch = StillThere(client, 5, clock=seconds)
        watch.phase("train")
        asked = len(studio.asked)
        watch.stepped(step=1, loss=0.5, learning_rate=0.1)
        assert len(studio.asked) == asked, "not at every step"
        gone = StillThere(client, 6, clock=seconds)
        seconds.now += ASK_EVERY
        watch.stepped(step=2, loss=0.5, learning_rate=0.1)
        with pytest.raises(CorrectionsError, match="project 6 was deleted in Label Studio"):
            gone.moved(1, 2)


def test_a_label_studio_that_is_away_for_a_while_ends_no_training() -> None:
    with StudioClient("http://127.0.0.1:9", LEGACY) as client:
        StillThere(client, 5).phase("train")


def test_only_the_project_that_was_trained_is_served_the_new_version(studio: LabelledStudio, tmp_path: Path) -> None:
    """It has two of the three labels; another project goes on with all of them."""
    registry = Registry(tmp_path)
    architecture = Architecture(len(NAMES), "small", head=False)
    common = registry.add(Bundle.create(build_fcn(architecture), architecture, KNOWN))
    registry.promote(common)
    LabelConfigs(tmp_path).remember(6, CONFIG)
    studio.project["label_config"] = CONFIG.replace('<Label value="blue"/>', "")
    for number, one in enumerate(studio.exported, 1):
        one["annotations"][0]["result"] = regions(np.minimum(fields(number), 1), "manual")
    plan = Plan(promote="always", on_error="skip", overrides={"crop": (64, 64), "batch_size": 2, "epochs": 1})
    with StudioClient(studio.url, LEGACY) as client:
        source = StudioProject(client, ImageFetcher(studio.url, LEGACY), 5)
        result = retrain(source, registry, plan)
        assert result.to_json()["project"] == registry.record(result.version).metrics["project"] == 5
        assert [label.name for label in registry.record(result.version).labels.classes] == ["red", "green"]
        assert [registry.serving(project) for project in (None, 5, 6)] == [common, result.version, common]
        # nothing that anybody uses got lost, so the gate did not say so either
        assert "in use" not in result.decision.reason
        # the next training goes on from what the project is served
        again = retrain(source, registry, plan)
    assert (result.parent, again.parent) == (common, result.version)
    assert registry.rollback(project=5) == result.version
    assert registry.rollback(project=5) == common
    assert LabelConfigs(tmp_path).known()[5] == studio.project["label_config"]


def test_what_most_annotators_say_is_learned_on_request(studio: LabelledStudio, tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    architecture = Architecture(len(NAMES), "small", head=False)
    registry.promote(registry.add(Bundle.create(build_fcn(architecture), architecture, KNOWN)))
    second = fields(1).copy()
    second[:32] = (second[:32] + 1) % len(NAMES)
    other = regions(second, "manual")
    studio.exported[0]["annotations"].append(annotation(101, other, completed_by=8))
    arguments = ["--project", "5", "--home", str(tmp_path), "--studio-url", studio.url, "--studio-token", LEGACY]
    arguments += ["--annotations", "majority", "--epochs", "1", "--batch-size", "2", "--json"]
    run = CliRunner().invoke(cli, ["retrain", *arguments])
    assert run.exit_code == 0, run.output
    disputed = f"{32 * 64:,} pixels that annotators disagree about, left without a label"
    assert disputed in json.loads(run.stdout)["notes"]


def test_a_dataset_has_no_several_annotations(tmp_path: Path) -> None:
    write_scenes(tmp_path / "scenes", 3, 0, (64, 64))
    plan = Plan(fresh=True, annotations="majority")
    with pytest.raises(CorrectionsError, match=r"--annotations majority: .*scenes is png, and only Label Studio has"):
        retrain(tmp_path / "scenes", Registry(tmp_path / "home"), plan)
