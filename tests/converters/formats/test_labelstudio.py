"""Label Studio's JSON: what the editor and the server recorded, every shape of it, and what may be wrong with it."""

from __future__ import annotations

import base64
import io
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_studio_sdk.converter import brush
from PIL import Image

from maskloop_converters.codecs import studio_rle
from maskloop_converters.codecs.polygons import filled
from maskloop_converters.errors import CodecError, DataError, FormatError, TargetError
from maskloop_converters.formats import labelstudio
from maskloop_converters.formats.json_stream import elements
from maskloop_converters.formats.labelstudio.choosing import DISPUTED, vote
from maskloop_converters.formats.labelstudio.config import parse, render
from maskloop_converters.formats.labelstudio.tasks import image_name
from maskloop_converters.masks import RunList
from maskloop_converters.samples import Dataset, ImageRef, Label, LabelSet, Region, Sample

RECORDED = Path(__file__).parents[2] / "fixtures" / "label-studio"
EXPORT = RECORDED / "editor_export_json.json"
MASK = np.zeros((6, 8), bool)
MASK[1:4, 2:7] = True
MASK[2, 3] = False


def rle(mask: Any) -> list[int]:
    array = np.asarray(mask, bool)
    return list(studio_rle.encode(RunList.from_masks([array], height=array.shape[0], width=array.shape[1]))[0])


def item(region_id: str | None = "a", label: str = "car", mask: Any = MASK, **other: Any) -> dict[str, Any]:
    result = {
        "id": region_id,
        "from_name": "tag",
        "to_name": "image",
        "type": "brushlabels",
        "original_width": 8,
        "original_height": 6,
        "image_rotation": 0,
        "value": {"format": "rle", "rle": rle(mask), "brushlabels": [label]},
    }
    return {**result, **other}


def shape(kind: str, value: dict[str, Any], region_id: str = "a") -> dict[str, Any]:
    return item(region_id, type=kind, value={**value, kind: ["car"]})


def task(*results: Any, number: int = 1, **other: Any) -> dict[str, Any]:
    record = {"id": number, "data": {"image": f"/data/upload/5/4fad3754-img{number}.png"}}
    return {**record, "annotations": [{"id": 11, "result": list(results)}], **other}


def saved(tmp_path: Path, tasks: Any) -> Path:
    path = tmp_path / "export.json"
    path.write_text(json.dumps(tasks), "utf-8")
    return path


def masks_of(dataset: Dataset) -> list[list[list[int]]]:
    return [[mask.astype(int).tolist() for mask in sample.masks.to_masks()] for sample in dataset]


# What the editor recorded.


def test_a_recorded_export_is_read_whole() -> None:
    samples = list(labelstudio.read(EXPORT))
    assert [sample.id for sample in samples] == ["7", "8", "9", "10"]
    assert [sample.image.name for sample in samples] == ["img0.png", "img2.png", "img3.jpg", "img4.jpg"]
    assert samples[0].image.uri == "/data/upload/8/4a853c45-img0.png"
    last = samples[2]
    assert [region.id for region in last.regions] == ["r9_road", "r9_car", "pOQnw0fm5z"]
    assert [region.origin for region in last.regions] == ["prediction-changed", "prediction", "manual"]
    assert [region.score for region in last.regions] == [0.8, 0.8, None]
    assert samples[0].attributes["labelstudio"]["annotation"]["parent_prediction"] == 389


def test_pixels_are_those_of_label_studios_own_png_export() -> None:
    """Its PNGs hold every opacity; ours the mask above 127, and with soft=True every opacity too."""
    compared = 0
    for sample in labelstudio.read(EXPORT, annotations="all", soft=True):
        task_id, _, annotation = sample.id.partition("-annotation-")
        annotation = annotation or str(sample.attributes["labelstudio"]["annotation"]["id"])
        seen: dict[str, int] = {}
        for k, region in enumerate(sample.regions):
            name = ["car", "road"][region.label]
            number = seen[name] = seen.get(name, -1) + 1
            file = (
                RECORDED
                / "editor_brush_to_png"
                / f"task-{task_id}-annotation-{annotation}-by-1-tag-{name}-{number}.png"
            )
            expected = np.array(Image.open(file))
            assert np.array_equal(sample.masks.mask(k), expected > 127)
            alpha = np.where(sample.masks.mask(k), 255, 0)
            if region.edge is not None:
                alpha.ravel()[region.edge.positions] = region.edge.alpha
            assert np.array_equal(alpha, expected)
            compared += 1
    assert compared == 12


