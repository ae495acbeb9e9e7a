"""Requests that nobody sends by mistake: each gets an answer of its own, and leaves nothing behind."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from maskloop_backend.loop.queue import FURTHEST, JobQueue


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize(
    "number", ["9999999999999999999", "9223372036854775808", "-9223372036854775809", "0", "-1", "9" * 5000, "1.5", "x"]
)
def test_numbers_of_jobs_that_cannot_be(start: Any, method: str, number: str) -> None:
    answer = start().request(method, f"/jobs/{number}")
    assert answer.status == 404
    assert len(answer.body) < 6000


def test_invented_events_are_counted_together(start: Any) -> None:
    client = start()
    for number in range(50):
        assert client.request("POST", "/webhook", {"action": f"INVENTED_{number}"}).status == 201
    client.request("POST", "/webhook", {"action": "PROJECT_UPDATED"})
    assert client.app.server.queue.events() == {"other": 50, "PROJECT_UPDATED": 1}


@pytest.mark.parametrize("number", [{"text": "label text"}, ["label text"], "label text " * 20, None, 1.5])
def test_id_of_a_task_that_is_none_is_not_logged(start: Any, config: str, caplog: Any, number: Any) -> None:
    tasks = [{"id": number, "data": {"image": "data:image/png;base64,AAAA"}}]
    assert start().request("POST", "/predict", {"tasks": tasks, "label_config": config}).json == {"results": [[]]}
    assert "image_failed" in caplog.text
    assert "label text" not in caplog.text


def damage(home: Path) -> None:
    """Overwrite every page of the jobs but the first."""
    path = home / "jobs.sqlite3"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    pages = bytearray(path.read_bytes())
    pages[4096:] = b"\xa5" * (len(pages) - 4096)
    path.write_bytes(pages)


def test_damaged_jobs_take_nothing_else_down(start: Any, image_uri: Any, tmp_path: Path) -> None:
    client = start()
    client.request("POST", "/webhook", {"action": "START_TRAINING", "project": {"id": 3}})
    damage(tmp_path / "home")
    for method, path in (("GET", "/jobs"), ("GET", "/jobs/1"), ("DELETE", "/jobs/1")):
        answer = client.request(method, path)
        assert answer.status == 503
        assert answer.reason.startswith("The trainings cannot be read: ")
        assert "move jobs.sqlite3 away" in answer.reason
    metrics = client.request("GET", "/metrics")
    assert metrics.status == 200
    assert b'maskloop_jobs{state="queued"} NaN' in metrics.body
    assert client.request("POST", "/webhook", {"action": "TASKS_CREATED"}).status == 507
    assert client.request("GET", "/health").status == 200
    assert client.predict([image_uri()]).json["results"][0]["result"]


@pytest.mark.parametrize("back", [365 * 86400, 2 * FURTHEST])
def test_clock_that_is_set_back_keeps_no_job_waiting(tmp_path: Path, back: float) -> None:
    now = [2e9]
    queue = JobQueue(tmp_path, train_after=1, quiet=30, clock=lambda: now[0])
    annotated = {"action": "ANNOTATION_CREATED", "project": {"id": 3}, "task": {"id": 4}, "annotation": {"id": 5}}
    job = queue.notice(annotated)
    assert job is not None
    assert queue.due() == []
    now[0] -= back
    assert [due.id for due in queue.due()] == [job.id]
    queue.close()


def test_log_lines_stay_short_whatever_comes(start: Any, config: str, caplog: Any) -> None:
    client = start()
    long = "x" * 300_000
    for path, body in (
        ("/setup", {"schema": config, "project": long}),
        ("/predict", {"tasks": [{"id": long, "data": {"image": long}}], "project": "1.1", "label_config": config}),
        ("/predict", {"tasks": [{"id": 1, "data": {"image": "http://" + long}}], "label_config": config}),
        ("/webhook", {"action": long}),
        ("/webhook", {"action": "X", "project": {"id": long}}),
    ):
        answer = client.request("POST", path, body)
        assert answer.status < 500
        assert len(answer.body) < 2000
    client.request("GET", "/" + long[:20_000])
    assert all(len(record.getMessage()) < 2000 for record in caplog.records), json.dumps(
        [record.getMessage()[:100] for record in caplog.records]
    )
