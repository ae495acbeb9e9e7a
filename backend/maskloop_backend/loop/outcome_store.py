"""What became of predictions, kept: `<home>/outcomes.sqlite3`, one row a task and one a class of it."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from maskloop_converters.errors import MaskloopError

from .. import sqlite_files
from .outcomes import KINDS, Outcome

OUTCOMES_FILE = "outcomes.sqlite3"
# Tasks of all projects together; beyond, those submitted longest ago are forgotten.
KEPT_TASKS = 50_000
# Weeks that are told unless asked otherwise.
WEEKS = 26

_SCHEMA = """
CREATE TABLE IF NOT EXISTS outcomes (
  project INTEGER NOT NULL,
  task INTEGER NOT NULL,
  annotation INTEGER NOT NULL,
  version TEXT,
  kind TEXT NOT NULL,          -- 'accepted', 'changed', 'rejected', 'drawn'
  week TEXT NOT NULL,          -- ISO 8601, '2026-W48'
  at REAL NOT NULL,            -- seconds since 1970
  pixels INTEGER NOT NULL,
  off INTEGER NOT NULL,
  PRIMARY KEY (project, task)  -- a task that is submitted again counts once, as it was left
);
CREATE INDEX IF NOT EXISTS oldest ON outcomes (at);
CREATE TABLE IF NOT EXISTS fates (
  project INTEGER NOT NULL,
  task INTEGER NOT NULL,
  class TEXT NOT NULL,
  kept INTEGER NOT NULL,
  changed INTEGER NOT NULL,
  removed INTEGER NOT NULL,
  added INTEGER NOT NULL,
  pixels INTEGER NOT NULL,
  off INTEGER NOT NULL,
  PRIMARY KEY (project, task, class),
  FOREIGN KEY (project, task) REFERENCES outcomes (project, task) ON DELETE CASCADE
);
"""
_KIND_COLUMNS = ", ".join(f"coalesce(sum(kind = '{kind}'), 0) AS {kind}" for kind in KINDS)
_FATES = ("kept", "changed", "removed", "added", "pixels", "off")
_FATE_COLUMNS = ", ".join(f"sum(f.{name}) AS {name}" for name in _FATES)


class OutcomeError(MaskloopError):
    """What became of predictions cannot be read or written."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """What became of predictions, summed; plain JSON values.

    Attributes:
        totals: 'tasks', one count a kind, 'pixels', 'off'.
        versions: the same by 'version', None for drawn without a prediction; the one used last first.
        weeks: the same by 'week', oldest first.
        classes: 'class', regions 'kept', 'changed', 'removed', 'added', and 'pixels', 'off'; most pixels first.
        class_weeks: the same by 'class' and 'week'.
        tasks: the most corrected: 'project', 'task', 'version', 'week', 'kind', 'pixels', 'off', 'share'.
    """

    totals: dict[str, int]
    versions: list[dict[str, Any]]
    weeks: list[dict[str, Any]]
    classes: list[dict[str, Any]]
    class_weeks: list[dict[str, Any]]
    tasks: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """Return all of it."""
        return {name: getattr(self, name) for name in self.__slots__}


class OutcomeStore:
    """Outcomes in SQLite, for the threads of one process and for several processes at once.

    Args:
        home: the directory that holds the file; made where there is none.
        most: tasks that are kept.
        clock: seconds since 1970.

    Raises:
        OutcomeError: what is there is no database, or it cannot be read or written.
    """

    def __init__(self, home: Path, *, most: int = KEPT_TASKS, clock: Callable[[], float] = time.time) -> None:
        path = home / OUTCOMES_FILE
        self._path = path
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        try:
            home.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite_files.connect(path, _SCHEMA, timeout=5)
        except (OSError, sqlite3.Error) as error:
            raise self._told(error) from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def record(self, outcome: Outcome) -> None:
        """Keep an outcome, in place of what the same task had.

        Raises:
            OutcomeError: the disk is full, or the file is locked or damaged.
        """
        now = self._clock()
        year, week, _ = datetime.fromtimestamp(now, UTC).isocalendar()
        key = (outcome.project, outcome.task)
        with self._transaction():
            self._connection.execute("DELETE FROM outcomes WHERE project = ? AND task = ?", key)
            self._connection.execute(
                "INSERT INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(*key, outcome.annotation, outcome.version, outcome.kind),
                    *(f"{year}-W{week:02}", now, outcome.pixels, outcome.off),
                ),
            )
            self._connection.executemany(
                "INSERT INTO fates VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (*key, name, fate.kept, fate.changed, fate.removed, fate.added, fate.pixels, fate.off)
                    for name, fate in outcome.classes.items()
                ],
            )
            self._connection.execute(
                "DELETE FROM outcomes WHERE rowid IN (SELECT rowid FROM outcomes ORDER BY at "
                "LIMIT max(0, (SELECT count(*) FROM outcomes) - ?))",
                (self._most,),
            )

    def forget(
        self, project: int, *, tasks: Sequence[int] | None = None, annotations: Sequence[int] | None = None
    ) -> None:
        """Forget tasks or annotations that were deleted; without either, the whole project.

        Raises:
            OutcomeError: the file cannot be written.
        """
        with self._transaction():
            if tasks is None and annotations is None:
                self._connection.execute("DELETE FROM outcomes WHERE project = ?", (project,))
            for column, numbers in (("task", tasks), ("annotation", annotations)):
                self._connection.executemany(
                    f"DELETE FROM outcomes WHERE project = ? AND {column} = ?", [(project, n) for n in numbers or ()]
                )

    def statistics(self, project: int | None = None, *, weeks: int = WEEKS, tasks: int = 12) -> Statistics:
        """Return what became of predictions.

        Args:
            project: of which; None: of all together.
            weeks: the newest so many weeks that have any.
            tasks: so many of the most corrected ones.

        Raises:
            OutcomeError: the file is damaged.
        """
        where, values = ("", ()) if project is None else ("WHERE o.project = ?", (project,))
        joined = f"FROM outcomes o JOIN fates f ON f.project = o.project AND f.task = o.task {where}"
        sums = f"count(*) AS tasks, {_KIND_COLUMNS}, coalesce(sum(pixels), 0) AS pixels, coalesce(sum(off), 0) AS off"
        by_week = self._rows(
            f"SELECT week, {sums} FROM outcomes o {where} GROUP BY week ORDER BY week DESC LIMIT ?", *values, weeks
        )
        oldest = by_week[-1]["week"] if by_week else ""
        by_class_and_week = self._rows(
            f"SELECT class, week, {_FATE_COLUMNS} {joined} GROUP BY class, week ORDER BY week, class", *values
        )
        most = self._rows(
            f"SELECT project, task, version, week, kind, pixels, off, 1.0 * off / pixels AS share FROM outcomes o "
            f"{where or 'WHERE 1'} AND pixels > 0 AND off > 0 ORDER BY share DESC, at DESC LIMIT ?",
            *values,
            tasks,
        )
        (totals,) = self._rows(f"SELECT {sums} FROM outcomes o {where}", *values)
        return Statistics(
            totals=totals,
            versions=self._rows(
                f"SELECT version, {sums} FROM outcomes o {where} GROUP BY version ORDER BY max(at) DESC", *values
            ),
            weeks=by_week[::-1],
            classes=self._rows(
                f"SELECT class, {_FATE_COLUMNS} {joined} GROUP BY class ORDER BY sum(f.pixels) DESC, class", *values
            ),
            class_weeks=[row for row in by_class_and_week if row["week"] >= oldest],
            tasks=most,
        )

    def projects(self) -> list[int]:
        """Return the projects of which anything is known."""
        return [row["project"] for row in self._rows("SELECT DISTINCT project FROM outcomes ORDER BY project")]

    def _rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        with self._lock:
            try:
                return [dict(row) for row in self._connection.execute(query, values).fetchall()]
            except sqlite3.Error as error:
                raise self._told(error) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Hold the right to write; all or nothing of the block is kept."""
        with self._lock:
            try:
                with sqlite_files.transaction(self._connection):
                    yield
            except sqlite3.Error as error:
                raise self._told(error) from error

    def _told(self, error: OSError | sqlite3.Error) -> OutcomeError:
        text = sqlite_files.reason(error)
        return OutcomeError(f"{self._path}: {text}; stop the server and move the file away to begin with an empty one")
