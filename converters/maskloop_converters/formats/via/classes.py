"""What VIA's regions are: which of their attributes is the class, and which classes there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ...errors import FormatError
from ...report import Tally
from ...samples import Label, LabelSet
from ..label_files import with_roles

#: What all regions are that say nothing.
OBJECT = "object"
# What the attribute that is the class is called; the surest first.
_USUAL = ("class", "label", "category", "class_name", "classname", "label_name", "object", "name", "type")
_CHOSEN = (
    "datasets whose regions have several attributes, one of which is called as a class is; --attribute says another"
)
_NONE = "datasets whose regions have no attribute: all are of one class; --map object=NAME calls it otherwise"


def chosen_attribute(
    given: str | None, declared: Mapping[str, Any], regions: Iterable[Mapping[str, Any]], where: str, notes: Tally
) -> str | None:
    """Return the name of the attribute that is the class; None where regions have none.

    Args:
        given: by the user.
        declared: the attributes that the project declares, by name.
        regions: the attributes of all regions.
        where: the file, for errors and notes.
        notes: gets what is taken for granted.

    Raises:
        FormatError: it is not there, or there are several.
    """
    there: dict[str, bool] = dict.fromkeys(declared, False)
    for attributes in regions:
        for name, value in attributes.items():
            there[name] = there.get(name, False) or bool(names_in(value))
    if given is not None:
        if given not in there:
            raise FormatError(
                f"{where}: no region has the attribute {given!r}; there are: {', '.join(there) or 'none'}"
            )
        return given
    candidates = [name for name, used in there.items() if used]
    if not candidates:
        if len(there) != 1:
            notes.add(_NONE, where)
            return None
        candidates = list(there)  # declared, and no region has a value yet
    if len(candidates) == 1:
        return candidates[0]
    usual = {name.strip().lower(): name for name in reversed(candidates)}
    found = next((usual[name] for name in _USUAL if name in usual), None)
    if found is None:
        raise FormatError(
            f"{where}: the regions have the attributes {', '.join(candidates)}; say which of them is the class with "
            "--attribute NAME (attribute=)"
        )
    notes.add(_CHOSEN, f"{where}: {found}, of {', '.join(candidates)}")
    return found


def names_in(value: Any) -> list[str]:
    """Return the classes that an attribute's value names: a text's or number's own; of check boxes those that are set."""
    if isinstance(value, dict):
        return [name.strip() for name, is_set in value.items() if is_set is True and name.strip()]
    if isinstance(value, int) and not isinstance(value, bool):
        return [str(value)]
    return [value.strip()] if isinstance(value, str) and value.strip() else []


def class_of(attributes: Mapping[str, Any], attribute: str, ids: Mapping[str, int], where: str) -> int:
    """Return the label id of a region; FormatError says what it has instead of one class that there is."""
    names = names_in(attributes.get(attribute))
    if len(names) != 1:
        value = attributes.get(attribute)
        raise FormatError(f"{where}: the attribute {attribute!r} must name one class, received {value!r:.80}")
    if names[0] not in ids:
        raise FormatError(f"{where}: no label is named {names[0]!r:.80}; there are: {', '.join(ids)}")
    return ids[names[0]]


def labels_of(attribute: str | None, declared: Mapping[str, Any], regions: Iterable[Mapping[str, Any]]) -> LabelSet:
    """Return the classes: those that the project offers in its order, then the others by name; 0 is what no region covers."""
    if attribute is None:
        return LabelSet((Label(1, OBJECT, thing=True),), background_id=0)
    options = declared.get(attribute)
    offered = options.get("options") if isinstance(options, dict) else None
    names = dict.fromkeys(name.strip() for name in offered if name.strip()) if isinstance(offered, dict) else {}
    names |= dict.fromkeys(sorted({name for own in regions for name in names_in(own.get(attribute))} - names.keys()))
    if not names:
        return LabelSet((), background_id=0)
    labels = with_roles([Label(k, name) for k, name in enumerate(names, 1)])
    return labels if labels.background_id is not None else replace(labels, background_id=0)
