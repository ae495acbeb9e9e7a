"""SA-1B's JSON: the masks that pycocotools decodes, what is kept of each, and what is wrong with a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as pycoco

import maskloop_converters as mc
from foreign_files import HEIGHT, WIDTH, sa1b, sa1b_masks, sa1b_record
from maskloop_converters.errors import FormatError


def changed(root: Path, change: Any) -> Path:
    """Save one image and change its document."""
    sa1b(root, 1)
    (file,) = root.glob("*.json")
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))
    return root


def test_masks_are_those_that_pycocotools_decodes(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    masks = [rng.random((HEIGHT, WIDTH)) < share for share in (0.02, 0.5, 0.97)] * 30
    records = [sa1b_record(mask, number) for number, mask in enumerate(masks)]
    root = changed(tmp_path, lambda d: d.update(annotations=records))
    (sample,) = mc.read(root)
    decoded = {str(r["id"]): pycoco.decode(r["segmentation"]).astype(bool) for r in records}
    assert len(sample.regions) == len(records)
    for k, region in enumerate(sample.regions):
        assert sample.masks.mask(k).tolist() == decoded[region.id].tolist()
    areas = sample.masks.areas()
    assert (areas[:-1] >= areas[1:]).all()


def test_all_are_objects_and_a_part_lies_on_its_whole(tmp_path: Path) -> None:
    dataset = mc.read(sa1b(tmp_path))
    assert [(label.id, label.name, label.thing) for label in dataset.labels.labels] == [(1, "object", True)]
    first, second = dataset
    assert (first.id, second.id) == ("sa_223751", "sa_223752")
    part, whole, torn = sa1b_masks()
    assert first.masks.to_masks().tolist() == [whole.tolist(), torn.tolist(), part.tolist()]
    assert [region.id for region in first.regions] == ["532493181", "532493182", "532493180"]
    assert {region.instance for region in first.regions} == {1, 2, 3}
    assert first.label_map(dataset.labels).tolist() == (part | whole | torn).astype(int).tolist()
    assert first.attributes == {"image_id": 223751}
    region = first.regions[0]
    assert region.score == 0.9375
    assert dict(region.attributes) == {
        "predicted_iou": 0.9375,
        "stability_score": 0.96875,
        "crop_box": [0.0, 0.0, WIDTH, HEIGHT],
        "point_coords": [[10.5, 12.0]],
    }


def test_sub_folders_as_the_archives_have_them(tmp_path: Path) -> None:
    sa1b(tmp_path / "sa_000020", 1)
    sa1b(tmp_path / "sa_000021", 1)
    found = list(mc.read(tmp_path))
    assert [sample.id for sample in found] == ["sa_000020/sa_223751", "sa_000021/sa_223751"]
    assert [sample.image.name for sample in found] == ["sa_000020/sa_223751.jpg", "sa_000021/sa_223751.jpg"]
    assert [sample.image.source for sample in found] == [tmp_path / sample.image.name for sample in found]


def test_an_estimate_above_one_is_a_score_of_one(tmp_path: Path) -> None:
    root = changed(tmp_path, lambda d: d["annotations"][0].update(predicted_iou=1.0125))
    (sample,) = mc.read(root)
    assert sample.regions[-1].score == 1
    assert sample.regions[-1].attributes["predicted_iou"] == 1.0125


def test_images_that_are_not_there_are_kept_by_name(tmp_path: Path) -> None:
    """The archives of annotations are often unpacked without their images."""
    for image in sa1b(tmp_path).glob("*.jpg"):
        image.unlink()
    found = list(mc.read(tmp_path))
    assert [(sample.image.source, sample.height) for sample in found] == [(None, HEIGHT)] * 2


def test_the_annotations_may_stand_before_the_image(tmp_path: Path) -> None:
    root = sa1b(tmp_path, 1)
    (file,) = root.glob("*.json")
    document = json.loads(file.read_text())
    many = document["annotations"] * 200
    file.write_text(json.dumps({"annotations": many, "image": document["image"]}))
    assert file.stat().st_size > 1 << 16
    (sample,) = mc.read(root)
    assert len(sample.regions) == 600
    assert len({region.id for region in sample.regions if region.id}) == 3


def test_an_image_without_objects(tmp_path: Path) -> None:
    (sample,) = mc.read(changed(tmp_path, lambda d: d.update(annotations=[])))
    assert (sample.regions, sample.height, sample.width) == ((), HEIGHT, WIDTH)


RLE = sa1b_record(sa1b_masks()[0], 7)["segmentation"]
BAD_RECORDS: dict[str, tuple[dict[str, Any], str]] = {
    "no mask": ({"segmentation": None}, "it has no mask"),
    "other size": ({"segmentation": RLE | {"size": [WIDTH, HEIGHT]}}, r"the mask's size is \[40, 30\]"),
    "cut counts": ({"segmentation": RLE | {"counts": RLE["counts"][:-2]}}, "counts|runs"),
    "numbers": ({"segmentation": RLE | {"counts": 7}}, "counts must be a text"),
    "id": ({"id": [1]}, "id must be a number or a text"),
    "score": ({"predicted_iou": "high"}, "score must be a number"),
}


@pytest.mark.parametrize("name", BAD_RECORDS)
def test_bad_annotations_are_named_and_skipped(tmp_path: Path, name: str) -> None:
    fields, message = BAD_RECORDS[name]
    root = changed(tmp_path, lambda d: d["annotations"][1].update(fields))
    with pytest.raises(FormatError, match=message) as caught:
        list(mc.read(root))
    assert "sa_223751.json, annotation" in str(caught.value)
    skipping = mc.read(root, on_error="skip")
    (sample,) = skipping
    assert len(sample.regions) == 2
    assert skipping.skipped.counts == {"annotations skipped": 1}


BAD_FILES: dict[str, tuple[Any, str]] = {
    "size": (lambda d: d["image"].update(height=HEIGHT + 1), "height and width are 31 and 40, those of"),
    "huge": (lambda d: d["image"].update(height=10**6, width=10**6), "more than the"),
    "no size": (lambda d: d["image"].pop("height"), "image: height must be a whole number"),
    "no name": (lambda d: d["image"].update(file_name=None), "file_name must be a file's name"),
    "annotations": (lambda d: d.update(annotations=[7]), "annotations must be a list of objects"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_named_and_skipped(tmp_path: Path, name: str) -> None:
    change, message = BAD_FILES[name]
    root = changed(tmp_path, change)
    (root / "sa_9.json").write_text((root / "sa_223751.json").read_text()[:90])
    with pytest.raises(FormatError, match=message) as caught:
        list(mc.read(root, "sa1b"))
    assert "sa_223751.json" in str(caught.value)
    skipping = mc.read(root, "sa1b", on_error="skip")
    assert list(skipping) == []
    assert skipping.skipped.counts == {"samples skipped": 2}
    assert any("sa_9.json: not JSON" in line for line in skipping.skipped.lines())


def test_detection_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"image": {"id": 1}, "objects": []}')
    with pytest.raises(
        FormatError, match=r"not sa1b: .*a\.json is no JSON of SA-1B: it has not both an image and annot"
    ):
        mc.read(tmp_path / "a.json")
    with pytest.raises(FormatError, match=r"not sa1b: .* holds no JSON of SA-1B"):
        mc.read(tmp_path)
