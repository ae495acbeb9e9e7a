"""A large image goes through the model in steps beside everything else, and nobody waits for one."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maskloop_backend.inference.prediction import Prediction, Steps
from maskloop_backend.serving.batching import BULK, OTHERS_SHARE, WAITING_PERSON, Batcher
from maskloop_backend.serving.metrics import Metrics
from maskloop_converters.samples import LabelSet

STEPS = 5
# In pixels of width: what is narrower is a person's image or one of many, by the test; both are ordinary.
LARGE = 100


class Gate:
    """Where images of one kind stand until the test lets them pass."""

    def __init__(self) -> None:
        self._arrived = threading.Semaphore(0)
        self._open = threading.Semaphore(0)

    def enter(self) -> None:
        self._arrived.release()
        assert self._open.acquire(timeout=60)

    def wait_for_one(self) -> None:
        assert self._arrived.acquire(timeout=60)

    def nobody_comes(self) -> bool:
        return not self._arrived.acquire(timeout=0.05)

    def let(self, count: int = 1) -> None:
        self._open.release(count)


class Stepping:
    """Notes by width what went through it, step by step; ordinary and large images stand at a gate each."""

    version = "fcn32s-small-20261122-00000001"
    labels = LabelSet.from_names(["road", "car"])

    def __init__(self) -> None:
        self.seen: list[int] = []
        self._passed = threading.local()
        self.fails = 0
        self.ordinary, self.large = Gate(), Gate()

    def clock(self) -> float:
        """Tell the time of the thread that asks: a second for each image that it took through the model."""
        return getattr(self._passed, "count", 0.0)

    def _pass(self, image: NDArray[Any]) -> Prediction:
        (self.large if image.shape[1] >= LARGE else self.ordinary).enter()
        self.seen.append(image.shape[1])
        self._passed.count = self.clock() + 1
        if image.shape[1] == self.fails:
            raise RuntimeError("the model cannot take this")
        return Prediction(np.zeros((1, 1), np.uint8), np.zeros((1, 1), np.uint8), 0.5)

    def predict(self, images: Sequence[NDArray[Any]]) -> list[Prediction]:
        return [self._pass(image) for image in images]

    def steps(self, images: Sequence[NDArray[Any]]) -> Steps:
        for _ in range(STEPS - 1):
            for image in images:
                self._pass(image)
            yield
        return self.predict(images)


@pytest.fixture
def model() -> Stepping:
    return Stepping()


@pytest.fixture
def submit(model: Stepping) -> Any:
    batcher = Batcher(batch_size=1, batch_pixels=100, wait=0.0, metrics=Metrics(), large_pixels=100, clock=model.clock)

    def send(width: int, priority: int = WAITING_PERSON) -> Any:
        return batcher.submit(np.zeros((20 if width >= LARGE else 1, width, 3), np.uint8), model, priority)

    yield send
    model.ordinary.let(1000)
    model.large.let(1000)
    batcher.close()


@pytest.mark.parametrize("others", [(LARGE, WAITING_PERSON), (LARGE, BULK)])
def test_a_person_does_not_wait_for_the_step_of_a_large_image(
    model: Stepping, submit: Any, others: tuple[int, int]
) -> None:
    large = submit(*others)
    model.large.wait_for_one()
    person = submit(1)
    model.ordinary.let()
    assert person.result(30).score == 0.5
    assert not large.done()


def test_a_person_does_not_wait_for_a_batch_of_a_request_for_many(model: Stepping, submit: Any) -> None:
    many = submit(50, BULK)
    model.ordinary.wait_for_one()
    person = submit(1)
    model.ordinary.wait_for_one()  # both are in the model
    model.ordinary.let(2)
    assert person.result(30).score == many.result(30).score == 0.5


def test_what_else_there_is_pauses_while_people_wait_but_not_for_ever(model: Stepping, submit: Any) -> None:
    large = submit(LARGE)
    model.large.wait_for_one()
    people = [submit(width) for width in range(1, 13)]
    model.ordinary.wait_for_one()
    model.large.let()
    for person in people[: int(OTHERS_SHARE)]:
        # in the model is the next person already
        assert model.large.nobody_comes()
        model.ordinary.let()
        person.result(30)
        model.ordinary.wait_for_one()
    model.large.wait_for_one()
    assert model.seen == [LARGE, 1, 2, 3]
    model.ordinary.let(100)
    for person in people:
        person.result(30)
    # nobody waits any more: the rest of it goes on at once
    model.large.let(100)
    assert large.result(30).score == 0.5
    assert model.seen.count(LARGE) == STEPS


def test_requests_for_many_get_three_times_the_time_of_a_large_image(model: Stepping, submit: Any) -> None:
    large = submit(LARGE, BULK)
    model.large.wait_for_one()
    many = [submit(width, BULK) for width in range(1, 8)]
    model.ordinary.let(100)
    model.large.let(100)
    for image in (large, *many):
        assert image.result(30).score == 0.5
    assert model.seen == [100, 1, 2, 3, 100, 4, 5, 6, 100, 7, 100, 100]


def test_two_large_images_take_turns_and_a_third_one_waits(model: Stepping, submit: Any) -> None:
    first = submit(100)
    model.large.wait_for_one()
    others = [submit(width) for width in (101, 102)]
    model.large.let(100)
    for image in (first, *others):
        image.result(30)
    assert sorted(model.seen) == [100] * STEPS + [101] * STEPS + [102] * STEPS
    assert model.seen.index(102) > len(model.seen) - 1 - model.seen[::-1].index(100)
    both = [width for width in model.seen if width != 102][1 : 2 * (STEPS - 1)]
    assert all(one != other for one, other in itertools.pairwise(both))


def test_a_persons_large_image_goes_before_that_of_a_request_for_many(model: Stepping, submit: Any) -> None:
    many = submit(100, BULK)
    model.large.wait_for_one()
    person = submit(101)
    model.large.let(100)
    for one in (many, person):
        one.result(30)
    assert model.seen[0] == model.seen[-1] == 100
    assert model.seen[1 : 1 + STEPS] == [101] * STEPS
    assert model.seen.count(100) == STEPS


def test_large_image_that_fails_fails_alone(model: Stepping, submit: Any) -> None:
    bad, good = submit(LARGE), submit(101)
    model.large.wait_for_one()
    model.fails = LARGE
    model.large.let(100)
    with pytest.raises(RuntimeError, match="cannot take"):
        bad.result(30)
    assert good.result(30).score == 0.5
