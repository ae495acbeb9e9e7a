"""Output that is there whole or not at all: written beside its place, synced, then renamed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import OutputExistsError

_SYNCED_AT_ONCE, _SYNCED_BATCH = 8, 256


@contextmanager
def atomic_directory(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give an empty directory to write into, which becomes ``path`` when the block ends well.

    When the block raises (Ctrl-C too), the directory is removed and ``path`` is as it was. After kill -9 or a power cut
    ``path`` is old or new, never mixed; a directory ``.NAME.<random>.partial`` may stay beside it. Its content is synced
    before the rename. A directory with content is replaced by two renames: killed between them, the old one stands
    whole as ``.NAME.<random>.replaced`` and the new one as ``.partial``.

    Args:
        path: where the output shall be; its parents are made.
        overwrite: replace what is there; without it an existing file or a directory with content is OutputExistsError.
    """
    path = _place(path, overwrite)
    with _parents(path):
        partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
        try:
            partial.chmod(0o777 & ~_umask())
            yield partial
            _sync_tree(partial)
            check_free(path, overwrite)
            _replace(partial, path)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


@contextmanager
def atomic_file(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give the path of a file to write, which becomes ``path`` in the end; see :func:`atomic_directory`."""
    path = _place(path, overwrite)
    with _parents(path):
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        os.close(handle)
        partial = Path(name)
        try:
            partial.chmod(0o666 & ~_umask())
            yield partial
            sync(partial)
            check_free(path, overwrite)
            _replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


@contextmanager
def staged(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a path of the same name in an empty folder beside ``path``; what was made there moves over in the end.

    For output that has to be looked at before it may appear, and that is more than one file: every entry of the folder
    moves, ``path`` last. When the block raises, everything is as it was.

    Args:
        path: where the output shall be; its parents are made.
        overwrite: replace what is there; without it any entry that exists is OutputExistsError.
    """
    path = _place(path, overwrite)
    with _parents(path):
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
        try:
            yield folder / path.name
            entries = sorted(folder.iterdir(), key=lambda entry: (entry.name == path.name, entry.name))
            for entry in entries:
                check_free(path.parent / entry.name, overwrite)
            for entry in entries:
                _replace(entry, path.parent / entry.name)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _place(path: Path, overwrite: bool) -> Path:
    """Return where an output stands in the end: a link that is its place stays, and the output goes where it leads.

    Raises:
        OutputExistsError: something is there that may not be replaced, or that cannot be: a mount point.
    """
    check_free(path, overwrite)
    real = path.resolve() if path.is_symlink() else path
    # not Path.is_mount, which takes a link to another disk for a mount point
    if os.path.ismount(real):
        raise OutputExistsError(
            f"{path} is a mount point, which cannot be replaced in one step; nothing was written: give a folder inside it "
            f"({path / 'NAME'})"
        )
    return real


@contextmanager
def _parents(path: Path) -> Iterator[None]:
    """Make the folders above an output; those that were made go away again when the block raises."""
    made = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for folder in made:
            with suppress(OSError):  # another process has put something there
                folder.rmdir()
        raise


def sync(path: Path) -> None:
    """Make the disk hold a file's bytes, or a directory's entries, before going on."""
    if path.is_symlink():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_free(path: Path, overwrite: bool) -> None:
    """Raise OutputExistsError if something is there that may not be replaced: before work that would be for nothing."""
    if overwrite or not path.exists():
        return
    if path.is_dir() and not any(path.iterdir()):
        return
    raise OutputExistsError(f"{path} exists already and nothing was written; --overwrite (overwrite=True) replaces it")


def _replace(partial: Path, path: Path) -> None:
    """Rename ``partial`` to ``path``; what was there goes away only after the new one stands."""
    old: Path | None = None
    if path.is_dir() and not path.is_symlink():
        # A directory with content cannot be replaced by one rename.
        old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".replaced", dir=path.parent))
        path.rename(old)
    elif partial.is_dir() and (path.exists() or path.is_symlink()):
        path.unlink()
    try:
        partial.rename(path)
    except BaseException:
        if old is not None:
            old.rename(path)
        raise
    sync(path.parent)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _umask() -> int:
    # There is no way to ask without setting; tempfile makes its files private, outputs should follow the user's umask.
    current = os.umask(0o077)
    os.umask(current)
    return current


def _sync_tree(root: Path) -> None:
    # Disks write many files at once in about the time of one. This thread and its helpers share one iterator: it costs
    # less than a task a file.
    with ThreadPoolExecutor(_SYNCED_AT_ONCE - 1, "maskloop-sync") as pool:
        for folder, _, files in os.walk(root):
            for start in range(0, len(files), _SYNCED_BATCH):
                batch = [Path(folder, name) for name in files[start : start + _SYNCED_BATCH]]
                waiting = iter(batch)
                helpers = [pool.submit(_sync_each, waiting) for _ in batch[1:_SYNCED_AT_ONCE]]
                _sync_each(waiting)
                for helper in helpers:
                    helper.result()
            sync(Path(folder))


def _sync_each(paths: Iterator[Path]) -> None:
    for path in paths:
        sync(path)
