"""Requests as Label Studio 1.23.2 sent them, on the wire."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskloop_converters.codecs import studio_rle

RECORDED = Path(__file__).parents[2] / "fixtures" / "label-studio"

XML_OF_OTHERS = '<View><Image name="i" value="$image"/><BrushLabels name="t" toName="i"><Label value="Fahrbahn"/></BrushLabels></View>'


def recorded(name: str) -> dict[str, Any]:
    request: dict[str, Any] = json.loads((RECORDED / f"{name}.json").read_text())["request"]
    return request


def replay(client: Any, name: str, *, image: str | None = None) -> Any:
    """Send a recorded request; `image` replaces the images of its tasks, which only that Label Studio had."""
    request = recorded(name)
    headers = {k: v for k, v in request["headers"].items() if k not in {"Host", "Content-Length", "Authorization"}}
    body = request["body"]
    if image is not None:
        for task in body["tasks"]:
            task["data"] = {"image": image}
    return client.request(request["method"], request["path"], body, headers)


def test_health(start: Any) -> None:
    answer = replay(start(), "health")
    assert answer.status == 200
    assert answer.json["status"] == "UP"
    assert answer.json["model"] == "ready"


def test_setup_and_predictions_name_the_same_version(start: Any, image_uri: Any) -> None:
    client = start()
    setup = replay(client, "setup")
    assert setup.status == 200
    predicted = replay(client, "predict_single_open_task", image=image_uri())
    assert predicted.json["results"][0]["model_version"] == setup.json["model_version"]
    versions = replay(client, "versions")
    assert versions.json["versions"] == [setup.json["model_version"]]


@pytest.mark.parametrize("name", ["predict_single_open_task", "predict_batch_retrieve_predictions"])
def test_predict(start: Any, image_uri: Any, name: str) -> None:
    client = start()
    answer = replay(client, name, image=image_uri(20, 30, 10))
    assert answer.status == 200
    results = answer.json["results"]
    assert len(results) == len(recorded(name)["body"]["tasks"])
    for result in results:
        assert result["score"] == pytest.approx(0.8)
        regions = {region["value"]["brushlabels"][0]: region for region in result["result"]}
        assert set(regions) == {"road", "car"}
        assert len({region["id"] for region in result["result"]}) == 2
        car = regions["car"]
        assert (car["from_name"], car["to_name"], car["type"]) == ("tag", "image", "brushlabels")
        assert (car["original_width"], car["original_height"], car["image_rotation"]) == (30, 20, 0)
        expected = np.zeros((20, 30), bool)
        expected[:, :10] = True
        assert (studio_rle.decode([car["value"]["rle"]], 20, 30).mask(0) == expected).all()


@pytest.mark.parametrize("name", ["predict_interactive_keypoints", "predict_interactive_rectangle"])
def test_smart_tools_answer_from_the_cached_prediction(start: Any, image_uri: Any, brightness: Any, name: str) -> None:
    segmenter = brightness()
    client = start(segmenter)
    image = image_uri(240, 320, 320)
    client.predict([image])
    answer = replay(client, name, image=image)
    assert answer.status == 200
    assert len(answer.json["results"]) == 1
    assert segmenter.calls == [1]


@pytest.mark.parametrize("path", sorted(RECORDED.glob("webhook_*.json")), ids=lambda path: path.stem)
def test_webhooks_are_taken_in(start: Any, tmp_path: Path, path: Path) -> None:
    client = start()
    answer = replay(client, path.stem)
    assert answer.status == 201
    sent = recorded(path.stem)["body"]
    wants = (
        {"status": "queued", "job": 1} if sent["action"] == "START_TRAINING" else {"status": "recorded", "job": None}
    )
    assert answer.json == wants
    assert client.app.server.queue.events() == {sent["action"]: 1}
    assert client.metric("maskloop_webhook_events_total", action=sent["action"]) == 1


def test_jobs_are_for_the_owner_only(start: Any, tmp_path: Path) -> None:
    replay(start(), "webhook_START_TRAINING")
    files = list((tmp_path / "home").glob("jobs*"))
    assert len(files) >= 2
    for file in files:
        assert file.stat().st_mode & 0o077 == 0, file


def test_bodies_tokens_and_label_text_are_never_logged(start: Any, image_uri: Any, caplog: Any) -> None:
    client = start()
    with caplog.at_level("DEBUG"):
        replay(client, "setup")
        replay(client, "predict_single_open_task", image=image_uri())
        replay(client, "predict_single_open_task", image="http://user:geheim@127.0.0.1:1/x.png?Signature=geheim")
        replay(client, "webhook_ANNOTATION_CREATED")
        refused = client.predict([image_uri()], label_config=XML_OF_OTHERS)
    assert (refused.status, "Fahrbahn" in refused.reason) == (422, True)
    assert "endpoint=/predict" in caplog.text
    for secret in ("<access_token>", "geheim", "road", "car", "BrushLabels", "invite", "Fahrbahn"):
        assert secret not in caplog.text


def test_setup_says_which_labels_do_not_fit(start: Any) -> None:
    client = start()
    schema = (
        '<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image">'
        '<Label value="car"/><Label value="tram"/></BrushLabels></View>'
    )
    body = {"project": "7.1", "schema": schema, "hostname": "http://user:pw@studio:8080/", "access_token": "t"}
    said = client.request("POST", "/setup", body).json
    assert said == {
        "model_version": "fcn32s-small-20261122-00000001",
        "missing_labels": ["road"],
        "unused_labels": ["tram"],
        "notes": [],
        "own_version": False,
        "runtime": None,
        "runtime_reason": None,
        "studio_url": "http://studio:8080/",
    }
    # a question that names no Label Studio does not make the backend forget the one it knows
    again = client.request("POST", "/setup", body | {"hostname": "", "access_token": ""}).json
    assert again == said
    assert client.app.server.projects.fetcher("7.2").token == "t"
