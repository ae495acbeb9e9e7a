"""What peers of formats.py do, run by it in the environment that has them: one line of JSON in, one out, until the end.

Each peer reads a dataset into what maskloop's readers hold too: a label map (or the stack of the objects' masks) of every
image, of the image's size. Where a library only parses, what it offers for drawing its annotations is called as well.
"""

from __future__ import annotations

import base64
import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

cv2.setNumThreads(1)

#: Of each image: its name, the label map or the masks.
Found = Iterator[tuple[str, Any]]


def size_of(path: Any) -> tuple[int, int]:
    """Return height and width from an image's header, with Pillow."""
    with Image.open(path) as image:
        return image.height, image.width


def datumaro(kind: str, root: Path, below: str = "", **options: Any) -> Found:
    from datumaro import Dataset
    from datumaro.plugins.transforms import PolygonsToMasks

    dataset = Dataset.import_from(str(root / below), kind, **options)
    for item in dataset:
        height, width = size_of(item.media.path)
        if kind == "segment_anything":
            yield item.id, np.stack([a.image for a in item.annotations if a.type.name == "mask"]) > 0
            continue
        out = np.zeros((height, width), np.uint8)
        for annotation in sorted(item.annotations, key=lambda a: a.z_order):
            if annotation.type.name == "bbox":
                continue  # of the same object
            if annotation.type.name == "polygon":
                annotation = PolygonsToMasks.convert_polygon(annotation, height, width)
            out[np.asarray(annotation.image, bool)] = annotation.label + 1
        yield item.id, out


def ade20k(root: Path) -> Found:
    """datumaro draws each object's polygon too; only its class masks are painted here."""
    from datumaro import Dataset

    for item in Dataset.import_from(str(root / "images" / "ADE"), "ade20k2020"):
        out = np.zeros(size_of(item.media.path), np.uint8)
        for annotation in item.annotations:
            if annotation.type.name == "mask":
                out[np.asarray(annotation.image, bool)] = annotation.label + 1
        yield item.id, out


def labelme(root: Path) -> Found:
    from labelme.utils import img_b64_to_arr, shapes_to_label

    names = (root / "labels.txt").read_text().split()
    values = {name: k for k, name in enumerate(names, 1)}
    for file in sorted(root.glob("*.json")):
        document = json.loads(file.read_bytes())
        for shape in document["shapes"]:
            shape["points"] = [tuple(point) for point in shape["points"]]
            if shape["mask"]:
                shape["mask"] = img_b64_to_arr(shape["mask"]).astype(bool)
        yield file.stem, shapes_to_label(size_of(root / document["imagePath"]), document["shapes"], values)[0]


def labelme_plain(root: Path) -> Found:
    """What people write themselves: Pillow alone."""
    names = (root / "labels.txt").read_text().split()
    for file in sorted(root.glob("*.json")):
        document = json.loads(file.read_bytes())
        out = np.zeros(size_of(root / document["imagePath"]), np.uint8)
        for shape in document["shapes"]:
            with Image.open(io.BytesIO(base64.b64decode(shape["mask"]))) as image:
                mask = np.asarray(image) > 0
            (x0, y0), (x1, y1) = np.array(shape["points"]).astype(int)
            out[y0 : y1 + 1, x0 : x1 + 1][mask] = names.index(shape["label"]) + 1
        yield file.stem, out


def supervision(root: Path) -> Found:
    from supervision import DetectionDataset

    places = [str(root / name) for name in ("images", "labels", "data.yaml")]
    dataset = DetectionDataset.from_yolo(*places, force_masks=True)
    for name, found in dataset.annotations.items():
        out = np.zeros(found.mask.shape[1:], np.uint8)
        for k in np.argsort(-found.mask.sum((1, 2)), kind="stable"):
            out[found.mask[k]] = found.class_id[k] + 1
        yield Path(name).stem, out


