"""Which file an image is that a dataset names: one rule for all formats.

Files name images by a path inside the dataset, by a path of another machine ('/data/img/a.png', 'C:\\img\\a.png',
'../img/a.png'), by a URL, or by what Label Studio calls an upload or a local file. What an image is called in a dataset
(:attr:`Address.name`) is one thing, where it lies (:class:`ImageFinder`) another.
"""

from __future__ import annotations

import filecmp
import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote

from ..errors import FormatError
from .file_names import relative_path

# A drive ('C:') has one letter, a scheme has more.
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://")
_DRIVE = re.compile(r"^[A-Za-z]:(?=/)")
# Label Studio stores an upload in a folder of its project's number, under its name with 8 random hex digits before it.
_UPLOAD_FOLDER = re.compile(r"(?:^|/)(?:data|media)/upload/\d+$")
_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-(?=.)")
_LOCAL_FILES = "data/local-files"
# What most file systems allow for one name.
_LONGEST_NAME = 255


@dataclass(frozen=True, slots=True)
class Address:
    """How a file names an image.

    Attributes:
        text: as it stands there.
        name: what the image is called in a dataset: a relative posix path without '..', '' where the text has no name (a
            data URL). An upload has the name that it had before Label Studio knew it.
        paths: the relative posix paths under which the image may lie, the most exact first; none for a data URL.
    """

    text: str
    name: str
    paths: tuple[str, ...]


def read_address(text: str) -> Address:
    """Return what an image's address says, whatever tool wrote it; nothing is looked up.

    'train/0001.png' -> itself; '/data/upload/5/4fad3754-img0.png' -> name 'img0.png', which may lie under both names;
    '/data/local-files/?d=a/b%20c.png' -> 'a/b c.png'; 's3://bucket/train/x.png' -> 'train/x.png';
    'https://host/x/y.png?token=1' -> 'x/y.png'; 'C:\\img\\a.png' -> 'img/a.png'; '../img/a.png' -> 'img/a.png'.
    """
    if text.startswith("data:"):
        return Address(text, "", ())
    scheme = _SCHEME.match(text)
    path = _DRIVE.sub("", text.replace("\\", "/"))
    decoded = path
    if scheme:
        path = text[scheme.end() :].partition("/")[2]
    if scheme or path.startswith("/"):
        # Blanks and the like are encoded in URLs, those without a host among them; a path of another machine is none.
        location, _, query = path.partition("?") if scheme or "=" in path.partition("?")[2] else (path, "", "")
        decoded = unquote(location.partition("#")[0] if scheme else location)
        if decoded.strip("/").endswith(_LOCAL_FILES) and (given := parse_qs(query).get("d")):
            path = decoded = given[0]
    names = [_inside(decoded)]
    folder, slash, last = names[0].rpartition("/")
    if slash and _UPLOAD_FOLDER.search(folder):
        original = _UPLOAD_PREFIX.sub("", last)
        return Address(text, original, tuple(dict.fromkeys([names[0], original])))
    paths = names if scheme else [_inside(path), names[0], _inside(unquote(path))]
    return Address(text, names[0], tuple(dict.fromkeys(path for path in paths if path)))


def dataset_name(text: str) -> str:
    """Return what an image is called in a dataset whose file calls it so: the same, where it stays inside the dataset.

    Another machine's path, or a URL, becomes a relative path; '' where nothing is left of it.
    """
    try:
        relative_path(text, "")
    except FormatError:
        return read_address(text).name
    return text if "://" not in text else read_address(text).name


def _inside(path: str) -> str:
    """Return the parts of a path as a name that stays inside a folder and that a file can have."""
    parts = [part for part in path.replace("\0", "_").replace("\\", "/").split("/") if part not in ("", ".", "..")]
    if parts and parts[0].endswith(":"):
        parts[0] = parts[0][:-1] + "_"  # no drive
    return "/".join(part if len(part) < 64 and part.isascii() else _fitting(part) for part in parts)


