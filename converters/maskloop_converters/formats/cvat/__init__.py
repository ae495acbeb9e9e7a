"""CVAT's XML for images, "CVAT for images 1.1": its own format, the only one that keeps all of its shapes.

    annotations.xml      <image id name subset width height> with <mask rle left top width height>, <polygon>, <box>, ...
    images/              where the export has them; sub-folders kept

Read: masks, polygons (as pycocotools fills them, which CVAT's own exports of masks do), boxes and ellipses, turned or not; in
the order of their ``z_order``. Points, lines, cuboids, skeletons and tags are no areas, tracks belong to videos: they are
counted. Written: a ``<mask>`` a region, as CVAT imports it.

What CVAT has no place for stands as JSON in elements called ``maskloop``, which its importers and Datumaro's pass over: ids, scores,
attributes, regions without pixels or of the ignored label. Who edits the file in CVAT and exports it again has CVAT's part
alone.
"""

from __future__ import annotations

from .reader import detect, read, splits
from .writer import opening, write

__all__ = ["detect", "opening", "read", "splits", "write"]