def ultralytics(root: Path) -> Found:
    """How its trainer draws them: the smaller lies on top."""
    from ultralytics.data.utils import img2label_paths, polygon2mask, verify_image_label

    images = sorted(str(path) for path in (root / "images").iterdir())
    for image, text in zip(images, img2label_paths(images), strict=True):
        found = verify_image_label((image, text, "", False, 80, 0, 0, False))
        height, width = found[2]
        pixels = [(segment * (width, height)).reshape(-1) for segment in found[3]]
        masks = [polygon2mask((height, width), [segment], 1) for segment in pixels]
        out = np.zeros((height, width), np.uint8)
        for k in np.argsort([-mask.sum() for mask in masks], kind="stable"):
            out[masks[k] > 0] = int(found[1][k, 0]) + 1
        yield Path(image).stem, out


def yolo_plain(root: Path) -> Found:
    """What people write themselves: a loop over OpenCV's fillPoly."""
    for file in sorted((root / "images").iterdir()):
        height, width = size_of(file)
        masks = []
        for line in (root / "labels" / f"{file.stem}.txt").read_text().splitlines():
            label, *numbers = line.split()
            points = (np.array(numbers, np.float32).reshape(-1, 2) * (width, height)).astype(np.int32)
            mask = np.zeros((height, width), np.uint8)
            cv2.fillPoly(mask, [points], 1)
            masks.append((int(mask.sum()), int(label), mask))
        out = np.zeros((height, width), np.uint8)
        for _, label, mask in sorted(masks, key=lambda found: -found[0]):
            out[mask > 0] = label + 1
        yield file.stem, out


def masks_plain(root: Path, images: str, masks: str, tail: str = "", image_tail: str = "") -> Found:
    """What people write themselves: OpenCV reads the mask, Pillow the image's size."""
    for file in sorted((root / images).rglob("*.*")):
        stem = file.stem.removesuffix(image_tail)
        mask = cv2.imread(str(root / masks / f"{stem}{tail}.png"), cv2.IMREAD_UNCHANGED)
        if mask.shape[:2] != size_of(file):
            raise ValueError(file)
        yield file.stem, mask


def pillow_masks(root: Path, images: str, masks: str) -> Found:
    """What people write themselves for masks with a palette, which OpenCV reads as colours."""
    for file in sorted((root / images).rglob("*.*")):
        with Image.open(root / masks / f"{file.stem}.png") as image:
            mask = np.array(image)
        if mask.shape != size_of(file):
            raise ValueError(file)
        yield file.stem, mask


def pycocotools_sa1b(root: Path) -> Found:
    from pycocotools import mask as pycoco

    for file in sorted(root.glob("*.json")):
        document = json.loads(file.read_bytes())
        found = pycoco.decode([record["segmentation"] for record in document["annotations"]])
        if found.shape[:2] != size_of(root / document["image"]["file_name"]):
            raise ValueError(file)
        yield file.stem, np.ascontiguousarray(found.transpose(2, 0, 1)).astype(bool)


def pycocotools_coco(root: Path, results: bool = False, stacked: bool = False) -> Found:
    from pycocotools.coco import COCO

    coco = COCO(str(root / "annotations" / "instances_train.json"))
    found = coco.loadRes(str(root / "results.json")) if results else coco
    for number, image in coco.imgs.items():
        size = size_of(root / "images" / "train" / image["file_name"])
        annotations = found.imgToAnns[number]
        if stacked:
            yield Path(image["file_name"]).stem, np.stack([found.annToMask(a) for a in annotations]) > 0
            continue
        out = np.zeros(size, np.uint8)
        for annotation in annotations:
            out[found.annToMask(annotation) > 0] = annotation["category_id"]
        yield Path(image["file_name"]).stem, out


