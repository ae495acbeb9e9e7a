"""YOLO segmentation, as Ultralytics' trainers read it: a text beside each image, a line an object.

    data.yaml              names: {0: car, 1: bus}; train: and val: with the images of the parts
    images/train/a.jpg
    labels/train/a.txt     0 0.1 0.2 0.5 0.2 0.5 0.8      class, then x and y of each corner by width and height

Read too: lists of images as parts, Roboflow's ``train/images``, Label Studio's ``classes.txt`` without a data.yaml, a
confidence at a line's end. Lines of four numbers are boxes, which are no masks: they are counted. Files name no place outside
their folder.

Corners are pixels and the outline belongs to the object, holes are what a line runs round twice: what ``cv2.fillPoly`` fills
for the trainers (:func:`maskloop_converters.codecs.polygons.drawn`). Of objects that overlap the smaller lies on top, as there.

Written are outlines that read back as the same pixels, holes joined to their outline along the object's own pixels. What a line has
no place for is lost, and counted: ids, scores, attributes, the ignored label and the background, and the pixels between the
parts of one object, which one line has to join.
"""

from __future__ import annotations

from .reader import detect, read, splits
from .writer import join_parts, opening, write

__all__ = ["detect", "join_parts", "opening", "read", "splits", "write"]
