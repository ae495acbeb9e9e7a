"""Datasets as other tools save them, for formats.py: drawn scenes of objects with outlines of 64 corners.

A maker writes the images and annotations of a list of scenes into a folder. What our own writers save as the tool does is
written with them, without what only our readers look at.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pycocotools import mask as pycoco

import maskloop_converters as mc
from maskloop_converters.formats.known_labels import CITYSCAPES
from maskloop_converters.formats.labels import voc_color

CLASSES = ("road", "sidewalk", "building", "car", "person", "sky")
HEIGHT, WIDTH = 480, 640
OBJECTS, CORNERS = 8, 64
LABELS = mc.LabelSet((mc.Label(0, "background"), *(mc.Label(k, n) for k, n in enumerate(CLASSES, 1))), background_id=0)
VISTAS = 256  # class * 256 + number of the object


@dataclass(frozen=True)
class Scene:
    """Objects of one image; later ones lie over earlier ones.

    Attributes:
        name: of the image, without extension.
        classes: int (K,), places in :data:`CLASSES`.
        outlines: int64 (K, N, 2), x and y of pixels inside the image.
    """

    name: str
    classes: list[int]
    outlines: NDArray[np.int64]

    @cached_property
    def masks(self) -> NDArray[np.bool_]:
        """The objects, outline included: bool (K, H, W)."""
        found = []
        for outline in self.outlines:
            canvas = Image.new("L", (WIDTH, HEIGHT))
            ImageDraw.Draw(canvas).polygon([tuple(p) for p in outline.tolist()], fill=1, outline=1)
            found.append(np.asarray(canvas) > 0)
        return np.stack(found)

    @cached_property
    def objects(self) -> NDArray[np.uint8]:
        """The number of the object that lies on top, from 1, 0 for none: uint8 (H, W)."""
        out = np.zeros((HEIGHT, WIDTH), np.uint8)
        for k, mask in enumerate(self.masks, 1):
            out[mask] = k
        return out

    def label_map(self, values: Any, fill: int = 0) -> NDArray[Any]:
        """Return the (H, W) map of ``values[class]``."""
        table = np.array([fill, *(values[k] for k in self.classes)])
        found: NDArray[Any] = table[self.objects]
        return found


def scenes(count: int) -> list[Scene]:
    """Return scenes, always the same."""
    source = np.random.default_rng(7)
    angle = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    found = []
    for number in range(count):
        outlines = []
        for _ in range(OBJECTS):
            reach = source.uniform(30, 110) * (1 + 0.25 * np.sin(source.integers(3, 9) * angle + source.uniform(0, 6)))
            x = source.uniform(0, WIDTH) + reach * np.cos(angle)
            y = source.uniform(0, HEIGHT) + reach * np.sin(angle)
            outlines.append(np.stack([np.clip(x, 0, WIDTH - 1), np.clip(y, 0, HEIGHT - 1)], 1).astype(np.int64))
        found.append(Scene(f"street_{number:06d}_000019", source.integers(0, len(CLASSES), OBJECTS).tolist(),
                           np.stack(outlines)))  # fmt: skip
    return found


def encoded(pixels: NDArray[Any], kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


_PHOTO = np.kron(np.random.default_rng(1).integers(0, 255, (HEIGHT // 16, WIDTH // 16, 3)), np.ones((16, 16, 1)))
PHOTOS = {kind: encoded(_PHOTO.astype(np.uint8), kind) for kind in ("JPEG", "PNG")}


def saved(path: Path, data: bytes | str | NDArray[Any] | dict[str, Any] | list[Any]) -> None:
    """Write a file: bytes, a text, JSON, or pixels as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(data, np.ndarray):
        data = encoded(data)
    elif isinstance(data, dict | list):
        data = json.dumps(data)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def samples(drawn: list[Scene], *, objects: bool) -> mc.Dataset:
    """Return scenes as a dataset of objects, or of a mask a class."""
    found = []
    for scene in drawn:
        if objects:
            masks = mc.RunList.from_masks(scene.masks, height=HEIGHT, width=WIDTH)
            regions = [mc.Region(label + 1, instance=k) for k, label in enumerate(scene.classes, 1)]
        else:
            ids, masks = mc.RunList.from_label_map(scene.label_map(range(1, 7)))
            rows = np.flatnonzero(ids)
            masks, regions = masks.select(rows), [mc.Region(int(ids[k])) for k in rows]
        image = mc.ImageRef(f"{scene.name}.jpg", PHOTOS["JPEG"])
        found.append(mc.Sample(scene.name, image, masks, tuple(regions)))
    return mc.Dataset(LABELS, found, count=len(found))


