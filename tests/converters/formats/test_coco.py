"""The coco format: what COCO's own tools make of it, what it makes of theirs, and bad input."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as pycoco
from pycocotools.coco import COCO

from maskloop_converters.errors import FormatError, TargetError
from maskloop_converters.formats import coco
from maskloop_converters.formats.coco.writer import Ids
from maskloop_converters.formats.json_stream import scan
from maskloop_converters.masks import RunList
from maskloop_converters.samples import Dataset, ImageRef, Label, LabelSet, Region, Sample, SoftEdge

LABELS = LabelSet((Label(3, "car", (9, 8, 7), thing=True), Label(90, "sky", thing=False)), 255, 0)
SQUARE = [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
CORNER = [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]


def sample(sample_id: str, masks: list[Any], regions: list[Region], **fields: Any) -> Sample:
    arrays = [np.asarray(mask, bool) for mask in masks]
    height, width = arrays[0].shape
    runs = RunList.from_masks(arrays, height=height, width=width)
    return Sample(sample_id, ImageRef(f"{sample_id}.jpg"), runs, tuple(regions), **fields)


def save(path: Path, **members: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(members))
    return path


def document(*annotations: dict[str, Any], size: tuple[int, int] = (10, 12), **changes: Any) -> dict[str, Any]:
    """A COCO document with one image, as other tools write it."""
    height, width = size
    return {
        "info": {"year": 2017},
        "licenses": [{"id": 1, "name": "CC"}],
        "images": [{"id": 5, "file_name": "a.jpg", "height": height, "width": width, "license": 1}],
        "annotations": [
            {"id": 10 + k, "image_id": 5, "category_id": 3, "iscrowd": 0, **a} for k, a in enumerate(annotations)
        ],
        "categories": [
            {"id": 3, "name": "car", "supercategory": "vehicle"},
            {"id": 90, "name": "sky", "supercategory": "sky"},
        ],
        **changes,
    }


def quiet_coco(path: Path, capsys: pytest.CaptureFixture[str]) -> COCO:
    loaded = COCO(str(path))
    capsys.readouterr()
    return loaded


@pytest.mark.parametrize("compressed", [True, False])
def test_pycocotools_sees_the_same_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str], compressed: bool) -> None:
    regions = [Region(3, id="17", score=0.5, crowd=True), Region(90, id="text"), Region(255)]
    before = sample("a", [SQUARE, CORNER, CORNER], regions)
    coco.write(Dataset(LABELS, [before]), tmp_path / "out.json", compressed=compressed)
    loaded = quiet_coco(tmp_path / "out.json", capsys)
    assert [(c["id"], c["name"], c["isthing"]) for c in loaded.loadCats(loaded.getCatIds())] == [
        (3, "car", 1),
        (90, "sky", 0),
    ]
    (image,) = loaded.loadImgs(loaded.getImgIds())
    assert (image["file_name"], image["height"], image["width"]) == ("a.jpg", 3, 4)
    annotations = loaded.loadAnns(loaded.getAnnIds(imgIds=image["id"]))
    assert [loaded.annToMask(a).tolist() for a in annotations] == [SQUARE, CORNER]  # ignored pixels are no object
    assert annotations[0]["id"] == 17
    assert [a["iscrowd"] for a in annotations] == [1, 0]
    for annotation in annotations:
        rle = loaded.annToRLE(annotation)
        assert annotation["area"] == pycoco.area(rle)
        assert annotation["bbox"] == pycoco.toBbox(rle).tolist()


def test_pycocotools_takes_our_results_and_we_take_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = save(tmp_path / "gt.json", **document(size=(3, 4)))
    rle = pycoco.encode(np.asfortranarray(np.array(SQUARE, np.uint8)))
    found = {"image_id": 5, "category_id": 90, "segmentation": {"size": [3, 4], "counts": rle["counts"].decode()}}
    (tmp_path / "results.json").write_text(json.dumps([{**found, "score": 0.25}, {**found, "score": 0.75}]))
    assert coco.detect(tmp_path / "results.json") is None
    dataset = coco.read(tmp_path / "results.json", images_of=truth)
    (only,) = dataset
    assert only.masks.mask(1).tolist() == np.array(SQUARE, bool).tolist()
    assert [(r.label, r.score) for r in only.regions] == [(90, 0.25), (90, 0.75)]
    coco.write(dataset, tmp_path / "out.json")
    annotations = json.loads((tmp_path / "out.json").read_text())["annotations"]
    assert len(quiet_coco(truth, capsys).loadRes(annotations).anns) == 2
    with pytest.raises(FormatError, match="images_of"):
        coco.read(tmp_path / "results.json")


POLYGONS = {
    "triangle": [[1.5, 1, 9.2, 2.5, 4, 8.9]],
    "parts that overlap": [[1, 1, 6, 1, 6, 6, 1, 6], [4.4, 4.4, 10, 4, 10, 9, 4, 9]],
    "beyond the image": [[-3, -2, 20, 4, 5, 15]],
    "a hole is none": [[0, 0, 10, 0, 10, 9, 0, 9], [3, 3, 6, 3, 6, 6, 3, 6]],
    "thin": [[1, 1, 8, 1, 8, 1.2]],
}


@pytest.mark.parametrize("name", POLYGONS)
def test_polygons_are_what_pycocotools_makes_of_them(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / "a.json", **document({"segmentation": POLYGONS[name]}))
    (only,) = coco.read(path)
    expected = pycoco.decode(pycoco.merge(pycoco.frPyObjects(POLYGONS[name], 10, 12)))
    assert only.masks.mask(0).tolist() == expected.astype(bool).tolist()


def test_what_other_tools_wrote_survives(tmp_path: Path) -> None:
    path = save(
        tmp_path / "in.json",
        **document(
            {"segmentation": POLYGONS["thin"], "attributes": {"occluded": True}, "keypoints": [1, 2, 2]},
            {"segmentation": {"size": [10, 12], "counts": [0, 120]}, "iscrowd": 1, "category_id": 90, "id": "x"},
        ),
    )
    dataset = coco.read(path)
    (only,) = dataset
    assert dataset.labels == LabelSet((Label(3, "car"), Label(90, "sky")), background_id=0)
    assert (only.id, only.attributes) == ("5", {"license": 1})
    assert [(r.id, r.label, r.crowd, r.instance) for r in only.regions] == [("10", 3, False, 1), ("x", 90, True, None)]
    assert only.regions[0].attributes == {"attributes": {"occluded": True}, "keypoints": [1, 2, 2]}
    coco.write(dataset, tmp_path / "out.json")
    before, after = (json.loads((tmp_path / name).read_text()) for name in ("in.json", "out.json"))
    for member in ("info", "licenses", "images"):
        assert after[member] == before[member]
    assert [c["supercategory"] for c in after["categories"]] == ["vehicle", "sky"]
    for one, other in zip(before["annotations"], after["annotations"], strict=True):
        kept = {k: v for k, v in one.items() if k not in ("segmentation", "id")}
        assert {k: other[k] for k in kept} == kept
    assert next(iter(coco.read(tmp_path / "out.json"))).regions == only.regions


def test_annotations_before_images_and_scattered(tmp_path: Path) -> None:
    full = document()
    full["images"] = [{"id": k, "file_name": f"{k}.jpg", "height": 1, "width": 2} for k in (8, "b", 2)]
    counts = {"size": [1, 2], "counts": [1, 1]}
    owners = ["b", 2, 8, "b", 8]
    full["annotations"] = [
        {"id": k, "image_id": owner, "category_id": 3, "segmentation": counts} for k, owner in enumerate(owners)
    ]
    order = ["annotations", "categories", "images"]
    path = tmp_path / "a.json"
    path.write_text("\ufeff" + json.dumps({key: full[key] for key in order}, indent=1))
    assert coco.detect(path) is None
    assert {s.id: [r.id for r in s.regions] for s in coco.read(path)} == {"8": ["2", "4"], "b": ["0", "3"], "2": ["1"]}
    assert [s.id for s in coco.read(path)] == ["8", "b", "2"]


def test_splits_are_the_names_of_the_files(tmp_path: Path) -> None:
    for split, image_id in (("train2017", 5), ("val2017", 6)):
        full = document()
        full["images"][0] |= {"id": image_id, "file_name": f"{split}.png"}
        save(tmp_path / "annotations" / f"instances_{split}.json", **full)
        save(tmp_path / "annotations" / f"captions_{split}.json", images=[], annotations=[{"caption": "x"}])
        (tmp_path / split).mkdir()
        Image.new("RGB", (12, 10)).save(tmp_path / split / f"{split}.png")
    assert coco.splits(tmp_path) == ("train2017", "val2017")
    assert [s.id for s in coco.read(tmp_path)] == ["5", "6"]
    (val,) = coco.read(tmp_path, split="val2017")
    assert val.image.source == tmp_path / "val2017" / "val2017.png"
    with pytest.raises(FormatError, match=r"no part 'val'; there are: train2017, val2017"):
        coco.read(tmp_path, split="val")


def panoptic_check(root: Path) -> list[tuple[int, int, list[list[int]]]]:
    """What panopticapi's evaluation demands of a dataset; returns category, crowd and mask of every segment."""
    (path,) = (root / "annotations").glob("panoptic*.json")
    full = json.loads(path.read_text())
    categories = {category["id"]: category for category in full["categories"]}
    assert all(category["isthing"] in (0, 1) for category in categories.values())
    images = {image["id"]: image for image in full["images"]}
    found = []
    for annotation in full["annotations"]:
        with Image.open(path.with_suffix("") / annotation["file_name"]) as image:
            assert image.mode == "RGB"
            pixels = np.asarray(image).astype(int)
        ids = pixels[..., 0] + 256 * pixels[..., 1] + 65536 * pixels[..., 2]
        record = images[annotation["image_id"]]
        assert ids.shape == (record["height"], record["width"])
        assert set(np.unique(ids).tolist()) - {0} == {segment["id"] for segment in annotation["segments_info"]}
        for segment in annotation["segments_info"]:
            assert segment["category_id"] in categories
            mask = ids == segment["id"]
            ys, xs = np.nonzero(mask)
            assert segment["area"] == mask.sum()
            assert segment["bbox"] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
            found.append((segment["category_id"], segment["iscrowd"], mask.astype(int).tolist()))
    return found


