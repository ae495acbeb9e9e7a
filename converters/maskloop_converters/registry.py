"""The formats, by name; a module is imported only when its format is used."""

from __future__ import annotations

import importlib
from types import ModuleType

from .errors import FormatError

FORMATS: dict[str, str] = {
    "png": "maskloop_converters.formats.png",
    "coco": "maskloop_converters.formats.coco",
    "tfrecord": "maskloop_converters.formats.tfrecord",
    "labelstudio": "maskloop_converters.formats.labelstudio",
    "cvat": "maskloop_converters.formats.cvat",
    "labelme": "maskloop_converters.formats.labelme",
    "yolo": "maskloop_converters.formats.yolo",
    "huggingface": "maskloop_converters.formats.huggingface",
    "sa1b": "maskloop_converters.formats.sa1b",
    "via": "maskloop_converters.formats.via",
}
#: Those that are read only: nobody takes them in, or not without loss.
READ_ONLY = frozenset({"sa1b", "via"})
#: Those that are written.
TARGETS = tuple(name for name in FORMATS if name not in READ_ONLY)


def load_format(name: str) -> ModuleType:
    """Return the module of a format; FormatError lists the names that exist."""
    if name not in FORMATS:
        raise FormatError(f"there is no format {name!r}; there are: {', '.join(FORMATS)}")
    return importlib.import_module(FORMATS[name])


def load_target(name: str) -> ModuleType:
    """Return the module of a format that is written; FormatError says which are, where it is read only."""
    module = load_format(name)
    if name in READ_ONLY:
        raise FormatError(f"{name} is read, not written; written are: {', '.join(TARGETS)}")
    return module
