"""Files by path or by URL (s3://, gs://, http://, memory://): local ones by the system, others by fsspec.

Where fsspec or one of its file systems is missing, the error says what to install.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from maskloop_converters.atomic import atomic_file

from ..studio.errors import public_url
from .errors import BatchError, StorageError

_URL = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]+://")
# What an operation reports when nothing else will succeed either: no space, a quota, a disk that became read-only.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})


def is_url(place: str) -> bool:
    """Return whether a place is a URL; a path is not."""
    return _URL.match(place) is not None


def spoken(place: str) -> str:
    """Return a place as messages may show it: a URL without user, password and query."""
    return public_url(place) if is_url(place) else place


def joined(root: str, name: str) -> str:
    """Return the place of a name below a root."""
    return f"{root.rstrip('/')}/{name}" if is_url(root) else os.path.join(root, name)  # noqa: PTH118 - may be a URL


def read(place: str) -> bytes:
    """Return the bytes at a path or URL.

    Raises:
        OSError: they cannot be had.
        BatchError: what reads such URLs is not installed.
    """
    if not is_url(place):
        return Path(place).read_bytes()
    system, path = _system(place)
    content: bytes = system.cat_file(path)
    return content


def size(place: str) -> int | None:
    """Return the bytes that a file has, None where its storage does not say."""
    if not is_url(place):
        return Path(place).stat().st_size
    system, path = _system(place)
    said = system.info(path).get("size")
    return None if said is None else int(said)


def write(place: str, content: bytes) -> None:
    """Write a file, which is there whole or not at all.

    Raises:
        StorageError: there is no space, or the storage refuses.
    """
    with refusals(place):
        if not is_url(place):
            with atomic_file(Path(place), overwrite=True) as aside:
                aside.write_bytes(content)
            return
        system, path = _system(place)
        # object stores show an object when its upload is complete
        _placed(system, path, lambda: system.pipe_file(path, content))


def upload(folder: Path, place: str) -> None:
    """Copy all files of a local folder below a URL."""
    system, path = _system(place)
    with refusals(place):
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            target = f"{path.rstrip('/')}/{file.relative_to(folder).as_posix()}"
            _placed(system, target, partial(system.put_file, str(file), target))


def names(place: str) -> list[str]:
    """Return the names in a folder, sorted; none where there is no folder."""
    if not is_url(place):
        return sorted(entry.name for entry in Path(place).iterdir()) if Path(place).is_dir() else []
    system, path = _system(place)
    with refusals(place):
        try:
            found = system.ls(path, detail=False)
        except FileNotFoundError:
            return []
    return sorted(str(entry).rstrip("/").rpartition("/")[2] for entry in found)


def find(place: str) -> Iterator[str]:
    """Yield the files below a URL, or those that it matches where it has a wildcard, each as a URL, sorted."""
    system, path = _system(place)
    with refusals(place):
        found = system.glob(path) if any(mark in path for mark in "*?[") else system.find(path)
    for entry in sorted(map(str, found)):
        yield str(system.unstrip_protocol(entry))


class refusals:  # noqa: N801 - a context manager, read as a verb
    """Turns what a storage refuses as a whole into one clear error: no permission, no space, no such bucket.

    Args:
        place: that is asked for.
    """

    def __init__(self, place: str) -> None:
        self._place = place

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        """Translate."""
        if isinstance(error, OSError) and not isinstance(error, StorageError | FileNotFoundError):
            refuse(self._place, error)
        if error is not None and type(error).__module__.partition(".")[0] in (
            "botocore",
            "aiobotocore",
            "aiohttp",
            "gcsfs",
        ):
            raise StorageError(f"{spoken(self._place)}: {reason(error)}") from error


def is_full(error: OSError) -> bool:
    """Return whether an error says that the disk takes no more."""
    return error.errno in _FULL


def refuse(place: str, error: OSError) -> NoReturn:
    """Raise what a storage's refusal means for a person."""
    if is_full(error):
        raise StorageError(
            error.errno,
            f"{spoken(place)}: {os.strerror(error.errno or errno.EIO)}; what is finished stays: make room and "
            "run the same command again",
        ) from error
    if isinstance(error, PermissionError):
        raise StorageError(
            f"{spoken(place)}: access is forbidden (403, or the file's permissions); check the credentials"
        ) from error
    raise StorageError(f"{spoken(place)}: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """Return what an error of a file or a storage says, on one line, without addresses' secrets."""
    from ..studio.errors import without_queries

    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, PermissionError):
        return "access is forbidden"
    text = (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(error).__name__
    return without_queries(" ".join(text.split()))[:300]


def _placed(system: Any, path: str, put: Callable[[], object]) -> None:
    """Put a file; where its storage has folders that must be there first, make them."""
    try:
        put()
    except FileNotFoundError:
        system.makedirs(path.rpartition("/")[0], exist_ok=True)
        put()


def _system(place: str) -> tuple[Any, str]:
    """Return the file system of a URL and the path in it."""
    scheme = urlsplit(place).scheme
    system = _opened(scheme)
    return system, str(system._strip_protocol(place))


@cache
def _opened(scheme: str) -> Any:
    try:
        import fsspec
    except ImportError as error:
        raise BatchError(
            f"{scheme}:// is read by fsspec, which is not installed: pip install 'maskloop[cloud]'"
        ) from error
    try:
        return fsspec.filesystem(scheme)
    except ValueError as error:
        raise BatchError(f"nothing here reads {scheme}:// addresses; fsspec knows: {_known()}") from error
    except ImportError as error:
        # fsspec says which package it is ("Install s3fs to access S3")
        raise BatchError(f"{scheme}:// needs one more package: {' '.join(str(error).split())[:200]}") from error


def _known() -> str:
    from fsspec.registry import known_implementations

    return ", ".join(sorted(name for name in known_implementations if "-" not in name)[:40])
