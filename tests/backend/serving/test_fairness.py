"""A large image goes through the model in steps, and nobody waits for a whole one."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maskloop_backend.inference.prediction import Prediction, Steps
from maskloop_backend.serving.batching import BULK, WAITING_PERSON, Batcher
from maskloop_backend.serving.metrics import Metrics
from maskloop_converters.samples import LabelSet

STEPS = 5


class Stepping:
    """Notes by width what goes through it, step by step, and stands at a gate before each."""

    version = "fcn32s-small-20261122-00000001"
    labels = LabelSet.from_names(["road", "car"])

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.clock = 0.0
        self.at_gate = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)

    def _pass(self, image: NDArray[Any]) -> Prediction:
        self.at_gate.release()
        assert self.gate.acquire(timeout=60)
        self.seen.append(image.shape[1])
        self.clock += 1
        if image.shape[0] == 13:
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
    batcher = Batcher(
        batch_size=1, batch_pixels=100, wait=0.0, metrics=Metrics(), large_pixels=100, clock=lambda: model.clock
    )

    def send(width: int, priority: int = WAITING_PERSON, height: int = 20) -> Any:
        return batcher.submit(np.zeros((height, width, 3), np.uint8), model, priority)

    yield send
    model.gate.release(1000)
    batcher.close()


def test_small_images_go_between_the_steps_of_a_large_one(model: Stepping, submit: Any) -> None:
    large = submit(100)
    assert model.at_gate.acquire(timeout=30)
    people = [submit(width, height=1) for width in range(1, 8)]
    model.gate.release(100)
    assert large.result(30).score == 0.5
    assert all(person.result(30).score == 0.5 for person in people)
    # three times the time for those who wait, all of it when nobody does
    assert model.seen == [100, 1, 2, 3, 100, 4, 5, 6, 100, 7, 100, 100]


def test_two_large_images_take_turns_and_a_third_one_waits(model: Stepping, submit: Any) -> None:
    first = submit(100)
    assert model.at_gate.acquire(timeout=30)
    others = [submit(width) for width in (101, 102)]
    model.gate.release(100)
    for image in (first, *others):
        image.result(30)
    assert sorted(model.seen) == [100] * STEPS + [101] * STEPS + [102] * STEPS
    assert model.seen.index(102) > len(model.seen) - 1 - model.seen[::-1].index(100)
    both = [width for width in model.seen if width != 102][1 : 2 * (STEPS - 1)]
    assert all(one != other for one, other in itertools.pairwise(both))


def test_waiting_people_stop_a_large_image_of_a_request_for_many(model: Stepping, submit: Any) -> None:
    large = submit(100, BULK)
    assert model.at_gate.acquire(timeout=30)
    people = [submit(width, height=1) for width in (1, 2, 3)] + [submit(101)]
    model.gate.release(100)
    for one in (large, *people):
        one.result(30)
    assert model.seen[:1] == [100]
    assert {1, 2, 3} == set(model.seen) - {100, 101}
    # the person's large image goes first as well
    assert model.seen[-1] == 100
    assert model.seen.count(100) == model.seen.count(101) == STEPS


def test_large_image_that_fails_fails_alone(model: Stepping, submit: Any) -> None:
    bad, good = submit(100, height=13), submit(101)
    model.gate.release(100)
    with pytest.raises(RuntimeError, match="cannot take"):
        bad.result(30)
    assert good.result(30).score == 0.5
