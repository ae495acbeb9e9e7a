"""Promoted versions on their way into their projects: wanted in the queue's database, done one after another.

A rollout lasts as long as the predictions of all open tasks, so that a killed server, or a Label Studio that is down for
a while, is likely to meet one. What is wanted stays wanted until it is done, or until another version is served.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable

from maskloop_converters.errors import MaskloopError

from ..loop.queue import JobQueue
from ..loop.worker import Studio
from ..registry.store import Registry
from ..studio.client import StudioClient
from ..studio.errors import StudioError
from ..studio.login import BackendLogin
from ..studio.rollout import RolledOut, rollout
from .logs import log


class Rollouts:
    """Shows promoted versions in their projects, as `maskloop rollout` does.

    Args:
        queue: knows what is wanted.
        studio: tells how to reach the Label Studio of a project (its id), or why that is not known.
        login: credentials of this backend, where it wants any.
        retry: seconds after which what failed is tried again; doubled each time, up to ``longest``.
        longest: seconds.
    """

    def __init__(
        self,
        queue: JobQueue,
        studio: Callable[[int], Studio | str],
        login: BackendLogin | None,
        *,
        retry: float = 15.0,
        longest: float = 600.0,
    ) -> None:
        self._queue = queue
        self._studio = studio
        self._login = login
        self._retry = retry
        self._longest = longest
        self._wake = threading.Event()
        self._stopping = threading.Event()
        # ends with the process: what it has not done is wanted again by the next one
        self._thread = threading.Thread(target=self._loop, name="maskloop-rollouts", daemon=True)

    def start(self) -> None:
        """Work in a thread, which begins with what a server before this one has left."""
        self._thread.start()

    def wake(self) -> None:
        """Look now: a version was promoted."""
        self._wake.set()

    def stop(self) -> None:
        """Begin no other rollout; one that runs ends with the process and is finished by the next."""
        self._stopping.set()
        self._wake.set()

    def step(self) -> int:
        """Try each rollout that is wanted, once; return how many still are."""
        left = 0
        for project, version in self._queue.rollouts():
            if self._stopping.is_set():
                return left
            try:
                serving = Registry(self._queue.home).serving(project)
                if serving not in (None, version):
                    log(logging.INFO, "rollout_dropped", project=project, version=version, serving=serving)
                    self._queue.rolled_out(project, version)
                    continue
                done = self._show(project, version)
            except MaskloopError as error:  # Label Studio's, or a damaged serving.json
                left += 1
                log(logging.ERROR, "rollout_failed", project=project, version=version, error=error)
            else:
                self._queue.rolled_out(project, version)
                left_out = done.tasks - done.tasks_with_predictions
                log(
                    logging.WARNING if left_out else logging.INFO,
                    "rolled_out",
                    project=project,
                    version=version,
                    tasks=done.tasks_with_predictions,
                    left_out=left_out,
                    renewed=done.renewed,
                    reason="; ".join(done.reasons) or None,
                )
        return left

    def _show(self, project: int, version: str) -> RolledOut:
        """Roll out; return what was done, and what could not be."""
        studio = self._studio(project)
        if isinstance(studio, str):
            raise StudioError(f"missing: {studio}")
        with StudioClient(studio.url, studio.token, studio.policy) as client:
            # it is promoted; this server follows within seconds
            return rollout(
                client, project, version, promote=lambda name, number: None, login=self._login, home=self._queue.home
            )

    def _loop(self) -> None:
        pause = self._retry
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                left = self.step()
            except (OSError, sqlite3.Error) as error:  # a full disk, a locked or closed database
                if self._stopping.is_set():
                    return
                log(logging.ERROR, "rollouts_failed", error=error)
                left = 1
            self._wake.wait(pause if left else None)
            pause = min(2 * pause, self._longest) if left else self._retry
