"""The log of what Label Studio reported by webhook: a SQLite file that only this server appends to."""

from __future__ import annotations

import os
import sqlite3
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

EVENTS_FILE = "events.sqlite3"

# Secrets that Label Studio puts into a project: its invite token and the password of its data source.
_SECRET_KEYS = frozenset({"token", "task_data_login", "task_data_password"})

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
  id INTEGER PRIMARY KEY,
  received TEXT NOT NULL,      -- UTC, ISO 8601
  action TEXT NOT NULL,        -- 'ANNOTATION_CREATED', ...
  project INTEGER,
  task INTEGER,
  payload BLOB NOT NULL        -- JSON as it came, less the project's secrets
)
"""


class EventLog:
    """Appends events in milliseconds.

    Label Studio holds the annotator's submit for as long as this takes, at most 1 s, and does not send an event again.
    Write-ahead logging without a sync at every commit: an event survives this process, however it dies; a power cut may
    take the last few.
    """

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        path = home / EVENTS_FILE
        # Annotations are nobody else's business on a shared machine; SQLite gives its side files the same mode.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=0.5)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.execute(_SCHEMA)

    def append(self, event: dict[str, Any]) -> int:
        """Store one event and return its number.

        Args:
            event: the webhook's body, parsed.

        Raises:
            sqlite3.Error: the disk is full or the file is locked or damaged.
        """
        project = event.get("project")
        if isinstance(project, dict):
            event = event | {"project": {key: value for key, value in project.items() if key not in _SECRET_KEYS}}
        row = (
            datetime.now(UTC).isoformat(timespec="milliseconds"),
            event["action"],
            _id(event.get("project")),
            _id(event.get("task")),
            orjson.dumps(event),
        )
        with self._lock:
            cursor = self._connection.execute(
                "INSERT INTO events (received, action, project, task, payload) VALUES (?, ?, ?, ?, ?)", row
            )
        number = cursor.lastrowid
        assert number is not None
        return number

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()


def _id(value: Any) -> int | None:
    number = value.get("id") if isinstance(value, dict) else None
    return number if isinstance(number, int) and abs(number) < 2**63 else None