def via(root: Path) -> Found:
    """As Mask R-CNN's well-known example reads VIA: json and scikit-image."""
    from skimage.draw import polygon

    records = json.loads((root / "via_region_data.json").read_bytes())
    names: dict[str, int] = {}
    for record in records.values():
        height, width = size_of(root / record["filename"])
        out = np.zeros((height, width), np.uint8)
        for region in record["regions"]:
            shape = region["shape_attributes"]
            rows, columns = polygon(shape["all_points_y"], shape["all_points_x"], (height, width))
            name = region["region_attributes"]["class"]
            out[rows, columns] = names.setdefault(name, len(names) + 1)
        yield Path(record["filename"]).stem, out


def cityscapesscripts(root: Path) -> Found:
    from cityscapesscripts.helpers.annotation import Annotation
    from cityscapesscripts.preparation.json2labelImg import createLabelImage

    for file in sorted((root / "gtFine").rglob("*_polygons.json")):
        annotation = Annotation()
        annotation.fromJsonFile(str(file))
        stem = file.name.removesuffix("_gtFine_polygons.json")
        image = root / "leftImg8bit" / file.parent.relative_to(root / "gtFine") / f"{stem}_leftImg8bit.png"
        if size_of(image) != (annotation.imgHeight, annotation.imgWidth):
            raise ValueError(file)
        yield stem, np.array(createLabelImage(annotation, "ids"))


def huggingface(root: Path) -> Found:
    from datasets import Image as ImageColumn
    from datasets import load_dataset

    (file,) = root.rglob("*.parquet")
    # As a stream: else it would read what it left in its cache the time before.
    rows = load_dataset("parquet", data_files=str(file), split="train", streaming=True)
    for k, row in enumerate(rows.cast_column("image", ImageColumn(decode=False))):
        mask = np.array(row["mask"])
        if mask.shape != size_of(io.BytesIO(row["image"]["bytes"])):
            raise ValueError(k)
        yield f"{k:06d}", mask


def drawn(root: Path) -> tuple[list[Path], Any, Any]:
    """Return what is to be written: the images, bool (N, K, H, W) masks and int (N, K) classes."""
    with np.load(root / "scenes.npz") as found:
        return sorted((root / "images").iterdir()), found["masks"], found["classes"]


def write_datumaro(kind: str, root: Path, **options: Any) -> Callable[[Path], None]:
    from datumaro import Dataset, DatasetItem, Image, Mask

    names = (root / "classes.txt").read_text().split()
    items = []
    for file, masks, classes in zip(*drawn(root), strict=True):
        found = [
            Mask(m, label=int(c), z_order=k, group=k + 1) for k, (m, c) in enumerate(zip(masks, classes, strict=True))
        ]
        image = Image.from_file(path=str(file), size=masks.shape[1:])
        items.append(
            DatasetItem(file.stem, subset="train", media=image, annotations=found, attributes={"frame": len(items)})
        )
    dataset = Dataset.from_iterable(items, categories=names)
    return lambda out: dataset.export(str(out), kind, save_media=True, **options)


def write_supervision(kind: str, root: Path) -> Callable[[Path], None]:
    from supervision import DetectionDataset, Detections, mask_to_xyxy

    files, masks, classes = drawn(root)
    found = {
        str(file): Detections(xyxy=mask_to_xyxy(m), mask=m, class_id=c)
        for file, m, c in zip(files, masks, classes, strict=True)
    }
    dataset = DetectionDataset((root / "classes.txt").read_text().split(), list(found), found)
    if kind == "coco":
        return lambda out: dataset.as_coco(str(out / "images"), str(out / "annotations.json"))
    return lambda out: dataset.as_yolo(str(out / "images"), str(out / "labels"), str(out / "data.yaml"))


def write_datasets(root: Path) -> Callable[[Path], None]:
    from datasets import Dataset, Features
    from datasets import Image as ImageColumn

    files, masks, classes = drawn(root)

    def work(out: Path) -> None:
        maps = [painted(m, c) for m, c in zip(masks, classes, strict=True)]
        columns = {"image": [str(file) for file in files], "mask": [Image.fromarray(m) for m in maps]}
        rows = Dataset.from_dict(columns, features=Features(image=ImageColumn(), mask=ImageColumn()))
        out.mkdir()
        rows.to_parquet(str(out / "train.parquet"))

    return work


