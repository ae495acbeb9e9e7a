"""Datasets on disk, whatever their format: found out, read and written."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

from . import options as format_options
from .errors import FormatError
from .formats import parts
from .formats.gate import Gate
from .formats.images import IMAGE_SUFFIXES
from .formats.outputs import check_replaceable
from .registry import FORMATS, load_format, load_target
from .report import ErrorPolicy, OnError, WriteReport
from .samples import Dataset


def detect(path: Path) -> str:
    """Return the name of the format that files are in.

    Raises:
        FormatError: they are in none, or in several; the message says why for each format.
    """
    path = Path(path)
    if not path.exists():
        raise FormatError(f"{path} does not exist")
    reasons = {name: load_format(name).detect(path) for name in FORMATS}
    fitting = [name for name, reason in reasons.items() if reason is None]
    if not fitting:
        fitting = [name for name in FORMATS if _part_folders(path, name)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise FormatError(f"{path} can be read as {' and as '.join(fitting)}; say which with --from (format=)")
    listed = "".join(f"\n  not {name}: {reason}" for name, reason in reasons.items())
    raise FormatError(
        f"{_held(path)}{path} is in no known format; name one with --from (format=) to see what is wrong with it:{listed}"
    )


def _held(path: Path) -> str:
    """Return a sentence on a folder without a single label, which no list of formats explains; '' for everything else."""
    if not path.is_dir():
        return ""
    files = (file for file in path.rglob("*") if not file.name.startswith(".") and file.is_file())
    first = next(files, None)
    if first is None:
        return f"{path} holds no files: expected images and their masks. "
    if all(file.suffix.lower() in IMAGE_SUFFIXES for file in chain([first], files)):
        return f"{path} holds images, and nothing that says what is in them: expected masks of them, too. "
    return ""


def splits(path: Path, format: str | None = None) -> tuple[str, ...]:  # noqa: A002 - the field's word
    """Return the names of the parts that a dataset has ('train', 'val'); empty where it has no parts."""
    path = Path(path)
    name = format or detect(path)
    folders = _part_folders(path, name)
    if folders:
        return tuple(folder.name for folder in folders)
    found: tuple[str, ...] = load_format(name).splits(path)
    return found


def read(path: str | Path, format: str | None = None, **options: Any) -> Dataset:  # noqa: A002 - the field's word
    """Return a dataset on disk as a label set and a stream of samples.

    Nothing but labels and an index is read before the dataset is iterated; each iteration reads the files anew and
    holds one sample at a time. A folder with a dataset in each of its sub-folders, as a conversion with parts makes it,
    is one dataset of these parts.

    Args:
        path: file or folder.
        format: 'png', 'coco', 'tfrecord', 'labelstudio', ... (``registry.FORMATS``); None finds out.
        **options: of the format's own ``read``, e.g. ``split``, ``labels``, ``on_error``, ``soft``.

    Raises:
        FormatError: the files are in no format, or damaged; the message names file, record and reason.
        OptionError: the format has no such option, or its value is wrong.
    """
    path = Path(path)
    name = format or detect(path)
    module = load_format(name)
    # Folders of parts are rare, and looking for them costs time: it is done for who asks for a part, and before giving up.
    folders = _part_folders(path, name) if "split" in options else []
    if not folders:
        try:
            dataset: Dataset = module.read(path, **format_options.checked(name, "read", options))
        except FormatError:
            folders = _part_folders(path, name)
            if not folders:
                raise
        else:
            return dataset
    split, on_error = options.pop("split", None), options.get("on_error", "fail")
    own = format_options.checked(name, "read", options)
    chosen = [folder for folder in folders if split is None or folder.name == split]
    if not chosen:
        raise FormatError(f"{path} has no part {split!r}; there are: {', '.join(folder.name for folder in folders)}")
    found = {folder.name: module.read(folder, **own) for folder in chosen}
    return parts.joined(found, ErrorPolicy(on_error), name)


def write(
    dataset: Dataset,
    path: str | Path,
    format: str,  # noqa: A002 - the field's word
    *,
    on_error: OnError = "fail",
    **options: Any,
) -> WriteReport:
    """Write a dataset and return what was written and what the format could not hold.

    Args:
        dataset: is read once, a sample at a time.
        path: the folder or file to make; it appears whole or not at all.
        format: 'png', 'coco', 'tfrecord', 'labelstudio', ... (``registry.TARGETS``).
        on_error: 'fail' stops at the first sample that cannot be written and read again (regions and masks of different
            number, an id that stands twice, an unknown label, ...), 'skip' leaves it out and counts it.
        **options: of the format's own ``write``, e.g. ``overwrite``, ``images``, ``masks``, ``schema``.

    Raises:
        FormatError: a format that is read only.
        DataError: a sample that cannot be written; the message names it and the reason.
        OutputExistsError: something is there already and ``overwrite`` was not given, or it is not maskloop's.
        OptionError: the format has no such option, or its value is wrong.
    """
    policy = ErrorPolicy(on_error)
    module = load_target(format)
    own = format_options.checked(format, "write", options)
    if own.get("overwrite"):
        check_replaceable(Path(path))
    with module.opening(dataset, Path(path), **own) as writer:
        Gate(dataset.labels, policy).write_all(dataset, writer)
    report: WriteReport = writer.report
    report.skipped.merge(policy.skipped)
    return report


def _part_folders(path: Path, name: str) -> list[Path]:
    """Return the sub-folders of a folder that are datasets of a format, sorted; empty where the folder itself is one."""
    module = load_format(name)
    if not path.is_dir() or module.detect(path) is None:
        return []
    return [folder for folder in sorted(path.iterdir()) if folder.is_dir() and module.detect(folder) is None]
