"""Tasks in, prediction JSON out: images are fetched while others go through the model and others become JSON."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import orjson

from ..inference.prediction import Prediction, Segmenter
from ..studio import predictions
from ..studio.images import ImageFetcher
from ..studio.label_config import ImageTag, LabelMapping
from .batching import BULK, WAITING_PERSON, Batcher
from .cache import Key, PredictionCache
from .limits import without_queries
from .logs import log
from .metrics import Metrics
from .projects import LeastRecent

# Seconds for which a smart tool's clicks on one task trust that the image under its address is still the same.
SAME_IMAGE_SECONDS = 600.0
LONGEST_ADDRESS = 4096

# Label Studio's URL, what stands in the task.
Address = tuple[str | None, str]
# Of every image of a task, by the name of its Image tag.
Promises = dict[str, Future[Prediction]]


@dataclass(frozen=True, slots=True)
class Job:
    """One /predict request, checked.

    Attributes:
        tasks: as Label Studio sent them.
        segmenter: the model version that answers all of them.
        mapping: its classes in the project's label config.
        fetcher: gets the project's images.
        context: a smart tool's clicks or box, None where the whole image is asked for.
        options: how predictions become regions.
    """

    tasks: Sequence[dict[str, Any]]
    segmenter: Segmenter
    mapping: LabelMapping
    fetcher: ImageFetcher
    context: dict[str, Any] | None
    options: predictions.PredictionOptions


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer for one task.

    Attributes:
        body: JSON, the prediction or an empty list.
        failure: why it is an empty list, None if it is a prediction.
    """

    body: bytes
    failure: str | None = None


