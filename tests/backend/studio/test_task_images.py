"""A project's images labelled into a dataset: its own tasks, named as an export's, and the project stays as it is."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from maskloop_backend.cli.main import cli
from maskloop_backend.model.bundle import Bundle
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.fcn import build_fcn
from maskloop_backend.registry import Registry
from maskloop_converters import datasets
from maskloop_converters.samples import LabelSet

from .studio import LEGACY, FakeStudio


def picture(bright: int) -> bytes:
    array = np.zeros((20, 30, 3), np.uint8)
    array[:, :bright] = 255
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return out.getvalue()


def uri(bright: int) -> str:
    return "data:image/png;base64," + base64.b64encode(picture(bright)).decode()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("home")
    keras.utils.set_random_seed(1)
    architecture = Architecture(2, "small", head=False)
    registry = Registry(directory)
    labels = LabelSet.from_names(["road", "car"])
    registry.promote(registry.add(Bundle.create(build_fcn(architecture), architecture, labels)))
    return directory


Label = Callable[..., Result]


@pytest.fixture
def label(
    studio: FakeStudio, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Result]]:
    monkeypatch.chdir(tmp_path)
    studio.tasks = [1, 2, 5, 7, 30]
    studio.images = {task: uri(task % 29) for task in studio.tasks}
    studio.predictions = []
    fixed = ["--runtime", "keras", "--precision", "float32", "--home", str(home), "--quiet", "--json"]
    fixed += ["--studio-url", studio.url, "--studio-token", LEGACY]

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, ["label", *arguments, *fixed])

    yield run
    assert studio.predictions == [], "the project is only read"


def test_its_images_come_out_with_masks_and_a_second_time_adds_the_new_ones(
    label: Label, studio: FakeStudio, tmp_path: Path
) -> None:
    done = label("project:5", "masks", "--to", "png", "--shard-images", "2")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["labelled_now"] == 5
    found = {sample.id: sample for sample in datasets.read(tmp_path / "masks")}
    assert list(found) == ["1", "2", "5", "7", "30"]
    for task, sample in found.items():
        assert sample.image.read_bytes() == picture(int(task) % 29)
        assert sample.label_map(LabelSet.from_names(["road", "car"])).shape == (20, 30)
    studio.tasks.append(31)
    studio.images[31] = uri(4)
    again = json.loads(label("project:5", "masks", "--to", "png", "--shard-images", "2").stdout)
    assert (again["labelled_now"], again["labelled"]) == (1, 6)


def test_images_out_of_reach_are_in_the_report_and_come_when_they_are_there(
    label: Label, studio: FakeStudio, tmp_path: Path
) -> None:
    studio.images[2], studio.images[5] = "data:image/png;base64,AAAA", ""
    done = label("project:5", "masks", "--to", "coco")
    assert done.exit_code == 1
    report = json.loads((tmp_path / "masks/_maskloop/report.json").read_text())
    assert {failure["name"] for failure in report["failures"]} == {"2", "5"}
    assert "AAAA" not in done.output
    studio.images[5] = uri(5)
    assert json.loads(label("project:5", "masks", "--to", "coco").stdout)["labelled"] == 4


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("project:5", "masks"), "say with --to"),
        (("project:5", "masks", "--to", "png", "--replace"), "leave DEST or --replace out"),
        (("project:5", "project:6", "--to", "png"), "import the images into it first"),
    ],
)
def test_wrong_usage_is_one_clear_line(label: Label, arguments: Any, says: str) -> None:
    done = label(*arguments)
    assert (done.exit_code, says in " ".join(done.output.split())) == (2, True), done.output
    assert not Path("masks").exists()


def test_a_project_without_tasks_is_said(label: Label, studio: FakeStudio) -> None:
    studio.tasks = []
    done = label("project:5", "masks", "--to", "png")
    assert (done.exit_code, "project 5 has no task" in done.output) == (1, True), done.output
