"""Images with PNG masks: label maps by index or colour, one binary mask a region, and the folders they come in.

Our own layout, the one that :func:`write` makes, keeps everything of a sample:

    labels.json       ids, names, colours, ignored and background id
    maskloop.jsonl    a header line, then a line a sample: id, image, size, regions in drawing order
    images/           as they were named in the source, sub-folders kept
    masks/            a label map an image, grey (the id of each pixel), palette or colour
    regions/          where a label map would lose something: a folder a sample, with one binary PNG a region

Without ``maskloop.jsonl`` the same folders are read as plain images and label maps, whatever the two are called
(``images``, ``imgs``, ``img_dir`` beside ``masks``, ``labels``, ``annotations``, ``ann_dir``) and whatever tools append to
the names of masks (``a_mask.png``, ``a_L.png``). ``train.txt``, ``valid.txt`` with a name a line, sub-folders called like
a part, or one such dataset a sub-folder make parts. ``layouts`` has the other layouts, a module each: VOC's, CamVid's,
Cityscapes', Mapillary's, Ultralytics', ADE20K's, COCO stuff's, Label Studio's older exports, images and masks in one folder.
``naming`` says what the numbers are called where a list does, and where none does; ``label_maps`` what a number or a colour
in a mask means; ``layers`` reads regions with a file each.
"""

from __future__ import annotations

from .reader import detect, read, splits
from .writer import MaskKind, WrittenLayout, join_parts, opening, write

__all__ = ["MaskKind", "WrittenLayout", "detect", "join_parts", "opening", "read", "splits", "write"]