def painted(masks: Any, classes: Any) -> Any:
    """Return the label map of an image's objects, the later above: uint8 (H, W)."""
    out = np.zeros(masks.shape[1:], np.uint8)
    for mask, label in zip(masks, classes, strict=True):
        out[mask] = label + 1
    return out


#: Of each writer: what holds the dataset in the peer's own way, untimed, and returns what writes it.
WRITERS: dict[str, Callable[[Path], Callable[[Path], Any]]] = {
    "coco/datumaro": partial(write_datumaro, "coco_instances"),
    "coco/supervision": partial(write_supervision, "coco"),
    "cvat/datumaro": partial(write_datumaro, "cvat"),
    "voc/datumaro": partial(write_datumaro, "voc_segmentation"),
    "yolo/supervision": partial(write_supervision, "yolo"),
    "huggingface/datasets": write_datasets,
}
VOC = ("JPEGImages", "SegmentationClass")
CITY = ("leftImg8bit", "gtFine/val/street")
WORKS: dict[str, Callable[[Path], Found]] = {
    "cvat-masks/datumaro": partial(datumaro, "cvat"),
    "cvat-polygons/datumaro": partial(datumaro, "cvat"),
    "labelme-masks/labelme": labelme,
    "labelme-masks/Pillow": labelme_plain,
    "labelme-polygons/labelme": labelme,
    "yolo/supervision": supervision,
    "yolo/ultralytics": ultralytics,
    "yolo/OpenCV": yolo_plain,
    "ultralytics-masks/OpenCV": lambda root: masks_plain(root, "images/train", "masks/train"),
    "sa1b/datumaro": partial(datumaro, "segment_anything"),
    "sa1b/pycocotools": pycocotools_sa1b,
    "via/scikit-image": via,
    "cityscapes-polygons/cityscapesscripts": cityscapesscripts,
    "cityscapes-ids/OpenCV": lambda root: masks_plain(root, *CITY, "_gtFine_labelIds", "_leftImg8bit"),
    "ade20k/datumaro": ade20k,
    "mapillary/datumaro": lambda root: datumaro("mapillary_vistas_instances", root, format_version="v2.0"),
    "kitti/datumaro": partial(datumaro, "kitti_segmentation"),
    "voc/datumaro": partial(datumaro, "voc_segmentation"),
    "voc/Pillow": lambda root: pillow_masks(root, *VOC),
    "coco-rle/datumaro": partial(datumaro, "coco_instances"),
    "coco-rle/pycocotools": pycocotools_coco,
    "coco-polygons/datumaro": partial(datumaro, "coco_instances"),
    "coco-polygons/pycocotools": pycocotools_coco,
    "coco-results/pycocotools": lambda root: pycocotools_coco(root, results=True, stacked=True),
    "huggingface/datasets": huggingface,
}


def main() -> None:
    """Do what each line asks for, and answer with what it took."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # some peers print
    for line in sys.stdin:
        asked = json.loads(line)
        answer: dict[str, Any]
        try:
            if "out" in asked:
                write = WRITERS[asked["work"]](Path(asked["root"]))
                started = time.process_time()
                write(Path(asked["out"]))
                print(json.dumps({"seconds": time.process_time() - started}), file=answers, flush=True)
                continue
            started = time.process_time()
            work, keep = WORKS[asked["work"]](Path(asked["root"])), asked.get("keep")
            found = dict(work) if keep else dict.fromkeys(name for name, _ in work)
            answer = {"seconds": time.process_time() - started}
            if keep:
                np.savez(keep, **found)
        except Exception as error:  # noqa: BLE001 - a peer that is not installed, or cannot read this
            answer = {"error": f"{type(error).__name__}: {error}"[:200]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
