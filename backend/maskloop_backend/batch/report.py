"""What labelling a dataset came to: figures, and the reason of every image that is missing."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from .items import Failure, Finished


@dataclass(slots=True)
class Report:
    """What labelling came to.

    Attributes:
        version: that labelled.
        images: of the source, all runs together.
        done: of them, labelled and written; all runs together.
        before: of those, by earlier runs.
        failures: images that are missing, with the reasons.
        regions: written.
        void: pixels left unlabelled, and all, of the labelled images.
        repeated: images that the source names more than once; they are taken once.
        gone: images of the plan that the source has no more.
        twins: labelled images whose bytes another one has too.
        notes: what else should be said.
        seconds: that labelling took in this run, without loading.
        labelled: images of this run.
    """

    version: str
    images: int = 0
    done: int = 0
    before: int = 0
    failures: list[Failure] = field(default_factory=list)
    regions: int = 0
    void: tuple[int, int] = (0, 0)
    repeated: int = 0
    gone: int = 0
    twins: int = 0
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    labelled: int = 0

    def add(self, finished: Finished) -> None:
        """Count a shard."""
        self.done += finished.done
        self.failures += finished.failures
        self.regions += finished.regions
        self.void = (self.void[0] + finished.void[0], self.void[1] + finished.void[1])

    @property
    def missing(self) -> int:
        """How many images are not labelled."""
        return self.images - self.done

    @property
    def void_share(self) -> float:
        """Share of the pixels that were left unlabelled, 0..1."""
        return self.void[0] / self.void[1] if self.void[1] else 0.0

    @property
    def rate(self) -> float:
        """Images a second of this run."""
        return self.labelled / self.seconds if self.seconds else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values; the figures of this run are left out of what is kept beside the shards."""
        return {
            "model_version": self.version,
            "images": self.images,
            "labelled": self.done,
            "missing": self.missing,
            "regions": self.regions,
            "void": round(self.void_share, 6),
            "repeated": self.repeated,
            "gone_from_source": self.gone,
            "same_bytes": self.twins,
            "failures": [
                {"name": f.name, "kind": f.kind, "reason": f.reason} for f in sorted(self.failures, key=_name)
            ],
        }

    def to_bytes(self) -> bytes:
        """Return the JSON that is kept beside the shards."""
        return (json.dumps(self.to_json(), ensure_ascii=False, indent=1) + "\n").encode("utf-8", "surrogatepass")

    def lines(self) -> list[str]:
        """Return what is said of it."""
        said = [f"{self.done:,} of {self.images:,} images labelled with {self.version}, {self.regions:,} regions"]
        if self.labelled:
            said[0] += f"; {self.labelled:,} of them now, in {self.seconds:.1f} s ({self.rate:.1f} images/s)"
        if self.void[0]:
            said.append(f"left unlabelled where the model is unsure: {self.void_share:.1%} of the pixels")
        if self.repeated:
            said.append(f"named more than once in the source, taken once: {self.repeated:,} images")
        if self.twins:
            said.append(f"images with the same bytes as another: {self.twins:,}")
        if self.gone:
            said.append(f"no longer in the source, what is finished of them stays: {self.gone:,} images")
        said += self.notes
        kinds = Counter(failure.kind for failure in self.failures)
        for kind, number in sorted(kinds.items()):
            said.append(f"{kind}: {number:,} images")
        return said


def _name(failure: Failure) -> str:
    return failure.name
