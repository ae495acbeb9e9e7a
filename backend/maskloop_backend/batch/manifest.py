"""A shard's manifest: which images are in it, by hash, and why others are not. It is written last, and makes a shard finished.

Lines of JSON: the head first, then one an image.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

from .errors import BatchError
from .items import Failure, Finished, Kind

_KINDS = ("unreadable", "unreachable", "unwritable")


@dataclass(slots=True)
class Manifest:
    """What became of the images of a shard.

    Attributes:
        shard: its number.
        plan: fingerprint of what was asked for (version, format, options).
        images: of each labelled image: name, sha256 of its bytes, score, share of pixels left unlabelled.
        failures: the others.
        regions: written.
        void: pixels left unlabelled, and all, of the labelled images.
    """

    shard: int
    plan: str
    images: list[tuple[str, str, float, float]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    regions: int = 0
    void: tuple[int, int] = (0, 0)

    def to_bytes(self) -> bytes:
        """Return the lines."""
        head = {"maskloop": 1, "shard": self.shard, "plan": self.plan, "regions": self.regions, "void": list(self.void)}
        records: list[dict[str, Any]] = [head]
        records += [{"name": n, "sha256": h, "score": s, "void": v} for n, h, s, v in self.images]
        records += [{"name": f.name, "kind": f.kind, "failed": f.reason} for f in self.failures]
        return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode(
            "utf-8", "surrogatepass"
        )

    @classmethod
    def of(cls, content: bytes, where: str) -> Manifest:
        """Return the manifest that lines hold.

        Raises:
            BatchError: they hold none.
        """
        try:
            head, *records = [json.loads(line) for line in content.decode("utf-8", "surrogatepass").splitlines()]
            made = cls(int(head["shard"]), str(head["plan"]), regions=int(head["regions"]))
            left, pixels = head["void"]
            made.void = (int(left), int(pixels))
            for record in records:
                if "failed" in record:
                    made.failures.append(Failure(str(record["name"]), _kind(record["kind"]), str(record["failed"])))
                else:
                    figures = float(record["score"]), float(record["void"])
                    made.images.append((str(record["name"]), str(record["sha256"]), *figures))
        except (ValueError, KeyError, TypeError) as error:
            raise BatchError(
                f"{where} is no manifest of a shard ({type(error).__name__}); remove it, and the shard is made again"
            ) from error
        return made

    @property
    def again(self) -> bool:
        """Whether the shard is worth making again: images that could not be had may be there by now."""
        return any(failure.kind == "unreachable" for failure in self.failures)

    def finished(self) -> Finished:
        """Return what a worker reports of it."""
        return Finished(self.shard, len(self.images), list(self.failures), self.void, self.regions)

    def names(self) -> Iterator[str]:
        """Yield the names of all images, labelled or not."""
        yield from (name for name, *_ in self.images)
        yield from (failure.name for failure in self.failures)


def _kind(text: object) -> Kind:
    if text not in _KINDS:
        raise ValueError(text)
    return cast(Kind, text)
