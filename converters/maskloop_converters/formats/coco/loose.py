"""Values that other tools write in their own way, read where they can mean one thing only.

Ids as 1.0 or "1", crowd flags as "false" or null, sizes as text: COCO has whole numbers there. What is read here is never
a guess; what could mean two things is refused with what was expected.
"""

from __future__ import annotations

from typing import Any

from ...codecs.png import MAX_PIXELS
from ...errors import FormatError

_CROWD = {0: False, 1: True, None: False, "": False, "0": False, "1": True, "false": False, "true": True}


def plain_id(value: Any, what: str) -> int | str:
    """Return an id as a number or text; 1.0 is 1. FormatError for null, fractions and the like."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise FormatError(f"{what} must be a number or a text, received {value!r:.80}")
    return value


def number(value: Any, what: str) -> int:
    """Return a whole number from 0; 1.0 and "1" are 1."""
    if (isinstance(value, float) and value.is_integer()) or (
        isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20
    ):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise FormatError(f"{what} must be a whole number from 0, received {value!r:.80}")
    return value


def crowd(value: Any, where: str) -> bool:
    """Return COCO's iscrowd; a missing one, null and "false" are 0."""
    key = value.lower() if isinstance(value, str) else value
    try:
        return _CROWD[key]
    except (KeyError, TypeError):
        raise FormatError(f"{where}: iscrowd must be 0 or 1, received {value!r:.80}") from None


def stated_size(height: Any, width: Any, where: str) -> tuple[int, int] | None:
    """Return (height, width) of a record; None where it says none: a side is missing, null, 0 or no number."""
    sides = []
    for name, value in (("height", height), ("width", width)):
        try:
            sides.append(number(value, f"{where}: {name}"))
        except FormatError:
            if isinstance(value, int | float) and not isinstance(value, bool):
                raise  # a number, but none that a side can have
            return None
    if 0 in sides:
        return None
    if sides[0] * sides[1] > MAX_PIXELS:
        raise FormatError(f"{where}: {sides[1]} x {sides[0]} pixels are more than the {MAX_PIXELS} allowed")
    return sides[0], sides[1]
