"""What of an output is done, so that writing it can go on after an interruption.

A journal is a file of JSON lines beside an unfinished output: a header that says what is being written and how, then a
line a piece (a sample's files, a shard), appended when the piece is whole. Going on reads the source anew from its start
and compares: a piece counts as done when its samples are the same ones, by a hash of all that is written of them, and
its files have the size and CRC that the journal says. From the first piece on that differs, everything is written
again. So the output is the one of an undisturbed run, whatever happened in between, to the source too.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from ._version import __version__
from .errors import OutputExistsError
from .report import Tally, WriteReport
from .samples import Region, Sample

_PIECE = 1 << 20


class Journal:
    """The journal of one output; a context manager that holds it for this process alone.

    Args:
        path: the file; made where it is not there.
        header: what is written and how, JSON values; the version of maskloop is added.

    Raises:
        OutputExistsError: another process goes on with the same output, or it was begun in another way.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        #: hash of the hashes of all samples so far
        self.chain = hashlib.blake2b(digest_size=16)
        self._path = path
        self._file = path.open("a+b")
        try:
            self._lock()
            self._header(json.dumps({"maskloop": __version__, **header}, sort_keys=True).encode() + b"\n")
        except BaseException:
            self._file.close()
            raise

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OutputExistsError(f"{self._path} is in use: another maskloop goes on with this output") from error

    def _header(self, line: bytes) -> None:
        self._file.seek(0)
        found = self._file.readline()
        if not found.endswith(b"\n"):  # new, or killed while it was made
            self._file.truncate(0)
            self._file.seek(0)
            self._file.write(line)
        elif found != line:
            raise OutputExistsError(
                f"what lies unfinished in {self._path.parent} was begun with other options, other labels or another "
                "version of maskloop; give the same ones, or delete it to start anew"
            )
        #: where the next line is read, or written once all are read; and where the one before it was
        self._at = self._before = self._file.tell()

    def __enter__(self) -> Journal:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the file."""
        self._file.close()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield all lines that are whole, from the first one."""
        at = self._at
        while (record := self._read(at)) is not None:
            yield record[0]
            at = record[1]

    def next(self) -> dict[str, Any] | None:
        """Return the next line and move past it; None behind the last one that is whole."""
        record = self._read(self._at)
        if record is None:
            return None
        self._before, self._at = self._at, record[1]
        return record[0]

    def _read(self, at: int) -> tuple[dict[str, Any], int] | None:
        self._file.seek(at)
        line = self._file.readline()
        try:
            record = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            record = None
        return (record, at + len(line)) if isinstance(record, dict) else None

    def sweep(self, root: Path) -> None:
        """Remove all files below a folder that are in no line: of the piece that was being written."""
        known = {name for record in self for name in record.get("files", ())}
        for path in list(root.rglob("*")):
            if not (path.is_dir() and not path.is_symlink()) and path.relative_to(root).as_posix() not in known:
                path.unlink()

    def drop(self, root: Path) -> None:
        """Forget the line that was read last and all after it, and remove their files: they do not hold any more."""
        self._at = self._before
        for record in self:
            for name in record.get("files", ()):
                (root / name).unlink(missing_ok=True)
        self._file.truncate(self._at)

    def fingerprint(self, sample: Sample) -> str:
        """Return the hash of the next sample of the output; see :func:`fingerprint`."""
        digest = fingerprint(sample)
        self.chain.update(digest.encode())
        return digest

    def add(self, record: Mapping[str, Any]) -> None:
        """Append a line; lines from here on, of pieces that changed, are gone."""
        self._file.truncate(self._at)
        self._file.seek(self._at)
        self._file.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        self._at = self._file.tell()


def fingerprint(sample: Sample) -> str:
    """Return a hash of all that is written of a sample: masks, regions, attributes, its image's name and content.

    Of an image that is a file, its place, size and time of change stand for the content.
    """
    state = hashlib.blake2b(digest_size=16)

    def add(value: Any) -> None:
        data = value if isinstance(value, bytes) else repr(value).encode()
        state.update(b"%d:" % len(data))
        state.update(data)

    masks, image = sample.masks, sample.image
    add((sample.id, masks.height, masks.width, masks.order, image.name, image.uri, image.exif_orientation))
    add(masks.counts.tobytes())
    add(masks.offsets.tobytes())
    add(json.dumps(dict(sample.attributes), sort_keys=True, default=repr))
    for region in sample.regions:
        add(_facts(region))
        if region.edge is not None:
            add(region.edge.positions.tobytes())
            add(region.edge.alpha.tobytes())
    if isinstance(image.source, Path):
        status = image.source.stat() if image.source.is_file() else None
        add((str(image.source.absolute()), status and (status.st_size, status.st_mtime_ns)))
    else:
        add(image.read_bytes() or b"")
    return state.hexdigest()


def _facts(region: Region) -> str:
    facts = (region.label, region.id, region.score, region.crowd, region.instance, region.origin)
    return repr(facts) + json.dumps(dict(region.attributes), sort_keys=True, default=repr)


def file_state(path: Path) -> list[Any]:
    """Return what tells whether a file is whole: size and CRC-32, or of a link where it leads."""
    if path.is_symlink():
        return ["link", str(path.readlink())]
    crc = size = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            crc, size = zlib.crc32(piece, crc), size + len(piece)
    return [size, crc]


def holds(root: Path, files: Mapping[str, list[Any]]) -> bool:
    """Return whether files below a folder are as a line of a journal says."""
    for name, state in files.items():
        path = root / name
        if not (path.is_symlink() or path.is_file()) or file_state(path) != state:
            return False
    return True


def report_of(record: Mapping[str, Any]) -> WriteReport:
    """Return the report of what :meth:`WriteReport.to_dict` gave."""
    tallies = []
    for key in ("losses", "notes"):
        tally = Tally()
        for kind, found in record[key].items():
            tally.counts[kind] = found["count"]
            tally.examples[kind] = list(found["examples"])
        tallies.append(tally)
    return WriteReport(record["samples"], record["regions"], *tallies)
