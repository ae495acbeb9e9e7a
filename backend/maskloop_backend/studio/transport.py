"""HTTP that ends: an exchange has a deadline on the wall clock, can be called off, and connects where it may only.

Timeouts of a read do not bound a host that sends a byte a second, `102 Processing` for ever, or a TLS handshake that
drips. So the connection itself is shut down when the time is up or nobody waits any more, whatever is being read.
Names are resolved here, checked, and the checked number is connected to.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterable
from contextvars import ContextVar, Token
from typing import Any

import httpcore
import httpx

from .addresses import AddressPolicy
from .errors import StudioError

# Beside a body of the allowed size: status lines and headers, also of redirects and of 1xx answers.
_HEADER_BYTES = 1 << 20
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)

_current: ContextVar[Exchange | None] = ContextVar("exchange", default=None)


class ExchangeError(StudioError):
    """An exchange that was called off: its time is up, it became too large, or nobody waits for it."""


class Traffic:
    """The bytes that several exchanges hold together; above the limit the largest one is called off.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._held: dict[Exchange, int] = {}

    def hold(self, exchange: Exchange, size: int) -> None:
        """Note that an exchange holds so many bytes more."""
        with self._lock:
            self._held[exchange] = self._held.get(exchange, 0) + size
            if sum(self._held.values()) <= self._limit:
                return
            largest = max(self._held, key=self._held.__getitem__)
            del self._held[largest]
        largest.stop("too many large images are being fetched at once; try again in a moment")

    def drop(self, exchange: Exchange) -> None:
        """Note that an exchange's bytes are gone."""
        with self._lock:
            self._held.pop(exchange, None)


class Exchange:
    """Requests that belong together (redirects, a token) and end together; a context manager, entered anew for each part.

    Args:
        seconds: from the first time it is entered.
        max_bytes: of bodies; headers may take a little more.
        what: for the reason, 'the download'.
        traffic: shared with other exchanges; None for one alone.
    """

    def __init__(
        self, seconds: float, max_bytes: int, *, what: str = "the answer", traffic: Traffic | None = None
    ) -> None:
        self.seconds = seconds
        self._what = what
        self._left = max_bytes + _HEADER_BYTES
        self._traffic = traffic
        self._deadline: float | None = None
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._reason: str | None = None
        self._timer: threading.Timer | None = None
        self._token: Token[Exchange | None] | None = None

    def __enter__(self) -> Exchange:
        """Let the requests of this thread belong to it."""
        if self._deadline is None:
            self._deadline = time.monotonic() + self.seconds
        self.check()
        self._timer = threading.Timer(max(0.0, self._deadline - time.monotonic()), self._expire)
        self._timer.daemon = True
        self._timer.start()
        self._token = _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Let the requests that follow be on their own again."""
        if self._timer is not None:
            self._timer.cancel()
        if self._token is not None:
            _current.reset(self._token)
        with self._lock:
            self._socket = None

    @property
    def stopped(self) -> str | None:
        """Why it was called off, None if it was not."""
        return self._reason

    def stop(self, reason: str) -> None:
        """Call it off; what is being read ends at once. Any thread, any time, the first reason counts."""
        with self._lock:
            if self._reason is None:
                self._reason = reason
            if self._socket is not None:
                # also wakes a thread that is inside of recv
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)
        if self._traffic is not None:
            self._traffic.drop(self)

    def check(self) -> None:
        """Raise if it was called off.

        Raises:
            ExchangeError: with the reason.
        """
        if self._reason is not None:
            raise ExchangeError(self._reason)

    def uses(self, connection: socket.socket) -> None:
        """Note which connection to shut down.

        Raises:
            ExchangeError: it was called off already.
        """
        with self._lock:
            self._socket = connection
        self.check()

    def received(self, size: int) -> None:
        """Count bytes from the network.

        Raises:
            ExchangeError: too many.
        """
        self._left -= size
        if self._left < 0:
            self.stop(f"{self._what} is larger than the limit")
        elif self._traffic is not None:
            self._traffic.hold(self, size)
        self.check()

    def close(self) -> None:
        """Note that the bytes are needed no more."""
        if self._traffic is not None:
            self._traffic.drop(self)

    def _expire(self) -> None:
        self.stop(f"{self._what} took more than {self.seconds:.0f} s")


class LimitedTransport(httpx.HTTPTransport):
    """What httpx sends requests through: heeds the current :class:`Exchange` and a policy of addresses.

    The proxy of the environment is used only where no host is refused: a proxy resolves names itself.

    Args:
        policy: of addresses.
    """

    def __init__(self, policy: AddressPolicy | None = None) -> None:
        super().__init__(verify=_tls())
        policy = policy or AddressPolicy()
        # httpx has no argument for the part that opens connections, httpcore has
        self._pool = httpcore.ConnectionPool(
            ssl_context=_tls(),
            max_connections=None,
            max_keepalive_connections=32,
            keepalive_expiry=10.0,
            network_backend=_Backend(policy),
        )
        self._proxied: dict[str, httpx.HTTPTransport] = {}
        if not policy.restricts:
            for scheme, url in urllib.request.getproxies().items():
                if scheme in ("http", "https") and url.startswith("http"):
                    self._proxied[scheme] = _ProxyTransport(url)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and return its answer, whose body is still to be read."""
        exchange = _current.get()
        proxied = self._proxied.get(request.url.scheme)
        request.extensions = {"timeout": _TIMEOUT.as_dict(), **request.extensions}
        try:
            if proxied is not None and not urllib.request.proxy_bypass(request.url.host):
                answer = proxied.handle_request(request)
            else:
                answer = super().handle_request(request)
        except httpx.HTTPError:
            if exchange is not None:
                exchange.check()
            raise
        codings = answer.headers.get("Content-Encoding", "").split(",")
        if len(codings) > 1:
            answer.close()
            raise httpx.DecodingError(f"the body was encoded {len(codings)} times over", request=request)
        return answer

    def close(self) -> None:
        """Close all connections."""
        super().close()
        for transport in self._proxied.values():
            transport.close()


