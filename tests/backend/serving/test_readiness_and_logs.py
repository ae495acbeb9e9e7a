"""What an orchestrator and a log collector read: /ready, and one JSON object a line."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from maskloop_backend.registry.history import Served, Serving
from maskloop_backend.serving import logs


def test_ready_is_not_health(start: Any, brightness: Any) -> None:
    class Slow:
        gate = threading.Event()
        one = brightness()

        def served(self) -> Served:
            return Served(Serving(self.one.version))

        def versions(self) -> list[str]:
            return [self.one.version]

        def labels(self, version: str) -> Any:
            return self.one.labels

        def load(self, version: str) -> Any:
            assert self.gate.wait(60)
            return self.one

    source = Slow()
    client = start(source, ready=False)
    waiting = client.request("GET", "/ready")
    assert (waiting.status, waiting.reason) == (503, "The first model is loading")
    assert client.request("GET", "/health").status == 200
    source.gate.set()
    client.app.server.models.get(30)
    assert client.request("GET", "/ready").json == {"ready": True}


def test_a_server_without_a_model_answers_with_what_is_missing(start: Any) -> None:
    class Nothing:
        def served(self) -> Served:
            return Served()

        def load(self, version: str) -> Any:
            raise AssertionError

    assert start(Nothing(), ready=False).request("GET", "/ready").status == 200


def test_readiness_fails_first(start: Any, image_uri: Any) -> None:
    client = start(drain_delay=60.0)
    stopping = threading.Thread(target=client.server.stop, daemon=True)
    slept = threading.Event()
    waits = client.server._waits
    client.server._waits = lambda seconds: (slept.set(), waits(0), released.wait(60))
    released = threading.Event()
    stopping.start()
    assert slept.wait(30)
    refused = client.request("GET", "/ready")
    assert (refused.status, refused.reason) == (503, "The server is stopping")
    assert client.request("GET", "/health").status == 200
    # whoever has not noticed yet is answered
    assert client.predict([image_uri()]).status == 200
    released.set()
    stopping.join(60)
    assert not stopping.is_alive()


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[Any]:
    """Write the server's log as JSON; give what is in it."""
    names = ("maskloop", "waitress", "waitress.queue")
    before = {name: (list(logging.getLogger(name).handlers), logging.getLogger(name).propagate) for name in names}
    logs.configure(file=tmp_path / "log", form="json")
    yield lambda: [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    for handler in logging.getLogger("maskloop").handlers:
        handler.close()
    for name, (handlers, propagate) in before.items():
        target = logging.getLogger(name)
        target.handlers, target.propagate = handlers, propagate
        target.setLevel(logging.NOTSET)


def logged(lines: Any, count: int, **fields: Any) -> list[dict[str, Any]]:
    """Return the lines with these fields, once there are so many."""
    deadline = time.monotonic() + 30
    while len(found := [line for line in lines() if fields.items() <= line.items()]) < count:
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)
    return found


def test_lines_carry_the_ids_of_request_and_task(start: Any, image_uri: Any, lines: Any) -> None:
    client = start()
    answer = client.predict([image_uri()])
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["X-Request-ID"])
    (line,) = logged(lines, 1, request=answer.headers["X-Request-ID"])
    assert {key: line[key] for key in ("level", "event", "endpoint", "status", "project", "tasks", "task")} == {
        "level": "INFO",
        "event": "request",
        "endpoint": "/predict",
        "status": 200,
        "project": "5",
        "tasks": 1,
        "task": 0,
    }
    assert isinstance(line["seconds"], float)
    body = {"tasks": [{"id": 71, "data": {"image": "data:,"}}], "project": "5.1", "label_config": client.config}
    failed = client.request("POST", "/predict", body, {"X-Request-ID": "from-the-proxy.1"})
    assert failed.headers["X-Request-ID"] == "from-the-proxy.1"
    both = logged(lines, 2, request="from-the-proxy.1")
    assert {(line["event"], line["task"]) for line in both} == {("image_failed", 71), ("request", 71)}


@pytest.mark.parametrize("given", ["a b", "x" * 65, 'a"}', "", "ä"])
def test_a_name_that_could_forge_a_line_is_not_taken(start: Any, given: str) -> None:
    answer = start().request("GET", "/health", headers={"X-Request-ID": given.encode().decode("latin-1")})
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["X-Request-ID"])


def test_every_line_is_one_object(lines: Any) -> None:
    logs.log(logging.INFO, "odd", text='a "b"\n\u2028c', number=float("nan"), long="x" * 5000, time="forged", none=None)
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        logging.getLogger("maskloop.serving").error("request failed", exc_info=error)
    logging.getLogger("maskloop.loop").info("job_started job=%d", 3)
    first, second, third = lines()
    assert (first["event"], first["level"], first["text"]) == ("odd", "INFO", 'a "b"\n\u2028c')
    assert len(first["long"]) < 600
    assert "none" not in first
    assert first["time"].startswith("20")
    assert "ValueError: two" in second["traceback"]
    assert third["event"] == "job_started job=3"
