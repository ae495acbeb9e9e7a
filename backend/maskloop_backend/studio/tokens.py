"""Label Studio's two kinds of tokens, as httpx authentication.

A legacy token (40 hex digits) is sent as it is. A personal access token is a JSON Web Token that Label Studio takes
only in exchange for an access token, which lives 300 seconds; it is fetched anew before that.
"""

from __future__ import annotations

import base64
import binascii
import json
import threading
import time
from collections.abc import Generator
from typing import Any, Literal

import httpx

from .errors import StudioAuthError, StudioError, public_url
from .transport import Exchange, LimitedTransport

TokenKind = Literal["legacy", "personal access", "access"]
# Seconds before its end at which an access token is replaced: a slow request must not outlive it.
RENEW_BEFORE = 60.0
# What fetching one may take, and its answer.
RENEW_SECONDS = 30.0
RENEW_BYTES = 1 << 20


def token_kind(token: str) -> TokenKind:
    """Return what kind of token this is, by its form: a JSON Web Token has three parts and says its type."""
    parts = token.split(".")
    if len(parts) != 3:
        return "legacy"
    return "access" if _claims(token).get("token_type") == "access" else "personal access"


class TokenAuth(httpx.Auth):
    """Sends a Label Studio token of any kind; thread-safe.

    Args:
        studio_url: where Label Studio answers, without a trailing slash.
        token: legacy, personal access or access token.
        transport: sends the request for an access token; None makes one.
    """

    def __init__(self, studio_url: str, token: str, transport: LimitedTransport | None = None) -> None:
        self._url = studio_url.rstrip("/")
        self._token = token.strip()
        if not self._token or not self._token.isascii() or any(c.isspace() or not c.isprintable() for c in self._token):
            raise StudioAuthError(
                "the Label Studio token has spaces or other characters that no token has; copy it anew from "
                "Account & Settings into MASKLOOP_STUDIO_TOKEN"
            )
        self.kind = token_kind(self._token)
        self._transport = transport
        self._lock = threading.Lock()
        self._access = ""
        self._renew_at = 0.0

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the header; with a personal access token, renew the access token once when it is refused."""
        request.headers["Authorization"] = self.header()
        response = yield request
        if response.status_code == 401 and self.kind == "personal access":
            request.headers["Authorization"] = self.header(renew=True)
            yield request

    def header(self, *, renew: bool = False) -> str:
        """Return the value of the Authorization header.

        Args:
            renew: fetch a new access token even if the last one should still be good.

        Raises:
            StudioAuthError: Label Studio refuses the personal access token.
            StudioError: Label Studio cannot be reached.
        """
        if self.kind == "legacy":
            return f"Token {self._token}"
        if self.kind == "access":
            return f"Bearer {self._token}"
        with self._lock:
            if renew or time.monotonic() >= self._renew_at:
                self._access = self._fetch_access()
                claims = _claims(self._access)
                lifetime = float(claims.get("exp", 300)) - float(claims.get("iat", 0)) if "exp" in claims else 300.0
                self._renew_at = time.monotonic() + max(0.0, lifetime - RENEW_BEFORE)
            return f"Bearer {self._access}"

    def _fetch_access(self) -> str:
        url = f"{self._url}/api/token/refresh/"
        try:
            self._transport = self._transport or LimitedTransport()
            request = httpx.Request("POST", url, json={"refresh": self._token}, headers={"Accept-Encoding": "identity"})
            with Exchange(RENEW_SECONDS, RENEW_BYTES) as exchange:
                answer = self._transport.handle_request(request)
                answer.request = request
                answer.read()
                exchange.check()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise StudioError(f"Label Studio does not answer at {public_url(url)}: {type(error).__name__}") from error
        if answer.status_code in (400, 401, 403):
            raise StudioAuthError(
                f"Label Studio at {public_url(self._url)} refuses the personal access token ({answer.status_code}): it may be "
                "expired, rotated or of another Label Studio; make one under Account & Settings > Personal Access Token",
                status=answer.status_code,
            )
        try:
            return str(answer.raise_for_status().json()["access"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise StudioError(
                f"{public_url(url)} did not give an access token (status {answer.status_code}); is this a Label Studio 1.20 or newer?",
                status=answer.status_code,
            ) from error


def _claims(token: str) -> dict[str, Any]:
    """Return what a JSON Web Token says of itself, unverified; {} where it is none."""
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError, binascii.Error):
        return {}
    return claims if isinstance(claims, dict) else {}
