"""The two ways to draw a batch: in proportion to a power of a score, and so that it covers the feature space."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def power_sample(scores: NDArray[Any], count: int, *, beta: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw indices without replacement, each with a probability proportional to ``score ** beta``.

    As good as choosing batches by joint information and as cheap as the top K, whose members resemble each other
    (PowerBALD: Kirsch et al., arXiv:2106.12059). Drawn with the Gumbel-top-k trick.

    Args:
        scores: float (N,), >= 0; higher is more worth labelling.
        count: how many, at most N.
        beta: 0 draws uniformly, infinity takes the top K.
        rng: decides.

    Returns:
        int64 (count,), in the order in which they were drawn.

    Raises:
        ValueError: a negative score or one that is not a number, or more indices than there are.
    """
    if count > len(scores):
        raise ValueError(f"{count} of {len(scores)} cannot be drawn without replacement")
    if not (np.isfinite(scores) & (scores >= 0)).all():
        raise ValueError("scores are finite numbers >= 0")
    weight = np.log(np.maximum(scores.astype(np.float64), np.finfo(np.float64).tiny))
    keys = weight if np.isinf(beta) else beta * weight + rng.gumbel(size=scores.shape)
    return np.argsort(-keys, kind="stable")[:count].astype(np.int64)


def k_center(features: NDArray[Any], count: int, *, covered: NDArray[Any] | None = None) -> NDArray[np.int64]:
    """Choose points greedily, each the farthest from everything that is chosen or covered.

    The greatest distance from a point to its nearest chosen one is at most twice the least possible (Gonzalez 1985; core
    sets for active learning: Sener, Savarese, arXiv:1708.00489).

    Args:
        features: float (N, D).
        count: how many, at most N.
        covered: float (M, D), features of what is labelled already; without them the first point is the one nearest to
            the mean.

    Returns:
        int64 (count,), in the order of choosing.

    Raises:
        ValueError: more points than there are.
    """
    if count > len(features):
        raise ValueError(f"{count} of {len(features)} points cannot be chosen")
    points = np.asarray(features, np.float64)
    chosen: list[int] = []
    nearest = np.full(len(points), np.inf)

    def cover(centre: NDArray[np.float64]) -> None:
        np.minimum(nearest, ((points - centre) ** 2).sum(1), out=nearest)

    if covered is not None and len(covered):
        for centre in np.asarray(covered, np.float64):
            cover(centre)
    elif count:
        chosen.append(int(((points - points.mean(0)) ** 2).sum(1).argmin()))
        cover(points[chosen[0]])
    while len(chosen) < count:
        nearest[chosen] = -1
        best = int(nearest.argmax())
        chosen.append(best)
        cover(points[best])
    return np.array(chosen, np.int64)
