"""Folders for what is needed once: gone when they are left, and by the next one where a process was killed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..locks import held

_LOCK = ".lock"


class _InUseError(Exception):
    """Another process works in the folder."""


@contextmanager
def set_aside(directory: Path, what: str) -> Iterator[Path]:
    """Give a new folder in a directory, removed at the end.

    Those of the same kind that a killed process left over (kill -9, no power) are removed first; those of processes that
    live, on this machine, are not.

    Args:
        directory: made where it is not there.
        what: the folders are called ``<what>-<random>``.
    """
    with ExitStack() as stack:
        # nobody finds a folder before its lock is held
        with held(directory / f".{what}.lock"):
            for left in directory.glob(f"{what}-*"):
                _remove_unused(left)
            folder = Path(tempfile.mkdtemp(prefix=f"{what}-", dir=directory))
            stack.enter_context(held(folder / _LOCK))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield folder


def _remove_unused(folder: Path) -> None:
    if not folder.is_dir():
        return
    try:
        with held(folder / _LOCK, busy=_InUseError()):
            shutil.rmtree(folder, ignore_errors=True)
    except (_InUseError, OSError):
        return
