"""How far every labelling is, and every task of a project: kept in SQLite, shown by `maskloop label --status` and GET /batches."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from .. import sqlite_files
from .errors import BatchError

STATUS_FILE = "batches.sqlite3"
TaskState = Literal["queued", "processing", "done", "failed"]
# Of a batch: the others ended, one way or the other; 'running' may have been killed.
State = Literal["running", "done", "incomplete"]
_SCHEMA = """
CREATE TABLE IF NOT EXISTS batch (
    id INTEGER PRIMARY KEY, source TEXT NOT NULL, destination TEXT NOT NULL, version TEXT NOT NULL, state TEXT NOT NULL,
    images INTEGER NOT NULL, done INTEGER NOT NULL, failed INTEGER NOT NULL, began TEXT NOT NULL, changed TEXT NOT NULL,
    UNIQUE (source, destination, version)
);
CREATE TABLE IF NOT EXISTS task (
    batch INTEGER NOT NULL REFERENCES batch (id), number INTEGER NOT NULL, state TEXT NOT NULL, reason TEXT,
    PRIMARY KEY (batch, number)
) WITHOUT ROWID;
"""


class StatusError(BatchError):
    """How far labellings are cannot be read or written; the message names the file and the fix."""


class BatchStatus:
    """The file of all labellings of a home directory; thread-safe.

    Args:
        home: the directory that holds it.

    Raises:
        StatusError: what is there is no database, or it cannot be read or written; so do all methods.
    """

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._path = path = home / STATUS_FILE
        self._lock = threading.Lock()
        try:
            self._connection = sqlite_files.connect(path, _SCHEMA, timeout=30)
        except (OSError, sqlite3.Error) as error:
            raise self._told(error) from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def begin(self, source: str, destination: str, version: str, images: int, tasks: Iterable[int] = ()) -> int:
        """Note that a labelling runs, and return its number: the same for the same source, destination and version.

        Args:
            source: as messages may show it.
            destination: likewise.
            version: of the model.
            images: how many there are to label.
            tasks: of a project that wait; what is known of others stays.
        """
        with self._changing() as changes:
            (number,) = changes.execute(
                "INSERT INTO batch (source, destination, version, state, images, done, failed, began, changed) "
                "VALUES (?, ?, ?, 'running', ?, 0, 0, ?, ?) ON CONFLICT (source, destination, version) DO UPDATE SET "
                "state = 'running', images = excluded.images, done = 0, failed = 0, changed = excluded.changed RETURNING id",
                (source, destination, version, images, _now(), _now()),
            ).fetchone()
            changes.executemany(
                "INSERT INTO task VALUES (?, ?, 'queued', NULL) ON CONFLICT DO UPDATE SET state = 'queued', reason = NULL",
                ((number, task) for task in tasks),
            )
        return int(number)

    def tasks(self, batch: int, states: Mapping[int, tuple[TaskState, str | None]]) -> None:
        """Note how far tasks are, with the reason of those that failed."""
        with self._changing() as changes:
            changes.executemany(
                "INSERT OR REPLACE INTO task VALUES (?, ?, ?, ?)",
                ((batch, task, state, reason) for task, (state, reason) in states.items()),
            )

    def count(self, batch: int, done: int, failed: int, state: State = "running") -> None:
        """Note how far a labelling is."""
        with self._changing() as changes:
            changes.execute(
                "UPDATE batch SET done = ?, failed = ?, state = ?, changed = ? WHERE id = ?",
                (done, failed, state, _now(), batch),
            )

    def end(self, batch: int) -> None:
        """Note that a labelling ended before it was through."""
        with self._changing() as changes:
            changes.execute("UPDATE batch SET state = 'incomplete', changed = ? WHERE id = ?", (_now(), batch))

    def batches(self) -> list[dict[str, Any]]:
        """Return all labellings, the latest first, with the number of tasks in each state and reasons of some."""
        columns = ("id", "source", "destination", "version", "state", "images", "done", "failed", "began", "changed")
        with self._lock, self._reading():
            rows = self._connection.execute(
                f"SELECT {', '.join(columns)} FROM batch ORDER BY changed DESC, id DESC"
            ).fetchall()
            counts = self._connection.execute(
                "SELECT batch, state, COUNT(*) FROM task GROUP BY batch, state"
            ).fetchall()
            found = []
            for row in rows:
                told: dict[str, Any] = dict(zip(columns, row, strict=True))
                told["tasks"] = {state: number for batch, state, number in counts if batch == told["id"]}
                reasons = self._connection.execute(
                    "SELECT number, reason FROM task WHERE batch = ? AND state = 'failed' ORDER BY number LIMIT 20",
                    (told["id"],),
                ).fetchall()
                told["reasons"] = [{"task": number, "reason": reason} for number, reason in reasons]
                found.append(told)
        return found

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._told(error) from error

    def _told(self, error: OSError | sqlite3.Error) -> StatusError:
        return StatusError(
            f"{self._path}: {sqlite_files.reason(error)}; move it away, it only says how far labellings are"
        )

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Cursor]:
        with (
            self._lock,
            self._reading(),
            closing(self._connection.cursor()) as cursor,
            sqlite_files.transaction(self._connection),
        ):
            yield cursor


def stored(home: Path) -> list[dict[str, Any]]:
    """Return what is known of all labellings; nothing is made where nothing is there."""
    if not (home / STATUS_FILE).exists():
        return []
    with closing(BatchStatus(home)) as status:
        return status.batches()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
