"""COCO files as other tools write them: each was refused or read wrong once; the right values are those of its tool."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from pycocotools import mask as pycoco

import maskloop_converters as mc
from maskloop_converters.cli.convert import command
from maskloop_converters.errors import DataError, FormatError, TargetError
from maskloop_converters.registry import TARGETS
from maskloop_converters.report import Tally

FILES = Path(__file__).parents[1] / "fixtures" / "foreign" / "coco"
# The one mask of most files: a rectangle of 7 x 5 pixels in an image of 20 x 12.
BOX = [[2, 2, 9, 2, 9, 7, 2, 7]]
TRIANGLE = [[10, 2, 18, 2, 18, 9]]


def pixels(polygons: list[list[float]]) -> int:
    return int(pycoco.area(pycoco.merge(pycoco.frPyObjects(polygons, 12, 20))))


@dataclass(frozen=True)
class Case:
    """A file, and what is right: by sample the pixels of its regions by label; what is said of it."""

    file: str
    samples: dict[str, list[tuple[str, int]]]
    labels: list[str]
    said: list[str] = field(default_factory=list)


CAR = {"1": [("car", 35)]}
CASES = {
    "ids anew in each part": Case(
        "ids-anew-in-each-part",
        {"0": [("peix", 35)], "train/0": [("peix", 35)], "valid/0": [("peix", 35)]},
        ["peixos", "peix"],
        ["sample ids that another part has too"],
    ),
    "an annotation id twice": Case(
        "annotation-ids-twice/x.json",
        {"1": [("car", 35), ("car", pixels(TRIANGLE))]},
        ["car"],
        ["whose id another one"],
    ),
    "an annotation without a mask": Case(
        "annotation-without-mask/x.json", CAR, ["car"], ["annotations without a mask"]
    ),
    "iscrowd null": Case("loose-values/coco_crowdnull.json", CAR, ["car"]),
    "iscrowd 'false'": Case("loose-values/coco_crowdstr.json", CAR, ["car"]),
    "no size": Case("loose-values/coco_nosize.json", CAR, ["car"], ["sizes taken from the image"]),
    "size null": Case("loose-values/coco_nullsize.json", CAR, ["car"], ["sizes taken from the image"]),
    "size as text": Case("loose-values/coco_strsize.json", CAR, ["car"]),
    "size 0": Case("loose-values/zerosize.json", CAR, ["car"], ["sizes taken from the image"]),
    "ids as fractions": Case("loose-values/floatids.json", CAR, ["car"]),
    "images in data/": Case("image-folders/fo", CAR, ["car"]),
    "images in a folder called like the end of the file": Case(
        "image-folders/keypoints", {"1": [("person", 35)]}, ["person"]
    ),
    "the same for stuff": Case("image-folders/stuff", {"1": [("banner", 35)]}, ["banner"]),
    "one file of a folder": Case(
        "image-folders/stuff/annotations/stuff_val2017.json", {"1": [("banner", 35)]}, ["banner"]
    ),
    "parts with more labels": Case("parts-differ", {"0": [("car", 35)], "1": [("car", 35)]}, ["car", "bus"]),
    "project and class of one name": Case(
        "categories-of-one-name", {"0": [("peix", 35)]}, ["peix"], ["categories of one name"]
    ),
    "segments beside their file": Case(
        "segments-beside/panoptic/panoptic_2018.json",
        {"b": [("nature--sky", 205), ("object--vehicle--car", 35)]},
        ["nature--sky", "object--vehicle--car"],
        ["images out of reach"],
    ),
    **{
        f"file names: {name}": Case(f"file-names/{name}.json", {"0": [("car", 35)]}, ["car"])
        for name in ("abs", "url", "winabs", "result")
    },
}


def found(dataset: mc.Dataset) -> dict[str, list[tuple[str, int]]]:
    names = {label.id: label.name for label in dataset.labels.labels}
    return {
        sample.id: [(names[r.label], int(area)) for r, area in zip(sample.regions, sample.masks.areas(), strict=True)]
        for sample in dataset
    }


@pytest.mark.parametrize("to", ["png", "tfrecord", "labelstudio"])
@pytest.mark.parametrize("name", CASES)
def test_what_other_tools_wrote_is_read_right(tmp_path: Path, name: str, to: str) -> None:
    case = CASES[name]
    report = mc.convert(FILES / case.file, tmp_path / "out", to, verify=True)
    assert report.source_format == "coco"
    assert report.verified == len(case.samples)
    after = mc.read(tmp_path / "out")
    assert Counter(map(str, found(after).items())) == Counter(map(str, case.samples.items()))
    assert [label.name for label in after.labels.labels] == case.labels
    said = [*report.skipped.counts, *report.notes.counts, *report.written.notes.counts]
    assert len(said) >= len(case.said)
    for words in case.said:
        assert any(words in kind for kind in said), said
    if "images out of reach" not in case.said:
        assert all(sample.image.read_bytes() for sample in after)


def one(**changes: Any) -> dict[str, Any]:
    """A document of one image and one box; changes go into its records."""
    image = {"id": 1, "file_name": "a.png", "width": 20, "height": 12}
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": BOX, "iscrowd": 0}
    document = {"images": [image], "annotations": [annotation], "categories": [{"id": 1, "name": "car"}]}
    for key, change in changes.items():
        if key in ("image", "annotation"):
            document[f"{key}s"][0].update(change)
        else:
            document[key] = change
    return document


def read_one(folder: Path, document: dict[str, Any], **options: Any) -> tuple[dict[str, list[tuple[str, int]]], Tally]:
    Image.new("RGB", (20, 12)).save(folder / "a.png")
    (folder / "x.json").write_text(json.dumps(document))
    dataset = mc.read(folder / "x.json", "coco", **options)
    samples = found(dataset)
    said = Tally()
    said.merge(dataset.skipped)
    said.merge(dataset.notes)
    return samples, said


VIA_BOX = BOX[0]
RIGHT: dict[str, tuple[dict[str, Any], dict[str, list[tuple[str, int]]], int]] = {
    "VIA: image_id as text": (one(annotation={"image_id": "1"}), CAR, 0),
    "VIA: a flat polygon": (one(annotation={"segmentation": VIA_BOX}), CAR, 0),
    "image ids as text, owners as numbers": (one(image={"id": "1"}), CAR, 0),
    "a piece of two points": (one(annotation={"segmentation": [[1, 1, 5, 5], *BOX]}), CAR, 1),
    "two points only": (one(annotation={"segmentation": [[1, 1, 5, 5]]}), {"1": []}, 1),
    "segmentation null": (one(annotation={"segmentation": None}), {"1": []}, 1),
    "segmentation {}": (one(annotation={"segmentation": {}}), {"1": []}, 1),
    "iscrowd true": (one(annotation={"iscrowd": True}), CAR, 0),
    "iscrowd 1.0": (one(annotation={"iscrowd": 1.0}), CAR, 0),
    "no iscrowd": (one(annotation={"iscrowd": None}), CAR, 0),
    "category_id as text": (one(annotation={"category_id": "1"}), CAR, 0),
    "category ids as text": (one(categories=[{"id": "1", "name": "car"}]), CAR, 0),
    "width of no number": (one(image={"width": "?"}), CAR, 1),
    "only width": (one(image={"height": None}), CAR, 1),
    "size as fractions": (one(image={"height": 12.0, "width": 20.0}), CAR, 0),
    "LVIS: coco_url only": (
        one(image={"file_name": None, "coco_url": "http://images.cocodataset.org/val2017/a.png"}),
        CAR,
        0,
    ),
    "a category whose name is a number": (one(categories=[{"id": 1, "name": 7}]), {"1": [("7", 35)]}, 0),
    "a category that stands twice": (one(categories=[{"id": 1, "name": "car"}] * 2), CAR, 1),
    "two categories of one name, one without annotations": (
        one(categories=[{"id": 2, "name": "car"}, {"id": 1, "name": "car"}]),
        CAR,
        1,
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_loose_values_that_mean_one_thing(tmp_path: Path, name: str) -> None:
    document, right, said = RIGHT[name]
    samples, tally = read_one(tmp_path, document)
    assert samples == right
    assert tally.total == said, tally.lines()


def test_annotations_come_first(tmp_path: Path) -> None:
    document = one()
    first = {
        "annotations": document["annotations"] * 1,
        "images": document["images"],
        "categories": document["categories"],
    }
    first["annotations"][0]["comment"] = "x" * 70_000
    path = tmp_path / "x.json"
    path.write_text(json.dumps(first))
    assert mc.read(path).format == "coco"


def test_used_categories_of_one_name_are_one_label_or_told_apart_by_their_supercategory(tmp_path: Path) -> None:
    other = {"id": 2, "image_id": 1, "category_id": 2, "segmentation": TRIANGLE}
    annotations = [*one()["annotations"], other]
    same = one(annotations=annotations, categories=[{"id": 1, "name": "car"}, {"id": 2, "name": "car"}])
    samples, said = read_one(tmp_path, same)
    assert samples == {"1": [("car", 35), ("car", pixels(TRIANGLE))]}
    assert said.counts == {"categories of one name": 1}
    above = [{"id": 1, "name": "wheel", "supercategory": "car"}, {"id": 2, "name": "wheel", "supercategory": "bike"}]
    samples, said = read_one(tmp_path, one(annotations=annotations, categories=above))
    assert samples == {"1": [("wheel (car)", 35), ("wheel (bike)", pixels(TRIANGLE))]}
    assert said.counts == {"categories of one name": 1}


def test_a_size_that_nothing_tells_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(one(image={"width": None})))
    with pytest.raises(FormatError, match=r"image 1: height and width are missing.*--images-from DIR"):
        list(mc.read(path))
    rle = pycoco.encode(np.asfortranarray(np.eye(12, 20, dtype=np.uint8)))
    run_lengths = {"size": [12, 20], "counts": rle["counts"].decode()}
    path.write_text(json.dumps(one(image={"width": None}, annotation={"segmentation": run_lengths})))
    (only,) = mc.read(path)
    assert (only.height, only.width) == (12, 20)
    pictures = tmp_path / "elsewhere"
    pictures.mkdir()
    Image.new("RGB", (20, 12)).save(pictures / "a.png")
    path.write_text(json.dumps(one(image={"width": None})))
    (only,) = mc.read(path, images_from=pictures)
    assert only.image.source == pictures / "a.png"


BAD_INDEX = {
    "image_id null": one(annotation={"image_id": None}),
    "image_id a fraction": one(annotation={"image_id": 1.5}),
    "an annotation that is no object": one(annotations=[1]),
}


@pytest.mark.parametrize("name", BAD_INDEX)
def test_a_bad_record_of_the_index_is_skipped_not_the_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(FormatError, match=r"x\.json, annotation at byte \d+"):
        read_one(tmp_path, BAD_INDEX[name])
    samples, said = read_one(tmp_path, BAD_INDEX[name], on_error="skip")
    assert samples == {"1": []}
    assert said.counts == {"annotations skipped": 1}


@pytest.mark.parametrize("to", [name for name in TARGETS if name != "yolo"])  # has no place for ids
def test_parts_that_number_their_labels_differently_are_joined_by_name(tmp_path: Path, to: str) -> None:
    """A class that one part lacks shifts the numbers of the others: names say which is which."""
    lists = {"train": [(1, "car"), (2, "bus")], "val": [(1, "bus"), (3, "sign")]}
    (tmp_path / "in").mkdir()
    for part, names in lists.items():
        categories = [{"id": k, "name": name} for k, name in names]
        (tmp_path / "in" / f"instances_{part}.json").write_text(
            json.dumps(one(image={"file_name": f"{part}.png"}, categories=categories))
        )
    dataset = mc.read(tmp_path / "in")
    assert [(label.id, label.name) for label in dataset.labels.labels] == [(1, "car"), (2, "bus"), (3, "sign")]
    right = {"1": [("car", 35)], "val/1": [("bus", 35)]}
    assert found(dataset) == right
    assert dataset.notes.counts["labels that parts number differently, joined by their names"] == 1
    mc.convert(tmp_path / "in", tmp_path / "out", to, verify=True)
    assert found(mc.read(tmp_path / "out")) == right
    assert len(list(mc.read(tmp_path / "in", split="val"))) == 1


def test_equal_records_that_stand_twice_are_one(tmp_path: Path) -> None:
    document = one()
    document["images"] *= 2
    samples, said = read_one(tmp_path, document)
    assert samples == CAR
    assert said.total == 1
    document["images"] = [document["images"][0], {**document["images"][0], "file_name": "b.png"}]
    with pytest.raises(FormatError, match="image id 1 stands twice"):
        read_one(tmp_path, document)


def test_strict_refuses_what_was_not_taken(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="1 annotations without a mask"):
        mc.convert(FILES / "annotation-without-mask/x.json", tmp_path / "out", "png", strict=True)
    assert list(tmp_path.iterdir()) == []


def test_no_sample_at_all_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps(one(images=[], annotations=[])))
    with pytest.raises(DataError, match="holds no sample"):
        mc.convert(tmp_path / "x.json", tmp_path / "out", "png")
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_what_lies_beside_the_files_that_are_read_is_said(tmp_path: Path) -> None:
    for name in ("instances_train", "person_keypoints_train"):
        (tmp_path / f"{name}.json").write_text(json.dumps(one()))
    dataset = mc.read(tmp_path)
    assert found(dataset) == CAR
    assert dataset.notes.lines() == [
        "1 JSON files of another kind beside those that are read (person_keypoints_train.json)"
    ]
    (tmp_path / "instances_val.json").write_text('{"images": [')
    with pytest.raises(FormatError, match=r"instances_val\.json"):
        list(mc.read(tmp_path))
    dataset = mc.read(tmp_path, on_error="skip")
    assert found(dataset) == CAR
    assert dataset.skipped.counts == {"files skipped": 1}


def test_nan_in_other_fields_is_null(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps(one(image={"license": float("nan"), "tags": [float("inf"), 2]})))
    dataset = mc.read(tmp_path / "x.json")
    (only,) = dataset
    assert only.attributes == {"license": None, "tags": [None, 2]}
    assert dataset.notes.total == 1
    mc.convert(tmp_path / "x.json", tmp_path / "out", "png", verify=True)


def test_results_are_read_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "truth.json").write_text(json.dumps(one()))
    (tmp_path / "results.json").write_text(json.dumps([{**one()["annotations"][0], "score": 0.5}]))
    words = ["results.json", "out", "--to", "png", "--images-of", "truth.json"]
    done = CliRunner().invoke(command, [str(tmp_path / w) if w.endswith("json") or w == "out" else w for w in words])
    assert done.exit_code == 0, done.output
    (only,) = mc.read(tmp_path / "out")
    assert [region.score for region in only.regions] == [0.5]


def test_a_file_names_no_image_outside_its_folders(tmp_path: Path) -> None:
    """What stands under our key may be anybody's: it brings no file of the reader's disk into an output."""
    secret, dataset = tmp_path / "secret" / "a.png", tmp_path / "dataset"
    secret.parent.mkdir()
    dataset.mkdir()
    Image.new("RGB", (20, 12)).save(secret)
    for name in ("source", "name"):
        document = one(image={"file_name": "b.png", "maskloop": {name: str(secret)}})
        (dataset / "x.json").write_text(json.dumps(document))
        for sample in mc.read(dataset / "x.json"):
            assert sample.image.source is None


@pytest.mark.parametrize("to", [name for name in TARGETS if name != "yolo"])  # has no place for ids
def test_fields_of_categories_survive_a_new_name(tmp_path: Path, to: str) -> None:
    document = one(categories=[{"id": 1, "name": "car", "supercategory": "vehicle", "skeleton": [float("nan")]}] * 2)
    (tmp_path / "x.json").write_text(json.dumps(document))
    mc.convert(tmp_path / "x.json", tmp_path / "out", to, rename={"car": "auto"}, verify=True)
    assert found(mc.read(tmp_path / "out")) == {"1": [("auto", 35)]}


@pytest.mark.parametrize("bad", [None, 1, [], {"id": 2}, {"name": "bus"}, {"id": -1, "name": "bus"}])
def test_a_bad_category_is_left_out_not_the_file(tmp_path: Path, bad: Any) -> None:
    document = one(categories=[bad, {"id": 1, "name": "car"}])
    with pytest.raises(FormatError, match="categories: "):
        read_one(tmp_path, document)
    samples, said = read_one(tmp_path, document, on_error="skip")
    assert samples == CAR
    assert said.counts == {"categories skipped": 1}


@pytest.mark.parametrize("bad", [None, 1, {"id": 2}, {}])
def test_a_bad_first_image_is_left_out_not_the_file(tmp_path: Path, bad: Any) -> None:
    document = one()
    document["images"].insert(0, bad)
    with pytest.raises(FormatError, match="image"):
        read_one(tmp_path, document)
    samples, said = read_one(tmp_path, document, on_error="skip")
    assert samples == CAR
    assert said.counts == {"samples skipped": 1}
    assert mc.read(tmp_path / "x.json", on_error="skip").format == "coco"


def test_lvis_has_no_file_names_at_all(tmp_path: Path) -> None:
    document = one(image={"coco_url": "http://images.cocodataset.org/val2017/a.png"})
    del document["images"][0]["file_name"]
    Image.new("RGB", (20, 12)).save(tmp_path / "a.png")
    (tmp_path / "lvis_v1_val.json").write_text(json.dumps(document))
    dataset = mc.read(tmp_path / "lvis_v1_val.json")
    (only,) = dataset
    assert (only.image.name, only.image.source) == ("val2017/a.png", tmp_path / "a.png")
