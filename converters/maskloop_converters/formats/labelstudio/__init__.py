"""Label Studio's JSON: exports (JSON, JSON_MIN), tasks for import, predictions, answers of its API.

BrushLabels (RLE) and BitmaskLabels (PNG) are read and written, PolygonLabels, RectangleLabels and the strokes of drafts
read. What only Label Studio has (other results, who drew it and when, other data of the task) is kept in
``attributes["labelstudio"]`` of samples and regions and written again; what Label Studio has no field for goes into
``meta.maskloop`` of tasks and regions, which it keeps through import, editing and export.
"""

from __future__ import annotations

from .choosing import Choice, Use
from .files import detect
from .reader import read, splits
from .writer import Encoding, Kind, opening, write

__all__ = ["Choice", "Encoding", "Kind", "Use", "detect", "opening", "read", "splits", "write"]
