"""VIA's JSON (VGG Image Annotator 2, and 1): a project, or an export of its annotations, with the images beside.

    via_region_data.json     {"a.jpg81234": {"filename", "size", "regions", "file_attributes"}, ...}
    via_project.json         the same under _via_img_metadata, beside _via_settings and _via_attributes

Read only. Polygons, rectangles, circles and ellipses are masks; points and polylines are no areas and counted. VIA draws
on a canvas, where (0, 0) is the corner of the first pixel: a rectangle of 3 x 2 has 6 pixels, polygons have those that
pycocotools gives to VIA's own COCO export of them.

VIA has no classes, but attributes of regions. Which is the class: ``attribute``, else the only one that has values, else
the first that is called as a class usually is (class, label, category, ..., name, type); several of other names are an
error. Regions without any attribute are of the one class ``object``. Files say no size: it is the image's.
"""

from __future__ import annotations

from .reader import detect, is_via, read, splits

__all__ = ["detect", "is_via", "read", "splits"]
