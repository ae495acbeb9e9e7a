"""Task images: from whatever address stands in a task to an RGB array in the frame that annotators see."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, unquote_to_bytes, urlsplit

import httpx
import numpy as np
from numpy.typing import NDArray

from maskloop_converters.codecs import pictures
from maskloop_converters.errors import CodecError

from .addresses import AddressError, AddressPolicy, origin
from .errors import ImageError, StudioError, public_url
from .tokens import TokenAuth
from .transport import Exchange, ExchangeError, LimitedTransport, Traffic

MAX_BYTES = 64 << 20
MAX_PIXELS = 64_000_000
# Schemes that Label Studio resolves through the project's cloud storage.
CLOUD_SCHEMES = ("s3", "s3s", "gs", "azure-blob", "azure-spi", "databricks", "redis")
# Seconds for a whole download on the wall clock, redirects and waiting for Label Studio's tokens included.
DOWNLOAD_SECONDS = 90.0
_MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
# Where Label Studio has images. Nothing else of it is asked with a token because it stands in a task.
_IMAGE_PATHS = re.compile(r"/(data|storage-data)/.+|/(tasks|projects)/\d+/(presign|resolve)/?")
_REASONS = {
    401: "Label Studio or the image's host wants a valid token (set --studio-token or MASKLOOP_STUDIO_TOKEN, and --studio-url: "
    "the token goes to that address only)",
    403: "access is forbidden: the token's user, or the storage, does not allow it",
    404: "there is no such file",
}
_NO_STORAGE = (
    "Label Studio finds no such file in a storage of this project; connect the storage under Settings > Cloud Storage, "
    "or correct the address"
)
_DISCREET = (
    "no image comes from there. Open the address in a browser; if it shows, ask who runs the model backend whether it may "
    "fetch from that host (--allow-hosts)"
)


@dataclass(frozen=True, slots=True, eq=False)
class TaskImage:
    """A task's image.

    Attributes:
        array: uint8 (H, W, 3) RGB, after EXIF rotation: the frame in which Label Studio's editor shows and stores masks.
        sha256: of the encoded bytes, 64 hex digits.
    """

    array: NDArray[np.uint8]
    sha256: str


@dataclass(frozen=True, slots=True)
class Source:
    """Where the next request for an image goes.

    Attributes:
        where: task and address, for reasons.
        url: http(s); None where the image stands in the task itself.
        cloud: whether it is Label Studio's way to a cloud storage.
        hops: redirects that were followed.
        data: the task's data URI.
    """

    where: str
    url: str | None = None
    cloud: bool = False
    hops: int = 0
    data: str = field(default="", repr=False)

    @property
    def host(self) -> str:
        """Host and port of the request, '' without one."""
        return "" if self.url is None else "{1}:{2}".format(*origin(self.url))


@dataclass(slots=True)
class ImageFetcher:
    """Fetches task images; thread-safe.

    The token is sent to Label Studio's own address only, and only for the paths where it has images. Other addresses in
    tasks are followed without it, as far as the policy allows; reasons do not tell what answers on a private network.

    Args:
        studio_url: where Label Studio answers, a path prefix kept; None if it is unknown.
        token: legacy or personal access token; None if there is none.
        max_bytes: of one encoded image.
        max_pixels: of one decoded image, height times width.
        policy: of addresses; None allows every one.
        seconds: for a whole download.
    """

    studio_url: str | None
    token: str | None = field(repr=False)
    max_bytes: int = MAX_BYTES
    max_pixels: int = MAX_PIXELS
    policy: AddressPolicy | None = None
    seconds: float = DOWNLOAD_SECONDS
    _policy: AddressPolicy = field(init=False, repr=False)
    _auth: TokenAuth | None = field(init=False, repr=False, default=None)
    _transport: LimitedTransport = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.studio_url = self.studio_url.rstrip("/") if self.studio_url else None
        self._policy = self.policy or AddressPolicy()
        self._transport = LimitedTransport(self._policy)
        if self.studio_url and self.token:
            self._auth = TokenAuth(self.studio_url, self.token, self._transport)

    def fetch(self, task: dict[str, Any], key: str) -> TaskImage:
        """Return the image of a task.

        Args:
            task: as Label Studio sends it.
            key: of ``task["data"]`` where the address stands.

        Raises:
            ImageError: it cannot be had or read; the message names the task, the address and the reason.
        """
        source = self.source(task, key)
        encoded = self.download(source)
        return TaskImage(self.decode(encoded, source), hashlib.sha256(encoded).hexdigest())

    def read(self, task: dict[str, Any], key: str) -> bytes:
        """Return the image of a task as it is stored, not decoded; see :meth:`fetch`."""
        return self.download(self.source(task, key))

    def source(self, task: dict[str, Any], key: str) -> Source:
        """Return where a task's image is to be had, without asking anybody.

        Raises:
            ImageError: no address, or one that leads nowhere.
        """
        data = task.get("data")
        address = data.get(key) if isinstance(data, dict) else None
        number = task.get("id", "?")
        where = f"task {number if isinstance(number, int | str) else '?'}"[:60]
        if not isinstance(address, str) or not address:
            raise ImageError(f"{where}: its data has no image address under the key {key!r} of the label config")
        where = f"{where}, {public_url(address)}"
        if address.startswith("data:"):
            return Source(where, data=address)
        return _source(where, self.resolve(task, address, where), cloud=_scheme(address) in CLOUD_SCHEMES)

    def exchange(self, traffic: Traffic | None = None) -> Exchange:
        """Return the limits of one download: time and bytes, and bytes shared with others."""
        return Exchange(self.seconds, self.max_bytes, what="the download", traffic=traffic)

    def download(self, source: Source) -> bytes:
        """Return the encoded image behind a source, redirects followed.

        Raises:
            ImageError: it cannot be had.
        """
        exchange = self.exchange()
        while True:
            found = self.step(source, exchange)
            if isinstance(found, bytes):
                return found
            source = found

    def step(self, source: Source, exchange: Exchange) -> bytes | Source:
        """Send one request; return the encoded image, or the source that the answer redirects to.

        Raises:
            ImageError: it cannot be had, or the exchange was called off.
        """
        if source.url is None:
            return self._data_uri(source)
        try:
            with exchange:
                return self._answer(source, source.url, exchange)
        except ImageError as error:
            raise self._said(source, error) from error
        except AddressError as error:
            raise ImageError(f"{source.where}: {_DISCREET}", logged=f"{source.where}: {error}") from error
        except httpx.TimeoutException as error:
            raise self._said(source, ImageError(f"{source.where}: its host does not answer in time")) from error
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, zlib.error) as error:
            reason = f"{source.where}: it cannot be fetched: {type(error).__name__}: {error}"
            raise self._said(source, ImageError(reason)) from error
        except ExchangeError as error:
            raise self._said(source, ImageError(f"{source.where}: {error}")) from error
        except StudioError as error:
            raise self._said(source, ImageError(f"{source.where}: {error}", status=error.status)) from error

    def decode(self, encoded: bytes, source: Source, room: pictures.Room = nullcontext) -> NDArray[np.uint8]:
        """Return an encoded image as uint8 (H, W, 3) RGB; see :func:`decode`.

        Raises:
            ImageError: empty, not an image, damaged or too large.
        """
        try:
            return decode(encoded, source.where, max_pixels=self.max_pixels, room=room)
        except ImageError as error:
            raise self._said(source, error) from error

    def resolve(self, task: dict[str, Any], address: str, where: str = "") -> str:
        """Return the http(s) address behind what stands in a task.

        Raises:
            ImageError: its scheme is unknown, or Label Studio's own address is.
        """
        scheme = _scheme(address)
        if scheme in {"http", "https"}:
            return self._own_name(address, where)
        if not address.startswith("/") and scheme not in CLOUD_SCHEMES:
            raise ImageError(
                f"{where}: expected an address that starts with http(s)://, /data/, data: or a cloud storage's scheme"
            )
        if self.studio_url is None:
            raise ImageError(
                f"{where}: where Label Studio answers is not known; set --studio-url or MASKLOOP_STUDIO_URL"
            )
        if scheme:
            number = task.get("id")
            if isinstance(number, bool) or not re.fullmatch(r"[0-9]{1,18}", str(number)):
                raise ImageError(f"{where}: Label Studio is asked for it by the task's id, which is no number")
            coded = base64.urlsafe_b64encode(address.encode("utf-8", "surrogatepass")).decode()
            return f"{self.studio_url}/tasks/{number}/presign/?fileuri={coded}"
        parts = urlsplit(self.studio_url)
        # Label Studio under a path prefix writes some addresses with and some without it
        if parts.path and address.startswith(parts.path + "/"):
            return f"{parts.scheme}://{parts.netloc}{address}"
        return self.studio_url + address

    def _own_name(self, address: str, where: str) -> str:
        """Return an address with Label Studio's host as the operator wrote it, where it is that under another name."""
        try:
            same = self.studio_url is not None and origin(address) == origin(self.studio_url)
            if not same or self.studio_url is None:
                return address
            ours, theirs = urlsplit(self.studio_url), urlsplit(address)
            return theirs._replace(scheme=ours.scheme, netloc=ours.netloc).geturl()
        except ValueError as error:
            raise ImageError(f"{where}: a malformed address") from error

    def _answer(self, source: Source, url: str, exchange: Exchange) -> bytes | Source:
        auth = self._auth if self._takes_token(url) else None
        headers = {"Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity", "User-Agent": "maskloop"}
        answer = self._get(url, headers | ({"Authorization": auth.header()} if auth else {}))
        if answer.status_code == 401 and auth is not None and auth.kind == "personal access":
            answer.close()
            answer = self._get(url, headers | {"Authorization": auth.header(renew=True)})
        try:
            status = answer.status_code
            if status in _REDIRECTS and "Location" in answer.headers:
                if source.hops == _MAX_REDIRECTS:
                    raise ImageError(f"{source.where}: more than {_MAX_REDIRECTS} redirects")
                target = str(httpx.URL(url).join(answer.headers["Location"]))
                if _scheme(target) not in {"http", "https"}:
                    raise ImageError(f"{source.where}: it leads to an address that is not one of http(s)")
                return _source(source.where, self._own_name(target, source.where), hops=source.hops + 1)
            if status != 200:
                reason = _REASONS.get(status, "its host does not give it out")
                if status == 404 and source.cloud:
                    reason = _NO_STORAGE
                raise ImageError(f"{source.where}: HTTP {status}: {reason}", status=status)
            return self._body(answer, source.where, exchange)
        finally:
            answer.close()

    def _get(self, url: str, headers: dict[str, str]) -> httpx.Response:
        # no client: cookies, netrc and redirects of its own are not wanted
        return self._transport.handle_request(httpx.Request("GET", url, headers=headers))

    def _body(self, answer: httpx.Response, where: str, exchange: Exchange) -> bytes:
        announced = answer.headers.get("Content-Length", "")
        if announced.isdigit() and len(announced) < 20 and int(announced) > self.max_bytes:
            raise self._too_large(where)
        pieces: list[bytes] = []
        size = 0
        try:
            for piece in self._pieces(answer, where):
                size += len(piece)
                if size > self.max_bytes:
                    raise self._too_large(where)
                pieces.append(piece)
        except (httpx.HTTPError, zlib.error):
            exchange.check()
            raise
        # a connection that was shut down looks like the end of a body without a length
        exchange.check()
        return b"".join(pieces)

    def _pieces(self, answer: httpx.Response, where: str) -> Iterator[bytes]:
        """Yield the body; one that was compressed although nobody asked never by more than is allowed at once."""
        coding = answer.headers.get("Content-Encoding", "identity").strip().lower()
        if coding in ("identity", ""):
            yield from answer.iter_raw()
            return
        if coding not in ("gzip", "x-gzip"):
            raise ImageError(f"{where}: its host sends it encoded in a way that was not asked for; store it as it is")
        inflater = zlib.decompressobj(31)
        for piece in answer.iter_raw():
            yield inflater.decompress(piece, self.max_bytes + 1)
            if inflater.unconsumed_tail:
                raise self._too_large(where)

    def _too_large(self, where: str) -> ImageError:
        return ImageError(f"{where}: larger than the limit of {self.max_bytes >> 20} MiB")

    def _data_uri(self, source: Source) -> bytes:
        head, comma, body = source.data.partition(",")
        if not comma or len(body) > 2 * self.max_bytes:
            raise ImageError(f"{source.where}: a malformed or too large data URI")
        try:
            return base64.b64decode(body, validate=True) if head.endswith(";base64") else unquote_to_bytes(body)
        except (binascii.Error, ValueError) as error:
            raise ImageError(f"{source.where}: malformed base64 in a data URI") from error

    def _takes_token(self, url: str) -> bool:
        """Return whether a request is to Label Studio itself, for a path where it has images."""
        if self.studio_url is None or origin(url) != origin(self.studio_url):
            return False
        prefix, path = urlsplit(self.studio_url).path, urlsplit(url).path
        if not path.startswith(prefix + "/"):
            return False
        path = path[len(prefix) :]
        for _ in range(4):
            path, coded = unquote(path), path
            if path == coded:
                break
        else:
            return False
        # what a proxy or server in front might make another path of
        if "\\" in path or any(part in (".", "..", "") for part in path.strip("/").split("/")):
            return False
        return _IMAGE_PATHS.fullmatch(path) is not None

    def _said(self, source: Source, error: ImageError) -> ImageError:
        """Return an error as annotators may read it: the reason, or only what to do."""
        if source.url is None:
            return error
        _, host, port = origin(source.url)
        ours = self.studio_url is not None and origin(source.url) == origin(self.studio_url)
        # where Label Studio is may be what /setup said, and anybody may say that
        if (ours and not self._policy.restricts) or not self._policy.discreet(host, port):
            return error
        return ImageError(f"{source.where}: {_DISCREET}", status=error.status, logged=error.logged)


