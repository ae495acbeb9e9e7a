"""Task images: from whatever address stands in a task to an RGB array in the frame that annotators see."""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import httpx
import numpy as np
from numpy.typing import NDArray

from maskloop_converters.codecs import pictures
from maskloop_converters.errors import CodecError

from .errors import ImageError, StudioError, public_url
from .tokens import TokenAuth

MAX_BYTES = 64 << 20
MAX_PIXELS = 64_000_000
# Schemes that Label Studio resolves through the project's cloud storage.
CLOUD_SCHEMES = ("s3", "s3s", "gs", "azure-blob", "azure-spi", "databricks", "redis")
# Seconds for a whole download, however slowly it drips.
DOWNLOAD_SECONDS = 90.0
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_MAX_REDIRECTS = 5
_REASONS = {
    401: "Label Studio or the image's host wants a valid token (set --studio-token or MASKLOOP_STUDIO_TOKEN)",
    403: "access is forbidden: the token's user, or the storage, does not allow it",
    404: "there is no such file",
}


@dataclass(frozen=True, slots=True, eq=False)
class TaskImage:
    """A task's image.

    Attributes:
        array: uint8 (H, W, 3) RGB, after EXIF rotation: the frame in which Label Studio's editor shows and stores masks.
        sha256: of the encoded bytes, 64 hex digits.
    """

    array: NDArray[np.uint8]
    sha256: str


