"""The unit of work: a list of images -> one finished shard. Pure but for its output, idempotent, and bounded in memory.

Images are read and decoded by threads of their own, predicted in batches, and written by another thread, all at once.
Batches follow the order of the images alone, never the time at which they come, so a shard that is made again has the
same bytes.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from maskloop_converters.codecs import pictures
from maskloop_converters.errors import CodecError, DataError, TargetError

from ..inference import doubt
from ..inference.prediction import Prediction, Segmenter
from ..studio.errors import ImageError
from . import storage
from .budget import Budget
from .engines.protocol import Tick
from .errors import StorageError
from .items import Failure, Finished, Item, Read, Shard

# Pixels that are predicted together at most: what the predictor makes one call of the network of, of CamVid's size.
_BATCH_PIXELS = 1 << 20
# How often an image is asked for that cannot be had, and seconds before the second time; each pause is twice the last.
_TRIES, _PAUSE = 3, 0.5
# Label map and confidence, one byte a pixel each.
_BYTES_A_PREDICTION = 2


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """An image with its masks, on its way to the output.

    Attributes:
        item: which image.
        encoded: its bytes.
        sha256: of them, 64 hex digits.
        prediction: what the model says.
        unsure: bool (H, W), pixels that are left unlabelled; None where none are.
    """

    item: Item
    encoded: bytes
    sha256: str
    prediction: Prediction
    unsure: NDArray[np.bool_] | None


class ShardWriter(Protocol):
    """Takes the images of one shard; used by one thread.

    Attributes:
        lines: what was made is told by these, where it is not on disk: JSON a task.
    """

    lines: list[bytes]

    def write(self, labelled: Labelled) -> int:
        """Write one image and return how many regions it has.

        Raises:
            DataError, TargetError: this image cannot be written; the others can.
        """
        ...

    def fail(self, failure: Failure) -> None:
        """Take note of an image that is not labelled."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What a shard may take.

    Attributes:
        memory: bytes of images from reading to writing.
        readers: images that are read at once.
        max_bytes: of an encoded image.
        max_pixels: of an image.
    """

    memory: int = 256 << 20
    readers: int = 4
    max_bytes: int = 64 << 20
    max_pixels: int = 64_000_000


@dataclass(frozen=True, slots=True, eq=False)
class _Image:
    """An image that was read.

    Attributes:
        encoded: its bytes.
        pixels: uint8 (H, W, 3) RGB.
    """

    encoded: bytes
    pixels: NDArray[np.uint8]


def label_shard(
    shard: Shard,
    segmenter: Segmenter,
    read: Read,
    writer: ShardWriter,
    *,
    below: float = 0.0,
    limits: Limits = Limits(),
    tick: Tick = lambda count: None,
    pause: Callable[[float], object] = time.sleep,
) -> Finished:
    """Label the images of a shard and return what became of them; what is written is the writer's.

    Args:
        shard: which images.
        segmenter: the model version.
        read: gives an item's bytes.
        writer: takes each image, in order, in a thread of its own.
        below: pixels of less confidence are left unlabelled.
        limits: of memory and images.
        tick: is called with the number of images that went through.
        pause: waits so many seconds before an image is asked for again.

    Raises:
        StorageError: the output takes no more.
    """
    finished = Finished(shard.number)
    budget = Budget(limits.memory)
    with _writing(writer, finished, budget, tick) as put:
        try:
            for batch in _batches(_images(shard.items, read, budget, limits, pause)):
                good = [(number, item, image) for number, item, image in batch if isinstance(image, _Image)]
                predictions = deque(segmenter.predict([image.pixels for _, _, image in good]) if good else [])
                for number, item, image in batch:
                    if isinstance(image, Failure):
                        put(number, image)
                        continue
                    prediction = predictions.popleft()
                    pixels = prediction.label_map.size
                    budget.keep(number, len(image.encoded) + _BYTES_A_PREDICTION * pixels)
                    digest = hashlib.sha256(image.encoded).hexdigest()
                    put(number, Labelled(item, image.encoded, digest, prediction, doubt.doubtful(prediction, below)))
                del good, batch
        finally:
            budget.close()
    return finished


def _images(
    items: Iterable[Item], read: Read, budget: Budget, limits: Limits, pause: Callable[[float], object]
) -> Iterator[tuple[int, Item, _Image | Failure]]:
    """Yield the images in order, read ahead by threads as far as the memory goes."""
    coming = enumerate(items)
    ahead: deque[tuple[int, Item, Future[_Image | Failure]]] = deque()
    with ThreadPoolExecutor(limits.readers, "maskloop-read") as pool:
        try:
            while True:
                while len(ahead) < 2 * limits.readers + 8 and (following := next(coming, None)) is not None:
                    number, item = following
                    ahead.append((number, item, pool.submit(_image, number, item, read, budget, limits, pause)))
                if not ahead:
                    return
                number, item, image = ahead.popleft()
                if not image.done():
                    budget.need(number)
                yield number, item, image.result()
        finally:
            budget.close()
            for _, _, image in ahead:
                image.cancel()


def _image(
    number: int, item: Item, read: Read, budget: Budget, limits: Limits, pause: Callable[[float], object]
) -> _Image | Failure:
    """Return one image decoded, or why there is none; either way it has had its turn at the budget."""
    try:
        encoded = _read(item, read, limits, pause)
        room = _Room(budget, number, len(encoded))
        pixels = pictures.decode(encoded, max_pixels=limits.max_pixels, room=room)
        budget.keep(number, len(encoded) + pixels.nbytes)
        return _Image(encoded, pixels)
    except CodecError as error:
        failure = Failure(item.name, "unreadable", str(error))
    except ImageError as error:
        failure = Failure(item.name, "unreachable", storage.reason(error))
    except OSError as error:
        failure = Failure(item.name, "unreachable", storage.reason(error))
    budget.pass_by(number)
    return failure


class _Room:
    """Asks the budget for what decoding takes, in the image's turn."""

    def __init__(self, budget: Budget, number: int, encoded: int) -> None:
        self._budget, self._number, self._encoded = budget, number, encoded

    def __call__(self, size: int) -> _Room:
        self._size = size
        return self

    def __enter__(self) -> None:
        self._budget.take(self._number, self._size + self._encoded)

    def __exit__(self, *error: object) -> None:
        """What the image keeps is told by who decodes it."""


