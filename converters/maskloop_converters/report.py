"""What reading skipped and what writing could not keep: counted by kind, with the first examples, never silent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from .errors import DataError, MaskloopError

OnError = Literal["fail", "skip"]

EXAMPLES_KEPT = 5
#: The note of an error that a record caused: what a user does to go on without the record.
SKIP_ADVICE = "--on-error skip leaves it out and goes on"


@dataclass(slots=True)
class Tally:
    """Counts by kind ('overlapping pixels', 'soft edges', ...) with the first examples of each.

    Attributes:
        counts: how often, by kind, in the order in which the kinds were first met.
        examples: the first few places by kind ('image 17, region a: 240 pixels').
    """

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, example: str, count: int = 1) -> None:
        """Count ``count`` more of a kind; a count of 0 leaves no trace."""
        if count:
            self.counts[kind] = self.counts.get(kind, 0) + count
            kept = self.examples.setdefault(kind, [])
            if len(kept) < EXAMPLES_KEPT:
                kept.append(example)

    def merge(self, other: Tally) -> None:
        """Add what another tally counted (a worker's, a part's)."""
        for kind, count in other.counts.items():
            self.counts[kind] = self.counts.get(kind, 0) + count
            kept = self.examples.setdefault(kind, [])
            kept.extend(other.examples[kind][: EXAMPLES_KEPT - len(kept)])

    def clear(self) -> None:
        """Start anew."""
        self.counts.clear()
        self.examples.clear()

    @property
    def total(self) -> int:
        """How many were counted, of all kinds."""
        return sum(self.counts.values())

    def __bool__(self) -> bool:
        """True when anything was counted."""
        return bool(self.counts)

    def lines(self) -> list[str]:
        """Return one line a kind for people: '12 overlapping pixels (image 17: 8; image 3: 4)'."""
        lines = []
        for kind, count in self.counts.items():
            examples = "; ".join(self.examples[kind])
            more = "; ..." if count > len(self.examples[kind]) else ""
            lines.append(f"{count:,} {kind} ({examples}{more})")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return counts and examples as JSON values, by kind."""
        return {kind: {"count": count, "examples": self.examples[kind]} for kind, count in self.counts.items()}


@dataclass(slots=True)
class WriteReport:
    """What a format wrote and what it could not hold.

    Attributes:
        samples: written.
        regions: written, all samples together.
        losses: what the target cannot hold, by kind; empty when reading the output back gives the input.
        notes: what a person should know though nothing is lost ('masks are binary: regions overlap in 3 samples').
        skipped: samples that did not pass the gate before the writer, where the policy is to skip.
    """

    samples: int = 0
    regions: int = 0
    losses: Tally = field(default_factory=Tally)
    notes: Tally = field(default_factory=Tally)
    skipped: Tally = field(default_factory=Tally)

    def merge(self, other: WriteReport) -> None:
        """Add another report (a shard's, a split's)."""
        self.samples += other.samples
        self.regions += other.regions
        self.losses.merge(other.losses)
        self.notes.merge(other.notes)
        self.skipped.merge(other.skipped)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "samples": self.samples,
            "regions": self.regions,
            "losses": self.losses.to_dict(),
            "notes": self.notes.to_dict(),
            "skipped": self.skipped.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class ErrorPolicy:
    """What is done with a record that is wrong: fail, or skip it and count it; and where what else is seen is counted.

    Attributes:
        on_error: 'fail' raises, 'skip' counts.
        skipped: where skipped records, and all else that is left out, are counted; readers hand it on as
            :attr:`Dataset.skipped`.
        notes: what a person should know though nothing is left out (where labels without a list got their names from);
            readers hand it on as :attr:`Dataset.notes`.
    """

    on_error: OnError = "fail"
    skipped: Tally = field(default_factory=Tally)
    notes: Tally = field(default_factory=Tally)

    @contextmanager
    def record(self, kind: str = "skipped records", *errors: type[MaskloopError]) -> Iterator[None]:
        """Guard the work on one record: an error inside is raised or counted as ``kind``, as the policy says.

        Args:
            kind: under which it is counted.
            errors: those that are meant; by default every DataError.
        """
        try:
            yield
        except MaskloopError as error:
            meant = isinstance(error, errors or DataError)
            if self.on_error == "fail" or not meant:
                if meant and SKIP_ADVICE not in getattr(error, "__notes__", ()):
                    error.add_note(SKIP_ADVICE)
                raise
            self.skipped.add(kind, str(error))

    def leave_out(self, kind: str, example: str, count: int = 1) -> None:
        """Count what has nothing that could be taken (an annotation without a mask), whatever the policy: no fault."""
        self.skipped.add(kind, example, count)

    def clear(self) -> None:
        """Start anew, as each iteration does."""
        self.skipped.clear()
        self.notes.clear()