def test_panoptic_output_is_what_panopticapi_demands(tmp_path: Path) -> None:
    nothing = np.zeros((3, 4))
    regions = [Region(3, id="300"), Region(90, crowd=True), Region(255), Region(3), Region(3, edge=None)]
    before = sample("a", [SQUARE, CORNER, SQUARE, nothing, CORNER], [*regions[:4], Region(90, id="last")])
    report = coco.write(Dataset(LABELS, [before]), tmp_path / "out", kind="panoptic")
    visible = np.array(SQUARE) * (1 - np.array(CORNER))
    assert panoptic_check(tmp_path / "out") == [(3, 0, visible.tolist()), (90, 0, CORNER)]
    assert not report.losses
    assert report.notes.counts["pixels under other segments, kept for maskloop only"] == 1
    (back,) = coco.read(tmp_path / "out")
    assert back.masks == before.masks
    assert back.regions == before.regions


def test_panoptic_of_other_tools(tmp_path: Path) -> None:
    pixels = np.zeros((3, 4, 3), np.uint8)
    pixels[0] = (44, 1, 0)
    pixels[1] = (0, 0, 2)
    full = document(size=(3, 4))
    full["annotations"] = [
        {
            "image_id": 5,
            "file_name": "a.png",
            "segments_info": [
                {"id": 131072, "category_id": 90, "iscrowd": 0, "area": 4, "bbox": [0, 1, 4, 1]},
                {"id": 300, "category_id": 3, "iscrowd": 1, "area": 4, "bbox": [0, 0, 4, 1]},
            ],
        }
    ]
    full["categories"][1]["isthing"] = 0
    path = save(tmp_path / "annotations" / "panoptic_val.json", **full)
    path.with_suffix("").mkdir()
    Image.fromarray(pixels).save(path.with_suffix("") / "a.png")
    (only,) = coco.read(tmp_path)
    assert [(r.id, r.label, r.crowd, r.instance) for r in only.regions] == [
        ("131072", 90, False, None),
        ("300", 3, True, None),
    ]
    assert only.label_map(LABELS).tolist() == [[3] * 4, [90] * 4, [0] * 4]

    def broken(change: Callable[[dict[str, Any]], None], message: str) -> None:
        wrong = json.loads(json.dumps(full))
        change(wrong["annotations"][0])
        save(path, **wrong)
        with pytest.raises(FormatError, match=message):
            list(coco.read(tmp_path))

    broken(
        lambda a: a["segments_info"].pop(),
        r"image 5: .*a\.png holds the ids \[300\], which segments_info does not list",
    )
    broken(lambda a: a["segments_info"][0].update(id=7), r"image 5: segment 7 has no pixels in .*a\.png")
    broken(lambda a: a["segments_info"][0].update(id=300), r"image 5: segment 300 stands twice")
    broken(lambda a: a.update(file_name="b.png"), r"image 5: cannot read the segments .*b\.png")
    broken(lambda a: a.update(file_name="../a.png"), "does not stay inside the dataset")
    broken(lambda a: a.update(segments_info=None), "needs segments_info")


