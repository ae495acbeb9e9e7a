"""COCO stuff's pixel maps: 0..181 and 255, or the 171 train ids that mmsegmentation makes of them.

train2017/ (or images/train2017/)              000000000009.jpg
stuffthingmaps_trainval2017/train2017/         000000000009.png: COCO's category less one, 255 is what nobody judged
annotations/train2017/                         000000000009_labelTrainIds.png: 0..170 and 255; the maps above may lie beside
labels.txt                                     0: unlabeled, 1: person, ..., 182: wood
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ....samples import Label, LabelSet
from ...label_files import LabelList
from ..entries import Entry, Layout, holds_masks, pairs

_IGNORED = 255
_CATEGORIES, _TRAINED = 182, 171
_TAIL = "_labelTrainIds"


def missing(root: Path) -> str | None:
    """Return None if a folder has this layout, else what is missing."""
    if root.is_dir() and _maps(root) is not None:
        return None
    return "cocostuff needs stuffthingmaps/train2017/ or annotations/train2017/*_labelTrainIds.png"


def find(root: Path) -> Layout:
    """Return the images and masks: those of the train ids, if there are any, else the maps of all categories."""
    masks = _maps(root) or root
    trained = _has_train_ids(masks)
    parts = {folder.name for folder in masks.iterdir() if folder.is_dir()}
    images = root / "images" if (root / "images").is_dir() else root

    def mask_key(key: str) -> str | None:
        if trained:
            return key.removesuffix(_TAIL) if key.endswith(_TAIL) else None
        return key

    found = pairs(
        images,
        masks,
        image_key=lambda key: key if key.partition("/")[0] in parts else None,
        mask_key=mask_key,
    )
    entries = []
    for key, pair in found.items():
        part, _, name = key.rpartition("/")
        file = pair.image.relative_to(images).as_posix() if pair.image else f"{key}.jpg"
        entries.append(Entry(name, file, pair.image, pair.mask, part or None, None, pair.reason))
    count = _TRAINED if trained else _CATEGORIES
    labels = LabelSet(tuple(Label(k, f"class {k}") for k in range(count)), _IGNORED)
    known = f"COCO stuff (class 0..{count - 1}; a labels.txt beside, or --labels, names them)"
    return Layout(
        "cocostuff",
        entries,
        ((known, labels),),
        any(entry.image for entry in entries),
        ignored=_IGNORED,
        relisted=None if trained else _less_one,
    )


def _less_one(listed: LabelList) -> LabelList:
    """Return a list as the maps number it: COCO stuff's own says 0: unlabeled, 1: person, ..., its maps 255 and 0."""
    names = {label.id: label.name for label in listed.labels.labels}
    if names.get(0) != "unlabeled" or max(names) > _CATEGORIES:
        return listed
    labels = tuple(replace(label, id=label.id - 1) for label in listed.labels.labels if label.id)
    return LabelList(LabelSet(labels, _IGNORED), listed.path, numbered=True)


def _maps(root: Path) -> Path | None:
    """Return the folder of the maps, which has a folder a part."""
    for folder in sorted(root.glob("stuffthingmaps*")):
        if holds_masks(folder):
            return folder
    folder = root / "annotations"
    return folder if _has_train_ids(folder) else None


def _has_train_ids(folder: Path) -> bool:
    return folder.is_dir() and next(folder.glob(f"*/*{_TAIL}.png"), None) is not None
