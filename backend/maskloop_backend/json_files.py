"""Small JSON files that somebody else may have written or damaged: read without surprises."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any, NoReturn


def read_json(path: Path, *, most: int) -> Any:
    """Return what a JSON file says.

    Args:
        path: a regular file; a pipe or a device, which might never end, is not opened.
        most: its size in bytes at most.

    Raises:
        FileNotFoundError: there is none.
        OSError: it cannot be read.
        ValueError: it is no regular file, too big, nested too deeply, no JSON, or has numbers that JSON has not.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is no regular file")
    if status.st_size > most:
        raise ValueError(f"it has {status.st_size} bytes, the most is {most}")
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")
