"""What of a folder maskloop wrote: ``--overwrite`` replaces that, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import OutputExistsError
from ..splitting import PART_NAMES
from .coco.extras import KEY
from .cvat.reader import FILE as CVAT_FILE
from .data_yaml import CONFIG as YOLO_CONFIG
from .data_yaml import MARK as YOLO_MARK
from .huggingface.files import DATA as ROWS
from .huggingface.files import LABELS as ROW_LABELS
from .huggingface.files import OWN as ROWS_KEY
from .labelme.reader import LABELS as LABELME_LABELS
from .labelme.reader import listed_files as labelme_files
from .labelstudio.files import CONFIG, TASKS
from .labelstudio.files import LABELS as TASK_LABELS
from .png.entries import INDEX
from .tfrecord import layout as records

_HEAD = 1 << 16
_PARTS = {name for names in PART_NAMES.values() for name in names}
_PNG = {
    INDEX,
    "labels.json",
    "labelmap.txt",
    "images",
    "masks",
    "regions",
    "JPEGImages",
    "SegmentationClass",
    "ImageSets",
    YOLO_CONFIG,
}
_CVAT = {CVAT_FILE, "images"}
_COCO = {"annotations", "images"}
_RECORDS = {
    records.LABELS,
    records.LABEL_MAP,
    records.NAMES,
    records.FEATURES,
    records.INFO,
    records.CLASS_NAMES,
}
_YOLO = {YOLO_CONFIG, "images", "labels"}
_STUDIO = {TASKS, CONFIG, TASK_LABELS, "images"}


def check_replaceable(path: Path) -> None:
    """Raise OutputExistsError where replacing a folder would remove what maskloop did not write there."""
    if not path.is_dir() or not any(path.iterdir()):
        return
    foreign = list(_foreign(path))
    if foreign:
        shown = ", ".join(str(entry.relative_to(path)) for entry in foreign[:3])
        raise OutputExistsError(
            f"{path} holds what maskloop did not write ({shown}{', ...' if len(foreign) > 3 else ''}), and --overwrite "
            "(overwrite=True) replaces its own output only; nothing was written: give another place, or remove it yourself"
        )


def _foreign(path: Path) -> Iterator[Path]:
    """Yield what is in a folder and is not part of an output of ours."""
    entries = sorted(path.iterdir())
    if (path / INDEX).is_file():
        splits = {entry.name.removesuffix("annot") for entry in entries if entry.name.endswith("annot")}
        yield from _others(
            entries, _PNG | {name for split in splits for name in (split, f"{split}annot", f"{split}.txt")}
        )
    elif any(_says(file, f'"{KEY}"') for file in (path / "annotations").glob("*.json")):
        yield from _others(entries, _COCO)
    elif _says(path / CVAT_FILE, f"<{KEY}>"):
        yield from _others(entries, _CVAT)
    elif (path / TASKS).is_file() and (path / CONFIG).is_file():
        yield from _others(entries, _STUDIO)
    elif _says(path / records.LABELS, '"tfrecord"'):
        yield from _others((e for e in entries if not records.is_shard(e.name)), _RECORDS)
    elif _says(path / YOLO_CONFIG, YOLO_MARK) and (path / "labels").is_dir():
        yield from _others(entries, _YOLO)
    elif _says(path / ROW_LABELS, f'"{ROWS_KEY}"'):
        yield from _others(entries, {ROW_LABELS, ROWS})
        yield from (entry for entry in sorted((path / ROWS).glob("*")) if entry.suffix != ".parquet")
    elif (files := labelme_files(path)) is not None:
        # images and their files lie side by side, wherever the samples' names say
        yield from _beside_labelme(path, files)
    else:
        for entry in entries:
            if entry.name == YOLO_CONFIG and _says(entry, YOLO_MARK):
                continue  # names the parts
            is_part = entry.name in _PARTS and entry.is_dir() and not entry.is_symlink() and _is_output(entry)
            yield from _foreign(entry) if is_part else (entry,)


def _beside_labelme(path: Path, files: Iterable[Path]) -> Iterator[Path]:
    """Yield what is none of the files that we listed, nor an image beside one of them."""
    ours = {path / LABELME_LABELS, *files}
    stems = {file.with_suffix("") for file in ours}
    for entry in sorted(path.rglob("*")):
        if entry.is_symlink() or (not entry.is_dir() and entry not in ours and entry.with_suffix("") not in stems):
            yield entry


def _is_output(path: Path) -> bool:
    """Return whether a folder is one output, not a folder of parts."""
    return any(
        (path / name).exists()
        for name in (INDEX, TASKS, records.LABELS, "annotations", CVAT_FILE, YOLO_CONFIG, LABELME_LABELS)
    )


def _others(entries: Iterable[Path], names: set[str]) -> Iterator[Path]:
    yield from (entry for entry in entries if entry.name not in names)


def _says(file: Path, words: str) -> bool:
    try:
        with file.open("rb") as stream:
            return words.encode() in stream.read(_HEAD)
    except OSError:
        return False
