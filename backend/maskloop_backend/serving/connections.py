"""Connections: who is let in with how many bytes, how slowly, and how often; decided before a body is stored anywhere.

waitress reads every connection in one thread and stores bodies in temporary files; a request reaches a worker thread
when it is whole. So what a stranger can take without ever finishing a request (connections, header bytes, files) is
decided here, in that one thread, and the application sees only what was let through.
"""

from __future__ import annotations

import logging
import resource
import threading
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from io import BytesIO
from typing import Any

import orjson
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, ThreadedTaskDispatcher
from waitress.utilities import BadRequest, Error, RequestEntityTooLarge

from .auth import names_loopback
from .limits import body_too_large, reason_phrase
from .logs import log
from .metrics import Metrics
from .settings import Settings

# A body over the limit is read and thrown away up to so many times the limit, so that the client gets to hear why it
# is refused; closing earlier makes most clients report a broken connection instead.
DISCARD_FACTOR = 8
# Bytes of a request's headers; Label Studio's have 400.
HEADER_BYTES = 32 << 10
# Of a chunked body's framing: one chunk's size and extensions, and what may follow the last chunk.
CONTROL_BYTES = 4 << 10
# Connections are looked over so often, in seconds.
LOOK_SECONDS = 0.5
# Connections accepted at once.
ACCEPTED = 100
# What a connection that nobody uses any more owes.
IDLE = "sending the next request"
# A body of no more bytes is always received.
SMALL_BYTES = 256 << 10
# The bodies being received and worked on may have so many times the largest body's bytes together.
BODIES = 4


class _Busy(Error):  # type: ignore[misc]  # noqa: N818 - an answer of waitress, no exception
    code = 503
    reason = "Service Unavailable"


class _Sink:
    """A buffer that throws away what it gets, and counts it."""

    def __init__(self, size: int = 0) -> None:
        self._size = size

    def append(self, data: bytes) -> None:
        self._size += len(data)

    def close(self) -> None:
        pass

    def getfile(self) -> BytesIO:
        return BytesIO()

    def __len__(self) -> int:
        return self._size


class Door:
    """What one server knows of all its connections.

    Args:
        settings: credentials and limits.
        metrics: what to count in.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings = settings
        self._metrics = metrics
        self._lock = threading.Lock()
        self._held = 0

    def knows(self, headers: Mapping[str, str]) -> bool:
        """Return whether a request carries the credentials; where none are asked for, whether it is for this machine."""
        credentials = self.settings.credentials
        if credentials is None:
            return names_loopback(headers.get("HOST"))
        return credentials.accepts(headers.get("AUTHORIZATION"))

    def hold(self, size: int, *, always: bool = False) -> bool:
        """Note bytes of a body; return False, and note nothing, where all bodies together would become too large."""
        with self._lock:
            if not always and self._held + size > BODIES * self.settings.max_body:
                return False
            self._held += size
            return True

    def refused(self, method: str, path: str, status: int, reason: str) -> None:
        """Count and log a request that never reached the application."""
        endpoint = path if path in {"/predict", "/setup", "/webhook"} else "other"
        self._metrics.requests.labels(endpoint, str(status)).inc()
        log(logging.WARNING, "request", method=method[:10], endpoint=endpoint, status=status, reason=reason)


class Parser(HTTPRequestParser):  # type: ignore[misc]
    """One request on its way in.

    A body that nobody may send, or that is too large, is thrown away as it comes. Without credentials the request goes
    on to the application with the body gone, which refuses it as it refuses one without a body.
    """

    error: Error | None

    def __init__(self, adj: Any, door: Door) -> None:
        super().__init__(adj)
        self.error = None
        self._door = door
        self._looked = False
        self._held = 0
        # bytes of the body that are taken, or thrown away
        self._limit = 0
        # what the client is told once its body is thrown away
        self._verdict: Error | None = None

    def received(self, data: bytes) -> int:
        """Take bytes from the socket; return how many were used."""
        before = self._size
        used = int(super().received(data))
        if self.headers_finished and not self._looked:
            self._looked = True
            self._look()
        if (receiver := self.body_rcv) is None or self.error is not None:
            return used
        if (
            len(getattr(receiver, "control_line", b"")) > CONTROL_BYTES
            or len(getattr(receiver, "trailer", b"")) > CONTROL_BYTES
        ):
            self._refuse(BadRequest("a chunk's size or trailer is too long"))
        elif self._size > self._limit or self.body_bytes_received > DISCARD_FACTOR * self._limit + CONTROL_BYTES:
            self._over()
        else:
            self._keep(self._size - before)
        if self.completed and self.error is None:
            self.error = self._verdict
        return used

    @property
    def _size(self) -> int:
        """Bytes of the body so far, without a chunked body's framing."""
        return 0 if self.body_rcv is None else len(self.body_rcv)

    @property
    def endpoint(self) -> str:
        """The path as the application gets it: waitress makes one of several slashes in front."""
        return "/" + str(self.path).lstrip("/")

    def parse_header(self, header_plus: bytes) -> None:
        """Parse the request line and headers."""
        try:
            super().parse_header(header_plus)
        except ValueError as error:
            # Python refuses to read numbers of more than 4,300 digits
            raise ParsingError("Content-Length is invalid") from error

    def close(self) -> None:
        """Let go of the body."""
        super().close()
        self._let_go()

    def _look(self) -> None:
        """Decide what becomes of the body; nothing of it has been stored."""
        receiver = self.body_rcv
        if receiver is None or self.error is not None:
            return
        self._limit = limit = self._door.settings.body_limit(self.endpoint)
        stranger = not self._door.knows(self.headers)
        if stranger:
            # the application says so, before it says anything of a limit
            receiver.buf = _Sink()
        elif self.content_length > limit:
            self._discard(self._large())
        else:
            return
        if self.expect_continue or self.content_length > self._limit:
            # it waits for a word before it sends, or sends more than anybody would read
            self._end()

    def _over(self) -> None:
        """More came than may come: of a body that is thrown away, or of one that did not say its length."""
        if isinstance(self.body_rcv.buf, _Sink):
            self._end()
        else:
            self._discard(self._large())

    def _keep(self, size: int) -> None:
        if size <= 0 or isinstance(self.body_rcv.buf, _Sink):
            return
        if self._door.hold(size, always=self._held + size <= SMALL_BYTES):
            self._held += size
        else:
            self._discard(_Busy("other large requests are being worked on; try again in a minute"))

    def _discard(self, verdict: Error) -> None:
        """Throw away what came and what comes, then answer."""
        self.body_rcv.buf.close()
        self.body_rcv.buf = _Sink(self._size)
        self._let_go()
        self._verdict = verdict
        self._limit = DISCARD_FACTOR * self._limit

    def _let_go(self) -> None:
        self._door.hold(-self._held, always=True)
        self._held = 0

    def _end(self) -> None:
        """Take no more of the body; the connection ends with the answer."""
        self.expect_continue = False
        self.completed = True
        self.headers["CONNECTION"] = "close"
        self.connection_close = True
        # the application must not wait for what was not read
        self.headers["CONTENT_LENGTH"] = "0"
        self.error = self._verdict

    def _large(self) -> Error:
        return RequestEntityTooLarge(body_too_large(self._door.settings.body_limit(self.endpoint), self.endpoint))

    def _refuse(self, error: Error) -> None:
        self.error = error
        self.completed = True


