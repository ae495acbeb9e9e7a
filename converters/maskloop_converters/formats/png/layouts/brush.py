"""Label Studio's older exports of brush masks, BRUSH_TO_PNG and BRUSH_TO_NUMPY: a file a region, and no images.

    task-1-annotation-2-by-3-tag-Road-0.png      task, annotation, annotator, control, label, number among those of the label
    task-1-annotation-2-by-3-tag-Road-0.npy      the same as an array of opacities

Those of one task are one sample. Neither file says which image it is: those of ``--images-from`` are found by the task's
name, ``task-1.jpg``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..entries import Entry, Layer, Layout

_NAME = re.compile(
    r"task-(?P<task>\d+)-annotation-(?P<annotation>\d+)-by-(?P<by>[^-]*)-(?P<rest>.+)-(?P<number>\d+)\.(?:png|npy)$"
)
_OLDER = "annotations of a task besides its newest"


def missing(root: Path) -> str | None:
    """Return None if a folder has this layout, else what is missing."""
    if root.is_dir() and any(_NAME.match(path.name) for path in root.glob("task-*-annotation-*")):
        return None
    return "brush needs task-1-annotation-2-by-3-tag-Road-0.png (or .npy)"


@dataclass(frozen=True, slots=True)
class _File:
    """A region's file, and what its name says."""

    path: Path
    task: int
    annotation: int
    rest: str
    number: int


def find(root: Path) -> Layout:
    """Return the regions of every task's newest annotation."""
    files = [
        _File(path, int(name["task"]), int(name["annotation"]), name["rest"], int(name["number"]))
        for path in root.glob("task-*-annotation-*")
        if (name := _NAME.match(path.name))
    ]
    files.sort(key=lambda file: (file.task, file.annotation, file.rest, file.number, file.path.name))
    newest = {file.task: file.annotation for file in files}
    older = {(file.task, file.annotation) for file in files if file.annotation != newest[file.task]}
    entries = []
    for task, annotation in newest.items():
        own = [file for file in files if (file.task, file.annotation) == (task, annotation)]
        layers = tuple(Layer(file.rest, file.path) for file in own)
        entries.append(Entry(f"task-{task}", f"task-{task}", None, own[0].path, layers=layers))
    left_out = [(_OLDER, f"task {task}: annotation {annotation}") for task, annotation in sorted(older)]
    return Layout("brush", entries, images=False, left_out=left_out, layered=True)
