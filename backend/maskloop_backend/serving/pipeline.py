"""Tasks in, prediction JSON out: images are fetched while others go through the model and others become JSON."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from maskloop_converters.formats.labelstudio.config import ImageTag

from ..inference.prediction import Prediction, Segmenter
from ..studio import predictions
from ..studio.errors import ImageError, without_queries
from ..studio.images import ImageFetcher, Source
from ..studio.label_config import LabelMapping
from ..studio.transport import Exchange, Traffic
from .batching import BULK, WAITING_PERSON, Batcher
from .cache import Key, PredictionCache
from .lanes import Lanes, Onward
from .logs import log
from .memory import Hold, ImageMemory
from .metrics import Metrics
from .page.gallery import Gallery, shrunk
from .projects import LeastRecent

# Seconds for which a smart tool's clicks on one task trust that the image under its address is still the same.
SAME_IMAGE_SECONDS = 600.0
# Seconds that an image waits for memory before its task is refused: of an annotator, of a request for many tasks.
PATIENCE = 30.0
BULK_PATIENCE = 300.0
# What an image takes until it is answered: three channels, its label map and confidence.
_BYTES_A_PIXEL = 5
# What its prediction takes while the answer is written: label map, confidence, and a map of each control's labels.
_BYTES_A_MASK = 4
LONGEST_ADDRESS = 4096
# Characters of a task's id in the gallery.
LONGEST_TASK = 40

# Label Studio's URL, what stands in the task.
Address = tuple[str | None, str]


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
        project: Label Studio's id, '' where nobody said it.
    """

    tasks: Sequence[dict[str, Any]]
    segmenter: Segmenter
    mapping: LabelMapping
    fetcher: ImageFetcher
    context: dict[str, Any] | None
    options: predictions.PredictionOptions
    project: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer for one task.

    Attributes:
        body: JSON, the prediction or an empty list.
        failure: why it is an empty list, None if it is a prediction.
    """

    body: bytes
    failure: str | None = None


class _Failed(Exception):  # noqa: N818 - a note on the way to the answer
    """What went wrong with a task, and at which stage."""

    def __init__(self, stage: str, error: Exception) -> None:
        super().__init__(str(error))
        self.stage = stage
        self.error = error


class _Underway:
    """A task that is being worked on: the predictions of its images come together to one answer.

    Args:
        parts: number of its images.
        build: makes the answer of the predictions by the images' names, in the thread of the last one.
    """

    def __init__(self, parts: int, build: Callable[[dict[str, Prediction]], bytes]) -> None:
        self.body: Future[bytes] = Future()
        self.exchanges: list[Exchange] = []
        self.holds: list[Hold] = []
        self._parts = parts
        self._build = build
        self._lock = threading.Lock()
        self._predicted: dict[str, Prediction] = {}

    def part(self, name: str, predicted: Future[Prediction]) -> None:
        """Take the prediction of one image."""
        try:
            with self._lock:
                self._predicted[name] = predicted.result()
                whole = len(self._predicted) == self._parts
            body = self._build(self._predicted) if whole else None
        except Exception as error:  # noqa: BLE001 - whoever waits for the answer hears of it
            self.fail(error)
        else:
            if body is None and not self.body.done():
                return
            self._release()
            with self._lock:
                if body is not None and not self.body.done():
                    self.body.set_result(body)

    def fail(self, error: Exception) -> None:
        """Let there be no answer; the first reason counts, and nothing else of it is fetched."""
        self._release()
        with self._lock:
            if not self.body.done():
                self.body.set_exception(error)
        self.stop("another image of the task could not be had")

    def _release(self) -> None:
        self._predicted = {}
        for hold in self.holds:
            hold.release()

    def stop(self, reason: str) -> None:
        """Call off what is being downloaded."""
        for exchange in self.exchanges:
            exchange.stop(reason)


class Pipeline:
    """Downloads, memory for images, cache and batcher, shared by all requests.

    Each task that is under way has a thread, which downloads, decodes, waits for the model and writes the answer: what
    an image takes is free again as soon as it is answered, in whatever order the answers go out.
    """

    def __init__(
        self,
        *,
        cache: PredictionCache,
        batcher: Batcher,
        fetchers: int,
        window: int,
        keepalive: float,
        metrics: Metrics,
        image_bytes: int = 1 << 30,
        studio_url: str | None = None,
        gallery: Gallery | None = None,
    ) -> None:
        """Start what begins downloads.

        Args:
            cache: of predictions.
            batcher: in front of the model.
            fetchers: downloads from one host at once for requests of many tasks, and twice as many for single tasks,
                which never wait behind those.
            window: tasks of one request that may be under way at once.
            keepalive: seconds without an outcome after which :meth:`run` yields None.
            metrics: what to count in.
            image_bytes: memory for images from decoding to answer; as much again as half of it for encoded ones.
            studio_url: the operator's Label Studio, whose images never wait for those of other hosts.
            gallery: gets a small picture of what is predicted of whole images.
        """
        self._cache = cache
        self._batcher = batcher
        self._window = window
        self._keepalive = keepalive
        self._metrics = metrics
        self._gallery = gallery
        self._memory = ImageMemory(image_bytes, os.cpu_count() or 2, metrics)
        self._traffic = Traffic(image_bytes // 2)
        own = {"", Source("", studio_url).host}
        self._bulk = Lanes(width=fetchers, places=8 * fetchers, own=own.__contains__)
        self._single = Lanes(width=2 * fetchers, places=16 * fetchers, own=own.__contains__)
        self._seen: LeastRecent[Address, tuple[str, float]] = LeastRecent()

    def run(self, job: Job) -> Iterator[Outcome | None]:
        """Yield one outcome a task, in order, and None whenever there was none for a while.

        Closing the generator calls off the downloads and drops the tasks that nobody computes yet.
        """
        waiting: deque[tuple[dict[str, Any], _Underway]] = deque()
        coming = iter(job.tasks)
        answered = 0
        try:
            while True:
                while len(waiting) < self._window and (task := next(coming, None)) is not None:
                    waiting.append((task, self._start(job, task)))
                if not waiting:
                    return
                task, underway = waiting[0]
                while (outcome := self._outcome(task, underway.body)) is None:
                    yield None
                waiting.popleft()
                answered += 1
                yield outcome
        finally:
            for _, underway in waiting:
                underway.stop("nobody waits for it any more")
            if left := len(job.tasks) - answered:
                self._metrics.tasks.labels("cancelled").inc(left)

    def close(self) -> None:
        """Call off the downloads that run and cancel those that wait."""
        self._bulk.close()
        self._single.close()

    def _start(self, job: Job, task: dict[str, Any]) -> _Underway:
        """Begin with a task: with every image that it has; where it has none, the error names the first."""
        wanted = job.mapping.images
        there = [image for image in wanted if image.address(task.get("data")) is not None] or wanted[:1]
        underway = _Underway(len(there), partial(self._built, job))
        for image in there:
            exchange = job.fetcher.exchange(self._traffic)
            hold = self._memory.hold(*_patience(job), exchange.check)
            underway.exchanges.append(exchange)
            underway.holds.append(hold)
            try:
                predicted = self._predict(job, task, image, exchange, hold)
            except Exception as error:  # noqa: BLE001 - ImageError is expected; whatever else, the other tasks are served
                underway.fail(_Failed("image_failed", error))
                break
            predicted.add_done_callback(partial(underway.part, image.name))
        return underway

    def _predict(
        self, job: Job, task: dict[str, Any], image: ImageTag, exchange: Exchange, hold: Hold
    ) -> Future[Prediction]:
        """Begin with one image and return the promise of its prediction."""
        priority, _ = _patience(job)
        lanes = self._single if priority == WAITING_PERSON else self._bulk
        address = _address(job, task, image)
        if job.context is not None and (seen := self._seen_lately(address, job.segmenter.version)) is not None:
            return lanes.submit("", exchange, lambda: seen, lambda prediction: prediction)
        source = first = job.fetcher.source(image.alone(task), image.key)
        started = 0.0

        def download(asked: Source) -> bytes | Onward[bytes]:
            nonlocal source, started
            source, started = asked, started or time.perf_counter()
            found = job.fetcher.step(asked, exchange)
            return found if isinstance(found, bytes) else Onward(found.host, partial(download, found))

        def predict(encoded: bytes) -> Prediction:
            try:
                digest = hashlib.sha256(encoded).hexdigest()
                cache_key: Key = (digest, job.segmenter.version)
                prediction = self._cache.get(cache_key)
                if prediction is None:
                    exchange.check()
                    array = job.fetcher.decode(encoded, source, hold.room)
                    hold.keep(array.nbytes // 3 * _BYTES_A_PIXEL)
                del encoded
                exchange.close()
                self._metrics.stage_seconds.labels("fetch").observe(time.perf_counter() - started)
                if address is not None:
                    self._seen.set(address, (digest, time.monotonic()))
                if prediction is None:
                    small = shrunk(array) if self._gallery is not None and job.context is None else None
                    submit = partial(self._batcher.submit, array, job.segmenter, priority)
                    del array
                    prediction = self._answered(self._cache.get_or_start(cache_key, submit))
                    if self._gallery is not None and small is not None:
                        segmenter, number = job.segmenter, str(task.get("id", ""))[:LONGEST_TASK]
                        self._gallery.add(small, prediction, segmenter.labels, segmenter.version, job.project, number)
                # the image is gone; its answer is still to be written
                hold.keep(prediction.label_map.size * _BYTES_A_MASK)
                return prediction
            except BaseException:
                hold.release()
                raise
            finally:
                exchange.close()

        return lanes.submit(first.host, exchange, partial(download, first), predict)

    @staticmethod
    def _answered(promise: Future[Prediction]) -> Prediction:
        try:
            return promise.result()
        except Exception as error:
            raise _Failed("model_failed", error) from error

    def _built(self, job: Job, predicted: dict[str, Prediction]) -> bytes:
        started = time.perf_counter()
        try:
            body = self._build(job, predicted)
        except Exception as error:
            raise _Failed("build_failed", error) from error
        self._metrics.stage_seconds.labels("build").observe(time.perf_counter() - started)
        return body

    def _seen_lately(self, address: Address | None, version: str) -> Prediction | None:
        """Return the stored prediction of an image that was fetched from the same address a moment ago."""
        if (
            address is None
            or (seen := self._seen.get(address)) is None
            or time.monotonic() - seen[1] > SAME_IMAGE_SECONDS
        ):
            return None
        return self._cache.get((seen[0], version))

    def _outcome(self, task: dict[str, Any], body: Future[bytes]) -> Outcome | None:
        """Return a task's outcome, or None if there is none within the keep-alive time."""
        if not _done(body, time.monotonic() + self._keepalive):
            return None
        try:
            outcome = Outcome(body.result())
        except _Failed as failed:
            return self._failed(task, failed.stage, failed.error)
        except Exception as error:  # noqa: BLE001 - ImageError is expected; whatever else, the other tasks are served
            return self._failed(task, "image_failed", error)
        self._metrics.tasks.labels("predicted").inc()
        return outcome

    @staticmethod
    def _build(job: Job, predicted: dict[str, Prediction]) -> bytes:
        built = predictions.build(
            predicted, job.mapping, job.options, version=job.segmenter.version, context=job.context
        )
        return orjson.dumps(built)

    def _failed(self, task: dict[str, Any], outcome: str, error: Exception) -> Outcome:
        reason = without_queries(str(error) or type(error).__name__)
        logged = without_queries(error.logged) if isinstance(error, ImageError) else reason
        log(logging.WARNING, outcome, task=task.get("id"), reason=logged)
        self._metrics.tasks.labels(outcome).inc()
        return Outcome(b"[]", reason)


def _patience(job: Job) -> tuple[int, float]:
    """Return the priority of a request's images, and for how long they wait for memory."""
    return (WAITING_PERSON, PATIENCE) if len(job.tasks) == 1 else (BULK, BULK_PATIENCE)


def _address(job: Job, task: dict[str, Any], image: ImageTag) -> Address | None:
    """Return where an image of a task is; None where that is the image itself, a data URI, which is too long to keep."""
    address = image.address(task.get("data"))
    if address is None or len(address) > LONGEST_ADDRESS:
        return None
    return job.fetcher.studio_url, address


def _done(future: Future[Any], deadline: float) -> bool:
    """Return whether a promise is kept (or broken) before a time of the monotonic clock."""
    return future.done() or bool(wait([future], max(0.0, deadline - time.monotonic())).done)
