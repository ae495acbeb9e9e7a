"""Slow models, many requests at once, clients that leave: nobody waits for somebody else's prediction."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from maskloop_backend.registry.history import Served, Serving
from maskloop_converters.samples import LabelSet


def wait_until(true: Any, seconds: float = 30.0) -> None:
    """Wait for a state that another thread brings about and that has no event of its own."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        threading.Event().wait(0.005)


class SlowSource:
    """A registry whose versions take as long to load as the test says."""

    def __init__(self, make: Any) -> None:
        self.make = make
        self.current = "fcn32s-small-20261122-00000001"
        self.gate = threading.Event()
        self.broken: Exception | None = None

    def served(self) -> Served:
        return Served(Serving(self.current))

    def versions(self) -> list[str]:
        return ["fcn32s-small-20261122-00000002", "fcn32s-small-20261122-00000001"]

    def labels(self, version: str) -> LabelSet:
        return LabelSet.from_names(["road", "car"])

    def load(self, version: str) -> Any:
        assert self.gate.wait(60)
        if self.broken:
            raise self.broken
        return self.make(version)


def test_health_and_setup_answer_while_the_model_loads(
    start: Any, brightness: Any, image_uri: Any, config: str
) -> None:
    source = SlowSource(brightness)
    client = start(source, ready=False)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.predict, [image_uri()])
        wait_until(lambda: client.metric("maskloop_predict_requests_running") == 1)
        assert client.request("GET", "/health").json["model"] == "loading"
        setup = client.request("POST", "/setup", {"schema": config, "project": "5.1"})
        assert setup.json["model_version"] == source.current
        assert not waiting.done()
        source.gate.set()
        answer = waiting.result(30)
    assert answer.json["results"][0]["model_version"] == setup.json["model_version"]
    assert client.request("GET", "/health").json["model"] == "ready"


def test_prediction_waits_for_a_loading_model_only_so_long(start: Any, brightness: Any, image_uri: Any) -> None:
    source = SlowSource(brightness)
    client = start(source, ready=False, model_wait=0.05)
    answer = client.predict([image_uri()])
    assert (answer.status, answer.reason) == (503, f"Model {source.current} is still loading, try again in a minute")
    assert answer.headers["Retry-After"] == "30"
    assert client.metric("maskloop_predict_requests_running") == 0
    source.gate.set()


