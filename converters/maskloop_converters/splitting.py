"""A dataset drawn at random into parts: the same seed, the same parts, whatever else changes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .errors import DataError
from .samples import Dataset, Sample

# Names of two and of three parts; more have none.
PART_NAMES = {2: ("train", "val"), 3: ("train", "val", "test")}


def split(dataset: Dataset, shares: Sequence[float], *, seed: int) -> dict[str, Dataset]:
    """Return parts of a dataset by name ('train', 'val', 'test'); each is read from the whole as it is iterated.

    Args:
        dataset: whose samples are drawn.
        shares: of two or three parts, in any unit (80, 10, 10).
        seed: of the draw.

    Raises:
        DataError: shares that are no numbers, negative, all zero, or neither two nor three; a negative seed; a part that
            would be empty.
    """
    if len(shares) not in PART_NAMES or min(shares) < 0 or not 0 < sum(shares) < math.inf:
        raise DataError(f"expected two or three shares such as 80/10/10, got {'/'.join(f'{s:g}' for s in shares)}")
    if seed < 0:
        raise DataError(f"expected a seed of 0 or more, got {seed}")
    count = sum(1 for _ in dataset)
    ends = np.round(np.cumsum(shares) / sum(shares) * count).astype(int)
    part_of = np.empty(count, np.int64)
    part_of[np.random.default_rng(seed).permutation(count)] = np.searchsorted(ends, np.arange(count), side="right")
    parts = {}
    for number, (name, share) in enumerate(zip(PART_NAMES[len(shares)], shares, strict=True)):
        size = int((part_of == number).sum())
        if share and not size:
            raise DataError(f"the part {name!r} ({share:g} of {sum(shares):g}) of {count} samples would be empty")
        if size:
            parts[name] = replace(dataset, samples=_Part(dataset, part_of, number), count=size, split=name)
    return parts


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """The samples of one part, in the order of the whole."""

    dataset: Dataset
    part_of: NDArray[np.int64]
    number: int

    def __iter__(self) -> Iterator[Sample]:
        for part, sample in zip(self.part_of.tolist(), self.dataset, strict=True):
            if part == self.number:
                yield sample
