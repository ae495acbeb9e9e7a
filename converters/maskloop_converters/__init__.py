"""Segmentation masks between PNG, COCO RLE, TFRecord and Label Studio, without losing a pixel."""

from ._version import __version__

__all__ = ["__version__"]
