"""COCO datasets: instances (one mask an annotation) and panoptic (one PNG an image), streamed whatever their size.

Read: ``instances`` JSON with compressed or uncompressed run lengths or polygons, results files, panoptic JSON beside
its folder of PNGs; a JSON file, or a folder with ``annotations/*.json`` and the images. Written:

    annotations/instances[_SPLIT].json     or panoptic[_SPLIT].json and the folder panoptic[_SPLIT]/ of PNGs
    images/                                as they were named in the source, sub-folders kept

What COCO has no field for stands under the key ``maskloop`` of the record, where other readers pass over it and this
one takes it back: text ids, origins, instance numbers, and whole regions that are no objects (of the ignored or the
background label).

Polygons are rasterised by pycocotools, a list of them as their union. ``bbox`` and ``area`` are written from the mask
and not read.
"""

from __future__ import annotations

from .reader import detect, read, splits
from .writer import Kind, opening, write

__all__ = ["Kind", "detect", "opening", "read", "splits", "write"]
