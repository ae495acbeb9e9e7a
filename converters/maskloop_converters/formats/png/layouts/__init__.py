"""The folder layouts that datasets of label maps come in, a module each."""

from __future__ import annotations

from pathlib import Path

from ....errors import FormatError
from ..entries import Layout
from . import ade20k, beside, brush, camvid, cityscapes, cocostuff, folders, mapillary, ultralytics, voc

#: In the order in which they are tried.
_LAYOUTS = (ultralytics, mapillary, ade20k, brush, cocostuff, folders, voc, cityscapes, camvid, beside)


def find_layout(root: Path) -> Layout:
    """Return the layout of a folder; FormatError says for every layout what is missing."""
    for module in _LAYOUTS:
        if module.missing(root) is None:
            layout: Layout = module.find(root)
            return layout
    raise FormatError(why_not(root) or f"{root} changed while it was read")


def why_not(root: Path) -> str | None:
    """Return None if a folder has one of the layouts, else what each of them misses."""
    reasons = []
    for module in _LAYOUTS:
        reason = module.missing(root)
        if reason is None:
            return None
        reasons.append(reason)
    return f"{root} holds no images with PNG masks ({'; '.join(reasons)})"
