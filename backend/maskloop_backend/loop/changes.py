"""How far what a model drew was from what people made of it: its real error in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskloop_converters.samples import LabelSet, Sample

from .collected import ROLES, Role


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """How far what a model drew on one image was from what a person made of it.

    Attributes:
        id: of the sample.
        role: see :class:`Collected`.
        stored: the model's masks are those that the annotator had before them; False: the serving version's, now.
        pixels: that the person, or the stored prediction, gave a class.
        changed: of these, how many have another class than the model gave them, or lost it.
        common: int64 (K,), pixels of each class in both.
        either: int64 (K,), pixels of each class in one or the other.
    """

    id: str
    role: Role
    stored: bool
    pixels: int
    changed: int
    common: NDArray[np.int64]
    either: NDArray[np.int64]

    @classmethod
    def between(
        cls, sample: str, role: Role, before: NDArray[np.uint8], after: NDArray[np.uint8], classes: int, *, stored: bool
    ) -> Change:
        """Compare two maps of channels, uint8 (H, W), 255 where nothing was drawn.

        Args:
            sample: id.
            role: of the sample.
            before: what the model drew.
            after: what the person left.
            classes: K.
            stored: see the class; where False, pixels that the person left undrawn are not counted.
        """
        judged = (after != 255) | (before != 255) if stored else after != 255
        old, new = before[judged], after[judged]
        size = 256
        olds, news = (np.bincount(part, minlength=size)[:classes] for part in (old, new))
        both = np.bincount(new[old == new], minlength=size)[:classes]
        changed = int((old != new).sum())
        return cls(sample, role, stored, int(judged.sum()), changed, both, olds + news - both)


def summary(changes: Sequence[Change], names: Sequence[str]) -> dict[str, Any]:
    """Return what annotators changed as JSON values: the model's real error in use.

    'images', 'pixels', 'changed' (pixels), 'share' (changed of all), 'iou' (by class; None where nobody drew it), 'miou',
    'by_role', and 'by_image': the same of each image, the most changed first.
    """
    by_image = [
        {
            "id": change.id,
            "role": change.role,
            "stored": change.stored,
            **_figures([change], names),
        }
        for change in sorted(changes, key=lambda one: (-one.changed / max(1, one.pixels), one.id))
    ]
    by_role = {role: _figures(own, names) for role in ROLES if (own := [c for c in changes if c.role == role])}
    return {"images": len(changes), **_figures(changes, names), "by_role": by_role, "by_image": by_image}


def _figures(changes: Sequence[Change], names: Sequence[str]) -> dict[str, Any]:
    pixels, changed = sum(c.pixels for c in changes), sum(c.changed for c in changes)
    none = np.zeros(len(names), np.int64)
    common, either = (sum((getattr(c, part) for c in changes), none) for part in ("common", "either"))
    iou = {name: float(a / b) if b else None for name, a, b in zip(names, common, either, strict=True)}
    known = [value for value in iou.values() if value is not None]
    return {
        "pixels": pixels,
        "changed": changed,
        "share": changed / pixels if pixels else 0.0,
        "iou": iou,
        "miou": sum(known) / len(known) if known else None,
    }


def channels(sample: Sample, labels: LabelSet) -> NDArray[np.uint8]:
    """Return the map of a sample's channels, uint8 (H, W): the background's where nothing was drawn, else 255."""
    of = {label.id: channel for channel, label in enumerate(labels.classes)}
    fill = 255 if labels.background_id is None else of.get(labels.background_id, 255)
    values = [of.get(region.label, 255) for region in sample.regions]
    return sample.masks.to_label_map(values, fill=fill, dtype=np.uint8)
