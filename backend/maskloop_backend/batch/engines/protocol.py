"""What runs shards, wherever: a few lines that know nothing of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

S = TypeVar("S")
R = TypeVar("R")
S_contra = TypeVar("S_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)

# Is called with the number of images that went through since the last call; with 0 when a worker is ready.
Tick = Callable[[int], None]


class Work(Protocol[S_contra, R_co]):
    """What is done with a shard. It travels to the workers pickled."""

    def begin(self, threads: int | None) -> Callable[[S_contra, Tick], R_co]:
        """Get ready, once a worker (load the model), and return the function of a shard: idempotent, for it may run twice.

        Args:
            threads: to compute with; None takes what the machine has.
        """
        ...


@dataclass(frozen=True, slots=True)
class Lost:
    """A shard that has no result.

    Attributes:
        reason: for people.
    """

    reason: str


class Engine(Protocol):
    """Runs shards side by side, again where a worker dies."""

    @property
    def title(self) -> str:
        """What it is and has, for people."""
        ...

    def run(self, work: Work[S, R], shards: Sequence[S], tick: Tick) -> Iterator[tuple[S, R | Lost]]:
        """Yield every shard once with its result, in any order.

        Raises:
            EngineError: workers cannot start.
            StorageError: a worker met a full disk; nothing else is begun.
        """
        ...


# How often a shard is begun before it is given up: its worker died each time.
ATTEMPTS = 3


def no_tick(count: int) -> None:
    """Count nothing."""
