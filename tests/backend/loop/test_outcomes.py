"""What became of a prediction, read off webhooks: recorded ones, and masks of a few pixels whose figures are counted by hand."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskloop_backend.loop.outcome_store import OUTCOMES_FILE, OutcomeError, OutcomeStore
from maskloop_backend.loop.outcomes import Fate, Outcome, outcome_of, read_event
from maskloop_converters.codecs import studio_rle
from maskloop_converters.masks import RunList

FIXTURES = Path(__file__).parents[2] / "fixtures" / "label-studio"
WEEK = 7 * 86400.0
# 2026-11-29
NOW = 1_795_910_400.0


def region(name: str, label: str, columns: slice, origin: str = "prediction", **more: Any) -> dict[str, Any]:
    """A brush over some columns of an image of 4 x 10 pixels."""
    mask = np.zeros((4, 10), np.bool_)
    mask[:, columns] = True
    (stream,) = studio_rle.encode(RunList.from_masks([mask], height=4, width=10))
    value = {"format": "rle", "rle": list(stream), "brushlabels": [label]}
    sizes = {"original_width": 10, "original_height": 4, "image_rotation": 0}
    item = {"id": name, "from_name": "tag", "to_name": "image", "type": "brushlabels", "origin": origin, **sizes}
    return {**item, "value": value, **more}


PREDICTED = [region("a", "road", slice(0, 6)), region("b", "car", slice(6, 8))]


def body(
    result: list[Any], predicted: list[Any] | None = None, *, action: str = "ANNOTATION_CREATED", **more: Any
) -> bytes:
    prediction = None if predicted is None else {"id": 3, "result": predicted, "model_version": "v1"}
    annotation = {"id": 104, "result": result, "prediction": prediction, "was_cancelled": False, "task": 7, **more}
    return json.dumps({"action": action, "annotation": annotation, "task": {"id": 7}, "project": {"id": 5}}).encode()


def found(*arguments: Any, **more: Any) -> Outcome:
    outcome = outcome_of(read_event(body(*arguments, **more)))
    assert outcome is not None
    return outcome


def test_accepted_as_it_was() -> None:
    outcome = found(PREDICTED, PREDICTED)
    classes = {"road": Fate(kept=1, pixels=24), "car": Fate(kept=1, pixels=8)}
    assert outcome == Outcome(5, 7, 104, "v1", "accepted", 32, 0, classes)


def test_changed_regions_and_pixels_are_counted_by_class() -> None:
    wider = region("b", "car", slice(5, 8), "prediction-changed")
    # the car has taken four pixels of the road, and eight are new
    outcome = found([PREDICTED[0], wider, region("c", "tree", slice(8, 10), "manual")], PREDICTED)
    assert (outcome.kind, outcome.pixels, outcome.off) == ("changed", 40, 12)
    assert outcome.classes == {
        "road": Fate(kept=1, pixels=24, off=4),
        "car": Fate(changed=1, pixels=12, off=4),
        "tree": Fate(added=1, pixels=8, off=8),
    }


@pytest.mark.parametrize(
    ("result", "predicted", "more", "kind"),
    [
        ([PREDICTED[0]], PREDICTED, {}, "changed"),
        ([], PREDICTED, {}, "rejected"),
        ([region("x", "road", slice(0, 9), "manual")], PREDICTED, {}, "rejected"),
        ([], [], {"parent_prediction": 3}, "accepted"),
        ([region("x", "road", slice(0, 9), "manual")], [], {"parent_prediction": 3}, "changed"),
        ([region("x", "road", slice(0, 9), "manual")], None, {}, "drawn"),
        (PREDICTED, None, {"parent_prediction": 3}, "accepted"),
        # what is sent is another version's prediction, not the one that was begun with
        ([region("z", "road", slice(0, 9))], PREDICTED, {"parent_prediction": 4}, "accepted"),
    ],
)
def test_kinds(result: list[Any], predicted: list[Any] | None, more: dict[str, Any], kind: str) -> None:
    assert found(result, predicted, **more).kind == kind


def test_a_removed_region_counts_for_its_class_and_its_pixels_are_off() -> None:
    outcome = found([PREDICTED[0]], PREDICTED)
    assert outcome.classes["car"] == Fate(removed=1, pixels=8, off=8)
    assert (outcome.pixels, outcome.off) == (32, 8)


def test_another_label_is_a_removed_region_of_the_old_one() -> None:
    outcome = found([PREDICTED[0], region("b", "bus", slice(6, 8), "prediction-changed")], PREDICTED)
    assert outcome.classes["car"] == Fate(removed=1, pixels=8, off=8)
    assert outcome.classes["bus"] == Fate(changed=1, pixels=8, off=8)
    assert (outcome.kind, outcome.pixels, outcome.off) == ("changed", 32, 8)


@pytest.mark.parametrize("action", ["ANNOTATION_CREATED", "ANNOTATION_UPDATED"])
def test_recorded_events(action: str) -> None:
    recorded = json.loads((FIXTURES / f"webhook_{action}.json").read_text())["request"]["body"]
    outcome = outcome_of(read_event(json.dumps(recorded).encode()))
    assert outcome is not None
    assert (outcome.project, outcome.task, outcome.version) == (27, 403, "fcn32s-v1")
    assert outcome.pixels > 0
    assert sum(fate.kept + fate.changed + fate.added for fate in outcome.classes.values()) == len(
        recorded["annotation"]["result"]
    )


@pytest.mark.parametrize(
    "event",
    [
        body(PREDICTED, PREDICTED, was_cancelled=True),
        body(PREDICTED, PREDICTED, action="TASKS_CREATED"),
        b'{"action": "ANNOTATION_CREATED", "annotation": [], "project": {"id": 5}}',
        b'{"action": "ANNOTATION_CREATED", "annotation": {"id": "x", "task": 7}, "project": {"id": 5}}',
        b'{"action": "ANNOTATION_CREATED", "annotation": {"id": 1}, "project": 7}',
    ],
)
def test_what_says_nothing_of_a_prediction(event: bytes) -> None:
    assert outcome_of(read_event(event)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"original_width": 10**9},
        {"original_width": "10"},
        {"original_width": True},
        {"original_height": -4},
        {"value": {"format": "rle", "rle": [999, 3], "brushlabels": ["road"]}},
        {"value": {"format": "rle", "rle": [0, 4, 176], "brushlabels": ["road"]}},
        {"value": {"format": "rle", "rle": [[0]], "brushlabels": ["road"]}},
        {"value": {"brushlabels": [7, None, {}]}},
        {"value": None},
        {"type": 7},
        {"id": {}},
        {"to_name": []},
    ],
)
def test_what_cannot_be_read_is_no_error(change: dict[str, Any]) -> None:
    event = read_event(body([{**PREDICTED[0], **change}, PREDICTED[1]], PREDICTED))
    outcome = outcome_of(event)
    assert outcome is not None
    assert outcome.classes["car"].kept == 1


def test_names_and_classes_are_bounded() -> None:
    many = [region(f"r{k}", "x" * 500 + str(k) if k else "short" * 100, slice(0, 1), "manual") for k in range(300)]
    outcome = found(many, None, model_version="v" * 1000)
    assert len(outcome.classes) <= 100
    assert max(map(len, outcome.classes)) <= 100


@pytest.fixture
def store(tmp_path: Path) -> Any:
    now = [NOW]
    made = OutcomeStore(tmp_path, most=4, clock=lambda: now[0])
    made.now = now  # type: ignore[attr-defined]
    yield made
    made.close()


def outcome(task: int, kind: Any = "changed", off: int = 50, version: str | None = "v1", project: int = 5) -> Outcome:
    fates = {"road": Fate(kept=1, pixels=60), "car": Fate(changed=1, pixels=40, off=off)}
    return Outcome(project, task, 100 + task, version, kind, 100, off, fates)


def test_statistics_by_version_class_and_week(store: Any) -> None:
    store.record(outcome(1, "accepted", 0))
    store.record(outcome(2))
    store.now[0] += WEEK
    store.record(outcome(3, "rejected", 100, "v2"))
    store.record(outcome(3, "drawn", 0, None, project=6))
    store.now[0] += 1
    # the same task again counts once, as it was left
    store.record(outcome(2, "changed", 30))
    found = store.statistics(5)
    assert found.totals == {
        "tasks": 3,
        "accepted": 1,
        "changed": 1,
        "rejected": 1,
        "drawn": 0,
        "pixels": 300,
        "off": 130,
    }
    assert [(row["version"], row["tasks"], row["off"]) for row in found.versions] == [("v1", 2, 30), ("v2", 1, 100)]
    assert [(row["week"], row["accepted"], row["changed"], row["rejected"]) for row in found.weeks] == [
        ("2026-W48", 1, 0, 0),
        ("2026-W49", 0, 1, 1),
    ]
    assert [(row["class"], row["kept"], row["changed"], row["off"]) for row in found.classes] == [
        ("road", 3, 0, 0),
        ("car", 0, 3, 130),
    ]
    assert [(row["class"], row["week"], row["off"]) for row in found.class_weeks if row["class"] == "car"] == [
        ("car", "2026-W48", 0),
        ("car", "2026-W49", 130),
    ]
    assert [(row["task"], row["share"]) for row in found.tasks] == [(3, 1.0), (2, 0.3)]
    assert store.statistics().totals["tasks"] == 4
    assert store.statistics(5, weeks=1).class_weeks[0]["week"] == "2026-W49"
    assert store.projects() == [5, 6]
    assert store.statistics(99).totals["tasks"] == 0


def test_it_is_bounded_and_what_is_deleted_is_forgotten(store: Any) -> None:
    for task in range(1, 7):
        store.now[0] += 1
        store.record(outcome(task, off=task))
    assert sorted(row["task"] for row in store.statistics(5).tasks) == [3, 4, 5, 6]
    store.forget(5, tasks=[3])
    store.forget(5, annotations=[104])
    assert sorted(row["task"] for row in store.statistics(5).tasks) == [5, 6]
    assert store.statistics(5).classes[0]["kept"] == 2
    store.forget(6)
    store.forget(5)
    assert store.statistics().classes == []


def test_the_file_is_private_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    OutcomeStore(tmp_path).close()
    assert stat.S_IMODE((tmp_path / OUTCOMES_FILE).stat().st_mode) == 0o600
    (tmp_path / OUTCOMES_FILE).write_bytes(b"no database" * 100)
    with pytest.raises(OutcomeError, match=f"{OUTCOMES_FILE}.*move the file away"):
        OutcomeStore(tmp_path)
