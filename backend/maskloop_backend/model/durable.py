"""Files and directories that are there complete or not at all, whatever interrupts their writing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from maskloop_converters.errors import OutputExistsError

# What a killed process leaves behind starts with this, beside what it was going to be.
ASIDE = ".writing-"


@contextmanager
def new_directory(directory: Path) -> Iterator[Path]:
    """Give an empty hidden sibling to write into; when the block ends well, flush its files and rename it.

    Args:
        directory: to make; its parents are made too.

    Raises:
        OutputExistsError: the directory exists already; it is not touched.
        OSError: no space, no permission; nothing is left behind.
    """
    aside = directory.parent / f"{ASIDE}{uuid4().hex}"
    aside.mkdir(parents=True)
    try:
        yield aside
        for path in aside.iterdir():
            flush(path)
        flush(aside)
        try:
            aside.rename(directory)
        except OSError as error:
            if directory.exists():
                raise OutputExistsError(f"{directory} exists already; nothing was written") from error
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    flush(directory.parent)


def replace_text(path: Path, text: str) -> None:
    """Make a file hold a text (UTF-8): a reader sees the old one or the new one, never a part."""
    aside = path.parent / f"{ASIDE}{uuid4().hex}"
    try:
        aside.write_text(text, encoding="utf-8")
        flush(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    flush(path.parent)


def flush(path: Path) -> None:
    """Make the disk hold a file's bytes, or a directory's entries, before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
