"""labelme's JSON as labelme draws it, as others write it, and as nobody should."""

from __future__ import annotations

import base64
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

import maskloop_converters as mc
from maskloop_converters.errors import FormatError

HEIGHT, WIDTH = 40, 60


def encoded(pixels: Any, kind: str = "PNG") -> str:
    out = io.BytesIO()
    Image.fromarray(np.asarray(pixels)).save(out, kind)
    return base64.b64encode(out.getvalue()).decode()


def saved(root: Path, shapes: Any, name: str = "a", **fields: Any) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    document = {
        "version": "5.4.1",
        "flags": {},
        "shapes": shapes,
        "imagePath": f"{name}.jpg",
        "imageData": None,
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
    }
    (root / f"{name}.json").write_text(json.dumps(document | fields))
    Image.new("RGB", (WIDTH, HEIGHT)).save(root / f"{name}.jpg")
    return root


def shape(kind: str | None, points: Any, label: str = "car", **fields: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}} | fields


def drawn(kind: str | None, points: list[list[float]]) -> Any:
    """What labelme's own ``shape_to_mask`` does, on a canvas of the whole image."""
    canvas = Image.new("L", (WIDTH, HEIGHT))
    draw = ImageDraw.Draw(canvas)
    xy = [(x, y) for x, y in points]
    if kind == "circle":
        (cx, cy), (px, py) = xy
        d = math.sqrt((cx - px) ** 2 + (cy - py) ** 2)
        draw.ellipse(((cx - d, cy - d), (cx + d, cy + d)), outline=1, fill=1)
    elif kind == "rectangle":
        (x0, y0), (x1, y1) = xy
        draw.rectangle(((min(x0, x1), min(y0, y1)), (max(x0, x1), max(y0, y1))), outline=1, fill=1)
    else:
        draw.polygon(xy, outline=1, fill=1)
    return np.asarray(canvas) > 0


@pytest.mark.parametrize("kind", ["polygon", None, "oriented_rectangle", "rectangle", "circle"])
def test_shapes_have_the_pixels_that_labelme_draws(tmp_path: Path, kind: str | None) -> None:
    """Of fractions of a pixel, and partly outside the image."""
    rng = np.random.default_rng(5)
    count = {"rectangle": 2, "circle": 2, "oriented_rectangle": 4}.get(kind or "", 7)
    points = [(rng.random((count, 2)) * (WIDTH + 20, HEIGHT + 20) - 10).round(3).tolist() for _ in range(40)]
    if kind == "circle":
        points = [[p[0], [p[0][0] + 7 * (k % 5) / 3, p[0][1] + k % 9]] for k, p in enumerate(points)]
    (sample,) = mc.read(saved(tmp_path, [shape(kind, p) for p in points]))
    assert len(sample.regions) == len(points)
    for k, own in enumerate(points):
        assert sample.masks.mask(k).tolist() == drawn(kind, own).tolist()


def test_masks_lie_in_their_box(tmp_path: Path) -> None:
    pixels = np.array([[1, 0, 1], [1, 1, 1]], bool)
    for k, stored in enumerate((pixels, pixels.astype(np.uint8), pixels.astype(np.uint8) * 255)):
        points = [[10.0, 20.0], [12.0, 21.0]]
        (sample,) = mc.read(saved(tmp_path / str(k), [shape("mask", points, mask=encoded(stored))]))
        assert np.argwhere(sample.masks.mask(0)).tolist() == (np.argwhere(pixels) + np.array([20, 10])).tolist()


def test_groups_are_one_object_and_lines_are_counted(tmp_path: Path) -> None:
    box = [[1, 1], [4, 4]]
    shapes = [
        shape("rectangle", box, group_id=3, description="left"),
        shape("linestrip", box),
        shape("rectangle", [[2, 2], [3, 3]], "road"),
        shape("rectangle", [[10, 1], [14, 4]], group_id=3),
        shape("rectangle", box, "road", group_id=3),
    ]
    dataset = mc.read(saved(tmp_path, shapes))
    (sample,) = dataset
    assert [label.name for label in dataset.labels.labels] == ["car", "road"]
    assert [(region.label, region.instance) for region in sample.regions] == [(0, 3), (1, 3), (1, 3)]
    assert sample.masks.areas().tolist() == [16 + 20, 4, 16]
    assert dict(sample.regions[0].attributes) == {"description": "left"}
    assert dataset.skipped.counts == {"shapes that are no areas": 1}
    assert "alphabetical order" in dataset.notes.lines()[0]