def test_untouched_regions_are_written_byte_for_byte(tmp_path: Path) -> None:
    report = labelstudio.write(labelstudio.read(EXPORT, soft=True), tmp_path / "out")
    assert not report.losses
    before = {t["id"]: t["annotations"][-1]["result"] for t in json.loads(EXPORT.read_text())}
    after = {t["id"]: t["annotations"][0]["result"] for t in json.loads((tmp_path / "out/tasks.json").read_text())}
    assert after == before


def test_json_min_has_the_same_masks() -> None:
    full, small = labelstudio.read(EXPORT), labelstudio.read(RECORDED / "ls_export_json_min.json")
    assert masks_of(small) == masks_of(full)
    assert small.labels == full.labels
    assert [s.image for s in small] == [s.image for s in full]
    assert [s.attributes["labelstudio"]["annotation"]["id"] for s in small] == [101, 3, 4, 99]


def test_an_answer_of_the_api_gives_its_prediction(tmp_path: Path) -> None:
    body = json.loads((RECORDED / "ls_api_task_with_prediction.json").read_text())["response"]["body"]
    (sample,) = labelstudio.read(saved(tmp_path, body))
    assert [region.origin for region in sample.regions] == ["prediction", "prediction"]
    assert sample.attributes["labelstudio"]["prediction"]["model_version"] == "fcn32s-v1"
    assert sample.attributes["labelstudio"]["prediction"]["score"] == 0.87


def test_a_draft_is_drawn_as_the_editor_draws_it(tmp_path: Path) -> None:
    recorded = json.loads((RECORDED / "editor_draft_touches_and_submit.json").read_text())
    record = {"id": 36, "data": {"image": "x.png"}, "annotations": [], "drafts": recorded["draft"]}
    (sample,) = labelstudio.read(saved(tmp_path, [record]), use="drafts")
    submitted = recorded["submitted"]["result"][0]["value"]["rle"]
    theirs = studio_rle.decode([submitted], 480, 640).mask(0)
    ours = sample.masks.mask(0)
    assert (ours & theirs).sum() / (ours | theirs).sum() > 0.97


VARIANTS = {v["variant"]: v["post_body"]["result"] for v in json.loads((RECORDED / "editor_variants.json").read_text())}
WRONG = {"10_dup_ids": "two masks have this id", "13_bad_from_name": "no label"}


@pytest.mark.parametrize("name", VARIANTS)
def test_what_the_editor_submitted_after_odd_predictions(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, [task(*VARIANTS[name])])
    if name in WRONG:
        with pytest.raises(DataError, match=rf"export\.json, task 1, annotation 11, region aa.*{WRONG[name]}"):
            list(labelstudio.read(path))
        skipping = labelstudio.read(path, on_error="skip")
        assert len(next(iter(skipping)).regions) == (1 if name == "10_dup_ids" else 0)
        assert skipping.skipped.counts == {"regions skipped": 1}
        return
    (sample,) = labelstudio.read(path)
    expected = [tuple(r["value"]["rle"]) for r in VARIANTS[name]]
    assert len(sample.regions) == (2 if name == "17_two_labels" else len(expected))
    if name == "18_overlap":
        expected.reverse()  # the first of the list is on top: drawn last
    for k, stream in enumerate(expected):
        theirs = brush.decode_rle(list(stream)).reshape(240, 320, 4)[..., 3] > 127
        assert np.array_equal(sample.masks.mask(k), theirs)


# Shapes of masks.


def data_url(pixels: Any, mode: str) -> str:
    out = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8), mode).save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


BLACK = np.zeros((6, 8, 3), np.uint8)
TRIANGLE = [[12.5, 0], [87.5, 0], [12.5, 100]]


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ({"imageDataURL": data_url(np.dstack([BLACK, MASK * 200]), "RGBA")}, "bitmasklabels", MASK),
        ({"imageDataURL": data_url(np.dstack([BLACK[..., 0], MASK * 255]), "LA")}, "bitmasklabels", MASK),
        ({"x": 25, "y": 50, "width": 50, "height": 50, "rotation": 0}, "rectanglelabels", [(3, 6, 2, 6)]),
        ({"x": 75, "y": 0, "width": 50, "height": 50, "rotation": 90}, "rectanglelabels", [(0, 4, 3, 6)]),
        ({"x": 75, "y": 0, "width": 500, "height": 50}, "rectanglelabels", [(0, 3, 6, 8)]),
        ({"points": [[0, 0], [100, 0], [100, 100], [0, 100]], "closed": True}, "polygonlabels", [(0, 6, 0, 8)]),
    ],
)
def test_bitmasks_and_outlines(tmp_path: Path, value: dict[str, Any], kind: str, expected: Any) -> None:
    if isinstance(expected, list):
        boxes, expected = expected, np.zeros((6, 8), bool)
        for top, bottom, left, right in boxes:
            expected[top:bottom, left:right] = True
    (sample,) = labelstudio.read(saved(tmp_path, [task(shape(kind, value))]))
    assert np.array_equal(sample.masks.mask(0), expected)
    assert sample.regions[0].attributes["labelstudio"]["type"] == kind


