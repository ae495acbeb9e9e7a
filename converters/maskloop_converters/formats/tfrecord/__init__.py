"""TFRecord files of images and masks: DeepLab and tf-models, DeepLab2 panoptic, TF Object Detection API, TFDS.

The standard features are what each of these readers expects. Features called ``maskloop/...``, which those readers do
not ask for, keep what the schema has no place for, so that our reader gives back every sample exactly.
"""

from __future__ import annotations

from .reader import detect, read, splits
from .schemas import Schema
from .writer import opening, write

__all__ = ["Schema", "detect", "opening", "read", "splits", "write"]