def test_labels_beside_and_images_inside(tmp_path: Path) -> None:
    root = saved(
        tmp_path, [shape("rectangle", [[1, 1], [4, 4]])], imageData=encoded(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    )
    (root / "a.jpg").unlink()
    (root / "labels.txt").write_text("__ignore__\n_background_\nroad\ncar\n")
    dataset = mc.read(root)
    (sample,) = dataset
    assert dataset.labels.by_id(sample.regions[0].label).name == "car"
    assert Image.open(io.BytesIO(sample.image.read_bytes() or b"")).size == (WIDTH, HEIGHT)
    old = json.loads((root / "a.json").read_text())
    del old["imageHeight"], old["imageWidth"]
    (root / "a.json").write_text(json.dumps(old))
    assert next(iter(mc.read(root))).height == HEIGHT


def test_a_type_of_shape_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    saved(tmp_path / "in", [shape("rectangle", [[1, 1], [4, 4]])])
    mc.convert(tmp_path / "in", tmp_path / "out", "labelme")
    document = json.loads((tmp_path / "out" / "a.json").read_text())
    document["shapes"][0]["shape_type"] = {"x": 1}
    (tmp_path / "out" / "a.json").write_text(json.dumps(document))
    with pytest.raises(FormatError, match=r"a\.json, shape 0: shape_type \{'x': 1\} is no area"):
        list(mc.read(tmp_path / "out"))
    document["shapes"][0]["shape_type"] = "mask"
    document["maskloop"]["name"] = "/etc/passwd.png"
    (tmp_path / "out" / "a.json").write_text(json.dumps(document))
    (sample,) = mc.read(tmp_path / "out")
    assert sample.image.name == "etc/passwd.png"


def test_an_edit_in_labelme_is_never_mixed_up_with_what_we_noted(tmp_path: Path) -> None:
    saved(tmp_path / "in", [shape("rectangle", [[1, 1], [4, 4]]), shape("rectangle", [[9, 9], [14, 14]])])
    mc.convert(tmp_path / "in", tmp_path / "out", "labelme", verify=True)
    document = json.loads((tmp_path / "out" / "a.json").read_text())
    del document["shapes"][0]
    (tmp_path / "out" / "a.json").write_text(json.dumps(document))
    with pytest.raises(FormatError, match="its shapes are not those that 'maskloop' lists; remove 'maskloop'"):
        list(mc.read(tmp_path / "out"))
    del document["maskloop"]
    (tmp_path / "out" / "a.json").write_text(json.dumps(document))
    (sample,) = mc.read(tmp_path / "out")
    assert sample.masks.areas().tolist() == [36]


BOX: list[list[float]] = [[1, 1], [4, 4]]
SMALL = encoded(np.ones((4, 4), bool))
BAD: dict[str, tuple[Any, str]] = {
    "no points": (shape("polygon", None), "points are pairs of numbers"),
    "flat points": (shape("polygon", [1, 2, 3, 4]), "points are pairs of numbers"),
    "nan": (shape("polygon", [[1, 1], [2, float("nan")], [3, 3]]), "points are pairs of numbers"),
    "two points": (shape("polygon", BOX), "three points or more"),
    "far": (shape("polygon", [[1, 1], [1e9, 1], [3, 3]]), "far outside any image"),
    "wide": (shape("circle", [[5, 5], [5e5, 5]]), "a radius of 499995 pixels is larger than any image"),
    "rectangle": (shape("rectangle", [[1, 1]]), "a rectangle has 2 points, it has 1"),
    "label": (shape("rectangle", BOX, 7), "no label is named 7"),  # type: ignore[arg-type]
    "type": (shape(["x"], BOX), "shape_type must be a text"),  # type: ignore[arg-type]
    "no mask": (shape("mask", BOX), "mask must be a PNG in base64"),
    "base64": (shape("mask", BOX, mask="%%%"), "mask: "),
    "no PNG": (shape("mask", BOX, mask="AAAA"), "mask: "),
    "other box": (shape("mask", [[1, 1], [9, 4]], mask=SMALL), "it is 4 x 4 pixels, its box is 9 x 4"),
    "outside": (shape("mask", [[58, 1], [61, 4]], mask=SMALL), "reaches out of the 60 x 40 image"),
    "bomb": (shape("mask", BOX, mask=encoded(np.zeros((6000, 6000), bool))), "mask: "),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_shapes_are_named_and_skipped(tmp_path: Path, name: str) -> None:
    bad, message = BAD[name]
    saved(tmp_path, [shape("rectangle", BOX), bad])
    with pytest.raises(FormatError, match=message) as caught:
        list(mc.read(tmp_path, "labelme"))
    assert "a.json, shape 2" in str(caught.value)
    skipping = mc.read(tmp_path, "labelme", on_error="skip")
    (sample,) = skipping
    assert len(sample.regions) == 1
    assert skipping.skipped.counts == {"shapes skipped": 1}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"imagePath": None}, "imagePath must be a file's name"),
        ({"imageHeight": 41}, "imageHeight and imageWidth are 41 and 60"),
        ({"imageHeight": 10**6, "imageWidth": 10**6}, "more than the"),
        ({"shapes": {}}, "shapes must be a list"),
        ({"maskloop": []}, "must be an object"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    saved(tmp_path, fields.pop("shapes", [shape("rectangle", BOX)]), **fields)
    saved(tmp_path, [], "b")
    with pytest.raises(FormatError, match=message) as caught:
        list(mc.read(tmp_path, "labelme"))
    assert "a.json" in str(caught.value)
    assert [sample.id for sample in mc.read(tmp_path, "labelme", on_error="skip")] == ["b"]


def test_a_polygon_that_would_take_minutes_is_refused(tmp_path: Path) -> None:
    zigzag = [[k % 50, 4000 * (k % 2)] for k in range(10**5)]
    saved(tmp_path, [shape("polygon", zigzag)], imageHeight=4000)
    Image.new("RGB", (WIDTH, 4000)).save(tmp_path / "a.jpg")
    with pytest.raises(FormatError, match="a polygon of 100000 points over 4000 rows is no outline"):
        list(mc.read(tmp_path))


def test_nothing_outside_the_folder_is_read(tmp_path: Path) -> None:
    root = saved(tmp_path / "d", [], imagePath="../secret.jpg")
    (root / "a.jpg").rename(tmp_path / "secret.jpg")
    (sample,) = mc.read(root)
    assert sample.image.source is None
