"""Which model version may judge a label: one that did not learn from it, nor did any that it was made from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property

from ..model.record import BundleError, ModelRecord
from ..registry.history import RegistryError
from ..registry.store import Registry
from .holdout import Holdout


@dataclass(frozen=True, slots=True)
class _Ancestor:
    """A version in a line of descent.

    Attributes:
        created: it was not made later than this.
        holds_out: what the project holds out was not learned by it.
    """

    created: datetime
    holds_out: bool


@dataclass
class OutOfFold:
    """Finds a judge for the labels of a project's tasks.

    A version cannot have learned from a label that was made after it, and one that was retrained on the project did not
    learn from the tasks that the project holds out. Both must hold for all that it descends from. So the version that is
    served judges the holdout and what was labelled since, and its parents judge what they were corrected in.

    A version that was removed is taken to have been made on the day that its name says, and to have been trained as its
    child was.

    Attributes:
        registry: of the versions.
        project: Label Studio's id.
        holdout: of the project, None where none was drawn yet.
    """

    registry: Registry
    project: int
    holdout: Holdout | None
    _lines: dict[str, tuple[_Ancestor, ...]] = field(default_factory=dict)

    @cached_property
    def candidates(self) -> tuple[str, ...]:
        """Versions that may be asked, the preferred first: what is served, its parents, what was served before."""
        served = [self.registry.serving(self.project)]
        for history in (self.registry.history(self.project), self.registry.history()):
            if history is not None:
                served += [history.version, *reversed(history.before)]
        found = [name for version in served if version is not None for name, _ in self._line(version)]
        return tuple(dict.fromkeys(found))

    def judge(self, task: str, drawn: datetime | None) -> str | None:
        """Return the version that judges a task's label, None where every version may have learned from it.

        Args:
            task: id.
            drawn: when the first of its annotations was made; None where that is not known.
        """
        return next((name for name in self.candidates if self.independent(name, task, drawn)), None)

    def independent(self, version: str, task: str, drawn: datetime | None) -> bool:
        """Tell whether neither a version nor what it descends from learned from a task's label."""
        held_out = self.holdout is not None and self.holdout.contains(task)
        if version not in self._lines:
            self._lines[version] = tuple(self._ancestors(version))
        return all(
            (one.holds_out and held_out) or (drawn is not None and one.created < drawn) for one in self._lines[version]
        )

    def _line(self, version: str) -> Iterator[tuple[str, ModelRecord]]:
        """Yield a version and what it descends from, as far as they are there."""
        seen: set[str] = set()
        name: str | None = version
        while name is not None and name not in seen:
            seen.add(name)
            try:
                record = self.registry.record(name)
            except (RegistryError, BundleError):
                return
            yield name, record
            name = record.parent

    def _ancestors(self, version: str) -> Iterator[_Ancestor]:
        parent: str | None = None
        last: _Ancestor | None = None
        for name, record in self._line(version):
            last = _Ancestor(datetime.fromisoformat(record.created), self._holds_out(name, record))
            parent = record.parent
            yield last
        if last is not None and parent is not None:
            yield _Ancestor(min(last.created, _day_of(parent) or last.created), last.holds_out)

    def _holds_out(self, name: str, record: ModelRecord) -> bool:
        """Tell whether a version was retrained on the project."""
        metrics = record.metrics
        if "project" in metrics:
            return bool(metrics["project"] == self.project)
        # records did not name the project at first
        return "gate" in metrics and name in self._promoted

    @cached_property
    def _promoted(self) -> frozenset[str]:
        history = self.registry.history(self.project)
        return frozenset(change.version for change in history.changes if change.version) if history else frozenset()


def _day_of(version: str) -> datetime | None:
    """Return the end of the day that a version's name says."""
    for part in version.split("-"):
        if len(part) == 8 and part.isdigit():
            try:
                return datetime.strptime(part, "%Y%m%d").replace(tzinfo=UTC) + timedelta(days=1)
            except ValueError:
                continue
    return None
