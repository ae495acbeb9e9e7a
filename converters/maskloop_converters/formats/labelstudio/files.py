"""The files of a dataset of tasks: which they are, what lies beside them, and what is in them at a first look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import FormatError
from ...report import ErrorPolicy
from .. import coco, labelme, sa1b, via
from ..json_files import ends_of
from .choosing import Choice, Use
from .config import StudioConfig
from .results import shapes
from .task_images import images_of, named_on
from .tasks import Drawn, Task, tasks_of

TASKS, CONFIG, LABELS = "tasks.json", "label_config.xml", "labels.json"
_HEAD = 1 << 16


def detect(path: Path) -> str | None:
    """Return None if ``path`` is Label Studio's JSON or a folder of it, else the reason why not."""
    path = Path(path)
    try:
        files = files_of(path)
        with files[0].open("rb") as file:
            head = file.read(_HEAD).decode("utf-8-sig", errors="replace").lstrip()
    except (OSError, FormatError) as error:
        return str(error)
    if not head.startswith(("[", "{")):
        return f"{files[0]} is no JSON list or object"
    if head.startswith("{") and coco.detect(files[0]) is None:
        return f"{files[0]} is a COCO file"
    if head.startswith("{") and labelme.is_labelme(head):
        return f"{files[0]} is a file of labelme"
    for named, is_it in (("SA-1B", sa1b.is_sa1b), ("VIA", via.is_via)):
        if is_it(ends_of(files[0])):
            return f"{files[0]} is a file of {named}"
    if head.replace(" ", "") in ("[]", "[]\n"):
        return None
    if any(f'"{key}"' in head for key in ("data", "annotations", "predictions", "annotation_id", "result")):
        return None
    return f"{files[0]} holds no tasks: 'data', 'annotations', 'predictions', 'annotation_id' and 'result' are missing"


def files_of(path: Path) -> list[Path]:
    """Return the JSON files of a dataset; FormatError if there is none."""
    if path.is_file():
        if path.suffix.lower() in (".json", ".jsonl"):
            return [path]
        raise FormatError(f"{path} is not called .json")
    if not path.is_dir():
        raise FormatError(f"there is no {path}")
    if (path / TASKS).is_file():
        return [path / TASKS]
    # A target storage of Label Studio gets one file an annotation, called by its number.
    files = sorted(
        file
        for file in path.iterdir()
        if file.is_file() and (file.name.isdecimal() or (file.suffix == ".json" and file.name != LABELS))
    )
    if not files:
        raise FormatError(f"{path} holds neither {TASKS} nor other JSON files")
    return files


def lists_beside(path: Path) -> dict[str, Path]:
    """Return where the label config and the label list of a dataset are, in its folder or beside its file."""
    if path.suffix == ".json" and not path.is_dir():
        return {name: path.with_name(f"{path.stem}.{name}") for name in (CONFIG, LABELS)}
    return {name: path / name for name in (CONFIG, LABELS)}


def read_text(path: Path) -> str:
    """Return a text file whole; FormatError names it."""
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: cannot read the file: {error}") from error


@dataclass(slots=True)
class Survey:
    """What a first pass over the files sees.

    Attributes:
        names: the labels in use.
        to_names: the names of the images that regions are on.
        annotated: number of tasks with an annotation that was not cancelled.
        annotations: number of these annotations.
        predicted: number of tasks with predictions.
        images: the addresses of the images that annotations, and predictions, are on.
    """

    names: set[str] = field(default_factory=set)
    to_names: dict[str, None] = field(default_factory=dict)
    annotated: int = 0
    annotations: int = 0
    predicted: int = 0
    images: dict[Use, list[str]] = field(default_factory=lambda: {"annotations": [], "predictions": []})

    def count(self, use: Use, choice: Choice) -> int | None:
        """Return how many samples a reader will give, None where that is not known."""
        if len(self.to_names) > 1:
            return None
        if use == "predictions":
            return self.predicted
        if use != "annotations" or choice == "ground-truth":
            return None
        return self.annotations if choice == "all" else self.annotated


def survey(files: Sequence[Path], config: StudioConfig | None) -> Survey:
    """Return the labels in use and what there is to read; what is wrong is for the reading itself to say."""
    seen = Survey()
    unheard = ErrorPolicy("skip")
    for _, task in tasks_of(files, unheard, brushes=False):
        done = [drawn for drawn in task.annotations if not drawn.cancelled]
        seen.annotations += len(done)
        seen.annotated += bool(done)
        seen.predicted += bool(task.predictions)
        for drawn in (*task.annotations, *task.predictions, *task.drafts):
            seen.to_names |= dict.fromkeys(named_on(drawn.result))
            for shape in shapes(drawn.result, task.where, unheard)[0]:
                seen.names.update(shape.names)
        seen.images["annotations"] += _addresses(task, done, config, seen)
        seen.images["predictions"] += _addresses(task, task.predictions, config, seen)
    return seen


def _addresses(task: Task, drawn: Sequence[Drawn], config: StudioConfig | None, seen: Survey) -> list[str]:
    if not drawn:
        return []
    try:
        found = images_of(task, drawn, config, seen.to_names)
    except FormatError:
        return []
    return [image.address for image in found if image.address]
