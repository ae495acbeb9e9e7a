"""The errors of labelling whole datasets."""

from __future__ import annotations

from maskloop_converters.errors import DataError, MaskloopError


class BatchError(DataError):
    """A source, a destination or a plan that labelling cannot begin or go on with; the message says the fix."""


class EngineError(MaskloopError):
    """An engine that is not installed, cannot be reached, or whose workers cannot start."""


class StorageError(MaskloopError, OSError):
    """A disk or an object store that takes no more, or nothing at all: nothing else can be written there either."""
