"""YOLO segmentation as other tools lay it out, and what its trainers see."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import maskloop_converters as mc
from maskloop_converters.errors import DataError, FormatError
from maskloop_converters.formats import yolo

SQUARE = "0.125 0.125 0.625 0.125 0.625 0.625 0.125 0.625"
NAMES = "names: [car, 'bus, long']\n"


def laid_out(root: Path, texts: dict[str, str], images: list[str]) -> Path:
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for name in images:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(root / name)
    return root


LAYOUTS: dict[str, tuple[dict[str, str], list[str], list[tuple[str, int]], tuple[str, ...]]] = {
    "ultralytics": (
        {
            "data.yaml": f"path: ../datasets/coco8-seg # root\ntrain: images/train\nval: images/val\ntest:\n{NAMES}",
            "labels/train/a.txt": f"0 {SQUARE}\n1 {SQUARE}\n",
            "labels/val/b.txt": f"1 {SQUARE}",
        },
        ["images/train/a.jpg", "images/train/nothing on it.jpg", "images/val/b.png"],
        [("a", 2), ("nothing on it", 0), ("b", 1)],
        ("train", "val"),
    ),
    "roboflow": (
        {
            "data.yaml": f"train: ../train/images\nval: ../valid/images\nnc: 2\n{NAMES}roboflow:\n  workspace: x\n",
            "train/labels/a.txt": f"0 {SQUARE}\n",
            "valid/labels/b.txt": "",
        },
        ["train/images/a.jpg", "valid/images/b.jpg"],
        [("a", 1), ("b", 0)],
        ("train", "valid"),
    ),
    "lists": (
        {
            "x.yaml": "train: train.txt\nval: [val.txt]\nnames:\n  0: car\n  1: bus\n",
            "train.txt": "./images/t/a.jpg\n/home/me/x/images/t/c.jpg\n",
            "val.txt": "./images/b.jpg\n",
            "labels/t/a.txt": f"0 {SQUARE}\n",
            "labels/t/c.txt": f"0 {SQUARE}\n",
        },
        ["images/t/a.jpg", "images/t/c.jpg", "images/b.jpg"],
        [("t/a", 1), ("t/c", 1), ("b", 0)],
        ("train", "val"),
    ),
    "label studio": (
        {"classes.txt": "car\nbus\n", "notes.json": "{}", "labels/a.txt": f"1 {SQUARE}\n"},
        ["images/a.jpg"],
        [("a", 1)],
        (),
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_of_others(tmp_path: Path, name: str) -> None:
    texts, images, expected, parts = LAYOUTS[name]
    root = laid_out(tmp_path / "d", texts, images)
    dataset = mc.read(root)
    assert dataset.format == "yolo"
    assert dataset.count == len(expected)
    assert [(sample.id, len(sample.regions)) for sample in dataset] == expected
    assert yolo.splits(root) == parts
    assert dataset.labels.labels[0].name == "car"
    if (root / "data.yaml").is_file():
        assert [sample.id for sample in mc.read(root / "data.yaml")] == [sample for sample, _ in expected]


def test_without_names_classes_are_numbered(tmp_path: Path) -> None:
    root = laid_out(tmp_path, {"labels/a.txt": f"2 {SQUARE}\n"}, ["images/a.jpg"])
    dataset = mc.read(root)
    assert [label.name for label in dataset.labels.labels] == ["class 0", "class 1", "class 2"]
    list(dataset)
    assert "name them in a classes.txt" in dataset.notes.lines()[0]
    (labels,) = {
        tuple(label.name for label in mc.read(root, labels=mc.LabelSet.from_names(["a", "b", "c"])).labels.labels)
    }
    assert labels == ("a", "b", "c")


def test_corners_are_filled_as_the_trainers_fill_them(tmp_path: Path) -> None:
    """They turn shares into whole pixels and call cv2.fillPoly."""
    rng = np.random.default_rng(3)
    shares = [rng.random((n, 2)) for n in (3, 4, 7, 12)]
    lines = "".join(f"{k % 2} {' '.join(map(str, s.ravel()))}\n" for k, s in enumerate(shares))
    root = laid_out(tmp_path, {"classes.txt": "a\nb", "labels/a.txt": lines}, [])
    (root / "images").mkdir()
    Image.new("RGB", (97, 61)).save(root / "images" / "a.png")
    (sample,) = mc.read(root)
    areas = sample.masks.areas().tolist()
    assert areas == sorted(areas, reverse=True)  # the smaller lies on top
    for k, region in enumerate(sample.regions):
        assert region.instance is not None
        expected = np.zeros((61, 97), np.uint8)
        cv2.fillPoly(expected, [(shares[region.instance - 1] * (97, 61)).astype(np.int32)], 1)
        assert sample.masks.mask(k).tolist() == expected.astype(bool).tolist()


def test_boxes_are_counted_and_a_confidence_is_a_score(tmp_path: Path) -> None:
    text = f"0 0.5 0.5 0.2 0.2\n\n1 {SQUARE} 0.75\n"
    dataset = mc.read(
        laid_out(tmp_path, {"data.yaml": NAMES + "train: images\n", "labels/a.txt": text}, ["images/a.jpg"])
    )
    (sample,) = dataset
    assert [(region.label, region.score) for region in sample.regions] == [(1, 0.75)]
    assert dataset.skipped.counts == {"boxes, which are no masks": 1}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("7 " + SQUARE, "line 1: class 7 has no name"),
        ("0 0.1 0.1 0.2 0.2 0.3", "three corners or more"),
        ("0 1 2 3 4 5 6", "shares of width and height from 0 to 1, received 6 and 1"),
        ("0 nan 0 0 0 0 0", "expected the number of a class"),
        ("car " + SQUARE, "expected a class and numbers"),
        ("0.5 " + SQUARE, "expected the number of a class"),
        ("0 " + "0 0 1 1 " * 40_000, ""),
    ],
    ids=["class", "short", "pixels", "nan", "name", "half", "long"],
)
def test_lines_that_are_none(tmp_path: Path, line: str, message: str) -> None:
    root = laid_out(
        tmp_path,
        {"data.yaml": NAMES + "train: images\n", "labels/a.txt": line, "labels/b.txt": f"0 {SQUARE}"},
        ["images/a.jpg", "images/b.jpg"],
    )
    if not message:
        assert len(list(mc.read(root))) == 2
        return
    with pytest.raises(FormatError, match=message):
        list(mc.read(root))
    skipping = mc.read(root, on_error="skip")
    assert [sample.id for sample in skipping] == ["b"]
    assert skipping.skipped.total == 1


def test_an_outline_of_too_many_pixels_is_an_error(tmp_path: Path) -> None:
    """A text of some kilobytes must not take minutes on a large image."""
    root = laid_out(tmp_path, {"data.yaml": NAMES + "train: images\n", "labels/a.txt": "0 " + "0 0 1 1 " * 9000}, [])
    (root / "images").mkdir()
    Image.new("1", (10_000, 10_000)).save(root / "images" / "a.png")
    with pytest.raises(FormatError, match=r"a\.txt: a polygon whose .* is no outline"):
        list(mc.read(root))


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    root = laid_out(tmp_path, {"data.yaml": NAMES + "train: images\n", "labels/a.txt": f"0 {SQUARE}"}, ["images/b.jpg"])
    with pytest.raises(FormatError, match=r"there is no image for .*a\.txt.*--images-from"):
        list(mc.read(root, "yolo"))
    laid_out(tmp_path / "elsewhere", {}, ["a.jpg"])
    assert len(list(mc.read(root, "yolo", images_from=tmp_path / "elsewhere"))) == 2
    (root / "data.yaml").write_text("train: images\n" + NAMES + "masks_dir: masks\n")
    assert "its labels are masks" in (yolo.detect(root) or "")
    (root / "data.yaml").write_text(NAMES)
    assert "names no images" in (yolo.detect(root) or "")


def test_files_lead_nowhere_outside_their_folder(tmp_path: Path) -> None:
    laid_out(tmp_path / "secret", {}, ["images/s.jpg"])
    for place in ("../secret/images", str(tmp_path / "secret" / "images")):
        root = laid_out(
            tmp_path / "d", {"data.yaml": f"train: {place}\n{NAMES}", "labels/a.txt": f"0 {SQUARE}"}, ["images/a.jpg"]
        )
        found = [] if yolo.detect(root) else [sample.image.source for sample in mc.read(root, "yolo")]
        assert not [source for source in found if "secret" in str(source)]


def test_holes_and_parts_of_an_object(make: Callable[..., mc.Dataset], tmp_path: Path) -> None:
    """A hole costs nothing; parts of one object are joined, and the pixels between them are counted."""
    mask = np.zeros((12, 20), bool)
    mask[1:9, 1:9] = True
    mask[3:6, 3:6] = False
    labels = mc.LabelSet.from_names(["car"])
    image = mc.ImageRef("a.png", (make(1).samples[0]).image.source)  # type: ignore[index]
    parts = mask.copy()
    parts[2:5, 12:15] = True
    height, width = 20, 30
    whole = np.zeros((2, height, width), bool)
    whole[0, :12, :20], whole[1, :12, :20] = mask, parts
    for k, (instance, lines, gained) in enumerate([(None, 3, 0), (1, 2, 3)]):
        regions = (mc.Region(0, instance=instance), mc.Region(0, instance=instance and 2))
        masks = mc.RunList.from_masks(whole, height=height, width=width)
        report = mc.write(mc.Dataset(labels, [mc.Sample("a", image, masks, regions)]), tmp_path / str(k), "yolo")
        text = (tmp_path / str(k) / "labels" / "a.txt").read_text()
        assert len(text.splitlines()) == lines
        assert report.losses.counts.get("pixels gained where parts of an object are joined", 0) == gained
        seen = np.zeros((height, width), np.uint8)
        for line in text.splitlines():
            shares = np.array(line.split()[1:], float).reshape(-1, 2)
            cv2.fillPoly(seen, [(shares * (width, height)).astype(np.int32)], 1)
        assert int(seen.sum()) == int(whole[1].sum()) + gained


def test_an_image_must_come_along(make: Callable[..., mc.Dataset], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="shares of the image's size"):
        mc.write(make(1), tmp_path / "out", "yolo", images="reference")
    assert not (tmp_path / "out").exists()
