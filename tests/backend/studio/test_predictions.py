from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from label_studio_sdk.converter.brush import decode_rle

from maskloop_backend.inference.prediction import Prediction
from maskloop_backend.studio.label_config import LabelMapping, match, parse
from maskloop_backend.studio.predictions import PredictionOptions, build, polygons
from maskloop_converters.codecs import png
from maskloop_converters.errors import DataError
from maskloop_converters.samples import LabelSet

MODEL = LabelSet.from_names(["sky", "road", "car"])
RECORDED = Path(__file__).parents[2] / "fixtures" / "label-studio"


def mapping(tag: str = "BrushLabels", labels: tuple[str, ...] = ("road", "car"), attributes: str = "") -> LabelMapping:
    listed = "".join(f'<Label value="{name}"/>' for name in labels)
    xml = f'<View><Image name="image" value="$image"/><{tag} name="tag" toName="image" {attributes}>{listed}</{tag}></View>'
    return match(parse(xml), MODEL)


def scene() -> Prediction:
    label_map = np.zeros((24, 32), np.uint8)
    label_map[12:] = 1
    label_map[14:20, 4:12] = 2
    label_map[16:18, 6:8] = 1  # a hole
    label_map[14:20, 20:30] = 2
    confidence = np.where(label_map == 2, 128, 230).astype(np.uint8)
    return Prediction(label_map, confidence, 0.75)


def result(prediction: Prediction, mapped: LabelMapping, **options: Any) -> list[dict[str, Any]]:
    context = options.pop("context", None)
    built = build({"image": prediction}, mapped, PredictionOptions(**options), version="v1", context=context)
    items: list[dict[str, Any]] = json.loads(orjson.dumps(built))["result"]
    return items


def test_brush_regions_are_the_label_map_in_the_form_that_label_studio_stores() -> None:
    items = result(scene(), mapping())
    recorded = json.loads((RECORDED / "predict_single_open_task.json").read_text())
    accepted = recorded["response_that_was_accepted"]["body"]["results"][0]["result"][0]
    for item, (name, k) in zip(items, [("road", 1), ("car", 2)], strict=True):
        assert set(item) == set(accepted)
        assert item["value"]["brushlabels"] == [name]
        rgba = decode_rle(item["value"]["rle"]).reshape(24, 32, 4)
        np.testing.assert_array_equal(rgba[..., 3], np.where(scene().label_map == k, 255, 0))
    assert items[1]["score"] == pytest.approx(128 / 255, abs=1e-4)


def test_components_have_ids_of_their_own_and_small_ones_can_be_left_out() -> None:
    items = result(scene(), mapping(), per="component")
    assert len(items) == 4, "the road, the road seen through the car, two cars"
    assert len({item["id"] for item in items}) == 4
    assert len(result(scene(), mapping(), per="component", min_area=5)) == 3


def test_ids_differ_between_versions_and_repeat_within_one() -> None:
    ids = [
        [item["id"] for item in build({"image": scene()}, mapping(), PredictionOptions(), version=version)["result"]]
        for version in ("v1", "v1", "v2")
    ]
    assert ids[0] == ids[1]
    assert not set(ids[0]) & set(ids[2])


def test_regions_below_the_score_threshold_are_not_filled() -> None:
    items = result(scene(), mapping(attributes='model_score_threshold="0.6"'))
    assert [item["value"]["brushlabels"] for item in items] == [["road"]]


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -0.1, 1.5])
def test_the_score_is_always_a_number_between_0_and_1(score: float) -> None:
    prediction = Prediction(scene().label_map, scene().confidence, score)
    assert 0 <= build({"image": prediction}, mapping(), PredictionOptions(), version="v")["score"] <= 1


def test_no_class_present_gives_no_region() -> None:
    empty = Prediction(np.zeros((5, 5), np.uint8), np.full((5, 5), 255, np.uint8), 1.0)
    assert result(empty, mapping()) == []


def test_bitmask_regions_are_pngs_whose_alpha_is_the_mask() -> None:
    items = result(scene(), mapping("BitmaskLabels"))
    for item, k in zip(items, (1, 2), strict=True):
        head, data = item["value"]["imageDataURL"].split(",")
        assert head == "data:image/png;base64"
        rgba = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(rgba[..., 3] > 127, scene().label_map == k)
        assert png.read(base64.b64decode(data))


def test_rectangles_bound_each_component_in_percent() -> None:
    items = result(scene(), mapping("RectangleLabels", ("car",)))
    boxes = [[item["value"][key] for key in ("x", "y", "width", "height", "rotation")] for item in items]
    assert boxes == [
        [100 * 4 / 32, 100 * 14 / 24, 100 * 8 / 32, 25.0, 0],
        [100 * 20 / 32, 100 * 14 / 24, 100 * 10 / 32, 25.0, 0],
    ]


