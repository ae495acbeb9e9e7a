"""The queue: what Label Studio reports becomes few trainings, and none is lost."""

from __future__ import annotations

import json
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from maskloop_backend.loop.queue import ACTIONS, Job, JobError, JobQueue

RECORDED = Path(__file__).parents[2] / "fixtures" / "label-studio"


class Clock:
    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., JobQueue]]:
    queues: list[JobQueue] = []

    def make_queue(**options: Any) -> JobQueue:
        queues.append(JobQueue(tmp_path, clock=clock, **options))
        return queues[-1]

    yield make_queue
    for queue in queues:
        queue.close()


def recorded(action: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RECORDED / f"webhook_{action}.json").read_text())["request"]["body"]
    return found


def corrected(task: int, project: int = 27, action: str = "ANNOTATION_CREATED", **annotation: Any) -> dict[str, Any]:
    return {"action": action, "project": {"id": project}, "task": {"id": task}, "annotation": {"id": 1} | annotation}


def wanted(job: Job | None) -> Job:
    assert job is not None
    return job


def test_start_training_is_due_at_once_and_once(make: Callable[..., JobQueue], clock: Clock) -> None:
    queue = make()
    job = wanted(queue.notice(recorded("START_TRAINING")))
    assert (job.project, job.state, job.reason) == (27, "queued", "asked for in Label Studio")
    clock.now += 1
    assert wanted(queue.notice(recorded("START_TRAINING"))).id == job.id
    assert [each.id for each in queue.due()] == [job.id]
    assert queue.events() == {"START_TRAINING": 2}
    queue.begin(job.id)
    # nothing was corrected since it began: a second click wants the same
    again = wanted(queue.notice(recorded("START_TRAINING")))
    assert (again.id, again.state) == (job.id, "running")
    queue.notice(corrected(1))
    after = wanted(queue.notice(recorded("START_TRAINING")))
    assert (after.id, after.state) == (job.id + 1, "queued")


def test_corrections_enqueue_one_training_after_a_quiet_time(make: Callable[..., JobQueue], clock: Clock) -> None:
    queue = make(train_after=3, quiet=30)
    for task in (1, 2, 2, 2, 1):
        assert queue.notice(corrected(task, action="ANNOTATION_UPDATED")) is None
    assert queue.corrections(27) == 2
    job = wanted(queue.notice(recorded("ANNOTATION_CREATED")))
    assert job.reason == "3 tasks corrected"
    for task in range(10, 15):
        clock.now += 20
        assert wanted(queue.notice(corrected(task))).id == job.id
        assert queue.due() == []
    clock.now += 31
    assert [each.reason for each in queue.due()] == ["8 tasks corrected"]
    queue.begin(job.id)
    assert queue.corrections(27) == 0
    queue.notice(corrected(1))
    assert queue.corrections(27) == 1
    assert [each.state for each in queue.jobs()] == ["running"]


def test_annotators_who_never_pause_do_not_put_it_off_for_ever(make: Callable[..., JobQueue], clock: Clock) -> None:
    queue = make(train_after=1, quiet=30)
    began, task = clock.now, 0
    while not queue.due():
        task += 1
        queue.notice(corrected(task))
        clock.now += 10
        assert clock.now < began + 1000
    assert clock.now - began == pytest.approx(300, abs=10)


def test_asking_makes_a_waiting_training_due_and_corrections_do_not_put_that_off(
    make: Callable[..., JobQueue], clock: Clock
) -> None:
    queue = make(train_after=1, quiet=30)
    waiting = wanted(queue.notice(corrected(1)))
    assert queue.due() == []
    assert queue.start(27, "maskloop jobs start").id == waiting.id
    queue.notice(corrected(2))
    assert [job.id for job in queue.due()] == [waiting.id]


@pytest.mark.parametrize(
    "event",
    [
        corrected(1, was_cancelled=True),
        {"action": "ANNOTATION_CREATED", "project": {"id": 27}},
        {"action": "ANNOTATION_CREATED", "project": None, "annotation": {"id": 1}},
        {"action": "ANNOTATION_CREATED", "project": {"id": "27"}, "annotation": {"id": 1}},
        {"action": "ANNOTATIONS_CREATED", "project": {"id": 27}, "annotations": [None, 7]},
        {"action": "START_TRAINING"},
        {"action": "START_TRAINING", "project": {"id": 2**63}},
        {"action": "SOMETHING_NEW", "project": {"id": 27}},
        recorded("TASKS_CREATED"),
        recorded("PROJECT_UPDATED"),
        recorded("ANNOTATIONS_DELETED"),
    ],
    ids=str,
)
def test_what_is_no_correction_enqueues_nothing(make: Callable[..., JobQueue], event: dict[str, Any]) -> None:
    queue = make(train_after=1)
    assert queue.notice(event) is None
    assert queue.jobs() == []
    assert queue.corrections(27) == 0
    assert queue.events() == {event["action"] if event["action"] in ACTIONS else "other": 1}


def test_several_annotations_in_one_event(make: Callable[..., JobQueue]) -> None:
    queue = make()
    annotations = [{"id": 1, "task": 7}, {"id": 2, "task": 7}, {"id": 3}, {"id": 4, "was_cancelled": True}]
    queue.notice({"action": "ANNOTATIONS_CREATED", "project": {"id": 27}, "annotations": annotations})
    assert queue.corrections(27) == 2


