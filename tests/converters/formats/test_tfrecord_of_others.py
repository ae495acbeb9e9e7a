"""TFRecord files as other tools leave them: records without objects, names without numbers, paths of other machines."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maskloop_converters import convert
from maskloop_converters.codecs import png
from maskloop_converters.codecs.tfexample import encode_example, write_records
from maskloop_converters.errors import FormatError
from maskloop_converters.formats import tfrecord
from maskloop_converters.masks import RunList
from maskloop_converters.samples import Dataset, ImageRef, LabelSet, Region, Sample

MASK = np.zeros((4, 6), np.uint8)
MASK[1:3, 1:4] = 1
ONES = int(MASK.sum())
LABELS = LabelSet.from_names(["sky", "car", "bus"])


def picture() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


def saved(path: Path, *records: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        write_records(file, [encode_example(record) for record in records])
    return path


def detection(name: str, *objects: str, labels: tuple[int, ...] = (), **other: Any) -> dict[str, Any]:
    """A record of the Object Detection API; a list without a value is not there, as TensorFlow leaves it out."""
    record: dict[str, Any] = {
        "image/encoded": picture(),
        "image/filename": name,
        "image/source_id": name,
        "image/height": 4,
        "image/width": 6,
        **other,
    }
    if objects:
        record["image/object/class/text"] = list(objects)
        record["image/object/mask"] = [png.write_label_map(MASK)] * len(objects)
    if labels:
        record["image/object/class/label"] = np.array(labels)
    return record


def areas(dataset: Dataset) -> dict[str, int]:
    names = {label.id: label.name for label in dataset.labels.labels}
    found: dict[str, int] = {}
    for sample in dataset:
        for region, area in zip(sample.regions, sample.masks.areas().tolist(), strict=True):
            found[names[region.label]] = found.get(names[region.label], 0) + area
    return found


def test_the_first_record_has_no_objects(tmp_path: Path) -> None:
    saved(tmp_path / "x/train.record", detection("a.png"), detection("b.png", "car", labels=(1,)))
    (tmp_path / "x/label_map.pbtxt").write_text("item { id: 1 name: 'car' }")
    assert tfrecord.detect(tmp_path / "x") is None
    dataset = tfrecord.read(tmp_path / "x")
    assert [len(sample.regions) for sample in dataset] == [0, 1]
    assert areas(dataset) == {"car": ONES}
    assert convert(tmp_path / "x", tmp_path / "out", "coco", verify=True).verified == 2


def test_boxes_alone_are_no_masks(tmp_path: Path) -> None:
    boxes = {"image/object/bbox/xmin": np.array([0.5], np.float32)}
    saved(tmp_path / "x/train.record", *[detection(str(k), **boxes) for k in range(3)])
    assert "none of the first 3 records has masks" in str(tfrecord.detect(tmp_path / "x"))


@pytest.mark.parametrize("empty", ["train-00000-of-00002.tfrecord", "a.tfrecord"])
def test_an_empty_first_shard(tmp_path: Path, empty: str) -> None:
    saved(tmp_path / "x" / empty)
    saved(tmp_path / "x/train-00001-of-00002.tfrecord", detection("a.png", "car", labels=(1,)))
    if empty == "a.tfrecord":
        saved(tmp_path / "x/train-00000-of-00002.tfrecord")
    (tmp_path / "x/label_map.pbtxt").write_text("item { id: 1 name: 'car' }")
    assert tfrecord.detect(tmp_path / "x") is None
    assert areas(tfrecord.read(tmp_path / "x")) == {"car": ONES}


def test_names_stand_in_the_records_alone(tmp_path: Path) -> None:
    saved(tmp_path / "x/train.record", detection("a"), detection("b", "car", "bus"), detection("c", "bus"))
    dataset = tfrecord.read(tmp_path / "x")
    assert [(label.id, label.name) for label in dataset.labels.labels] == [(1, "bus"), (2, "car")]
    assert areas(dataset) == {"bus": 2 * ONES, "car": ONES}
    assert "named as their records say" in dataset.notes.lines()[0]
    (tmp_path / "x/label_map.pbtxt").write_text("item { id: 5 name: 'car' } item { id: 9 name: 'bus' }")
    assert areas(tfrecord.read(tmp_path / "x")) == {"bus": 2 * ONES, "car": ONES}
    (tmp_path / "x/label_map.pbtxt").write_text("item { id: 5 name: 'car' }")
    with pytest.raises(FormatError, match=r"class/text says \['bus'\], which are no labels; there are: car"):
        list(tfrecord.read(tmp_path / "x"))


def test_numbers_and_names_in_the_records(tmp_path: Path) -> None:
    path = tmp_path / "x/train.record"
    saved(path, detection("a", "car", labels=(7,)), detection("b", "bus", labels=(3,)))
    dataset = tfrecord.read(tmp_path / "x")
    assert [(label.id, label.name) for label in dataset.labels.labels] == [(3, "bus"), (7, "car")]
    saved(path, detection("a", "car", labels=(7,)), detection("b", "bus", labels=(7,)))
    with pytest.raises(FormatError, match="label 7 is 'bus', in records before it is 'car'"):
        tfrecord.read(tmp_path / "x")


def test_a_list_that_contradicts_the_records_is_an_error(tmp_path: Path) -> None:
    saved(tmp_path / "x/train.record", detection("a", "car", labels=(2,)))
    (tmp_path / "x/label_map.pbtxt").write_text("item { id: 1 name: 'car' } item { id: 2 name: 'bus' }")
    with pytest.raises(
        FormatError, match=r"label is 2, which the list calls 'bus', and its .* is 'car', which has number 1"
    ):
        list(tfrecord.read(tmp_path / "x"))


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("/data/train/a.png", "data/train/a.png"),
        ("C:\\data\\a.png", "data/a.png"),
        ("../images/a.png", "images/a.png"),
        ("s3://bucket/train/a.png", "train/a.png"),
        ("https://host/x/a.png?token=1", "x/a.png"),
        ("train/a.png", "train/a.png"),
    ],
)
@pytest.mark.parametrize("target", ["png", "coco", "tfrecord", "labelstudio"])
def test_file_names_of_other_machines(tmp_path: Path, said: str, name: str, target: str) -> None:
    saved(tmp_path / "x/train.record", detection(said, "car", labels=(1,)))
    (only,) = tfrecord.read(tmp_path / "x")
    assert only.image.name == name
    assert convert(tmp_path / "x", tmp_path / "out", target, verify=True).verified == 1


def test_parts_whose_records_have_equal_ids(tmp_path: Path) -> None:
    for part in ("train", "val"):
        saved(tmp_path / f"x/{part}.record", detection("0", "car", labels=(1,)))
    dataset = tfrecord.read(tmp_path / "x")
    assert [sample.id for sample in dataset] == ["0", "val/0"]
    assert [sample.id for sample in tfrecord.read(tmp_path / "x", split="val")] == ["0"]
    assert convert(tmp_path / "x", tmp_path / "out", "labelstudio", verify=True).verified == 2


def test_folders_of_parts(tmp_path: Path) -> None:
    for part in ("val", "train"):
        saved(tmp_path / f"x/{part}/data.tfrecord", detection(part, "car", labels=(1,)))
    (tmp_path / "x/label_map.pbtxt").write_text("item { id: 1 name: 'car' }")
    assert tfrecord.detect(tmp_path / "x") is None
    assert tfrecord.splits(tmp_path / "x") == ("train", "val")
    assert [sample.id for sample in tfrecord.read(tmp_path / "x")] == ["train", "val"]


@pytest.mark.parametrize("schema", ["segmentation", "panoptic", "detection", "tfds"])
def test_what_a_split_writes_is_read_at_its_place(tmp_path: Path, schema: str) -> None:
    samples = [
        Sample(
            str(k), ImageRef(f"{k}.png", picture()), RunList.from_masks([MASK == 1], height=4, width=6), (Region(1),)
        )
        for k in range(10)
    ]
    tfrecord.write(Dataset(LABELS, samples), tmp_path / "in")
    convert(tmp_path / "in", tmp_path / "out", "tfrecord", split=(50, 50), write_options={"schema": schema})
    assert tfrecord.splits(tmp_path / "out") == ("train", "val")
    assert sorted(sample.id for sample in tfrecord.read(tmp_path / "out")) == sorted(map(str, range(10)))


@pytest.mark.parametrize("schema", ["segmentation", "panoptic"])
def test_class_255_of_300_in_records_of_others(tmp_path: Path, schema: str) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x/labels.txt").write_text("".join(f"class {k}\n" for k in range(300)))
    values = np.where(MASK, 255, 299)
    encoded = png.write_label_map(values.astype(np.uint16))
    raw = (values * 1000).astype("<i4").tobytes()
    record = {
        "image/encoded": picture(),
        "image/filename": "a.png",
        "image/segmentation/class/encoded": raw if schema == "panoptic" else encoded,
        "image/segmentation/class/format": "raw" if schema == "panoptic" else "png",
    }
    saved(tmp_path / "x/train.tfrecord", record)
    assert areas(tfrecord.read(tmp_path / "x")) == {"class 255": ONES, "class 299": MASK.size - ONES}