def filled(points: list[list[list[float]]], height: int, width: int) -> np.ndarray:
    """Rasterise polygons sixteen times finer, then take the pixels that are covered by half."""
    fine = np.zeros((height * 16, width * 16), np.uint8)
    for ring in points:
        corners = np.array(ring) / 100 * [width * 16, height * 16]
        cv2.fillPoly(fine, [np.round(corners).astype(np.int32)], 1)
    return fine.reshape(height, 16, width, 16).mean((1, 3)) > 0.5


def test_polygons_keep_holes_and_stay_near_the_mask() -> None:
    yy, xx = np.indices((120, 160))
    disc = (yy - 60) ** 2 + (xx - 70) ** 2 < 45**2
    disc &= (yy - 50) ** 2 + (xx - 60) ** 2 > 12**2
    disc |= xx > 150
    rings = polygons(disc)
    assert len(rings) == 2
    again = filled(rings, 120, 160)
    assert (again & disc).sum() / (again | disc).sum() > 0.96
    assert not again[50, 60], "the hole is a hole"


@settings(max_examples=40)
@given(hnp.arrays(bool, (9, 11), elements=st.booleans()))
def test_every_polygon_has_an_area_and_lies_in_the_image(mask: np.ndarray) -> None:
    for ring in polygons(mask):
        assert len(ring) >= 3
        assert np.min(ring) >= 0
        assert np.max(ring) <= 100
    assert bool(polygons(mask)) == mask.any()


def click(x: int, y: int, label: str = "car", positive: bool | None = None) -> dict[str, Any]:
    item: dict[str, Any] = {
        "type": "keypointlabels",
        "value": {"x": (x + 0.5) * 100 / 32, "y": (y + 0.5) * 100 / 24, "width": 0.3, "keypointlabels": [label]},
    }
    return item if positive is None else {**item, "is_positive": positive}


def selected(*items: dict[str, Any]) -> tuple[np.ndarray, str] | None:
    found = result(scene(), mapping(), context={"result": list(items)})
    if not found:
        return None
    (item,) = found
    return decode_rle(item["value"]["rle"]).reshape(24, 32, 4)[..., 3] > 127, item["value"]["brushlabels"][0]


def test_a_click_takes_the_component_under_it() -> None:
    found = selected(click(5, 15))
    assert found is not None
    expected = scene().label_map == 2
    expected[:, 16:] = False
    np.testing.assert_array_equal(found[0], expected)
    assert found[1] == "car"


def test_clicks_add_up_and_negative_ones_take_away() -> None:
    both = selected(click(5, 15), click(25, 15, positive=True))
    assert both is not None
    np.testing.assert_array_equal(both[0], scene().label_map == 2)
    one = selected(click(5, 15, positive=False), click(5, 15), click(25, 15))
    assert one is not None
    assert not one[0][:, :16].any()


def test_a_click_on_another_class_gives_that_part_the_annotators_label() -> None:
    found = selected(click(1, 1, label="road"))
    assert found is not None
    np.testing.assert_array_equal(found[0], scene().label_map == 0)
    assert found[1] == "road"


def box(x: float, y: float, width: float, height: float, **more: Any) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": 0, "rectanglelabels": ["car"], **more}
    return {"type": "rectanglelabels", "value": value}


def test_a_box_takes_the_label_inside_it_only() -> None:
    found = selected(box(50, 0, 50, 100))
    assert found is not None
    expected = scene().label_map == 2
    expected[:, :16] = False
    np.testing.assert_array_equal(found[0], expected)
    assert selected(box(0, 0, 100, 40)) is None, "there is no car in the sky"


def test_a_rotated_box_turns_round_its_upper_left_corner() -> None:
    # turned by 90 degrees clockwise round (100 %, 0): it covers the right half
    found = selected(box(100, 0, 24 / 32 * 100, 16 / 24 * 100, rotation=90))
    assert found is not None
    assert not found[0][:, :16].any()
    assert found[0].any()


@pytest.mark.parametrize(
    "context",
    [
        {},
        {"result": "x"},
        {"result": [1]},
        {"result": [{"type": "keypointlabels", "value": {"keypointlabels": ["car"]}}]},
        {"result": [box(0, 0, 50, 50, rotation="x")]},
        {"result": [box(0, 0, 50, 50, rotation=float("inf"))]},
    ],
)
def test_malformed_contexts_are_errors(context: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"params\.context"):
        result(scene(), mapping(), context=context)


