"""JSON files that are read whole: an image's, or those of a small dataset. json_stream.py reads what is larger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import FormatError

#: Of a file, in bytes: images may stand in it.
LARGEST = 1 << 29
_END = 1 << 16


def json_object(path: Path) -> dict[str, Any]:
    """Return the object that a file is; FormatError names the file and what is wrong with it."""
    try:
        if path.stat().st_size > LARGEST:
            raise FormatError(f"{path}: {path.stat().st_size} bytes are more than the {LARGEST} allowed")
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise FormatError(f"{path}: cannot read it: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: not JSON, perhaps truncated: {error}") from error
    if not isinstance(document, dict):
        raise FormatError(f"{path}: expected an object, received {document!r:.80}")
    return document


def ends_of(path: Path) -> str:
    """Return the beginning and the end of a file, 64 KiB each, for a look at what it is; '' where it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(_END)
            if len(head) == _END:
                file.seek(max(_END, path.stat().st_size - _END))
                head += file.read(_END)
    except OSError:
        return ""
    return head.decode("utf-8", "replace")