def _fitting(part: str) -> str:
    """Return a part of a path, cut to what a file system takes, and told apart by a hash where it was cut."""
    part = part.encode("utf-8", "replace").decode()  # a lone half of a surrogate pair is in no file's name
    if len(part.encode()) <= _LONGEST_NAME:
        return part
    suffix = PurePosixPath(part).suffix if len(PurePosixPath(part).suffix.encode()) <= 8 else ""
    digest = hashlib.blake2b(part.encode(), digest_size=6).hexdigest()
    return part.encode()[: _LONGEST_NAME - 32].decode(errors="ignore") + f"-{digest}{suffix}"


class ImageFinder:
    """Finds the files of a dataset's images, each address its own.

    An image is looked for under its most exact path first, then under ever shorter ends of it ('img/train/1.png',
    'train/1.png', '1.png'), then under its next path. Two files that fit equally well, or two addresses that lead to one
    file by an end of their path, are an error that names both: a mask on the wrong image is worse than none.

    Args:
        folders: to look in; nothing outside them is found, whatever a file says.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self.folders = tuple({folder.resolve(): folder for folder in folders}.values())
        #: of every file that was found by less than its whole path: who it was found for
        self._found_for: dict[Path, dict[str, None]] = {}

    def foresee(self, text: str) -> None:
        """Take note of an address before any is asked for, so that the first of two that meet is an error too."""
        path, whole = self._look(read_address(text), "")
        if path is not None and not whole:
            self._note(path, text)

    def find(self, address: Address, where: str, *, source: str | None = None) -> Path | None:
        """Return the file of an image, None where there is none.

        Args:
            address: of the image.
            where: file and record, for the error.
            source: a path that we noted when the dataset was written; it counts where it lies in one of the folders.

        Raises:
            FormatError: several files fit, or the file fits several addresses.
        """
        path, whole = self._look(address, where)
        if path is None:
            return self._noted(source)
        if whole:
            return path
        self._note(path, address.text)
        others = [text for text in self._found_for[path] if text != address.text]
        if others:
            raise FormatError(
                f"{where}: {address.text} and {others[0]} both lead to {path}, by the end of their paths; which of them "
                "it is cannot be told. Keep the images in folders as in their addresses (--images-from DIR says where)"
            )
        return path

    def missing(self, what: str) -> str:
        """Return the words for an image that is not there, with the way out."""
        return f"{what} is not in {' or '.join(map(str, self.folders))}; say where the images are (--images-from DIR)"

    def _look(self, address: Address, where: str) -> tuple[Path | None, bool]:
        """Return the file of an address, and whether it has the whole of the most exact path."""
        for rank, name in enumerate(address.paths):
            parts = name.split("/")
            for start in range(len(parts)):
                end = "/".join(parts[start:])
                # os.path: pathlib's is several times as slow, and most of what is looked for is not there
                found = [folder / end for folder in self.folders if os.path.isfile(f"{folder}/{end}")]  # noqa: PTH113
                if len(found) > 1 and where and not all(_same(found[0], other) for other in found[1:]):
                    raise FormatError(
                        f"{where}: {found[0]} and {found[1]} differ, and both may be the image {address.text}; remove one, "
                        "or say where the images are (--images-from DIR)"
                    )
                if found:
                    return found[0], rank == 0 and start == 0
        return None, False

    def _note(self, path: Path, text: str) -> None:
        found_for = self._found_for.setdefault(path, {})
        if len(found_for) < 2:
            found_for[text] = None

    def _noted(self, source: str | None) -> Path | None:
        if not source or "\0" in source:
            return None
        path = Path(source)
        inside = any(path.resolve().is_relative_to(folder.resolve()) for folder in self.folders)
        return path if inside and path.is_file() else None


def _same(one: Path, other: Path) -> bool:
    return one.samefile(other) or filecmp.cmp(one, other, shallow=False)
