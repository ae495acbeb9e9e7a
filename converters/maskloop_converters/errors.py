"""The exceptions of maskloop.

    MaskloopError
    ├── DataError (ValueError)          what was read is not what its format promises
    │   ├── CodecError                  a byte stream: truncated, garbage, sizes that disagree
    │   ├── FormatError                 a file or record of a dataset
    │   ├── LabelError                  a label that is unknown, ambiguous or missing
    │   └── OptionError                 an option that the format does not have
    ├── TargetError (ValueError)        the target format cannot hold what it was given, and --strict refuses
    ├── VerificationError (ValueError)  the output, read back, is not what was written
    └── OutputExistsError (OSError)     the output is there already and may not be overwritten

The backend's errors derive from MaskloopError and DataError too; docs/design.md, "Errors", draws the whole tree.

A message says what, where (file, record, region), what was expected, what was received and the fix.
"""

from __future__ import annotations


class MaskloopError(Exception):
    """Base of every error that maskloop raises on purpose; commands print it as one line and exit with 1."""


class DataError(MaskloopError, ValueError):
    """What was read is not what its format promises."""


class CodecError(DataError):
    """A byte stream that cannot be decoded: truncated, garbage, or of another size than stated."""


class FormatError(DataError):
    """A file or record of a dataset that cannot be read; the message names both."""


class LabelError(DataError):
    """A label that is unknown, ambiguous or missing; the message names it and what exists."""


class OptionError(DataError):
    """An option that a format does not have; the message names those that have it."""


class TargetError(MaskloopError, ValueError):
    """The target format cannot hold what it was given."""


class VerificationError(MaskloopError, ValueError):
    """The output, read back, is not what was written; it was not put in place."""


class OutputExistsError(MaskloopError, OSError):
    """The output exists already; nothing was touched. ``--overwrite`` allows it."""
