"""What goes wrong between maskloop and Label Studio.

    MaskloopError
    └── StudioError               Label Studio cannot be reached, or refuses
        ├── StudioAuthError       it does not take the token
        └── ImageError            a task's image cannot be had or read

Messages never contain tokens, passwords or label text, and addresses stand in them without their query.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

from maskloop_converters.errors import MaskloopError


class StudioError(MaskloopError):
    """Label Studio cannot be reached, or refuses what was asked of it.

    Attributes:
        status: HTTP status of its answer, None where there was none.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class StudioAuthError(StudioError):
    """Label Studio does not take the token; the message says which kind it was and the fix."""


class ImageError(StudioError):
    """A task's image cannot be had or read; the message names the task, the address and the reason."""


def public_url(url: str) -> str:
    """Return an address that may be shown: no user, password, query or fragment; data URIs cut to their type."""
    if url.startswith("data:"):
        return url.split(",", 1)[0][:40] + ",..."
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(malformed address)"
    return urlunsplit((parts.scheme, host + port, parts.path, "", ""))[:200]


def public_text(text: str) -> str:
    """Return what another program says, without the user and password of addresses in it, on one line of at most 500."""
    return " ".join(re.sub(r"://[^/\s@]*@", "://", text).split())[:500]


def last_line(text: str) -> str:
    """Return the last line of a traceback that Label Studio shows as an error's message; '' where there is none."""
    lines = text.strip().splitlines()
    return public_text(lines[-1]) if lines else ""


def http_address(url: str, option: str) -> str:
    """Return an address without its trailing slash, checked to be one of http.

    Raises:
        StudioError: it has no scheme, no host or no valid port; the message names the option that it came from.
    """
    try:
        parts = urlsplit(url.strip())
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise StudioError(f"{option}: expected an address such as http://localhost:8080, got {public_url(url)!r}")
    return url.strip().rstrip("/")
