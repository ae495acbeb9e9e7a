"""Locks of the kernel on files: given back when a process dies, however it dies."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held(path: Path, *, busy: Exception | None = None) -> Iterator[None]:
    """Hold the only right to something, in this process or any other on this machine.

    Args:
        path: of the lock file; made where there is none, and its folder. It stays when the lock is given back.
        busy: raised where somebody else holds the lock; None waits for it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy is not None else 0))
        except BlockingIOError as error:
            if busy is None:
                raise
            raise busy from error
        yield
