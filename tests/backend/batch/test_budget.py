"""The bytes of images in memory: in order, bounded, and never a standstill."""

from __future__ import annotations

import threading

import pytest

from maskloop_backend.batch.budget import Budget


def test_what_does_not_fit_waits_until_something_is_released() -> None:
    budget = Budget(100)
    budget.take(0, 80)
    entered = threading.Event()

    def second() -> None:
        budget.take(1, 50)
        entered.set()

    thread = threading.Thread(target=second)
    thread.start()
    assert not entered.wait(0.05)
    budget.release(0)
    thread.join(30)
    assert entered.is_set()
    assert budget.peak == 80


def test_the_image_that_is_needed_next_comes_in_whatever_is_held() -> None:
    budget = Budget(100)
    budget.take(0, 80)
    thread = threading.Thread(target=budget.take, args=(1, 500))
    thread.start()
    budget.need(1)
    thread.join(30)
    assert not thread.is_alive()
    assert budget.peak == 580


def test_a_later_image_does_not_overtake() -> None:
    budget = Budget(100)
    order: list[int] = []

    def take(number: int) -> None:
        budget.take(number, 10)
        order.append(number)

    threads = [threading.Thread(target=take, args=(number,)) for number in (2, 1, 0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(order) == [0, 1, 2]
    assert budget.peak == 30


@pytest.mark.parametrize("had_its_turn", [False, True])
def test_an_image_that_fails_holds_nobody_up(had_its_turn: bool) -> None:
    budget = Budget(100)
    if had_its_turn:
        budget.take(0, 90)
    budget.pass_by(0)
    budget.take(1, 100)
    assert budget.peak == 100


def test_closing_ends_the_waiting() -> None:
    budget = Budget(10)
    budget.take(0, 10)
    failed: list[BaseException] = []

    def second() -> None:
        try:
            budget.take(1, 10)
        except RuntimeError as error:
            failed.append(error)

    thread = threading.Thread(target=second)
    thread.start()
    budget.close()
    thread.join(30)
    assert failed
