"""The results of an annotation: which are masks, what describes them, and what is neither."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ...errors import FormatError
from ...report import ErrorPolicy

Geometry = Literal["brush", "bitmask", "polygon", "rectangle", "ellipse"]

REGIONS_SKIPPED = "regions skipped"
#: Types of the results that hold masks, and the keys of their values under which the labels stand.
MASK_TYPES = frozenset(
    name + ending
    for name in ("brush", "bitmask", "polygon", "rectangle", "ellipse")
    for ending in ("", "labels")
) | {"labels", "magicwand"}  # fmt: skip
_OUTLINES: dict[str, Geometry] = {"polygon": "polygon", "rectangle": "rectangle", "ellipse": "ellipse"}
_GEOMETRY = frozenset({"format", "rle", "touches", "imageDataURL", "points", "closed", "x", "y", "width", "height"})
_GEOMETRY |= {"rotation", "radiusX", "radiusY"}
# A value that has one of these says where on an image something is.
_PLACES = frozenset({"rle", "touches", "imageDataURL", "points", "vertices", "x", "sequence"})


@dataclass(slots=True)
class Shape:
    """A region: the result that has its pixels, and the results that describe it.

    Attributes:
        item: the result with the geometry.
        names: its labels, in the order in which they stand.
        geometry: what its pixels are drawn from.
        companions: other results of the same region (choices, texts, ...), without their copies of the geometry.
    """

    item: dict[str, Any]
    names: list[str]
    geometry: Geometry
    companions: list[dict[str, Any]] = field(default_factory=list)


def shapes(result: list[Any], where: str, policy: ErrorPolicy) -> tuple[list[Shape], list[dict[str, Any]]]:
    """Return the regions that have pixels, in the order of the list, and all other results.

    A region has several results of one id when texts or choices describe it; two masks of one id are an error: the
    editor shows the first one's mask for both, and submits it. Regions that are no masks (key points, vectors, ...) are
    counted.

    Args:
        result: of an annotation, a prediction or a draft.
        where: file, task and annotation.
        policy: what is done with a result that is wrong.
    """
    found: list[Shape] = []
    others: list[dict[str, Any]] = []
    by_id: dict[str, Shape] = {}
    for number, item in enumerate(result):
        with policy.record(REGIONS_SKIPPED):
            if not isinstance(item, dict):
                raise FormatError(f"{where}: result {number} is no object but {item!r:.80}")
            region_id = "" if item.get("id") is None else str(item["id"])
            known = by_id.get(region_id) if region_id else None
            geometry = geometry_of(item)
            if known is not None and (geometry is None or item.get("type") != known.item.get("type")):
                _join(known, item)
            elif known is not None:
                raise FormatError(
                    f"{where}, region {region_id}: two masks have this id; the editor gives the second one the first "
                    "one's mask. Give each region an id of its own"
                )
            elif geometry is not None:
                shape = Shape(item, labels_of(item["value"]), geometry)
                found.append(shape)
                if region_id:
                    by_id[region_id] = shape
            else:
                others.append(_with_list(item))
    # Descriptions may stand before the region that they describe.
    for item in [other for other in others if other.get("id") is not None and str(other["id"]) in by_id]:
        _join(by_id[str(item["id"])], item)
        others.remove(item)
    _count(others, where, policy)
    return found, others


def geometry_of(item: Mapping[str, Any]) -> Geometry | None:
    """Return what a result's pixels are drawn from, None where it is no mask.

    The type of the result does not say it alone: with <Labels> it is 'labels' for masks and key points alike.
    """
    value, kind = item.get("value"), item.get("type")
    if not isinstance(value, dict) or not isinstance(kind, str) or kind not in MASK_TYPES:
        return None
    if "imageDataURL" in value:
        return "bitmask"
    if "rle" in value or "touches" in value:
        return "brush"
    outline = _OUTLINES.get(kind.removesuffix("labels"))
    if outline is not None and not _PLACES.isdisjoint(value):
        return outline
    if "points" in value:
        return "polygon"
    if "radiusX" in value and "radiusY" in value:
        return "ellipse"
    return "rectangle" if "width" in value and "height" in value else None


def labels_of(value: Any) -> list[str]:
    """Return the labels of a result's value."""
    if isinstance(value, dict):
        for key in MASK_TYPES:
            names = value.get(key)
            if isinstance(names, list):
                return [name for name in names if isinstance(name, str)]
    return []


def bare_value(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a value says besides geometry and labels."""
    return {k: v for k, v in value.items() if k not in _GEOMETRY and k not in MASK_TYPES}


def place_of(value: Any) -> dict[str, Any]:
    """Return the geometry of a value, {} where it has none."""
    if not isinstance(value, dict) or _PLACES.isdisjoint(value):
        return {}
    return {k: v for k, v in value.items() if k in _GEOMETRY or k in _PLACES}


def _join(shape: Shape, item: dict[str, Any]) -> None:
    value = item.get("value")
    bare = {k: v for k, v in value.items() if k not in _GEOMETRY} if isinstance(value, dict) else value
    shape.companions.append({**item, "value": bare})
    shape.names = shape.names or labels_of(bare)


def _count(others: list[dict[str, Any]], where: str, policy: ErrorPolicy) -> None:
    """Count the regions among the results that are no masks, each once whatever it has of results."""
    seen: set[Any] = set()
    for number, item in enumerate(others):
        value, kind = item.get("value"), item.get("type")
        if not isinstance(value, dict):
            continue
        labelled = isinstance(kind, str) and kind.endswith("labels") and bool(value.get(kind))
        if not labelled and not place_of(value):
            continue
        key = str(item["id"]) if item.get("id") is not None else number
        if key not in seen:
            seen.add(key)
            policy.leave_out(f"regions that are no masks ({kind})", f"{where}, region {item.get('id')}")


def _with_list(item: dict[str, Any]) -> dict[str, Any]:
    """Return a result that is kept as it came: its bytes as a list again."""
    value = item.get("value")
    if not isinstance(value, dict) or not isinstance(value.get("rle"), bytes):
        return item
    return {**item, "value": {**value, "rle": list(value["rle"])}}
