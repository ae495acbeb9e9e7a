"""From the webhook to the statistic: what annotators did with predictions, told by /stats and the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from maskloop_backend.loop.outcome_store import OUTCOMES_FILE

FIXTURES = Path(__file__).parents[2] / "fixtures" / "label-studio"


def recorded(action: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((FIXTURES / f"webhook_{action}.json").read_text())["request"]["body"]
    return body


def tell(client: Any, event: dict[str, Any]) -> None:
    assert client.request("POST", "/webhook", event).status == 201
    assert client.app.server.observer.settle()


def test_a_submitted_task_is_counted_and_a_deleted_one_forgotten(start: Any) -> None:
    client = start()
    event = recorded("ANNOTATION_CREATED")
    tell(client, event)
    found = client.request("GET", "/stats?project=27").json
    assert found["totals"]["tasks"] == 1
    assert found["versions"][0]["version"] == "fcn32s-v1"
    assert {row["class"] for row in found["classes"]} <= {"road", "car"}
    assert client.request("GET", "/stats").json["totals"]["tasks"] == 1
    assert client.request("GET", "/stats?project=28").json["totals"]["tasks"] == 0
    assert client.request("GET", "/stats?project=x").status == 400
    page = client.request("GET", "/", headers={"Accept": "text/html"}).body.decode()
    assert "Tasks by week" in page
    assert "fcn32s-v1" in page
    tell(
        client,
        {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": event["annotation"]["id"]}], "project": {"id": 27}},
    )
    assert client.request("GET", "/stats").json["totals"]["tasks"] == 0
    for gone in (
        {"action": "TASKS_DELETED", "tasks": [{"id": 403}], "project": {"id": 27}},
        {"action": "PROJECT_DELETED", "project": {"id": 27}},
    ):
        tell(client, event)
        tell(client, gone)
        assert client.request("GET", "/stats").json["totals"]["tasks"] == 0


def test_a_submitted_task_is_unsure_no_more(start: Any, image_uri: Any) -> None:
    client = start()
    body = {"tasks": [{"id": 403, "data": {"image": image_uri()}}], "project": "27.1", "label_config": client.config}
    client.request("POST", "/predict", body)
    gallery = client.app.server.gallery
    assert [picture.task for picture in gallery.unsure()] == ["403"]
    tell(client, recorded("ANNOTATION_UPDATED"))
    assert gallery.unsure() == []


def test_nothing_of_labels_is_logged_and_no_event_stops_the_server(start: Any, caplog: Any) -> None:
    client = start()
    event = recorded("ANNOTATION_CREATED")
    event["annotation"]["result"][0]["value"]["brushlabels"] = ["secret-label"]
    event["annotation"]["result"].append({"id": {}, "value": {"rle": "x", "brushlabels": "secret-label"}})
    tell(client, event)
    for odd in ({"annotation": 7}, {"annotation": {"id": 1, "result": {}}}, {"annotation": {"prediction": []}}):
        assert (
            client.request("POST", "/webhook", {"action": "ANNOTATION_CREATED", "project": {"id": 1}} | odd).status
            < 500
        )
    assert client.app.server.observer.settle()
    assert client.request("GET", "/stats").json["totals"]["tasks"] == 1
    assert "secret-label" not in caplog.text


def test_a_damaged_file_is_said_and_stops_nothing(start: Any, tmp_path: Path, image_uri: Any) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / OUTCOMES_FILE).write_bytes(b"no database" * 100)
    client = start()
    assert client.predict([image_uri()]).status == 200
    assert client.request("POST", "/webhook", recorded("ANNOTATION_CREATED")).status == 201
    page = client.request("GET", "/", headers={"Accept": "text/html"})
    advice = (
        f"{OUTCOMES_FILE}: file is not a database; stop the server and move the file away to begin with an empty one"
    )
    assert advice in page.body.decode()
    stats = client.request("GET", "/stats")
    assert stats.status == 503
    assert advice in stats.body.decode()
