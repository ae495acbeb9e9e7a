"""Which samples go into which part of an output: drawn at random, the same seed the same parts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .errors import DataError

# Names of two and of three parts; more have none.
PART_NAMES = {2: ("train", "val"), 3: ("train", "val", "test")}


def check_shares(shares: Sequence[float], seed: int) -> None:
    """Raise DataError for shares that are no numbers, negative, all zero, or neither two nor three; or a negative seed."""
    if len(shares) not in PART_NAMES or min(shares) < 0 or not 0 < sum(shares) < math.inf:
        raise DataError(f"expected two or three shares such as 80/10/10, got {'/'.join(f'{s:g}' for s in shares)}")
    if seed < 0:
        raise DataError(f"expected a seed of 0 or more, got {seed}")


def drawn_parts(count: int, shares: Sequence[float], *, seed: int) -> tuple[dict[str, int], list[str]]:
    """Return how many samples each part has by its name, and the part of each sample in the order of the dataset.

    Args:
        count: of the samples.
        shares: of two or three parts ('train', 'val', 'test'), in any unit (80, 10, 10).
        seed: of the draw.

    Raises:
        DataError: shares or a seed that are none; a part that would be empty.
    """
    check_shares(shares, seed)
    names = PART_NAMES[len(shares)]
    ends = np.round(np.cumsum(shares) / sum(shares) * count).astype(int)
    numbers = np.empty(count, np.int64)
    numbers[np.random.default_rng(seed).permutation(count)] = np.searchsorted(ends, np.arange(count), side="right")
    sizes = {}
    for number, (name, share) in enumerate(zip(names, shares, strict=True)):
        size = int((numbers == number).sum())
        if share and not size:
            raise DataError(f"the part {name!r} ({share:g} of {sum(shares):g}) of {count} samples would be empty")
        if size:
            sizes[name] = size
    return sizes, [names[number] for number in numbers.tolist()]
