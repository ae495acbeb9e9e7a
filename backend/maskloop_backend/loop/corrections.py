"""Where labels come from: a Label Studio project, an export of one, a dataset of any format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maskloop_converters import datasets
from maskloop_converters.atomic import atomic_file
from maskloop_converters.errors import FormatError
from maskloop_converters.formats.image_files import ImageFinder
from maskloop_converters.report import OnError, Tally
from maskloop_converters.samples import LabelSet

from ..studio.client import StudioClient
from ..studio.images import ImageFetcher
from ..training.dataset import read_labelled
from .collected import Collected, CorrectionsError, role_of
from .collecting import Collector, Counting, Watch, stored_prediction
from .task_images import TaskImages


def from_project(
    client: StudioClient,
    fetcher: ImageFetcher,
    project: int,
    directory: Path,
    known: LabelSet | None,
    *,
    on_error: OnError = "fail",
    watch: Watch = lambda done, total: None,
    tasks: Sequence[int] = (),
    predictions: bool = True,
    aside: Path | None = None,
    annotations: Counting = "latest",
) -> Collected:
    """Collect the annotations of a Label Studio project.

    Args:
        client: of the Label Studio.
        fetcher: of its images.
        project: its id.
        directory: of the project; the export and the images are kept there.
        known: classes of the model that the training starts from, None where it starts from none.
        on_error: 'skip' leaves out and counts images that are gone and regions that cannot be read.
        watch: is told of (images there, images in all or None).
        tasks: only these; all where there are none.
        predictions: ask for those that annotations were made from, where the export does not have them.
        aside: where the export is kept instead; the images stay in ``directory``.
        annotations: which of several annotations of a task count.

    Raises:
        StudioError: Label Studio does not answer, or refuses.
        CorrectionsError: nothing to learn from, images are gone, or the label config was changed meanwhile.
        FormatError: an annotation that cannot be read.
    """
    described = client.project(project)
    config = str(described.get("label_config") or "")
    own = aside or directory
    own.mkdir(parents=True, exist_ok=True)
    export = own / "export.json"
    with atomic_file(export, overwrite=True) as partial:
        wanted = {"exportType": "JSON", "ids[]": list(tasks)}
        client.download(f"/api/projects/{project}/export", partial, params=wanted)
    if str(client.project(project).get("label_config") or "") != config:
        raise CorrectionsError(
            f"the label config of project {project} was changed while its annotations were exported; try again"
        )
    images = TaskImages(directory / "images", ImageFinder([]), fetcher, on_error, client)

    def ask(number: int) -> dict[str, Any] | None:
        return stored_prediction(client, number) if predictions else None

    collector = Collector(images, config, known, on_error, ask, watch, annotations)
    return collector.collect(export, own / "collected", f"project {project}")


def from_export(
    path: Path,
    directory: Path,
    known: LabelSet | None,
    *,
    images: Path | None = None,
    fetcher: ImageFetcher | None = None,
    on_error: OnError = "fail",
    watch: Watch = lambda done, total: None,
    annotations: Counting = "latest",
) -> Collected:
    """Collect the annotations of a Label Studio export (JSON); see :func:`from_project`.

    Args:
        path: the file, or a folder with tasks.json, label_config.xml and images. Images are looked for beside the file
            and in `images/` there, then fetched from the addresses in the tasks.
        directory: where images and the chosen annotations are kept.
        known: classes of the model that the training starts from, None where it starts from none.
        images: the folder to look for images in first.
        fetcher: of images that are not there; None fetches none.
        on_error: 'skip' leaves out and counts images that are gone and regions that cannot be read.
        watch: is told of (images there, images in all or None).
        annotations: which of several annotations of a task count.

    Raises:
        CorrectionsError: nothing to learn from, or images are gone.
        FormatError: not such a file, or an annotation that cannot be read.
    """
    if path.is_dir() and not (path / "tasks.json").is_file():
        raise FormatError(f"{path} holds no tasks.json; give one export file")
    file = path / "tasks.json" if path.is_dir() else path
    beside = path / "label_config.xml" if path.is_dir() else path.with_name(f"{path.stem}.label_config.xml")
    config = beside.read_text("utf-8-sig") if beside.is_file() else ""
    places = [*([] if images is None else [images]), file.parent / "images", file.parent]
    found = TaskImages(directory / "images", ImageFinder(places), fetcher, on_error, None)
    collector = Collector(found, config, known, on_error, lambda number: None, watch, annotations)
    return collector.collect(file, directory / "collected", str(path))


def from_dataset(path: Path, name: str, *, images: Path | None = None, on_error: OnError = "fail") -> Collected:
    """Collect a dataset in any other format; who drew what is known where its regions say so.

    Args:
        path: file or folder.
        name: of the format.
        images: the folder with the images, for the formats that have them elsewhere.
        on_error: 'skip' leaves out and counts records that cannot be read.

    Raises:
        FormatError: damaged.
        CorrectionsError: it holds no sample.
    """
    parts = datasets.splits(path, name)
    split = {"split": "train"} if "train" in parts else {}
    dataset = read_labelled(path, name, images=images, on_error=on_error, **split)
    samples = tuple(dataset)
    skipped = Tally()
    skipped.merge(dataset.skipped)
    if not samples:
        raise CorrectionsError(f"{path}: the dataset holds no sample")
    validation = None
    if split and "val" in parts:
        validation = tuple(read_labelled(path, name, images=images, on_error=on_error, split="val"))
    roles = {sample.id: role_of([region.origin for region in sample.regions], derived=False) for sample in samples}
    return Collected(dataset.labels, samples, roles, validation=validation, skipped=skipped)