def test_soft_edges_are_counted(tmp_path: Path) -> None:
    edge = SoftEdge(np.array([0]), np.array([9], np.uint8))
    report = coco.write(Dataset(LABELS, [sample("a", [SQUARE], [Region(3, edge=edge)])]), tmp_path / "out.json")
    assert report.losses.lines() == ["1 soft edge pixels made hard (sample a: 1)"]


RLE = {"size": [10, 12], "counts": [0, 120]}
BAD_ANNOTATIONS: list[tuple[dict[str, Any], str]] = [
    ({"segmentation": [1, 2, 3, 4, 5]}, "a polygon is a list of at least 3 points"),
    ({"segmentation": "polygon"}, "expected polygons or run lengths"),
    ({"segmentation": [[1, 1, 5, 5, 4, 4, 3]]}, "a polygon is a list of at least 3 points"),
    ({"segmentation": [[1, 1, 5, float("nan"), 4, 4]]}, "coordinates must be finite numbers"),
    ({"segmentation": [[1, 1, 5, float("inf"), 4, 4]]}, "coordinates must be finite numbers"),
    ({"segmentation": [[1, 1, 5, None, 4, 4]]}, "coordinates must be finite numbers"),
    ({"segmentation": [[1, 1, 5, [2], 4, 4]]}, "coordinates must be finite numbers"),
    ({"segmentation": [[1, 1, 5, 10**400, 4, 4]]}, "coordinates must be finite numbers"),
    ({"segmentation": [[1, 1, 5, 1e9, 4, 4]]}, "coordinate 1e[+]09 of a polygon is far outside its 12 x 10 image"),
    (
        {"segmentation": {"size": [12, 10], "counts": [0, 120]}},
        r"the mask's size is \[12, 10\], its image's is \[10, 12\]",
    ),
    ({"segmentation": {"size": [10, 12]}}, "counts must be a text or a list of numbers"),
    ({"segmentation": {"size": [10, 12], "counts": [0, 119]}}, "120"),
    ({"segmentation": {"size": [10, 12], "counts": [-1, 121]}}, "mask 0"),
    ({"segmentation": {"size": [10, 12], "counts": "0i3"}}, "mask 0"),
    ({"segmentation": {"size": [10, 12], "counts": "\u00e9"}}, "mask 0"),
    ({"segmentation": RLE, "category_id": 4}, "category_id 4 is no category; there are: 3 car, 90 sky"),
    ({"segmentation": RLE, "category_id": None}, "category_id must be a whole number"),
    ({"segmentation": RLE, "score": "high"}, "score must be a number"),
    ({"segmentation": RLE, "iscrowd": 2}, "iscrowd must be 0 or 1"),
    ({"segmentation": RLE, "maskloop": []}, "maskloop must be an object"),
]