@dataclass(slots=True)
class ImageFetcher:
    """Fetches task images; thread-safe.

    The token is sent to Label Studio's own host only. Addresses in tasks are followed wherever they lead, private networks
    included, because that is where images often are: whoever may write tasks may have the server fetch from there.

    Args:
        studio_url: where Label Studio answers, a path prefix kept; None if it is unknown.
        token: legacy or personal access token; None if there is none.
        max_bytes: of one encoded image.
        max_pixels: of one decoded image, height times width.
    """

    studio_url: str | None
    token: str | None = field(repr=False)
    max_bytes: int = MAX_BYTES
    max_pixels: int = MAX_PIXELS
    _auth: TokenAuth | None = field(init=False, repr=False, default=None)
    _client: httpx.Client = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.studio_url = self.studio_url.rstrip("/") if self.studio_url else None
        if self.studio_url and self.token:
            self._auth = TokenAuth(self.studio_url, self.token)
        self._client = httpx.Client(timeout=_TIMEOUT, follow_redirects=True, max_redirects=_MAX_REDIRECTS)

    def fetch(self, task: dict[str, Any], key: str) -> TaskImage:
        """Return the image of a task.

        Args:
            task: as Label Studio sends it.
            key: of ``task["data"]`` where the address stands.

        Raises:
            ImageError: it cannot be had or read; the message names the task, the address and the reason.
        """
        encoded, where = self._encoded(task, key)
        return TaskImage(decode(encoded, where, max_pixels=self.max_pixels), hashlib.sha256(encoded).hexdigest())

    def read(self, task: dict[str, Any], key: str) -> bytes:
        """Return the image of a task as it is stored, not decoded; see :meth:`fetch`."""
        return self._encoded(task, key)[0]

    def _encoded(self, task: dict[str, Any], key: str) -> tuple[bytes, str]:
        """Return a task's encoded image, and what to call it in an error."""
        data = task.get("data")
        address = data.get(key) if isinstance(data, dict) else None
        where = f"task {task.get('id', '?')}"
        if not isinstance(address, str) or not address:
            raise ImageError(f"{where}: its data has no image address under the key {key!r} of the label config")
        where = f"{where}, {public_url(address)}"
        if address.startswith("data:"):
            return self._data_uri(address, where), where
        return self._download(task, address, where), where

    def resolve(self, task: dict[str, Any], address: str, where: str = "") -> str:
        """Return the http(s) address behind what stands in a task.

        Raises:
            ImageError: its scheme is unknown, or Label Studio's own address is.
        """
        scheme = address.partition("://")[0].lower() if "://" in address else ""
        if scheme in {"http", "https"}:
            return address
        if not address.startswith("/") and scheme not in CLOUD_SCHEMES:
            raise ImageError(
                f"{where}: expected an address that starts with http(s)://, /data/, data: or a cloud storage's scheme"
            )
        if self.studio_url is None:
            raise ImageError(
                f"{where}: where Label Studio answers is not known; set --studio-url or MASKLOOP_STUDIO_URL"
            )
        if scheme:
            coded = base64.urlsafe_b64encode(address.encode()).decode()
            return f"{self.studio_url}/tasks/{task.get('id')}/presign/?fileuri={coded}"
        parts = urlsplit(self.studio_url)
        # Label Studio under a path prefix writes some addresses with and some without it
        if parts.path and address.startswith(parts.path + "/"):
            return f"{parts.scheme}://{parts.netloc}{address}"
        return self.studio_url + address

    def _download(self, task: dict[str, Any], address: str, where: str) -> bytes:
        url = self.resolve(task, address, where)
        deadline = time.monotonic() + DOWNLOAD_SECONDS
        try:
            auth = self._auth if self._is_studio(url) else None
            with self._client.stream("GET", url, auth=auth) as answer:
                if answer.status_code != 200:
                    reason = _REASONS.get(answer.status_code, "its host does not give it out")
                    raise ImageError(f"{where}: HTTP {answer.status_code}: {reason}", status=answer.status_code)
                return self._read(answer, where, deadline)
        except httpx.TooManyRedirects as error:
            raise ImageError(f"{where}: more than {_MAX_REDIRECTS} redirects") from error
        except httpx.TimeoutException as error:
            raise ImageError(f"{where}: its host does not answer in time") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ImageError(f"{where}: it cannot be fetched: {type(error).__name__}: {error}") from error
        except ImageError:
            raise
        except StudioError as error:
            raise ImageError(f"{where}: {error}", status=error.status) from error

    def _read(self, answer: httpx.Response, where: str, deadline: float) -> bytes:
        chunks: list[bytes] = []
        size = 0
        for chunk in answer.iter_bytes():
            size += len(chunk)
            if size > self.max_bytes:
                raise ImageError(f"{where}: larger than the limit of {self.max_bytes >> 20} MiB")
            if time.monotonic() > deadline:
                raise ImageError(f"{where}: the download took more than {DOWNLOAD_SECONDS:.0f} s")
            chunks.append(chunk)
        return b"".join(chunks)

    def _data_uri(self, address: str, where: str) -> bytes:
        head, comma, body = address.partition(",")
        if not comma or len(body) > 2 * self.max_bytes:
            raise ImageError(f"{where}: a malformed or too large data URI")
        try:
            return base64.b64decode(body, validate=True) if head.endswith(";base64") else unquote_to_bytes(body)
        except (binascii.Error, ValueError) as error:
            raise ImageError(f"{where}: malformed base64 in a data URI") from error

    def _is_studio(self, url: str) -> bool:
        if self.studio_url is None:
            return False
        ours, theirs = httpx.URL(self.studio_url), httpx.URL(url)
        return (ours.scheme, ours.host, ours.port) == (theirs.scheme, theirs.host, theirs.port)


def decode(encoded: bytes, where: str, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Return an encoded image as uint8 (H, W, 3) RGB in the frame that a browser shows; see :func:`pictures.decode`.

    Args:
        encoded: JPEG, PNG, WebP, TIFF, BMP, GIF or AVIF.
        where: what to call it in an error.
        max_pixels: more are refused before anything is decoded.

    Raises:
        ImageError: empty, not an image, truncated or too large.
    """
    try:
        return pictures.decode(encoded, max_pixels=max_pixels)
    except CodecError as error:
        raise ImageError(f"{where}: {error}") from error
