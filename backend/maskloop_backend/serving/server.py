"""The HTTP server process: waitress around the application, from the first byte to a graceful stop."""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from types import FrameType
from typing import Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.task import ThreadedTaskDispatcher

from .app import App
from .connections import HEADER_BYTES, LOOK_SECONDS, Door, Listener
from .logs import log
from .settings import ServerError, Settings


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
        adjustments = Adjustments(
            # reads on while a request is being answered, and so notices a client that has gone
            channel_request_lookahead=1,
            # limits of bodies and connections are those of connections.py
            max_request_body_size=1 << 62,
            connection_limit=1 << 30,
            # a body of 100 MB in 1,600 pieces, not in 12,800
            recv_bytes=64 << 10,
            max_request_header_size=HEADER_BYTES,
            ident="maskloop",
            clear_untrusted_proxy_headers=True,
        )
        # A listening socket of our own: waitress leaks the one that it fails to bind.
        listening = _listen(settings.host, settings.port)
        others = ThreadedTaskDispatcher()
        others.set_thread_count(settings.reserved_threads)
        places = max(1, settings.threads - settings.reserved_threads)
        door = Door(settings, app.server.metrics)
        self._waitress = Listener(app, listening, adjustments, door, others, places)
        self._map: dict[int, Any] = self._waitress._map
        self._thread = threading.Thread(target=self._loop, name="maskloop-http", daemon=True)
        self._stopping = False
        self._waits = time.sleep
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
        # /ready says so first; who asks meanwhile is answered as ever
        self._app.server.draining = True
        if self._settings.drain_delay:
            self._waits(self._settings.drain_delay)
        deadline = time.monotonic() + self._settings.grace
        finished = self._app.server.drain(self._settings.grace)
        while time.monotonic() < deadline and self._busy():
            time.sleep(0.01)
        if not finished:
            log(logging.WARNING, "stopped_with_predictions_running")
        self._stopping = True
        self._waitress.pull_trigger()
        self._thread.join()
        self._waitress.stop(timeout=1)
        wasyncore.close_all(self._map)
        self._app.server.close()

    def _busy(self) -> bool:
        """Return whether any connection has a request or unsent bytes."""
        channels = list(self._waitress.active_channels.values())
        return any(channel.requests or channel.total_outbufs_len for channel in channels)

    def _loop(self) -> None:
        while not self._stopping:
            wasyncore.loop(timeout=LOOK_SECONDS, use_poll=True, map=self._map, count=1)
            self._waitress.look()


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
