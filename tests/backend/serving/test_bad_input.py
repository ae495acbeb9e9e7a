"""What is wrong with a request stands in the HTTP reason phrase: Label Studio shows nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from maskloop_backend.serving.limits import REASON_LENGTH, reason_phrase
from maskloop_backend.studio.errors import without_queries

JSON = {"Content-Type": "application/json"}

CASES: list[tuple[str, str, str, Any, dict[str, str], int, str]] = [
    ("malformed", "POST", "/predict", b'{"tasks": [', JSON, 400, "Malformed JSON"),
    ("not utf-8", "POST", "/predict", b'{"tasks": "\xff"}', JSON, 400, "Malformed JSON"),
    ("deeply nested", "POST", "/predict", b"[" * 100_000, JSON, 400, "Malformed JSON"),
    ("an array", "POST", "/predict", b"[]", JSON, 400, "Expected a JSON object, got an array"),
    ("null", "POST", "/setup", b"null", JSON, 400, "Expected a JSON object, got null"),
    ("empty body", "POST", "/setup", b"", JSON, 400, "Malformed JSON"),
    ("no tasks", "POST", "/predict", b"{}", JSON, 400, "tasks: Field required"),
    ("tasks is a number", "POST", "/predict", b'{"tasks": 3}', JSON, 400, "tasks: Input should be a valid list"),
    ("a task is a string", "POST", "/predict", b'{"tasks": ["x"]}', JSON, 400, "tasks.0: "),
    ("no schema", "POST", "/setup", b'{"project": "1.2"}', JSON, 400, "schema: Field required"),
    ("no label config", "POST", "/predict", b'{"tasks": [], "project": "77.1"}', JSON, 400, "label_config is missing"),
    ("schema is no XML", "POST", "/setup", b'{"schema": "<View"}', JSON, 422, ""),
    ("schema without masks", "POST", "/setup", b'{"schema": "<View/>"}', JSON, 422, ""),
    ("no action", "POST", "/webhook", b"{}", JSON, 400, "action: Field required"),
    ("form", "POST", "/predict", b"a=b", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "Content-Type is"),
    ("no type", "POST", "/setup", b"{}", {"Content-Type": ""}, 415, "Content-Type is missing"),
    ("unknown endpoint", "GET", "/nowhere", None, {}, 404, "No such endpoint: /nowhere"),
    ("wrong method", "GET", "/predict", None, {}, 405, "GET is not possible here, expected POST"),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "reason"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_refusals(
    start: Any, method: str, path: str, body: Any, headers: dict[str, str], status: int, reason: str
) -> None:
    client = start()
    answer = client.request(method, path, body, headers)
    assert (answer.status, answer.reason[: len(reason)]) == (status, reason)
    assert answer.json["status"] == status
    assert answer.reason == reason_phrase(answer.json["error"])
    assert "Traceback" not in answer.body.decode()
    assert client.request("GET", "/health").status == 200


def test_label_config_without_a_known_label_is_refused_before_anything_streams(start: Any, image_uri: Any) -> None:
    xml = (
        '<View><Image name="i" value="$image"/><BrushLabels name="t" toName="i"><Label value="Ü"/></BrushLabels></View>'
    )
    answer = start().predict([image_uri()], label_config=xml)
    assert answer.status == 422
    assert answer.reason.isascii()


@pytest.mark.parametrize("chunked", [False, True])
def test_body_over_the_limit(start: Any, chunked: bool) -> None:
    client = start(max_body=100_000)
    connection = client.connect()
    body = b" " * 300_000
    connection.request("POST", "/predict", iter([body]) if chunked else body, JSON, encode_chunked=chunked)
    response = connection.getresponse()
    assert response.status == 413
    assert response.reason.startswith("Request body is over the limit of 100000 bytes")
    assert json.loads(response.read())["status"] == 413
    connection.close()
    assert client.request("GET", "/health").status == 200


def test_body_at_the_limit_is_taken(start: Any) -> None:
    client = start(max_body=100_000)
    body = json.dumps({"tasks": [], "label_config": "<View"}).encode().ljust(100_000)
    assert client.request("POST", "/predict", body).status == 422


def test_announced_petabyte_is_refused_at_once(start: Any) -> None:
    connection = start(max_body=100_000).connect()
    connection.putrequest("POST", "/predict")
    connection.putheader("Content-Length", str(10**15))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_too_many_tasks(start: Any, image_uri: Any) -> None:
    answer = start(max_tasks=2).predict([image_uri()] * 3)
    assert (answer.status, answer.reason) == (413, "3 tasks are over the limit of 2; select fewer tasks")


def test_http_garbage(start: Any) -> None:
    connection = start().connect()
    connection.connect()
    connection.sock.sendall(b"GET / HTTP/9.9 nonsense\r\n\r\n")
    answer = connection.sock.recv(1000).decode()
    assert answer.startswith("HTTP/1.0 400 Bad Request: ")
    connection.close()


@pytest.mark.parametrize(
    "bad",
    [
        {"id": 7, "data": {"image": "data:image/png;base64,AAAA"}},
        {"id": 7, "data": {"image": "data:image/png;base64,"}},
        {"id": 7, "data": {"image": "http://127.0.0.1:1/x.png"}},
        {"id": 7, "data": {"image": 5}},
        {"id": 7, "data": {"photo": "x"}},
        {"id": 7, "data": None},
        {"id": 7},
        {},
    ],
    ids=lambda task: json.dumps(task),
)
def test_task_whose_image_fails_is_empty_and_the_others_are_served(
    start: Any, image_uri: Any, config: str, caplog: Any, bad: dict[str, Any]
) -> None:
    client = start()
    good = {"id": 8, "data": {"image": image_uri()}}
    body = {"tasks": [good, bad, good], "label_config": config}
    answer = client.request("POST", "/predict", body)
    assert answer.status == 200
    results = answer.json["results"]
    assert results[1] == []
    assert len(results) == 3
    assert results[0]["result"]
    assert results[2]["result"]
    assert client.metric("maskloop_tasks_total", outcome="image_failed") == 1
    assert client.metric("maskloop_tasks_total", outcome="predicted") == 2
    if "id" in bad:
        assert "image_failed task=7 reason=" in caplog.text


def test_image_that_the_model_cannot_take_costs_only_its_own_result(start: Any, image_uri: Any) -> None:
    client = start(batch_wait=0.5)
    answer = client.predict([image_uri(20, 30), image_uri(13, 13), image_uri(20, 31)])
    assert [bool(result) for result in answer.json["results"]] == [True, False, True]
    assert client.metric("maskloop_tasks_total", outcome="model_failed") == 1


def test_smart_tool_hears_why_its_image_failed(start: Any) -> None:
    answer = start().predict(["data:image/png;base64,AAAA"], context={"result": []})
    assert answer.status == 424
    assert answer.reason == reason_phrase(answer.json["error"])


def test_no_tasks_no_results(start: Any) -> None:
    assert start().predict([]).json == {"results": []}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("two\r\nlines: x", "two lines: x"),
        ("Straße für 車", "Stra?e fu?r ?"),
        ("x" * 300, "x" * (REASON_LENGTH - 3) + "..."),
        ("", ""),
    ],
)
def test_reason_phrase(text: str, expected: str) -> None:
    assert reason_phrase(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "GET https://b.s3.example/a/b.png?X-Amz-Signature=1&y=2 gave 403",
            "GET https://b.s3.example/a/b.png?... gave 403",
        ),
        ("http://user:secret@host/x", "http://host/x"),
        ("/data/local-files/?d=a/b.png: 404", "/data/local-files/?d=a/b.png: 404"),
        ("/data/local-files/?d=a/b.png&key=secret 404", "/data/local-files/?d=a/b.png&... 404"),
        ("why? because", "why? because"),
    ],
)
def test_without_queries(text: str, expected: str) -> None:
    assert without_queries(text) == expected
