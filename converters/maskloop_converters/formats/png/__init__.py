"""Images with PNG masks: label maps by index or colour, one binary mask a region, and the folders they come in.

Our own layout, the one that :func:`write` makes, keeps everything of a sample:

    labels.json       ids, names, colours, ignored and background id
    maskloop.jsonl    a header line, then a line a sample: id, image, size, regions in drawing order
    images/           as they were named in the source, sub-folders kept
    masks/            a label map an image, grey (the id of each pixel), palette or colour
    regions/          where a label map would lose something: a folder a sample, with one binary PNG a region

Without ``maskloop.jsonl`` the same folders are read as plain images and label maps; ``train.txt``, ``val.txt`` with a
name a line, sub-folders of that name, or one such dataset a sub-folder make parts. Read as well: CamVid's layout
(``train.txt`` with two paths a line, ``train/`` beside ``trainannot/``), VOC's (``JPEGImages``, ``SegmentationClass``,
``SegmentationObject``) and Cityscapes' (``*_labelIds.png``, ``*_instanceIds.png``).
"""

from __future__ import annotations

from .reader import detect, read, splits
from .writer import MaskKind, WrittenLayout, opening, write

__all__ = ["MaskKind", "WrittenLayout", "detect", "opening", "read", "splits", "write"]
