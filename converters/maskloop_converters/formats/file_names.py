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
    """Gives every file of an output a path of its own, and keeps files and folders apart ('x' and 'x/y.png')."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def take(self, path: PurePosixPath, *, by_stem: bool = False) -> PurePosixPath:
        """Return ``path``, or with ``-2``, ``-3``, ... before its extension where it is taken.

        Args:
            path: as it should be.
            by_stem: paths that differ in their extension only count as the same.
        """
        folder = self._free_folder(path.parent)
        free, number = folder / path.name, 2
        while (key := str(free.with_suffix("") if by_stem else free)) in self._taken or str(free) in self._folders:
            free = folder / f"{path.stem}-{number}{path.suffix}"
            number += 1
        self._taken.add(key)
        self._files.add(str(free))
        self._folders.update(map(str, free.parents))
        return free

    def _free_folder(self, folder: PurePosixPath) -> PurePosixPath:
        """Return a folder, none of whose parts is a file: renamed where one is."""
        free = PurePosixPath()
        for part in folder.parts:
            name, number = part, 2
            while str(free / name) in self._files:
                name = f"{part}-{number}"
                number += 1
            free /= name
        return free
