"""Shards on a Ray cluster: actors that keep the model loaded, on whatever nodes there are.

The engine keeps no state: what is finished is told by the destination, so a driver may die and be started again.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from maskloop_converters.errors import MaskloopError

from ..errors import EngineError, StorageError
from .protocol import ATTEMPTS, Lost, R, S, Tick, Work, no_tick


@dataclass(frozen=True, slots=True)
class RayEngine:
    """A Ray cluster, or Ray on this machine.

    Attributes:
        address: of the cluster ('ray://host:10001', 'host:6379', 'auto'); None starts one on this machine.
        actors: workers at once; None has as many as the cluster's processors hold.
        threads: processors of each.
        gpus: of each; shares are possible.
    """

    address: str | None = None
    actors: int | None = None
    threads: int = 1
    gpus: float = 0.0

    @property
    def title(self) -> str:
        """What it is and has, for people."""
        return f"Ray at {self.address}" if self.address else "Ray on this machine"

    def run(self, work: Work[S, R], shards: Sequence[S], tick: Tick = no_tick) -> Iterator[tuple[S, R | Lost]]:
        """Yield every shard once with its result, see the protocol; images are counted shard by shard."""
        if not shards:
            return
        ray = _ray()
        # nothing of maskloop leaves the machine unasked
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            # "local": not the cluster that happens to run here
            ray.init(self.address or "local", include_dashboard=None if self.address else False, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            raise EngineError(f"{self.title} cannot be used: {_reason(error)}") from error
        try:
            yield from self._run(ray, work, shards, tick)
        finally:
            ray.shutdown()

    def _run(self, ray: Any, work: Any, shards: Sequence[Any], tick: Tick) -> Iterator[tuple[Any, Any]]:
        cores = int(ray.cluster_resources().get("CPU", 1))
        count = min(len(shards), self.actors or max(1, cores // self.threads))
        actor = ray.remote(_Actor).options(num_cpus=self.threads, num_gpus=self.gpus)
        shared = ray.put(work)
        waiting = deque(enumerate(shards))
        # by what each worker was asked last: its shard, None where it was asked whether it is there
        asked: dict[Any, tuple[Any, tuple[int, Any] | None]] = {}
        deaths: dict[int, int] = {}
        unfinished = len(shards)
        unready = 0

        def begin() -> None:
            worker = actor.remote(shared, self.threads)
            asked[worker.ready.remote()] = (worker, None)

        for _ in range(count):
            begin()
        while unfinished:
            # a worker that has no node yet, or none any more, has no shard: the others get through all of them
            done, _ = ray.wait(list(asked), num_returns=1)
            for reference in done:
                worker, given = asked.pop(reference)
                try:
                    kind, said = ray.get(reference)
                except ray.exceptions.RayError as error:
                    # its process or its node died
                    with suppress(Exception):
                        ray.kill(worker)
                    if given is None:
                        unready += 1
                        if unready >= 2 * ATTEMPTS * count:
                            raise EngineError(f"workers end before they are ready: {_reason(error)}") from error
                    else:
                        deaths[given[0]] = deaths.get(given[0], 0) + 1
                        if deaths[given[0]] >= 2 * ATTEMPTS:
                            unfinished -= 1
                            yield given[1], Lost(f"its worker died {deaths[given[0]]} times ({type(error).__name__})")
                        else:
                            waiting.appendleft(given)
                    begin()
                    continue
                unready = 0
                if kind == "storage":
                    raise StorageError(said)
                if kind == "begin":
                    raise EngineError(said)
                if waiting:
                    following = waiting.popleft()
                    asked[worker.label.remote(following[1])] = (worker, following)
                if given is not None:
                    unfinished -= 1
                    tick(len(getattr(given[1], "items", ())))
                    yield given[1], (said if kind == "done" else Lost(said))


class _Actor:
    """A worker: the model is loaded with the first shard, so that what is wrong with it is told as an answer."""

    def __init__(self, work: Any, threads: int) -> None:
        for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"):
            os.environ[name] = str(threads)
        self._work, self._threads = work, threads
        self._function: Callable[[Any, Tick], Any] | None = None

    def ready(self) -> tuple[str, Any]:
        """Say that there is a node for it."""
        return "ready", None

    def label(self, shard: Any) -> tuple[str, Any]:
        """Return ('done', result), or what failed and why."""
        if self._function is None:
            try:
                self._function = self._work.begin(self._threads)
            except MaskloopError as error:
                return "begin", str(error)
        try:
            return "done", self._function(shard, no_tick)
        except StorageError as error:
            return "storage", str(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other shards are worked on
            return "failed", f"{type(error).__name__}: {error}"


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise EngineError("Ray is not installed: pip install 'maskloop[ray]'") from error
    return ray


def _reason(error: BaseException) -> str:
    """Return why a cluster cannot be used, and what helps where it asks for a token."""
    cause: BaseException | None = error
    while cause is not None:
        if "AuthenticationError" in f"{type(cause).__name__}: {cause}":
            return "it asks for a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN where the one in ~/.ray is another"
        cause = cause.__cause__
    return " ".join(str(error).split())[:300]