class _ErrorTask(ErrorTask):  # type: ignore[misc]
    """Answers what never reaches the application in the form of the application's own errors."""

    def execute(self) -> None:
        """Write the answer."""
        error = self.request.error
        reason = error.body if isinstance(error, RequestEntityTooLarge) else f"{error.reason}: {error.body}"
        body = orjson.dumps({"error": reason_phrase(reason), "status": error.code})
        self.status = f"{error.code} {reason_phrase(reason)}"
        self.response_headers.append(("Content-Type", "application/json"))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.channel.server.door.refused(
            getattr(self.request, "command", "-"),
            self.request.endpoint if hasattr(self.request, "path") else "",
            error.code,
            reason_phrase(reason),
        )
        self.write(body)


class Channel(HTTPChannel):  # type: ignore[misc]
    """One connection, with deadlines for what its client sends and for what it reads."""

    error_task_class = _ErrorTask

    def __init__(self, server: Any, sock: Any, addr: Any, adj: Any, map: Any = None) -> None:  # noqa: A002
        super().__init__(server, sock, addr, adj, map=map)
        self.parser_class = partial(Parser, door=server.door)
        now = time.monotonic()
        # since when the client owes us the rest of a request's headers, or of its body
        self.header_since = now
        self.body_since: float | None = None
        self.asked = False
        # since when there has been something that the client does not read, and how much it has read by then
        self.unread_since: float | None = None
        self.read_bytes = 0

    def received(self, data: bytes) -> Any:
        """Take bytes; note what the client owes us from now on."""
        before = self.request
        result = super().received(data)
        request, now = self.request, time.monotonic()
        if request is None:
            self.asked = True
            self.body_since = None
            self.header_since = now
        elif request is not before:
            self.header_since = now
        if request is not None and request.headers_finished and self.body_since is None:
            self.body_since = now
        return result

    def send(self, data: bytes, do_close: bool = True) -> int:
        """Send bytes; return how many the kernel took."""
        sent = int(super().send(data, do_close=do_close))
        self.read_bytes += sent
        return sent

    def handle_close(self) -> None:
        """Close, and let go of a body that was being received."""
        super().handle_close()
        if self.request is not None:
            self.request.close()

    def overdue(self, now: float, settings: Settings) -> str | None:
        """Return what the client owes for too long, None where it is in time.

        Args:
            now: of the monotonic clock.
            settings: the times.
        """
        if self.total_outbufs_len:
            self._owes_nothing(now)
            if self.unread_since is None:
                self.unread_since, self.read_bytes = now, 0
            elif now - self.unread_since > settings.read_seconds:
                if self.read_bytes < settings.read_seconds * settings.slowest:
                    return "reading the answer"
                self.unread_since, self.read_bytes = now, 0
            return None
        self.unread_since = None
        if self.requests:
            self._owes_nothing(now)
            return None
        if self.body_since is not None and self.request is not None:
            allowed = settings.body_seconds + self.request.body_bytes_received / settings.slowest
            return "sending the body" if now - self.body_since > allowed else None
        if self.request is None and self.asked:
            return IDLE if now - self.header_since > settings.idle_seconds else None
        return "sending the headers" if now - self.header_since > settings.header_seconds else None

    def _owes_nothing(self, now: float) -> None:
        """While an answer is made or read, nothing need be sent: waitress may not even read it."""
        self.header_since = now
        if self.body_since is not None:
            self.body_since = now

    @property
    def waiting(self) -> bool:
        """Whether it has no request that is being answered."""
        return not self.requests and not self.total_outbufs_len