@given(st.lists(st.tuples(st.floats(-30, 60), st.floats(-30, 50)), min_size=3, max_size=8))
def test_polygons_have_the_pixels_whose_centre_is_inside(corners: list[tuple[float, float]]) -> None:
    """OpenCV's point-in-polygon test (even-odd) is the oracle where the polygon is convex, and there only."""
    found = cv2.convexHull(np.array(corners, np.float32))
    if found is None or len(found) < 3:
        return
    hull = found.reshape(-1, 2)
    mask = filled(hull.astype(np.float64), 20, 24).mask(0)
    for y, x in np.ndindex(20, 24):
        distance = cv2.pointPolygonTest(hull.reshape(-1, 1, 2), (x + 0.5, y + 0.5), True)
        if abs(distance) > 1e-3:
            assert mask[y, x] == (distance > 0)


def test_two_labels_on_a_region_are_two_regions_and_one_again(tmp_path: Path) -> None:
    double = item(value={"format": "rle", "rle": rle(MASK), "brushlabels": ["road", "car"]})
    dataset = labelstudio.read(saved(tmp_path, [task(double, item("b", "car"))]))
    (sample,) = dataset
    assert [(r.label, r.id) for r in sample.regions] == [(0, "b"), (0, "a:car"), (1, "a")]
    labelstudio.write(dataset, tmp_path / "out")
    (written,) = json.loads((tmp_path / "out/tasks.json").read_text())
    results = written["annotations"][0]["result"]
    assert [(r["id"], r["value"]["brushlabels"]) for r in results] == [("a", ["road", "car"]), ("b", ["car"])]


def test_other_results_are_kept_and_written_again(tmp_path: Path) -> None:
    choice = {"id": "c", "from_name": "weather", "to_name": "image", "type": "choices", "value": {"choices": ["rain"]}}
    text = {"id": "a", "from_name": "why", "to_name": "image", "type": "textarea", "value": {"text": ["dark"]}}
    dot = {
        "id": "k",
        "from_name": "kp",
        "to_name": "image",
        "type": "keypointlabels",
        "value": {"x": 1, "y": 2, "width": 1},
    }
    dataset = labelstudio.read(saved(tmp_path, [task(choice, text, item(), dot)]))
    (sample,) = dataset
    assert sample.attributes["labelstudio"]["results"] == [choice, dot]
    assert sample.regions[0].attributes["labelstudio"]["results"] == [text]
    labelstudio.write(dataset, tmp_path / "out")
    (again,) = labelstudio.read(tmp_path / "out")
    assert (again.attributes, again.regions) == (sample.attributes, sample.regions)


def test_brush_with_a_control_of_labels(tmp_path: Path) -> None:
    """<Brush> beside <Labels> gives two results a region; both repeat the geometry."""
    value = {"format": "rle", "rle": rle(MASK)}
    pair = [item(type="brush", value=value), item(type="labels", from_name="l", value={**value, "labels": ["car"]})]
    (sample,) = labelstudio.read(saved(tmp_path, [task(*pair)]))
    assert len(sample.regions) == 1
    assert "rle" not in json.dumps(sample.regions[0].attributes["labelstudio"])


def test_reordered_soft_masks_survive_both_encodings(tmp_path: Path) -> None:
    alpha = np.where(MASK, 255, 0).astype(np.uint8)
    alpha[1, 2], alpha[0, 0], alpha[5, 7] = 128, 127, 3
    soft = item(value={"format": "rle", "rle": list(studio_rle.encode_alpha(alpha)), "brushlabels": ["car"]})
    dataset = labelstudio.read(saved(tmp_path, [task(soft)]), soft=True)
    for encoding in ("brush", "bitmask"):
        labelstudio.write(dataset, tmp_path / encoding, encoding=encoding)
        (again,) = labelstudio.read(tmp_path / encoding, soft=True)
        edge = again.regions[0].edge
        assert edge is not None
        assert edge.positions.tolist() == [0, 10, 47]
        assert edge.alpha.tolist() == [127, 128, 3]
        assert np.array_equal(again.masks.mask(0), alpha > 127)
        (hard,) = labelstudio.read(tmp_path / encoding)
        assert hard.regions[0].edge is None


