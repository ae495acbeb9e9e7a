"""What differs between two model versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..model.record import ModelRecord

_COMPARED = (
    "architecture",
    "preprocessing",
    "max_side",
    "zoom",
    "settings",
    "metrics",
    "data_fingerprint",
    "code_version",
)


def difference(one: ModelRecord, other: ModelRecord) -> dict[str, Any]:
    """Return what differs, as JSON values.

    Returns:
        'versions' (both names), 'parents' (both), 'labels' ('added', 'removed' and 'moved' names, where moved ones have
        another channel), and one object for architecture, preprocessing, max_side, zoom, settings, metrics, data_fingerprint
        and code_version each: dotted key -> [value of the one, value of the other], None where there is none; only keys
        whose values differ.
    """
    before, after = ([label.name for label in record.labels.classes] for record in (one, other))
    values = [record.to_json() for record in (one, other)]
    return {
        "versions": [one.version, other.version],
        "parents": [one.parent, other.parent],
        "labels": {
            "added": [name for name in after if name not in before],
            "removed": [name for name in before if name not in after],
            "moved": [name for name in after if name in before and after.index(name) != before.index(name)],
        },
        **{key: _changed(*(_flat(value[key]) for value in values)) for key in _COMPARED},
    }


def _changed(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, list[Any]]:
    return {key: [one.get(key), other.get(key)] for key in {**one, **other} if one.get(key) != other.get(key)}


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested objects as one, keys joined by dots; the empty key stands for a value that is no object."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    return {
        key: entry
        for name, part in value.items()
        for key, entry in _flat(part, f"{prefix}.{name}" if prefix else str(name)).items()
    }
