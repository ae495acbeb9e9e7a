"""Labels renamed, merged and dropped on the way from one dataset to another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .errors import LabelError
from .samples import Dataset, LabelSet, Sample


def relabel(dataset: Dataset, *, rename: Mapping[str, str], drop: Sequence[str]) -> Dataset:
    """Return a dataset with other labels; regions are read through, nothing is copied.

    Args:
        dataset: to change.
        rename: old name -> new name. Where the new name exists already, the old label's regions become its regions.
        drop: names of labels whose regions, and which themselves, are left out.

    Raises:
        LabelError: a name is not in the label set.
    """
    if not rename and not drop:
        return dataset
    labels, ids = _changed(dataset.labels, rename, drop)
    return replace(dataset, labels=labels, samples=_Relabelled(dataset, ids))


def _changed(old: LabelSet, rename: Mapping[str, str], drop: Sequence[str]) -> tuple[LabelSet, dict[int, int | None]]:
    """Return the new label set, and old id -> new id (None: dropped)."""
    dropped = {old.by_name(name).id for name in drop}
    renamed = {old.by_name(name).id: new for name, new in rename.items()}
    background = old.background_id
    if background in dropped:
        name = old.by_id(background).name
        raise LabelError(f"the background {name!r} cannot be dropped: it is what pixels without a region are")
    for label in old.labels:
        if label.id in dropped & renamed.keys():
            raise LabelError(f"label {label.name!r} is both dropped and renamed")
    # All names change at once (a=b and b=a swap), and an old label of the new name is the one that is merged onto.
    final = {label.id: renamed.get(label.id, label.name) for label in old.labels if label.id not in dropped}
    owner = {name: label_id for label_id, name in reversed(final.items())}
    owner |= {name: label_id for label_id, name in final.items() if label_id not in renamed}
    ids: dict[int, int | None] = {label.id: owner[final[label.id]] for label in old.labels if label.id in final}
    ids |= dict.fromkeys(dropped)
    if background is not None and ids.get(background, background) != background:
        name = old.by_id(background).name
        raise LabelError(
            f"the background {name!r} cannot be merged onto {renamed[background]!r}: pixels without a region stay "
            "background; merge the other one onto it, or rename it to a new name"
        )
    kept = [replace(label, name=final[label.id]) for label in old.labels if ids[label.id] == label.id]
    return replace(old, labels=tuple(kept)), ids


@dataclass(frozen=True, slots=True)
class _Relabelled:
    """The samples with changed labels."""

    dataset: Dataset
    ids: dict[int, int | None]

    def __iter__(self) -> Iterator[Sample]:
        for sample in self.dataset:
            ids = [self.ids.get(region.label, region.label) for region in sample.regions]
            regions = tuple(
                replace(region, label=new) for region, new in zip(sample.regions, ids, strict=True) if new is not None
            )
            if len(regions) == len(sample.regions):
                yield replace(sample, regions=regions)
            else:
                kept = np.array([k for k, new in enumerate(ids) if new is not None], np.int64)
                yield replace(sample, regions=regions, masks=sample.masks.select(kept))
