"""Names of files inside a dataset: kept inside it, and each of its own."""

from __future__ import annotations

from pathlib import PurePosixPath

from ..errors import FormatError


def relative_path(name: str, where: str) -> PurePosixPath:
    """Return the path of a file that a dataset names, checked to stay inside the dataset.

    Args:
        name: posix path as it stands in a file ('train/0001.png'); backslashes are taken as separators.
        where: file and record that name it, for the error.

    Raises:
        FormatError: the name is empty, absolute, climbs out with '..', or holds a NUL.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name or path.parts[0].endswith(":"):
        raise FormatError(
            f"{where}: the file name {name!r} does not stay inside the dataset; expected a relative path without '..'"
        )
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise FormatError(f"{where}: the file name {name!r} is no text that a file can be called: {error}") from None
    return path


def file_stem(name: str) -> str:
    """Return the name of a split as part of a file's name; FormatError where it would lead to another folder."""
    if not name or name.startswith(".") or set(name) & set("/\\:\0"):
        raise FormatError(f"the split {name!r} cannot be part of a file name; rename it")
    return name


class FreeNames:
    """Gives every file of an output a path of its own: no other file's, and neither a folder of one nor inside one."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._folders: set[str] = set()

    def take(self, path: PurePosixPath, *, by_stem: bool = False) -> PurePosixPath:
        """Return ``path``, or with ``-2``, ``-3``, ... before its extension where it is taken.

        Args:
            path: as it should be.
            by_stem: paths that differ in their extension only count as the same.
        """
        path = self._outside_files(path)
        free, number = path, 2
        while not self._is_free(key := str(free.with_suffix("") if by_stem else free), str(free)):
            free = path.with_name(f"{path.stem}-{number}{path.suffix}")
            number += 1
        self._taken |= {key, str(free)}
        self._folders.update(str(folder) for folder in free.parents)
        return free

    def _is_free(self, key: str, name: str) -> bool:
        return not {key, name} & self._taken and not {key, name} & self._folders

    def _outside_files(self, path: PurePosixPath) -> PurePosixPath:
        """Return a path whose folders are no files of the output: those that are get a number."""
        folder = PurePosixPath()
        for part in path.parts[:-1]:
            free, number = part, 2
            while str(folder / free) in self._taken:
                free = f"{part}-{number}"
                number += 1
            folder /= free
        return folder / path.name
