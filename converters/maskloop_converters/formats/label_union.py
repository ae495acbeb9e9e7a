"""The labels of several parts as one set: a label is the same where its name is, whatever number a part gives it.

train: 1 car, 2 bus        val: 1 bus, 3 sign        together: 1 car, 2 bus, 3 sign; val's 1 becomes 2
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from ..samples import Label, LabelSet


@dataclass(frozen=True, slots=True)
class Union:
    """Labels of several parts.

    Attributes:
        labels: of all of them, ordered by id.
        renumbered: of each part: its id -> the union's, for those that differ.
    """

    labels: LabelSet
    renumbered: tuple[dict[int, int], ...]

    @classmethod
    def of(cls, sets: Sequence[LabelSet]) -> Union:
        """Return the union; a label keeps the id that the first part with its name gives it, if that is free."""
        first, *others = sets
        if all(labels == first for labels in others):
            return cls(first, ({},) * len(sets))
        by_name: dict[str, Label] = {}
        taken: set[int] = set()
        renumbered = []
        for labels in sets:
            changes: dict[int, int] = {}
            for label in labels.labels:
                known = by_name.get(label.name)
                if known is None:
                    new_id = label.id if label.id not in taken else _free(taken, sets)
                    known = by_name[label.name] = Label(new_id, label.name, label.color, label.thing)
                    taken.add(new_id)
                if known.id != label.id:
                    changes[label.id] = known.id
            renumbered.append(changes)
        merged = tuple(sorted(by_name.values(), key=lambda label: label.id))
        roles = {role: _role(sets, renumbered, role) for role in ("ignore_id", "background_id")}
        return cls(LabelSet(merged, **roles), tuple(renumbered))


def _free(taken: set[int], sets: Sequence[LabelSet]) -> int:
    """Return an id that no part has, so that nothing else is renumbered because of it."""
    anywhere = taken.union(*(labels.known_ids for labels in sets))
    return next(k for k in count(1) if k not in anywhere)


def _role(sets: Sequence[LabelSet], renumbered: Sequence[dict[int, int]], role: str) -> int | None:
    """Return the ignored or background id of all parts; None where it is a label of objects in another part."""
    own = [getattr(labels, role) for labels in sets]
    ids = {changes.get(value, value) for value, changes in zip(own, renumbered, strict=True) if value is not None}
    if len(ids) != 1:
        return None
    (role_id,) = ids
    for value, labels, changes in zip(own, sets, renumbered, strict=True):
        listed = any(changes.get(label.id, label.id) == role_id for label in labels.labels)
        if listed and (value is None or changes.get(value, value) != role_id):
            return None
    return int(role_id)
