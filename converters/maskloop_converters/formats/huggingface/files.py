"""Which files a dataset is, by part, and their rows."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ...errors import FormatError
from .imagefolder import TABLES, ImageFolder, describes_two
from .library import library, reading

Kind = Literal["parquet", "disk", "imagefolder"]

LABELS, OWN = "labels.json", "huggingface"
DATA = "data"
_SHARD = re.compile(r"^(?P<part>.+?)-\d{5}-of-\d{5}(?:-\w+)?$")
_INFO, _STATE, _DICT = "dataset_info.json", "state.json", "dataset_dict.json"
_LARGEST = 1 << 26  # of the library's small JSON files


@dataclass(frozen=True)
class Rows:
    """The rows of a part.

    Attributes:
        kind: how they are stored.
        split: the part's name, None where the dataset has none.
        files: the Parquet files, or the folder.
    """

    kind: Kind
    split: str | None
    files: tuple[Path, ...]

    @property
    def where(self) -> str:
        """The first file, for errors."""
        return str(self.files[0])

    @cached_property
    def features(self) -> dict[str, Any]:
        """The columns by name; the library copies all of them whenever it is asked."""
        return dict(self._opened.features or {})

    @cached_property
    def _opened(self) -> Any:
        """The library's dataset, which takes it longer to set up than to read some rows of."""
        datasets = library()
        with reading(self.where):
            if self.kind == "disk":
                _check_state(self.files[0])
                found = datasets.load_from_disk(str(self.files[0]), keep_in_memory=False)
                # a damaged file is memory that Arrow would follow anywhere
                found.data.validate(full=True)
                return found
            if self.kind == "parquet":
                data = {"train": [str(file) for file in self.files]}
                # rows are streamed, and nothing is kept in the user's cache, which may not be writable
                with tempfile.TemporaryDirectory(prefix="maskloop-") as cache:
                    options = {"split": "train", "streaming": True, "cache_dir": cache}
                    return datasets.load_dataset("parquet", data_files=data, **options)
            return ImageFolder(self.files[0])

    @cached_property
    def _undecoded(self) -> Any:
        """The library's dataset, whose pictures are left as they are stored."""
        datasets, found = library(), self._opened
        with reading(self.where):
            for name, feature in self.features.items():
                if isinstance(feature, datasets.Image) and feature.decode:
                    found = found.cast_column(name, datasets.Image(decode=False))
        return found

    def rows(self, pictures: list[str]) -> Iterator[dict[str, Any]]:
        """Yield the rows, their pictures as they are stored: bytes, or a dict of bytes and path."""
        if any(name not in self.features for name in pictures):
            raise FormatError(f"{self.where} has no column {', '.join(pictures)}; it has {', '.join(self.features)}")
        with reading(self.where):
            iterator = iter(self._undecoded)
        at = 0
        while True:
            at += 1
            with reading(f"{self.where}, row {at}"):
                row = next(iterator, None)
            if row is None:
                return
            yield row

    def count(self) -> int:
        """Return how many rows there are, without reading their pictures."""
        with reading(self.where):
            if self.kind == "parquet":
                parquet = library("pyarrow.parquet")
                return sum(int(parquet.read_metadata(file).num_rows) for file in self.files)
            return len(self._opened)


def find(path: Path) -> list[Rows]:
    """Return the parts of a dataset; FormatError says what is missing."""
    if path.is_file():
        if path.suffix.lower() != ".parquet":
            raise FormatError(f"{path} is no .parquet file")
        return [Rows("parquet", None, (path,))]
    if not path.is_dir():
        raise FormatError(f"there is no {path}")
    if (path / _STATE).is_file() and (path / _INFO).is_file():
        return [Rows("disk", None, (path,))]
    if (path / _DICT).is_file():
        return [Rows("disk", name, (path / name,)) for name in _parts_of(path)]
    if describes_two(path):
        return [Rows("imagefolder", None, (path,))]
    folders = sorted(folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    described = [folder for folder in folders if describes_two(folder)]
    if described:
        return [Rows("imagefolder", folder.name, (folder,)) for folder in described]
    for folder in (path, path / DATA):
        shards = sorted(file for file in folder.glob("*.parquet") if file.is_file()) if folder.is_dir() else []
        if shards:
            return _by_part(shards)
    raise FormatError(
        f"{path} holds nothing of Hugging Face's datasets: no .parquet in it or in {DATA}/, no {_INFO} beside {_STATE} "
        f"(save_to_disk), no {TABLES[0]} with the columns file_name and mask_file_name (imagefolder)"
    )


def _by_part(shards: list[Path]) -> list[Rows]:
    """Return Parquet files by the part that their names say; one part alone called train is none."""
    found: dict[str, list[Path]] = {}
    for file in shards:
        shard = _SHARD.match(file.stem)
        found.setdefault(shard["part"] if shard else file.stem, []).append(file)
    if len(found) == 1:
        return [Rows("parquet", None, tuple(shards))]
    return [Rows("parquet", part, tuple(files)) for part, files in found.items()]


def _document(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST:
            raise FormatError(f"{path}: {path.stat().st_size} bytes are more than such a file has")
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise FormatError(f"{path}: cannot read it: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: not JSON, perhaps truncated: {error}") from error
    if not isinstance(document, dict):
        raise FormatError(f"{path}: expected an object, received {document!r:.80}")
    return document


def _parts_of(path: Path) -> list[str]:
    names = _document(path / _DICT).get("splits")
    if not isinstance(names, list) or not names:
        raise FormatError(f"{path / _DICT}: splits must be a list of folders, received {names!r:.80}")
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or not (path / name).is_dir():
            raise FormatError(f"{path / _DICT}: there is no folder {name!r:.80}")
    return names


def _check_state(path: Path) -> None:
    """Raise FormatError where the files that a folder names lie elsewhere."""
    listed = _document(path / _STATE).get("_data_files")
    if not isinstance(listed, list):
        raise FormatError(f"{path / _STATE}: _data_files must be a list, received {listed!r:.80}")
    for entry in listed:
        name = entry.get("filename") if isinstance(entry, dict) else None
        if not isinstance(name, str) or Path(name).name != name or not (path / name).is_file():
            raise FormatError(f"{path / _STATE}: there is no file {name!r:.80} in the folder")