@pytest.mark.parametrize(("bad", "message"), BAD_ANNOTATIONS)
def test_bad_annotations(tmp_path: Path, bad: dict[str, Any], message: str) -> None:
    path = save(tmp_path / "a.json", **document({"segmentation": RLE}, bad, {"segmentation": RLE}))
    with pytest.raises(FormatError, match=rf"a\.json, annotation 11: .*{message}"):
        list(coco.read(path))
    skipping = coco.read(path, on_error="skip")
    for _ in range(2):
        assert [[r.id for r in s.regions] for s in skipping] == [["10", "12"]]
        assert skipping.skipped.counts == {"annotations skipped": 1}


@pytest.mark.parametrize(
    ("change", "message", "skipped"),
    [
        ({"height": 100_000, "width": 100_000}, "image 6: 100000 x 100000 pixels are more than", "samples"),
        ({"height": -1}, "image 6: height must be a whole number", "samples"),
        ({"height": 10.5}, "image 6: height must be a whole number", "samples"),
        ({"file_name": None}, "image 6: file_name must be a text", "samples"),
        ({"file_name": ".."}, "image 6: the image '..' has no name", "samples"),
        ({"id": None, "file_name": "b.jpg"}, r"image at byte \d+: id must be a number or a text", "both"),
        ({"id": 5}, r"image id 5 stands twice", "samples"),
        ({"id": 7}, r"annotation at byte \d+ belongs to the image 6, which is not in a\.json", "annotations"),
    ],
)
def test_bad_images(tmp_path: Path, change: dict[str, Any], message: str, skipped: str) -> None:
    full = document({"segmentation": RLE}, {"segmentation": RLE, "image_id": 6})
    if change.get("id") == 5:
        del full["annotations"][1]
    full["images"].append({"id": 6, "file_name": "b.jpg", "height": 10, "width": 12} | change)
    path = save(tmp_path / "a.json", **full)
    with pytest.raises(FormatError, match=message):
        list(coco.read(path))
    skipping = coco.read(path, on_error="skip")
    assert [s.id for s in skipping] == (["5", "7"] if skipped == "annotations" else ["5"])
    kinds = ("samples", "annotations") if skipped == "both" else (skipped,)
    assert skipping.skipped.counts == {f"{kind} skipped": 1 for kind in kinds}


