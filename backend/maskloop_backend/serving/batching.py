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
    """A queue in front of the model and the one thread that empties it.

    One thread, because the model's own runtime already uses every core (or the one accelerator). Images of many tiles
    go through in steps, between the batches of others: nobody waits for a whole one.
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
        self._heap: list[_Item] = []
        # under way, those whose turn comes first in front; only the thread touches them
        self._large: list[_Large] = []
        self._large_pixels = large_pixels
        self._clock = clock
        # seconds of the model that others may have before the next step of a large image
        self._owed = 0.0
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="maskloop-predict", daemon=True)
        self._thread.start()

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
            heapq.heappush(self._heap, _Item(priority, next(self._numbers), image, segmenter, future))
            self._metrics.queue.set(len(self._heap))
            self._changed.notify()
        return future

    def close(self, timeout: float = 5.0) -> None:
        """Cancel what is queued, let the call of the model that runs end, and stop the thread.

        Args:
            timeout: seconds after which a call that does not end is left to the end of the process.
        """
        with self._changed:
            self._closed = True
            for item in self._heap:
                item.future.cancel()
            self._heap.clear()
            self._changed.notify()
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._closed:
            if batch := self._next_batch():
                if batch[0].pixels > self._large_pixels:
                    self._large.append(_Large(batch[0], in_steps(batch[0].segmenter, [batch[0].image])))
                else:
                    started = self._clock()
                    self._predict(batch)
                    self._owed -= self._clock() - started
                    if self._owed > 0:
                        continue
            self._step()
        for large in self._large:
            large.item.future.set_exception(RuntimeError("the server is stopping"))

    def _ahead(self, item: _Item) -> int:
        """Return how many large images are under way that are not less urgent than one that waits."""
        return sum(large.item.priority <= item.priority for large in self._large)

    def _step(self) -> None:
        """Take one step of a large image, in turn; none while somebody more urgent waits."""
        with self._changed:
            urgent = self._heap[0].priority if self._heap else BULK
        # of equally urgent ones the first
        turn = min(self._large, key=lambda large: large.item.priority, default=None)
        if turn is None or turn.item.priority > urgent:
            return
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
        self._owed = OTHERS_SHARE * taken
        self._metrics.stage_seconds.labels("predict").observe(taken)

    def _next_batch(self) -> list[_Item]:
        """Return the images of the next call of the model.

        Empty when all were cancelled, the server stops, or there are only large images to go on with.
        """
        with self._changed:
            while not self._heap and not self._closed and not self._large:
                self._changed.wait()
            deadline = time.monotonic() + self._wait
            while not self._closed and self._heap and len(self._heap) < self._batch_size:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            batch: list[_Item] = []
            others: list[_Item] = []
            pixels = 0
            while self._heap and len(batch) < self._batch_size:
                item = heapq.heappop(self._heap)
                if item.pixels > self._large_pixels and self._ahead(item) >= LARGE_IMAGES:
                    # it waits for one of those that are under way, others need not
                    others.append(item)
                    continue
                if batch and item.segmenter is not batch[0].segmenter:
                    others.append(item)
                    continue
                if batch and pixels + item.pixels > self._batch_pixels:
                    others.append(item)
                    break
                if item.future.set_running_or_notify_cancel():
                    batch.append(item)
                    pixels += item.pixels
            for item in others:
                heapq.heappush(self._heap, item)
            self._metrics.queue.set(len(self._heap))
            return batch

    def _predict(self, batch: list[_Item]) -> None:
        segmenter = batch[0].segmenter
        started = time.perf_counter()
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
            return
        self._metrics.stage_seconds.labels("predict").observe(time.perf_counter() - started)
        self._metrics.batch_images.observe(len(batch))
        for item, prediction in zip(batch, predictions, strict=True):
            item.future.set_result(prediction)

    @staticmethod
    def _failed(item: _Item, error: Exception) -> None:
        log(logging.ERROR, "model_failed", version=item.segmenter.version, error=f"{type(error).__name__}: {error}")
        item.future.set_exception(error)
