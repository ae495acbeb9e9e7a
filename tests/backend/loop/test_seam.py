"""What is learned of annotations that the editor made: overlaps, several images, aliases, controls that are left alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maskloop_backend.loop.changes import channels
from maskloop_backend.loop.collected import Collected, CorrectionsError
from maskloop_backend.loop.corrections import from_export
from maskloop_converters.samples import LabelSet

from .conftest import NAMES, annotation, fields, picture, regions

KNOWN = LabelSet.from_names(list(NAMES))
SIZE = 64


def labels(**attributes: str) -> str:
    more = {name: attributes.get(name, "") for name in NAMES}
    return "".join(f'<Label value="{name}" {more[name]}/>' for name in NAMES)


def brush(name: str = "tag", to: str = "image", more: str = "", **attributes: str) -> str:
    return f'<BrushLabels name="{name}" toName="{to}" {more}>{labels(**attributes)}</BrushLabels>'


IMAGE = '<Image name="image" value="$image"/>'


def collect(folder: Path, config: str, *tasks: dict[str, Any], **options: Any) -> Collected:
    (folder / "images").mkdir(exist_ok=True)
    for number in range(1, 9):
        Image.fromarray(picture(fields(number), number)).save(folder / "images" / f"{number}.png")
    (folder / "export.json").write_text(json.dumps(tasks))
    if config:
        (folder / "export.label_config.xml").write_text(f"<View>{config}</View>")
    return from_export(folder / "export.json", folder / "work", KNOWN, **options)


def task(number: int, result: list[dict[str, Any]], **data: str) -> dict[str, Any]:
    data = data or {"image": f"/data/upload/1/{number}.png"}
    return {"id": number, "data": data, "annotations": [annotation(number, result)]}


def learned(collected: Collected) -> dict[str, Any]:
    return {sample.id: channels(sample, collected.labels) for sample in collected.samples}


def whole(color: int, mask: Any) -> Any:
    return np.where(mask, color, 255).astype(np.uint8)


LEFT = np.indices((SIZE, SIZE))[1] < 40
RIGHT = np.indices((SIZE, SIZE))[1] >= 24


@pytest.mark.parametrize(
    ("origins", "on_top"),
    [
        (("prediction-changed", "prediction"), 0),  # the one above was extended
        (("prediction", "prediction-changed"), 1),  # the one under was extended: nobody paints to hide it
        (("prediction", "manual"), 1),
        (("manual", "manual"), 0),  # the editor shows the first on top
        (("prediction", "prediction"), 0),
    ],
)
def test_who_has_the_pixels_that_two_claim(tmp_path: Path, origins: tuple[str, str], on_top: int) -> None:
    result = regions(whole(0, LEFT), origins[0]) + regions(whole(1, RIGHT), origins[1])
    collected = collect(tmp_path, IMAGE + brush(), task(1, result))
    both = LEFT & RIGHT
    assert set(np.unique(learned(collected)["1"][both])) == {on_top}
    assert learned(collected)["1"][0, 0] == 0
    hidden = [note for note in collected.notes if "drawn pixels lie under" in note]
    assert bool(hidden) == (origins == ("manual", "manual"))
    if hidden:
        assert hidden[0].startswith(f"{both.sum()} drawn pixels lie under other drawn regions")
        assert f"1: {both.sum()} of green under red" in hidden[0]


def test_boxes_of_click_tools_that_were_submitted_do_not_overwrite_masks(tmp_path: Path) -> None:
    """31.5 % of the pixels were learned as the boxes' labels."""
    config = IMAGE + brush() + f'<RectangleLabels name="box" toName="image">{labels()}</RectangleLabels>'
    truth = fields(3)
    boxes = [
        {
            **item,
            "id": f"box{k}",
            "from_name": "box",
            "type": "rectanglelabels",
            "value": {"x": 0, "y": 0, "width": 100, "height": 100, "rectanglelabels": item["value"]["brushlabels"]},
        }
        for k, item in enumerate(regions(truth, "prediction"))
    ]
    collected = collect(tmp_path, config, task(3, boxes + regions(truth, "prediction")))
    np.testing.assert_array_equal(learned(collected)["3"], truth)
    assert collected.skipped.counts == {"rectangles round what has a mask of the same label": len(boxes)}


def test_a_control_with_model_skip_is_not_learned(tmp_path: Path) -> None:
    config = IMAGE + brush() + brush("notes", more='model_skip="true"').replace("blue", "damage")
    truth = fields(3)
    notes = [{**item, "from_name": "notes", "id": f"n{item['id']}"} for item in regions(whole(0, LEFT), "manual")]
    collected = collect(tmp_path, config, task(3, notes + regions(truth, "manual")))
    np.testing.assert_array_equal(learned(collected)["3"], truth)
    assert [label.name for label in collected.labels.classes] == list(NAMES)
    assert collected.skipped.counts == {"regions of notes, left alone (model_skip)": 1}