def _source(where: str, url: str, *, cloud: bool = False, hops: int = 0) -> Source:
    """Return a source whose address has a host and a port.

    Raises:
        ImageError: it has not.
    """
    try:
        scheme, host, _ = origin(url)
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL) as error:
        raise ImageError(f"{where}: a malformed address") from error
    if scheme not in {"http", "https"} or not host:
        raise ImageError(f"{where}: a malformed address, expected http(s)://host/...")
    return Source(where, url, cloud, hops)


def decode(
    encoded: bytes, where: str, *, max_pixels: int = MAX_PIXELS, room: pictures.Room = nullcontext
) -> NDArray[np.uint8]:
    """Return an encoded image as uint8 (H, W, 3) RGB in the frame that a browser shows; see :func:`pictures.decode`.

    Args:
        encoded: JPEG, PNG, WebP, TIFF, BMP, GIF or AVIF.
        where: what to call it in an error.
        max_pixels: more are refused before anything is decoded.
        room: is entered with the bytes that decoding takes at most.

    Raises:
        ImageError: empty, not an image, truncated or too large.
    """
    try:
        return pictures.decode(encoded, max_pixels=max_pixels, room=room)
    except CodecError as error:
        raise ImageError(f"{where}: {error}") from error


def _scheme(address: str) -> str:
    return address.partition("://")[0].lower() if "://" in address else ""
