"""What strangers and slow clients can hold of a server: no files, no place, no thread."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from maskloop_backend.serving import connections
from maskloop_backend.serving.auth import Credentials

USER = {"credentials": Credentials("anna", "right")}
RIGHT = {"Authorization": "Basic YW5uYTpyaWdodA=="}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the size of each piece of a body that is stored."""
    sizes: list[int] = []

    class Counting(connections.Parser):
        def _keep(self, size: int) -> None:
            super()._keep(size)
            sizes.append(self._held)

    monkeypatch.setattr(connections, "Parser", Counting)
    return sizes


@pytest.fixture
def opened() -> Iterator[Any]:
    """Return a function that opens a connection and sends the first lines of a request."""
    with contextlib.ExitStack() as stack:

        def connect(client: Any, *lines: str) -> socket.socket:
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", client.server.port), 30))
            connection.sendall("\r\n".join([*lines, ""]).encode())
            return connection

        yield connect


def rest(connection: socket.socket) -> bytes:
    """Return what comes until the server closes the connection."""
    parts = []
    try:
        while part := connection.recv(1 << 16):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("header", [{}, {"Authorization": "Basic YW5uYTp3cm9uZw=="}], ids=["missing", "wrong"])
def test_body_of_a_stranger_is_not_stored(start: Any, stored: list[int], chunked: bool, header: dict[str, str]) -> None:
    client = start(**USER)
    connection = client.connect()
    body = b'{"schema": "' + b" " * 1_000_000 + b'"}'
    connection.request("POST", "/predict", iter([body]) if chunked else body, JSON | header, encode_chunked=chunked)
    assert connection.getresponse().status == 401
    connection.close()
    assert not any(stored)
    assert client.metric("maskloop_requests_total", endpoint="other", status="401") == 1


def test_body_for_another_name_is_not_stored(start: Any, stored: list[int]) -> None:
    assert start().request("POST", "/predict", b" " * 100_000, JSON | {"Host": "evil.example"}).status == 403
    assert not any(stored)


def test_body_of_somebody_known_is_stored(start: Any, stored: list[int]) -> None:
    assert start(**USER).request("POST", "/predict", {"tasks": []}, RIGHT).status == 400
    assert any(stored)


def test_stranger_who_asks_before_sending_is_not_asked_to_send(
    start: Any,
    opened: Any,
) -> None:
    connection = opened(
        start(**USER), "POST /predict HTTP/1.1", "Host: localhost", "Content-Length: 100", "Expect: 100-continue", ""
    )
    assert rest(connection).startswith(b"HTTP/1.1 401 ")


def test_stranger_who_announces_more_than_anybody_may_send(
    start: Any,
    opened: Any,
) -> None:
    connection = opened(start(**USER), "POST /setup HTTP/1.1", "Host: localhost", f"Content-Length: {10**12}", "")
    assert rest(connection).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(
    ("path", "limit"), [("/setup", 2000), ("/webhook", 3000), ("/predict", 4000), ("/health", 65536), ("//setup", 2000)]
)
@pytest.mark.parametrize("chunked", [False, True])
def test_limits_by_kind_of_request(start: Any, path: str, limit: int, chunked: bool) -> None:
    client = start(max_setup=2000, max_event=3000, max_body=4000 if path == "/predict" else 1 << 20)
    for size in (limit, limit + 1):
        body = b"[" * size
        connection = client.connect()
        connection.request("POST", path, iter([body]) if chunked else body, JSON, encode_chunked=chunked)
        answer = connection.getresponse()
        assert (answer.status == 413) == (size > limit)
        if size > limit:
            assert answer.reason.startswith(f"Request body is over the limit of {limit} bytes")
            assert json.loads(answer.read())["status"] == 413
        connection.close()


