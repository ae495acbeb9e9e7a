"""What `<home>/serving.json` says: which version each project is served, which it was before, when and why that changed.

There is one history for all projects without one of their own, the default, and one for each project that has its own.
All stand in one file, so that whatever is changed is one replacement of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from maskloop_converters.atomic import atomic_file
from maskloop_converters.errors import DataError

from ..json_files import read_json

# The file is read once a second and rewritten whole; a project that retrains every hour fills this in a month.
KEPT_CHANGES = 1000
KEPT_BEFORE = 100
# Of all projects together: beyond this, the longest histories lose their oldest changes.
KEPT_IN_ALL = 5000
# Characters of a reason.
LONGEST_REASON = 1000
# Two thousand projects with full histories and long reasons.
MOST_BYTES = 16 << 20


class RegistryError(DataError):
    """A version that the registry does not hold or may not remove, a damaged serving.json or archive."""


@dataclass(frozen=True, slots=True)
class Change:
    """One switch of the served version.

    Attributes:
        action: how it came about; 'follow': a project gave up its own version for the default's.
        version: that is served from then on; None: whatever the default serves.
        at: UTC, ISO 8601 with seconds.
        reason: in the words of whoever switched; '' where nothing was said.
    """

    action: Literal["promote", "rollback", "follow"]
    version: str | None
    at: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Serving:
    """The version that is served to a project, or to all without one of their own, and how it came to be.

    Attributes:
        version: that is served; None, of a project only: what the default serves.
        before: what rollbacks lead back to, the last one first to come; a rollback takes it off.
        changes: every switch, oldest first, the last 1000.
    """

    version: str | None
    before: tuple[str | None, ...] = ()
    changes: tuple[Change, ...] = ()

    def promoted(self, version: str, *, at: str, reason: str) -> Serving:
        """Return what it is after another version was promoted; nothing changes where it is served already."""
        if version == self.version and self.changes:
            return self
        before = self.before if version == self.version else (*self.before, self.version)
        return self._changed(Change("promote", version, at, reason[:LONGEST_REASON]), before)

    def rolled_back(self, to: str | None, *, at: str, reason: str) -> Serving:
        """Return what it is after going back to one of :attr:`before`; what came after that one is no longer before."""
        last = len(self.before) - 1 - self.before[::-1].index(to)
        return self._changed(Change("rollback", to, at, reason[:LONGEST_REASON]), self.before[:last])

    def following(self, *, at: str, reason: str) -> Serving:
        """Return what a project's is after it gave up its own version for the default's."""
        if self.version is None:
            return self
        return self._changed(Change("follow", None, at, reason[:LONGEST_REASON]), (*self.before, self.version))

    def without(self, version: str) -> Serving:
        """Return what it is after a version was removed: no rollback leads to it any more."""
        stays = [name for name in (*self.before, self.version) if name != version]
        # neighbours that are the same now were two switches around the removed one
        before = (name for name, after in pairwise(stays) if name != after)
        return replace(self, before=tuple(before))

    def _changed(self, change: Change, before: tuple[str | None, ...]) -> Serving:
        return Serving(change.version, before[-KEPT_BEFORE:], (*self.changes, change)[-KEPT_CHANGES:])


@dataclass(frozen=True, slots=True)
class Served:
    """Which version each project is served.

    Attributes:
        default: of all projects without a version of their own; None before the first was promoted.
        projects: of those that have or had one, by Label Studio's id.
    """

    default: Serving | None = None
    projects: Mapping[int, Serving] = field(default_factory=dict)

    def version(self, project: int | None = None) -> str | None:
        """Return the version that a project is served, or for None the default; None where there is none."""
        return self.own(project) or (self.default.version if self.default is not None else None)

    def own(self, project: int | None) -> str | None:
        """Return the version that a project has for itself, None where it is served the default."""
        found = None if project is None else self.projects.get(project)
        return None if found is None else found.version

    def of(self, project: int | None = None) -> Serving | None:
        """Return a project's own history, or for None the default's; None where there is none."""
        return self.default if project is None else self.projects.get(project)

    def having(self, project: int | None, serving: Serving) -> Served:
        """Return what it is with another history of a project, or of the default."""
        if project is None:
            return replace(self, default=serving)
        return replace(self, projects={**self.projects, project: serving})

    def forgetting(self, project: int) -> Served:
        """Return what it is without a project."""
        return replace(self, projects={number: one for number, one in self.projects.items() if number != project})

    def without(self, version: str) -> Served:
        """Return what it is after a version was removed."""
        default = None if self.default is None else self.default.without(version)
        return Served(default, {number: serving.without(version) for number, serving in self.projects.items()})

    @property
    def histories(self) -> Iterator[Serving]:
        """The default's and the projects'."""
        yield from () if self.default is None else (self.default,)
        yield from self.projects.values()

    @property
    def versions(self) -> frozenset[str]:
        """All that are served to anybody."""
        return frozenset(one.version for one in self.histories if one.version is not None)

    def before(self, most: int | None = None) -> frozenset[str]:
        """Return all that rollbacks lead back to: of each history so many of the last, or all."""
        found = (one.before if most is None else one.before[max(0, len(one.before) - most) :] for one in self.histories)
        return frozenset(version for names in found for version in names if version is not None)

    def nothing_before(self, project: int | None) -> str:
        """Return why a rollback leads nowhere, and what to do."""
        if project is None:
            return (
                f"no version was served before {self.version() or 'now'}; `maskloop models promote VERSION` chooses one"
            )
        if self.own(project) is None:
            return (
                f"project {project} has no version of its own, it is served the default ({self.version() or 'none'}); "
                "`maskloop models rollback` without --project takes that back for all such projects"
            )
        return (
            f"no version was served to project {project} before {self.own(project)}; "
            f"`maskloop models promote VERSION --project {project}` chooses one"
        )

    def bounded(self) -> Served:
        """Return what it is with at most so many changes in all that the file stays small."""
        kept = KEPT_CHANGES
        while kept > 1 and sum(min(kept, len(one.changes)) for one in self.histories) > KEPT_IN_ALL:
            kept //= 2

        def shorter(one: Serving) -> Serving:
            return replace(one, changes=one.changes[-kept:])

        default = None if self.default is None else shorter(self.default)
        return Served(default, {number: shorter(one) for number, one in self.projects.items()})


def read(path: Path) -> Served:
    """Return what serving.json says; nothing is served where there is none.

    Raises:
        RegistryError: it is damaged.
    """
    try:
        values = read_json(path, most=MOST_BYTES)
    except FileNotFoundError:
        return Served()
    except (OSError, ValueError) as error:
        raise RegistryError(
            f"{path}: not readable as JSON: {error}; `maskloop models promote VERSION` writes it anew"
        ) from error
    try:
        # the default's stand at the top: so does a file that was written before projects had versions of their own
        default = None if values["version"] is None else _serving(values)
        projects = {_project(number): _serving(one) for number, one in values.get("projects", {}).items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RegistryError(
            f'{path}: expected {{"version": NAME}}, got {str(values)[:200]}; '
            "`maskloop models promote VERSION` writes it anew"
        ) from error
    return Served(default, projects)


def write(path: Path, served: Served) -> None:
    """Replace serving.json: whatever interrupts it, the file is the old one or the new one."""
    kept = served.bounded()
    values = asdict(kept.default or Serving(None))
    if kept.projects:
        values["projects"] = {str(number): asdict(one) for number, one in sorted(kept.projects.items())}
    with atomic_file(path, overwrite=True) as aside:
        aside.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _project(number: str) -> int:
    if not (number.isascii() and number.isdecimal()):
        raise ValueError(f"{number!r} is no project's id")
    return int(number)


def _serving(values: Mapping[str, Any]) -> Serving:
    version, before, changes = values["version"], values.get("before", []), values.get("changes", [])
    if not all(name is None or isinstance(name, str) for name in (version, *before)):
        raise TypeError("version names are text")
    for change in changes:
        if not all(isinstance(text, str) or (text is None and key == "version") for key, text in change.items()):
            raise TypeError("what is said of a change is text")
    return Serving(version, tuple(before), tuple(Change(**change) for change in changes))