def test_what_is_deleted_in_label_studio_is_forgotten(make: Callable[..., JobQueue]) -> None:
    queue = make(train_after=2)
    queue.notice(corrected(406))
    queue.notice(recorded("TASKS_DELETED"))
    assert queue.corrections(27) == 0
    job = queue.start(27, "by hand")
    queue.notice({"action": "PROJECT_DELETED", "project": {"id": 27}})
    assert (queue.job(job.id).state, queue.job(job.id).error) == ("cancelled", "the project was deleted")
    running = queue.begin(queue.start(27, "by hand").id)
    queue.notice({"action": "PROJECT_DELETED", "project": {"id": 27}})
    assert queue.job(running.id).cancel


def test_projects_do_not_share(make: Callable[..., JobQueue], clock: Clock) -> None:
    queue = make(train_after=2)
    queue.notice(corrected(1, project=1))
    queue.notice(corrected(2, project=2))
    assert queue.jobs() == []
    first, second = queue.start(2, "b"), queue.start(1, "a")
    assert [job.id for job in queue.due()] == [first.id, second.id]
    queue.begin(first.id)
    with pytest.raises(sqlite3.IntegrityError):
        queue.begin(second.id)
    assert queue.job(second.id).state == "queued"


def test_how_jobs_end(make: Callable[..., JobQueue], clock: Clock) -> None:
    queue = make()
    job = queue.start(1, "a")
    queue.begin(job.id)
    queue.finish(job.id, "done", result={"version": "v", "promoted": True})
    done = queue.job(job.id)
    assert (done.state, done.result) == ("done", {"version": "v", "promoted": True})
    assert done.to_json()["finished"] == "2001-09-09T01:46:40+00:00"
    with pytest.raises(JobError, match=f"job {job.id} is done already"):
        queue.cancel(job.id)
    with pytest.raises(JobError, match="there is no job 99"):
        queue.cancel(99)
    waiting = queue.start(1, "b")
    assert queue.cancel(waiting.id).state == "cancelled"
    running = queue.begin(queue.start(1, "c").id)
    assert queue.cancel(running.id).state == "running"
    assert queue.job(running.id).cancel
    # who asks after that wants another one
    assert queue.start(1, "d").id > running.id
    assert queue.counts() == {"done": 1, "cancelled": 1, "running": 1, "queued": 1}


def test_a_killed_training_does_the_work_of_the_one_that_waits(make: Callable[..., JobQueue], clock: Clock) -> None:
    queue = make()
    killed = queue.begin(queue.start(1, "a").id)
    queue.notice(corrected(1, project=1))
    waiting = queue.start(1, "b")
    other = queue.start(2, "c")
    queue.again(killed.id, "killed", delay=5)
    assert queue.job(waiting.id).error == f"job {killed.id} is started again and does the same"
    assert [job.id for job in queue.due()] == [other.id]
    clock.now += 5
    assert [job.id for job in queue.due()] == [other.id, killed.id]
    assert queue.begin(killed.id).attempts == 2


def test_old_jobs_are_dropped(make: Callable[..., JobQueue]) -> None:
    queue, dropped = make(), []
    for _ in range(205):
        dropped += queue.finish(queue.begin(queue.start(1, "a").id).id, "done")
    assert dropped == [1, 2, 3, 4, 5]
    assert len(queue.jobs(limit=1000)) == 200


def test_everything_is_there_for_the_next_process(make: Callable[..., JobQueue], tmp_path: Path) -> None:
    queue = make()
    job = queue.start(1, "a")
    queue.notice(corrected(1))
    queue.close()
    assert make().job(job.id) == job
    assert make().corrections(27) == 1
    for file in tmp_path.glob("jobs.sqlite3*"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_two_webhooks_at_once(make: Callable[..., JobQueue]) -> None:
    """From threads of one server and from another process' connection: one job, no event lost."""
    queues = [make(train_after=5), make(train_after=5)]
    errors: list[sqlite3.Error] = []

    def send(queue: JobQueue, base: int) -> None:
        try:
            for number in range(20):
                queue.notice(corrected(base + number))
                queue.notice(recorded("START_TRAINING"))
        except sqlite3.Error as error:
            errors.append(error)

    threads = [threading.Thread(target=send, args=(queues[i % 2], 100 * i)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert queues[0].events() == {"ANNOTATION_CREATED": 80, "START_TRAINING": 80}
    assert queues[1].corrections(27) == 80
    (job,) = queues[1].jobs()
    assert job.state == "queued"


def test_a_full_disk_changes_nothing(make: Callable[..., JobQueue], tmp_path: Path) -> None:
    queue = make()
    before = queue.start(1, "a")
    pages = queue._rows("PRAGMA page_count")[0][0]
    queue._rows(f"PRAGMA max_page_count = {pages}")

    def fill() -> None:
        for task in range(10000):
            queue.notice(corrected(task))

    with pytest.raises(sqlite3.OperationalError, match="full"):
        fill()
    known = queue.corrections(27)
    queue._rows("PRAGMA max_page_count = 100000")
    assert queue.jobs() == [before]
    queue.notice(corrected(10_001))
    assert queue.corrections(27) == known + 1