@pytest.mark.parametrize("kind", ["keypoints", "rectangle"])
def test_recorded_requests_of_the_editor_are_understood(kind: str) -> None:
    body = json.loads((RECORDED / f"predict_interactive_{kind}.json").read_text())["request"]["body"]
    mapped = match(parse(body["label_config"]), MODEL)
    whole = Prediction(np.full((240, 320), 2, np.uint8), np.full((240, 320), 200, np.uint8), 0.8)
    items = result(whole, mapped, context=body["params"]["context"])
    if kind == "keypoints":
        assert items == [], "the second, negative click takes the only part away"
    else:
        rgba = decode_rle(items[0]["value"]["rle"]).reshape(240, 320, 4)
        ys, xs = np.nonzero(rgba[..., 3])
        assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == (32, 48, 96, 96)


@pytest.mark.parametrize(
    "item", [{"type": None}, {"type": 1, "value": 2}, {"type": "keypointlabels", "value": {"keypointlabels": 3}}]
)
def test_odd_items_of_a_context_mean_nothing(item: dict[str, Any]) -> None:
    assert selected(item) is None


def test_a_click_far_outside_is_one_at_the_border() -> None:
    far = click(0, 0)
    far["value"] |= {"x": 1e308, "y": -1e308}
    found = selected(far)
    assert found is not None
    assert found[0][0, -1]


def test_answers_to_clicks_never_share_an_id() -> None:
    # the editor gives a second region of the same id the first one's mask
    context = {"result": [click(5, 15)]}
    whole = result(scene(), mapping())
    answers = [result(scene(), mapping(), context=context)[0] for _ in range(3)]
    ids = [item["id"] for item in (*whole, *answers)]
    assert len(set(ids)) == len(ids)


LISTED = '<Label value="road"/><Label value="car"/>'
CLICK_TOOLS = f"""<View><Image name="image" value="$image"/>
  <RectangleLabels name="box" toName="image" smart="true">{LISTED}</RectangleLabels>
  <BrushLabels name="brush" toName="image">{LISTED}</BrushLabels>
  <PolygonLabels name="line" toName="image">{LISTED}</PolygonLabels>
  <KeyPointLabels name="point" toName="image" smart="true">{LISTED}</KeyPointLabels></View>"""


def test_of_controls_with_the_same_labels_one_is_pre_filled() -> None:
    mapped = match(parse(CLICK_TOOLS), MODEL)
    assert {item["from_name"] for item in result(scene(), mapped)} == {"brush"}
    assert mapped.notes == (
        "PolygonLabels line is not pre-filled: BrushLabels brush has the same labels and is",
        "RectangleLabels box is not pre-filled: BrushLabels brush has the same labels and is",
    )


def test_a_class_that_only_the_lesser_control_has_is_pre_filled_there() -> None:
    xml = CLICK_TOOLS.replace(
        f'<BrushLabels name="brush" toName="image">{LISTED}',
        '<BrushLabels name="brush" toName="image"><Label value="road"/>',
    )
    mapped = match(parse(xml), MODEL)
    items = result(scene(), mapped)
    assert {(item["from_name"], *item["value"][item["type"]]) for item in items} == {("brush", "road"), ("line", "car")}
    assert (
        "PolygonLabels line is not pre-filled with road: BrushLabels brush has the same labels and is" in mapped.notes
    )


@pytest.mark.parametrize(
    ("item", "skip", "kind"),
    [
        ({**click(5, 15), "from_name": "point"}, False, "brushlabels"),
        ({**click(5, 15), "from_name": "point"}, True, "brushlabels"),
        ("box", False, "rectanglelabels"),
        ("box", True, "brushlabels"),
        ("line", False, "polygonlabels"),
    ],
)
def test_a_smart_tool_answers_in_the_kind_that_was_selected_else_with_a_mask(item: Any, skip: bool, kind: str) -> None:
    """A point asks for a mask, though a RectangleLabels with its label stands first."""
    mapped = match(
        parse(CLICK_TOOLS.replace('smart="true">', 'smart="true" model_skip="true">' if skip else 'smart="true">', 1)),
        MODEL,
    )
    if isinstance(item, str):
        name = item
        item = {**box(0, 0, 50, 100), "from_name": name}
        if name == "line":
            item = {**click(5, 15), "from_name": "line"}
    (answer,) = result(scene(), mapped, context={"result": [{**item, "to_name": "image"}]})
    assert answer["type"] == kind
    assert answer["value"][kind] == ["car"]
    if kind == "rectanglelabels":
        assert [answer["value"][key] for key in ("x", "width")] == [100 * 4 / 32, 100 * 8 / 32], "the box is tight"


