"""What every worker does: load a version once, then label shard after shard."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from .. import quiet
from ..registry.store import Registry
from .engines.protocol import Tick
from .items import Finished, Read, Shard
from .shard import Limits, ShardWriter, label_shard
from .sources import in_order

if TYPE_CHECKING:
    from ..inference.predictor import Predictor
    from ..inference.runtimes.choosing import Name
    from ..inference.runtimes.protocol import Precision


class Destination(Protocol):
    """What takes shards."""

    def opening(self, shard: Shard) -> AbstractContextManager[ShardWriter]:
        """Give what takes a shard's images; it is finished when the block ends, or not there."""
        ...


@dataclass(frozen=True, slots=True)
class Model:
    """A version, and how it is run.

    Attributes:
        home: of the registry.
        version: its name.
        runtime: what runs it.
        precision: what it computes in.
        edges: move label maps to the edges of their images.
    """

    home: Path
    version: str
    runtime: Name = "auto"
    precision: Precision = "auto"
    edges: bool = False

    def load(self, threads: int | None = None) -> Predictor:
        """Verify, load and compile the version.

        Args:
            threads: to compute with; None takes what the machine has.

        Raises:
            RegistryError, BundleError: it is not there, or damaged.
        """
        quiet.import_keras()
        from ..inference.predictor import Predictor
        from ..inference.runtimes.choosing import choose

        bundle = Registry(self.home).load(self.version)
        # the bytes of a shard must not depend on which were made before it: each is a stretch
        choice = choose(bundle, self.runtime, self.precision, threads=threads, repeatable=True)
        return Predictor(bundle, runtime=choice.runtime, edges=self.edges)


@dataclass(frozen=True, slots=True)
class Labelling:
    """A :class:`~.engines.protocol.Work`: shards of images -> shards of the destination.

    Attributes:
        model: that labels.
        read: gives an item's bytes.
        destination: that takes the shards.
        below: pixels of less confidence are left unlabelled.
        limits: of memory and images.
    """

    model: Model
    read: Read
    destination: Destination
    below: float = 0.0
    limits: Limits = field(default_factory=Limits)

    def begin(self, threads: int | None) -> Callable[[Shard, Tick], Finished]:
        """Load the model and return the function that labels a shard."""
        predictor = self.model.load(threads)

        def label(shard: Shard, tick: Tick) -> Finished:
            limits = self.limits if not in_order(self.read) else Limits(self.limits.memory, 1)
            predictor.start_stretch()
            with self.destination.opening(shard) as writer:
                finished = label_shard(shard, predictor, self.read, writer, below=self.below, limits=limits, tick=tick)
            finished.lines = writer.lines
            return finished

        return label


@dataclass(frozen=True, slots=True)
class Choosing:
    """Finds out, in a process of its own, what runs a version fastest here: (runtime, precision)."""

    model: Model

    def begin(self, threads: int | None) -> Callable[[int, Tick], tuple[str, str]]:
        """Load the model and return the function that tells."""
        quiet.import_keras()
        from ..inference.runtimes.choosing import choose

        def tell(shard: int, tick: Tick) -> tuple[str, str]:
            bundle = Registry(self.model.home).load(self.model.version)
            runtime = choose(bundle, self.model.runtime, self.model.precision, threads=threads, repeatable=True).runtime
            return runtime.name, runtime.precision

        return tell