@pytest.mark.parametrize(
    ("one", "other", "noted"), [(10, 10, 1), ("x", "x", 1), (2**62, 2**62, 1), (1, 2**61, 0), (1, "1", 0)]
)
def test_annotation_ids_that_stand_twice_are_said_and_nothing_is_lost(
    tmp_path: Path, one: Any, other: Any, noted: int
) -> None:
    first, second = {"segmentation": RLE, "id": one}, {"segmentation": RLE, "id": other}
    dataset = coco.read(save(tmp_path / "a.json", **document(first, second)))
    (only,) = dataset
    assert [region.id for region in only.regions] == [str(one), "" if str(one) == str(other) else str(other)]
    assert sum(dataset.notes.counts.values()) == noted


def test_an_image_of_another_size_is_named(tmp_path: Path) -> None:
    save(tmp_path / "annotations" / "instances.json", **document({"segmentation": RLE}))
    Image.new("RGB", (9, 9)).save(tmp_path / "a.jpg")
    with pytest.raises(FormatError, match=r"image 5: height and width are 10 and 12, those of .*a\.jpg are 9 and 9"):
        list(coco.read(tmp_path))
    with pytest.raises(
        FormatError, match=r"image 5: the image a\.jpg is not in .*elsewhere; say where .*--images-from DIR"
    ):
        list(coco.read(tmp_path, images_from=tmp_path / "elsewhere"))