# Several annotators.

LEFT, MIDDLE, RIGHT = (
    np.isin(np.arange(48).reshape(6, 8) % 8, columns) for columns in ([0, 1, 2], [2, 3], [2, 3, 4, 5])
)


def annotators() -> dict[str, Any]:
    def drawn(number: int, at: str, *results: Any, **other: Any) -> dict[str, Any]:
        return {"id": number, "updated_at": f"2026-01-0{at}:00Z", "result": list(results), **other}

    record = {"id": 1, "data": {"image": "x.png"}}
    record["annotations"] = [
        drawn(1, "1T10:00", item("a", "car", LEFT), ground_truth=True),
        drawn(2, "3T09:00", item("b", "car", MIDDLE), item("c", "road", LEFT)),
        drawn(3, "2T10:00", item("d", "car", RIGHT), item("e", "car", DOT)),
        drawn(4, "4T10:00", item("f", "car", LEFT), was_cancelled=True),
    ]
    return record


DOT = np.arange(48).reshape(6, 8) == 47


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("latest", [("1", [("c", LEFT), ("b", MIDDLE)])]),
        ("ground-truth", [("1", [("a", LEFT)])]),
        (
            "all",
            [
                ("1-annotation-1", [("a", LEFT)]),
                ("1-annotation-2", [("c", LEFT), ("b", MIDDLE)]),
                ("1-annotation-3", [("d", RIGHT), ("e", DOT)]),
            ],
        ),
        ("majority", [("1", [("majority-car", MIDDLE)])]),
    ],
)
def test_which_of_several_annotations(tmp_path: Path, choice: Any, expected: Any) -> None:
    dataset = labelstudio.read(saved(tmp_path, [annotators()]), annotations=choice)
    found = [(s.id, [(r.id, s.masks.mask(k)) for k, r in enumerate(s.regions)]) for s in dataset]
    assert [(name, [r for r, _ in regions]) for name, regions in found] == [
        (name, [r for r, _ in regions]) for name, regions in expected
    ]
    for (_, ours), (_, theirs) in zip(found, expected, strict=True):
        assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(ours, theirs, strict=True))
    assert dataset.skipped.counts == {"annotations that were cancelled": 1}
    assert dataset.count in (len(expected), None)


def drawing(label_map: np.ndarray) -> tuple[list[Region], RunList]:
    ids, masks = RunList.from_label_map(label_map)
    shown = [k for k, label in enumerate(ids.tolist()) if label != 9]  # 9: nothing was drawn
    return [Region(int(ids[k])) for k in shown], masks.select(shown)


@given(st.integers(1, 5), st.integers(0, 2**32))
def test_a_majority_is_more_than_half(annotations: int, seed: int) -> None:
    maps = np.random.default_rng(seed).choice([0, 1, 9], (annotations, 7, 5)).astype(np.uint8)
    regions, masks, disputed = vote([drawing(one) for one in maps], LabelSet.from_names(["car", "road"]), (7, 5))
    elected = masks.to_label_map([region.label for region in regions], fill=9)
    most = {label: (maps == label).sum(0) * 2 > annotations for label in (0, 1, 9)}
    for label in (0, 1):
        assert np.array_equal(elected == label, most[label])
    assert disputed == (~(most[0] | most[1] | most[9])).sum()


def test_what_lies_under_another_region_has_no_vote() -> None:
    """Two annotators draw a car on a road that goes on below it, one leaves a hole in the road; nobody votes for road there."""
    road, car = np.ones((2, 4), bool), np.array([[0, 1, 1, 0]] * 2, bool)
    over = [Region(1), Region(0)], RunList.from_masks([road, car], height=2, width=4)
    hole = [Region(1), Region(0)], RunList.from_masks([road & ~car, car], height=2, width=4)
    regions, masks, disputed = vote([over, over, hole], LabelSet.from_names(["car", "road"]), (2, 4))
    assert [region.label for region in regions] == [0, 1]
    assert np.array_equal(masks.mask(0), car)
    assert np.array_equal(masks.mask(1), ~car)
    assert disputed == 0