def test_model_that_cannot_be_loaded_until_it_is_mended(
    start: Any, brightness: Any, image_uri: Any, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = SlowSource(brightness)
    source.broken = ValueError("the weights are damaged")
    source.gate.set()
    client = start(source, ready=False)
    wait_until(lambda: client.request("GET", "/health").json["model"] == "failed")
    for answer in (client.predict([image_uri()]), client.request("POST", "/setup", {"schema": config})):
        assert (answer.status, answer.reason) == (503, "The model cannot be loaded: the weights are damaged")
    source.broken = None
    for version in client.app.server.models._versions.values():
        version.retry_at = 0.0
    monkeypatch.setattr("maskloop_backend.serving.models.LOOK_INTERVAL", 0.0)
    assert client.predict([image_uri()]).json["results"][0]["result"]


def test_no_model_yet_then_one(
    start: Any, brightness: Any, image_uri: Any, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskloop_backend.serving.models.LOOK_INTERVAL", 0.0)
    source = SlowSource(brightness)
    source.gate.set()
    version, source.current = source.current, None
    client = start(source, ready=False)
    assert client.request("GET", "/health").json["model"] == "none"
    answer = client.request("POST", "/setup", {"schema": config})
    assert answer.status == 503
    assert answer.reason.startswith("No model version is served yet")
    source.current = version
    assert client.predict([image_uri()]).json["results"][0]["model_version"] == version


def test_serving_version_changes_without_a_gap(
    start: Any, brightness: Any, image_uri: Any, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskloop_backend.serving.models.LOOK_INTERVAL", 0.0)
    source = SlowSource(brightness)
    source.gate.set()
    client = start(source)
    old, new = "fcn32s-small-20261122-00000001", "fcn32s-small-20261122-00000002"

    def says() -> tuple[str, str]:
        setup = client.request("POST", "/setup", {"schema": config}).json["model_version"]
        return setup, client.predict([image_uri()]).json["results"][0]["model_version"]

    assert says() == (old, old)
    source.gate.clear()
    source.current = new
    # the new one loads; the old one goes on answering, and /setup says so
    assert says() == (old, old)
    source.gate.set()
    wait_until(lambda: client.request("GET", "/health").json["model_version"] == new)
    assert says() == (new, new)
    assert client.request("GET", "/versions").json["versions"] == [new, old]


def test_health_within_its_second_during_250_tasks_and_eight_annotators(
    start: Any, brightness: Any, image_uri: Any, config: str
) -> None:
    segmenter = brightness()
    segmenter.gate.clear()
    client = start(segmenter)
    with ThreadPoolExecutor(9) as pool:
        bulk = pool.submit(client.predict, [image_uri(20, 30 + i % 50, i % 20) for i in range(250)])
        people = [pool.submit(client.predict, [image_uri(21, 30 + i)]) for i in range(8)]
        assert segmenter.called.acquire(timeout=30)
        wait_until(lambda: client.metric("maskloop_predict_requests_running") == 9)
        connection = client.connect(timeout=1)  # what Label Studio waits for
        for _ in range(20):
            connection.request("GET", "/health")
            response = connection.getresponse()
            assert response.status == 200
            response.read()
        connection.close()
        assert client.request("POST", "/setup", {"schema": config}).status == 200
        segmenter.gate.set()
        assert len(bulk.result(60).json["results"]) == 250
        assert all(bulk.result().json["results"])
        assert all(one.result(60).json["results"][0]["result"] for one in people)
    assert client.metric("maskloop_predict_requests_running") == 0


def test_250_tasks_go_through_in_batches_with_bounded_images_under_way(
    start: Any, brightness: Any, image_uri: Any
) -> None:
    segmenter = brightness()
    answer = start(segmenter, batch_size=8).predict([image_uri(20, 30 + i, 1 + i % 20) for i in range(250)])
    widths = [result["result"][0]["original_width"] for result in answer.json["results"]]
    assert widths == [30 + i for i in range(250)]
    assert sum(segmenter.calls) == 250
    assert max(segmenter.calls) <= 8
    assert len(segmenter.calls) < 125


def test_white_space_keeps_a_slow_answer_alive(start: Any, brightness: Any, image_uri: Any, config: str) -> None:
    segmenter = brightness()
    segmenter.gate.clear()
    client = start(segmenter)
    connection = client.connect(timeout=30)
    tasks = [{"id": 1, "data": {"image": image_uri()}}]
    body = json.dumps({"tasks": tasks, "label_config": config})
    connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert response.status == 200
    assert response.getheader("Transfer-Encoding") == "chunked"
    start_of_body = response.read(14)
    assert start_of_body[:12] == b'{"results":['
    # nothing but the keep-alive can have sent these two bytes: the model still stands at its gate
    assert start_of_body[12:] == b"  "
    segmenter.gate.set()
    assert json.loads(start_of_body + response.read())["results"][0]["result"]
    connection.close()


def test_same_image_asked_for_at_once_is_computed_once(start: Any, brightness: Any, image_uri: Any) -> None:
    segmenter = brightness()
    segmenter.gate.clear()
    client = start(segmenter)
    with ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(client.predict, [image_uri()]) for _ in range(6)]
        wait_until(lambda: client.metric("maskloop_cache_lookups_total", outcome="shared") == 5)
        segmenter.gate.set()
        results = [answer.result(30).json["results"][0] for answer in answers]
    assert segmenter.calls == [1]
    assert all(result["score"] == results[0]["score"] and result["result"] for result in results)
    assert client.predict([image_uri()]).status == 200
    assert segmenter.calls == [1]
    assert client.metric("maskloop_cache_lookups_total", outcome="hit") == 1


def test_failed_computation_is_tried_again(start: Any, image_uri: Any, brightness: Any) -> None:
    segmenter = brightness()
    client = start(segmenter)
    for _ in range(2):
        assert client.predict([image_uri(13, 13)]).json["results"] == [[]]
    assert segmenter.calls == [1, 1]


def test_images_of_concurrent_requests_share_a_batch(start: Any, brightness: Any, image_uri: Any) -> None:
    segmenter = brightness()
    segmenter.gate.clear()
    client = start(segmenter)
    with ThreadPoolExecutor(6) as pool:
        first = pool.submit(client.predict, [image_uri(20, 30)])
        assert segmenter.called.acquire(timeout=30)
        others = [pool.submit(client.predict, [image_uri(20, 40 + i)]) for i in range(5)]
        wait_until(lambda: client.metric("maskloop_queued_images") == 5)
        segmenter.gate.set()
        assert all(answer.result(30).status == 200 for answer in [first, *others])
    assert segmenter.calls == [1, 5]


def test_annotator_overtakes_a_request_for_many_tasks(start: Any, brightness: Any, image_uri: Any) -> None:
    segmenter = brightness()
    client = start(segmenter, batch_size=1)
    seen: list[int] = []
    predict = segmenter.predict
    segmenter.predict = lambda images: (seen.append(images[0].shape[0]), predict(images))[1]
    segmenter.gate.clear()
    with ThreadPoolExecutor(2) as pool:
        bulk = pool.submit(client.predict, [image_uri(20, 30 + i) for i in range(20)])
        assert segmenter.called.acquire(timeout=30)
        # the request fills its window of 2 batches and 4 fetchers; one image is with the model, five wait
        wait_until(lambda: client.metric("maskloop_queued_images") == 5)
        person = pool.submit(client.predict, [image_uri(50, 30)])
        # the person's image does not even wait for the one that is with the model
        assert segmenter.called.acquire(timeout=30)
        assert seen == [20, 50]
        segmenter.gate.set()
        person.result(30)
        bulk.result(30)


def test_client_that_leaves_frees_its_place_and_its_queued_tasks(
    start: Any, brightness: Any, image_uri: Any, config: str
) -> None:
    segmenter = brightness()
    segmenter.gate.clear()
    client = start(segmenter, batch_size=1, fetchers=1)
    connection = client.connect()
    tasks = [{"id": i, "data": {"image": image_uri(20, 30 + i)}} for i in range(100)]
    body = json.dumps({"tasks": tasks, "label_config": config})
    connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert response.status == 200
    response.close()
    connection.close()
    # it is the white space that finds the connection broken
    wait_until(lambda: client.metric("maskloop_predict_requests_running") == 0)
    segmenter.gate.set()
    assert client.metric("maskloop_tasks_total", outcome="cancelled") == 100
    assert client.predict([image_uri(90, 90)]).json["results"][0]["result"]
    assert sum(segmenter.calls) < 20


def test_more_predictions_than_may_wait_are_refused_and_health_still_answers(
    start: Any, brightness: Any, image_uri: Any
) -> None:
    segmenter = brightness()
    segmenter.gate.clear()
    client = start(segmenter, threads=4, reserved_threads=2, waiting_predictions=3)
    with ThreadPoolExecutor(5) as pool:
        running = [pool.submit(client.predict, [image_uri(20, 30 + i)]) for i in range(2)]
        wait_until(lambda: client.metric("maskloop_predict_requests_running") == 2)
        running += [pool.submit(client.predict, [image_uri(20, 40 + i)]) for i in range(3)]
        wait_until(lambda: len(client.server._waitress.predictions.queue) == 3)
        refused = client.predict([image_uri()])
        assert (refused.status, refused.json["error"]) == (
            503,
            "Service Unavailable: too many predictions wait already; try again in a minute",
        )
        assert client.request("GET", "/health").status == 200
        segmenter.gate.set()
        assert all(answer.result(30).json["results"][0]["result"] for answer in running)
    assert client.predict([image_uri()]).status == 200


def test_requests_for_many_tasks_leave_places_to_single_ones(start: Any, brightness: Any, image_uri: Any) -> None:
    segmenter = brightness()
    segmenter.gate.clear()
    client = start(segmenter, threads=6, reserved_threads=2)
    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(client.predict, [image_uri(20, 30 + i), image_uri(30, 30 + i)]) for i in range(2)]
        wait_until(lambda: client.metric("maskloop_predict_requests_running") == 2)
        refused = client.predict([image_uri()] * 2)
        assert (refused.status, refused.reason) == (503, "2 requests for many tasks are running already, try again")
        running.append(pool.submit(client.predict, [image_uri()]))
        wait_until(lambda: client.metric("maskloop_predict_requests_running") == 3)
        segmenter.gate.set()
        assert all(answer.result(30).json["results"][0]["result"] for answer in running)
    assert client.predict([image_uri()] * 2).status == 200


def test_cache_is_bounded_in_bytes(start: Any, brightness: Any, image_uri: Any) -> None:
    segmenter = brightness()
    # a prediction of 100 x 100 is 20,000 bytes: label map and confidence
    client = start(segmenter, cache_bytes=50_000)
    images = [image_uri(100, 100, bright) for bright in (1, 2, 3)]
    for image in images:
        client.predict([image])
    assert client.metric("maskloop_cache_bytes") == 40_000
    client.predict([images[2]])
    assert sum(segmenter.calls) == 3
    client.predict([images[0]])
    assert sum(segmenter.calls) == 4
    client.predict([image_uri(200, 200)])
    assert client.metric("maskloop_cache_bytes") == 40_000