class Listener(TcpWSGIServer):  # type: ignore[misc]
    """Accepts connections; where there are too many, those that wait longest for their own client go first."""

    channel_class = Channel

    def __init__(
        self, app: Any, sock: Any, adj: Any, door: Door, dispatcher: ThreadedTaskDispatcher, places: int
    ) -> None:
        """Listen.

        Args:
            app: the WSGI application.
            sock: a listening socket.
            adj: waitress' settings.
            door: limits.
            dispatcher: the threads that answer everything but predictions.
            places: threads of their own for predictions: a prediction that waits holds none of the others.
        """
        self.door = door
        self.predictions = ThreadedTaskDispatcher()
        self.predictions.set_thread_count(places)
        self._looked = 0.0
        # half of the files that the process may open are for models, images and bodies
        self._most = min(door.settings.connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        sockinfo = (sock.family, sock.type, sock.proto, sock.getsockname())
        super().__init__(app, {}, True, sock, dispatcher=dispatcher, adj=adj, bind_socket=False, sockinfo=sockinfo)

    def add_task(self, task: Any) -> None:
        """Give a connection's next request to a thread."""
        request = task.requests[0]
        if request.error is not None or request.endpoint != "/predict":
            self.task_dispatcher.add_task(task)
        elif len(self.predictions.queue) < self.door.settings.waiting_predictions:
            self.predictions.add_task(task)
        else:
            request.error = _Busy("too many predictions wait already; try again in a minute")
            self.task_dispatcher.add_task(task)

    def handle_accept(self) -> None:
        """Accept those who wait, after making room for them.

        One a turn, as waitress does, is too few: with 1,000 connections that all send something, a turn takes 10 ms.
        """
        for _ in range(ACCEPTED):
            try:
                accepted = self.accept()
            except OSError as error:
                log(logging.WARNING, "connection_not_accepted", error=error)
                return
            if accepted is None:
                return
            connection, address = accepted
            self._make_room()
            self.channel_class(self, connection, address, self.adj, map=self._map)

    def readable(self) -> bool:
        """Return whether to accept connections: not while every one that is open is being answered."""
        return bool(super().readable()) and len(self.active_channels) < 2 * self._most

    def maintenance(self, now: float) -> None:
        """Do nothing: :meth:`look` does it, by a clock that nobody can set."""

    def look(self) -> None:
        """Close what is overdue; called by the thread that reads the connections."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        settings = self.door.settings
        late = [
            (channel, what) for channel in self.active_channels.values() if (what := channel.overdue(now, settings))
        ]
        # a line a look, not a line a connection: 1,000 of them must not fill the disk
        for what, count in Counter(what for _, what in late).items():
            level = logging.DEBUG if what == IDLE else logging.WARNING
            log(level, "connections_closed", too_slow_in=what, count=count)
        for channel, _ in late:
            channel.handle_close()

    def stop(self, timeout: float) -> None:
        """End the threads."""
        self.task_dispatcher.shutdown(timeout=timeout)
        self.predictions.shutdown(timeout=timeout)

    def _make_room(self) -> None:
        channels = list(self.active_channels.values())
        each = self.door.settings.connections_per_address
        if len(channels) < min(self._most, each):
            return
        busiest, count = Counter(channel.addr[0] for channel in channels).most_common(1)[0]
        theirs = [channel for channel in channels if channel.addr[0] == busiest and channel.waiting]
        if theirs and (count >= each or len(channels) >= self._most):
            min(theirs, key=lambda channel: channel.header_since).handle_close()
