"""What the real editor makes of our predictions where label configs are not the simplest: aliases, two images, Brush + Labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from PIL import Image

from browser import Person
from maskloop_backend.inference.prediction import Prediction
from maskloop_backend.loop.changes import channels
from maskloop_backend.loop.corrections import from_project
from maskloop_backend.studio.client import StudioClient
from maskloop_backend.studio.images import ImageFetcher
from maskloop_backend.studio.label_config import match, parse
from maskloop_backend.studio.local import LocalStudio
from maskloop_backend.studio.predictions import PredictionOptions, build
from maskloop_converters.samples import LabelSet

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

MODEL = LabelSet.from_names(["sky", "road", "car"], ignore_id=255)
HEIGHT, WIDTH = 60, 80
# the value is what annotators see, the alias what is written; the second image's shapes take their labels from elsewhere
CONFIG = """<View>
  <Image name="left" value="$my.left"/>
  <BrushLabels name="paint" toName="left">
    <Label value="The sky" alias="sky"/><Label value="road"/><Label value="Vehicle" predicted_values="car" alias="v"/>
  </BrushLabels>
  <Image name="right" value="$right"/>
  <Brush name="brush" toName="right"/><Bitmask name="bitmask" toName="right"/>
  <Labels name="labels" toName="right"><Label value="sky"/><Label value="road"/><Label value="car"/></Labels>
</View>"""
_REGIONS = """() => window.Htx.annotationStore.selected.regions.map(
  region => [region.object.name.split('@')[0], region.type, region.labels[0]])"""


def scene(flipped: bool) -> np.ndarray:
    found = np.zeros((HEIGHT, WIDTH), np.uint8)
    found[30:] = 1
    found[35:50, 20:60] = 2
    return found[::-1].copy() if flipped else found


def test_predictions_come_back_from_the_editor_as_they_went_in(
    client: StudioClient, studio: LocalStudio, person: Person, tmp_path: Path
) -> None:
    number = int(client.create_project("label configs", CONFIG)["id"])
    Image.new("RGB", (WIDTH, HEIGHT), "white").save(tmp_path / "white.png")
    # files are uploaded to projects with one image a task only
    uploads = int(
        client.create_project("uploads", CONFIG.replace("$my.left", "$image").replace("$right", "$image"))["id"]
    )
    client.upload(uploads, [tmp_path / "white.png"])
    (uploaded,) = client.task_ids(uploads)
    address = client.task(uploaded)["data"]["image"]
    sure = np.full((HEIGHT, WIDTH), 200, np.uint8)
    predicted = {name: Prediction(scene(name == "right"), sure, 0.8) for name in ("left", "right")}
    mapping = match(parse(CONFIG), MODEL)
    built = orjson.loads(orjson.dumps(build(predicted, mapping, PredictionOptions(), version="v")))
    # Label Studio checks a prediction that is imported more strictly than one that a backend makes
    data = {"my": {"left": address}, "right": address}
    client.add_tasks(number, [{"data": data}])
    (task,) = client.task_ids(number)
    client.request("POST", "/api/predictions/", json={"task": task, **built})

    person.look_at(number, task, regions=6)
    shown = person.page.evaluate(_REGIONS)
    assert shown == [
        ["left", "brushregion", "sky"],
        ["left", "brushregion", "road"],
        ["left", "brushregion", "v"],
        ["right", "brushregion", "sky"],
        ["right", "brushregion", "road"],
        ["right", "brushregion", "car"],
    ]
    person.screenshot(tmp_path / "two-images.png")
    listed = person.page.locator("[class*=outliner-item__title]").all_inner_texts()
    assert {"The sky", "Vehicle"} <= {text.split("\n")[-1] for text in listed}, "annotators read the value"
    person.submit()
    (annotation,) = client.task(task)["annotations"]
    assert unlisted(annotation["result"]) == unlisted(built["result"])

    collected = from_project(client, ImageFetcher(studio.url, studio.token), number, tmp_path / "collected", MODEL)
    assert collected.roles == {f"{task}-left": "accepted", f"{task}-right": "accepted"}
    assert [label.name for label in collected.labels.classes] == ["sky", "road", "car"]
    for sample in collected.samples:
        np.testing.assert_array_equal(channels(sample, collected.labels), scene(sample.id.endswith("right")))


def unlisted(result: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Return what matters of results, whatever their order."""
    return sorted(
        (
            item["id"],
            item["from_name"],
            item["to_name"],
            item["type"],
            item["origin"],
            next((tuple(names) for key, names in item["value"].items() if key.endswith("labels")), ()),
            tuple(item["value"]["rle"]),
        )
        for item in result
    )
