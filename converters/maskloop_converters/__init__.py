"""Segmentation masks between PNG, COCO RLE, TFRecord and Label Studio, without losing a pixel.

The whole public interface; everything is imported on first use:

    read, write, convert, inspect          datasets on disk
    Dataset, Sample, Region, RunList       what they are in memory
    Label, LabelSet, ImageRef, SoftEdge

Codecs (bytes <-> masks, no files) are modules of :mod:`maskloop_converters.codecs`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .conversion import convert
    from .datasets import read, write
    from .inspection import inspect
    from .masks import RunList
    from .samples import Dataset, ImageRef, Label, LabelSet, Region, Sample, SoftEdge

# name -> module that has it; NumPy and Pillow are loaded only when something is used
_PLACES = {
    "convert": "conversion",
    "inspect": "inspection",
    "read": "datasets",
    "write": "datasets",
    "RunList": "masks",
    "Dataset": "samples",
    "ImageRef": "samples",
    "Label": "samples",
    "LabelSet": "samples",
    "Region": "samples",
    "Sample": "samples",
    "SoftEdge": "samples",
}

__all__ = [
    "Dataset",
    "ImageRef",
    "Label",
    "LabelSet",
    "Region",
    "RunList",
    "Sample",
    "SoftEdge",
    "__version__",
    "convert",
    "inspect",
    "read",
    "write",
]


def __getattr__(name: str) -> Any:
    """Import a public name on its first use (PEP 562)."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
