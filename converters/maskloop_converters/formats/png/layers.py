"""Regions with a file each: what their labels are called, and their masks."""

from __future__ import annotations

from collections.abc import Iterable

from ...errors import FormatError
from ...masks import RunList
from ...samples import LabelSet, Region
from ..label_files import LabelList
from ..labels import label_names
from .entries import Layer, Layout
from .mask_files import read_pixels


def label_of(name: str, listed: Iterable[str]) -> str:
    """Return the label in a layer's name, 'control-label': one of a list, else what stands behind the first dash.

    Label Studio puts dashes where a label has slashes.
    """
    for label in sorted(listed, key=len, reverse=True):
        if name.endswith(f"-{label.replace('/', '-').replace(chr(92), '-')}"):
            return label
    return name.partition("-")[2] or name


def names_in(layout: Layout, listed: LabelList | None) -> list[str]:
    """Return the labels that the layers of a layout have, in alphabetical order."""
    known = [] if listed is None else [label.name for label in listed.labels.labels]
    return sorted({label_of(layer.name, known) for entry in layout.entries for layer in entry.layers})


def regions(
    layers: Iterable[Layer], labels: LabelSet, size: tuple[int, int] | None, where: str
) -> tuple[list[Region], RunList]:
    """Return the regions of an image and their masks: pixels of an opacity above 127.

    Args:
        layers: the regions' files.
        labels: the classes.
        size: (height, width) that all must have; None for any, the same for all.
        where: the sample, for errors.
    """
    ids = {name: label_id for label_id, name in label_names(labels).items()}
    found, masks = [], []
    for layer in layers:
        label = label_of(layer.name, ids)
        if label not in ids:
            raise FormatError(
                f"{where}: {layer.mask.name}: no label is named {label!r:.80}; there are: {', '.join(ids)}"
            )
        image = read_pixels(layer.mask, where, size)
        if image.kind != "grey" or image.depth == 16:
            raise FormatError(f"{where}: {layer.mask} is no mask of opacities 0..255, it is {image.kind}")
        size = (image.pixels.shape[0], image.pixels.shape[1])
        found.append(Region(ids[label]))
        masks.append(image.pixels > 127)
    if size is None:
        raise FormatError(f"{where}: it has no region")
    return found, RunList.from_masks(masks, height=size[0], width=size[1])
