"""How much memory images may take together, from the moment they are decoded until they are answered.

A PNG of 300 bytes can be 64 megapixels: without a budget, a few requests of such tasks take all memory there is. Who
does not fit waits, people before requests for many tasks, and is refused with the reason after a while.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..studio.errors import ImageError
from .metrics import Metrics

# Seconds after which one who waits for a lot of memory is no longer overtaken by those who need little.
OVERTAKING_SECONDS = 5.0


@dataclass(slots=True, eq=False)
class _Waiter:
    priority: int
    number: int
    size: int
    since: float = field(default_factory=time.monotonic)


class ImageMemory:
    """A budget of bytes, and of images that are decoded at once.

    Args:
        capacity: bytes. A single image that is larger is let in when nothing else is there.
        decoders: images that are decoded at once; more than there are cores only take memory.
        metrics: what to count in.
    """

    def __init__(self, capacity: int, decoders: int, metrics: Metrics | None = None) -> None:
        self._capacity = capacity
        self._decoders = decoders
        self._metrics = metrics
        self._changed = threading.Condition()
        self._used = 0
        self._decoding = 0
        self._numbers = 0
        self._waiters: list[_Waiter] = []

    @property
    def used(self) -> int:
        """Bytes that are taken."""
        with self._changed:
            return self._used

    def hold(self, priority: int, seconds: float, check: Callable[[], None] = lambda: None) -> Hold:
        """Return what one image takes, nothing as yet.

        Args:
            priority: smaller goes first.
            seconds: to wait for memory at most.
            check: raises when nobody waits for the image any more.
        """
        return Hold(self, priority, seconds, check)

    def take(self, size: int, priority: int, seconds: float, check: Callable[[], None]) -> None:
        """Take bytes and a decoder's place, waiting for both.

        Args:
            size: bytes.
            priority: smaller goes first.
            seconds: to wait at most.
            check: raises when nobody waits for the image any more.

        Raises:
            ImageError: neither came in time.
        """
        deadline = time.monotonic() + seconds
        with self._changed:
            self._numbers += 1
            waiter = _Waiter(priority, self._numbers, size)
            self._waiters.append(waiter)
            self._waiters.sort(key=lambda each: (each.priority, each.number))
            try:
                while not self._may_enter(waiter):
                    left = deadline - time.monotonic()
                    if left <= 0:
                        raise ImageError(
                            f"the model backend is busy with other images: this one needs {size >> 20} MiB, and "
                            f"{self._used >> 20} of {self._capacity >> 20} MiB are taken; try again in a moment"
                        )
                    check()
                    # overtaking ends by time alone
                    self._changed.wait(min(left, 1.0))
                self._used += size
                self._decoding += 1
                self._note()
            finally:
                self._waiters.remove(waiter)
                self._changed.notify_all()

    def decoded(self) -> None:
        """Give a decoder's place back."""
        with self._changed:
            self._decoding -= 1
            self._changed.notify_all()

    def give(self, size: int) -> None:
        """Give bytes back."""
        with self._changed:
            self._used -= size
            self._note()
            self._changed.notify_all()

    def _may_enter(self, waiter: _Waiter) -> bool:
        if self._decoding >= self._decoders or not self._fits(waiter):
            return False
        now = time.monotonic()
        for other in self._waiters:
            if other is waiter:
                return True
            # before this one: it goes first if it can, and after a while whether it can or not
            if self._fits(other) or now - other.since > OVERTAKING_SECONDS:
                return False
        return True

    def _fits(self, waiter: _Waiter) -> bool:
        return self._used == 0 or self._used + waiter.size <= self._capacity

    def _note(self) -> None:
        if self._metrics is not None:
            self._metrics.image_bytes.set(self._used)


class Hold:
    """What one image takes of the budget."""

    def __init__(self, memory: ImageMemory, priority: int, seconds: float, check: Callable[[], None]) -> None:
        self._memory = memory
        self._check = check
        self._priority = priority
        self._seconds = seconds
        self._size = 0

    @contextmanager
    def room(self, size: int) -> Iterator[None]:
        """Take bytes and a decoder's place for as long as an image is decoded; the bytes stay taken.

        Raises:
            ImageError: neither came in time.
        """
        self._memory.take(size, self._priority, self._seconds, self._check)
        self._size = size
        try:
            yield
        finally:
            self._memory.decoded()

    def keep(self, size: int) -> None:
        """Take so many bytes instead; nobody waits for the few that are more."""
        self._memory.give(self._size - size)
        self._size = size

    def release(self) -> None:
        """Give back all."""
        self.keep(0)
