"""labelme's JSON: a file an image, beside it.

    a.jpg, a.json        shapes: polygon, rectangle, circle, oriented_rectangle, mask (base64 PNG in its box); imagePath
    labels.json          ours: the classes, and the order of the samples

Read: shapes as labelme itself draws them, with Pillow; those of one label and ``group_id`` are one object. Points and lines are
no areas: they are counted. The image is the file that ``imagePath`` names, else what stands in ``imageData``. Classes are
those of a list beside (labels.txt, ...), else the names that the shapes have, in alphabetical order.

Written: a ``mask`` a region, which labelme opens and edits; what it has no field for stands under the key ``maskloop`` of the
file, which it keeps when it saves.
"""

from __future__ import annotations

from .reader import detect, is_labelme, read, splits
from .writer import opening, write

__all__ = ["detect", "is_labelme", "opening", "read", "splits", "write"]