def test_large_bodies_of_all_requests_together_are_bounded(
    start: Any,
    opened: Any,
) -> None:
    client = start(max_body=1_000_000)
    started = [
        opened(
            client,
            "POST /predict HTTP/1.1",
            "Host: localhost",
            "Content-Type: application/json",
            "Content-Length: 1000000",
            "",
        )
        for _ in range(5)
    ]
    for connection in started[:4]:
        connection.sendall(b" " * 999_999)
    door, deadline = client.server._waitress.door, time.monotonic() + 30
    while door._held < 4 * 999_999:
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)
    refused = started[4]
    refused.sendall(b" " * 1_000_000)
    assert rest(refused).startswith(b"HTTP/1.1 503 Service Unavailable: other large requests")
    for connection in started[:4]:
        connection.sendall(b" ")
        assert connection.recv(100).startswith(b"HTTP/1.1 400 Malformed JSON")
        connection.close()
    # what they held is free again
    assert client.request("POST", "/predict", b" " * 999_999, JSON).status == 400


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        ((), "headers"),
        (("GET /health HTTP/1.1",), "headers"),
        (("POST /setup HTTP/1.1", "Host: localhost", "Content-Length: 9", ""), "body"),
        (("POST /setup HTTP/1.1", "Host: localhost", "Transfer-Encoding: chunked", "", "5"), "body"),
    ],
    ids=["nothing", "half a header", "no body", "half a chunk"],
)
def test_client_that_does_not_finish_is_closed(
    start: Any, opened: Any, caplog: Any, lines: tuple[str, ...], what: str
) -> None:
    client = start(header_seconds=0.2, body_seconds=0.2, idle_seconds=1e9, read_seconds=1e9)
    assert rest(opened(client, *lines)) == b""
    assert f'connections_closed too_slow_in="sending the {what}" count=1' in caplog.text
    assert client.request("GET", "/health").status == 200


def test_connection_between_two_requests_is_kept_and_then_closed(start: Any) -> None:
    client = start(idle_seconds=0.3, header_seconds=0.01)
    connection = client.connect()
    for _ in range(2):
        connection.request("GET", "/health")
        assert connection.getresponse().read()
    assert rest(connection.sock) == b""
    connection.close()


def test_client_that_does_not_read_gives_its_thread_back(start: Any, image_uri: Any) -> None:
    client = start(read_seconds=0.3, threads=2, reserved_threads=1)
    tasks = [{"id": 1, "data": {"image": image_uri(20, 30)}}] * 10_000
    body = json.dumps({"tasks": tasks, "label_config": client.config}).encode()
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.connect(("127.0.0.1", client.server.port))
    deaf.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
    deaf.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
    assert deaf.recv(10)
    # the only place is free again as soon as the deaf one is closed
    assert client.predict([image_uri(21, 30)]).json["results"][0]["result"]
    deaf.close()


def test_slow_connections_make_room_for_those_who_ask(
    start: Any,
    opened: Any,
) -> None:
    client = start(connections=20, connections_per_address=10, header_seconds=1e9)
    slow = [opened(client, "GET /health HTTP/1.1") for _ in range(30)]
    assert client.request("GET", "/health").status == 200
    assert len(client.server._waitress.active_channels) <= 11
    # the last one is still let to finish, the first one is not
    slow[-1].sendall(b"Host: localhost\r\nConnection: close\r\n\r\n")
    assert rest(slow[-1]).startswith(b"HTTP/1.1 200 ")
    assert rest(slow[0]) == b""


def test_fifty_people_at_once_wait_instead_of_being_refused(start: Any, brightness: Any, image_uri: Any) -> None:
    segmenter = brightness()
    segmenter.gate.clear()
    client = start(segmenter, threads=6, reserved_threads=2)
    with ThreadPoolExecutor(50) as pool:
        people = [pool.submit(client.predict, [image_uri(20, 30 + number)]) for number in range(50)]
        assert segmenter.called.acquire(timeout=30)
        assert client.request("GET", "/health").status == 200
        segmenter.gate.set()
        assert all(person.result(60).json["results"][0]["result"] for person in people)


@pytest.mark.parametrize(
    "lines",
    [
        (f"Content-Length: {'9' * 5000}",),
        ("Content-Length: -1",),
        ("Content-Length: 1, 1",),
        ("Transfer-Encoding: chunked", "", "x" * 10_000),
        ("Transfer-Encoding: chunked", "", "0", "a: " + "x" * 10_000),
        ("Transfer-Encoding: gzip",),
        ("X: " + "x" * 40_000,),
    ],
    ids=["5,000 digits", "negative", "two lengths", "chunk size", "trailer", "transfer coding", "long header"],
)
def test_headers_that_make_no_sense(start: Any, opened: Any, caplog: Any, lines: tuple[str, ...]) -> None:
    client = start()
    answer = rest(opened(client, "POST /setup HTTP/1.1", "Host: localhost", *lines, ""))
    assert answer[9:12] in {b"400", b"431", b"501"}
    assert "Traceback" not in caplog.text
    assert client.request("GET", "/health").status == 200
