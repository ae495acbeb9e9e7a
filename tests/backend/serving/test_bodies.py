"""Bodies that are small as text and large in memory, and what is remembered of them."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import orjson
import pytest

from maskloop_backend.serving import limits, schemas
from maskloop_backend.serving.limits import Refusal, parse, weight
from maskloop_backend.serving.projects import LeastRecent

RECORDED = Path(__file__).parents[2] / "fixtures" / "label-studio"
MIB = 1 << 20


def repeated(part: str, size: int) -> bytes:
    return b'{"tasks":[],"x":[' + part.encode() * (size // len(part)) + b"0]}"


@pytest.mark.parametrize("part", ["{},", "[],", '"",', '{"a":1},', '"abcdefgh",', "[[1]],"], ids=lambda part: part)
def test_body_that_would_swell_is_refused_before_it_is_parsed(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    monkeypatch.setattr(orjson, "loads", lambda _: pytest.fail("it was parsed"))
    with pytest.raises(Refusal, match="413 The request holds too many values for its length"):
        parse(schemas.PredictRequest, repeated(part, 8 * MIB), 8 * MIB)


@pytest.mark.parametrize(
    "part",
    ["{},", "[],", '"",', '{"a":1},', '"abcdefgh",', "[[1]],", "1,", "999,", "1e9,", "null,", '{"ab":"cd","ef":[1,2]},']
    + [json.dumps({f"key{k}": k for k in range(n)}) + "," for n in (3, 6, 11, 26, 100)],
    ids=lambda part: part[:30],
)
def test_weight_is_no_less_than_what_values_take(part: str) -> None:
    body = repeated(part, MIB)
    tracemalloc.start()
    values = orjson.loads(body)
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert values["x"]
    assert taken <= weight(body)


@pytest.mark.parametrize("path", sorted(RECORDED.glob("predict_*.json")), ids=lambda path: path.stem)
def test_what_label_studio_sends_is_taken_a_thousand_times_over(path: Path) -> None:
    body = json.loads(path.read_text())["request"]["body"]
    body["tasks"] = (body["tasks"] * 4000)[:4000]
    request = parse(schemas.PredictRequest, json.dumps(body, separators=(",", ":")).encode(), 128 * MIB)
    assert request.tasks[3999] == {key: body["tasks"][-1][key] for key in ("id", "data")}


def test_masks_become_no_objects() -> None:
    masks = json.dumps({"result": [{"value": {"format": "rle", "rle": [1000] * 1_000_000}}]})
    body = f'{{"action":"ANNOTATION_CREATED","project":{{"id":3}},"task":{{"id":4}},"annotation":{masks}}}'
    tracemalloc.start()
    event = parse(schemas.WebhookRequest, body.encode(), 8 * MIB)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * len(body)
    assert event.model_dump(exclude_unset=True) == {
        "action": "ANNOTATION_CREATED",
        "project": {"id": 3},
        "task": {"id": 4},
        "annotation": {},
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"rle": [1, 2], "x": 1}', {"rle": [], "x": 1}),
        ('{"rle" :\n[1,2 ],"x":[1,2]}', {"rle": [], "x": [1, 2]}),
        ('{"rle":["a"]}', {"rle": ["a"]}),
        ('{"rle":[[1]]}', {"rle": [[1]]}),
        ('{"x":"\\"rle\\":[1,2]"}', {"x": '"rle":[1,2]'}),
        ('{"x":["rle",[1]]}', {"x": ["rle", [1]]}),
        ('{"a\\"rle":[1]}', {'a"rle': []}),
    ],
)
def test_only_masks_are_left_out(text: str, expected: Any) -> None:
    assert orjson.loads(limits._MASKS.sub(b'"rle":[]', text.encode())) == expected


@pytest.mark.parametrize(
    "schema",
    [
        "<View>" + "x" * 100_000,
        "<View>" + "<A/>" * 400_000 + "</View>",
        '<View><Image name="image" value="$image"/>'
        + '<BrushLabels name="t" toName="image"><Label value="car"/></BrushLabels>' * 1001
        + "</View>",
        '<View><Image name="image" value="$image"/><BrushLabels name="t" toName="image">'
        + '<Label value="car"/>' * 10_001
        + "</BrushLabels></View>",
    ],
    ids=["no XML", "long", "1,001 controls", "10,001 labels"],
)
def test_nothing_is_remembered_of_what_is_no_label_config(start: Any, schema: str) -> None:
    client = start()
    body = {"schema": schema, "project": "7.1", "hostname": "http://127.0.0.1:1", "access_token": "t"}
    answer = client.request("POST", "/setup", body)
    assert answer.status == 422
    projects = client.app.server.projects
    assert projects.schema("7.1") is None
    assert projects.studio_url("7.1") is None


def test_few_thousand_labels_are_taken(start: Any) -> None:
    labels = "".join(f'<Label value="l{number}"/>' for number in range(5000))
    schema = (
        '<View><Image name="image" value="$image"/><BrushLabels name="t" toName="image"><Label value="car"/>'
        f"{labels}</BrushLabels></View>"
    )
    assert start().request("POST", "/setup", {"schema": schema, "project": "7.1"}).status == 200


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/setup", {"schema": "x", "project": "1" * 101}, "project"),
        ("/setup", {"schema": "x", "hostname": "h" * 2001}, "hostname"),
        ("/setup", {"schema": "x", "access_token": "t" * 10_001}, "access_token"),
        ("/predict", {"tasks": [], "project": "1" * 300_000}, "project"),
        ("/webhook", {"action": "A" * 101}, "action"),
    ],
)
def test_texts_have_lengths(start: Any, caplog: Any, path: str, body: Any, field: str) -> None:
    answer = start().request("POST", path, body)
    assert answer.status == 400
    assert answer.reason.startswith(field)
    assert all(len(record.getMessage()) < 1000 for record in caplog.records)


def test_what_is_remembered_is_bounded_in_characters() -> None:
    store: LeastRecent[int, str] = LeastRecent(10, size=len, most=100)
    for number in range(5):
        store.set(number, "x" * 40)
    store.set(4, "y" * 50)
    assert [store.get(number) for number in range(5)] == [None, None, None, "x" * 40, "y" * 50]
    store.set(5, "z" * 101)
    assert store.get(5) is None
