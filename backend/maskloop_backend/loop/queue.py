"""The trainings that are wanted, running and over: `<home>/jobs.sqlite3`.

Everything that changes is one transaction, so that a job is never lost and never doubled, whatever is killed when.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from maskloop_converters.errors import MaskloopError

from .. import sqlite_files

JOBS_FILE = "jobs.sqlite3"

State = Literal["queued", "running", "done", "failed", "cancelled"]

# Annotators who never pause must not keep a training from starting: it waits this many quiet periods at most.
LONGEST_WAIT = 10
# Seconds for which any job may have to wait: one that is due later was put off by a clock that has been set back since.
FURTHEST = 3600.0
# What Label Studio 1.23 reports. Events of other names are counted together: anybody may invent some.
ACTIONS = frozenset(
    {
        "ANNOTATION_CREATED",
        "ANNOTATIONS_CREATED",
        "ANNOTATION_UPDATED",
        "ANNOTATIONS_DELETED",
        "LABEL_LINK_CREATED",
        "LABEL_LINK_DELETED",
        "LABEL_LINK_UPDATED",
        "PROJECT_CREATED",
        "PROJECT_DELETED",
        "PROJECT_UPDATED",
        "START_TRAINING",
        "TASKS_CREATED",
        "TASKS_DELETED",
    }
)
OTHER_ACTION = "other"
# Jobs that are over and of which the record is kept.
KEPT_JOBS = 200

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  project INTEGER NOT NULL,
  state TEXT NOT NULL,         -- 'queued', 'running', 'done', 'failed', 'cancelled'
  reason TEXT NOT NULL,        -- why it was wanted
  waits_for TEXT,              -- why it does not start, although it is due
  enqueued REAL NOT NULL,      -- seconds since 1970, like the other times
  due REAL NOT NULL,           -- it does not start before
  started REAL,
  finished REAL,
  attempts INTEGER NOT NULL DEFAULT 0,
  cancel INTEGER NOT NULL DEFAULT 0,   -- 1: somebody wants it to stop
  error TEXT,
  result TEXT                  -- JSON that the training printed
);
CREATE UNIQUE INDEX IF NOT EXISTS one_waits ON jobs (project) WHERE state = 'queued';
CREATE UNIQUE INDEX IF NOT EXISTS one_runs ON jobs (state) WHERE state = 'running';
CREATE TABLE IF NOT EXISTS corrections (   -- what annotators did since the project's last training began
  project INTEGER NOT NULL,
  item TEXT NOT NULL,          -- 'task 7': a task that is corrected three times counts once
  PRIMARY KEY (project, item)
);
CREATE TABLE IF NOT EXISTS rollouts (      -- promoted versions that their project does not show yet
  project INTEGER PRIMARY KEY,
  version TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS events (        -- what Label Studio reported, counted
  action TEXT PRIMARY KEY,
  count INTEGER NOT NULL,
  last REAL NOT NULL
);
"""


class JobError(MaskloopError):
    """There is no such job, it is over already, or the jobs cannot be read."""


@dataclass(frozen=True, slots=True)
class Job:
    """One training of one project.

    Attributes:
        id: counts up from 1.
        project: Label Studio's id.
        state: 'queued', 'running', then 'done', 'failed' or 'cancelled'.
        reason: why it was wanted.
        waits_for: why it does not start although it is due; None where nothing is missing.
        enqueued: seconds since 1970, like the other times.
        due: it does not start before.
        started: of the last attempt.
        finished: None until it is over.
        attempts: how often its training was started without getting further; more than 1 where something was killed.
        cancel: somebody wants it to stop.
        error: why it failed.
        result: what the training printed, JSON.
    """

    id: int
    project: int
    state: State
    reason: str
    waits_for: str | None
    enqueued: float
    due: float
    started: float | None
    finished: float | None
    attempts: int
    cancel: bool
    error: str | None
    result: Any

    def to_json(self) -> dict[str, Any]:
        """Return the job as JSON values; times in UTC, ISO 8601."""
        return {
            "id": self.id,
            "project": self.project,
            "state": self.state,
            "reason": self.reason,
            "waits_for": self.waits_for if self.state == "queued" else None,
            "enqueued": _utc(self.enqueued),
            "due": _utc(self.due),
            "started": _utc(self.started),
            "finished": _utc(self.finished),
            "attempts": self.attempts,
            "cancel": self.cancel,
            "error": self.error,
            "result": self.result,
        }


