"""Who may ask: HTTP basic auth, the only kind that Label Studio sends; without it, this machine under its own names."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and password that requests must carry.

    Attributes:
        user: name, without ':'.
        password: kept out of reprs and logs.
    """

    user: str
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        if ":" in self.user:
            raise ValueError("a basic-auth user may not contain ':' (RFC 7617)")
        if not self.user or not self.password:
            raise ValueError("basic auth needs a user and a password, neither of them empty")

    def accepts(self, header: str | None) -> bool:
        """Return whether an Authorization header carries these credentials.

        The comparison takes the same time wherever the first difference is. Label Studio (python-requests) encodes
        text as Latin-1, browsers and curl as UTF-8: both are accepted.

        Args:
            header: the header's value as WSGI gives it, None where the request has none.
        """
        scheme, _, encoded = (header or "").partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            given = base64.b64decode(encoded.strip().encode("latin-1"), validate=True)
        except (binascii.Error, UnicodeEncodeError):
            return False
        text = f"{self.user}:{self.password}"
        found = hmac.compare_digest(_digest(given), _digest(text.encode("utf-8")))
        # A text that Latin-1 cannot hold can only come as UTF-8; comparing it twice keeps the time the same.
        found |= hmac.compare_digest(_digest(given), _digest(_latin1_or_utf8(text)))
        return found


def is_loopback(host: str) -> bool:
    """Return whether a host, a name or a number, is this machine as only it sees itself."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def names_loopback(header: str | None) -> bool:
    """Return whether a Host header names this machine.

    A page on the internet can let its own name lead to 127.0.0.1 (DNS rebinding) and have the browser of whoever looks
    at it ask this server; the name it goes by stays in the header.

    Args:
        header: the header's value, None where the request has none: browsers always send one.
    """
    if header is None:
        return True
    host, colon, port = header.strip().rpartition(":")
    if not colon or not port.isdigit() or host.endswith(":"):
        host = header.strip()
    return is_loopback(host)


def _digest(value: bytes) -> bytes:
    """Return a hash, so that compared values always have one length."""
    return hashlib.sha256(value).digest()


def _latin1_or_utf8(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8")
