"""`-` for a file: standard input is kept in a temporary file, and a file goes to standard output when it is whole."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import MaskloopError


@contextmanager
def source_path(name: str) -> Iterator[Path]:
    """Give the path of a source; for '-' a temporary JSON file with what comes in."""
    if name != "-":
        yield Path(name)
        return
    with tempfile.TemporaryDirectory(prefix="maskloop-") as folder:
        path = Path(folder) / "stdin.json"
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        with _called(path, "standard input"):
            yield path


@contextmanager
def target_path(name: str) -> Iterator[Path]:
    """Give the path of a target; for '-' a temporary JSON file that is printed when the block ends well."""
    if name != "-":
        yield Path(name)
        return
    with tempfile.TemporaryDirectory(prefix="maskloop-") as folder:
        path = Path(folder) / "stdout.json"
        with _called(path, "standard output"):
            yield path
        with path.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)


@contextmanager
def _called(path: Path, name: str) -> Iterator[None]:
    """Let errors say what a temporary file stands for, not where it was."""
    try:
        yield
    except MaskloopError as error:
        text = str(error).replace(str(path), name).replace(path.name, name)
        raise type(error)(text) from error
