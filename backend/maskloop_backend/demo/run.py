"""The demo: scenes are drawn, a model learns them, and a real Label Studio shows what it draws in new ones.

Everything lives in one directory and is used again by the next run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

from maskloop_converters.atomic import atomic_file
from maskloop_converters.errors import MaskloopError
from maskloop_converters.formats import png
from maskloop_converters.formats.labelstudio import config

from ..inference.predictor import Predictor
from ..locks import held
from ..registry.store import Registry
from ..serving.app import create_app
from ..serving.models import RegistrySource
from ..serving.server import HttpServer
from ..serving.settings import Settings
from ..studio.client import StudioClient
from ..studio.connect import Progress, connect
from ..studio.local import LocalStudio
from ..studio.predictions import PredictionOptions
from ..training.metrics import ConfusionMatrix
from ..training.outcome import Silent, TrainingProgress
from ..training.trainer import train
from . import scenes
from .labels import LABELS

PROJECT = "maskloop demo: street scenes"
# (first seed, number of scenes), far apart: no scene is in two of the sets.
_TRAIN, _HOLDOUT, _TASKS = (0, scenes.DEMO_SCENES), (100_000, 30), (200_000, 12)


@dataclass(frozen=True, slots=True)
class Demo:
    """A demo that is running.

    Attributes:
        url: of the project's page in Label Studio.
        project: its id.
        tasks: number of tasks in it.
        tasks_with_predictions: how many have masks that the model drew.
        model_version: that drew them.
        holdout_miou: mean IoU, 0..1, of the model on scenes that neither training nor its early stopping saw.
        email: to log in with.
        password: to log in with.
    """

    url: str
    project: int
    tasks: int
    tasks_with_predictions: int
    model_version: str
    holdout_miou: float
    email: str
    password: str


@contextmanager
def running(
    home: Path,
    *,
    studio_port: int = 8080,
    backend_port: int = 0,
    below: float = 0.0,
    say: Callable[[str], None] = lambda line: None,
    training: Callable[[], AbstractContextManager[TrainingProgress]] = lambda: nullcontext(Silent()),
    retrieval: Callable[[], AbstractContextManager[Progress]] = lambda: nullcontext(lambda done, total: None),
) -> Iterator[Demo]:
    """Bring the demo up, give it, and stop everything when the block ends.

    Args:
        home: maskloop's home; the demo keeps its things in ``home/demo`` and Label Studio in ``home/studio``.
        studio_port: where Label Studio listens on this machine; 0 takes a free port.
        backend_port: where the backend listens; 0 takes a free port.
        below: pixels of less confidence are left unlabelled.
        say: is called with one line whenever something that takes long begins.
        training: gives what is told of every step and evaluation, while it trains.
        retrieval: gives what is called with (tasks done, all tasks), while predictions are retrieved.

    Raises:
        MaskloopError: something failed; what was finished before is used again by the next run.
    """
    demo = home / "demo"
    with _alone(demo):
        yield from _running(home, demo, studio_port, backend_port, below, say, training, retrieval)


def _alone(demo: Path) -> AbstractContextManager[None]:
    """Keep other demos out of a directory: two would train into one registry and share one database."""
    busy = f"another `maskloop demo` runs in {demo} already; stop it first, or give this one another --home"
    return held(demo / "lock", busy=MaskloopError(busy))


def _running(
    home: Path,
    demo: Path,
    studio_port: int,
    backend_port: int,
    below: float,
    say: Callable[[str], None],
    training: Callable[[], AbstractContextManager[TrainingProgress]],
    retrieval: Callable[[], AbstractContextManager[Progress]],
) -> Iterator[Demo]:
    version, miou = _model(demo, say, training)
    images = _images(demo / "tasks", _TASKS)
    studio = LocalStudio(demo / "label-studio", port=studio_port, venv=home / "studio-venv", say=say)
    with studio:
        settings = Settings(home=demo, port=backend_port, studio_url=studio.url, studio_token=studio.token)
        app = create_app(RegistrySource(demo), settings, PredictionOptions(below=below))
        with HttpServer(app, settings) as backend, StudioClient(studio.url, studio.token) as client:
            project = _project(client, images, say)
            say(f"Retrieving the masks that {version} draws")
            with retrieval() as progress:
                # the backend's port may be another than in an earlier run
                connected = connect(client, project, backend.url, interactive=True, replace=True, progress=progress)
            yield Demo(
                url=f"{studio.url}/projects/{project}/data",
                project=project,
                tasks=connected.tasks,
                tasks_with_predictions=connected.tasks_with_predictions,
                model_version=connected.model_version,
                holdout_miou=round(miou, 4),
                email=studio.email,
                password=studio.password,
            )


def _model(
    demo: Path, say: Callable[[str], None], training: Callable[[], AbstractContextManager[TrainingProgress]]
) -> tuple[str, float]:
    """Return the demo's model version and its holdout mIoU; trained unless an earlier run did."""
    registry = Registry(demo)
    report = demo / "holdout.json"
    version = registry.serving()
    if version is None:
        say(f"Drawing {_TRAIN[1]} street scenes and training on them: about a minute on two cores")
        dataset = png.read(_drawn(demo / "dataset", _TRAIN))
        with training() as progress:
            version = train(dataset, scenes.DEMO_TRAINING, registry, progress, resume=True).version
        registry.promote(version)
    known = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}
    if version not in known:
        known[version] = _holdout_miou(registry, version)
        with atomic_file(report, overwrite=True) as aside:
            aside.write_text(json.dumps(known) + "\n", encoding="utf-8")
    return version, float(known[version])


def _holdout_miou(registry: Registry, version: str) -> float:
    """Return the mean IoU of a version on the scenes that are held out."""
    predictor = Predictor(registry.load(version))
    held_out = list(scenes.scenes(_HOLDOUT[1], _HOLDOUT[0]))
    matrix = ConfusionMatrix(len(LABELS.classes))
    for scene, prediction in zip(held_out, predictor.predict([scene.image for scene in held_out]), strict=True):
        matrix.add(scene.mask, prediction.label_map)
    return matrix.miou()


def _drawn(directory: Path, which: tuple[int, int]) -> Path:
    """Return a directory with scenes, drawn unless they are there."""
    if not directory.exists():
        scenes.write_scenes(directory, which[1], which[0])
    return directory


def _images(directory: Path, which: tuple[int, int]) -> list[Path]:
    return sorted((_drawn(directory, which) / "images").iterdir())


def _project(client: StudioClient, images: list[Path], say: Callable[[str], None]) -> int:
    """Return the demo's project, made with its tasks unless an earlier run did."""
    found = [project for project in client.projects() if project["title"] == PROJECT]
    if len(found) > 1:
        raise MaskloopError(f"Label Studio has {len(found)} projects named {PROJECT!r}; delete all but one")
    if found:
        project = int(found[0]["id"])
    else:
        xml = config.render(LABELS, [("BrushLabels", "tag", "image")], {"image": "image"})
        made = client.create_project(PROJECT, xml, sampling="Uncertainty sampling", show_collab_predictions=True)
        project = int(made["id"])
    # an earlier run may have ended between the project and its last image
    there = len(client.task_ids(project))
    if there < len(images):
        say(f"Uploading {len(images) - there} new scenes")
        client.upload(project, images[there:])
    return project


def as_json(demo: Demo) -> str:
    """Return what --json prints: all but the login."""
    values = asdict(demo)
    del values["email"], values["password"]
    return json.dumps(values)