@pytest.mark.parametrize(("ignore", "regions"), [(None, [1]), (255, [1, 255])])
def test_disagreement_is_void_where_the_background_would_claim_it(ignore: int | None, regions: list[int]) -> None:
    one, other = np.array([[1, 1, 9, 9]], np.uint8), np.array([[1, 9, 9, 1]], np.uint8)
    labels = LabelSet((Label(0, "nothing"), Label(1, "car")), ignore_id=ignore, background_id=0)
    found, masks, disputed = vote([drawing(one), drawing(other)], labels, (1, 4))
    assert [region.label for region in found] == regions
    assert disputed == 2
    elected = masks.to_label_map([region.label for region in found], fill=labels.fill_id)
    void = 0 if ignore is None else 255
    assert elected.tolist() == [[1, void, 0, void]]


def test_the_pixels_that_annotators_disagree_about_are_counted(tmp_path: Path) -> None:
    dataset = labelstudio.read(saved(tmp_path, [annotators()]), annotations="majority")
    list(dataset)
    # two columns are a car's for one, road for another and nothing for the third
    assert dataset.notes.counts[DISPUTED] == 12
    assert dataset.notes.lines()[0].startswith(f"12 {DISPUTED} (")


def test_tasks_without_annotations_are_counted(tmp_path: Path) -> None:
    skipped = task(item(), number=2)
    skipped["annotations"][0]["was_cancelled"] = True
    dataset = labelstudio.read(saved(tmp_path, [task(item()), skipped, task(number=3, annotations=[])]))
    assert [sample.id for sample in dataset] == ["1"]
    assert dataset.skipped.counts == {"annotations that were cancelled": 1, "tasks without annotations to use": 2}
    assert dataset.count == 1


# Labels and images.

CONFIG = """<View><Image name="img" value="$photo"/><Image name="other" value="$second"/>
<BrushLabels name="tag" toName="img"><Label value="road" background="#804080"/><Label value="Auto" alias="car"/>
</BrushLabels><Choices name="c" toName="img"><Choice value="x"/></Choices></View>"""


def test_a_label_config_decides_labels_controls_and_image(tmp_path: Path) -> None:
    (tmp_path / "config.xml").write_text(CONFIG)
    record = {**task(item(to_name="img")), "data": {"photo": "a/b.png", "second": "c.png", "note": "dark"}}
    dataset = labelstudio.read(saved(tmp_path, [record]), label_config=tmp_path / "config.xml")
    assert dataset.labels == LabelSet((Label(0, "road", (128, 64, 128)), Label(1, "car")))
    (sample,) = dataset
    assert (sample.image.name, sample.regions[0].label) == ("a/b.png", 1)
    assert sample.attributes["labelstudio"]["data"] == {"second": "c.png", "note": "dark"}
    labelstudio.write(dataset, tmp_path / "out")
    assert json.loads((tmp_path / "out/tasks.json").read_text())[0]["data"] == record["data"]
    assert parse((tmp_path / "out/label_config.xml").read_text(), "").images == {"img": "photo"}
    bad = saved(tmp_path, [{**record, "annotations": [{"result": [item(to_name="img", from_name="nobody")]}]}])
    with pytest.raises(FormatError, match="region a: the label config has no control 'nobody'; there are: tag, c"):
        list(labelstudio.read(bad, label_config=tmp_path / "config.xml"))


def test_a_rendered_config_gives_back_the_labels() -> None:
    labels = LabelSet((Label(3, 'a "<&>', (1, 2, 3)), Label(0, "b", (4, 5, 6))))
    found = parse(render(labels, [("BrushLabels", "tag", "image")], {"image": "image"}), "")
    assert (found.labels, found.controls, found.images) == (labels, {"tag": "image"}, {"image": "image"})


@pytest.mark.parametrize(
    "xml", ["<View>", "<View/>", "<!DOCTYPE x><View/>", '<View><Image name="i" value="$i"/></View>']
)
def test_a_label_config_that_is_none(xml: str) -> None:
    with pytest.raises(FormatError, match=r"here: .*label config"):
        parse(xml, "here")


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("/data/upload/5/4fad3754-img0.png", "img0.png"),
        ("http://host:8080/data/upload/5/4fad3754-a-b.png", "a-b.png"),
        ("/data/local-files/?d=ds1/c%20d.png", "ds1/c d.png"),
        ("s3://bucket/train/x.png", "train/x.png"),
        ("https://host/x/y.png?token=1", "x/y.png"),
        ("../../etc/passwd.png", "etc/passwd.png"),
        ("0001.png", "0001.png"),
    ],
)
def test_names_of_images(uri: str, name: str) -> None:
    assert image_name(uri) == name


