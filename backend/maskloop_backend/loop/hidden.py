"""What people drew and does not count, because something else that they drew lies over it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from maskloop_converters.samples import LabelSet, Sample

_NAMED = 3


def hidden_lines(samples: Iterable[Sample], labels: LabelSet) -> tuple[str, ...]:
    """Return lines about drawn or changed regions that lie under others with another label.

    Regions of a sample are in drawing order, so nothing drawn is under an untouched prediction; what is hidden here the
    editor hides as well.

    Args:
        samples: as people left them.
        labels: of the samples.
    """
    names = {label.id: label.name for label in labels.labels}
    found: list[tuple[int, str]] = []
    for sample in samples:
        if not sample.masks.overlap_pixels():
            continue
        shown = sample.label_map(labels)
        for k, region in enumerate(sample.regions):
            if region.origin == "prediction":
                continue
            over = shown[sample.masks.mask(k)]
            hidden = over[over != region.label]
            if hidden.size:
                top = names.get(int(np.bincount(hidden).argmax()), "another label")
                found.append((hidden.size, f"{sample.id}: {hidden.size} of {names.get(region.label)} under {top}"))
    if not found:
        return ()
    worst = "; ".join(text for _, text in sorted(found, key=lambda one: -one[0])[:_NAMED])
    pixels = sum(size for size, _ in found)
    return (
        f"{pixels} drawn pixels lie under other drawn regions, which count there, as the editor shows it ({worst})",
    )
