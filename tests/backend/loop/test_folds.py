"""`maskloop review --folds`: labels that every version learned from are judged by trainings that did not."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

from maskloop_backend.loop import efforts
from maskloop_backend.loop.collected import Collected
from maskloop_backend.loop.confirmed import ReviewError
from maskloop_backend.loop.efforts import judging_settings
from maskloop_backend.loop.folds import MOST_IMAGES, Folds, NoJudgeError
from maskloop_backend.loop.holdout import project_directory
from maskloop_backend.loop.review import Review, review
from maskloop_backend.model.bundle import Bundle
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.fcn import build_fcn
from maskloop_backend.registry.store import Registry
from maskloop_backend.studio.client import StudioClient
from maskloop_backend.studio.images import ImageFetcher
from maskloop_backend.training.settings import TrainingSettings
from maskloop_converters import RunList
from maskloop_converters.samples import ImageRef, LabelSet, Sample

from ..studio.studio import LEGACY, running
from .conftest import CONFIG, NAMES, fields, regions
from .test_project import LabelledStudio, task

TASKS = range(1, 17)
WRONG = 6
# colours say the class, so nothing may change them
SEEN = TrainingSettings(backbone="small", crop=(64, 64), scale=(1.0, 1.0), color=0.0)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """What is served was made after all labels, and knows nothing."""
    keras.utils.set_random_seed(3)
    architecture = Architecture(len(NAMES), "small")
    labels = LabelSet.from_names(list(NAMES))
    made = Bundle.create(build_fcn(architecture), architecture, labels, settings=SEEN.to_json())
    registry = Registry(tmp_path_factory.mktemp("home"))
    record = dataclasses.replace(made.record, created="2026-11-25T00:00:00Z")
    registry.promote(registry.add(Bundle(made.model, record)))
    return registry


@pytest.fixture(scope="module")
def studio() -> Iterator[LabelledStudio]:
    """Sixteen tasks, one of them with its classes mixed up."""
    made = LabelledStudio()
    made.project = {"id": 5, "title": "fields", "label_config": CONFIG}
    made.exported = [task(number) for number in TASKS]
    made.exported[WRONG - 1]["annotations"][0]["result"] = regions((fields(WRONG) + 1) % 3, "manual")
    made.stored = {}
    with running(made):
        yield made


class Watched:
    """Keeps what is told of trainings.

    Attributes:
        told: (steps done, all) by fold.
        interrupt: press Ctrl-C at this step.
    """

    def __init__(self, interrupt: int | None = None) -> None:
        self.told: dict[str, list[tuple[int, int]]] = {}
        self.interrupt = interrupt

    def __call__(self, fold: str, done: int, total: int) -> None:
        self.told.setdefault(fold, []).append((done, total))
        if done == self.interrupt:
            os.kill(os.getpid(), signal.SIGINT)


def reviewed(studio: LabelledStudio, registry: Registry, folds: int, watched: Watched) -> Review:
    with StudioClient(studio.url, LEGACY) as client:
        return review(client, ImageFetcher(studio.url, LEGACY), 5, registry, folds=folds, training=watched)


def kept(registry: Registry) -> list[str]:
    """Every file of the home: reviews add none but images."""
    names = [str(path.relative_to(registry.home)) for path in registry.home.rglob("*") if path.is_file()]
    return sorted(name for name in names if "/images" not in name and not name.endswith(".lock"))


@pytest.mark.slow
def test_trainings_judge_what_they_did_not_learn_from(
    studio: LabelledStudio, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    # fields of one colour need less than photographs
    monkeypatch.setattr(efforts, "_JUDGE_DRAWS", 640)
    without = reviewed(studio, registry, 0, Watched())
    assert not without.tasks
    assert all("--folds 3 trains some" in why for why in without.not_judged.values())
    before, served, watched = kept(registry), registry.serving(5), Watched()
    found = reviewed(studio, registry, 2, watched)
    assert not found.not_judged
    assert found.versions == {"fold 1 of 2": 8, "fold 2 of 2": 8}
    first, *others = found.tasks
    assert first.task == str(WRONG)
    assert first.score > 0.5
    assert first.images[0].share > 0.9
    shares = [one.images[0].share for one in others]
    # one that knows nothing is wrong in two of three
    assert np.mean(shares) < 0.4, shares
    assert list(watched.told) == ["fold 1 of 2", "fold 2 of 2"]
    for told in watched.told.values():
        assert told == sorted(told)
        assert told[-1][0] == told[-1][1]
    assert (kept(registry), registry.serving(5)) == (before, served)


@pytest.mark.slow
def test_ctrl_c_leaves_nothing(studio: LabelledStudio, registry: Registry) -> None:
    before = kept(registry)
    with pytest.raises(KeyboardInterrupt):
        reviewed(studio, registry, 2, Watched(interrupt=2))
    assert kept(registry) == before


def test_nothing_needs_to_be_served_for_folds(studio: LabelledStudio, tmp_path: Path) -> None:
    with pytest.raises(ReviewError, match=r"no version is served to project 5 yet.*--folds 3 trains some"):
        reviewed(studio, Registry(tmp_path), 0, Watched())
    assert not project_directory(tmp_path, 5).exists()


def collected(count: int) -> Collected:
    masks = RunList.empty(64, 64)
    samples = tuple(Sample(str(number), ImageRef("nowhere.png"), masks, ()) for number in range(count))
    return Collected(LabelSet.from_names(list(NAMES)), samples, {})


@pytest.mark.parametrize(("tasks", "count", "sizes"), [(7, 3, [3, 2, 2]), (2, 5, [1, 1]), (0, 3, [])])
def test_every_task_is_in_one_fold(tasks: int, count: int, sizes: list[int], tmp_path: Path) -> None:
    names = [str(number) for number in range(tasks)]
    folds = Folds(collected(tasks), names, count, None, tmp_path, Watched()).all
    assert [len(one.tasks) for one in folds] == sizes
    assert sorted(task for one in folds for task in one.tasks) == names


def test_a_fold_that_cannot_be_trained_for_says_why(tmp_path: Path) -> None:
    folds = Folds(collected(2), ["0", "1"], 2, None, tmp_path / "aside", Watched())
    with pytest.raises(NoJudgeError, match=r"fold 1 of 2 cannot be trained for: the dataset holds 1 sample"):
        folds.trained(folds.all[0])
    assert not (tmp_path / "aside").exists()


def test_the_cost_of_a_judge_is_bounded() -> None:
    for images in (10, 50, MOST_IMAGES):
        settings = judging_settings(None, images)
        assert (settings.backbone, settings.weights) == ("efficientnet-lite0", "imagenet")
        assert settings.cached_views * images <= 1200
        assert settings.recipe.epochs * images <= 3000
        assert settings.recipe.evaluate_every == settings.recipe.epochs