def test_images_are_found_and_compared(tmp_path: Path) -> None:
    recorded = (RECORDED / "images" / "img4.jpg").read_bytes()
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "img4.jpg").write_bytes(recorded)
    samples = {s.id: s for s in labelstudio.read(EXPORT, images_from=pictures)}
    assert samples["10"].image.source == pictures / "img4.jpg"
    assert samples["7"].image.source is None
    (tmp_path / "img1.png").write_bytes(recorded)
    with pytest.raises(FormatError, match=r"task 1.*500 x 375 pixels \(upright\), its regions say 8 x 6"):
        list(labelstudio.read(saved(tmp_path, [task(item())])))
    (found,) = labelstudio.read(saved(tmp_path, [task()]))
    assert (found.height, found.width) == (375, 500)


def test_an_empty_annotation_needs_its_image(tmp_path: Path) -> None:
    dataset = labelstudio.read(saved(tmp_path, [task(), task(item(), number=2)]))
    assert [sample.id for sample in dataset] == ["2"]
    (kind,) = dataset.skipped.counts
    assert kind.startswith("images without a region that are out of reach")
    item_without_size = item(original_width=None)
    with pytest.raises(FormatError, match=r"task 1: the size of its image is unknown.*--images-from DIR"):
        list(labelstudio.read(saved(tmp_path, [task(item_without_size)])))


# What may be wrong.


def broken(**value: Any) -> dict[str, Any]:
    return item(value={"format": "rle", "rle": rle(MASK), "brushlabels": ["car"], **value})


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (broken(rle="@@AB"), "brush RLE is bytes or a list"),
        (broken(rle=[]), "truncated: 0 bytes"),
        (broken(rle=rle(MASK)[:-1]), "truncated"),
        (broken(rle=[0, 0, 0, 192, 57, 27, 248, 1, 2, 3, 4, 5]), "stream 0"),
        (broken(rle=[300] * 20), "integers 0..255"),
        (broken(rle=None), "brush RLE is bytes or a list"),
        (broken(brushlabels=["lorry"]), "no label is named 'lorry'; there are: car"),
        (broken(brushlabels=[]), "the region has no label"),
        (item(mask=np.ones((5, 8))), "holds 160 elements, expected 192"),
        (item(original_width=9), "9 x 6, the image is 8 x 6"),
        (item(original_width="8"), "whole number"),
        (item(image_rotation=90), "image_rotation is 90"),
        (item(score="high"), "score must be a number"),
        (item(score=float("nan")), "score must be a number"),
        (shape("polygonlabels", {"points": [[0, 0], [1, 1]]}), "three corners"),
        (shape("polygonlabels", {"points": [[0, float("nan")], [1, 1], [2, 0]]}), "not finite"),
        (shape("polygonlabels", {"points": [[0, 1e300], [1, 1], [2, 0]]}), "absurdly far"),
        (shape("polygonlabels", {"points": "many"}), "pairs of numbers"),
        (shape("rectanglelabels", {"x": 1, "width": 3}), "x, y, width and height"),
        (shape("bitmasklabels", {"imageDataURL": "data:image/png;base64,@"}), "no base64"),
        (shape("bitmasklabels", {"imageDataURL": data_url(BLACK, "RGB")}), "without opacity"),
        (shape("bitmasklabels", {"imageDataURL": data_url(np.zeros((60, 80, 4)), "RGBA")}), "pixels"),
        (broken(touches=3), "touches are a list"),
        ("text", "no object"),
    ],
)
def test_a_wrong_region_is_named_or_counted(tmp_path: Path, result: Any, reason: str) -> None:
    path = saved(tmp_path, [task(item("first"), result), task(item(), number=2)])
    labels = LabelSet((Label(0, "car"),))
    with pytest.raises(DataError, match=rf"export\.json, task 1, annotation 11.*{reason}"):
        list(labelstudio.read(path, labels=labels))
    dataset = labelstudio.read(path, labels=labels, on_error="skip")
    assert [[region.id for region in sample.regions] for sample in dataset] == [["first"], ["a"]]
    assert dataset.skipped.counts == {"regions skipped": 1}