def cvat_masks(root: Path, drawn: list[Scene]) -> None:
    mc.write(samples(drawn, objects=True), root, "cvat")
    file = root / "annotations.xml"
    lines = file.read_bytes().splitlines()
    file.write_bytes(b"\n".join(line for line in lines if b"<maskloop>" not in line))


def cvat_polygons(root: Path, drawn: list[Scene]) -> None:
    labels = "".join(f"<label><name>{name}</name><attributes></attributes></label>" for name in CLASSES)
    lines = ['<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version>']
    lines.append(f"<meta><task><id>1</id><labels>{labels}</labels></task></meta>")
    for number, scene in enumerate(drawn):
        saved(root / "images" / f"{scene.name}.jpg", PHOTOS["JPEG"])
        lines.append(f'<image id="{number}" name="{scene.name}.jpg" width="{WIDTH}" height="{HEIGHT}">')
        for k, label in enumerate(scene.classes):
            points = ";".join(f"{x:.2f},{y:.2f}" for x, y in scene.outlines[k].tolist())
            start = f'<polygon label="{CLASSES[label]}" source="manual" occluded="0" points="{points}"'
            lines.append(f'{start} z_order="{k}"></polygon>')
        lines.append("</image>")
    saved(root / "annotations.xml", "\n".join([*lines, "</annotations>"]))


def labelme(root: Path, drawn: list[Scene], *, stored: bool) -> None:
    saved(root / "labels.txt", "\n".join(CLASSES))
    for scene in drawn:
        shapes = []
        for k, label in enumerate(scene.classes):
            shape = {"label": CLASSES[label], "points": scene.outlines[k].astype(float).tolist(), "group_id": None,
                     "description": "", "shape_type": "polygon", "flags": {}, "mask": None}  # fmt: skip
            if stored:
                y, x = np.nonzero(scene.masks[k])
                box = scene.masks[k][y.min() : y.max() + 1, x.min() : x.max() + 1]
                corners = [[float(x.min()), float(y.min())], [float(x.max()), float(y.max())]]
                shape |= {
                    "points": corners,
                    "shape_type": "mask",
                    "mask": base64.b64encode(encoded(box.astype(np.uint8))).decode(),
                }
            shapes.append(shape)
        saved(root / f"{scene.name}.jpg", PHOTOS["JPEG"])
        saved(root / f"{scene.name}.json", {"version": "5.5.0", "flags": {}, "shapes": shapes, "imageData": None,
              "imagePath": f"{scene.name}.jpg", "imageHeight": HEIGHT, "imageWidth": WIDTH})  # fmt: skip


def yolo(root: Path, drawn: list[Scene]) -> None:
    names = "".join(f"  {k}: {name}\n" for k, name in enumerate(CLASSES))
    saved(root / "data.yaml", f"path: .\ntrain: images\nval: images\nnames:\n{names}")
    for scene in drawn:
        saved(root / "images" / f"{scene.name}.jpg", PHOTOS["JPEG"])
        # A pixel's middle: rounding to the file's six digits never moves it to the next.
        shares = (scene.outlines + 0.5) / (WIDTH, HEIGHT)
        lines = [
            " ".join([str(label), *(f"{v:.6f}" for v in shares[k].ravel())]) for k, label in enumerate(scene.classes)
        ]
        saved(root / "labels" / f"{scene.name}.txt", "\n".join(lines))


def ultralytics(root: Path, drawn: list[Scene]) -> None:
    names = "".join(f"  {k}: {name}\n" for k, name in enumerate(CLASSES))
    saved(root / "data.yaml", f"path: .\ntrain: images/train\nval: images/train\nmasks_dir: masks\nnames:\n{names}")
    for scene in drawn:
        saved(root / "images" / "train" / f"{scene.name}.jpg", PHOTOS["JPEG"])
        saved(root / "masks" / "train" / f"{scene.name}.png", scene.label_map(range(6), 255).astype(np.uint8))


