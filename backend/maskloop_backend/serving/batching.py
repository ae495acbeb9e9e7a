"""Micro-batching: images of concurrent requests go through the model together."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..inference.prediction import Prediction, Segmenter, Steps, in_steps
from .logs import log
from .metrics import Metrics

# Smaller goes first: an annotator who waits overtakes a request for hundreds of tasks.
WAITING_PERSON = 0
BULK = 1

# Large images that are under way at once: each holds its padded copy and its label map in memory.
LARGE_IMAGES = 2
# What the predictor cuts into tiles.
LARGE_PIXELS = 1536 * 1536
# While others wait, they get so many times the time of the model that large images get.
OTHERS_SHARE = 3.0


@dataclass(order=True, slots=True)
class _Item:
    priority: int
    number: int
    image: NDArray[np.uint8] = field(compare=False)
    segmenter: Segmenter = field(compare=False)
    future: Future[Prediction] = field(compare=False)

    @property
    def pixels(self) -> int:
        return int(self.image.shape[0] * self.image.shape[1])


@dataclass(slots=True)
class _Large:
    """A large image on its way through the model in steps."""

    item: _Item
    steps: Steps


class Batcher:
    """Queues in front of the model and the two threads that empty them.

    One thread is for people who wait for an image of ordinary size; the other does everything else: requests for many
    tasks, and large images, which go through the model in steps. A person so waits neither for a batch nor for a step
    of others that runs already, only shares the processors with it; and what else there is pauses while people wait,
    though not for ever. Two threads and not more, because the model's own runtime already uses every core.
    """

    def __init__(
        self,
        *,
        batch_size: int,
        batch_pixels: int,
        wait: float,
        metrics: Metrics,
        large_pixels: int = LARGE_PIXELS,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._batch_size = batch_size
        self._batch_pixels = batch_pixels
        self._wait = wait
        self._metrics = metrics
        self._people: list[_Item] = []
        self._others: list[_Item] = []
        # whether a batch of people's images is in the model
        self._busy = False
        # under way, those whose turn comes first in front; only the thread of the others touches them
        self._large: list[_Large] = []
        self._large_pixels = large_pixels
        self._clock = clock
        # seconds of the model that come first: people's before anything else, small images' before a large one's step
        self._owed_people = 0.0
        self._owed_small = 0.0
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._serve_people, name="maskloop-predict", daemon=True),
            threading.Thread(target=self._serve_others, name="maskloop-predict-others", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, image: NDArray[Any], segmenter: Segmenter, priority: int) -> Future[Prediction]:
        """Queue one image and return the promise of its prediction.

        Args:
            image: uint8 (H, W, 3) RGB.
            segmenter: which model version; a batch never mixes two.
            priority: WAITING_PERSON or BULK.
        """
        future: Future[Prediction] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("the server is stopping")
            item = _Item(priority, next(self._numbers), image, segmenter, future)
            ordinary = priority == WAITING_PERSON and item.pixels <= self._large_pixels
            heapq.heappush(self._people if ordinary else self._others, item)
            self._count()
            self._changed.notify_all()
        return future

    def close(self, timeout: float = 5.0) -> None:
        """Cancel what is queued, let the calls of the model that run end, and stop the threads.

        Args:
            timeout: seconds after which a call that does not end is left to the end of the process.
        """
        with self._changed:
            self._closed = True
            for queue in (self._people, self._others):
                for item in queue:
                    item.future.cancel()
                queue.clear()
            self._changed.notify_all()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _serve_people(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._people or self._closed)
                if self._closed:
                    return
                batch = self._next_batch(self._people)
                self._busy = bool(batch)
            taken = self._predict(batch) if batch else 0.0
            with self._changed:
                self._busy = False
                self._owed_people -= taken
                self._owed_small -= taken
                self._changed.notify_all()

    def _serve_others(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or ((self._others or self._large) and self._may_go_on()))
                if self._closed:
                    break
                batch = self._next_batch(self._others)
            taken = 0.0
            if batch and batch[0].pixels > self._large_pixels:
                self._large.append(_Large(batch[0], in_steps(batch[0].segmenter, [batch[0].image])))
            elif batch:
                taken = self._predict(batch)
            with self._changed:
                self._owed_small -= taken
                step_too = not taken or self._owed_small <= 0
            step = self._step() if step_too else 0.0
            with self._changed:
                if step:
                    self._owed_small = OTHERS_SHARE * step
                self._owed_people = OTHERS_SHARE * (taken + step)
        for large in self._large:
            large.item.future.set_exception(RuntimeError("the server is stopping"))

    def _may_go_on(self) -> bool:
        """Return whether no person waits, or people had their share of the time since others were served."""
        return not (self._people or self._busy) or self._owed_people <= 0

    def _ahead(self, item: _Item) -> int:
        """Return how many large images are under way that are not less urgent than one that waits."""
        return sum(large.item.priority <= item.priority for large in self._large)

    def _step(self) -> float:
        """Take one step of a large image, in turn; return the seconds that it took, 0.0 where there is none."""
        # of equally urgent ones the first
        turn = min(self._large, key=lambda large: large.item.priority, default=None)
        if turn is None:
            return 0.0
        self._large.remove(turn)
        started = self._clock()
        try:
            next(turn.steps)
        except StopIteration as done:
            self._metrics.batch_images.observe(1)
            turn.item.future.set_result(done.value[0])
        except Exception as error:  # noqa: BLE001 - as below
            self._failed(turn.item, error)
        else:
            self._large.append(turn)
        taken = self._clock() - started
        self._metrics.stage_seconds.labels("predict").observe(taken)
        return taken

    def _next_batch(self, queue: list[_Item]) -> list[_Item]:
        """Take the images of the next call of the model from a queue; the lock is held, and given up while it waits.

        Empty when all were cancelled, the server stops, or there are only large images to go on with.
        """
        deadline = time.monotonic() + self._wait
        while not self._closed and queue and len(queue) < self._batch_size:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self._changed.wait(left)
        batch: list[_Item] = []
        left_over: list[_Item] = []
        pixels = 0
        while queue and len(batch) < self._batch_size:
            item = heapq.heappop(queue)
            if item.pixels > self._large_pixels and self._ahead(item) >= LARGE_IMAGES:
                # it waits for one of those that are under way, others need not
                left_over.append(item)
                continue
            if batch and item.segmenter is not batch[0].segmenter:
                left_over.append(item)
                continue
            if batch and pixels + item.pixels > self._batch_pixels:
                left_over.append(item)
                break
            if item.future.set_running_or_notify_cancel():
                batch.append(item)
                pixels += item.pixels
        for item in left_over:
            heapq.heappush(queue, item)
        self._count()
        return batch

    def _count(self) -> None:
        self._metrics.queue.set(len(self._people) + len(self._others))

    def _predict(self, batch: list[_Item]) -> float:
        """Predict images together and keep their promises; return the seconds that it took."""
        segmenter = batch[0].segmenter
        started = self._clock()
        try:
            predictions = segmenter.predict([item.image for item in batch])
            if len(predictions) != len(batch):
                raise RuntimeError(f"the model gave {len(predictions)} predictions for {len(batch)} images")
        except Exception as error:  # noqa: BLE001 - whatever the model raises, the thread and the other images live on
            if len(batch) > 1:
                # One image that the model cannot take must not cost the others theirs.
                for item in batch:
                    self._predict([item])
            else:
                self._failed(batch[0], error)
            return self._clock() - started
        taken = self._clock() - started
        self._metrics.stage_seconds.labels("predict").observe(taken)
        self._metrics.batch_images.observe(len(batch))
        for item, prediction in zip(batch, predictions, strict=True):
            item.future.set_result(prediction)
        return taken

    @staticmethod
    def _failed(item: _Item, error: Exception) -> None:
        log(logging.ERROR, "model_failed", version=item.segmenter.version, error=f"{type(error).__name__}: {error}")
        item.future.set_exception(error)
