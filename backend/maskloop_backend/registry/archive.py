"""One file that carries a model version to another machine: an uncompressed tar of its record and its weights.

The same version always gives the same bytes. Reading trusts nothing: two plain files of known names and bounded sizes,
checked against their hashes; no path of the archive is ever opened.
"""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import IO

from maskloop_converters.atomic import atomic_file

from ..model import record as records
from ..model.record import MOST_RECORD, RECORD_FILE, VERSION_PATTERN, WEIGHTS_FILE, BundleError, ModelRecord
from .history import RegistryError

# VGG16's weights are 0.5 GB.
MOST_WEIGHTS = 4 << 30

_BLOCK = 512
_COPIED = 1 << 20


def write(directory: Path, path: Path, *, overwrite: bool = False) -> ModelRecord:
    """Write a saved version into an archive and return its record; it is checked before.

    Args:
        directory: of the version.
        path: of the archive; it is there whole or not at all.
        overwrite: replace a file that is there.

    Raises:
        BundleError: the version is damaged.
        OutputExistsError: the file exists.
    """
    record = records.verify(directory)
    with atomic_file(path, overwrite=overwrite) as aside, tarfile.open(aside, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name in (RECORD_FILE, WEIGHTS_FILE):
            with (directory / name).open("rb") as file:
                # owner, mode and time stay at their defaults
                member = tarfile.TarInfo(f"{record.version}/{name}")
                member.size = (directory / name).stat().st_size
                tar.addfile(member, file)
    return record


def unpack(path: Path, directory: Path) -> ModelRecord:
    """Write what an archive holds into an empty directory and return the version's record, all of it checked.

    Args:
        path: of the archive.
        directory: empty; what is in it after an error is for the caller to remove.

    Raises:
        RegistryError: it is no archive of a version, or it is cut off.
        BundleError: what is in it was changed.
    """
    with path.open("rb") as archive:
        version = _take(archive, path, directory, RECORD_FILE, MOST_RECORD)
        if _take(archive, path, directory, WEIGHTS_FILE, MOST_WEIGHTS) != version:
            raise RegistryError(f"{path}: its two files are not of one version")
        if archive.read(2 * _BLOCK) != bytes(2 * _BLOCK):
            raise RegistryError(
                f"{path}: it does not end after {WEIGHTS_FILE}; it is cut off, or not written by maskloop"
            )
    try:
        record = records.verify(directory)
    except BundleError as error:
        raise BundleError(f"{path}: {str(error).replace(str(directory), version)}") from error
    named = records.version_name(record.architecture, record.created, record.sha256)
    if not record.version == version == named:
        raise BundleError(f"{path}: called {version}, its record {record.version}, and its weights make it {named}")
    return record


def _take(archive: IO[bytes], path: Path, directory: Path, name: str, most: int) -> str:
    """Write the next file of an archive into a directory under a name of ours; return the version it belongs to."""
    try:
        # one header and no more: extensions, which may say anything of any size, are not read
        member = tarfile.TarInfo.frombuf(archive.read(_BLOCK), "ascii", "strict")
    except (tarfile.HeaderError, ValueError) as error:
        raise RegistryError(f"{path}: expected an archive of `maskloop models export`: {error}") from error
    version, _, found = member.name.partition("/")
    if not member.isreg() or found != name or not VERSION_PATTERN.fullmatch(version):
        raise RegistryError(f"{path}: expected the file VERSION/{name}, found {member.name!r}")
    if not 0 <= member.size <= most:
        raise RegistryError(f"{path}: {name} has {member.size} bytes, the most is {most}")
    left = member.size
    with (directory / name).open("xb") as out:
        while left:
            data = archive.read(min(left, _COPIED))
            if not data:
                raise RegistryError(f"{path}: cut off, {left} bytes of {name} are missing")
            out.write(data)
            left -= len(data)
    archive.read(-member.size % _BLOCK)
    return version