class JobQueue:
    """Jobs in SQLite, for the threads of one process and for several processes at once.

    No commit waits for the disk: Label Studio holds the annotator's submit for as long as the answer to its webhook takes,
    1 s at most.
    """

    def __init__(
        self,
        home: Path,
        *,
        train_after: int | None = None,
        quiet: float = 30.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open the database, made where there is none.

        Args:
            home: the directory that holds it.
            train_after: so many corrected tasks of a project want a training; None: only who asks gets one.
            quiet: seconds without a further correction before such a training starts.
            clock: seconds since 1970.

        Raises:
            JobError: what is there is no database, or it cannot be read or written.
        """
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        path = home / JOBS_FILE
        if path.is_dir():
            raise JobError(f"{path}: it is a folder, expected a file; move it away to start with an empty queue")
        self._train_after = train_after
        self._quiet = quiet
        self._clock = clock
        self._lock = threading.Lock()
        try:
            self._connection = sqlite_files.connect(path, _SCHEMA, timeout=0.8)
        except sqlite3.Error as error:
            raise JobError(f"{path}: {error}; move it away to start with an empty queue") from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def directory(self, job: int) -> Path:
        """Return where a job's log, progress and result are."""
        return self.home / "jobs" / str(job)

    def notice(self, event: Mapping[str, Any]) -> Job | None:
        """Take in one webhook event: count it, and enqueue a training where it is time for one.

        Args:
            event: the webhook's body, parsed.

        Returns:
            The project's job that waits or runs, None where there is none.

        Raises:
            sqlite3.Error: the disk is full, or the file is locked or damaged.
        """
        action, project = event["action"], _id(event.get("project"))
        with self._transaction() as now:
            self._connection.execute(
                "INSERT INTO events VALUES (?, 1, ?) "
                "ON CONFLICT (action) DO UPDATE SET count = count + 1, last = excluded.last",
                (action if action in ACTIONS else OTHER_ACTION, now),
            )
            if project is None:
                return None
            if action == "START_TRAINING":
                return self._want(project, "asked for in Label Studio", now)
            if action in {"ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_CREATED"}:
                self._correct(project, event, now)
            elif action == "TASKS_DELETED":
                items = [(project, f"task {_id(task)}") for task in _list(event.get("tasks"))]
                self._connection.executemany("DELETE FROM corrections WHERE project = ? AND item = ?", items)
            elif action == "PROJECT_DELETED":
                self._connection.execute("DELETE FROM corrections WHERE project = ?", (project,))
                self._connection.execute(
                    "UPDATE jobs SET state = 'cancelled', finished = ?, error = 'the project was deleted' "
                    "WHERE project = ? AND state = 'queued'",
                    (now, project),
                )
                self._connection.execute(
                    "UPDATE jobs SET cancel = 1 WHERE project = ? AND state = 'running'", (project,)
                )
            return self._open(project)

    def start(self, project: int, reason: str) -> Job:
        """Want a training of a project now.

        One that waits is made due; one that runs is enough as long as nothing was corrected since it began.
        """
        with self._transaction() as now:
            return self._want(project, reason, now)

    def job(self, number: int) -> Job:
        """Return a job.

        Raises:
            JobError: there is none of this number.
        """
        rows = self._jobs("WHERE id = ?", number) if _number(number) is not None else []
        if not rows:
            raise JobError(f"there is no job {number}; `maskloop jobs list` shows those that there are")
        return rows[0]

    def jobs(self, *, limit: int = KEPT_JOBS) -> list[Job]:
        """Return the newest jobs, newest first."""
        return self._jobs("ORDER BY id DESC LIMIT ?", limit)

    def running(self) -> Job | None:
        """Return the job whose training was begun and has not ended, as far as is known."""
        return next(iter(self._jobs("WHERE state = 'running'")), None)

    def due(self) -> list[Job]:
        """Return the jobs that may start now, those that wait longest first."""
        now = self._clock()
        return self._jobs(
            "WHERE state = 'queued' AND NOT (due > ? AND due <= ?) ORDER BY due, id",
            now,
            now + max(FURTHEST, LONGEST_WAIT * self._quiet),
        )

    def counts(self) -> dict[str, int]:
        """Return the number of jobs by state."""
        rows = self._rows("SELECT state, count(*) FROM jobs GROUP BY state")
        return {str(state): int(count) for state, count in rows}

    def corrections(self, project: int) -> int:
        """Return how many tasks of a project were corrected since its last training began."""
        ((count,),) = self._rows("SELECT count(*) FROM corrections WHERE project = ?", project)
        return int(count)

    def events(self) -> dict[str, int]:
        """Return how often Label Studio reported what."""
        return {str(action): int(count) for action, count in self._rows("SELECT action, count FROM events")}

    def waits(self, number: int, reason: str | None) -> None:
        """Note why a due job does not start."""
        with self._transaction():
            self._connection.execute("UPDATE jobs SET waits_for = ? WHERE id = ?", (reason, number))

    def begin(self, number: int) -> Job:
        """Note that a job's training is about to be started; from now on corrections count for the next one."""
        with self._transaction() as now:
            self._connection.execute(
                "UPDATE jobs SET state = 'running', started = ?, attempts = attempts + 1, waits_for = NULL "
                "WHERE id = ? AND state = 'queued'",
                (now, number),
            )
            self._connection.execute(
                "DELETE FROM corrections WHERE project = (SELECT project FROM jobs WHERE id = ?)", (number,)
            )
        return self.job(number)

    def finish(
        self, number: int, state: State, *, error: str | None = None, result: Any = None, rollout: str | None = None
    ) -> list[int]:
        """Note how a job ended, and a version that its project shall show; return the numbers of old jobs dropped."""
        with self._transaction() as now:
            if rollout is not None:
                self._connection.execute(
                    "INSERT OR REPLACE INTO rollouts SELECT project, ? FROM jobs WHERE id = ?", (rollout, number)
                )
            self._connection.execute(
                "UPDATE jobs SET state = ?, finished = ?, error = ?, result = ? WHERE id = ?",
                (state, now, error, None if result is None else json.dumps(result), number),
            )
            dropped = self._connection.execute(
                "DELETE FROM jobs WHERE state NOT IN ('queued', 'running') AND id <= ? RETURNING id",
                (number - KEPT_JOBS,),
            ).fetchall()
        return [int(row[0]) for row in dropped]

    def rollouts(self) -> list[tuple[int, str]]:
        """Return projects and the versions that they shall show."""
        return [(int(project), str(version)) for project, version in self._rows("SELECT * FROM rollouts")]

    def rolled_out(self, project: int, version: str) -> None:
        """Note that a project shows a version, or need not any more; another one that is wanted since stays wanted."""
        with self._transaction():
            self._connection.execute("DELETE FROM rollouts WHERE project = ? AND version = ?", (project, version))

    def again(self, number: int, reason: str, *, delay: float = 0.0, further: bool = False) -> None:
        """Put a job whose training was killed back into the queue; it does the work of one that waits as well.

        Args:
            number: of the job.
            reason: what it waits for.
            delay: seconds before it may start.
            further: the training had got further than the one before it: its attempts are counted anew.
        """
        with self._transaction() as now:
            self._connection.execute(
                "UPDATE jobs SET state = 'cancelled', finished = ?, error = ? "
                "WHERE state = 'queued' AND project = (SELECT project FROM jobs WHERE id = ?)",
                (now, f"job {number} is started again and does the same", number),
            )
            self._connection.execute(
                "UPDATE jobs SET state = 'queued', waits_for = ?, due = ?, attempts = iif(?, 0, attempts) "
                "WHERE id = ? AND state = 'running'",
                (reason, now + delay, further, number),
            )

    def cancel(self, number: int) -> Job:
        """Want a job to stop: one that waits is cancelled at once, one that runs as soon as its training lets go.

        Raises:
            JobError: there is no such job, or it is over.
        """
        with self._transaction() as now:
            changed = self._connection.execute(
                "UPDATE jobs SET cancel = 1, state = iif(state = 'queued', 'cancelled', state), "
                "finished = iif(state = 'queued', ?, NULL) WHERE id = ? AND state IN ('queued', 'running')",
                (now, number),
            ).rowcount
        job = self.job(number)
        if not changed:
            raise JobError(f"job {number} is {job.state} already")
        return job

    def _want(self, project: int, reason: str, now: float) -> Job:
        waiting = self._connection.execute(
            "UPDATE jobs SET due = min(due, ?), reason = ? WHERE project = ? AND state = 'queued'",
            (now, reason, project),
        ).rowcount
        running = self._jobs_unlocked("WHERE state = 'running' AND project = ? AND NOT cancel", project)
        if not waiting:
            if running and not self._corrected(project):
                return running[0]
            self._insert(project, reason, now, now)
        job = self._open(project)
        assert job is not None
        return job

    def _correct(self, project: int, event: Mapping[str, Any], now: float) -> None:
        """Count what was annotated; enqueue a training where it is enough, or put the one that waits off."""
        annotations = [event.get("annotation"), *_list(event.get("annotations"))]
        real = [entry for entry in annotations if isinstance(entry, dict) and not entry.get("was_cancelled")]
        if not real:
            return
        task = _id(event.get("task"))
        items = []
        for entry in real:
            number = task if task is not None else _number(entry.get("task"))
            items.append((project, f"task {number}" if number is not None else f"annotation {_id(entry)}"))
        self._connection.executemany("INSERT OR IGNORE INTO corrections VALUES (?, ?)", items)
        count = self._corrected(project)
        if self._train_after is None or count < self._train_after:
            return
        reason, due = f"{count} tasks corrected", now + self._quiet
        changed = self._connection.execute(
            # a due time in the past was asked for: a correction does not put that off
            "UPDATE jobs SET due = min(?, enqueued + ?), reason = ? WHERE project = ? AND state = 'queued' AND due > ?",
            (due, LONGEST_WAIT * self._quiet, reason, project, now),
        ).rowcount
        if not changed and not self._jobs_unlocked("WHERE state = 'queued' AND project = ?", project):
            self._insert(project, reason, now, due)

    def _insert(self, project: int, reason: str, now: float, due: float) -> None:
        self._connection.execute(
            "INSERT INTO jobs (project, state, reason, enqueued, due) VALUES (?, 'queued', ?, ?, ?)",
            (project, reason, now, due),
        )

    def _open(self, project: int) -> Job | None:
        """Return a project's job that waits, else the one that runs, else None."""
        found = self._jobs_unlocked("WHERE project = ? AND state IN ('queued', 'running') ORDER BY state", project)
        return found[0] if found else None

    def _corrected(self, project: int) -> int:
        row = self._connection.execute("SELECT count(*) FROM corrections WHERE project = ?", (project,)).fetchone()
        return int(row[0])

    def _jobs(self, clause: str, *values: Any) -> list[Job]:
        with self._lock:
            return self._jobs_unlocked(clause, *values)

    def _jobs_unlocked(self, clause: str, *values: Any) -> list[Job]:
        rows = self._connection.execute(f"SELECT * FROM jobs {clause}", values).fetchall()
        return [_job(row) for row in rows]

    def _rows(self, query: str, *values: Any) -> list[Any]:
        with self._lock:
            return [tuple(row) for row in self._connection.execute(query, values).fetchall()]

    @contextmanager
    def _transaction(self) -> Iterator[float]:
        """Hold the right to write; give the time. All or nothing of the block is kept."""
        with self._lock, sqlite_files.transaction(self._connection):
            yield self._clock()


def _job(row: sqlite3.Row) -> Job:
    values = dict(row)
    result = values["result"]
    return Job(**{**values, "cancel": bool(values["cancel"]), "result": None if result is None else json.loads(result)})


def _utc(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _id(value: Any) -> int | None:
    return _number(value.get("id")) if isinstance(value, dict) else None


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else None