@functools.cache
def _tls() -> ssl.SSLContext:
    """Return what all connections verify certificates with; reading the authorities takes a while."""
    return httpx.create_ssl_context()


class _ProxyTransport(httpx.HTTPTransport):
    def __init__(self, proxy: str) -> None:
        super().__init__(proxy=proxy, verify=_tls())
        # the proxy is the operator's own
        self._pool._network_backend = _Backend(AddressPolicy())


class _Backend(httpcore.NetworkBackend):
    """Opens connections to addresses that the policy allows."""

    def __init__(self, policy: AddressPolicy) -> None:
        self._policy = policy
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            addresses = self._policy.resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"the name {host} has no address") from error
        failure: Exception | None = None
        for address in addresses:
            if (exchange := _current.get()) is not None:
                exchange.check()
            try:
                return _Stream(self._plain.connect_tcp(address, port, timeout, local_address, socket_options))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError(f"the name {host} has no address")


class _Stream(httpcore.NetworkStream):
    """A connection that tells the current exchange what it reads, and through what it can be shut down."""

    def __init__(self, stream: httpcore.NetworkStream, handle: socket.socket | None = None) -> None:
        self._stream = stream
        # a handle of its own: during a TLS handshake nobody but the library has one
        self._handle: socket.socket = handle or stream.get_extra_info("socket").dup()

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        exchange = self._belong()
        data = self._stream.read(max_bytes, timeout)
        if exchange is not None:
            exchange.received(len(data))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._belong()
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()
        self._handle.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        self._belong()
        try:
            return _Stream(self._stream.start_tls(ssl_context, server_hostname, timeout), self._handle)
        except BaseException:
            self._handle.close()
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def _belong(self) -> Exchange | None:
        exchange = _current.get()
        if exchange is not None:
            exchange.uses(self._handle)
        return exchange
