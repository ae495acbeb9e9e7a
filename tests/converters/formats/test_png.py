"""The png format: its layouts, mask kinds and bad input; round trips of nasty samples are in test_contract.py."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from maskloop_converters.errors import DataError, FormatError, LabelError, OutputExistsError, TargetError
from maskloop_converters.formats import png
from maskloop_converters.formats.gate import Gate
from maskloop_converters.formats.known_labels import CAMVID, CITYSCAPES, VOC
from maskloop_converters.formats.labels import voc_color
from maskloop_converters.masks import RunList
from maskloop_converters.report import ErrorPolicy
from maskloop_converters.samples import Dataset, ImageRef, Label, LabelSet, Region, Sample, SoftEdge

LABELS = LabelSet((Label(0, "background"), Label(1, "car", (255, 0, 0)), Label(7, "traffic light")), 255, 0)


def save(path: Path, pixels: Any, mode: str | None = None, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(pixels, np.uint8))
    if mode == "P":
        image = image.convert("L")
        image.putpalette([channel for k in range(256) for channel in voc_color(k)])
    image.save(path, **options)
    return path


def photo(path: Path, height: int = 3, width: int = 4, **options: Any) -> Path:
    return save(path, np.zeros((height, width, 3)), **options)


def sample(*masks: Any, labels: tuple[int, ...], **fields: Any) -> Sample:
    arrays = [np.asarray(mask, bool) for mask in masks]
    height, width = arrays[0].shape
    runs = RunList.from_masks(arrays, height=height, width=width)
    return Sample("a", ImageRef("a.jpg"), runs, tuple(Region(label, **fields) for label in labels))


def folders(root: Path, **masks: Any) -> Path:
    """A plain dataset: an image and a label map a name."""
    for name, mask in masks.items():
        photo(root / "images" / f"{name}.jpg", *np.shape(mask))
        save(root / "masks" / f"{name}.png", mask)
    (root / "labels.json").write_text('{"labels": [{"id": 0, "name": "sky"}, {"id": 1, "name": "road"}]}')
    return root


def maps(dataset: Dataset) -> dict[str, list[list[int]]]:
    return {sample.id: sample.label_map(dataset.labels).tolist() for sample in dataset}


MAP = [[0, 1, 255], [1, 1, 0]]


def test_plain_folders(tmp_path: Path) -> None:
    dataset = png.read(folders(tmp_path, b=MAP, a=[[0]]))
    assert maps(dataset) == {"a": [[0]], "b": MAP}
    first, second = dataset
    assert [region.label for region in second.regions] == [0, 1]  # 255 is the fill id: no region
    assert (first.image.name, first.image.source) == ("a.jpg", tmp_path / "images" / "a.jpg")
    assert (dataset.count, dataset.split, dataset.format) == (2, None, "png")


def test_splits_by_lists_sub_folders_and_whole_datasets(tmp_path: Path) -> None:
    listed = folders(tmp_path / "listed", a=MAP, b=MAP, c=MAP)
    (listed / "train.txt").write_text("c\na\n")
    (listed / "val.txt").write_text("b.jpg\n")
    nested = tmp_path / "nested"
    for kind, name in (("images", "train/a.jpg"), ("images", "val/sub/b.jpg")):
        photo(nested / kind / name, 2, 3)
        save(nested / "masks" / Path(name).with_suffix(".png"), MAP)
    (nested / "labels.txt").write_text("sky\nroad\n")
    folders(tmp_path / "whole" / "train", a=MAP)
    folders(tmp_path / "whole" / "val", b=MAP)
    expected = {
        "listed": {"train": ["a", "c"], "val": ["b"]},
        "nested": {"train": ["train/a"], "val": ["val/sub/b"]},
        "whole": {"train": ["a"], "val": ["b"]},
    }
    for folder, parts in expected.items():
        root = tmp_path / folder
        assert png.detect(root) is None
        assert set(png.splits(root)) == set(parts)
        for split, ids in parts.items():
            assert [s.id for s in png.read(root, split=split)] == ids
        assert len(list(png.read(root))) == sum(len(ids) for ids in parts.values())
    with pytest.raises(FormatError, match=r"no part 'test'; there are: train, val"):
        png.read(tmp_path / "listed", split="test")


def test_camvid_layout(tmp_path: Path) -> None:
    for split in ("train", "val"):
        photo(tmp_path / split / "x.png", 2, 3)
        save(tmp_path / f"{split}annot" / "x.png", [[0, 10, 11], [1, 1, 1]])
        (tmp_path / f"{split}.txt").write_text(f"/SegNet/CamVid/{split}/x.png /SegNet/CamVid/{split}annot/x.png\n")
    assert png.splits(tmp_path) == ("train", "val")
    dataset = png.read(tmp_path, split="val")
    (only,) = dataset
    assert dataset.labels == CAMVID
    assert (only.id, only.image.name) == ("x", "val/x.png")
    assert [region.label for region in only.regions] == [0, 1, 10]  # void belongs to no region
    both = png.read(tmp_path)
    assert [sample.id for sample in both] == ["x", "val/x"]
    assert both.notes
    for split in ("train", "val"):  # without the lists, by the names of the folders
        (tmp_path / f"{split}.txt").unlink()
    assert maps(png.read(tmp_path, split="train")) == {"x": [[0, 10, 11], [1, 1, 1]]}


def test_voc_layout(tmp_path: Path) -> None:
    for name in ("1", "2", "boxes_only"):
        photo(tmp_path / "JPEGImages" / f"{name}.jpg", 2, 3)
    for name in ("1", "2"):
        save(tmp_path / "SegmentationClass" / f"{name}.png", [[0, 1, 255], [20, 20, 20]], "P")
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("1\n")
    (lists / "val.txt").write_text("2\n")
    dataset = png.read(tmp_path)
    assert dataset.labels == VOC
    assert [[r.label for r in s.regions] for s in dataset] == [[1, 20, 255]] * 2  # a palette is read by index
    assert [s.id for s in png.read(tmp_path, split="val")] == ["2"]


def test_voc_objects_are_instances(tmp_path: Path) -> None:
    photo(tmp_path / "JPEGImages" / "1.jpg", 2, 4)
    save(tmp_path / "SegmentationClass" / "1.png", [[0, 7, 255, 7], [20, 20, 7, 7]], "P")
    save(tmp_path / "SegmentationObject" / "1.png", [[0, 1, 255, 3], [2, 2, 1, 0]], "P")
    (only,) = png.read(tmp_path)
    assert [(r.label, r.instance) for r in only.regions] == [(7, None), (7, 1), (7, 3), (20, 2), (255, None)]
    assert only.label_map(VOC).tolist() == [[0, 7, 255, 7], [20, 20, 7, 7]]  # classes are as without objects
    assert only.masks.mask(1).astype(int).tolist() == [[0, 1, 0, 0], [0, 0, 1, 0]]
    save(tmp_path / "SegmentationObject" / "1.png", [[0, 1, 255]], "P")
    with pytest.raises(FormatError, match=r"sample 1: the mask .*SegmentationObject.1\.png is 3 x 1 pixels"):
        list(png.read(tmp_path))


def test_cityscapes_instance_ids_are_instances(tmp_path: Path) -> None:
    photo(tmp_path / "leftImg8bit/val/bonn/bonn_0_leftImg8bit.png", 1, 5)
    save(tmp_path / "gtFine/val/bonn/bonn_0_gtFine_labelIds.png", [[0, 26, 26, 26, 7]])
    ids = np.array([[0, 26, 26000, 26017, 7]], np.uint16)
    Image.fromarray(ids).save(tmp_path / "gtFine/val/bonn/bonn_0_gtFine_instanceIds.png")
    (only,) = png.read(tmp_path)
    assert [(r.label, r.instance) for r in only.regions] == [(7, None), (26, None), (26, 0), (26, 17)]
    assert only.label_map(CITYSCAPES).tolist() == [[0, 26, 26, 26, 7]]


def test_cityscapes_layout(tmp_path: Path) -> None:
    photo(tmp_path / "leftImg8bit/val/bonn/bonn_0_leftImg8bit.png", 1, 3)
    save(tmp_path / "gtFine/val/bonn/bonn_0_gtFine_labelIds.png", [[0, 26, 33]])
    save(tmp_path / "gtFine/val/bonn/bonn_0_gtFine_color.png", np.zeros((1, 3, 3)))
    dataset = png.read(tmp_path, split="val")
    (only,) = dataset
    assert dataset.labels == CITYSCAPES
    assert (only.id, only.image.name) == ("val/bonn/bonn_0", "val/bonn/bonn_0_leftImg8bit.png")
    assert [dataset.labels.by_id(r.label).name for r in only.regions] == ["car", "bicycle"]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("labels.txt", "sky\nroad surface\n", LabelSet.from_names(["sky", "road surface"])),
        (
            "labels.txt",
            "# mine\n0 background\n3 car 1 2 3\n",
            LabelSet((Label(0, "background"), Label(3, "car", (1, 2, 3))), None, 0),
        ),
        (
            "labelmap.txt",
            "background:0,0,0::\ncar:1,2,3::\n",
            LabelSet((Label(0, "background", (0, 0, 0)), Label(1, "car", (1, 2, 3))), None, 0),
        ),
        (
            "class_dict.csv",
            "name,r,g,b\nSky,128,128,128\nVoid,0,0,0\n",
            LabelSet((Label(0, "Sky", (128, 128, 128)), Label(1, "Void", (0, 0, 0))), 1),
        ),
        ("labels.csv", "id, Name\n5, a\n9, b\n", LabelSet((Label(5, "a"), Label(9, "b")))),
    ],
)
def test_label_lists(tmp_path: Path, name: str, text: str, expected: LabelSet) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    (tmp_path / name).write_text(text)
    assert png.read(tmp_path).labels == expected
    (tmp_path / name).rename(tmp_path / f"other-{name}")
    with pytest.raises(FormatError, match="no list of labels"):
        png.read(tmp_path)
    if name != "labelmap.txt":
        assert png.read(tmp_path, labels=tmp_path / f"other-{name}").labels == expected
    assert png.read(tmp_path, labels=expected).labels == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.json", "{"),
        ("labels.json", "[]"),
        ("labels.json", '{"labels": [{"id": -1, "name": "x"}]}'),
        ("labels.json", '{"labels": [{"id": 1, "name": "x"}, {"id": 1, "name": "y"}]}'),
        ("labels.json", '{"labels": [{"id": 1, "name": "x", "color": [1, 2, 256]}]}'),
        ("labels.json", '{"labels": [{"name": "x"}]}'),
        ("labels.txt", ""),
        ("labelmap.txt", "x:1,2\n"),
        ("class_dict.csv", "a,b\n1,2\n"),
    ],
)
def test_bad_label_lists_are_named(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    (tmp_path / name).write_text(text)
    with pytest.raises(FormatError, match=name):
        png.read(tmp_path)


def test_masks_are_what_opencv_reads(tmp_path: Path) -> None:
    mask = [[1, 0, 0], [1, 1, 0]]
    data = Dataset(LABELS, [sample(mask, labels=(7,))])
    png.write(data, tmp_path / "index")
    grey = cv2.imread(str(tmp_path / "index/masks/a.png"), cv2.IMREAD_UNCHANGED)
    assert grey.tolist() == [[7, 0, 0], [7, 7, 0]]
    png.write(data, tmp_path / "color", masks="color")
    colors = json.loads((tmp_path / "color/labels.json").read_text())["mask_colors"]
    bgr = cv2.imread(str(tmp_path / "color/masks/a.png"))
    assert bgr[0, 0, ::-1].tolist() == colors["7"] == list(voc_color(7))
    assert bgr[0, 1, ::-1].tolist() == colors["0"]
    png.write(data, tmp_path / "binary", masks="binary")
    binary = cv2.imread(str(tmp_path / "binary/regions/a/000-traffic_light.png"), cv2.IMREAD_UNCHANGED)
    assert (binary // 255).tolist() == mask
    png.write(data, tmp_path / "palette", colored=True)
    with Image.open(tmp_path / "palette/masks/a.png") as image:
        assert image.mode == "P"
        assert np.asarray(image).tolist() == grey.tolist()
        assert image.convert("RGB").getpixel((0, 0)) == voc_color(7)


def test_ids_above_255_take_16_bits_and_above_65535_are_refused(tmp_path: Path) -> None:
    for label, depth in ((300, np.uint16), (70000, None)):
        labels = LabelSet((Label(0, "background"), Label(label, "x")), None, 0)
        data = Dataset(labels, [sample([[1, 0]], labels=(label,))])
        if depth is None:
            with pytest.raises(TargetError, match=r"sample a: label id 70000"):
                png.write(data, tmp_path / "refused", masks="index")
            assert not (tmp_path / "refused").exists()
        else:
            png.write(data, tmp_path / "16", masks="index")
            read = cv2.imread(str(tmp_path / "16/masks/a.png"), cv2.IMREAD_UNCHANGED)
            assert (read.dtype, read.tolist()) == (depth, [[300, 0]])
        for masks in ("auto", "color"):
            png.write(data, tmp_path / f"{masks}{label}", masks=masks)
            assert maps(png.read(tmp_path / f"{masks}{label}")) == {"a": [[label, 0]]}


@pytest.mark.parametrize("layout", ["voc", "camvid"])
def test_other_layouts_are_whole_with_our_index_and_plain_without(tmp_path: Path, layout: png.WrittenLayout) -> None:
    one = sample([[1, 1, 0]], [[0, 1, 1]], labels=(7, 1))
    refs = [("a", "val/a.jpg"), ("b", "sub/b.png"), ("c", "a.png")]
    samples = [Sample(k, ImageRef(name, photo(tmp_path / name, 1, 3)), one.masks, one.regions) for k, name in refs]
    root = tmp_path / "out"
    png.write(Dataset(LABELS, samples, split="val"), root, layout=layout)
    before = [(s.id, s.image.name, s.masks.counts.tolist()) for s in samples]
    assert [(s.id, s.image.name, s.masks.counts.tolist()) for s in png.read(root)] == before
    (root / "maskloop.jsonl").unlink()
    plain = png.read(root, split="val")
    assert plain.labels == LABELS
    assert sorted(maps(plain).values()) == [[[7, 1, 1]]] * 3
    assert (root / ("SegmentationClass/val/a.png" if layout == "voc" else "valannot/a.png")).is_file()
    if layout == "voc":
        (root / "labels.json").unlink()
        names = [label.name for label in png.read(root).labels.labels]
        assert names == ["background", "car", "traffic light"]


def overlapping() -> Sample:
    edge = SoftEdge(np.array([2, 3]), np.array([130, 9], np.uint8))
    one = sample([[1, 1, 0, 0]], [[0, 1, 1, 0]], [[0, 0, 0, 1]], labels=(1, 7, 7))
    soft = Region(7, "r2", edge=edge)
    return Sample("a", one.image, one.masks, (one.regions[0], soft, one.regions[2]))


@pytest.mark.parametrize("masks", ["index", "color"])
def test_what_a_label_map_loses_is_counted(tmp_path: Path, masks: png.MaskKind) -> None:
    report = png.write(Dataset(LABELS, [overlapping()]), tmp_path / "out", masks=masks)
    assert report.losses.counts == {
        "pixels hidden by regions that lie over them": 1,
        "regions merged into the one of their class": 1,
        "soft edge pixels made hard": 2,
    }
    assert report.losses.examples["soft edge pixels made hard"] == ["sample a: 2"]
    assert (report.samples, report.regions) == (1, 2)
    (back,) = png.read(tmp_path / "out")
    assert back.label_map(LABELS).tolist() == [[1, 7, 7, 7]]
    assert [region.label for region in back.regions] == [1, 7]


@pytest.mark.parametrize("masks", ["auto", "binary"])
def test_binary_masks_keep_overlaps_and_soft_edges(tmp_path: Path, masks: png.MaskKind) -> None:
    before = overlapping()
    report = png.write(Dataset(LABELS, [before]), tmp_path / "out", masks=masks)
    assert not report.losses
    assert any("binary masks" in kind for kind in report.notes.counts) is (masks == "auto")
    assert (tmp_path / "out/masks/a.png").exists() is (masks == "auto")
    (hard,) = png.read(tmp_path / "out")
    assert hard.masks == before.masks
    assert [region.edge for region in hard.regions] == [None] * 3
    (soft,) = png.read(tmp_path / "out", soft=True)
    assert soft.masks == before.masks
    edge = soft.regions[1].edge
    assert edge is not None
    assert (edge.positions.tolist(), edge.alpha.tolist()) == ([2, 3], [130, 9])
    assert [region.id for region in soft.regions] == ["", "r2", ""]


def test_classes_painted_into_a_written_mask_later_are_read(tmp_path: Path) -> None:
    png.write(Dataset(LABELS, [sample([[1, 0, 0]], labels=(1,), id="r")]), tmp_path / "out")
    save(tmp_path / "out/masks/a.png", [[1, 7, 0]])
    (back,) = png.read(tmp_path / "out")
    assert back.label_map(LABELS).tolist() == [[1, 7, 0]]
    assert [(region.label, region.id) for region in back.regions] == [(1, "r"), (7, "")]


def test_images_of_the_same_stem_keep_apart(tmp_path: Path) -> None:
    one = sample([[1, 0]], labels=(1,))
    samples = [
        Sample(str(k), ImageRef(name), one.masks, one.regions) for k, name in enumerate(["a.png", "a.jpg", "a.jpg"])
    ]
    png.write(Dataset(LABELS, samples), tmp_path / "out")
    assert [s.image.name for s in png.read(tmp_path / "out")] == ["a.png", "a.jpg", "a.jpg"]
    assert sorted(p.name for p in (tmp_path / "out/masks").iterdir()) == ["a-2.png", "a-3.png", "a.png"]


def test_exif_rotation_counts_once(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(tmp_path / "in/images/a.jpg", 2, 3, exif=exif)  # 3 x 2 pixels, upright 2 x 3
    save(tmp_path / "in/masks/a.png", [[0, 1], [1, 1], [1, 0]])
    for out, images, orientation in (("copy", "copy", 6), ("upright", "upright", 1)):
        dataset = png.read(tmp_path / "in", labels=LabelSet.from_names(["a", "b"]))
        report = png.write(dataset, tmp_path / out, images=images)
        assert len(report.notes.counts) == 1
        (back,) = png.read(tmp_path / out)
        assert (back.height, back.width, back.image.exif_orientation) == (3, 2, orientation)
        assert cv2.imread(str(tmp_path / out / "images/a.jpg")).shape == (3, 2, 3)


def break_index(root: Path, line: int, **changes: Any) -> None:
    path = root / "maskloop.jsonl"
    lines = path.read_text().splitlines()
    lines[line] = json.dumps({**json.loads(lines[line]), **changes})
    path.write_text("\n".join(lines) + "\n")


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: truncate(root / "masks/b.png"), r"sample b: cannot read the mask .*b\.png.*truncated"),
        (lambda root: (root / "masks/b.png").write_bytes(b"garbage"), r"b\.png: not a PNG"),
        (lambda root: (root / "masks/b.png").unlink(), r"sample b: there is no mask for the image .*b\.jpg"),
        (lambda root: (root / "images/b.jpg").unlink(), r"sample b: there is no image b\.png for the mask .*b\.png"),
        (lambda root: (root / "images/b.jpg").write_bytes(b"x"), r"sample b: .*b\.jpg is not an image"),
        (lambda root: photo(root / "images/b.jpg", 9, 9), r"the mask .*b\.png is 3 x 2 pixels, its image is 9 x 9"),
        (
            lambda root: save(root / "masks/b.png", [[0, 1, 2], [3, 1, 1]]),
            r"b\.png holds the ids \[2, 3\], which are no labels; there are: 0 sky, 1 road",
        ),
        (
            lambda root: save(root / "masks/b.png", np.full((2, 3, 3), (9, 8, 7))),
            r"b\.png: colour \[9, 8, 7\] at x = 0, y = 0 \(6 pixels\) belongs to no label",
        ),
    ],
)
def test_bad_samples_of_plain_folders(tmp_path: Path, damage: Any, message: str) -> None:
    root = folders(tmp_path, a=MAP, b=MAP, c=MAP)
    damage(root)
    with pytest.raises(FormatError, match=message):
        list(png.read(root))
    skipping = png.read(root, on_error="skip")
    for _ in range(2):  # counts are of the latest iteration
        assert [s.id for s in skipping] == ["a", "c"]
        assert skipping.skipped.counts == {"samples skipped": 1}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: break_index(root, 2, id="a"), "sample id 'a' stands twice"),
        (
            lambda root: break_index(root, 2, size=[1, 1]),
            r"sample b: .*b\.jpg is 3 x 2 .*, its masks are 1 x 1",
        ),
        (lambda root: break_index(root, 2, size=[10**5, 10**5]), "sample b: 100000 x 100000 pixels are more than"),
        (lambda root: break_index(root, 2, size=[2]), r"line 3: size must be \[height, width\]"),
        (lambda root: break_index(root, 2, mask="../../etc/passwd"), "does not stay inside the dataset"),
        (
            lambda root: break_index(root, 2, image={"name": "b", "file": "images/b"}),
            "line 3, sample b: there is no image",
        ),
        (
            lambda root: break_index(root, 2, regions=[{"label": 0, "score": "high"}]),
            r"sample b, region 0: score must be a number, received 'high'",
        ),
        (lambda root: break_index(root, 2, regions=[{"label": 0, "mask": "gone.png"}]), "region 0: there is no mask"),
        (lambda root: truncate(root / "masks/b.png"), r"sample b: cannot read the mask"),
    ],
)
def test_bad_samples_of_our_own_folders(tmp_path: Path, damage: Any, message: str) -> None:
    root = tmp_path / "out"
    png.write(png.read(folders(tmp_path / "in", a=MAP, b=MAP, c=MAP)), root)
    damage(root)
    with pytest.raises(FormatError, match=message):
        list(png.read(root))
    skipping = png.read(root, on_error="skip")
    assert [s.id for s in skipping] == ["a", "c"]
    assert skipping.skipped.counts == {"samples skipped": 1}


def test_a_truncated_index_is_named(tmp_path: Path) -> None:
    root = tmp_path / "out"
    png.write(png.read(folders(tmp_path / "in", a=MAP)), root)
    path = root / "maskloop.jsonl"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(FormatError, match=r"maskloop\.jsonl, line 2: not JSON, perhaps truncated"):
        list(png.read(root))


@pytest.mark.parametrize("content", [None, {"a.txt": b""}, {"images/a.jpg": b""}])
def test_detection_says_what_is_missing(tmp_path: Path, content: dict[str, bytes] | None) -> None:
    for name, data in (content or {}).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    path = tmp_path if content else tmp_path / "gone"
    reason = png.detect(path)
    assert reason is not None
    assert ("is not a folder" if content is None else "masks/") in reason
    with pytest.raises(FormatError):
        png.read(path)


def test_writing_refuses_what_is_there_and_what_is_wrong(tmp_path: Path) -> None:
    good = Dataset(LABELS, [sample([[1, 0]], labels=(1,))])
    png.write(good, tmp_path / "out")
    before = sorted(p.read_bytes() for p in (tmp_path / "out").rglob("*.*"))
    with pytest.raises(OutputExistsError, match="overwrite"):
        png.write(good, tmp_path / "out")
    bad: list[tuple[Sample, type[Exception], str]] = [
        (sample([[1, 0]], labels=(2,)), LabelError, "sample a: .* label 2"),
        (sample([[1, 0]], labels=(1,), attributes={"x": float("nan")}), DataError, "sample a, region 0: an attribute"),
    ]
    for wrong, error, message in bad:
        with pytest.raises(error, match=message):
            png.write(Dataset(LABELS, [wrong]), tmp_path / "out", overwrite=True)
    assert sorted(p.read_bytes() for p in (tmp_path / "out").rglob("*.*")) == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_nothing_stays_of_a_sample_that_a_label_map_cannot_hold(tmp_path: Path) -> None:
    """Its image is not copied either, and its name is free for the next one."""
    labels = LabelSet((Label(1, "road"), Label(70000, "far")))
    pixels = io.BytesIO()
    Image.new("RGB", (2, 1)).save(pixels, "PNG")
    image = ImageRef("x.png", pixels.getvalue())
    mask = RunList.from_masks([np.array([[True, False]])], height=1, width=2)
    samples = [Sample(name, image, mask, (Region(label),)) for name, label in (("a", 70000), ("b", 1))]
    policy = ErrorPolicy("skip")
    with png.opening(Dataset(labels, samples), tmp_path / "out", masks="index") as writer:
        gate = Gate(labels, policy)
        assert [gate.write(sample, writer) for sample in samples] == [False, True]
    assert policy.skipped.counts == {"samples skipped": 1}
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.png")) == ["x.png", "x.png"]
    assert [sample.id for sample in png.read(tmp_path / "out")] == ["b"]
    with pytest.raises(TargetError, match="label id 70000 is above 65535"):
        png.write(Dataset(labels, samples), tmp_path / "other", masks="index")
    assert not (tmp_path / "other").exists()
