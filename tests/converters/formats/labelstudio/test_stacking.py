"""Which region has a pixel that several claim: what Label Studio's editor shows, and where a person's work beats it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskloop_converters.codecs import studio_rle
from maskloop_converters.formats import labelstudio
from maskloop_converters.formats.labelstudio import stacking
from maskloop_converters.masks import RunList
from maskloop_converters.samples import Dataset, ImageRef, LabelSet, Origin, Region, Sample

HEIGHT, WIDTH = 4, 6
WIDE = np.zeros((HEIGHT, WIDTH), bool)
WIDE[1:3, :4] = True  # 8 pixels
TALL = np.zeros((HEIGHT, WIDTH), bool)
TALL[:, 2:4] = True  # 8 pixels, 4 of them in WIDE
APART = np.zeros((HEIGHT, WIDTH), bool)
APART[:, 5] = True

SKY, ROAD, CAR = range(3)
LABELS = LabelSet.from_names(["sky", "road", "car"], ignore_id=255)


def runs(*masks: Any) -> RunList:
    return RunList.from_masks(masks, height=HEIGHT, width=WIDTH)


def region(label: int, origin: Origin | None = "manual", kind: str = "brushlabels") -> Region:
    facts = {} if kind == "brushlabels" else {"labelstudio": {"type": kind}}
    return Region(label, id=f"r{label}", origin=origin, attributes=facts)


@pytest.mark.parametrize(
    ("listed", "on_top"),
    [
        # The editor's own order: the first of the list is on top.
        (["manual", "manual"], 0),
        (["prediction", "prediction"], 0),
        (["prediction-changed", "prediction"], 0),
        (["manual", "prediction"], 0),
        ([None, None], 0),
        # What a person drew or changed is never under a prediction that nobody touched.
        (["prediction", "prediction-changed"], 1),
        (["prediction", "manual"], 1),
        (["prediction", None], 1),
    ],
)
def test_who_has_the_pixels_that_two_claim(listed: list[Origin | None], on_top: int) -> None:
    regions = [region(label, origin) for label, origin in enumerate(listed)]
    order = stacking.drawing_order(regions, runs(WIDE, TALL))
    assert order[-1] == on_top
    assert sorted(order) == [0, 1]


BRUSH, POLYGON, BOX, BITMASK = "brushlabels", "polygonlabels", "rectanglelabels", "bitmasklabels"


@pytest.mark.parametrize(
    ("listed", "bottom_first"),
    [
        # seen in the editor, each arrangement opened twice (tests/e2e/test_overlaps.py does it again)
        ((BRUSH, BRUSH, BRUSH), [2, 1, 0]),
        ((BITMASK, BITMASK, BITMASK), [2, 1, 0]),
        ((POLYGON, BOX, POLYGON), [2, 1, 0]),
        ((BRUSH, BITMASK, POLYGON), [0, 2, 1]),
        ((BITMASK, BRUSH, BOX), [1, 2, 0]),
        ((POLYGON, BRUSH, BITMASK), [1, 0, 2]),
        ((BOX, POLYGON, BRUSH), [2, 1, 0]),
        (("labels", "ellipselabels", "bitmask"), [0, 1, 2]),
    ],
)
def test_brushes_lie_below_outlines_and_bitmasks_on_top(listed: tuple[str, ...], bottom_first: list[int]) -> None:
    regions = [region(label, kind=kind) for label, kind in enumerate(listed)]
    assert stacking.drawing_order(regions, runs(WIDE, TALL, WIDE)) == bottom_first
    assert stacking.drawing_order(regions, runs(WIDE, TALL, WIDE), [BRUSH] * 3) == [2, 1, 0], "what is drawn counts"


def test_what_was_drawn_is_not_under_an_untouched_bitmask() -> None:
    regions = [region(SKY, "manual"), region(ROAD, "prediction", BITMASK)]
    assert stacking.drawing_order(regions, runs(WIDE, TALL)) == [1, 0]
    assert stacking.drawing_order([region(SKY), region(ROAD, "prediction-changed", BITMASK)], runs(WIDE, TALL)) == [
        0,
        1,
    ]


def test_an_order_that_changes_no_pixel_stays_that_of_the_list() -> None:
    regions = [region(SKY, "prediction"), region(ROAD), region(CAR, "prediction-changed")]
    assert stacking.drawing_order(regions[:2], runs(WIDE, APART)) == [0, 1]
    assert stacking.listing_order(runs(WIDE, APART)) == [0, 1]
    # What is drawn and what is not do not meet: the editor's order holds for the rest.
    masks = runs(APART, WIDE, TALL)
    assert stacking.drawing_order(regions, masks) == [2, 1, 0]
    assert stacking.drawing_order(regions[::-1], masks) == [0, 1, 2][::-1]


def test_among_equals_the_order_of_the_editor_holds() -> None:
    regions = [region(0, "prediction"), region(1), region(2, "prediction"), region(3, "prediction-changed")]
    assert stacking.drawing_order(regions, runs(WIDE, TALL, WIDE, TALL)) == [2, 0, 3, 1]


def test_pixels_that_another_label_hides_are_counted_by_label() -> None:
    assert stacking.hidden_pixels([region(SKY), region(ROAD)], runs(WIDE, TALL)) == {SKY: 4}
    assert stacking.hidden_pixels([region(SKY), region(SKY)], runs(WIDE, TALL)) == {}
    assert stacking.hidden_pixels([region(SKY), region(ROAD)], runs(WIDE, APART)) == {}
    assert stacking.hidden_pixels([], runs()) == {}
    both = [region(SKY), region(ROAD), region(CAR)]
    assert stacking.hidden_pixels(both, runs(WIDE, TALL, np.ones((HEIGHT, WIDTH)))) == {SKY: 8, ROAD: 8}


@pytest.mark.parametrize(
    ("label", "kind", "mask", "outdone"),
    [
        (ROAD, "brushlabels", WIDE, [0]),
        (ROAD, "bitmasklabels", WIDE, [0]),
        (ROAD, "polygonlabels", WIDE, [0]),
        (ROAD, "rectanglelabels", WIDE, []),  # two boxes of the label: nothing says more than they do
        (ROAD, "brushlabels", APART, []),  # another object of the label, or one that has a box alone
        (SKY, "brushlabels", WIDE, []),  # another label's mask says nothing of this one
    ],
)
def test_a_rectangle_is_outdone_by_a_mask_of_its_label(label: int, kind: str, mask: Any, outdone: list[int]) -> None:
    regions = [region(ROAD, kind="rectanglelabels"), region(label, kind=kind)]
    assert stacking.outdone_rectangles(regions, runs(TALL, mask)) == outdone


def result(label: str, mask: Any, origin: str | None, region_id: str) -> dict[str, Any]:
    (stream,) = studio_rle.encode(runs(mask))
    size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    value = {"format": "rle", "rle": list(stream), "brushlabels": [label]}
    names = {"from_name": "tag", "to_name": "image", "type": "brushlabels", "origin": origin}
    return {"id": region_id, **names, **size, "value": value}


def exported(path: Path, *results: Any) -> Path:
    record = {"id": 1, "data": {"image": "/data/upload/1/0a1b2c3d-a.png"}}
    path.write_text(json.dumps([{**record, "annotations": [{"id": 7, "result": list(results)}]}]))
    return path


def test_a_label_map_has_what_the_annotator_painted(tmp_path: Path) -> None:
    """Sky, first in the list, is extended over road: the editor shows sky there, and so does the label map."""
    for name, origins in (("above", ("prediction-changed", "prediction")), ("under", ("prediction", "manual"))):
        results = (result("sky", WIDE, origins[0], "s"), result("road", TALL, origins[1], "r"))
        (sample,) = labelstudio.read(exported(tmp_path / f"{name}.json", *results), labels=LABELS)
        expected = np.full((HEIGHT, WIDTH), 255)
        expected[TALL], expected[WIDE] = ROAD, SKY
        if name == "under":
            expected[TALL] = ROAD
        assert np.array_equal(sample.label_map(LABELS), expected)


def test_a_box_that_was_submitted_with_its_mask_is_left_out_and_counted(tmp_path: Path) -> None:
    box = result("road", TALL, "prediction", "box")
    box |= {"type": "rectanglelabels", "from_name": "box"}
    box["value"] = {"x": 0, "y": 0, "width": 100, "height": 100, "rotation": 0, "rectanglelabels": ["road"]}
    dataset = labelstudio.read(exported(tmp_path / "a.json", result("road", TALL, "prediction", "r"), box))
    (sample,) = dataset
    assert [one.id for one in sample.regions] == ["r"]
    assert dataset.skipped.counts == {"rectangles round what has a mask of the same label": 1}


@pytest.mark.parametrize("origins", [("manual", "prediction"), ("prediction", "manual"), (None, None)])
def test_written_regions_are_read_in_the_order_that_they_had(tmp_path: Path, origins: Any) -> None:
    """Whatever the origins say: a prediction that lies over what was drawn, in another tool's file, stays there."""
    regions = [Region(label, id=f"r{label}", origin=origins[label]) for label in range(2)]
    sample = Sample("1", ImageRef("a.png"), runs(WIDE, TALL), tuple(regions))
    labelstudio.write(Dataset(LABELS, [sample]), tmp_path / "out")
    (task,) = json.loads((tmp_path / "out" / "tasks.json").read_text())
    assert [one["id"] for one in task["annotations"][0]["result"]] == ["r1", "r0"]  # the one on top comes first
    (again,) = labelstudio.read(tmp_path / "out")
    assert [one.id for one in again.regions] == ["r0", "r1"]
    # An annotator who extends what is under the prediction has it on top.
    task["annotations"][0]["result"][1]["value"]["rle"] = result("sky", np.ones((HEIGHT, WIDTH)), None, "")["value"][
        "rle"
    ]
    (tmp_path / "out" / "tasks.json").write_text(json.dumps([task]))
    (again,) = labelstudio.read(tmp_path / "out")
    assert [one.id for one in again.regions] == (["r1", "r0"] if origins == ("manual", "prediction") else ["r0", "r1"])
