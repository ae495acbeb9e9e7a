"""Which region has a pixel that several regions claim: the one rule of reading, writing, learning and serving.

Label Studio's editor (1.23.2, in Chromium) draws brushes at the bottom, outlines (polygons, rectangles, ellipses) over
them and bitmasks on top; among those of one kind, the FIRST region of an annotation's list lies on top, whenever the
annotation is opened. Only the region that is selected lies over its kind. A region that is edited keeps its place in the
list; a new one is the last. (The order comes from a comparison that ignores one of its two sides, in the editor's
ImageView: another browser's sort may give another one.)

:class:`Sample` keeps regions in drawing order, the LAST on top. So the order of drawing is the list turned round, kind by
kind, with one exception: what a person drew or changed (any ``origin`` but 'prediction') is never under a prediction that
nobody touched. Where it stands under one, the editor hides it as soon as it is not selected any more, and the annotator
cannot have meant that.

    list of the annotation                   order of drawing, the last on top
    sky (changed), road (prediction)    ->   road, sky        the editor's own order
    road (prediction), sky (changed)    ->   road, sky        what was changed beats what was not
    car (manual), road (manual)         ->   road, car        the editor's own order
    car (brush), road (bitmask)         ->   car, road        bitmasks lie over brushes

A rectangle says where an object is, not which pixels it has: where a mask of the same label shares pixels with it, the
mask alone counts (:func:`outdone_rectangles`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...masks import RunList
from ...samples import Region
from .tasks import NAMESPACE

RECTANGLES = frozenset({"rectanglelabels", "rectangle"})
_BRUSHES = frozenset({"brushlabels", "brush", "magicwand", "labels"})
_BITMASKS = frozenset({"bitmasklabels", "bitmask"})

#: Below ``meta.maskloop`` of a task: [id, pixels] of every region, where the list is to be drawn as it stands.
AS_LISTED = "as_listed"


def drawing_order(
    regions: Sequence[Region], masks: RunList, kinds: Sequence[str] | None = None, *, as_listed: object = None
) -> list[int]:
    """Return the indices of an annotation's regions in the order to draw them, the one on top last.

    Args:
        regions: K records in the order of the annotation's list; :attr:`Region.origin` decides.
        masks: their K masks. Where none of them overlap, every order gives the same pixels and the list stays as it is.
        kinds: what each is drawn as ('brush', 'bitmask', 'polygon', ..., or the type of its result); None takes it from
            the regions.
        as_listed: what the task says under :data:`AS_LISTED`: if these are its regions, the list turned round is the order.
    """
    as_they_stand = list(range(len(regions)))
    if not masks.overlap_pixels():
        return as_they_stand
    bottom_first = as_they_stand[::-1]
    if as_listed == fingerprint(regions, masks):
        return bottom_first
    layers = [_layer(kind) for kind in ([kind_of(region) for region in regions] if kinds is None else kinds)]
    bottom_first.sort(key=lambda k: layers[k])  # stable
    if _hides_what_was_drawn(regions, masks, bottom_first):
        bottom_first.sort(key=lambda k: not _is_untouched(regions[k]))  # predictions first, then the rest
    return bottom_first


def listing_order(masks: RunList) -> list[int]:
    """Return the indices of a sample's regions, the one on top last, in the order of an annotation's list."""
    as_they_stand = list(range(len(masks)))
    return as_they_stand[::-1] if masks.overlap_pixels() else as_they_stand


def fingerprint(regions: Sequence[Region], masks: RunList) -> list[list[Any]]:
    """Return the regions of an annotation as :data:`AS_LISTED` has them; another list, or another mask, is not equal."""
    return [[region.id, area] for region, area in zip(regions, masks.areas().tolist(), strict=True)]


def hidden_pixels(regions: Sequence[Region], masks: RunList) -> dict[int, int]:
    """Return how many pixels of each label are under a region of another label; labels without any are left out.

    Args:
        regions: K records in drawing order, the one on top last.
        masks: their K masks.
    """
    if not masks.overlap_pixels():
        return {}
    labels = sorted({region.label for region in regions})
    groups = [labels.index(region.label) for region in regions]
    drawn = masks.union(groups, len(labels)).areas()
    kind = np.uint8 if len(labels) < 255 else np.int32
    shown = masks.to_label_map(groups, fill=len(labels), dtype=kind)
    visible = {g: int(np.count_nonzero(shown == g)) for g in range(len(labels))}
    hidden = {label: int(drawn[g]) - visible[g] for g, label in enumerate(labels)}
    return {label: count for label, count in hidden.items() if count}


def outdone_rectangles(regions: Sequence[Region], masks: RunList, kinds: Sequence[str] | None = None) -> list[int]:
    """Return the indices of rectangles that share pixels with a mask (no rectangle) of their own label.

    Label configs of smart tools offer the same labels as brushes and as rectangles, and both are pre-filled. Drawn, such
    a rectangle would cover the pixels round the object, and of its neighbours, with the object's label.

    Args:
        regions: K records, whatever the order.
        masks: their K masks.
        kinds: what each is drawn as ('brush', 'rectangle', ...); None takes it from the regions.
    """
    kinds = [kind_of(region) for region in regions] if kinds is None else kinds
    boxes = [k for k, kind in enumerate(kinds) if kind in RECTANGLES]
    outdone = []
    for label in {regions[k].label for k in boxes}:
        drawn = [k for k, region in enumerate(regions) if region.label == label and kinds[k] not in RECTANGLES]
        if drawn:
            whole = masks.select(drawn).union([0] * len(drawn), 1)
            own = [k for k in boxes if regions[k].label == label]
            outdone += [k for k in own if RunList.concatenate([whole, masks.select([k])]).overlap_pixels()]
    return sorted(outdone)


def kind_of(region: Region) -> str:
    """Return the ``type`` of the result that a region was read from: 'brushlabels' where nothing else is known."""
    facts = region.attributes.get(NAMESPACE)
    kind = facts.get("type") if isinstance(facts, dict) else None
    return kind if isinstance(kind, str) else "brushlabels"


def _layer(kind: str) -> int:
    """Return how far up the editor draws a kind of region."""
    return 2 if kind in _BITMASKS else 0 if kind in _BRUSHES else 1


def _is_untouched(region: Region) -> bool:
    return region.origin == "prediction"


def _hides_what_was_drawn(regions: Sequence[Region], masks: RunList, bottom_first: Sequence[int]) -> bool:
    """Tell whether an untouched prediction covers pixels of a drawn or changed region that lies below it."""
    untouched = [k for k in bottom_first if _is_untouched(regions[k])]
    drawn = [k for k in bottom_first if not _is_untouched(regions[k])]
    if not untouched or not drawn or bottom_first.index(untouched[-1]) < bottom_first.index(drawn[0]):
        return False
    both = masks.select([*untouched, *drawn]).union([0] * len(untouched) + [1] * len(drawn), 2)
    return both.overlap_pixels() > 0