def _rle(mask: NDArray[np.bool_]) -> dict[str, Any]:
    found = pycoco.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [HEIGHT, WIDTH], "counts": found["counts"].decode()}


def sa1b(root: Path, drawn: list[Scene]) -> None:
    for number, scene in enumerate(drawn, 1):
        name = f"sa_{number}"
        saved(root / f"{name}.jpg", PHOTOS["JPEG"])
        records = []
        for k, mask in enumerate(scene.masks):
            y, x = np.nonzero(mask)
            box = [float(v) for v in (x.min(), y.min(), np.ptp(x), np.ptp(y))]
            records.append({"id": number * 100 + k, "segmentation": _rle(mask), "bbox": box, "area": int(mask.sum()),
                            "predicted_iou": 0.9, "stability_score": 0.95, "point_coords": [[1.5, 2.5]],
                            "crop_box": [0.0, 0.0, float(WIDTH), float(HEIGHT)]})  # fmt: skip
        image = {"image_id": number, "width": WIDTH, "height": HEIGHT, "file_name": f"{name}.jpg"}
        saved(root / f"{name}.json", {"image": image, "annotations": records})


def via(root: Path, drawn: list[Scene]) -> None:
    records = {}
    for scene in drawn:
        name = f"{scene.name}.jpg"
        saved(root / name, PHOTOS["JPEG"])
        regions = []
        for k, label in enumerate(scene.classes):
            x, y = scene.outlines[k].T.tolist()
            shape = {"name": "polygon", "all_points_x": x, "all_points_y": y}
            regions.append({"shape_attributes": shape, "region_attributes": {"class": CLASSES[label]}})
        size = len(PHOTOS["JPEG"])
        records[f"{name}{size}"] = {"filename": name, "size": size, "regions": regions, "file_attributes": {}}
    saved(root / "via_region_data.json", records)


CITY_IDS = [CITYSCAPES.by_name(name).id for name in CLASSES]


def _city_images(root: Path, drawn: list[Scene]) -> Iterator[tuple[Scene, Path]]:
    """Yield each scene and the beginning of its annotations' names."""
    for scene in drawn:
        saved(root / "leftImg8bit" / "val" / "street" / f"{scene.name}_leftImg8bit.png", PHOTOS["PNG"])
        yield scene, root / "gtFine" / "val" / "street" / f"{scene.name}_gtFine_"


def cityscapes_polygons(root: Path, drawn: list[Scene]) -> None:
    for scene, begin in _city_images(root, drawn):
        objects = [{"label": CLASSES[c], "polygon": scene.outlines[k].tolist()} for k, c in enumerate(scene.classes)]
        saved(Path(f"{begin}polygons.json"), {"imgHeight": HEIGHT, "imgWidth": WIDTH, "objects": objects})


def cityscapes_ids(root: Path, drawn: list[Scene]) -> None:
    for scene, begin in _city_images(root, drawn):
        saved(Path(f"{begin}labelIds.png"), scene.label_map(CITY_IDS).astype(np.uint8))


