"""An imagefolder's table: which files belong together. Read here, as Arrow's reader of JSON ends the process on some damaged files."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import FormatError
from .columns import IMAGE
from .library import library

TABLES = ("metadata.jsonl", "metadata.csv")
_FILE = "file_name"
_FILE_COLUMN = re.compile(rb"\b(?:\w*_)?file_name\b")
_HEAD = 1 << 16
_LONGEST = 1 << 20  # of a line


def describes_two(folder: Path) -> bool:
    """Return whether a folder has a table of two files a row, as an imagefolder with masks has it."""
    for name in TABLES:
        try:
            with (folder / name).open("rb") as file:
                if len(set(_FILE_COLUMN.findall(file.read(_HEAD)))) > 1:
                    return True
        except OSError:
            continue
    return False


@dataclass(slots=True)
class ImageFolder:
    """The rows of a folder's table: files as ``{"path": ...}`` in the columns that the library makes of them.

    ``file_name`` is the column ``image``, ``mask_file_name`` is ``mask``; what else a row says keeps its name.
    """

    folder: Path
    features: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        datasets = library()
        self.features = {}
        for row in self:
            for name, value in row.items():
                if isinstance(value, dict):
                    self.features[name] = datasets.Image(decode=False)
                else:
                    self.features.setdefault(name, datasets.Value("string"))
        if not self.features:
            raise FormatError(f"{self._table} has no rows")

    @property
    def _table(self) -> Path:
        return next(path for name in TABLES if (path := self.folder / name).is_file())

    def __len__(self) -> int:
        """Return how many rows there are."""
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the rows."""
        table = self._table
        try:
            with table.open(encoding="utf-8-sig", newline="") as lines:
                records = csv.DictReader(lines) if table.suffix == ".csv" else _objects(lines, table)
                for number, record in enumerate(records, 1):
                    yield self._row(record, f"{table}, row {number}")
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise FormatError(f"{table}: cannot read it: {error}") from error

    def _row(self, record: dict[Any, Any], where: str) -> dict[str, Any]:
        row: dict[str, Any] = {}
        for key, value in record.items():
            if not isinstance(key, str):
                raise FormatError(f"{where}: it has more cells than the table has columns")
            if key != _FILE and not key.endswith(f"_{_FILE}"):
                row[key] = value
                continue
            column = IMAGE if key == _FILE else key.removesuffix(f"_{_FILE}")
            if not isinstance(value, str) or not value or "\0" in value:
                raise FormatError(f"{where}: {key} must be a file's name, received {value!r:.80}")
            path = self.folder / value
            if not path.resolve().is_relative_to(self.folder.resolve()):
                raise FormatError(f"{where}: {key} leads out of the folder: {value!r:.80}")
            row[column] = {"bytes": None, "path": str(path)}
        return row


def _objects(lines: Any, table: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(iter(lambda: lines.readline(_LONGEST), ""), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise FormatError(f"{table}, line {number}: not JSON, perhaps truncated: {error}") from error
        if not isinstance(record, dict):
            raise FormatError(f"{table}, line {number}: expected an object, received {record!r:.80}")
        yield record
