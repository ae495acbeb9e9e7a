"""Samples and regions as JSON values: what the indexes and namespaced keys of the formats keep beside the masks."""

from __future__ import annotations

import json
import math
from typing import Any

from ..codecs.png import MAX_PIXELS
from ..errors import DataError, FormatError, LabelError
from ..samples import Region, Sample

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_ORIGINS = ("manual", "prediction", "prediction-changed")


def dumps(value: Any, where: str) -> str:
    """Return compact JSON; DataError names the record when a value is not JSON (NaN, bytes, half a character, ...)."""
    try:
        text = _ENCODER.encode(value)
        if not text.isascii():
            text.encode()  # a lone half of a surrogate pair is no text in any file
    except (ValueError, TypeError) as error:
        raise DataError(f"{where}: an attribute is no JSON value: {error}") from error
    return text


def check_labels(sample: Sample, known_ids: frozenset[int], where: str) -> None:
    """Raise LabelError, which names the region, unless every region's label is one of :attr:`LabelSet.known_ids`."""
    for k, region in enumerate(sample.regions):
        if region.label not in known_ids:
            name = f"region {region.id!r}" if region.id else f"region {k}"
            raise LabelError(f"{where}: {name} has label {region.label}, which is not in the label set")


def region_to_json(region: Region) -> dict[str, Any]:
    """Return all of a region but its pixels and soft edge; fields at their default are left out."""
    record: dict[str, Any] = {"label": region.label}
    if region.id:
        record["id"] = region.id
    if region.score is not None:
        record["score"] = region.score
    if region.crowd:
        record["crowd"] = True
    if region.instance is not None:
        record["instance"] = region.instance
    if region.origin is not None:
        record["origin"] = region.origin
    if region.attributes:
        record["attributes"] = dict(region.attributes)
    return record


def region_from_json(record: Any, where: str) -> Region:
    """Return the region of what :func:`region_to_json` gives; FormatError names the record and field."""
    if not isinstance(record, dict):
        raise FormatError(f"{where}: expected a region's fields, received {record!r:.80}")
    return Region(
        label=whole_number(record.get("label"), f"{where}: label"),
        id=_text(record.get("id", ""), f"{where}: id"),
        score=score(record.get("score"), where),
        crowd=bool(record.get("crowd", False)),
        instance=None if record.get("instance") is None else whole_number(record["instance"], f"{where}: instance"),
        origin=origin(record.get("origin"), where),
        attributes=attributes(record.get("attributes"), where),
    )


def whole_number(value: Any, what: str) -> int:
    """Return a JSON value that must be a whole number from 0."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise FormatError(f"{what} must be a whole number from 0, received {value!r:.80}")
    return value


def image_size(height: Any, width: Any, where: str) -> tuple[int, int]:
    """Return (height, width) after checking what a record claims: from 1, and no more pixels than a PNG may have.

    Masks are runs and small whatever the size; a label map or a decoded mask of 100,000 x 100,000 pixels is not.
    """
    sides = []
    for name, value in (("height", height), ("width", width)):
        # Some tools write whole numbers as floats.
        side = whole_number(
            int(value) if isinstance(value, float) and value.is_integer() else value, f"{where}: {name}"
        )
        if side == 0:
            raise FormatError(f"{where}: {name} must be at least 1")
        sides.append(side)
    if sides[0] * sides[1] > MAX_PIXELS:
        raise FormatError(f"{where}: {sides[1]} x {sides[0]} pixels are more than the {MAX_PIXELS} allowed")
    return sides[0], sides[1]


def score(value: Any, where: str) -> float | None:
    """Return a confidence 0..1 or None."""
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise FormatError(f"{where}: score must be a number, received {value!r:.80}")
    return float(value)


def origin(value: Any, where: str) -> Any:
    """Return an origin or None."""
    if value is not None and value not in _ORIGINS:
        raise FormatError(f"{where}: origin must be one of {', '.join(_ORIGINS)}, received {value!r:.80}")
    return value


def attributes(value: Any, where: str) -> dict[str, Any]:
    """Return attributes, empty for None."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise FormatError(f"{where}: attributes must be an object, received {value!r:.80}")
    return value


def image_to_json(sample: Sample) -> dict[str, Any]:
    """Return name, URI and EXIF orientation of a sample's image; fields at their default are left out."""
    record: dict[str, Any] = {"name": sample.image.name}
    if sample.image.uri is not None:
        record["uri"] = sample.image.uri
    if sample.image.exif_orientation != 1:
        record["exif_orientation"] = sample.image.exif_orientation
    return record


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise FormatError(f"{what} must be a text, received {value!r:.80}")
    return value
