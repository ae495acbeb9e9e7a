"""Damage that fuzz/formats.py found readers to stumble over: an error that names the place, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import maskloop_converters as mc
from maskloop_converters.errors import DataError, FormatError, LabelError, MaskloopError
from maskloop_converters.formats import tfrecord
from maskloop_converters.formats.labels import labels_from_json
from maskloop_converters.formats.records import dumps
from maskloop_converters.samples import Label, LabelSet

MakeDataset = Callable[..., mc.Dataset]


def rewritten(path: Path, change: Callable[[Any], object], line: int | None = None) -> None:
    lines = path.read_text().splitlines() if line is not None else [path.read_text()]
    document = json.loads(lines[line or 0])
    change(document)
    lines[line or 0] = json.dumps(document)
    path.write_text("\n".join(lines) + "\n")


def test_a_region_of_the_index_with_an_unknown_label(make: MakeDataset, tmp_path: Path) -> None:
    mc.write(make(2), tmp_path / "png", "png", masks="binary")
    rewritten(tmp_path / "png" / "maskloop.jsonl", lambda r: r["regions"][1].update(label=77), line=2)
    with pytest.raises(LabelError, match=r"maskloop\.jsonl, line 3: region 1 has label 77"):
        list(mc.read(tmp_path / "png"))
    skipping = mc.read(tmp_path / "png", on_error="skip")
    assert len(list(skipping)) == 1
    assert skipping.skipped


def test_a_hidden_region_of_coco_with_an_unknown_label(make: MakeDataset, tmp_path: Path) -> None:
    labels = LabelSet(make(1).labels.labels, ignore_id=2)
    mc.write(mc.Dataset(labels, make(1).samples), tmp_path / "coco", "coco")
    file = tmp_path / "coco" / "annotations" / "instances.json"
    rewritten(file, lambda d: d["images"][0]["maskloop"]["regions"][0].update(label=77))
    with pytest.raises(LabelError, match="label 77, which is not in the label set"):
        list(mc.read(tmp_path / "coco"))


def test_a_category_without_a_name(make: MakeDataset, tmp_path: Path) -> None:
    mc.write(make(1), tmp_path / "coco", "coco")
    file = tmp_path / "coco" / "annotations" / "instances.json"
    rewritten(file, lambda d: d["categories"].__setitem__(0, {"id": 3, "x": 1}))
    with pytest.raises(FormatError, match="categories: the name must be a text"):
        list(mc.read(tmp_path / "coco", "coco"))


@pytest.mark.parametrize(
    "own",
    [{"split": {}}, {"split": 3}, {"ignored": ""}, {"ignored": 300}, {"shift": "1"}, {"lengths": [-1]}, {"lengths": 3}],
)
def test_lists_beside_shards_that_are_damaged(make: MakeDataset, tmp_path: Path, own: dict[str, Any]) -> None:
    mc.write(make(1), tmp_path / "shards", "tfrecord")
    rewritten(tmp_path / "shards" / "labels.json", lambda d: d["tfrecord"].update(own))
    with pytest.raises(FormatError, match=r"labels\.json: not a label list"):
        tfrecord.read(tmp_path / "shards")


def test_a_result_whose_type_is_no_text(make: MakeDataset, tmp_path: Path) -> None:
    mc.write(make(1), tmp_path / "tasks", "labelstudio")
    rewritten(tmp_path / "tasks" / "tasks.json", lambda d: d[0]["annotations"][0]["result"][0].update(type=["x"]))
    (sample,) = mc.read(tmp_path / "tasks", "labelstudio")
    assert len(sample.regions) == 2
    assert sample.attributes["labelstudio"]["results"][0]["type"] == ["x"]
    assert isinstance(sample.attributes["labelstudio"]["results"][0]["value"]["rle"], list)


@pytest.mark.parametrize("label_id", [1 << 32, 1 << 70, -1])
def test_label_ids_that_no_label_map_holds(label_id: int) -> None:
    with pytest.raises(LabelError, match=r"not in 0\.\.4294967295"):
        LabelSet((Label(label_id, "x"),))
    with pytest.raises(LabelError):
        LabelSet((), ignore_id=label_id)


@pytest.mark.parametrize("color", [3, "red", [1, 2], [1, 2, "x"], [None] * 3, [1e400] * 3])
def test_colours_that_are_none(color: Any) -> None:
    with pytest.raises(LabelError, match="three numbers"):
        labels_from_json({"labels": [{"id": 0, "name": "a", "color": color}]})


def test_half_a_character_is_no_text() -> None:
    with pytest.raises(DataError, match="sample 1: an attribute is no JSON value"):
        dumps({"a": "\ud800"}, "sample 1")
    assert issubclass(DataError, MaskloopError)
    assert dumps({"a": "ü"}, "x") == '{"a":"ü"}'


def test_wide_label_maps_are_said(make: MakeDataset, tmp_path: Path) -> None:
    labels = LabelSet((Label(0, "sky"), Label(1, "road"), Label(2, "car"), Label(700, "tram")))
    wide = mc.Dataset(labels, make(2).samples, count=2)
    report = mc.write(wide, tmp_path / "wide", "tfrecord")
    assert report.notes.lines()[0].startswith(
        "2 label maps of 16 bits, as ids go up to 700: DeepLab and tf-models decode 8"
    )
    assert not mc.write(wide, tmp_path / "tfds", "tfrecord", schema="tfds").notes
    for before, after in zip(wide, mc.read(tmp_path / "wide"), strict=True):
        assert before.masks == after.masks