def test_each_image_is_a_sample_of_its_own(tmp_path: Path) -> None:
    config = (
        '<Image name="left" value="$a"/><Image name="right" value="$b"/>' + brush("one", "left") + brush("two", "right")
    )
    data = {"a": "/data/upload/1/1.png", "b": "/data/upload/1/2.png"}
    left = [{**item, "to_name": "left", "from_name": "one"} for item in regions(fields(1), "prediction-changed", "l")]
    right = [{**item, "to_name": "right", "from_name": "two"} for item in regions(fields(2), "prediction", "r")]
    made = task(1, left + right, **data)
    made["annotations"][0] |= {"parent_prediction": 5, "prediction": {"result": left + right}}
    only_left = task(2, [{**item, "id": f"x{item['id']}"} for item in left], **data)
    collected = collect(tmp_path, config, made, only_left)
    assert collected.roles == {"1-left": "corrected", "1-right": "accepted", "2-left": "corrected"}
    found = learned(collected)
    np.testing.assert_array_equal(found["1-left"], fields(1))
    np.testing.assert_array_equal(found["1-right"], fields(2))
    assert {s.id: s.image.name for s in collected.samples} == {"1-left": "1.png", "1-right": "2.png", "2-left": "1.png"}
    assert set(collected.predictions) == {"1-left", "1-right"}
    before = channels(collected.predictions["1-right"], collected.labels)
    np.testing.assert_array_equal(before, fields(2))
    assert collected.skipped.counts == {"images without a region": 1}
    # one scene: held out together
    assert [collected.task(sample) for sample in collected.samples] == ["1", "1", "2"]


def test_two_images_without_a_label_config_need_one_unless_data_tells(tmp_path: Path) -> None:
    left = [{**item, "to_name": "left"} for item in regions(fields(1), "manual", "l")]
    right = [{**item, "to_name": "right"} for item in regions(fields(2), "manual", "r")]
    first, second = "/data/upload/1/1.png", "/data/upload/1/2.png"
    collected = collect(tmp_path, "", task(1, left + right, left=first, right=second))
    np.testing.assert_array_equal(learned(collected)["1-right"], fields(2))
    with pytest.raises(CorrectionsError, match=r"regions are on left, right.*label_config\.xml"):
        collect(tmp_path, "", task(1, left + right, image=first, other=second))


def test_value_and_alias_are_one_label(tmp_path: Path) -> None:
    """What was drawn before the alias came has the value; the editor shows both alike."""
    config = IMAGE + brush(red='alias="r"')
    aliased = [
        {
            **item,
            "value": {**item["value"], "brushlabels": ["r" if n == "red" else n for n in item["value"]["brushlabels"]]},
        }
        for item in regions(fields(1), "manual")
    ]
    collected = collect(tmp_path, config, task(1, aliased), task(2, regions(fields(2), "manual")))
    assert [label.name for label in collected.labels.classes] == list(NAMES), "as the model calls it"
    found = learned(collected)
    np.testing.assert_array_equal(found["1"], fields(1))
    np.testing.assert_array_equal(found["2"], fields(2))


def test_two_labels_that_stand_for_one_class_are_one(tmp_path: Path) -> None:
    """The same thing is called otherwise on the other image."""
    config = '<Image name="left" value="$a"/><Image name="right" value="$b"/>' + brush("one", "left")
    config += brush("two", "right").replace('value="red"', 'value="Rot" predicted_values="red" alias="r"')
    data = {"a": "/data/upload/1/1.png", "b": "/data/upload/1/2.png"}
    left = [{**item, "to_name": "left", "from_name": "one"} for item in regions(fields(1), "manual", "l")]
    right = [{**item, "to_name": "right", "from_name": "two"} for item in regions(fields(2), "manual", "r")]
    for item in right:
        item["value"]["brushlabels"] = ["r" if name == "red" else name for name in item["value"]["brushlabels"]]
    collected = collect(tmp_path, config, task(1, left + right, **data))
    assert [label.name for label in collected.labels.classes] == list(NAMES)
    assert "labels red, r are learned as one class, red" in collected.notes
    found = learned(collected)
    np.testing.assert_array_equal(found["1-left"], fields(1))
    np.testing.assert_array_equal(found["1-right"], fields(2))


def test_a_label_that_the_config_lost_is_not_taken_for_the_class_of_its_name(tmp_path: Path) -> None:
    config = IMAGE + brush().replace('value="red"', 'value="Rot" predicted_values="red"')
    with pytest.raises(CorrectionsError, match="labels that its label config does not have: red"):
        collect(tmp_path, config, task(1, regions(np.where(LEFT, 0, 1), "manual")))
    collected = collect(tmp_path, config, task(1, regions(np.where(LEFT, 0, 1), "manual")), on_error="skip")
    assert 0 not in learned(collected)["1"]
    assert collected.skipped.counts["labels that the label config does not have"] == 1


def test_addresses_that_lie_deeper(tmp_path: Path) -> None:
    made = task(1, regions(fields(1), "manual"))
    made["data"] = {"my": {"image": "/data/upload/1/1.png"}}
    collected = collect(tmp_path, '<Image name="image" value="$my.image"/>' + brush(), made)
    np.testing.assert_array_equal(learned(collected)["1"], fields(1))


@pytest.mark.parametrize(
    "config", ['<Image name="image" valueList="$pages"/>', '<Image name="image" value="fixed.png"/>']
)
def test_what_cannot_be_learned_is_refused(tmp_path: Path, config: str) -> None:
    with pytest.raises(ValueError, match="Label config: Image image has"):
        collect(tmp_path, config + brush(), task(1, regions(fields(1), "manual")))
