"""Predictions by image content and model version: each is computed once, however many ask."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future

from ..inference.prediction import Prediction
from .metrics import Metrics

# SHA-256 of the encoded image, model version.
Key = tuple[str, str]


class PredictionCache:
    """A store of bounded size, least recently used out first, with one computation a key at a time."""

    def __init__(self, max_bytes: int, metrics: Metrics) -> None:
        self._max_bytes = max_bytes
        self._metrics = metrics
        self._lock = threading.Lock()
        self._stored: OrderedDict[Key, Prediction] = OrderedDict()
        self._running: dict[Key, Future[Prediction]] = {}
        self._bytes = 0

    def get(self, key: Key) -> Prediction | None:
        """Return what is stored under a key."""
        with self._lock:
            return self._hit(key)

    def get_or_start(self, key: Key, start: Callable[[], Future[Prediction]]) -> Future[Prediction]:
        """Return the promise of a prediction: stored, being computed for another request, or started now.

        Failures are not stored; the next request tries again.

        Args:
            key: image content and model version.
            start: begins the computation and returns at once.
        """
        with self._lock:
            if (stored := self._hit(key)) is not None:
                done: Future[Prediction] = Future()
                done.set_result(stored)
                return done
            if (running := self._running.get(key)) is not None:
                self._metrics.cache.labels("shared").inc()
                return running
            self._metrics.cache.labels("miss").inc()
            future = self._running[key] = start()
        # Outside the lock: it runs at once when the prediction is there already.
        future.add_done_callback(lambda finished: self._finish(key, finished))
        return future

    def _hit(self, key: Key) -> Prediction | None:
        stored = self._stored.get(key)
        if stored is not None:
            self._stored.move_to_end(key)
            self._metrics.cache.labels("hit").inc()
        return stored

    def _finish(self, key: Key, future: Future[Prediction]) -> None:
        failed = future.cancelled() or future.exception() is not None
        with self._lock:
            self._running.pop(key, None)
            if failed:
                return
            prediction = future.result()
            size = _size(prediction)
            if size > self._max_bytes:
                return
            if (old := self._stored.pop(key, None)) is not None:
                self._bytes -= _size(old)
            self._stored[key] = prediction
            self._bytes += size
            while self._bytes > self._max_bytes:
                _, evicted = self._stored.popitem(last=False)
                self._bytes -= _size(evicted)
            self._metrics.cache_bytes.set(self._bytes)


def _size(prediction: Prediction) -> int:
    return prediction.label_map.nbytes + prediction.confidence.nbytes