def test_a_brush_whose_labels_stand_apart_has_two_results_of_one_id() -> None:
    labels = f'<Labels name="l" toName="image">{LISTED}</Labels>'
    xml = f'<View><Image name="image" value="$image"/><Brush name="b" toName="image"/>{labels}</View>'
    items = result(scene(), match(parse(xml), MODEL))
    assert [(item["from_name"], item["type"]) for item in items] == [("b", "brush"), ("l", "labels")] * 2
    assert [item["id"] for item in items[::2]] == [item["id"] for item in items[1::2]]
    assert [item["value"]["labels"] for item in items[1::2]] == [["road"], ["car"]]
    assert all(item["value"]["rle"] for item in items)
    assert "labels" not in items[0]["value"]


def test_each_image_of_a_task_has_its_own_masks_and_the_least_sure_one_the_score() -> None:
    xml = f"""<View><Image name="left" value="$a"/><Image name="right" value="$b"/>
      <BrushLabels name="one" toName="left">{LISTED}</BrushLabels>
      <BitmaskLabels name="two" toName="right">{LISTED}</BitmaskLabels></View>"""
    mapped = match(parse(xml), MODEL)
    other = Prediction(np.full((7, 9), 2, np.uint8), np.full((7, 9), 90, np.uint8), 0.25)
    built = build({"left": scene(), "right": other}, mapped, PredictionOptions(), version="v")
    assert built["score"] == 0.25
    assert [(item["to_name"], item["type"], item["original_width"]) for item in built["result"]] == [
        ("left", "brushlabels", 32),
        ("left", "brushlabels", 32),
        ("right", "bitmasklabels", 9),
    ]
    assert len({item["id"] for item in built["result"]}) == 3
    only = build({"left": scene()}, mapped, PredictionOptions(), version="v")
    assert {item["to_name"] for item in only["result"]} == {"left"}
    asked = {**click(1, 1), "to_name": "right"}
    answer = build(
        {"left": scene(), "right": other}, mapped, PredictionOptions(), version="v", context={"result": [asked]}
    )
    assert [item["to_name"] for item in answer["result"]] == ["right"]


def test_ids_tell_for_which_label_config_a_prediction_was_made() -> None:
    xml = CLICK_TOOLS
    config = parse(xml)
    items = result(scene(), match(config, MODEL))
    assert all(item["id"].startswith(f"{config.mark}-") for item in items)
    same = xml.replace('value="car"', 'value="car" background="#ff0000" hotkey="c"').replace(
        "<View>", "<View><Header value='x'/>"
    )
    assert parse(same).mark == config.mark
    changes = (
        ('value="car"', 'value="lorry"'),
        ('value="car"', 'value="car" predicted_values="sky"'),
        ('value="car"', 'value="car" alias="c"'),
        ('"$image"', '"$picture"'),
        ('name="brush"', 'name="paint"'),
        ('name="brush"', 'name="brush" model_skip="true"'),
        ('name="brush"', 'name="brush" model_score_threshold="0.5"'),
        ("BrushLabels", "BitmaskLabels"),
    )
    marks = {parse(xml.replace(*change)).mark for change in changes} | {config.mark}
    assert len(marks) == len(changes) + 1


def test_an_alias_is_what_regions_are_called() -> None:
    xml = CLICK_TOOLS.replace('<Label value="road"/>', '<Label value="road" alias="way"/>')
    xml = xml.replace('<Label value="car"/>', '<Label value="Big car" alias="car"/>')
    mapped = match(parse(xml), MODEL)
    assert [item["value"]["brushlabels"] for item in result(scene(), mapped)] == [["way"], ["car"]]
    named = {**click(5, 15), "to_name": "image"}
    named["value"]["keypointlabels"] = ["Big car"]
    (answer,) = result(scene(), mapped, context={"result": [named]})
    assert answer["value"]["brushlabels"] == ["car"]


def test_unsure_pixels_are_in_no_region_and_their_share_is_told_and_stored() -> None:
    prediction = scene()
    prediction.confidence[12, :8] = 100
    built = build({"image": prediction}, mapping(), PredictionOptions(below=0.5), version="v1")
    items = json.loads(orjson.dumps(built))["result"]
    unsure = prediction.confidence < 128
    assert unsure.sum() == 8
    for item, k in zip(items, (1, 2), strict=True):
        alpha = decode_rle(item["value"]["rle"]).reshape(24, 32, 4)[..., 3]
        np.testing.assert_array_equal(alpha > 0, (prediction.label_map == k) & ~unsure)
    assert built["void"] == pytest.approx(8 / 768, abs=1e-4)
    assert items[0]["meta"] == {"maskloop": {"attributes": {"void": built["void"]}}}
    assert "meta" not in items[1]
    assert built["score"] == 0.75
    with pytest.raises(DataError, match="--confidence-below"):
        PredictionOptions(below=1.5)
