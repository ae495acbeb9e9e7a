"""Log lines that a machine can read: one event a line, then its fields as key=value."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

# Characters of a field: addresses and reasons may quote what somebody sent.
LONGEST = 500

logger = logging.getLogger("maskloop.serving")


def log(level: int, event: str, **fields: Any) -> None:
    """Write one line; values are quoted where needed, so that a field from outside cannot forge another line.

    Never pass bodies, tokens, label text or whole URLs.

    Args:
        level: of the logging module.
        event: what happened, a constant.
        fields: what to say of it; None is left out.
    """
    if logger.isEnabledFor(level):
        parts = [f"{key}={_quoted(value)}" for key, value in fields.items() if value is not None]
        logger.log(level, "%s", " ".join([event, *parts]))


def configure(level: int = logging.INFO, *, file: Path | None = None) -> None:
    """Send the server's log lines, and warnings of the HTTP server, to stderr or to the end of a file."""
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    for name in ("maskloop", "waitress"):
        target = logging.getLogger(name)
        target.handlers = [handler]
        target.propagate = False
        target.setLevel(level)
    # It counts waiting requests at every one; /metrics says the same.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)


def _quoted(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}... ({len(text)} characters)"
    if text and text.isascii() and text.isprintable() and not set(text) & set(' ="'):
        return text
    return json.dumps(text)
