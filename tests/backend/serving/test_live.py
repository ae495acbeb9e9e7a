"""Live versions: one refit for many events, for the right project and base, gone with one switch, refits that cannot harm."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from maskloop_backend.inference.prediction import Prediction
from maskloop_backend.loop.worker import Studio
from maskloop_backend.serving import live as module
from maskloop_backend.serving.live import Live, switch
from maskloop_backend.studio.errors import StudioError
from maskloop_backend.studio.images import ImageFetcher
from maskloop_converters.samples import Label, LabelSet

SECONDS = 60.0
# A project whose Label Studio nobody knows.
NOWHERE = 99


class Named:
    """A segmenter that is only a name."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.labels = LabelSet((Label(0, "road"),))

    def predict(self, images: Any) -> list[Prediction]:
        raise NotImplementedError


class Project:
    """What a refit works on, without a Label Studio and a network: it can be held, and counts."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.images = 0
        self.updates: list[set[int] | None] = []
        self.entered = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.weights: list[Any] | None = [1]
        self.error: Exception | None = None

    def update(self, source: Any, tasks: Any, pause: Callable[[float], None]) -> None:
        self.updates.append(None if tasks is None else set(tasks))
        self.entered.release()
        assert self.go.acquire(timeout=SECONDS)
        if self.error is not None:
            raise self.error
        pause(0.0)

    def fit(self, pause: Callable[[float], None]) -> list[Any] | None:
        return self.weights

    def predictor(self, weights: Any, version: str) -> Named:
        return Named(version)


class Rig:
    """A Live whose projects are :class:`Project`; the last one of each base stays in ``made``."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.served = "v1"
        self.made: list[Project] = []
        self.begun, self.over = threading.Semaphore(0), threading.Semaphore(0)
        self.live = Live(
            home,
            lambda project: self.served,
            self._studio,
            lambda project: ImageFetcher(None, None),
            lambda seconds: None,
            self._learn,
        )
        self.live.start()

    def _learn(self, base: str) -> Any:
        self.made.append(Project(base))
        self.begun.release()
        return self.made[-1]

    def _studio(self, project: int) -> Studio | str:
        if project != NOWHERE:
            return Studio("http://127.0.0.1:9", "token")
        self.over.release()
        return "an address"

    def submit(self, *tasks: int, project: int = 1, action: str = "ANNOTATION_CREATED") -> None:
        self.live.notice(action, project, list(tasks))

    def now(self, project: int = 1) -> str:
        return self.live.version(project, self.served)

    def working(self, number: int = -1) -> Project:
        """Return a project in the middle of its refit."""
        assert self.begun.acquire(timeout=SECONDS)
        assert self.made[number].entered.acquire(timeout=SECONDS)
        return self.made[number]

    def settle(self) -> None:
        """Wait until the thread has nothing to do."""
        self.submit(1, project=NOWHERE)
        assert self.over.acquire(timeout=SECONDS)


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setattr(module, "_LOOK", 0.0)
    made = Rig(tmp_path)
    yield made
    for project in made.made:
        project.go.release(100)
    made.live.close()
    assert not made.live._thread.is_alive()


def test_a_flood_of_events_is_one_refit_under_way_and_one_after_it(rig: Rig) -> None:
    rig.submit(1)
    project = rig.working()
    for task in range(2, 500):
        rig.submit(task)
    project.go.release(2)
    assert project.entered.acquire(timeout=SECONDS)
    rig.settle()
    # a project that nothing is known of is collected whole
    assert project.updates == [None, set(range(2, 500))]


def test_a_project_has_its_own_head_and_others_have_what_is_served(rig: Rig) -> None:
    served = Named("v1")
    assert rig.live.of(1, served) is served
    rig.submit(1)
    rig.working().go.release()
    rig.settle()
    first = rig.now()
    assert first.startswith("v1+live-")
    assert rig.live.of(1, served).version == first
    assert rig.now(2) == "v1"
    assert rig.live.of(None, served) is served
    rig.made[-1].go.release()
    rig.submit(2)
    rig.settle()
    assert rig.now() != first, "every refit has a name of its own"


def test_another_served_version_drops_the_head(rig: Rig) -> None:
    rig.submit(1)
    rig.working().go.release()
    rig.settle()
    rig.served = "v2"
    assert rig.now() == "v2"
    served = Named("v2")
    assert rig.live.of(1, served) is served
    # the next one starts from the new version, with all that there is
    rig.submit(2)
    project = rig.working()
    assert (project.base, project.updates) == ("v2", [None])
    # and a promotion in the middle of a refit makes it worthless
    rig.served = "v3"
    project.go.release()
    rig.settle()
    assert rig.now() == "v3"
    rig.served = "v2"
    assert rig.now() == "v2"


def test_one_switch_removes_all_and_what_was_missed_is_collected_afterwards(rig: Rig) -> None:
    rig.submit(1)
    project = rig.working()
    project.go.release()
    rig.settle()
    assert rig.now() != "v1"
    switch(rig.home, on=False)
    assert rig.now() == "v1"
    rig.submit(2)
    switch(rig.home, on=True)
    assert rig.now() == "v1", "what was learned before is gone"
    rig.submit(3)
    again = rig.working()
    assert again is not project
    assert again.updates == [None]
    # switched off in the middle of a refit
    switch(rig.home, on=False)
    again.go.release()
    assert rig.now() == "v1"


def test_what_was_submitted_while_the_switch_was_not_looked_at_is_learned_without_another_submit(rig: Rig) -> None:
    rig.submit(1)
    project = rig.working()
    project.go.release()
    rig.settle()
    switch(rig.home, on=False)
    assert rig.now() == "v1"
    rig.submit(2)
    switch(rig.home, on=True)
    assert rig.now() == "v1"
    again = rig.working()
    again.go.release()
    rig.settle()
    assert rig.now() not in ("v1", project.base)


@pytest.mark.parametrize("error", [StudioError("down"), MemoryError("none left"), ValueError("nobody expected this")])
def test_a_refit_that_fails_leaves_what_answers_and_the_next_collects_everything(rig: Rig, error: Exception) -> None:
    rig.submit(1)
    project = rig.working()
    project.go.release()
    rig.settle()
    version = rig.now()
    project.error = error
    project.go.release()
    rig.submit(2)
    rig.settle()
    assert rig.now() == version
    rig.submit(3)
    again = rig.working()
    assert again.updates == [None]
    again.go.release()
    rig.settle()
    assert rig.now() not in (version, "v1")


def test_a_fit_that_comes_to_nothing_removes_the_head(rig: Rig) -> None:
    """All annotations were deleted, or the loss was no number: what is served answers."""
    rig.submit(1)
    project = rig.working()
    project.go.release()
    rig.settle()
    project.weights = None
    project.go.release()
    rig.submit(action="ANNOTATIONS_DELETED")
    rig.settle()
    assert rig.now() == "v1"


def test_few_projects_have_heads_at_once(rig: Rig) -> None:
    for number in range(1, module.PROJECTS + 2):
        rig.submit(1, project=number)
        rig.working().go.release()
        rig.settle()
    heads = [number for number in range(1, module.PROJECTS + 2) if rig.now(number) != "v1"]
    assert heads == list(range(2, module.PROJECTS + 2))


def test_a_project_that_somebody_opens_is_prepared_while_there_is_room(rig: Rig) -> None:
    rig.live.expect(1)
    rig.working().go.release()
    rig.settle()
    rig.live.expect(1)
    rig.settle()
    assert rig.made[0].updates == [None]
