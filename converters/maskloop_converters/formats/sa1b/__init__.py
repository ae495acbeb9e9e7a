"""SA-1B, as Meta publishes it and Segment Anything's automatic masks are saved: a JSON file an image, beside it.

    sa_1.jpg, sa_1.json      {"image": {"image_id", "width", "height", "file_name"}, "annotations": [...]}

Read only. An annotation is a mask in COCO's run lengths and has no class: all are objects of the one class ``object``
(``--map object=NAME`` calls it otherwise), what none of them covers is background. A part often stands before the whole
that it is a part of, so the smaller of two masks lies on top, as in Segment Anything's own pictures. ``predicted_iou`` is
the region's score; it, ``stability_score``, ``crop_box`` and ``point_coords`` are kept as attributes. ``bbox`` and
``area`` follow from the mask and are not read.
"""

from __future__ import annotations

from .reader import detect, is_sa1b, read, splits

__all__ = ["detect", "is_sa1b", "read", "splits"]
