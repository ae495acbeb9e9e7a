"""Reading Label Studio's JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from ...errors import FormatError
from ...options import ImagesFrom, LabelsFrom, Option, Soft
from ...report import ErrorPolicy, OnError
from ...samples import Dataset, Label, LabelSet, Sample
from ..image_files import ImageFinder
from ..label_files import read_labels
from ..labels import label_names, labels_from_json
from ..parts import SKIPPED
from ..records import attributes
from .choosing import Choice, Use
from .config import StudioConfig, parse
from .files import CONFIG, LABELS, files_of, lists_beside, read_text, survey
from .task_samples import TaskReader
from .tasks import tasks_of


def splits(path: Path) -> tuple[str, ...]:
    """Return the names of the parts that a dataset has; Label Studio's files have none."""
    del path
    return ()


def read(
    path: Path,
    *,
    labels: LabelsFrom = None,
    label_config: Annotated[
        Path | None,
        Option("The project's label config (XML), for labels, their order and colours.", metavar="FILE"),
    ] = None,
    images_from: ImagesFrom = None,
    use: Annotated[Use, Option("What gives the masks; 'auto' takes annotations where there are any.")] = "auto",
    annotations: Annotated[Choice, Option("Which annotation of a task counts.")] = "latest",
    soft: Soft = False,
    on_error: OnError = "fail",
) -> Dataset:
    """Return a dataset of Label Studio tasks.

    BrushLabels, BitmaskLabels, PolygonLabels, RectangleLabels and EllipseLabels become masks, as do Brush, Polygon and the
    like beside Labels; other regions are counted, other results are kept as attributes (``attributes["labelstudio"]`` of
    sample or region). A region with two labels becomes two regions. A task with several images becomes a sample an image,
    called TASK-IMAGE. Regions come in the order in which they are drawn (:mod:`.stacking`).

    Args:
        path: a JSON file (export JSON, JSON_MIN, tasks for import, predictions, answers of the API), a folder that
            :func:`write` made, or a folder of such files (what a target storage holds).
        labels: the classes, or a label list file. By default those of ``label_config``, of the files beside that
            :func:`write` made, or else every label in the data, sorted by name.
        label_config: the project's label config (XML); a control it does not know is an error.
        images_from: the folder that has the images; by default they are looked for beside the JSON and in ``images``
            there. Uploads are found under their stored name and under the original one.
        use: what gives the masks. 'auto': annotations if there is one in the data, else predictions.
        annotations: which of several a task has. 'latest' changed; 'ground-truth': the latest that is marked so; 'all':
            a sample each; 'majority': the label that more than half of the annotations show in a pixel, no label where they
            disagree.
        soft: keep the antialiased edges of brushes (:class:`SoftEdge`); masks are what is above 127 either way.
        on_error: 'skip' leaves out regions (tasks, where nothing of them can be read) and counts them in
            :attr:`Dataset.skipped`. Tasks with nothing to use are always left out and counted there, as are regions that
            are no masks.

    Raises:
        FormatError: not such JSON. While iterating: a mask that cannot be decoded or is of another size than its image,
            an unknown label or control, two masks of one id, an image that may be one of two; the message names file,
            task and region.
    """
    path = Path(path)
    files = files_of(path)
    beside = lists_beside(path)
    config_file = label_config or (beside[CONFIG] if beside[CONFIG].is_file() else None)
    config = parse(read_text(Path(config_file)), str(config_file)) if config_file else None
    record: dict[str, Any] = {}
    if beside[LABELS].is_file():
        try:
            record = json.loads(read_text(beside[LABELS]))
            own = labels_from_json(record)
        except (ValueError, RecursionError) as error:
            raise FormatError(f"{beside[LABELS]}: not a label list: {error}") from error
        if labels is None and label_config is None:
            labels = own
    if isinstance(labels, Path):
        labels = read_labels(labels)
    policy = ErrorPolicy(on_error)
    seen = survey(files, config) if use == "auto" or config is None else None
    if labels is None:
        names = sorted(seen.names) if seen else []
        labels = config.labels if config else LabelSet(tuple(Label(i, name) for i, name in enumerate(names)))
    if use == "auto":
        use = "annotations" if seen is None or seen.annotated or not seen.predicted else "predictions"
    root = path if path.is_dir() else path.parent
    finder = ImageFinder([Path(images_from)] if images_from is not None else [root / "images", root])
    for address in seen.images.get(use, []) if seen else ():
        finder.foresee(address)
    split = record.get("split")
    reader = TaskReader(
        labels=labels,
        ids=_ids(labels, config),
        config=config,
        controls_given=label_config is not None,
        to_names=tuple(seen.to_names) if seen else (),
        finder=finder,
        use=use,
        choice=annotations,
        soft=soft,
        policy=policy,
    )
    return Dataset(
        labels=labels,
        samples=_Samples(files, reader),
        format="labelstudio",
        count=seen.count(use, annotations) if seen and on_error == "fail" else None,
        split=split if isinstance(split, str) else None,
        attributes=attributes(record.get("attributes"), str(beside[LABELS])),
        skipped=policy.skipped,
        notes=policy.notes,
    )


def _ids(labels: LabelSet, config: StudioConfig | None) -> dict[str, int]:
    """Return the ids of the labels by each name that results may have for them: value and alias are one label."""
    ids = {name: label_id for label_id, name in label_names(labels).items()}
    for value, alias in config.aliases.items() if config else ():
        for name, other in ((value, alias), (alias, value)):
            if name not in ids and other in ids:
                ids[name] = ids[other]
    return ids


@dataclass(frozen=True, slots=True)
class _Samples:
    """The samples of all files, ids checked to be unique."""

    files: list[Path]
    reader: TaskReader

    def __iter__(self) -> Iterator[Sample]:
        policy = self.reader.policy
        policy.clear()
        seen: set[str] = set()
        for fallback_id, task in tasks_of(self.files, policy):
            with policy.record(SKIPPED):
                for sample in self.reader.samples(task, fallback_id):
                    if sample.id in seen:
                        raise FormatError(f"{task.where}: the task id {sample.id} stands twice")
                    seen.add(sample.id)
                    yield sample
