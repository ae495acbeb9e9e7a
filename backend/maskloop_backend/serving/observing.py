"""Notes what became of predictions, in a thread of its own: Label Studio holds an annotator's submit for its webhooks."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from ..loop.outcome_store import OutcomeError, OutcomeStore, Statistics
from ..loop.outcomes import SUBMITTED, Outcome, outcome_of, read_event
from .logs import log
from .metrics import Metrics

NOTICED = SUBMITTED | {"ANNOTATIONS_DELETED", "TASKS_DELETED", "PROJECT_DELETED"}
# Bytes of events that wait to be read; what comes then is left out and counted: it is a statistic, not a label.
WAITING_BYTES = 64 << 20


class Observer:
    """Takes in webhook bodies and keeps what they say of predictions.

    Args:
        store: of outcomes, or why its file cannot be used: nothing is kept then, and that is said where it is asked for.
        metrics: what to count in.
        noticed: called with each outcome that was kept.
    """

    def __init__(
        self,
        store: OutcomeStore | OutcomeError,
        metrics: Metrics,
        noticed: Callable[[Outcome], None] = lambda outcome: None,
    ) -> None:
        self._store = store if isinstance(store, OutcomeStore) else None
        self._trouble = str(store)
        self._metrics = metrics
        self._noticed = noticed
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._busy = False
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name="maskloop-outcomes", daemon=True)
        self._thread.start()

    def take(self, action: str, body: bytes) -> None:
        """Take in an event; returns at once.

        Args:
            action: of the event.
            body: of its request, JSON that was found not to swell.
        """
        if action not in NOTICED or self._store is None:
            return
        with self._changed:
            if self._closed or self._bytes + len(body) > WAITING_BYTES:
                self._metrics.outcomes.labels("left_out").inc()
                return
            self._waiting.append(body)
            self._bytes += len(body)
            self._changed.notify_all()

    def statistics(self, project: int | None = None) -> Statistics:
        """Return what became of predictions, see :meth:`OutcomeStore.statistics`.

        Raises:
            OutcomeError: the file cannot be read.
        """
        if self._store is None:
            raise OutcomeError(self._trouble)
        return self._store.statistics(project)

    def settle(self, timeout: float = 10.0) -> bool:
        """Wait until everything that was taken in is kept; return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._busy, timeout)

    def close(self) -> None:
        """Keep what waits, and stop."""
        self.settle()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout=10)
        if self._store is not None:
            self._store.close()

    def _loop(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                body = self._waiting.popleft()
                self._busy = True
            try:
                self._read(body)
            except OutcomeError as error:
                self._metrics.outcomes.labels("left_out").inc()
                log(logging.ERROR, "outcome_not_kept", error=error)
            except Exception as error:  # noqa: BLE001 - whatever stands in a body, the next one is read
                self._metrics.outcomes.labels("left_out").inc()
                log(logging.WARNING, "outcome_unreadable", error=type(error).__name__)
            finally:
                with self._changed:
                    self._bytes -= len(body)
                    self._busy = False
                    self._changed.notify_all()

    def _read(self, body: bytes) -> None:
        assert self._store is not None
        event = read_event(body)
        action, project = event.get("action"), _id(event.get("project"))
        if action in SUBMITTED:
            outcome = outcome_of(event)
            if outcome is not None:
                self._store.record(outcome)
                self._metrics.outcomes.labels(outcome.kind).inc()
                self._noticed(outcome)
        elif project is not None and action == "PROJECT_DELETED":
            self._store.forget(project)
        elif project is not None and action == "TASKS_DELETED":
            self._store.forget(project, tasks=_ids(event.get("tasks")))
        elif project is not None:
            self._store.forget(project, annotations=_ids(event.get("annotations")))


def _ids(values: Any) -> list[int]:
    found = (_id(value) for value in values) if isinstance(values, list) else ()
    return [number for number in found if number is not None]


def _id(value: Any) -> int | None:
    number = value.get("id") if isinstance(value, dict) else None
    return number if isinstance(number, int) and not isinstance(number, bool) and abs(number) < 2**63 else None
