"""Exports that were read wrong once, each with its right value: images by name, shapes, faint masks, storage folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import maskloop_converters as mc
from maskloop_converters.codecs import studio_rle
from maskloop_converters.errors import FormatError
from maskloop_converters.masks import RunList
from maskloop_converters.samples import Sample

FILES = Path(__file__).parents[3] / "fixtures" / "foreign" / "label-studio"
HEIGHT, WIDTH = 12, 20
SIZE = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
# 7 x 5 pixels at (2, 2)
CAR = {"x": 10, "y": 100 / 6, "width": 35, "height": 500 / 12, "rotation": 0}
SUN = {"x": 50, "y": 50, "radiusX": 20, "radiusY": 25, "rotation": 0}


def found(path: Path, **options: Any) -> dict[str, list[tuple[str, int, list[int]]]]:
    """By sample: label, pixels and box of every region."""
    dataset = mc.read(path, "labelstudio", **options)
    names = {label.id: label.name for label in dataset.labels.labels}
    return {
        sample.id: [
            (names[region.label], area, box)
            for region, area, box in zip(
                sample.regions, sample.masks.areas().tolist(), sample.masks.boxes().tolist(), strict=True
            )
        ]
        for sample in dataset
    }


def counted(path: Path, **options: Any) -> dict[str, int]:
    dataset = mc.read(path, "labelstudio", **options)
    list(dataset)
    return dataset.skipped.counts


def region(kind: str, value: dict[str, Any], region_id: str = "r1", **other: Any) -> dict[str, Any]:
    names = {"id": region_id, "type": kind, "from_name": "tag", "to_name": "image"}
    return {**names, **SIZE, "value": value, **other}


def labelled(
    kind: str, value: dict[str, Any], label: str = "car", region_id: str = "r1", **other: Any
) -> dict[str, Any]:
    return region(kind, {**value, kind: [label]}, region_id, **other)


def exported(path: Path, *results: Any, data: dict[str, Any] | None = None, name: str = "export.json") -> Path:
    record = {"id": 1, "data": data or {"image": "/data/upload/1/0a1b2c3d-a.png"}}
    (path / name).write_text(json.dumps([{**record, "annotations": [{"id": 11, "result": list(results)}]}]))
    return path / name


def brush(mask: Any, alpha: int = 255) -> dict[str, Any]:
    pixels = np.where(np.asarray(mask, bool), np.uint8(alpha), np.uint8(0))
    return {"format": "rle", "rle": list(studio_rle.encode_alpha(pixels))}


# Several images in a task.

TWO = FILES / "two-images"
EACH_ITS_OWN = {"1-image_rgb": [("car", 35, [2, 2, 7, 5])], "1-image_ref": [("car", 12, [12, 6, 4, 3])]}


@pytest.mark.parametrize("options", [{"label_config": TWO / "config.xml"}, {}], ids=["config", "keys are the names"])
def test_a_task_with_two_images_is_two_samples(tmp_path: Path, options: dict[str, Any]) -> None:
    assert found(TWO / "export.json", **options) == EACH_ITS_OWN
    samples = list(mc.read(TWO / "export.json", **options))
    assert [sample.image.source for sample in samples] == [TWO / "rgb.png", TWO / "ref.png"]
    # Written again each is a task of its own, which says all that the first said but the other image.
    for hop in ("labelstudio", "coco", "png", "tfrecord"):
        report = mc.convert(TWO / "export.json", tmp_path / hop, hop, read_options=options, strict=True, verify=True)
        assert report.written.samples == 2
    assert found(tmp_path / "labelstudio") == EACH_ITS_OWN


def test_which_image_cannot_be_told_without_the_label_config(tmp_path: Path) -> None:
    record = json.loads((TWO / "export.json").read_text())
    record[0]["data"] = {"image": "a/rgb.png", "image2": "a/ref.png"}
    (tmp_path / "export.json").write_text(json.dumps(record))
    with pytest.raises(FormatError, match=r"task 1: cannot tell.*image, image2.*image_rgb, image_ref.*--label-config"):
        list(mc.read(tmp_path / "export.json", "labelstudio"))
    # Nor where a task has regions on one of them only: the others say that there are two.
    only = {**record[0], "id": 2, "annotations": [{"id": 12, "result": record[0]["annotations"][0]["result"][1:]}]}
    (tmp_path / "export.json").write_text(json.dumps([record[0], only]))
    dataset = mc.read(tmp_path / "export.json", "labelstudio", on_error="skip")
    assert list(dataset) == []
    assert dataset.skipped.counts == {"samples skipped": 2}
    config = TWO.joinpath("config.xml").read_text().replace("$image_rgb", "$image").replace("$image_ref", "$image2")
    (tmp_path / "export.label_config.xml").write_text(config)
    regions = found(tmp_path / "export.json")
    assert {name: regions[name] for name in EACH_ITS_OWN} == EACH_ITS_OWN
    assert regions["2-image_ref"] == EACH_ITS_OWN["1-image_ref"]


PAGES = ["p/one.png", "p/two.png"]
DRAWS = '<RectangleLabels name="tag" toName="{}"><Label value="car"/></RectangleLabels>'
CONFIGS: dict[str, tuple[str, dict[str, Any], list[dict[str, Any]]]] = {
    "a nested key": (
        '<Image name="image" value="$my.image"/>' + DRAWS.format("image"),
        {"my": {"image": PAGES[0]}, "image": "no.png"},
        [{}],
    ),
    "a list of pages": (
        '<Image name="image" valueList="$pages"/>' + DRAWS.format("image"),
        {"pages": PAGES},
        [{"item_index": 0}, {"item_index": 1}],
    ),
    "a repeater": (
        '<Repeater on="$pages" indexFlag="{{idx}}"><Image name="page_{{idx}}" value="$pages[{{idx}}].url"/>'
        + DRAWS.format("page_{{idx}}").replace("tag", "tag_{{idx}}")
        + "</Repeater>",
        {"pages": [{"url": page} for page in PAGES]},
        [{"to_name": "page_0", "from_name": "tag_0"}, {"to_name": "page_1", "from_name": "tag_1"}],
    ),
    "two tags of one image": (
        '<Image name="a" value="$image"/><Image name="b" value="$image"/>' + DRAWS.format("a") + DRAWS.format("b"),
        {"image": PAGES[0]},
        [{"to_name": "b"}],
    ),
    "an image to look at": (
        '<Image name="image" value="$image"/><Image name="sketch" value="$sketch"/>' + DRAWS.format("image"),
        {"sketch": PAGES[1], "image": PAGES[0]},
        [{}],
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_images_are_where_the_label_config_says(tmp_path: Path, name: str) -> None:
    xml, data, places = CONFIGS[name]
    (tmp_path / "export.label_config.xml").write_text(f"<View>{xml}</View>")
    results = [
        labelled("rectanglelabels", {**CAR, "x": 10 + 5 * k}, region_id=f"r{k}", **at) for k, at in enumerate(places)
    ]
    path = exported(tmp_path, *results, data=data)
    samples = list(mc.read(path, "labelstudio"))
    assert [sample.image.name for sample in samples] == PAGES[: len(places)]
    assert [sample.masks.boxes()[:, 0].tolist() for sample in samples] == [[2 + k] for k in range(len(places))]
    assert len({sample.id for sample in samples}) == len(places)
    mc.convert(path, tmp_path / "again", "labelstudio", source_format="labelstudio", strict=True, verify=True)
    again = list(mc.read(tmp_path / "again"))
    assert [(sample.id, sample.image.name) for sample in again] == [(one.id, one.image.name) for one in samples]


def test_a_region_on_an_image_that_is_not_there_is_named(tmp_path: Path) -> None:
    on_third = labelled("rectanglelabels", CAR, region_id="r3", to_name="third")
    record = json.loads((TWO / "export.json").read_text())
    record[0]["annotations"][0]["result"].append(on_third)
    (tmp_path / "export.json").write_text(json.dumps(record))
    with pytest.raises(FormatError, match=r"task 1, region r3: .*'third'.*there are: image_ref, image_rgb"):
        list(mc.read(tmp_path / "export.json", label_config=TWO / "config.xml"))


# What is a mask, and what is not.


def test_an_ellipse_is_a_mask() -> None:
    assert found(FILES / "ellipse" / "export.json") == {"1": [("sun", 36, [6, 3, 8, 6]), ("car", 35, [2, 2, 7, 5])]}


@pytest.mark.parametrize("turned", [0, 30, 90, 200, -45])
def test_an_ellipse_has_the_pixels_whose_centre_is_inside(tmp_path: Path, turned: float) -> None:
    path = exported(tmp_path, labelled("ellipselabels", {**SUN, "radiusX": 45, "rotation": turned}))
    (sample,) = mc.read(path, "labelstudio")
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    angle = np.deg2rad(turned)
    along = (x - 10) * np.cos(angle) + (y - 6) * np.sin(angle)
    across = -(x - 10) * np.sin(angle) + (y - 6) * np.cos(angle)
    assert np.array_equal(sample.masks.mask(0), (along / 9) ** 2 + (across / 3) ** 2 <= 1)


@pytest.mark.parametrize(
    "value", [{**SUN, "radiusX": None}, {**SUN, "radiusX": -1}, {**SUN, "x": 1e300}, {"x": 1, "y": 2}]
)
def test_an_ellipse_that_is_none_is_named(tmp_path: Path, value: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match=r"task 1, annotation 11, region r1: .*ellipse"):
        list(mc.read(exported(tmp_path, labelled("ellipselabels", value)), "labelstudio"))


VECTOR = {"vertices": [{"id": "v1", "x": 1, "y": 2}, {"id": "v2", "x": 50, "y": 60}], "closed": False}


@pytest.mark.parametrize(
    ("results", "kinds"),
    [
        ([labelled("vectorlabels", VECTOR)], {"regions that are no masks (vectorlabels)": 1}),
        ([labelled("keypointlabels", {"x": 1, "y": 2, "width": 1})], {"regions that are no masks (keypointlabels)": 1}),
        # <Labels> with <KeyPoint>: two results of one region, whose type says nothing of its shape
        (
            [region("keypoint", {"x": 1, "y": 2, "width": 1}), labelled("labels", {"x": 1, "y": 2, "width": 1})],
            {"regions that are no masks (keypoint)": 1},
        ),
        ([labelled("ellipselabels", {"radiusX": 3})], {"regions that are no masks (ellipselabels)": 1}),
        ([labelled("videorectangle", {"sequence": []})], {"regions that are no masks (videorectangle)": 1}),
        # neither choices of the whole image nor relations are regions
        ([region("choices", {"choices": ["rain"]}), {"type": "relation", "from_id": "a", "to_id": "b"}], {}),
    ],
)
def test_what_is_no_mask_is_counted(tmp_path: Path, results: list[Any], kinds: dict[str, int]) -> None:
    path = exported(tmp_path, labelled("rectanglelabels", CAR, region_id="good"), *results)
    assert counted(path) == kinds
    assert found(path)["1"][-1 if len(found(path)["1"]) == 1 else 0] == ("car", 35, [2, 2, 7, 5])


@pytest.mark.parametrize(
    ("bare", "value", "pixels"),
    [
        ("brush", brush(np.eye(HEIGHT, WIDTH)), 12),
        ("polygon", {"points": [[10, 100 / 6], [45, 100 / 6], [45, 700 / 12], [10, 700 / 12]]}, 35),
        ("rectangle", CAR, 35),
        ("ellipse", SUN, 36),
    ],
)
@pytest.mark.parametrize("labels_first", [True, False])
def test_controls_with_labels_of_their_own(
    tmp_path: Path, bare: str, value: dict[str, Any], pixels: int, *, labels_first: bool
) -> None:
    """<Labels> beside <Brush>, <Polygon> and the like: two results a region, both with its geometry."""
    pair = [region(bare, value), labelled("labels", value, from_name="labels")]
    path = exported(tmp_path, *(pair[::-1] if labels_first else pair))
    assert [area for _, area, _ in found(path)["1"]] == [pixels]
    assert counted(path) == {}


@pytest.mark.parametrize("name", ["Auto", "car"])
def test_value_and_alias_are_one_label(tmp_path: Path, name: str) -> None:
    """The editor writes the alias; predictions, and what was drawn before there was one, have the value."""
    xml = '<View><Image name="image" value="$image"/><RectangleLabels name="tag" toName="image">'
    xml += '<Label value="Auto" alias="car"/><Label value="road"/></RectangleLabels></View>'
    (tmp_path / "config.xml").write_text(xml)
    path = exported(tmp_path, labelled("rectanglelabels", CAR, name))
    assert found(path, label_config=tmp_path / "config.xml") == {"1": [("car", 35, [2, 2, 7, 5])]}


# Opacity.


def test_a_mask_of_one_weak_opacity_is_read_and_said() -> None:
    path = FILES / "weak-alpha" / "export.json"
    assert found(path) == {"1": [("car", 35, [2, 2, 7, 5])]}
    dataset = mc.read(path)
    (sample,) = mc.read(path, soft=True)
    assert sample.regions[0].edge is None
    list(dataset)
    assert dataset.notes.counts == {"regions drawn fainter than half throughout, read as drawn": 1}


LINE = np.zeros((HEIGHT, WIDTH), bool)
LINE[4:6] = True
BLOCK = np.zeros((HEIGHT, WIDTH), bool)
BLOCK[4:7, 3:6] = True
SPECKLED = np.where(BLOCK, np.uint8(100), np.uint8(0))
SPECKLED[5, 4] = 99


@pytest.mark.parametrize(
    ("alpha", "pixels"),
    [
        (np.where(BLOCK, 127, 0), 9),
        (np.where(BLOCK, 26, 0), 9),
        (np.where(BLOCK, 1, 0), 0),  # not to be seen in the editor
        (np.where(LINE, 63, 0), 0),  # what the eraser left of an edge
        (SPECKLED, 0),  # a soft rest
        (np.where(BLOCK, 127, 0) + np.where(LINE, 128, 0), 40),  # where some of it is strong, the rest is an edge
    ],
)
def test_what_faint_pixels_are(tmp_path: Path, alpha: Any, pixels: int) -> None:
    value = {"format": "rle", "rle": list(studio_rle.encode_alpha(np.minimum(alpha, 255).astype(np.uint8)))}
    path = exported(tmp_path, labelled("brushlabels", value), labelled("brushlabels", brush(LINE), "b", "r2"))
    areas = [area for label, area, _ in found(path)["1"] if label == "car"]
    assert areas == [pixels]
    assert counted(path) == ({} if pixels else {"regions fainter than half throughout, read as empty": 1})


@pytest.mark.parametrize(
    "empty",
    [labelled("rectanglelabels", {**CAR, "width": 0}), labelled("brushlabels", brush(np.zeros((HEIGHT, WIDTH))))],
)
def test_a_region_without_a_pixel_is_a_region_and_said(tmp_path: Path, empty: dict[str, Any]) -> None:
    dataset = mc.read(exported(tmp_path, empty), "labelstudio")
    (sample,) = dataset
    assert sample.masks.areas().tolist() == [0]
    assert dataset.notes.counts == {"regions without a pixel": 1}
    assert not dataset.skipped


# Tasks and files.


def test_an_empty_task_whose_image_is_elsewhere_is_counted(tmp_path: Path) -> None:
    path = FILES / "empty-task" / "export.json"
    assert found(path) == {"1": [("car", 35, [2, 2, 7, 5])]}
    assert list(counted(path).values()) == [1]
    for name in ("a.png", "0a1b2c3d-b.png"):
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / name)
    assert found(path, images_from=tmp_path) == {"1": [("car", 35, [2, 2, 7, 5])], "2": []}


def storage_file(folder: Path, number: int, at: str, label: str, task_id: int = 1, **data: Any) -> None:
    task = {"id": task_id, "data": {"image": "/data/upload/1/0a1b2c3d-a.png", **data}, "updated_at": f"then {number}"}
    record = {
        "id": number,
        "updated_at": f"2026-01-0{at}T10:00:00Z",
        "result": [labelled("rectanglelabels", CAR, label)],
    }
    (folder / str(number)).write_text(json.dumps({**record, "task": task, "completed_by": {"id": number}}))


def test_a_storage_folder_with_two_annotators_is_read_as_an_export(tmp_path: Path) -> None:
    storage_file(tmp_path, 3, "3", "latest")
    storage_file(tmp_path, 20, "1", "oldest")
    storage_file(tmp_path, 100, "2", "older")
    storage_file(tmp_path, 21, "1", "other", task_id=2)
    box = [2, 2, 7, 5]
    assert found(tmp_path) == {"1": [("latest", 35, box)], "2": [("other", 35, box)]}
    assert len(list(mc.read(tmp_path))) == mc.read(tmp_path).count == 2
    every = found(tmp_path, annotations="all")
    assert [(name, regions[0][0]) for name, regions in every.items()] == [
        ("1-annotation-100", "older"),
        ("1-annotation-20", "oldest"),
        ("1-annotation-3", "latest"),
        ("2", "other"),
    ]


def test_storage_files_of_two_projects_are_not_one_task(tmp_path: Path) -> None:
    storage_file(tmp_path, 1, "1", "car")
    storage_file(tmp_path, 2, "2", "car", scene="another")
    with pytest.raises(FormatError, match=r"2, task 1: the task has other data than in .*1, task 1; .*two projects"):
        list(mc.read(tmp_path, "labelstudio"))


@pytest.mark.parametrize("first", ["label", "rating"])
def test_json_min_with_a_rating_a_region(tmp_path: Path, first: str) -> None:
    sized = {"original_width": WIDTH, "original_height": HEIGHT}
    parts = {
        "label": [{**CAR, "rectanglelabels": ["car"], **sized}, {**brush(BLOCK), "brushlabels": ["dot"], **sized}],
        "rating": [{**CAR, "rating": 4, **sized}, {**brush(BLOCK), "rating": 2, **sized}],
        "why": [{**CAR, "text": ["dark"], **sized}],
    }
    order = {name: parts[name] for name in (first, *parts)}
    record = {"id": 1, "image": "/data/upload/1/0a1b2c3d-a.png", **order, "annotation_id": 5, "annotator": 1}
    (tmp_path / "min.json").write_text(json.dumps([record]))
    (sample,) = mc.read(tmp_path / "min.json", "labelstudio")
    ratings = {
        int(area): [one["value"].get("rating") for one in region.attributes["labelstudio"]["results"]]
        for region, area in zip(sample.regions, sample.masks.areas(), strict=True)
    }
    assert {area: sorted(map(str, values)) for area, values in ratings.items()} == {35: ["4", "None"], 9: ["2"]}
    assert counted(tmp_path / "min.json") == {}


def test_a_host_that_is_none_is_only_a_name(tmp_path: Path) -> None:
    path = exported(tmp_path, labelled("rectanglelabels", CAR), data={"image": "http://[a/x.png"})
    (sample,) = mc.read(path, "labelstudio")
    assert (sample.image.name, sample.image.uri) == ("x.png", "http://[a/x.png")


def test_images_of_one_name_in_two_folders_are_not_mixed_up(tmp_path: Path) -> None:
    """The end of an address leads to one file for both: neither gets it, and both are named."""
    records = [
        {
            "id": number,
            "data": {"image": f"s3://b/{part}/0001.png"},
            "annotations": [{"id": number, "result": [labelled("rectanglelabels", CAR)]}],
        }
        for number, part in enumerate(("train", "val"), 1)
    ]
    (tmp_path / "export.json").write_text(json.dumps(records))
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "0001.png")
    with pytest.raises(FormatError, match=r"task 1: s3://b/train/0001\.png and s3://b/val/0001\.png both lead to"):
        list(mc.read(tmp_path / "export.json"))
    skipping = mc.read(tmp_path / "export.json", on_error="skip")
    assert list(skipping) == []
    for part in ("train", "val"):
        (tmp_path / "images" / part).mkdir(parents=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "images" / part / "0001.png")
    sources = [sample.image.source for sample in mc.read(tmp_path / "export.json")]
    assert sources == [tmp_path / "images" / part / "0001.png" for part in ("train", "val")]


def test_drawn_pixels_that_another_label_hides_are_said(tmp_path: Path) -> None:
    results = [labelled("brushlabels", brush(BLOCK)), labelled("brushlabels", brush(LINE), "road", "r2")]
    dataset = mc.read(exported(tmp_path, *results), "labelstudio")
    (sample,) = dataset
    assert isinstance(sample, Sample)
    hidden = int((BLOCK & LINE).sum())
    assert dataset.notes.counts == {"pixels under a region of another label": hidden}
    assert "6 of road" in dataset.notes.lines()[0]
    ids, masks = RunList.from_label_map(sample.label_map(dataset.labels))
    assert dict(zip(ids.tolist(), masks.areas().tolist(), strict=True))[0] == int(BLOCK.sum())


@pytest.mark.parametrize("hop", ["labelstudio", "coco", "png", "tfrecord"])
@pytest.mark.parametrize(
    ("kind", "areas"),
    [("ellipse", {"car": 35, "sun": 36}), ("weak-alpha", {"car": 35}), ("storage", {"latest": 35})],
)
def test_they_have_the_same_pixels_in_every_format(tmp_path: Path, kind: str, areas: dict[str, int], hop: str) -> None:
    source = FILES / kind / "export.json"
    if kind == "storage":
        source = tmp_path / "storage"
        source.mkdir()
        storage_file(source, 3, "3", "latest")
        storage_file(source, 20, "1", "older")
    report = mc.convert(source, tmp_path / "out", hop, strict=True, verify=True)
    assert (report.written.samples, report.verified) == (1, 1)
    dataset = mc.read(tmp_path / "out")
    (sample,) = dataset
    names = [dataset.labels.by_id(region.label).name for region in sample.regions]
    assert dict(zip(names, sample.masks.areas().tolist(), strict=True)) == areas