GOOD = json.dumps(document({"segmentation": RLE}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD[:-3], "truncated"),
        (GOOD[: len(GOOD) // 2], r"byte \d+: not JSON"),
        (GOOD + "x", "expected the end of the file"),
        (GOOD.replace('"images":', '"images"'), "expected ':'"),
        (GOOD.replace('"height": 10', '"height": 10..'), "not JSON"),
        ("", r"expected '\{' or '\['"),
        ("x", r"expected '\{' or '\['"),
        ("{}", "neither images, annotations nor categories"),
        ("[" * 100_000, "not JSON"),
        ('{"images": {}}', "images is not a list of objects"),
        ('{"images": [1]}', "neither file_name nor image_id"),
        ('[{"id": 1, "data": {}}]', "it is a list, and not of results"),
        (GOOD.replace('"id": 5', '"id": null'), "id must be a number or a text"),
        (GOOD.replace('"name": "car"', '"name": null'), "the name must be a text"),
        (GOOD.replace('"categories": [', '"categories": [1, '), "categories"),
        (GOOD.replace('"categories"', '"other"'), "there is no list of categories"),
    ],
)
def test_bad_documents(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(FormatError, match=message) as raised:
        list(coco.read(path))
    assert "a.json" in str(raised.value)


def test_detection_names_what_is_missing(tmp_path: Path) -> None:
    assert "there is no" in str(coco.detect(tmp_path / "gone"))
    assert "holds no COCO file" in str(coco.detect(tmp_path))
    save(tmp_path / "tasks.json", data=1)
    assert "tasks.json is no COCO file" in str(coco.detect(tmp_path))


def test_one_file_holds_no_images(tmp_path: Path) -> None:
    data = Dataset(LABELS, [sample("a", [SQUARE], [Region(3)])])
    options: list[dict[str, Any]] = [{"kind": "panoptic"}, {"images": "copy"}]
    for option in options:
        with pytest.raises(TargetError, match="give a folder"):
            coco.write(data, tmp_path / "a.json", **option)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("window", [1, 7, 100, 1 << 20])
def test_scanning_finds_every_element_whatever_the_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    monkeypatch.setattr("maskloop_converters.formats.json_stream._WINDOW", window)
    values = [
        {"id": 12345678901234567890, "t": 'é"\\u00e9\\"', "n": [-1.5e-7, 0, True, None]},
        17,
        -3.25e10,
        "ü",
        [],
        {},
        False,
    ]
    other = {"a": 12, "b": "é", "c": [1, [2]], "d": {}}
    path = tmp_path / "a.json"
    for indent in (None, 2):
        path.write_text(json.dumps({**other, "images": values, "z": 123}, indent=indent, ensure_ascii=indent is None))
        data = path.read_bytes()
        elements = list(scan(path, ("images",)))
        assert {e.key: e.value for e in elements if not e.in_array} == {**other, "z": 123}
        found = [json.loads(data[e.start : e.start + e.size]) for e in elements if e.in_array]
        assert found == values
        path.write_text(json.dumps(values, indent=indent))
        assert len([e for e in scan(path, ()) if e.in_array]) == len(values)


def test_memory_follows_the_largest_record_not_the_file(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    counts = [1] * 120
    record = {"category_id": 3, "segmentation": {"size": [10, 12], "counts": counts}, "note": "x" * 20_000}
    with path.open("w") as file:
        images = [{"id": k, "file_name": f"{k}.jpg", "height": 10, "width": 12} for k in range(1000)]
        file.write(json.dumps({"images": images, "categories": document()["categories"]})[:-1] + ', "annotations": [')
        file.write(",".join(json.dumps({"id": k, "image_id": k, **record}) for k in range(1000)) + "]}")
    assert path.stat().st_size > 20_000_000
    tracemalloc.start()
    try:
        assert sum(len(s.regions) for s in coco.read(path)) == 1000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000


def test_ids_keep_numbers_and_stay_unique() -> None:
    ids = Ids(2**53)
    wanted = ["3", "x", "", "3", "03", "0", "-1", "9007199254740993", "10000000000", "1", "٣"]
    assert [ids.take(w) for w in wanted] == [3, 1, 2, 4, 5, 6, 7, 8, 10000000000, 9, 10]


def test_polygons_are_written_where_they_are_the_mask(tmp_path: Path) -> None:
    """Of pieces, not of holes; and pycocotools makes the same pixels of them."""
    masks = np.zeros((4, 12, 16), bool)
    masks[0, 2:7, 3:9] = True
    masks[1, 2:7, 3:9] = masks[1, 9:11, 12:15] = True
    masks[2] = masks[0]
    masks[2, 4, 5] = False
    masks[3, 0, 0] = masks[3, 1, 1] = True
    labels = LabelSet.from_names(["car"])
    runs = RunList.from_masks(masks, height=12, width=16)
    before = Sample("1", ImageRef("a.png"), runs, tuple(Region(0, id=str(k + 1)) for k in range(4)))
    report = coco.write(Dataset(labels, [before]), tmp_path / "x.json", polygons=True)
    assert report.notes.counts == {"regions with holes or without pixels, kept as run lengths": 1}
    kinds = [record["segmentation"] for record in json.loads((tmp_path / "x.json").read_text())["annotations"]]
    assert [len(kind) if isinstance(kind, list) else "rle" for kind in kinds] == [1, 2, "rle", 2]
    assert kinds[0] == [[3, 2, 9, 2, 9, 7, 3, 7]]
    (after,) = coco.read(tmp_path / "x.json")
    assert after.masks == runs
