"""Shards on this machine: in this process, or in several, each with a model and threads of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from maskloop_converters.errors import MaskloopError

from ..errors import EngineError, StorageError
from .protocol import ATTEMPTS, Lost, R, S, Tick, Work, no_tick

# What TensorFlow and the numerical libraries below it look at when they are imported.
_THREADS = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class LocalEngine:
    """Processes of this machine.

    Attributes:
        processes: with one, shards run in this process.
        threads: that each computes with; None takes all cores.
    """

    processes: int = 1
    threads: int | None = None

    @property
    def title(self) -> str:
        """What it is and has, for people."""
        each = "" if self.threads is None else f" of {self.threads} thread{'s' * (self.threads > 1)}"
        return f"{self.processes} process{'es' * (self.processes > 1)}{each}"

    def run(self, work: Work[S, R], shards: Sequence[S], tick: Tick = no_tick) -> Iterator[tuple[S, R | Lost]]:
        """Yield every shard once with its result, see the protocol."""
        if not shards:
            return
        if self.processes == 1:
            function = work.begin(self.threads)
            tick(0)
            for shard in shards:
                yield shard, function(shard, tick)
            return
        yield from _Pool(work, min(self.processes, len(shards)), self.threads).run(shards, tick)


def speed(work: Work[S, Any], shards: Sequence[S], threads: int, images: int) -> float:
    """Return the images a second that processes get through together, a shard each.

    Args:
        work: what is done.
        shards: as many as there are processes; what comes of them is thrown away.
        threads: of each process.
        images: of each shard.

    Raises:
        EngineError: a worker died or could not start.
    """
    pool = _Pool(work, len(shards), threads)
    try:
        for worker in pool.workers:
            if not worker.ready():
                raise EngineError(f"a worker process ended before it was ready ({worker.ending})")
        seconds = 0.0
        # the first time compiles for the images' sizes
        for _ in range(2):
            started = time.perf_counter()
            for worker, shard in zip(pool.workers, shards, strict=True):
                worker.give(shard)
            for worker in pool.workers:
                while (said := worker.hear()) is not None and said[0] == "tick":
                    continue
                if said is None or said[0] != "done":
                    raise EngineError(f"a worker failed while it was measured: {said[-1] if said else worker.ending}")
            seconds = time.perf_counter() - started
        return len(shards) * images / seconds
    finally:
        pool.close()


class _Worker:
    """A process and the connection to it."""

    def __init__(self, work: Any, threads: int | None) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, work, threads), daemon=True)
        with _fresh(threads):
            self.process.start()
        other.close()
        self.shard: Any = None

    def ready(self) -> bool:
        """Wait until it has its model."""
        said = self.hear()
        if said is not None and said[0] == "failed":
            raise _error(said)
        return said is not None

    def give(self, shard: Any) -> bool:
        """Hand a shard to it; False where it has ended."""
        self.shard = shard
        try:
            self.connection.send(shard)
        except OSError:
            return False
        return True

    def hear(self) -> tuple[Any, ...] | None:
        """Return the next thing that it says, None where it has ended."""
        try:
            said: tuple[Any, ...] = self.connection.recv()
        except (EOFError, OSError):
            self.process.join(10)
            return None
        return said

    @property
    def ending(self) -> str:
        """How it ended, for people."""
        code = self.process.exitcode
        if code is not None and code < 0:
            extra = ", which is how a system that is out of memory ends it" if code == -signal.SIGKILL else ""
            return f"signal {-code}{extra}"
        return f"exit code {code}"

    def stop(self) -> None:
        """End it."""
        self.connection.close()
        self.process.kill()
        self.process.join()
        self.process.close()


class _Pool:
    """Processes that take shards from one queue; one that dies is replaced, and its shard begun again."""

    def __init__(self, work: Any, processes: int, threads: int | None) -> None:
        self._work = work
        self._threads = threads
        self.workers = [_Worker(work, threads) for _ in range(processes)]

    def run(self, shards: Sequence[Any], tick: Tick) -> Iterator[tuple[Any, Any]]:
        waiting = deque(enumerate(shards))
        deaths: dict[int, int] = {}
        started = 0
        try:
            while waiting or any(worker.shard is not None for worker in self.workers):
                heard = wait([worker.connection for worker in self.workers])
                for worker in [w for w in self.workers if w.connection in heard]:
                    said = worker.hear()
                    if said is None:
                        given = worker.shard
                        if given is None:
                            started += 1
                            if started >= ATTEMPTS * len(self.workers):
                                raise EngineError(f"worker processes end before they are ready ({worker.ending})")
                        else:
                            deaths[given[0]] = deaths.get(given[0], 0) + 1
                            if deaths[given[0]] < ATTEMPTS:
                                waiting.appendleft(given)
                            else:
                                reason = f"its worker process ended {ATTEMPTS} times ({worker.ending})"
                                yield given[1], Lost(reason)
                        self._replace(worker, needed=bool(waiting))
                        continue
                    if said[0] == "tick":
                        tick(said[1])
                        continue
                    if said[0] == "failed" and (worker.shard is None or said[1] == "storage"):
                        raise _error(said)
                    if worker.shard is not None:
                        shard = worker.shard[1]
                        worker.shard = None
                        yield shard, (said[1] if said[0] == "done" else Lost(said[2]))
                    else:
                        tick(0)
                    if waiting:
                        worker.give(waiting.popleft())
        finally:
            self.close()

    def _replace(self, worker: _Worker, *, needed: bool) -> None:
        worker.stop()
        self.workers.remove(worker)
        if needed:
            self.workers.append(_Worker(self._work, self._threads))

    def close(self) -> None:
        """End all processes."""
        for worker in self.workers:
            with suppress(ValueError):
                worker.stop()


class _fresh:  # noqa: N801 - a context manager
    """Lets a process that starts now begin with its own number of threads, and without the program that starts it."""

    _lock = threading.Lock()

    def __init__(self, threads: int | None) -> None:
        self._wanted = {} if threads is None else dict.fromkeys(_THREADS, str(threads))
        self._before: dict[str, str | None] = {}
        self._main: dict[str, Any] = {}

    def __enter__(self) -> None:
        self._lock.acquire()
        self._before = {name: os.environ.get(name) for name in self._wanted}
        os.environ.update(self._wanted)
        # a new process would run the program that it was started from again, which may not be made for that
        main = vars(sys.modules["__main__"])
        self._main = {name: main.pop(name) for name in ("__spec__", "__file__") if name in main}
        main["__spec__"] = None

    def __exit__(self, *error: object) -> None:
        vars(sys.modules["__main__"]).update(self._main)
        for name, value in self._before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        self._lock.release()


def _error(said: tuple[Any, ...]) -> MaskloopError:
    return StorageError(said[2]) if said[1] == "storage" else EngineError(said[2])


def _serve(connection: Connection, work: Work[Any, Any], threads: int | None) -> None:
    """Be a worker: get ready, then take shards until the other side has gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="maskloop-parent", daemon=True).start()

    def answer(call: Callable[[], Any]) -> bool:
        try:
            said: tuple[Any, ...] = ("done", call())
        except StorageError as error:
            said = ("failed", "storage", str(error))
        except MaskloopError as error:
            said = ("failed", "maskloop", str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the other shards are worked on
            said = ("failed", "other", f"{type(error).__name__}: {error}")
        connection.send(said)
        return bool(said[0] == "done")

    ready: list[Callable[[Any, Tick], Any]] = []

    def begin() -> None:
        ready.append(work.begin(threads))

    with suppress(EOFError, OSError):
        if not answer(begin):
            return
        while True:
            given = connection.recv()
            shard = given[1] if isinstance(given, tuple) else given
            answer(lambda shard=shard: ready[0](shard, lambda count: connection.send(("tick", count))))  # type: ignore[misc]


def _end_with_parent() -> None:
    """End this process with the one that started it: its shards are begun again by whoever comes next."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
