"""Downloads side by side, a lane a host: a host that is slow makes only those wait who want something from it.

Each download has a thread of its own that ends with it, and none of them keeps the process alive. A lane lets a few
begin at once; one that lasts is no longer counted, so that a lane of slow downloads flows on slowly. When all places
are taken, the download that has lasted longest gives up its place, so that no number of slow hosts closes the door.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from ..studio.transport import Exchange, ExchangeError

_T = TypeVar("_T")
_R = TypeVar("_R")

# Seconds after which a download counts as one that lasts: an image over an ordinary line takes less.
FAIR_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Onward(Generic[_T]):
    """What a download returns that must go on in another lane.

    Attributes:
        lane: the other host.
        work: the rest of it.
    """

    lane: str
    work: Callable[[], _T | Onward[_T]]


@dataclass(slots=True, eq=False)
class _Item:
    lane: str
    exchange: Exchange
    work: Callable[[], Any]
    then: Callable[[Any], Any]
    future: Future[Any]
    started: float = field(default=0.0)


class Lanes:
    """Starts downloads when their lane has a place.

    Args:
        width: downloads of one lane that may begin at once.
        places: downloads of all lanes together, `own` not counted.
        own: tells which lane has places of its own, as many: Label Studio's images never wait for those of others.
        fair: seconds, see :data:`FAIR_SECONDS`.
    """

    def __init__(
        self,
        *,
        width: int,
        places: int,
        own: Callable[[str], bool] = lambda lane: False,
        fair: float = FAIR_SECONDS,
    ) -> None:
        self._width = width
        self._places = places
        self._own = own
        self._fair = fair
        self._changed = threading.Condition()
        self._waiting: OrderedDict[str, deque[_Item]] = OrderedDict()
        self._running: set[_Item] = set()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="maskloop-lanes", daemon=True)
        self._thread.start()

    def submit(
        self,
        lane: str,
        exchange: Exchange,
        work: Callable[[], _T | Onward[_T]],
        then: Callable[[_T], _R],
    ) -> Future[_R]:
        """Queue a download and return the promise of what is made of it.

        Args:
            lane: its host.
            exchange: called off when its place is needed.
            work: the download; it holds a place.
            then: what follows in the same thread, without a place.
        """
        future: Future[_R] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("the server is stopping")
            self._enter(_Item(lane, exchange, work, then, future))
        return future

    def close(self) -> None:
        """Call off what runs and cancel what waits."""
        with self._changed:
            self._closed = True
            waiting = [item for items in self._waiting.values() for item in items]
            running = list(self._running)
            self._waiting.clear()
            self._changed.notify_all()
        for item in waiting:
            # one on its way from one lane to another runs already
            if not item.future.cancel():
                item.future.set_exception(ExchangeError("the server is stopping"))
        for item in running:
            item.exchange.stop("the server is stopping")

    def _enter(self, item: _Item) -> None:
        self._waiting.setdefault(item.lane, deque()).append(item)
        self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                item, victim = self._next()
                while item is None and victim is None and not self._closed:
                    self._changed.wait(self._until_next())
                    item, victim = self._next()
                if self._closed:
                    return
            if victim is not None:
                victim.exchange.stop("its host is too slow while others wait; try again in a moment")
            if item is not None:
                threading.Thread(target=self._work, args=(item,), name="maskloop-fetch", daemon=True).start()

    def _next(self) -> tuple[_Item | None, _Item | None]:
        """Take the next download that may start, and one that must give up its place for it."""
        self._forget_cancelled()
        now = time.monotonic()
        for lane in list(self._waiting):
            mine = [item for item in self._running if item.lane == lane]
            if sum(now - item.started < self._fair for item in mine) >= self._width:
                continue
            rivals = mine if self._own(lane) else [item for item in self._running if not self._own(item.lane)]
            victim = None
            if len(rivals) >= self._places:
                victim = min(rivals, key=lambda item: item.started)
                if now - victim.started < self._fair:
                    continue
                # what it is stuck in may take its time to end
                self._running.discard(victim)
            items = self._waiting[lane]
            item = items.popleft()
            if items:
                self._waiting.move_to_end(lane)
            else:
                del self._waiting[lane]
            item.started = now
            self._running.add(item)
            return item, victim
        return None, None

    def _forget_cancelled(self) -> None:
        """Leave out whom nobody waits for any more."""
        for lane in list(self._waiting):
            items = self._waiting[lane]
            while items and items[0].future.cancelled():
                items.popleft()
            if not items:
                del self._waiting[lane]

    def _until_next(self) -> float | None:
        """Return the seconds until a place may be free by time alone, None where nothing waits."""
        if not self._waiting:
            return None
        now = time.monotonic()
        coming = [item.started + self._fair - now for item in self._running]
        return min((seconds for seconds in coming if seconds > 0), default=self._fair)

    def _leave(self, item: _Item) -> None:
        with self._changed:
            self._running.discard(item)
            self._changed.notify_all()

    def _work(self, item: _Item) -> None:
        if not item.future.running() and not item.future.set_running_or_notify_cancel():
            self._leave(item)
            return
        try:
            try:
                found = item.work()
            finally:
                self._leave(item)
            if isinstance(found, Onward):
                with self._changed:
                    if self._closed:
                        item.exchange.stop("the server is stopping")
                    item.exchange.check()
                    item.lane, item.work = found.lane, found.work
                    self._enter(item)
                return
            kept = [found]
            del found
            made = item.then(kept.pop())  # so that what follows can drop the bytes when it has decoded them
        except BaseException as error:  # noqa: BLE001 - whoever waits for the promise hears of it
            item.future.set_exception(error)
        else:
            item.future.set_result(made)
