"""Cityscapes with any of its kinds of files: what cityscapesScripts 2.3.0 drew of the polygons, and the polygons alone.

The masks in fixtures/png/cityscapes are that tool's (json2labelImg, json2instanceImg) of the polygons beside them, which are
random: 54 that are drawn, deleted ones, groups, classes with objects and without, licence plates, points outside the image.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import maskloop_converters as mc
from maskloop_converters.errors import FormatError
from maskloop_converters.formats.known_labels import CITYSCAPES
from maskloop_converters.formats.png import cityscapes_polygons

DRAWN = Path(__file__).parents[2] / "fixtures" / "png" / "cityscapes"
HEIGHT, WIDTH = 48, 96


def city(root: Path, *kinds: str, name: str = "a", image: bool = True) -> Path:
    """Save an image with some of the kinds of files of it."""
    folder = root / "gtFine" / "val" / "f"
    folder.mkdir(parents=True, exist_ok=True)
    for kind in kinds:
        (folder / f"{name}_gtFine_{kind}").write_bytes((DRAWN / f"a_gtFine_{kind}").read_bytes())
    if image:
        file = root / "leftImg8bit" / "val" / "f" / f"{name}_leftImg8bit.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(file)
    return root


def only(root: Path, **options: Any) -> mc.Sample:
    (sample,) = mc.read(root, **options)
    return sample


BOTH = ("labelIds.png", "instanceIds.png")


@pytest.mark.parametrize("kinds", [("polygons.json",), ("instanceIds.png",), ("polygons.json", "color.png"), BOTH])
def test_each_kind_alone_is_what_cityscapesscripts_drew(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    dataset = mc.read(city(tmp_path, *kinds))
    assert dataset.labels == CITYSCAPES
    (sample,) = dataset
    ids = np.asarray(Image.open(DRAWN / "a_gtFine_labelIds.png"))
    assert sample.label_map(CITYSCAPES).tolist() == ids.tolist()
    numbers = np.asarray(Image.open(DRAWN / "a_gtFine_instanceIds.png")).astype(int)
    found = {(r.label, r.instance): sample.masks.mask(k) for k, r in enumerate(sample.regions)}
    expected = {((v // 1000, v % 1000) if v >= 1000 else (v, None)): numbers == v for v in np.unique(numbers).tolist()}
    del expected[0, None]  # what nobody labelled
    assert found.keys() == expected.keys()
    assert sum(number is not None for _, number in found) > 10
    for key, mask in expected.items():
        assert found[key].tolist() == mask.tolist()


def test_objects_that_others_hide_have_no_region_and_keep_the_numbers_of_the_rest(tmp_path: Path) -> None:
    square: list[list[int]] = [[1, 1], [9, 1], [9, 9], [1, 9]]
    cars = [{"label": "car", "polygon": square}, {"label": "car", "polygon": square}]
    plate = {"label": "license plate", "polygon": square}
    group = {"label": "cargroup", "polygon": [[20, 20], [30, 20], [30, 30]]}
    deleted = {"label": "car", "polygon": square, "deleted": 1}
    saved(tmp_path, [*cars, plate, group, deleted])
    dataset = mc.read(tmp_path)
    (sample,) = dataset
    assert [(region.label, region.instance) for region in sample.regions] == [(26, None), (26, 1)]
    assert sample.masks.areas().tolist() == [66, 81]
    assert dataset.notes.counts["polygons that Cityscapes draws into no mask"] == 1


def test_every_image_is_read_from_the_kind_that_tells_most_of_it(tmp_path: Path) -> None:
    """A part of the dataset without its masks is not left out where its polygons are there."""
    city(tmp_path, "labelIds.png", "instanceIds.png", "polygons.json")
    for name, kind in (("b", "polygons.json"), ("c", "instanceIds.png")):
        city(tmp_path, kind, name=name)
    first, *others = mc.read(tmp_path)
    assert [sample.id for sample in others] == ["val/f/b", "val/f/c"]
    for other in others:
        assert other.masks == first.masks
        assert other.regions == first.regions
    assert mc.read(tmp_path, split="val").count == 3


def test_without_images_the_polygons_say_the_size(tmp_path: Path) -> None:
    sample = only(city(tmp_path, "polygons.json", image=False))
    assert (sample.height, sample.width, sample.image.source) == (HEIGHT, WIDTH, None)
    city(tmp_path / "pictures")
    found = only(tmp_path, images_from=tmp_path / "pictures" / "leftImg8bit")
    assert found.image.source is not None


def test_labels_of_a_list_decide_what_has_objects(tmp_path: Path) -> None:
    """The labelling tool is used for other classes too."""
    shape = [[1, 1], [9, 1], [9, 9]]
    saved(tmp_path, [{"label": "cow", "polygon": shape}, {"label": "grass", "polygon": [[20, 2], [30, 2], [30, 9]]}])
    with pytest.raises(FormatError, match=r"no label is named 'cow'; there are: unlabeled.*--labels"):
        only(tmp_path)
    labels = mc.LabelSet((mc.Label(1, "cow", thing=True), mc.Label(2, "grass")), background_id=0)
    assert [(region.label, region.instance) for region in only(tmp_path, labels=labels).regions] == [(1, 0), (2, None)]


def saved(root: Path, objects: Any, **fields: Any) -> Path:
    city(root)
    document = {"imgHeight": HEIGHT, "imgWidth": WIDTH, "objects": objects} | fields
    (root / "gtFine" / "val" / "f" / "a_gtFine_polygons.json").write_text(json.dumps(document))
    return root


CAR = {"label": "car", "polygon": [[1, 1], [9, 1], [9, 9]]}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "objects": ({"objects": {}}, "objects must be a list of objects"),
    "object": ({"objects": [CAR, 7]}, "objects must be a list of objects"),
    "size": ({"imgHeight": 50}, "the polygons are on 96 x 50 pixels, the image has 96 x 48"),
    "no size": ({"imgWidth": None}, "width must be a whole number"),
    "label": ({"objects": [CAR, CAR | {"label": 7}]}, "object 1: label must be a text"),
    "unknown": ({"objects": [CAR | {"label": "cow"}]}, "object 0: no label is named 'cow'"),
    "no polygon": ({"objects": [{"label": "car"}]}, "object 0: a polygon is pairs of numbers"),
    "nan": ({"objects": [CAR | {"polygon": [[1, 1], [2, math.nan], [3, 3]]}]}, "a polygon is pairs of numbers"),
    "points": ({"objects": [CAR | {"polygon": [[1, 1], [2, 2]]}]}, "three points or more, it has 2"),
    "far": ({"objects": [CAR | {"polygon": [[1, 1], [1e9, 2], [3, 3]]}]}, "far outside any image"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_polygons_are_named_and_skipped(tmp_path: Path, name: str) -> None:
    fields, message = BAD[name]
    saved(tmp_path, **{"objects": [CAR]} | fields)
    city(tmp_path, "polygons.json", name="b")
    with pytest.raises(FormatError, match=message) as caught:
        list(mc.read(tmp_path))
    assert "sample val/f/a: " in str(caught.value)
    assert "a_gtFine_polygons.json" in str(caught.value)
    assert [sample.id for sample in mc.read(tmp_path, on_error="skip")] == ["val/f/b"]


def test_a_number_that_is_no_class_is_named(tmp_path: Path) -> None:
    city(tmp_path)
    pixels = np.full((HEIGHT, WIDTH), 26003, np.uint16)
    pixels[0] = 77
    Image.fromarray(pixels).save(tmp_path / "gtFine" / "val" / "f" / "a_gtFine_instanceIds.png")
    with pytest.raises(FormatError, match=r"a_gtFine_instanceIds\.png holds the ids \[77\], which are no labels"):
        only(tmp_path)


def test_polygons_that_would_take_minutes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cityscapes_polygons, "_MOST_STEPS", 3 * 9 * 2)
    assert len(only(saved(tmp_path, [CAR, CAR])).regions) == 1
    with pytest.raises(FormatError, match="object 2: its points, after those before it, are more than an image's"):
        only(saved(tmp_path, [CAR, CAR, CAR]))
