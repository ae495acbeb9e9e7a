"""Which files a dataset of TFRecords consists of: names of shards, label lists beside them, TFDS's two documents."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import FormatError

LABELS, LABEL_MAP, NAMES = "labels.json", "label_map.pbtxt", "labels.txt"
FEATURES, INFO, CLASS_NAMES = "features.json", "dataset_info.json", "objects-label.labels.txt"
#: What files of a dataset without parts are called; TFDS wants a split's name.
NO_SPLIT = {"tfds": "train", "": "data"}
TFDS_NAME, TFDS_VERSION = "maskloop", "1.0.0"

# NAME-00000-of-00004.tfrecord (DeepLab), NAME.tfrecord-00000-of-00004 (TFDS), NAME.record-00000-of-00004 (OD API).
_SHARD = re.compile(
    r"^(?P<name>.+?)(?:-(?P<a>\d{5})-of-(?P<an>\d{5}))?\.(?:tf)?records?(?:-(?P<b>\d{5})-of-(?P<bn>\d{5}))?(?:\.gz)?$"
)


def shard_name(schema: str, split: str, index: int, count: int) -> str:
    """Return the name of a shard, as the schema's readers look for it."""
    number = f"{index:05d}-of-{count:05d}"
    return f"{TFDS_NAME}-{split}.tfrecord-{number}" if schema == "tfds" else f"{split}-{number}.tfrecord"


def is_shard(name: str) -> bool:
    """Return whether a file is called like one of TFRecords."""
    return _SHARD.match(name) is not None


@dataclass(frozen=True, slots=True)
class Files:
    """The shards of one split, in order."""

    split: str
    paths: tuple[Path, ...]


def find_files(path: Path) -> list[Files]:
    """Return the shards by split; FormatError if there is none or one is missing."""
    if path.is_file():
        found = _SHARD.match(path.name)
        return [Files(found["name"] if found else path.stem, (path,))]
    if not path.is_dir():
        raise FormatError(f"there is no {path}")
    groups: dict[tuple[str, int], dict[int, Path]] = {}
    for file in sorted(path.iterdir()):
        found = _SHARD.match(file.name)
        if found and file.is_file():
            index, count = int(found["a"] or found["b"] or 0), int(found["an"] or found["bn"] or 1)
            groups.setdefault((found["name"], count), {})[index] = file
    if not groups:
        raise FormatError(f"{path} holds no files called *.tfrecord or *.tfrecord-00000-of-0000N")
    parts = []
    for (name, count), shards in groups.items():
        missing = [k for k in range(count) if k not in shards]
        if missing:
            raise FormatError(f"{path}: of the {count} shards of {name!r}, number {missing[0]} is missing")
        parts.append(Files(name, tuple(shards[k] for k in sorted(shards))))
    return parts


def folders_of_parts(path: Path) -> list[Path]:
    """Return the sub-folders that hold shards, none where the folder holds some itself."""
    if not path.is_dir() or any(is_shard(file.name) for file in path.iterdir() if file.is_file()):
        return []
    folders = sorted(folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    usual = ("train", "val", "test")
    found = [folder for folder in folders if any(is_shard(file.name) for file in folder.iterdir() if file.is_file())]
    return sorted(found, key=lambda folder: usual.index(folder.name) if folder.name in usual else len(usual))


def label_map_text(names: Mapping[int, str]) -> str:
    """Return the Object Detection API's label map of names by id."""
    return "".join(
        f"item {{\n  id: {k}\n  name: {json.dumps(name, ensure_ascii=False)}\n}}\n" for k, name in names.items()
    )


def features_document(wide: bool, classes: int) -> dict[str, Any]:
    """Return features.json of what we write for TFDS.

    Args:
        wide: label maps have 16 bits.
        classes: how many labels there are.
    """
    package = "tensorflow_datasets.core.features"

    def image(channels: int, dtype: str, encoding: str | None) -> dict[str, Any]:
        form: dict[str, Any] = {"dtype": dtype, "shape": {"dimensions": ["-1", "-1", str(channels)]}}
        if encoding:
            form["encodingFormat"] = encoding
        return {"image": form, "pythonClassName": f"{package}.image_feature.Image"}

    def group(features: dict[str, Any]) -> dict[str, Any]:
        return {"featuresDict": {"features": features}, "pythonClassName": f"{package}.features_dict.FeaturesDict"}

    text = {"pythonClassName": f"{package}.text_feature.Text", "text": {}}
    label = {
        "classLabel": {"numClasses": str(classes)},
        "pythonClassName": f"{package}.class_label_feature.ClassLabel",
    }
    objects = {
        "pythonClassName": f"{package}.sequence_feature.Sequence",
        "sequence": {"feature": group({"label": label, "mask": image(1, "uint8", "png")}), "length": "-1"},
    }
    return group(
        {
            "file_name": text,
            "id": text,
            "image": image(3, "uint8", None),
            "objects": objects,
            "segmentation_mask": image(1, "uint16" if wide else "uint8", "png"),
        }
    )


def info_document(split: str, lengths: list[int], size: int) -> dict[str, Any]:
    """Return dataset_info.json of one split: number of records of each shard, bytes of all of them."""
    return {
        "description": "Images and segmentation masks, written by maskloop.",
        "fileFormat": "tfrecord",
        "moduleName": "tensorflow_datasets.core.dataset_builders.adhoc_builder",
        "name": TFDS_NAME,
        "splits": [
            {
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "name": split,
                "numBytes": str(size),
                "shardLengths": [str(length) for length in lengths],
            }
        ],
        "version": TFDS_VERSION,
    }
