"""Datasets on disk, whatever their format: found out, read and written."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .errors import FormatError, OptionError
from .registry import FORMATS, load_format
from .report import WriteReport
from .samples import Dataset


def detect(path: Path) -> str:
    """Return the name of the format that files are in.

    Raises:
        FormatError: they are in none, or in several; the message says why for each format.
    """
    if not path.exists():
        raise FormatError(f"{path} does not exist")
    reasons = {name: load_format(name).detect(path) for name in FORMATS}
    fitting = [name for name, reason in reasons.items() if reason is None]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise FormatError(f"{path} can be read as {' and as '.join(fitting)}; say which (--from, format=)")
    listed = "".join(f"\n  not {name}: {reason}" for name, reason in reasons.items())
    raise FormatError(
        f"{path} is in no known format; name one with --from (format=) to see what is wrong with it:{listed}"
    )


def read(path: str | Path, format: str | None = None, **options: Any) -> Dataset:  # noqa: A002 - the field's word
    """Return a dataset on disk as a label set and a stream of samples.

    Nothing but labels and an index is read before the dataset is iterated; each iteration reads the files anew and
    holds one sample at a time.

    Args:
        path: file or folder.
        format: 'png', 'coco', 'tfrecord' or 'labelstudio'; None finds out.
        **options: of the format's own ``read``, e.g. ``split``, ``labels``, ``on_error``, ``soft``.

    Raises:
        FormatError: the files are in no format, or damaged; the message names file, record and reason.
        OptionError: the format has no such option.
    """
    path = Path(path)
    name = format or detect(path)
    dataset: Dataset = load_format(name).read(path, **accepted(name, "read", options))
    return dataset


def write(dataset: Dataset, path: str | Path, format: str, **options: Any) -> WriteReport:  # noqa: A002
    """Write a dataset and return what was written and what the format could not hold.

    Args:
        dataset: is read once, a sample at a time.
        path: the folder or file to make; it appears whole or not at all.
        format: 'png', 'coco', 'tfrecord' or 'labelstudio'.
        **options: of the format's own ``write``, e.g. ``overwrite``, ``images``, ``masks``, ``schema``.

    Raises:
        OutputExistsError: something is there already and ``overwrite`` was not given.
        OptionError: the format has no such option.
    """
    report: WriteReport = load_format(format).write(dataset, Path(path), **accepted(format, "write", options))
    return report


def accepted(name: str, action: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return options after checking that a format's ``read`` or ``write`` has them all.

    Raises:
        OptionError: it does not; the message names the formats that do.
    """
    for option in options:
        if option not in _parameters(name, action):
            others = [other for other in FORMATS if option in _parameters(other, action)]
            having = f"only {' and '.join(others)} have it" if others else "no format has it"
            raise OptionError(
                f"{action[:-1] if action == 'write' else action}ing {name} has no option {option!r}; {having}"
            )
    return options


def _parameters(name: str, action: str) -> frozenset[str]:
    function: Callable[..., Any] = getattr(load_format(name), action)
    keywords = inspect.signature(function).parameters.values()
    return frozenset(p.name for p in keywords if p.kind is inspect.Parameter.KEYWORD_ONLY)
