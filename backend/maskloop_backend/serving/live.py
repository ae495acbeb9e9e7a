"""The live version: a project's own head, refitted in the background after each submit, beside the version that is served.

It is in memory only, under a name of its own (``<version>+live-<N>``), and no version of the registry: nothing promotes it.
It answers for its project until the served version changes, until :func:`switch` turns it off or the server ends.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskloop_converters.atomic import atomic_file
from maskloop_converters.errors import MaskloopError

from ..inference.prediction import Segmenter
from ..loop.holdout import project_directory
from ..loop.worker import Studio
from ..studio.client import StudioClient
from ..studio.images import ImageFetcher
from .logs import log

if TYPE_CHECKING:
    from ..loop.live import LiveProject

# Projects that have a live version at once; the one that was annotated longest ago gives up its own.
PROJECTS = 3
OFF_FILE = "live.off"
# How often the switch is looked at, in seconds.
_LOOK = 1.0
# Requests get so many times the time that a piece of a refit took, if they want it, before the next piece.
_OTHERS_SHARE = 3.0
_ANNOTATED = frozenset({"ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED"})
_REMOVED = frozenset({"ANNOTATIONS_DELETED", "TASKS_DELETED", "PROJECT_UPDATED"})


def switch(home: Path, *, on: bool) -> None:
    """Turn live versions of all servers of a home directory off, or on again; they follow within a second."""
    path = home / OFF_FILE
    if on:
        path.unlink(missing_ok=True)
        return
    with atomic_file(path, overwrite=True) as aside:
        aside.write_text("live versions are off: `maskloop live on`\n", encoding="utf-8")


def switched_on(home: Path) -> bool:
    """Return whether :func:`switch` allows live versions."""
    return not (home / OFF_FILE).exists()


class _Stop(Exception):  # noqa: N818 - a way out
    """The refit under way is of no use any more."""


@dataclass(slots=True)
class _Wanted:
    """What has happened to a project since its last refit.

    Attributes:
        tasks: that were annotated.
        everything: look at all tasks.
    """

    tasks: set[int] = field(default_factory=set)
    everything: bool = False


class Live:
    """Refits heads, one at a time, in a thread of its own.

    Args:
        home: of the registry, the projects and the switch.
        served: returns the version that answers a project's requests, None where there is none yet.
        studio: tells how to reach the Label Studio of a project (its id), or why that is not known.
        fetcher: returns what fetches a project's images.
        give_way: waits while requests are being answered, so many seconds at most.
        learn: returns what learns from a project, starting from a version; None takes the registry's versions.
    """

    def __init__(
        self,
        home: Path,
        served: Callable[[int], str | None],
        studio: Callable[[int], Studio | str],
        fetcher: Callable[[int], ImageFetcher],
        give_way: Callable[[float], None],
        learn: Callable[[str], LiveProject] | None = None,
    ) -> None:
        self._home = home
        self._served = served
        self._studio = studio
        self._fetcher = fetcher
        self._give_way = give_way
        self._learn = learn or self._from_registry
        self._changed = threading.Condition()
        self._wanted: OrderedDict[int, _Wanted] = OrderedDict()
        # what only the thread touches
        self._projects: OrderedDict[int, LiveProject] = OrderedDict()
        self._segmenters: dict[int, tuple[str, Segmenter]] = {}
        self._number = 0
        self._looked = float("-inf")
        self._on = True
        # events went by while it was off: of these projects, the latest at the end
        self._missed = False
        self._passed_by: OrderedDict[int, None] = OrderedDict()
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name="maskloop-live", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def close(self) -> None:
        """Stop after the step that runs."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(5.0)

    @property
    def on(self) -> bool:
        """Whether live versions may answer."""
        now = time.monotonic()
        with self._changed:
            if now - self._looked >= _LOOK:
                self._looked = now
                self._on = switched_on(self._home)
                if not self._on:
                    self._segmenters.clear()
                    self._wanted.clear()
                    self._missed = True
                elif self._passed_by:
                    # the switch is looked at once a second, so that some of these came after it
                    for project in self._passed_by:
                        self._wanted.setdefault(project, _Wanted()).everything = True
                    self._passed_by.clear()
                    self._changed.notify_all()
            return self._on

    def notice(self, action: str, project: int | None, tasks: list[int]) -> None:
        """Take in a webhook's event; returns at once, and however many come, one refit follows the one that runs.

        Args:
            action: of the event.
            project: its id.
            tasks: ids of the tasks that were annotated, as far as the event names them.
        """
        if project is None:
            return
        if not self.on:
            if action in _ANNOTATED:
                with self._changed:
                    self._passed_by[project] = None
                    self._passed_by.move_to_end(project)
                    if len(self._passed_by) > PROJECTS:
                        self._passed_by.popitem(last=False)
            return
        if action == "PROJECT_DELETED":
            with self._changed:
                self._wanted.pop(project, None)
                self._segmenters.pop(project, None)
            return
        if action in _ANNOTATED or action in _REMOVED:
            self._want(project, tasks if action in _ANNOTATED else [])

    def expect(self, project: int | None) -> None:
        """Prepare for a project that somebody opens: what it has already is learned before the next submit."""
        if project is None or not self.on:
            return
        with self._changed:
            known = project in self._projects or project in self._wanted
            room = len(self._projects) + len(self._wanted) < PROJECTS
        if not known and room:
            self._want(project, [])

    def of(self, project: int | None, served: Segmenter) -> Segmenter:
        """Return what answers a project's request: its live version where it has one of what is served, else that."""
        if project is None or not self.on:
            return served
        with self._changed:
            base, live = self._segmenters.get(project, (None, served))
            return live if base == served.version else served

    def version(self, project: int | None, served: str) -> str:
        """Return the version that answers a project's requests where ``served`` is served."""
        if project is None or not self.on:
            return served
        with self._changed:
            base, live = self._segmenters.get(project, (None, None))
            return live.version if live is not None and base == served else served

    def _want(self, project: int, tasks: list[int]) -> None:
        with self._changed:
            wanted = self._wanted.setdefault(project, _Wanted())
            wanted.tasks.update(tasks)
            # who is flooded looks at all tasks once; the newest are few
            wanted.everything |= not tasks or len(wanted.tasks) > 1000
            self._changed.notify_all()

    def _loop(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._wanted)
                if self._closed:
                    return
                project, wanted = self._wanted.popitem(last=False)
            try:
                self._refit(project, wanted)
                continue
            except _Stop:
                pass
            except MaskloopError as error:
                log(logging.WARNING, "live_failed", project=project, error=error)
            except Exception as error:  # noqa: BLE001 - whatever a refit meets, requests are answered as before
                log(logging.ERROR, "live_failed", project=project, error=type(error).__name__)
            # what was to be collected was not: the next event collects everything
            self._projects.pop(project, None)

    def _refit(self, project: int, wanted: _Wanted) -> None:
        with self._changed:
            missed, self._missed = self._missed, False
        if missed:
            self._projects.clear()
        studio = self._studio(project)
        if isinstance(studio, str):
            log(logging.WARNING, "live_waits", project=project, missing=studio)
            return
        base = self._served(project)
        if base is None:
            return
        began = time.perf_counter()

        def pause(spent: float) -> None:
            self._give_way(_OTHERS_SHARE * spent)
            if self._closed or not self.on or self._served(project) != base:
                raise _Stop

        state, everything = self._state(project, base)
        # Keras was imported when the first version was loaded
        from ..loop.live import Source

        with StudioClient(studio.url, studio.token, studio.policy) as client:
            directory = project_directory(self._home, project)
            source = Source(client, self._fetcher(project), project, directory)
            tasks = None if everything or wanted.everything else wanted.tasks
            state.update(source, tasks, pause)
        weights = state.fit(pause)
        if weights is None:
            with self._changed:
                self._segmenters.pop(project, None)
            log(logging.INFO, "live_nothing", project=project, images=state.images)
            return
        # a name is never used again, not by the next server either: Label Studio takes what has it for current
        self._number = max(self._number + 1, int(time.time()))
        predictor: Any = state.predictor(weights, f"{base}+live-{self._number}")
        pause(0.0)
        with self._changed:
            self._segmenters[project] = base, predictor
        seconds = time.perf_counter() - began
        log(
            logging.INFO, "live_ready", project=project, version=predictor.version, images=state.images, seconds=seconds
        )

    def _state(self, project: int, base: str) -> tuple[LiveProject, bool]:
        """Return what is known of a project for a served version, and whether that is nothing yet."""
        known = self._projects.get(project)
        if known is not None and known.base == base:
            self._projects.move_to_end(project)
            return known, False
        with self._changed:
            self._segmenters.pop(project, None)
        self._projects.pop(project, None)
        while len(self._projects) >= PROJECTS:
            gone, _ = self._projects.popitem(last=False)
            with self._changed:
                self._segmenters.pop(gone, None)
        made = self._projects[project] = self._learn(base)
        return made, True

    def _from_registry(self, base: str) -> LiveProject:
        from ..loop.live import LiveProject
        from ..registry.store import Registry

        registry = Registry(self._home)
        return LiveProject(registry.record(base), lambda: registry.load(base))
