"""Releases and exports with masks of their own kind: ADE20K, COCO stuff's pixel maps, Label Studio's older brush exports."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_studio_sdk.converter import brush
from PIL import Image
from scipy.io import savemat

from maskloop_converters import convert
from maskloop_converters import datasets as anywhere
from maskloop_converters.errors import FormatError
from maskloop_converters.formats import labelstudio, png
from maskloop_converters.samples import Dataset, LabelSet

FIXTURES = Path(__file__).parents[2] / "fixtures" / "label-studio"


def save(path: Path, pixels: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)
    return path


def photo(path: Path, height: int, width: int) -> Path:
    return save(path, np.full((height, width, 3), 90))


def regions(dataset: Dataset) -> dict[str, list[tuple[str, int | None, int]]]:
    """Name, number of the object and pixels of each region, by sample."""
    names = {label.id: label.name for label in dataset.labels.labels}
    return {
        sample.id: [
            (names[region.label], region.instance, area)
            for region, area in zip(sample.regions, sample.masks.areas().tolist(), strict=True)
        ]
        for sample in dataset
    }


# ADE20K: class = red / 10 * 256 + green; blue tells objects apart.

WALL, SKY, BED = 2978, 2420, 165
CLASSES = np.array([[WALL, WALL, WALL, BED, BED], [SKY, SKY, BED, BED, 0]])
OBJECTS = np.array([[9, 9, 9, 40, 40], [77, 77, 200, 200, 0]])  # two beds
ADE = [("bed", 2, 2), ("bed", 4, 2), ("sky", 3, 2), ("wall", 1, 3)]


def ade20k(folder: Path, name: str, *, table: bool) -> None:
    seg = np.stack([CLASSES // 256 * 10 + 3 * (CLASSES > 0), CLASSES % 256, OBJECTS], 2)
    photo(folder / f"{name}.jpg", 2, 5)
    save(folder / f"{name}_seg.png", seg)
    save(folder / f"{name}_parts_1.png", seg * 0)
    if table:
        names = {WALL: "wall", SKY: "sky", BED: "bed", 9: "séen elsewhere"}
        things = [{"id": k, "name": n, "name_ndx": i, "raw_name": f"my {n}"} for k, (i, n) in enumerate(names.items())]
        text = json.dumps({"annotation": {"filename": f"{name}.jpg", "object": things}}, ensure_ascii=False)
        (folder / f"{name}.json").write_bytes(text.encode("latin-1"))


def index(path: Path) -> None:
    names = np.array([f"name {k}" for k in range(1, WALL + 1)], object)
    for number, name in ((WALL, "wall"), (SKY, "sky"), (BED, "bed")):
        names[number - 1] = name
    savemat(path, {"index": {"objectnames": names}})


@pytest.mark.parametrize("release", ["2017", "2021", "list"])
def test_ade20k(tmp_path: Path, release: str) -> None:
    root = tmp_path / "ADE20K"
    images = root / "images" / "ADE" if release == "2021" else root / "images"
    for part, k in (("training", "train_00000001"), ("validation", "val_00000002")):
        ade20k(images / part / "b" / "bedroom", f"ADE_{k}", table=release == "2021")
    if release == "2017":
        index(root / "index_ade20k.mat")
    elif release == "list":
        (root / "labels.txt").write_text(f"{BED} bed\n{SKY} sky\n{WALL} wall\n")
    assert anywhere.detect(root) == "png"
    dataset = png.read(root)
    assert dataset.labels.ignore_id == 0
    assert (dataset.labels.by_name("wall").id, dataset.labels.by_name("bed").id) == (WALL, BED)
    assert regions(dataset) == {"ADE_train_00000001": ADE, "ADE_val_00000002": ADE}
    assert png.splits(root) == ("training", "validation")
    assert "masks of the parts of objects" in "".join(dataset.skipped.lines())
    (only,) = png.read(root, split="validation")
    assert only.image.name == "b/bedroom/ADE_val_00000002.jpg"
    assert only.label_map(dataset.labels).tolist() == CLASSES.tolist()
    assert convert(root, tmp_path / "out", "coco", verify=True).verified == 2


def test_ade20k_without_names(tmp_path: Path) -> None:
    ade20k(tmp_path / "training", "ADE_train_00000001", table=False)
    dataset = png.read(tmp_path)
    assert [label.name for label in dataset.labels.labels] == [f"class {BED}", f"class {SKY}", f"class {WALL}"]
    list(dataset)
    assert "put index_ade20k.mat beside, or give --labels" in "".join(dataset.notes.lines())
    given = LabelSet.from_names(["wall", "sky"])
    with pytest.raises(
        FormatError, match=r"ADE_train_00000001_seg\.png holds the classes \[165, 2420, 2978\].*--labels"
    ):
        list(png.read(tmp_path, labels=given))
    (tmp_path / "index_ade20k.mat").write_bytes(b"MATLAB 5.0 MAT-file, damaged")
    with pytest.raises(FormatError, match=r"index_ade20k\.mat: no index of ADE20K"):
        png.read(tmp_path)


# COCO stuff.


def coco_names(path: Path) -> None:
    path.write_text("0: unlabeled\n" + "".join(f"{k}: thing {k}\n" for k in range(1, 183)))


STUFF = np.array([[0, 0, 181, 255], [91, 0, 181, 255]])


@pytest.mark.parametrize("folder", ["stuffthingmaps", "stuffthingmaps_trainval2017"])
@pytest.mark.parametrize("images", [".", "images"])
@pytest.mark.parametrize("named", [True, False])
def test_coco_stuff_maps(tmp_path: Path, folder: str, images: str, named: bool) -> None:
    """A map holds the category less one: the list's 1 is its 0, and the list's 0, what nobody judged, its 255."""
    root = tmp_path / "coco"
    for part, k in (("train2017", "000000000009"), ("val2017", "000000000139")):
        photo(root / images / part / f"{k}.jpg", 2, 4)
        save(root / folder / part / f"{k}.png", STUFF)
    if named:
        coco_names(root / "labels.txt")
    assert anywhere.detect(root) == "png"
    dataset = png.read(root)
    names = ("thing 1", "thing 92", "thing 182") if named else ("class 0", "class 91", "class 181")
    found = [(name, None, area) for name, area in zip(names, (3, 1, 2), strict=True)]
    assert regions(dataset) == {"000000000009": found, "000000000139": found}
    assert (len(dataset.labels.labels), dataset.labels.ignore_id, png.splits(root)) == (
        182,
        255,
        ("train2017", "val2017"),
    )
    assert ("a labels.txt beside, or --labels, names them" in "".join(dataset.notes.lines())) is not named
    assert convert(root, tmp_path / "out", "coco", verify=True).verified == 2


@pytest.mark.parametrize("both", [True, False])
def test_coco_stuff_train_ids(tmp_path: Path, both: bool) -> None:
    trained = np.array([[0, 0, 170, 255], [91, 0, 170, 255]])
    photo(tmp_path / "images" / "train2017" / "9.jpg", 2, 4)
    save(tmp_path / "annotations" / "train2017" / "9_labelTrainIds.png", trained)
    if both:
        save(tmp_path / "annotations" / "train2017" / "9.png", STUFF)
    dataset = png.read(tmp_path)
    assert regions(dataset) == {"9": [("class 0", None, 3), ("class 91", None, 1), ("class 170", None, 2)]}
    assert len(dataset.labels.labels) == 171


# Label Studio's BRUSH_TO_PNG and BRUSH_TO_NUMPY.


@pytest.mark.parametrize("kind", ["png", "numpy"])
def test_brush_exports_hold_what_the_json_export_of_the_same_project_says(tmp_path: Path, kind: str) -> None:
    if kind == "png":  # as Label Studio itself wrote it
        root = FIXTURES / "editor_brush_to_png"
    else:  # as its converter writes it
        root = tmp_path / "x"
        root.mkdir()
        for task in json.loads((FIXTURES / "editor_export_json.json").read_text()):
            for annotation in task["annotations"]:
                results = [{**r, **r["value"]} for r in annotation["result"] if r["type"] == "brushlabels"]
                args = (task["id"], annotation["id"], annotation["completed_by"], "tag", results, str(root))
                brush.save_brush_images_from_annotation(*args, out_format="numpy")
    assert anywhere.detect(root) == "png"
    ours = png.read(root)
    theirs = labelstudio.read(FIXTURES / "editor_export_json.json")
    tasks = json.loads((FIXTURES / "editor_export_json.json").read_text())
    expected = {}
    for task, sample in zip(tasks, theirs, strict=True):
        names = {label.id: label.name for label in theirs.labels.labels}
        masks = sorted((names[r.label], sample.masks.mask(k).tobytes()) for k, r in enumerate(sample.regions))
        if masks:
            expected[f"task-{task['id']}"] = masks
    names = {label.id: label.name for label in ours.labels.labels}
    found = {s.id: sorted((names[r.label], s.masks.mask(k).tobytes()) for k, r in enumerate(s.regions)) for s in ours}
    assert found == expected
    assert [sample.image.source for sample in ours] == [None] * len(expected)


def layer(root: Path, name: str, value: int = 200) -> None:
    save(root / f"task-{name}.png", np.full((3, 4), value))


def test_brush_files_are_grouped_by_task_and_the_newest_annotation_counts(tmp_path: Path) -> None:
    root = tmp_path / "export"
    for name in ("1-annotation-2-by-3-tag-Road-0", "1-annotation-2-by-3-tag-Road-1", "1-annotation-2-by-3-tag-a-b-0"):
        layer(root, name)
    layer(root, "1-annotation-12-by-ann@x.org-tag-traffic-light-0", 127)
    layer(root, "10-annotation-3-by--tag-Road-0")
    dataset = png.read(root)
    assert regions(dataset) == {"task-1": [("traffic-light", None, 0)], "task-10": [("Road", None, 12)]}
    assert dataset.skipped.counts == {"annotations of a task besides its newest": 1}
    (tmp_path / "labels.txt").write_text("Road\ntraffic/light\n")
    named = png.read(root, labels=tmp_path / "labels.txt")
    assert regions(named)["task-1"] == [("traffic/light", None, 0)]
    photo(tmp_path / "photos" / "task-1.jpg", 3, 4)
    assert [s.image.name for s in png.read(root, images_from=tmp_path / "photos")] == ["task-1.jpg", "task-10"]
    photo(tmp_path / "photos" / "task-10.png", 4, 3)
    with pytest.raises(FormatError, match=r"task-10.* is 4 x 3 pixels, its image is 3 x 4"):
        list(png.read(root, images_from=tmp_path / "photos"))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 4, 2), np.uint8), "expected an array of height x width, its head says .*3, 4, 2"),
        (np.zeros((3, 4), np.float32), "expected an array of uint8, height x width, it is '<f4'"),
        (np.array([[{"a": 1}]]), r"expected an array of uint8, height x width, it is '\|O'"),
        (np.zeros((0, 4), np.uint8), r"expected an array of uint8, height x width, it is .* of shape \(0, 4\)"),
        (b"\x93NUMPY\x01\x00", "expected an array of height x width"),
        (b"\x93NUMPY\x01\x00\x0c\x00{'descr': (\n", "expected an array of height x width"),
        (b"", "the array is damaged"),
    ],
)
def test_damaged_arrays_are_an_error_that_names_them(tmp_path: Path, array: Any, message: str) -> None:
    file = tmp_path / "task-1-annotation-2-by-3-tag-Road-0.npy"
    if isinstance(array, bytes):
        file.write_bytes(array)
    else:
        np.save(file, array, allow_pickle=True)
    with pytest.raises(FormatError, match=rf"Road-0\.npy: {message}"):
        list(png.read(tmp_path))


def test_an_array_in_columns_or_of_bool_is_the_same_mask(tmp_path: Path) -> None:
    mask = np.zeros((3, 4), np.uint8)
    mask[0, 1:] = 255
    for k, array in enumerate((mask, np.asfortranarray(mask), mask > 0)):
        np.save(tmp_path / f"task-{k}-annotation-1-by-1-tag-x-0.npy", array)
    for sample in png.read(tmp_path):
        assert sample.masks.mask(0).tolist() == (mask > 0).tolist()
    data = io.BytesIO()
    np.save(data, mask)
    (tmp_path / "task-0-annotation-1-by-1-tag-x-0.npy").write_bytes(data.getvalue()[:-1])
    with pytest.raises(FormatError, match="it holds 11 values, expected 3 x 4"):
        list(png.read(tmp_path))
    shutil.rmtree(tmp_path)
