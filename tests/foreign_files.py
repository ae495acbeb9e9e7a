"""Datasets as other tools save them, for formats that are read and not written: SA-1B's and VIA's JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as pycoco

HEIGHT, WIDTH = 30, 40


def picture(path: Path, size: tuple[int, int] = (HEIGHT, WIDTH)) -> None:
    """Save a picture of (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size[1], size[0]), "navy").save(path)


def sa1b_record(mask: Any, number: int, **fields: Any) -> dict[str, Any]:
    """Return an annotation as Segment Anything's generator makes it."""
    encoded = pycoco.encode(np.asfortranarray(mask, np.uint8))
    return {
        "bbox": [float(v) for v in pycoco.toBbox(encoded)],
        "area": int(pycoco.area(encoded)),
        "segmentation": {"size": list(encoded["size"]), "counts": encoded["counts"].decode()},
        "predicted_iou": 0.9375,
        "point_coords": [[10.5, 12.0]],
        "crop_box": [0.0, 0.0, float(WIDTH), float(HEIGHT)],
        "id": number,
        "stability_score": 0.96875,
    } | fields


def sa1b_masks() -> list[Any]:
    """Return a part that stands before the whole that it lies on, and one in two pieces with a hole."""
    part, whole, torn = (np.zeros((HEIGHT, WIDTH), bool) for _ in range(3))
    part[5:9, 6:12] = True
    whole[2:20, 3:30] = True
    torn[22:28, 1:9] = torn[22:25, 20:24] = True
    torn[24:26, 3:5] = False
    return [part, whole, torn]


def sa1b(root: Path, count: int = 2) -> Path:
    """Save a folder of images, a JSON beside each."""
    for k in range(1, count + 1):
        name = f"sa_{223750 + k}"
        picture(root / f"{name}.jpg")
        records = [sa1b_record(mask, 532493170 + k * 10 + i) for i, mask in enumerate(sa1b_masks())]
        image = {"image_id": 223750 + k, "width": WIDTH, "height": HEIGHT, "file_name": f"{name}.jpg"}
        (root / f"{name}.json").write_text(json.dumps({"image": image, "annotations": records}))
    return root


def via_region(name: str, attributes: dict[str, Any] | None = None, **shape: Any) -> dict[str, Any]:
    """Return a region of VIA 2."""
    told = {"class": "car"} if attributes is None else attributes
    return {"shape_attributes": {"name": name} | shape, "region_attributes": told}


def via_records(regions: Sequence[Any], root: Path, names: Sequence[str] = ("a.jpg", "b.jpg")) -> dict[str, Any]:
    """Save images that have these regions, and return VIA's records of them."""
    found = {}
    for name in names:
        picture(root / name)
        size = (root / name).stat().st_size
        found[f"{name}{size}"] = {"filename": name, "size": size, "regions": list(regions), "file_attributes": {}}
    return found


VIA_REGIONS = (
    via_region("polygon", all_points_x=[4, 20, 17, 6], all_points_y=[3, 5, 19, 16]),
    via_region("rect", {"class": "bus", "hidden": {"yes": True}}, x=10, y=8, width=15, height=9),
    via_region("ellipse", cx=25, cy=15, rx=9.5, ry=4, theta=0.7),
    via_region("circle", {"class": "bus"}, cx=8, cy=24, r=4),
    via_region("point", cx=3, cy=3),
    via_region("polyline", all_points_x=[1, 9], all_points_y=[2, 2]),
)


def via_export(root: Path) -> Path:
    """Save what VIA exports as annotations, beside the images."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "via_region_data.json").write_text(json.dumps(via_records(VIA_REGIONS, root)))
    return root


def via_project(root: Path, regions: Sequence[Any] = VIA_REGIONS, **attributes: Any) -> Path:
    """Save a project, its images in a folder of their own."""
    records = via_records(regions, root / "images")
    options = {"options": {"bus": "Bus", "car": "Car", "tram": "Tram"}, "default_options": {}}
    project = {
        "_via_settings": {"ui": {}, "core": {"default_filepath": "./images/"}, "project": {"name": "street"}},
        "_via_img_metadata": records,
        "_via_attributes": {"region": attributes or {"class": {"type": "dropdown", **options}}, "file": {}},
        "_via_data_format_version": "2.0.10",
        "_via_image_id_list": list(reversed(records)),
    }
    (root / "via_project.json").write_text(json.dumps(project))
    return root


#: By format: functions that save a valid dataset in a folder.
MAKERS: dict[str, tuple[Callable[[Path], Path], ...]] = {"sa1b": (sa1b,), "via": (via_export, via_project)}