def _read(item: Item, read: Read, limits: Limits, pause: Callable[[float], object]) -> bytes:
    """Return an item's bytes, asked for again after a while where they cannot be had."""
    wait = _PAUSE
    for attempt in range(_TRIES):
        try:
            encoded = read(item)
            break
        except (FileNotFoundError, PermissionError, IsADirectoryError):
            raise
        except OSError:
            if attempt == _TRIES - 1:
                raise
            pause(wait)
            wait *= 2
    if len(encoded) > limits.max_bytes:
        raise CodecError(f"{len(encoded) >> 20} MiB are over the limit of {limits.max_bytes >> 20} MiB")
    return encoded


def _batches(
    images: Iterable[tuple[int, Item, _Image | Failure]],
) -> Iterator[list[tuple[int, Item, _Image | Failure]]]:
    """Yield images in groups of a million pixels at most, by their order alone."""
    batch: list[tuple[int, Item, _Image | Failure]] = []
    pixels = 0
    for number, item, image in images:
        size = image.pixels.size // 3 if isinstance(image, _Image) else 0
        if batch and pixels + size > _BATCH_PIXELS:
            yield batch
            batch, pixels = [], 0
        batch.append((number, item, image))
        pixels += size
    if batch:
        yield batch


@contextmanager
def _writing(
    writer: ShardWriter, finished: Finished, budget: Budget, tick: Tick
) -> Iterator[Callable[[int, Labelled | Failure], None]]:
    """Give a function that hands images to a thread, which writes them; its errors come through."""
    waiting: queue.Queue[tuple[int, Labelled | Failure] | None] = queue.Queue()
    errors: list[BaseException] = []

    def run() -> None:
        while (given := waiting.get()) is not None:
            number, outcome = given
            try:
                if not errors:
                    _write(writer, outcome, finished)
            except BaseException as error:  # noqa: BLE001 - raised again where images are handed over
                errors.append(error)
                budget.close()
            del given, outcome
            budget.release(number)
            tick(1)

    thread = threading.Thread(target=run, name="maskloop-write", daemon=True)
    thread.start()

    def put(number: int, outcome: Labelled | Failure) -> None:
        if errors:
            raise errors[0]
        waiting.put((number, outcome))

    try:
        yield put
    except BaseException as error:
        # what was given up because the writer failed failed for the writer's reason
        if errors and error is not errors[0]:
            raise errors[0] from error
        raise
    finally:
        waiting.put(None)
        thread.join()
    if errors:
        raise errors[0]


def _write(writer: ShardWriter, outcome: Labelled | Failure, finished: Finished) -> None:
    if isinstance(outcome, Labelled):
        try:
            regions = writer.write(outcome)
        except (DataError, TargetError) as error:
            outcome = Failure(outcome.item.name, "unwritable", str(error))
        except OSError as error:
            raise StorageError(f"the output: {storage.reason(error)}") from error
        else:
            pixels = outcome.prediction.label_map.size
            left = 0 if outcome.unsure is None else int(outcome.unsure.sum())
            finished.done += 1
            finished.regions += regions
            finished.void = (finished.void[0] + left, finished.void[1] + pixels)
            return
    finished.failures.append(outcome)
    writer.fail(outcome)
