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
            ray.init(self.address, include_dashboard=None if self.address else False, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            raise EngineError(f"{self.title} cannot be used: {' '.join(str(error).split())[:300]}") from error
        try:
            yield from self._run(ray, work, shards, tick)
        finally:
            ray.shutdown()

    def _run(self, ray: Any, work: Any, shards: Sequence[Any], tick: Tick) -> Iterator[tuple[Any, Any]]:
        cores = int(ray.cluster_resources().get("CPU", 1))
        count = min(len(shards), self.actors or max(1, cores // self.threads))
        actor = ray.remote(_Actor).options(num_cpus=self.threads, num_gpus=self.gpus, max_restarts=-1)
        shared = ray.put(work)
        idle = [actor.remote(shared, self.threads) for _ in range(count)]
        waiting = deque((number, shard) for number, shard in enumerate(shards))
        running: dict[Any, tuple[Any, tuple[int, Any]]] = {}
        deaths: dict[int, int] = {}
        while waiting or running:
            while waiting and idle:
                given, worker = waiting.popleft(), idle.pop()
                running[worker.label.remote(given[1])] = (worker, given)
            done, _ = ray.wait(list(running), num_returns=1)
            for reference in done:
                worker, given = running.pop(reference)
                try:
                    kind, said = ray.get(reference)
                except ray.exceptions.RayError as error:
                    # its process or its node died; the actor is begun again elsewhere, or another one is
                    deaths[given[0]] = deaths.get(given[0], 0) + 1
                    with suppress(Exception):
                        ray.kill(worker)
                    idle.append(actor.remote(shared, self.threads))
                    if deaths[given[0]] >= 2 * ATTEMPTS:
                        yield given[1], Lost(f"its worker died {deaths[given[0]]} times ({type(error).__name__})")
                    else:
                        waiting.appendleft(given)
                    continue
                if kind == "storage":
                    raise StorageError(said)
                if kind == "begin":
                    raise EngineError(said)
                idle.append(worker)
                items = getattr(given[1], "items", ())
                tick(len(items))
                yield given[1], (said if kind == "done" else Lost(said))


class _Actor:
    """A worker: the model is loaded with the first shard, so that what is wrong with it is told as an answer."""

    def __init__(self, work: Any, threads: int) -> None:
        for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"):
            os.environ[name] = str(threads)
        self._work, self._threads = work, threads
        self._function: Callable[[Any, Tick], Any] | None = None

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