def ade20k(root: Path, drawn: list[Scene]) -> None:
    numbers = [300 + k for k in range(len(CLASSES))]
    for number, scene in enumerate(drawn, 1):
        begin = root / "images" / "ADE" / "training" / "street" / f"ADE_train_{number:08d}"
        classes = scene.label_map(numbers)
        seg = np.stack([classes // 256 * 10, classes % 256, scene.objects * 25], 2).astype(np.uint8)
        things = []
        for k, label in enumerate(scene.classes):
            corners = {"x": scene.outlines[k][:, 0].tolist(), "y": scene.outlines[k][:, 1].tolist()}
            parts = {"hasparts": [], "ispartof": [], "part_level": 0}
            things.append({"id": k, "name": CLASSES[label], "name_ndx": numbers[label], "raw_name": CLASSES[label],
                           "attributes": [], "occluded": "no", "crop": 0, "parts": parts, "polygon": corners,
                           "instance_mask": f"{begin.name}/instance_{k:03d}_{begin.name}.png"})  # fmt: skip
        saved(Path(f"{begin}.jpg"), PHOTOS["JPEG"])
        saved(Path(f"{begin}_seg.png"), seg)
        saved(Path(f"{begin}.json"), {"annotation": {"filename": f"{begin.name}.jpg", "object": things}})


def mapillary(root: Path, drawn: list[Scene]) -> None:
    labels = [{"name": name, "readable": name, "color": list(voc_color(k + 1)), "evaluate": True, "instances": True}
              for k, name in enumerate(["void", *CLASSES])]  # fmt: skip
    saved(root / "config_v2.0.json", {"labels": labels, "version": 2.0, "mapping": "public"})
    for scene in drawn:
        part = root / "training"
        saved(part / "images" / f"{scene.name}.jpg", PHOTOS["JPEG"])
        classes = scene.label_map(range(1, 7))
        numbers = np.where(classes, scene.objects, 0)
        mask = Image.fromarray(classes.astype(np.uint8))
        mask.putpalette([v for label in labels for v in label["color"]])  # type: ignore[attr-defined]
        out = io.BytesIO()
        mask.save(out, "PNG")
        saved(part / "v2.0" / "labels" / f"{scene.name}.png", out.getvalue())
        saved(part / "v2.0" / "instances" / f"{scene.name}.png", (classes * VISTAS + numbers).astype(np.uint16))


def kitti(root: Path, drawn: list[Scene]) -> None:
    for scene in drawn:
        part = root / "training"
        saved(part / "image_2" / f"{scene.name}.png", PHOTOS["PNG"])
        classes = scene.label_map(CITY_IDS)
        saved(part / "semantic" / f"{scene.name}.png", classes.astype(np.uint8))
        saved(part / "instance" / f"{scene.name}.png", (classes * VISTAS + scene.objects).astype(np.uint16))


def voc(root: Path, drawn: list[Scene]) -> None:
    mc.write(samples(drawn, objects=False), root, "png", layout="voc")
    (root / "maskloop.jsonl").unlink()


def coco_rle(root: Path, drawn: list[Scene]) -> None:
    images, annotations = [], []
    for number, scene in enumerate(drawn, 1):
        saved(root / "images" / "train" / f"{scene.name}.jpg", PHOTOS["JPEG"])
        images.append({"id": number, "file_name": f"{scene.name}.jpg", "height": HEIGHT, "width": WIDTH})
        for k, mask in enumerate(scene.masks):
            y, x = np.nonzero(mask)
            box = [int(v) for v in (x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1)]
            annotations.append({"id": number * 100 + k, "image_id": number, "category_id": scene.classes[k] + 1,
                                "segmentation": _rle(mask), "bbox": box, "area": int(mask.sum()), "iscrowd": 0})  # fmt: skip
    categories = [{"id": k, "name": name, "supercategory": ""} for k, name in enumerate(CLASSES, 1)]
    saved(root / "annotations" / "instances_train.json",
          {"images": images, "categories": categories, "annotations": annotations})  # fmt: skip


def coco_polygons(root: Path, drawn: list[Scene]) -> None:
    coco_rle(root, drawn)
    file = root / "annotations" / "instances_train.json"
    document = json.loads(file.read_bytes())
    outlines = (outline for scene in drawn for outline in scene.outlines)
    for annotation, outline in zip(document["annotations"], outlines, strict=True):
        annotation["segmentation"] = [outline.astype(float).ravel().tolist()]
    saved(file, document)


def coco_results(root: Path, drawn: list[Scene]) -> None:
    """The dataset that was predicted, and what a model says of it."""
    coco_rle(root, drawn)
    document = json.loads((root / "annotations" / "instances_train.json").read_bytes())
    kept = ("image_id", "category_id", "segmentation", "bbox")
    results = [{key: a[key] for key in kept} | {"score": 0.9} for a in document["annotations"]]
    document["annotations"] = []
    saved(root / "annotations" / "instances_train.json", document)
    saved(root / "results.json", results)


def huggingface(root: Path, drawn: list[Scene]) -> None:
    from datasets import Dataset

    mc.write(samples(drawn, objects=False), root, "huggingface")
    (file,) = root.rglob("*.parquet")
    rows = Dataset.from_parquet(str(file), cache_dir=str(root / "cache")).remove_columns("maskloop")
    rows.to_parquet(str(file))


Maker = Callable[[Path, list[Scene]], None]
