"""What goes wrong between maskloop and Label Studio.

    MaskloopError
    └── StudioError               Label Studio cannot be reached, or refuses
        ├── StudioAuthError       it does not take the token
        ├── AddressError          a host that may not be asked (addresses.py)
        ├── ExchangeError         an exchange that was called off (transport.py)
        └── ImageError            a task's image cannot be had or read

Messages never contain tokens, passwords or label text, and addresses stand in them without their query.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

from maskloop_converters.errors import MaskloopError

# Label Studio serves files of its own disk here; `d` is the name.
LOCAL_FILES = "/data/local-files/"


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
    """A task's image cannot be had or read; the message names the task, the address and the reason.

    Attributes:
        logged: what the operator's log says instead, where annotators are not told what was found at an address.
    """

    def __init__(self, message: str, *, status: int | None = None, logged: str | None = None) -> None:
        super().__init__(message, status=status)
        self.logged = logged or message


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
    # the name of a file that Label Studio serves from its disk stands in the query, and nothing else of it is shown
    name = re.match(r"d=[^&]*", parts.query) if parts.path.endswith(LOCAL_FILES) else None
    return urlunsplit((parts.scheme, host + port, parts.path, name.group() if name else "", ""))[:200]


def without_queries(text: str) -> str:
    """Return a text whose URLs have lost query, fragment and user info: those carry signatures and passwords."""
    text = re.sub(r"(?<=://)[^/\s@]+@", "", text)
    return re.sub(r"(?<=[^\s?#])[?#][^\s'\"]+", _hidden, text)


def _hidden(query: re.Match[str]) -> str:
    name = re.match(r"\?d=[^&#]*", query.group())
    if name is None or not query.string[: query.start()].endswith(LOCAL_FILES):
        return "?..."
    return name.group() if name.group() == query.group() else name.group() + "&..."


def public_text(text: str) -> str:
    """Return what another program says, without the user and password of addresses in it, on one line of at most 500."""
    return " ".join(re.sub(r"://[^/\s@]*@", "://", text).split())[:500]


def last_line(text: str) -> str:
    """Return the last line of a traceback that Label Studio shows as an error's message; '' where there is none."""
    lines = text.strip().splitlines()
    return public_text(lines[-1]) if lines else ""


def http_address(url: str, option: str) -> str:
    """Return the address of a Label Studio without its trailing slash, checked to be one of http.

    What a browser shows while a project is open is such an address too: its end is cut off.

    Raises:
        StudioError: it has no scheme, no host or no valid port; the message names the option that it came from.
    """
    try:
        parts = urlsplit(url.strip())
        valid = parts.scheme.lower() in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise StudioError(f"{option}: expected an address such as http://localhost:8080, got {public_url(url)!r}")
    prefix = re.sub(r"/(projects|user)(/.*)?$", "", parts.path)
    return urlunsplit((parts.scheme, parts.netloc, prefix.rstrip("/"), "", ""))
