"""The images that are to be labelled, as a plan names them and as any worker can get at them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from .errors import BatchError

# Why an image was not labelled: its bytes are no picture that can be taken ('unreadable': it will not be better next
# time), they could not be had ('unreachable': it may), or what was made of it could not be written.
Kind = Literal["unreadable", "unreachable", "unwritable"]
Read = Callable[["Item"], bytes]


@dataclass(frozen=True, slots=True)
class Item:
    """One image.

    Attributes:
        name: posix path inside the dataset that is made, unique in it.
        at: path or URL of the file; '' where its source hands it out otherwise.
        id: of the sample that is made; the name where the source has none of its own.
        number: position in the source, for sources that are read from their beginning.
        task: as Label Studio has it (id, data), for a project's.
    """

    name: str
    at: str = ""
    id: str = ""
    number: int = 0
    task: dict[str, Any] | None = None

    @property
    def sample_id(self) -> str:
        """The id of the sample that is made of it."""
        return self.id or self.name

    def to_json(self) -> list[Any]:
        """Return what a plan keeps of it."""
        return [self.name, self.at, self.id, self.number]

    @classmethod
    def from_json(cls, value: Any) -> Item:
        """Return the item that a plan keeps; BatchError where it is none."""
        match value:
            case [str(name), str(at), str(id_), int(number)]:
                return cls(name, at, id_, number)
        raise BatchError(f"the plan holds {value!r:.80} where an image is expected: [name, place, id, number]")


@dataclass(frozen=True, slots=True)
class Failure:
    """An image that was not labelled, and why.

    Attributes:
        name: of the item.
        kind: see :data:`Kind`.
        reason: one line for people.
    """

    name: str
    kind: Kind
    reason: str


@dataclass(frozen=True, slots=True)
class Shard:
    """The images that are labelled together, into one part of the output.

    Attributes:
        number: from 0.
        items: in the order in which they are written.
    """

    number: int
    items: tuple[Item, ...]

    @property
    def name(self) -> str:
        """What its part of the output is called."""
        return f"shard-{self.number:05d}"


@dataclass(slots=True)
class Finished:
    """What became of a shard.

    Attributes:
        shard: its number.
        done: images that are labelled.
        failures: the others.
        void: share of all labelled pixels that were left unlabelled, weighted by pixels: (left, all).
        regions: written.
        lines: what a project's destination imports: JSON a task; empty for datasets, whose shard is on disk already.
    """

    shard: int
    done: int = 0
    failures: list[Failure] = field(default_factory=list)
    void: tuple[int, int] = (0, 0)
    regions: int = 0
    lines: list[bytes] = field(default_factory=list)
