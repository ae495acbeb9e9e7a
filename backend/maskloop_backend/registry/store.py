"""The model versions of one home directory: `<home>/models/<version>/` and `<home>/serving.json`.

Whatever interrupts it (kill -9, a full disk, two processes at once), a version is there complete or not at all.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from maskloop_converters.atomic import sync

from ..locks import held
from ..model import quantized
from ..model import record as records
from ..model.quantized import QuantizedRecord
from ..model.record import VERSION_PATTERN, BundleError, ModelRecord
from . import archive, history
from .history import RegistryError, Served, Serving
from .trial import try_version

if TYPE_CHECKING:
    from ..model.bundle import Bundle


# What a killed process leaves behind in the directory of models starts with this.
_ASIDE = ".writing-"


class Registry:
    """The model versions on disk.

    Args:
        home: the directory where maskloop keeps everything; made when something is first written.
        trial: tries the version in a directory before it is imported or promoted and raises BundleError where it
            fails; None is :func:`~.trial.try_version`, which needs Keras.
    """

    def __init__(self, home: Path, *, trial: Callable[[Path], None] | None = None) -> None:
        self.home = home
        self._trial = trial or try_version
        self.models = home / "models"
        self._serving = home / "serving.json"

    def add(self, bundle: Bundle) -> str:
        """Save a bundle as a new version and return its name.

        The same weights added twice on one day are one version: the first record stays.

        Raises:
            BundleError: a version of that name exists and holds something else.
            OSError: no space, no permission; nothing is left behind.
        """
        with self._writing(), TemporaryDirectory(prefix=_ASIDE, dir=self.models) as folder:
            aside = Path(folder, "bundle")
            saved = bundle.save(aside)
            self._place(aside, saved.record)
        return saved.version

    def load(self, version: str, *, dtype: Any = None) -> Bundle:
        """Return a version, its weights checked; needs Keras.

        Args:
            version: its name.
            dtype: Keras dtype policy of the network, see :func:`maskloop_backend.model.fcn.build_fcn`.

        Raises:
            RegistryError: there is no such version; the message lists those that exist.
            BundleError: it is damaged.
        """
        from ..model.bundle import Bundle

        loaded = Bundle.load(self._directory(version), dtype=dtype)
        _own_name(loaded.record, version)
        return loaded

    def versions(self) -> list[str]:
        """Return the names of all versions, oldest first; a damaged one is listed too, so that it can be seen."""
        if not self.models.is_dir():
            return []
        found = [path for path in self.models.iterdir() if VERSION_PATTERN.fullmatch(path.name)]
        return [path.name for path in sorted(found, key=lambda path: (self._created(path), path.name))]

    def record(self, version: str) -> ModelRecord:
        """Return a version's record without reading its weights.

        Raises:
            RegistryError: there is no such version.
            BundleError: the record is damaged, or is another version's.
        """
        return _own_name(records.read_record(self._directory(version)), version)

    def verify(self, version: str) -> ModelRecord:
        """Return a version's record after checking that its weights are those that were saved.

        Raises:
            RegistryError: there is no such version.
            BundleError: it is damaged, half-written or changed; the message names the file.
        """
        directory = self._directory(version)
        record = _own_name(records.verify(directory), version)
        quantized.read(directory, record)
        return record

    def quantized(self, version: str) -> QuantizedRecord | None:
        """Return what is known of a version's quantised graph, after checking it; None where it has none.

        Raises:
            RegistryError: there is no such version.
            BundleError: it is damaged.
        """
        found = quantized.read(self._directory(version), self.record(version))
        return None if found is None else found.record

    def check_quantizable(self, version: str, *, overwrite: bool = False) -> None:
        """Raise RegistryError where a version is not there, or has a quantised graph that may not be replaced."""
        if (self._directory(version) / quantized.FOLDER).exists() and not overwrite:
            raise RegistryError(f"{version} has an int8 graph already; --overwrite replaces it")

    def add_quantized(self, version: str, folder: Path, *, overwrite: bool = False) -> None:
        """Give a version the quantised graph in a folder, whole or not at all; servers take it when they next load it.

        Args:
            version: its name.
            folder: with the files of :mod:`~..model.quantized`; it stays.
            overwrite: replace a graph that is there.

        Raises:
            RegistryError: there is no such version, or it has a graph already.
            BundleError: the graph is damaged, or of other weights.
        """
        with self._writing(), TemporaryDirectory(prefix=_ASIDE, dir=self.models) as name:
            self.check_quantizable(version, overwrite=overwrite)
            directory, aside = self._directory(version), Path(name)
            new, old = aside / quantized.FOLDER, aside / "old"
            shutil.copytree(folder, new)
            quantized.read(aside, self.record(version))
            for written in (*new.iterdir(), new):
                sync(written)
            target = directory / quantized.FOLDER
            if target.exists() or target.is_symlink():
                target.rename(old)
            new.rename(target)
            sync(directory)

    def summary(self) -> list[dict[str, Any]]:
        """Return one JSON object a version, oldest first.

        Each has 'version', 'serving' (bool: it is the default), 'projects' (ids of those that have it for themselves), and
        either 'created', 'labels' (names), 'metrics', 'parent' and 'architecture', or 'error' for a version whose record is
        damaged.
        """
        served = self.served()
        rows: list[dict[str, Any]] = []
        for version in self.versions():
            having = [number for number, one in served.projects.items() if one.version == version]
            row: dict[str, Any] = {"version": version, "serving": version == served.version(), "projects": having}
            try:
                record = self.record(version)
            except BundleError as error:
                rows.append({**row, "error": str(error)})
                continue
            rows.append(
                {
                    **row,
                    "created": record.created,
                    "labels": [label.name for label in record.labels.classes],
                    "metrics": dict(record.metrics),
                    "parent": record.parent,
                    "architecture": record.architecture.to_json(),
                }
            )
        return rows

    def check(self, versions: Sequence[str] = ()) -> dict[str, str | None]:
        """Return, for each of the given versions or for all, what is wrong with it; None where nothing is.

        Raises:
            RegistryError: there is no version of a given name.
        """
        found: dict[str, str | None] = {}
        for version in versions or self.versions():
            try:
                self.verify(version)
                found[version] = None
            except BundleError as error:
                found[version] = str(error)
        return found

    def served(self) -> Served:
        """Return which version each project is served.

        Raises:
            RegistryError: serving.json is damaged.
        """
        return history.read(self._serving)

    def serving(self, project: int | None = None) -> str | None:
        """Return the name of the version that is served, None before the first is chosen.

        Args:
            project: Label Studio's id; it is served the default where it has no version of its own. None: the default.

        Raises:
            RegistryError: serving.json is damaged.
        """
        return self.served().version(project)

    def history(self, project: int | None = None) -> Serving | None:
        """Return what is served with what was before it, when and why; None where nothing was chosen.

        Args:
            project: its own history; None: the default's.

        Raises:
            RegistryError: serving.json is damaged.
        """
        return self.served().of(project)

    def promote(self, version: str, *, project: int | None = None, reason: str = "") -> None:
        """Make a version the one that is served, after checking and trying it; servers that run follow within about a second.

        Args:
            version: its name.
            project: Label Studio's id of the only one to be served it; None: all without a version of their own.
            reason: why, for the history.

        Raises:
            RegistryError: there is no such version.
            BundleError: it is damaged, or predicts no numbers; what was served before stays.
        """
        self.verify(version)
        self._trial(self._directory(version))
        with self._writing():
            # again: `remove` and `gc` hold the same lock, and may have come before
            self._directory(version)
            try:
                served = self.served()
            except RegistryError:
                if project is not None:
                    raise
                # the error told to promote
                served = Served()
            # before its first version, a project was served the default
            current = served.of(project) or Serving(None if project is not None else version)
            changed = current.promoted(version, at=_now(), reason=reason)
            history.write(self._serving, served.having(project, changed))

    def rollback(self, *, project: int | None = None, reason: str = "") -> str:
        """Serve again what was served before, after checking it, and return its name; a second rollback goes further back.

        Versions that were removed are passed over. Before its first own version, a project was served the default.

        Args:
            project: Label Studio's id of one with a version of its own; None: the default.
            reason: why, for the history.

        Raises:
            RegistryError: nothing was served before.
            BundleError: the version before is damaged; what is served stays.
        """
        with self._writing():
            served = self.served()
            current, default = served.of(project), served.version()
            before = current.before if current else ()
            present = [name for name in before if (name or default) and (self.models / (name or str(default))).is_dir()]
            if current is None or not present:
                raise RegistryError(f"{self._serving}: {served.nothing_before(project)}")
            back = present[-1] or str(default)
            self.verify(back)
            changed = current.rolled_back(present[-1], at=_now(), reason=reason)
            history.write(self._serving, served.having(project, changed))
        return back

    def follow(self, project: int, *, reason: str = "") -> str | None:
        """Let a project be served the default again and return it; its history stays, and a rollback leads back.

        Raises:
            RegistryError: serving.json is damaged.
        """
        with self._writing():
            served = self.served()
            if (current := served.of(project)) is not None:
                changed = current.following(at=_now(), reason=reason)
                history.write(self._serving, served.having(project, changed))
        return served.version()

    def forget(self, project: int) -> bool:
        """Forget the history of a project that is gone; return whether there was one.

        Raises:
            RegistryError: serving.json is damaged.
        """
        with self._writing():
            served = self.served()
            if served.of(project) is None:
                return False
            history.write(self._serving, served.forgetting(project))
        return True

    def export(self, version: str, path: Path, *, overwrite: bool = False) -> None:
        """Write a version into one file that :meth:`add_archive` reads; the same version gives the same bytes.

        Args:
            version: its name.
            path: of the file; it is there whole or not at all.
            overwrite: replace a file that is there.

        Raises:
            RegistryError: there is no such version.
            BundleError: it is damaged.
            OutputExistsError: the file exists.
        """
        archive.write(self._directory(version), path, overwrite=overwrite)

    def add_archive(self, path: Path) -> str:
        """Add the version of an exported file and return its name; one that is here already stays as it is.

        Nothing in the file is executed, nor does it say where anything is written. The version is tried before it is added.

        Raises:
            RegistryError: it is no such file, it is cut off, or something in it is too big.
            BundleError: it was changed, or a version of that name is here and holds something else.
        """
        with self._writing(), TemporaryDirectory(prefix=_ASIDE, dir=self.models) as folder:
            aside = Path(folder, "bundle")
            aside.mkdir()
            record = archive.unpack(path, aside)
            self._trial(aside)
            for written in (*aside.iterdir(), aside):
                sync(written)
            self._place(aside, record)
        return record.version

    def remove(self, version: str, *, force: bool = False) -> int:
        """Remove a version for good and return its size in bytes.

        Args:
            version: its name.
            force: remove it even though a rollback may lead to it; rollbacks then pass it over.

        Raises:
            RegistryError: there is no such version, it is served, or a rollback may lead to it.
        """
        with self._writing():
            directory, served = self._directory(version), self.served()
            if version in served.versions:
                whom = ", ".join(f"project {n}" for n, one in served.projects.items() if one.version == version)
                whom = f" to {whom}" if whom and version != served.version() else ""
                raise RegistryError(f"{version} is served{whom} and stays; promote another version first")
            if version in served.before() and not force:
                raise RegistryError(f"{version} was served before, and a rollback may lead to it; --force removes it")
            return self._remove([directory])

    def superfluous(self, *, newest: int = 5, before: int = 5) -> dict[str, int]:
        """Return the size in bytes of each version that :meth:`collect` would remove, oldest first.

        Args:
            newest: so many of the newest versions are kept.
            before: so many of the versions that were served last are kept, by default and to each project, beside those that
                are served.

        Raises:
            RegistryError: serving.json is damaged: nobody knows what is served.
        """
        served, versions = self.served(), self.versions()
        kept = {*versions[max(0, len(versions) - newest) :], *served.versions, *served.before(before)}
        return {version: _size(self.models / version) for version in versions if version not in kept}

    def collect(self, *, newest: int = 5, before: int = 5) -> dict[str, int]:
        """Remove old versions and return their sizes in bytes; see :meth:`superfluous`."""
        with self._writing():
            found = self.superfluous(newest=newest, before=before)
            self._remove([self.models / version for version in found])
        return found

    def _place(self, aside: Path, record: ModelRecord) -> None:
        """Give a complete version its place; one that is there already stays."""
        target = self.models / record.version
        if not target.exists():
            aside.rename(target)
            sync(self.models)
        elif records.verify(target).sha256 != record.sha256:
            raise BundleError(f"{target} exists already and holds other weights; nothing was written")

    def _remove(self, directories: Sequence[Path]) -> int:
        """Remove versions and forget that they were served; return how many bytes they had."""
        size = 0
        for directory in directories:
            size += _size(directory)
            # gone at once; whoever holds the lock next removes what a kill leaves
            aside = directory.with_name(f"{_ASIDE}{directory.name}")
            directory.rename(aside)
            _clear(aside)
        # after the space is free: a rollback passes over what is not there
        served = self.served()
        gone = {directory.name for directory in directories} & served.before()
        for version in gone:
            served = served.without(version)
        if gone:
            history.write(self._serving, served)
        return size

    def _directory(self, version: str) -> Path:
        directory = self.models / version
        if VERSION_PATTERN.fullmatch(version) and directory.is_dir():
            return directory
        known = ", ".join(self.versions()) or "none yet; `maskloop train` makes one"
        raise RegistryError(f"there is no model version {version!r} in {self.models}; there are: {known}")

    @staticmethod
    def _created(path: Path) -> str:
        try:
            return records.read_record(path).created
        except BundleError:
            return ""

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the only right to change anything, and clear what killed processes left half-written."""
        with held(self.models / ".lock"):
            for left in self.models.glob(f"{_ASIDE}*"):
                _clear(left)
            for left in self.home.glob(f".{self._serving.name}.*.partial"):
                left.unlink()
            yield


def _own_name(record: ModelRecord, version: str) -> ModelRecord:
    """Return a record after checking that it is the one of the directory it stands in."""
    if record.version != version:
        raise BundleError(f"the directory of {version} holds the record of {record.version}; it was copied or renamed")
    return record


def _clear(path: Path) -> None:
    """Remove a directory with all that is in it; of a link only the link, as what it leads to is not ours."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _size(directory: Path) -> int:
    return sum(path.lstat().st_size for path in directory.rglob("*"))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
