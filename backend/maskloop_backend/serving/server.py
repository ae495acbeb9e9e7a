"""The HTTP server process: waitress around the application, from the first byte to a graceful stop."""

from __future__ import annotations

import logging
import signal
import threading
import time
from types import FrameType
from typing import Any

import orjson
import waitress.server
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
        try:
            self._waitress: Any = waitress.server.create_server(
                app,
                host=settings.host,
                port=settings.port,
                threads=settings.threads,
                connection_limit=1000,
                asyncore_use_poll=True,
                # reads on while a request is being answered, and so notices a client that has gone
                channel_request_lookahead=1,
                # waitress refuses sizes that are equal to its limit
                max_request_body_size=settings.max_body + 1,
                ident="maskloop",
                clear_untrusted_proxy_headers=True,
            )
        except OSError as error:
            raise ServerError(
                f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; choose another --port"
            ) from error
        self._servers: list[Any] = [
            entry for entry in self._waitress_map().values() if isinstance(entry, waitress.server.BaseWSGIServer)
        ]
        for server in self._servers:
            server.channel_class = _Channel
        self._thread = threading.Thread(target=self._loop, name="maskloop-http", daemon=True)
        self._stopping = False
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._servers[0].effective_port)

    @property
    def url(self) -> str:
        """Where it answers."""
        host = str(self._servers[0].effective_host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def __enter__(self) -> HttpServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Refuse new predictions, let the running ones finish within the grace time, send what is unsent, and stop."""
        deadline = time.monotonic() + self._settings.grace
        finished = self._app.server.drain(self._settings.grace)
        while time.monotonic() < deadline and any(self._channels_busy()):
            time.sleep(0.01)
        if not finished:
            log(logging.WARNING, "stopped_with_predictions_running")
        self._stopping = True
        self._servers[0].pull_trigger()
        self._thread.join()
        self._waitress.task_dispatcher.shutdown(timeout=1)
        waitress.server.wasyncore.close_all(self._waitress_map())
        self._app.server.close()

    def _channels_busy(self) -> list[bool]:
        return [
            bool(channel.requests or channel.total_outbufs_len)
            for server in self._servers
            for channel in list(server.active_channels.values())
        ]

    def _waitress_map(self) -> dict[int, Any]:
        # the two classes that create_server may return call it differently
        found: dict[int, Any] = getattr(self._waitress, "map", None) or self._waitress._map
        return found

    def _loop(self) -> None:
        while not self._stopping:
            waitress.server.wasyncore.loop(timeout=1, use_poll=True, map=self._waitress_map(), count=1)


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
