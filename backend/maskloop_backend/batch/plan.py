"""Which images are in which shard: written before the first is labelled, and only ever added to.

``plan.jsonl`` has a head (what is asked for) and a line a shard. Resuming is making the shards that have no manifest; images
that a source has got since are added as further shards, so that what is finished stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from . import storage
from .destinations import OWN, fingerprint
from .errors import BatchError
from .items import Item, Shard

# Images of a shard: some seconds of work, and a thousand shards for 200,000 images.
SHARD_IMAGES = 200
# What a person calls the facts of a head.
_SPOKEN = {
    "version": "--model",
    "format": "--to",
    "options": "the options of the format",
    "confidence_below": "--confidence-below",
    "runtime": "--runtime",
    "precision": "--precision",
    "edges": "--edges",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for, and the shards.

    Attributes:
        facts: version, format, options, threshold, runtime and precision: what decides the bytes of a shard.
        shards: all of them.
        added: how many images are new in it.
        gone: images of finished or planned shards that the source has no more.
    """

    facts: Mapping[str, Any]
    shards: tuple[Shard, ...] = field(default=())
    added: int = 0
    gone: int = 0

    @property
    def mark(self) -> str:
        """What stands for the facts in manifests."""
        return fingerprint(self.facts)

    @property
    def images(self) -> int:
        """How many images there are in all shards."""
        return sum(len(shard.items) for shard in self.shards)

    def with_images(self, items: Sequence[Item], shard_images: int) -> Plan:
        """Return the plan with the images of a source that it does not have yet, in further shards."""
        known = {item.name for shard in self.shards for item in shard.items}
        new = [item for item in items if item.name not in known]
        gone = len(known - {item.name for item in items}) if known else 0
        first = len(self.shards)
        further = (
            Shard(first + number, _readable(new[start : start + shard_images]))
            for number, start in enumerate(range(0, len(new), shard_images))
        )
        return replace(self, shards=(*self.shards, *further), added=len(new), gone=gone)

    def save(self, root: str) -> None:
        """Write the plan."""
        lines = [json.dumps({"maskloop": 1, **self.facts}, default=str)]
        lines += [
            json.dumps({"shard": shard.number, "items": [item.to_json() for item in shard.items]}, ensure_ascii=False)
            for shard in self.shards
        ]
        storage.write(_place(root), "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass"))


def stored(root: str) -> Plan | None:
    """Return the plan of a destination, None where there is none.

    Raises:
        BatchError: it is damaged.
    """
    try:
        content = storage.read(_place(root))
    except (FileNotFoundError, NotADirectoryError):
        return None
    where = storage.spoken(_place(root))
    try:
        head, *lines = [json.loads(line) for line in content.decode("utf-8", "surrogatepass").splitlines()]
        if head.pop("maskloop") != 1:
            raise ValueError("another layout")
        shards = tuple(_shards(lines))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BatchError(
            f"{where} is damaged ({type(error).__name__}); remove the folder and begin anew, or give another place"
        ) from error
    return Plan(head, shards)


def check_same(plan: Plan, facts: Mapping[str, Any], root: str) -> None:
    """Refuse to go on with a plan under other settings: half of the masks would be of another version.

    Args:
        plan: that is there.
        facts: that are asked for.
        root: of the destination, for the message.

    Raises:
        BatchError: something differs; the message says what.
    """
    asked = json.loads(json.dumps(facts, default=str))
    for name, value in asked.items():
        if plan.facts.get(name) != value:
            raise BatchError(
                f"{storage.spoken(root)} was begun with {_SPOKEN.get(name, name)} {plan.facts.get(name)!r}, not {value!r}; give "
                "the same to go on, another DEST, or --overwrite to begin anew"
            )


def _readable(items: Sequence[Item]) -> tuple[Item, ...]:
    """Return items in an order in which they can be read: those inside records in the records' own."""
    return tuple(sorted(items, key=lambda item: 0 if item.at else item.number))


def _shards(lines: Iterable[Any]) -> Iterator[Shard]:
    for number, line in enumerate(lines):
        if line["shard"] != number:
            raise ValueError(f"shard {number} is missing")
        yield Shard(number, tuple(Item.from_json(value) for value in line["items"]))


def _place(root: str) -> str:
    return storage.joined(root, f"{OWN}/plan.jsonl")
