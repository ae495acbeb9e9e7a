"""The ``datasets`` library, used for files of this machine alone."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...errors import FormatError, MaskloopError

# Read when the library is imported; who has imported it before has chosen.
_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
}


def library(name: str = "datasets") -> Any:
    """Return the library, or one of its modules, told to stay off the network; FormatError says how to install it."""
    if "datasets" not in sys.modules:
        for variable, value in _OFFLINE.items():
            os.environ.setdefault(variable, value)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise FormatError(
            f"huggingface needs the package datasets ({error}); install it with: pip install 'maskloop[huggingface]'"
        ) from error


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Turn whatever the library raises on a damaged file into a FormatError that names it."""
    try:
        yield
    except (MaskloopError, MemoryError, GeneratorExit):
        raise
    except Exception as error:  # the library and Arrow below it have no common error
        said = " ".join(str(error).split())
        raise FormatError(f"{where}: datasets cannot read it: {type(error).__name__}: {said:.300}") from error
