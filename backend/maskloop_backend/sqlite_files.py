"""SQLite files of the home directory: for their owner's eyes, by any thread, changed all or not at all."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def connect(path: Path, schema: str, *, timeout: float) -> sqlite3.Connection:
    """Open a file, made where there is none; rows have names, and foreign keys are kept.

    Write-ahead logging without a sync at every commit: what is committed survives the process, however it dies; a power cut
    may take the last second. Any thread may use the connection, one at a time: the caller's lock sees to that.

    Args:
        path: of the file; its folder is there.
        schema: statements that make what is not there yet.
        timeout: seconds to wait for another process.

    Raises:
        OSError: the file cannot be made or opened.
        sqlite3.Error: it is no database, or it is locked or damaged.
    """
    # nobody else's business on a shared machine; SQLite gives its side files the same mode
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=timeout)
    connection.row_factory = sqlite3.Row
    try:
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")
        connection.executescript(schema)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Hold the right to write; all or nothing of the block is kept."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # SQLite has rolled back by itself where the disk is full
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def reason(error: OSError | sqlite3.Error) -> str:
    """Return what went wrong, without the path that the message names anyway."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
