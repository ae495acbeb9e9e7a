"""What `<home>/serving.json` says: which version is served, which were before it, when and why it changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from maskloop_converters.atomic import atomic_file
from maskloop_converters.errors import DataError

from ..json_files import read_json

# The file is read once a second and rewritten whole; a project that retrains every hour fills this in a month.
KEPT_CHANGES = 1000
KEPT_BEFORE = 100
# A thousand changes with long reasons.
MOST_BYTES = 4 << 20


class RegistryError(DataError):
    """A version that the registry does not hold or may not remove, a damaged serving.json or archive."""


@dataclass(frozen=True, slots=True)
class Change:
    """One switch of the served version.

    Attributes:
        action: how it came about.
        version: that is served from then on.
        at: UTC, ISO 8601 with seconds.
        reason: in the words of whoever switched; '' where nothing was said.
    """

    action: Literal["promote", "rollback"]
    version: str
    at: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Serving:
    """The served version and how it came to be.

    Attributes:
        version: that is served.
        before: the versions that rollbacks lead back to, the last one first to come; a rollback takes it off.
        changes: every switch, oldest first, the last 1000.
    """

    version: str
    before: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()

    def promoted(self, version: str, *, at: str, reason: str) -> Serving:
        """Return what it is after another version was promoted; nothing changes where it is served already."""
        if version == self.version and self.changes:
            return self
        before = self.before if version == self.version else (*self.before, self.version)
        return self._changed(Change("promote", version, at, reason), before)

    def rolled_back(self, to: str, *, at: str, reason: str) -> Serving:
        """Return what it is after going back to one of :attr:`before`; what came after that one is no longer before."""
        last = len(self.before) - 1 - self.before[::-1].index(to)
        return self._changed(Change("rollback", to, at, reason), self.before[:last])

    def without(self, version: str) -> Serving:
        """Return what it is after a version was removed: no rollback leads to it any more."""
        stays = [name for name in (*self.before, self.version) if name != version]
        # neighbours that are the same now were two switches around the removed one
        before = (name for name, after in pairwise(stays) if name != after)
        return replace(self, before=tuple(before))

    def _changed(self, change: Change, before: tuple[str, ...]) -> Serving:
        return Serving(change.version, before[-KEPT_BEFORE:], (*self.changes, change)[-KEPT_CHANGES:])


def read(path: Path) -> Serving | None:
    """Return what serving.json says, None where there is none.

    Raises:
        RegistryError: it is damaged.
    """
    try:
        values = read_json(path, most=MOST_BYTES)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RegistryError(
            f"{path}: not readable as JSON: {error}; `maskloop models promote VERSION` writes it anew"
        ) from error
    try:
        return _from_json(values)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RegistryError(
            f'{path}: expected {{"version": NAME}}, got {str(values)[:200]}; '
            "`maskloop models promote VERSION` writes it anew"
        ) from error


def write(path: Path, serving: Serving) -> None:
    """Replace serving.json: whatever interrupts it, the file is the old one or the new one."""
    with atomic_file(path, overwrite=True) as aside:
        aside.write_text(json.dumps(asdict(serving), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _from_json(values: Mapping[str, Any]) -> Serving:
    version, before, changes = values["version"], values.get("before", []), values.get("changes", [])
    if not all(isinstance(name, str) for name in (version, *before)):
        raise TypeError("version names are text")
    if not all(isinstance(text, str) for change in changes for text in change.values()):
        raise TypeError("what is said of a change is text")
    return Serving(version, tuple(before), tuple(Change(**change) for change in changes))