def test_a_claim_of_many_pixels_costs_nothing(tmp_path: Path) -> None:
    stream = (40_000_000_000 % 2**32).to_bytes(4, "big") + bytes.fromhex("391bf8") + bytes(43)
    huge = item(original_width=100_000, original_height=100_000, value={"rle": list(stream), "brushlabels": ["car"]})
    path = saved(tmp_path, [task(huge)])
    tracemalloc.start()
    with pytest.raises(DataError, match="region a"):
        list(labelstudio.read(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000


@pytest.mark.parametrize(
    ("element", "reason"),
    [
        (3, "a task is a JSON object"),
        ({"id": 5}, "task 5: no task: it has neither 'data'"),
        ({"id": 5, "data": {"image": 3}, "annotations": [{"result": []}]}, "task 5"),
        ({"id": 5, "data": {"image": "a.png"}, "annotations": {}}, "task 5: annotations is a list"),
        (
            {"id": 5, "data": {"a": "x", "b": "y"}, "annotations": [{"result": []}]},
            "cannot tell which of the task's data",
        ),
    ],
)
def test_a_wrong_task_is_named_or_counted(tmp_path: Path, element: Any, reason: str) -> None:
    path = saved(tmp_path, [task(item()), element, task(item(), number=2)])
    with pytest.raises(FormatError, match=reason):
        list(labelstudio.read(path))
    dataset = labelstudio.read(path, on_error="skip")
    assert [sample.id for sample in dataset] == ["1", "2"]
    assert dataset.skipped.counts == {"samples skipped": 1}


def test_a_task_that_stands_twice(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="the task id 1 stands twice"):
        list(labelstudio.read(saved(tmp_path, [task(item()), task(item(), number=2), task(item())])))


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-1],
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"data"', '"data', 1),
        lambda text: text.replace(",", ";", 1),
        lambda text: text + "]",
        lambda text: "[" * 100_000,
        lambda text: "",
        lambda text: "[1 2]",
        lambda text: text.replace("car", "c\xff", 1),
    ],
)
def test_damaged_json_is_named_with_the_place(tmp_path: Path, damage: Callable[[str], str]) -> None:
    path = tmp_path / "export.json"
    path.write_bytes(damage(json.dumps([task(item())])).encode("latin-1"))
    for policy in ("fail", "skip"):
        with pytest.raises(FormatError, match=r"export\.json: not"):
            list(labelstudio.read(path, on_error=policy))


def test_lists_called_rle_that_are_no_brush_stay_lists(tmp_path: Path) -> None:
    other = {"id": "v", "type": "videorle", "value": {"rle": [1, -2.5, None, True]}}
    record = task(item(), other, data={"image": "a.png", "rle": [7, 300], "value": {"rle": []}})
    (sample,) = labelstudio.read(saved(tmp_path, [record]))
    assert masks_of([sample])[0] == [MASK.astype(int).tolist()]  # type: ignore[arg-type]
    facts = sample.attributes["labelstudio"]
    assert facts["data"] == {"rle": [7, 300], "value": {"rle": []}}
    assert facts["results"] == [other]


@pytest.mark.parametrize("text", ["[1,,2]", "[01]", "[1 2]", "[]"])
def test_a_brush_that_is_no_list_of_bytes_is_named_with_its_region(tmp_path: Path, text: str) -> None:
    path = saved(tmp_path, [task(item(value={"format": "rle", "rle": "X", "brushlabels": ["car"]}))])
    path.write_text(path.read_text().replace('"X"', text))
    with pytest.raises(FormatError, match=r"export\.json, task"):
        list(labelstudio.read(path))


# Streams and what is written.


@given(st.lists(st.recursive(st.integers() | st.text(), st.lists, max_leaves=9).map(lambda v: {"k": v}), max_size=9))
def test_elements_in_small_windows_are_those_of_the_json_module(values: list[Any]) -> None:
    import tempfile
    from unittest import mock

    with tempfile.TemporaryDirectory() as folder, mock.patch(f"{elements.__module__}._WINDOW", 5):
        path = Path(folder, "x.json")
        path.write_text(json.dumps(values, indent=1, ensure_ascii=False), "utf-8")
        assert [value for _, value in elements(path)] == values
        path.write_text("\n".join(json.dumps(value) for value in values) or "[]", "utf-8")
        assert [value for _, value in elements(path)] == values


def test_memory_follows_the_task_not_the_file(tmp_path: Path) -> None:
    one = json.dumps(task(item(value={"format": "rle", "rle": rle(MASK), "brushlabels": ["car"], "pad": "x" * 20_000})))
    path = tmp_path / "big.json"
    with path.open("w") as file:
        file.write("[" + ",".join(one.replace('"id": 1,', f'"id": {k},', 1) for k in range(600)) + "]")
    assert path.stat().st_size > 12_000_000
    tracemalloc.start()
    assert sum(1 for _ in labelstudio.read(path)) == 600
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6_000_000


