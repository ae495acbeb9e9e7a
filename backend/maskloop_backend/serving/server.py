"""The HTTP server process: waitress around the application, from the first byte to a graceful stop."""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from types import FrameType
from typing import Any

import orjson
import waitress.server
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.task import ErrorTask
from waitress.utilities import RequestEntityTooLarge

from .app import App
from .limits import body_too_large, reason_phrase
from .logs import log
from .settings import ServerError, Settings

# A body over the limit is read and thrown away up to so many times the limit, so that the client gets to hear why it
# is refused; closing earlier makes most clients report a broken connection instead.
DISCARD_FACTOR = 8


class _Parser(HTTPRequestParser):  # type: ignore[misc]
    """Throws away a body over the limit before it answers."""

    _left = 0

    def received(self, data: bytes) -> int:
        """Take bytes from the socket; return how many were used."""
        if self._left:
            used = min(self._left, len(data))
            self._left -= used
            self.completed = self._left == 0
            return used
        used = int(super().received(data))
        if self.completed and isinstance(self.error, RequestEntityTooLarge) and self.body_bytes_received == 0:
            announced = int(self.content_length)
            if announced <= DISCARD_FACTOR * self.adj.max_request_body_size:
                self._left = announced
                self.completed = False
                self.expect_continue = False
        return used


class _ErrorTask(ErrorTask):  # type: ignore[misc]
    """Answers what never reaches the application in the form of the application's own errors."""

    def execute(self) -> None:
        """Write the answer."""
        error = self.request.error
        reason = f"{error.reason}: {error.body}"
        if isinstance(error, RequestEntityTooLarge):
            reason = body_too_large(self.channel.adj.max_request_body_size - 1)
        body = orjson.dumps({"error": reason, "status": error.code})
        self.status = f"{error.code} {reason_phrase(reason)}"
        self.response_headers.append(("Content-Type", "application/json"))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Channel(HTTPChannel):  # type: ignore[misc]
    parser_class = _Parser
    error_task_class = _ErrorTask


class HttpServer:
    """A listening server in a thread of its own; a context manager that stops it gracefully."""

    def __init__(self, app: App, settings: Settings) -> None:
        """Listen.

        Args:
            app: what :func:`create_app` returns; it is closed with the server.
            settings: the same that the app has.

        Raises:
            ServerError: not loopback and no credentials, or the port is taken.
        """
        settings.check_exposure()
        self._app = app
        self._settings = settings
        # A listening socket of our own: waitress leaks the one that it fails to bind.
        self._waitress: Any = waitress.server.create_server(
            app,
            sockets=[_listen(settings.host, settings.port)],
            threads=settings.threads,
            connection_limit=1000,
            # reads on while a request is being answered, and so notices a client that has gone
            channel_request_lookahead=1,
            # waitress refuses sizes that are equal to its limit
            max_request_body_size=settings.max_body + 1,
            ident="maskloop",
            clear_untrusted_proxy_headers=True,
        )
        self._waitress.channel_class = _Channel
        self._map: dict[int, Any] = self._waitress._map
        self._thread = threading.Thread(target=self._loop, name="maskloop-http", daemon=True)
        self._stopping = False
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._waitress.effective_port)

    @property
    def url(self) -> str:
        """Where it answers."""
        host = str(self._waitress.effective_host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def __enter__(self) -> HttpServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Refuse new predictions, let the running ones finish within the grace time, send what is unsent, and stop.

        The second call does nothing.
        """
        if self._stopping:
            return
        deadline = time.monotonic() + self._settings.grace
        finished = self._app.server.drain(self._settings.grace)
        while time.monotonic() < deadline and self._busy():
            time.sleep(0.01)
        if not finished:
            log(logging.WARNING, "stopped_with_predictions_running")
        self._stopping = True
        self._waitress.pull_trigger()
        self._thread.join()
        self._waitress.task_dispatcher.shutdown(timeout=1)
        wasyncore.close_all(self._map)
        self._app.server.close()

    def _busy(self) -> bool:
        """Return whether any connection has a request or unsent bytes."""
        channels = list(self._waitress.active_channels.values())
        return any(channel.requests or channel.total_outbufs_len for channel in channels)

    def _loop(self) -> None:
        while not self._stopping:
            wasyncore.loop(timeout=1, use_poll=True, map=self._map, count=1)


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; of a name with several addresses the first, IPv4 before IPv6."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise ServerError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --host or --port"
        ) from error


def serve(app: App, settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then stop gracefully; a second signal stops at once.

    Args:
        app: what :func:`create_app` returns.
        settings: the same that the app has.

    Raises:
        ServerError: it cannot listen.
    """
    stop = threading.Event()

    def on_signal(number: int, _: FrameType | None) -> None:
        log(logging.INFO, "stopping", signal=signal.Signals(number).name)
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)
        stop.set()

    with HttpServer(app, settings) as server:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, on_signal)
        log(logging.INFO, "listening", url=server.url, auth="basic" if settings.credentials else "none")
        stop.wait()
    log(logging.INFO, "stopped")
