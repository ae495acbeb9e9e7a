"""Hosts that do not want to give an image: on loopback, each for as long as whoever asks stays connected."""

from __future__ import annotations

import contextlib
import gzip
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

# How a host answers one request: it is given the connection and must not end before it has to.
Behaviour = Callable[["Connection"], None]

_OK = b"HTTP/1.1 200 OK\r\n"
# A stored deflate block of no bytes, not the last one.
_EMPTY_BLOCK = b"\x00\x00\x00\xff\xff"
_GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


@dataclass
class Connection:
    """One request to answer.

    Attributes:
        socket: as accepted.
        head: request line and headers.
        over: set when the host closes.
    """

    socket: socket.socket
    head: str
    over: threading.Event

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def drip(self, data: bytes, every: float = 0.02) -> None:
        """Send the same bytes again and again, until the other side has gone."""
        while not self.over.wait(every):
            self.send(data)


@dataclass
class HostileHost:
    """Listens on a free port of 127.0.0.1 and treats everybody alike; a context manager.

    Attributes:
        behaviour: what it does.
        reads_request: whether it waits for the request's head first.
        heads: of the requests that came.
        asked: is released with every request.
        ended: is released when a connection has ended.
    """

    behaviour: Behaviour
    reads_request: bool = True
    heads: list[str] = field(default_factory=list)
    asked: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    ended: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def __enter__(self) -> HostileHost:
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in list(self._threads):
            thread.join(10)

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(accepted,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, accepted: socket.socket) -> None:
        with accepted:
            accepted.settimeout(60)
            with contextlib.suppress(OSError):
                head = b""
                while self.reads_request and b"\r\n\r\n" not in head:
                    piece = accepted.recv(65536)
                    if not piece:
                        return
                    head += piece
                self.heads.append(head.decode("latin-1"))
                self.asked.release()
                self.behaviour(Connection(accepted, self.heads[-1], self._over))
        self.ended.release()


def answers(body: bytes, *headers: str, status: str = "200 OK") -> Behaviour:
    """Answer at once, as an honest host does."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return lambda connection: connection.send("\r\n".join([*lines, "", ""]).encode() + body)


def silent(connection: Connection) -> None:
    """Say nothing."""
    connection.over.wait(60)


def drips_headers(connection: Connection) -> None:
    """Send a header that never ends, a byte at a time."""
    connection.send(_OK + b"X-Long: ")
    connection.drip(b"a")


def drips_body(connection: Connection) -> None:
    """Send a body without a length, a byte at a time."""
    connection.send(_OK + b"\r\n")
    connection.drip(b"a")


def processes_for_ever(connection: Connection) -> None:
    """Answer 102 Processing, for ever."""
    connection.drip(b"HTTP/1.1 102 Processing\r\n\r\n")


def floods_processing(connection: Connection) -> None:
    """Answer 102 Processing as fast as it can."""
    while not connection.over.is_set():
        connection.send(b"HTTP/1.1 102 Processing\r\n\r\n" * 1000)


def gzips_nothing(connection: Connection) -> None:
    """Send gzip blocks that decode to nothing."""
    connection.send(_OK + b"Content-Encoding: gzip\r\n\r\n" + _GZIP_HEAD)
    connection.drip(_EMPTY_BLOCK)


def drips_handshake(connection: Connection) -> None:
    """Begin a TLS record and never end it."""
    connection.send(b"\x16\x03\x03\x3f\xff\x02\x00\x3f\xfb")
    connection.drip(b"\x00")


def bomb(times: int, size: int = 64 << 20) -> Behaviour:
    """Answer with zeros, gzipped so many times over."""
    body = bytes(size)
    for _ in range(times):
        body = gzip.compress(body)
    return answers(body, "Content-Encoding: " + ", ".join(["gzip"] * times))


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Return whether a condition comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def main() -> None:
    """Treat everybody as the first argument says, print the address, and go on until killed."""
    with HostileHost(globals()[sys.argv[1]]) as host:
        print(host.url, flush=True)  # noqa: T201
        signal.pause()


if __name__ == "__main__":
    main()