def dataset_of(*samples: Sample) -> Dataset:
    return Dataset(LabelSet((Label(0, "car"), Label(4, "road"))), list(samples))


def sample_of(name: str, *regions: Region) -> Sample:
    masks = RunList.from_masks([MASK] * len(regions), height=6, width=8)
    return Sample(name, ImageRef("a/b c.png"), masks, regions)


def test_what_is_written_is_what_label_studio_imports(tmp_path: Path) -> None:
    dataset = dataset_of(sample_of("x", Region(4, score=0.5), Region(0, id="r", origin="prediction")))
    labelstudio.write(dataset, tmp_path / "out", kind="predictions", model_version="v1")
    (written,) = json.loads((tmp_path / "out/tasks.json").read_text())
    assert written["data"] == {"image": "/data/local-files/?d=images/a/b%20c.png"}
    assert "annotations" not in written
    (prediction,) = written["predictions"]
    assert prediction["model_version"] == "v1"
    second, first = prediction["result"]  # the one on top comes first
    assert len(first["id"]) == 10
    assert (second["id"], second["origin"], first["score"]) == ("r", "prediction", 0.5)
    sizes = (first["original_width"], first["original_height"], first["image_rotation"])
    assert (sizes, first["type"], first["from_name"], first["to_name"]) == ((8, 6, 0), "brushlabels", "tag", "image")
    assert first["value"]["format"] == "rle"
    assert np.array_equal(brush.decode_rle(first["value"]["rle"]).reshape(6, 8, 4)[..., 3] > 127, MASK)
    xml = parse((tmp_path / "out/label_config.xml").read_text(), "")
    assert [(label.id, label.name) for label in xml.labels.labels] == [(0, "car"), (4, "road")]


def test_predictions_alone_name_tasks(tmp_path: Path) -> None:
    path = tmp_path / "predictions.json"
    report = labelstudio.write(
        dataset_of(sample_of("12", Region(0))), path, kind="predictions-only", model_version="v2"
    )
    assert report.losses.counts == {"image names (predictions alone name tasks only)": 1}
    (written,) = json.loads(path.read_text())
    assert (written["task"], written["model_version"], len(written["result"])) == (12, "v2", 1)
    (again,) = labelstudio.read(path)
    assert (again.id, again.masks.areas().tolist()) == ("12", [MASK.sum()])
    with pytest.raises(TargetError, match="sample x: predictions alone belong to tasks"):
        labelstudio.write(dataset_of(sample_of("x")), tmp_path / "other.json", kind="predictions-only")
    assert not (tmp_path / "other.json").exists()


def test_ids_that_stand_twice_or_nowhere_get_one_each(tmp_path: Path) -> None:
    labelstudio.write(dataset_of(sample_of("x", Region(0), Region(0, id="a"), Region(0, id="a"))), tmp_path / "out")
    (written,) = json.loads((tmp_path / "out/tasks.json").read_text())
    ids = [result["id"] for result in written["annotations"][0]["result"]]
    assert len(set(ids)) == 3
    (again,) = labelstudio.read(tmp_path / "out")
    assert [region.id for region in again.regions] == ["", "a", "a"]


def test_a_storage_folder_with_a_file_an_annotation(tmp_path: Path) -> None:
    for number in (3, 20):
        record = task(item(), number=number)
        (tmp_path / str(number)).write_text(json.dumps({**record["annotations"][0], "task": record}))
    assert labelstudio.detect(tmp_path) is None
    assert sorted(sample.id for sample in labelstudio.read(tmp_path)) == ["20", "3"]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.json", '{"images": [], "annotations": [], "categories": []}', "COCO"),
        ("a.json", '[{"image_id": 1, "category_id": 2}]', "holds no tasks"),
        ("a.json", "hello", "no JSON"),
        ("a.txt", "[]", r"not called \.json"),
        ("a.json", "[]", None),
    ],
)
def test_detection_says_why_not(tmp_path: Path, name: str, text: str, reason: str | None) -> None:
    (tmp_path / name).write_text(text)
    found = labelstudio.detect(tmp_path / name)
    if reason is None:
        assert found is None
    else:
        assert found is not None
        assert reason.replace("\\", "") in found


def test_errors_of_codecs_are_what_they_say() -> None:
    with pytest.raises(CodecError, match="three corners"):
        filled(np.zeros((2, 2)), 3, 3)