class Pipeline:
    """Fetchers, cache and batcher, shared by all requests."""

    def __init__(
        self,
        *,
        cache: PredictionCache,
        batcher: Batcher,
        fetchers: int,
        window: int,
        keepalive: float,
        metrics: Metrics,
    ) -> None:
        """Start the threads that fetch images.

        Args:
            cache: of predictions.
            batcher: in front of the model.
            fetchers: threads for requests of many tasks, and as many for single tasks, which never wait behind those.
            window: tasks of one request that may be under way at once; bounds the images held in memory.
            keepalive: seconds without an outcome after which :meth:`run` yields None.
            metrics: what to count in.
        """
        self._cache = cache
        self._batcher = batcher
        self._window = window
        self._keepalive = keepalive
        self._metrics = metrics
        self._bulk = ThreadPoolExecutor(fetchers, thread_name_prefix="maskloop-fetch")
        self._single = ThreadPoolExecutor(fetchers, thread_name_prefix="maskloop-fetch-single")
        self._seen: LeastRecent[Address, tuple[str, float]] = LeastRecent()

    def run(self, job: Job) -> Iterator[Outcome | None]:
        """Yield one outcome a task, in order, and None whenever there was none for a while.

        Closing the generator drops the tasks that nobody computes yet.
        """
        waiting: deque[tuple[dict[str, Any], Future[Promises]]] = deque()
        coming = iter(job.tasks)
        answered = 0
        try:
            while True:
                while len(waiting) < self._window and (task := next(coming, None)) is not None:
                    waiting.append((task, self._start(job, task)))
                if not waiting:
                    return
                task, fetched = waiting[0]
                while (outcome := self._outcome(job, task, fetched)) is None:
                    yield None
                waiting.popleft()
                answered += 1
                yield outcome
        finally:
            for _, fetched in waiting:
                fetched.cancel()
            if left := len(job.tasks) - answered:
                self._metrics.tasks.labels("cancelled").inc(left)

    def close(self) -> None:
        """Cancel what is queued and let the fetchers end after the download that each is at."""
        self._bulk.shutdown(wait=False, cancel_futures=True)
        self._single.shutdown(wait=False, cancel_futures=True)

    def _start(self, job: Job, task: dict[str, Any]) -> Future[Promises]:
        """Begin to fetch a task's images; the promise is that of its predictions' promises."""
        alone = len(job.tasks) == 1
        pool, priority = (self._single, WAITING_PERSON) if alone else (self._bulk, BULK)
        return pool.submit(self._fetch_all, job, task, priority)

    def _fetch_all(self, job: Job, task: dict[str, Any], priority: int) -> Promises:
        """Fetch every image that a task has; where it has none, the error names the first."""
        wanted = job.mapping.images
        there = [image for image in wanted if image.address(task.get("data")) is not None] or wanted[:1]
        return {image.name: self._fetch(job, task, image, priority) for image in there}

    def _fetch(self, job: Job, task: dict[str, Any], image: ImageTag, priority: int) -> Future[Prediction]:
        address = _address(job, task, image)
        if job.context is not None and (prediction := self._seen_lately(address, job.segmenter.version)) is not None:
            done: Future[Prediction] = Future()
            done.set_result(prediction)
            return done
        started = time.perf_counter()
        fetched = job.fetcher.fetch(image.alone(task), image.key)
        self._metrics.stage_seconds.labels("fetch").observe(time.perf_counter() - started)
        if address is not None:
            self._seen.set(address, (fetched.sha256, time.monotonic()))
        cache_key: Key = (fetched.sha256, job.segmenter.version)
        return self._cache.get_or_start(cache_key, lambda: self._batcher.submit(fetched.array, job.segmenter, priority))

    def _seen_lately(self, address: Address | None, version: str) -> Prediction | None:
        """Return the stored prediction of an image that was fetched from the same address a moment ago."""
        if (
            address is None
            or (seen := self._seen.get(address)) is None
            or time.monotonic() - seen[1] > SAME_IMAGE_SECONDS
        ):
            return None
        return self._cache.get((seen[0], version))

    def _outcome(self, job: Job, task: dict[str, Any], fetched: Future[Promises]) -> Outcome | None:
        """Return a task's outcome, or None if there is none within the keep-alive time."""
        deadline = time.monotonic() + self._keepalive
        if not _done(fetched, deadline):
            return None
        try:
            promises = fetched.result()
        except Exception as error:  # noqa: BLE001 - ImageError is expected; whatever else, the other tasks are served
            return self._failed(task, "image_failed", error)
        if not all(_done(promise, deadline) for promise in promises.values()):
            return None
        try:
            predicted = {name: promise.result() for name, promise in promises.items()}
        except Exception as error:  # noqa: BLE001 - as above
            return self._failed(task, "model_failed", error)
        started = time.perf_counter()
        try:
            body = self._build(job, predicted)
        except Exception as error:  # noqa: BLE001 - as above
            return self._failed(task, "build_failed", error)
        self._metrics.stage_seconds.labels("build").observe(time.perf_counter() - started)
        self._metrics.tasks.labels("predicted").inc()
        return Outcome(body)

    @staticmethod
    def _build(job: Job, predicted: dict[str, Prediction]) -> bytes:
        built = predictions.build(
            predicted, job.mapping, job.options, version=job.segmenter.version, context=job.context
        )
        return orjson.dumps(built)

    def _failed(self, task: dict[str, Any], outcome: str, error: Exception) -> Outcome:
        reason = without_queries(str(error) or type(error).__name__)
        log(logging.WARNING, outcome, task=task.get("id"), reason=reason)
        self._metrics.tasks.labels(outcome).inc()
        return Outcome(b"[]", reason)


def _address(job: Job, task: dict[str, Any], image: ImageTag) -> Address | None:
    """Return where an image of a task is; None where that is the image itself, a data URI, which is too long to keep."""
    address = image.address(task.get("data"))
    if address is None or len(address) > LONGEST_ADDRESS:
        return None
    return job.fetcher.studio_url, address


def _done(future: Future[Any], deadline: float) -> bool:
    """Return whether a promise is kept (or broken) before a time of the monotonic clock."""
    return future.done() or bool(wait([future], max(0.0, deadline - time.monotonic())).done)
