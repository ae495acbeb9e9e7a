"""Log lines that a machine can read: one event a line, then its fields as key=value, or all of it as one JSON object."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import secrets
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TextIO

# Characters of a field: addresses and reasons may quote what somebody sent.
LONGEST = 500

Format = Literal["text", "json"]

logger = logging.getLogger("maskloop.serving")

# A request is answered by one thread, which this is set in; a server's own threads have none.
_request: ContextVar[str | None] = ContextVar("maskloop_request", default=None)
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def begin_request(given: str | None) -> str:
    """Give the request that this thread begins to answer a name, which its log lines as JSON carry; return it.

    Args:
        given: that a proxy gave it (X-Request-ID); taken where it is short and plain.
    """
    name = given if given is not None and _ID.fullmatch(given) else secrets.token_hex(8)
    _request.set(name)
    return name


def log(level: int, event: str, **fields: Any) -> None:
    """Write one line; values are quoted where needed, so that a field from outside cannot forge another line.

    Never pass bodies, tokens, label text or whole URLs.

    Args:
        level: of the logging module.
        event: what happened, a constant.
        fields: what to say of it; None is left out.
    """
    if logger.isEnabledFor(level):
        said = {key: value for key, value in fields.items() if value is not None}
        parts = [f"{key}={_quoted(value)}" for key, value in said.items()]
        logger.log(level, "%s", " ".join([event, *parts]), extra={"event": event, "fields": said})


class JsonFormatter(logging.Formatter):
    """One JSON object a line: 'time', 'level', 'logger', 'event', 'request' where there is one, then the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {"time": time, "level": record.levelname, "logger": record.name}
        line["event"] = getattr(record, "event", None) or record.getMessage()
        if (request := _request.get()) is not None:
            line["request"] = request
        for key, value in getattr(record, "fields", {}).items():
            line.setdefault(key, _plain(value))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True)


def configure(level: int = logging.INFO, *, file: Path | None = None, form: Format = "text") -> None:
    """Send the server's log lines, and warnings of the HTTP server, to stderr or to the end of a file.

    Args:
        level: of the logging module.
        file: None is stderr.
        form: 'text' for people, 'json' for programs that collect logs.
    """
    handler: logging.Handler = logging.StreamHandler(_stderr())
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(file, encoding="utf-8")
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    handler.setFormatter(JsonFormatter() if form == "json" else text)
    for name in ("maskloop", "waitress"):
        target = logging.getLogger(name)
        target.handlers = [handler]
        target.propagate = False
        target.setLevel(level)
    # It counts waiting requests at every one; /metrics says the same.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)


def _stderr() -> TextIO:
    """Return stderr, where it is the process' own by a descriptor of its own: lines come while libraries are kept quiet."""
    try:
        if sys.stderr.fileno() != 2:
            return sys.stderr
        return os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    except (OSError, ValueError):
        # closed, or replaced by what is no file
        return sys.stderr


def _plain(value: Any) -> Any:
    """Return a field as JSON has it: numbers as they are, everything else as short text."""
    if isinstance(value, bool | int):
        return value
    # JSON has no other numbers
    return float(f"{value:.6g}") if isinstance(value, float) and math.isfinite(value) else _short(str(value))


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text)} characters)"


def _quoted(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = _short(str(value))
    if text and text.isascii() and text.isprintable() and not set(text) & set(' ="'):
        return text
    return json.dumps(text)
