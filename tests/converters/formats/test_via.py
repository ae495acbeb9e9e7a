"""VIA's JSON as VIA's canvas shows it, beside three independent drawers; which attribute is the class; and bad files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as pycoco

import maskloop_converters as mc
from foreign_files import HEIGHT, WIDTH, picture, via_export, via_project, via_records, via_region
from maskloop_converters.errors import FormatError, OptionError


def saved(root: Path, *regions: Any, **fields: Any) -> Path:
    """Save an export with one image that has these regions."""
    root.mkdir(parents=True, exist_ok=True)
    records = via_records(regions, root, ["a.jpg"])
    for record in records.values():
        record.update(fields)
    (root / "via.json").write_text(json.dumps(records))
    return root


def only(root: Path, **options: Any) -> mc.Sample:
    (sample,) = mc.read(root, **options)
    return sample


def outline(rng: np.random.Generator, corners: int) -> Any:
    """Return a polygon that does not cross itself: whole pixels, as VIA saves them; int64 (N, 2), x and y."""
    angles = np.sort(rng.random(corners)) * 2 * math.pi
    reach = 4 + rng.random(corners) * 9
    return np.stack([20 + reach * 1.4 * np.cos(angles), 15 + reach * np.sin(angles)], axis=1).round().astype(np.int64)


def test_polygons_have_the_pixels_of_vias_coco_export_and_lie_within_what_others_draw(tmp_path: Path) -> None:
    """VIA's COCO export has the same numbers; OpenCV and Pillow take the outline's pixels to a polygon, pycocotools half."""
    rng = np.random.default_rng(7)
    polygons = [outline(rng, 3 + k % 8) for k in range(40)]
    regions = [via_region("polygon", all_points_x=p[:, 0].tolist(), all_points_y=p[:, 1].tolist()) for p in polygons]
    sample = only(saved(tmp_path, *regions))
    assert len(sample.regions) == 40
    for k, polygon in enumerate(polygons):
        own = sample.masks.mask(k)
        flat = [polygon.ravel().astype(float).tolist()]
        assert (
            own.tolist() == pycoco.decode(pycoco.merge(pycoco.frPyObjects(flat, HEIGHT, WIDTH))).astype(bool).tolist()
        )
        by_opencv, edge = np.zeros((2, HEIGHT, WIDTH), np.uint8)
        cv2.fillPoly(by_opencv, [polygon.astype(np.int32)], 1)
        cv2.polylines(edge, [polygon.astype(np.int32)], True, 1)
        canvas = Image.new("L", (WIDTH, HEIGHT))
        ImageDraw.Draw(canvas).polygon([(int(x), int(y)) for x, y in polygon], fill=1, outline=1)
        for drawn in (by_opencv, np.asarray(canvas)):
            near = cv2.dilate(edge, np.ones((3, 3), np.uint8)).astype(bool)
            assert not ((own != (drawn > 0)) & ~near).any()


def test_rectangles_have_width_times_height_pixels(tmp_path: Path) -> None:
    boxes = [(0, 0, WIDTH, HEIGHT), (3, 4, 5, 6), (35, 20, 30, 30), (7, 7, 1, 1)]
    regions = [via_region("rect", x=x, y=y, width=w, height=h) for x, y, w, h in boxes]
    sample = only(saved(tmp_path, *regions))
    for k, (x, y, w, h) in enumerate(boxes):
        expected = np.zeros((HEIGHT, WIDTH), bool)
        expected[y : y + h, x : x + w] = True
        assert sample.masks.mask(k).tolist() == expected.tolist()


@pytest.mark.parametrize("theta", [None, 0, 0.6, -1.1, math.pi / 2])
def test_ellipses_and_circles_turn_as_the_canvas_does(tmp_path: Path, theta: float | None) -> None:
    """OpenCV turns clockwise too, in whole pixels: where it draws otherwise is at the edge."""
    turn = {} if theta is None else {"theta": theta}
    shapes = [via_region("ellipse", cx=20, cy=15, rx=12, ry=5, **turn), via_region("circle", cx=12, cy=11, r=7)]
    sample = only(saved(tmp_path, *shapes))
    ellipses = [((20, 15), (12, 5), math.degrees(theta or 0)), ((12, 11), (7, 7), 0)]
    for k, (center, axes, angle) in enumerate(ellipses):
        drawn, edge = np.zeros((2, HEIGHT, WIDTH), np.uint8)
        cv2.ellipse(drawn, center, axes, angle, 0, 360, 1, -1)
        cv2.ellipse(edge, center, axes, angle, 0, 360, 1, 1)
        near = cv2.dilate(edge, np.ones((3, 3), np.uint8)).astype(bool)
        assert not ((sample.masks.mask(k) != (drawn > 0)) & ~near).any()
        assert sample.masks.areas()[k] == pytest.approx(math.pi * axes[0] * axes[1], rel=0.03)


def test_an_export_and_a_project(tmp_path: Path) -> None:
    """The project offers classes in its order, and one that no region has; its list says the order of the images."""
    export, project = mc.read(via_export(tmp_path / "export")), mc.read(via_project(tmp_path / "project"))
    assert [(label.id, label.name) for label in export.labels.labels] == [(1, "bus"), (2, "car")]
    assert [(label.id, label.name) for label in project.labels.labels] == [(1, "bus"), (2, "car"), (3, "tram")]
    assert [sample.id for sample in export] == ["a", "b"]
    assert [sample.id for sample in project] == ["b", "a"]
    for one, other in zip(export, reversed(list(project)), strict=True):
        assert one.masks == other.masks
        assert one.regions == other.regions
    assert [region.label for region in one.regions] == [2, 1, 2, 1]
    assert one.regions[1].attributes == {"hidden": {"yes": True}}
    assert export.skipped.counts == {"regions that are no areas": 4}
    assert other.label_map(project.labels)[0, 0] == 0


def test_version_1_numbers_its_regions(tmp_path: Path) -> None:
    regions = [via_region("rect", x=1, y=1, width=3, height=2), via_region("rect", x=5, y=1, width=3, height=3)]
    root = saved(tmp_path, regions={"0": regions[0], "1": regions[1]})
    assert only(root).masks.areas().tolist() == [6, 9]


def labelled(*attributes: dict[str, Any]) -> list[Any]:
    return [via_region("rect", own, x=1, y=1, width=3, height=2) for own in attributes]


def named(dataset: mc.Dataset) -> list[str]:
    return [dataset.labels.by_id(region.label).name for sample in dataset for region in sample.regions]


@pytest.mark.parametrize(
    ("regions", "names", "note"),
    [
        (labelled({"kind": "car"}, {"kind": " bus "}), ["car", "bus"], ""),
        (labelled({"kind": 3}, {"kind": "12"}), ["3", "12"], ""),
        (labelled({"kind": {"car": True}}, {"kind": {"bus": True, "car": False}}), ["car", "bus"], ""),
        (labelled({"kind": "car", "note": ""}, {"kind": "bus", "note": ""}), ["car", "bus"], ""),
        (labelled({"id": "1", "Class": "car"}, {"id": "2", "Class": "bus"}), ["car", "bus"], "Class, of id, Class"),
        (labelled({"name": "car", "type": "x"}, {"name": "bus"}), ["car", "bus"], "name, of name, type"),
        (labelled({}, {}), ["object", "object"], "all are of one class"),
    ],
)
def test_which_attribute_is_the_class(tmp_path: Path, regions: list[Any], names: list[str], note: str) -> None:
    dataset = mc.read(saved(tmp_path, *regions))
    assert named(dataset) == names
    assert note in "\n".join(dataset.notes.lines())
    assert bool(note) == bool(dataset.notes)


def test_several_attributes_are_asked_for(tmp_path: Path) -> None:
    root = saved(tmp_path, *labelled({"make": "vw", "colour": "red"}, {"make": "kia", "colour": "red"}))
    with pytest.raises(FormatError, match=r"attributes make, colour; say which .* --attribute NAME"):
        mc.read(root)
    assert named(mc.read(root, attribute="make")) == ["vw", "kia"]
    assert only(root, attribute="make").regions[0].attributes == {"colour": "red"}
    with pytest.raises(FormatError, match="no region has the attribute 'size'; there are: make, colour"):
        mc.read(root, attribute="size")
    with pytest.raises(OptionError, match="only via has it"):
        mc.read(root, "coco", attribute="make")


def test_labels_of_a_list(tmp_path: Path) -> None:
    root = saved(tmp_path, *labelled({"class": "car"}))
    (root / "labels.txt").write_text("background\nbus\ncar\n")
    dataset = mc.read(root)
    assert [(label.id, label.name) for label in dataset.labels.labels] == [(0, "background"), (1, "bus"), (2, "car")]
    assert named(dataset) == ["car"]
    (root / "labels.txt").unlink()
    (root / "via.json").rename(root / "labels.json")  # what an export may be called too
    assert named(mc.read(root)) == ["car"]


def test_a_class_that_a_project_offers_and_nobody_drew_yet(tmp_path: Path) -> None:
    root = via_project(tmp_path, [], kind={"type": "radio", "options": {"car": "", "bus": ""}})
    dataset = mc.read(root)
    assert [label.name for label in dataset.labels.labels] == ["car", "bus"]
    assert [len(sample.regions) for sample in dataset] == [0, 0]


def test_names_that_are_not_unique_get_longer_ids(tmp_path: Path) -> None:
    records = via_records(labelled({"class": "car"}), tmp_path, ["a.jpg", "a.png", "b.jpg", "x/b.jpg", "c.d.jpg"])
    (tmp_path / "via.json").write_text(json.dumps(records))
    assert [sample.id for sample in mc.read(tmp_path)] == ["a.jpg", "a.png", "b", "x/b", "c.d"]


def test_images_of_another_machine_and_of_a_url(tmp_path: Path) -> None:
    names = ["C:\\photos\\a.jpg", "https://host/x/b.jpg"]
    record = {"regions": labelled({"class": "car"}), "file_attributes": {"by": "me"}, "size": -1}
    (tmp_path / "via.json").write_text(json.dumps({name: record | {"filename": name} for name in names}))
    picture(tmp_path / "a.jpg")
    picture(tmp_path / "images" / "b.jpg")
    one, other = mc.read(tmp_path)
    assert (one.image.name, one.image.uri, one.image.source) == ("photos/a.jpg", None, tmp_path / "a.jpg")
    assert (other.image.uri, other.image.source) == (names[1], tmp_path / "images" / "b.jpg")
    assert one.attributes == {"by": "me"}


def test_the_folder_of_a_project_counts_inside_the_dataset_only(tmp_path: Path) -> None:
    root = via_project(tmp_path / "d")
    file = root / "via_project.json"
    (root / "images").rename(root / "elsewhere")
    file.write_text(file.read_text().replace("./images/", "elsewhere/"))
    assert len(list(mc.read(root))) == 2
    (root / "elsewhere").rename(tmp_path / "elsewhere")
    file.write_text(file.read_text().replace("elsewhere/", "../elsewhere/"))
    with pytest.raises(FormatError, match=r"the image b\.jpg, which alone says its size, is not in"):
        list(mc.read(root))
    assert len(list(mc.read(root, images_from=tmp_path / "elsewhere"))) == 2


RECT = {"x": 1, "y": 1, "width": 3, "height": 2}
BAD: dict[str, tuple[Any, str]] = {
    "no shape": ({"region_attributes": {"class": "car"}}, "shape_attributes must be an object with a name"),
    "no object": (7, "shape_attributes must be an object with a name"),
    "no class": (via_region("rect", {}, **RECT), "the attribute 'class' must name one class, received None"),
    "empty class": (via_region("rect", {"class": " "}, **RECT), "must name one class"),
    "two classes": (via_region("rect", {"class": {"a": True, "b": True}}, **RECT), "must name one class"),
    "points": (via_region("polygon", all_points_x=[1, 2], all_points_y=[1, 2, 3]), "as many all_points_x"),
    "two points": (via_region("polygon", all_points_x=[1, 2], all_points_y=[1, 2]), "at least 3 points"),
    "nan": (via_region("polygon", all_points_x=[1, math.nan, 3], all_points_y=[1, 2, 4]), "finite numbers"),
    "far": (via_region("polygon", all_points_x=[1, 1e9, 3], all_points_y=[1, 2, 4]), "far outside"),
    "text": (via_region("rect", **(RECT | {"x": "1"})), "x must be a number, received '1'"),
    "huge": (via_region("circle", cx=10**400, cy=1, r=1), "cx must be a number"),
    "negative": (via_region("rect", **(RECT | {"width": -3})), "a rect of -3 x 2 is none"),
    "radius": (via_region("circle", cx=1, cy=1, r=-1), "not finite, negative"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_regions_are_named_and_skipped(tmp_path: Path, name: str) -> None:
    bad, message = BAD[name]
    root = saved(tmp_path, via_region("rect", **RECT), bad)
    with pytest.raises(FormatError, match=message) as caught:
        list(mc.read(root))
    assert "via.json, image 'a.jpg" in str(caught.value)
    assert "region 2" in str(caught.value)
    skipping = mc.read(root, on_error="skip")
    (sample,) = skipping
    assert sample.masks.areas().tolist() == [6]
    assert skipping.skipped.counts == {"regions skipped": 1}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"filename": None}, "filename must be a file's name, received None"),
        ({"filename": "b.jpg"}, "the image b.jpg, which alone says its size, is not in"),
        ({"regions": 7}, "expected an object with filename and regions"),
    ],
)
def test_bad_records_are_named(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    root = saved(tmp_path, via_region("rect", **RECT), **fields)
    with pytest.raises(FormatError, match=message) as caught:
        list(mc.read(root, "via"))
    assert "via.json, image 'a.jpg" in str(caught.value)


def test_detection_says_what_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text('{"project": {"pid": "__VIA_PROJECT_ID__"}, "config": {}, "metadata": {}}')
    with pytest.raises(FormatError, match=r"not via: .*a\.json is no JSON of VIA: it is a project of VIA 3"):
        mc.read(file)
    file.write_text('{"a": {"filename": "a.jpg"}}')
    with pytest.raises(
        FormatError, match=r"not via: .*a\.json is no JSON of VIA: it has neither _via_img_metadata nor"
    ):
        mc.read(file)
    via_export(tmp_path)
    via_project(tmp_path)
    with pytest.raises(FormatError, match=r"several files of VIA: via_project\.json, via_region_data\.json"):
        mc.read(tmp_path, "via")
