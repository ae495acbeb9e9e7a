"""Smart tools: an annotator clicks or draws a box, and gets the part of the prediction that is meant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from maskloop_converters.errors import DataError
from maskloop_converters.masks import RunList

from ..inference.prediction import Prediction
from ..inference.regions import Regions
from .label_config import KINDS, UNMAPPED, ControlMapping, LabelMapping

_EIGHT_NEIGHBOURS = np.ones((3, 3), int)


def candidates(mapping: LabelMapping, context: Mapping[str, Any]) -> list[ControlMapping]:
    """Return the controls that may answer a smart tool, those to be asked first at the front.

    The answer is of the kind that was selected: a box that was drawn with a RectangleLabels comes back as a box, tight. What
    a point asks for is a mask, or what comes nearest to one. Controls that the model leaves alone (``model_skip``) do not
    answer: a RectangleLabels with it is a tool only, and its boxes are answered with masks.
    """
    items = context.get("result")
    used = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    images = [item["to_name"] for item in used if isinstance(item.get("to_name"), str)]
    drawn_with = {item.get("from_name") for item in used[-1:]}

    def place(one: ControlMapping) -> tuple[bool, int]:
        names = {one.control.name, one.control.labels_name}
        return not names & drawn_with, KINDS.index(one.control.kind)

    own = [one for one in mapping.controls if not images or one.control.to_name == images[-1]]
    return sorted(own, key=place)


def select(prediction: Prediction, mapping: ControlMapping, context: Mapping[str, Any]) -> tuple[Regions, str] | None:
    """Return the region that a smart tool's clicks or box mean, and the label that was selected.

    A positive click takes the connected part of the prediction under it, whatever class the model saw there: the
    annotator says what it is. A negative click takes the part under it away. A box takes what the model gave the selected
    label inside it.

    Args:
        prediction: of the task's image.
        mapping: of the control.
        context: ``params.context``: {"result": [regions as the editor sent them]}.

    Returns:
        Regions with one mask and class_index 0, and the label; None if the control has no such label, or nothing is
        meant.

    Raises:
        DataError: the context is malformed; the message says what was expected.
    """
    items = context.get("result")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise DataError('params.context: expected {"result": [regions]} as the editor sends it')
    name = _selected_label(items, mapping)
    if name is None:
        return None
    # classes that share a label are one part; a class without a label is a part of its own
    groups = np.where(mapping.lut == UNMAPPED, 256 + np.arange(256), mapping.lut)[prediction.label_map]
    mask = np.zeros(groups.shape, bool)
    for item in items:
        if str(item.get("type")).startswith("rectangle") and name in mapping.names:
            mask |= _box(item, mask.shape) & (groups == mapping.names.index(name))
    clicks = [(item, _pixel(item, mask.shape)) for item in items if str(item.get("type")).startswith("keypoint")]
    # what is taken away is taken away last, whatever the order of clicks
    for item, at in sorted(clicks, key=lambda click: click[0].get("is_positive") is False):
        part = _part_at(groups, at)
        mask = mask & ~part if item.get("is_positive") is False else mask | part
    if not mask.any():
        return None
    height, width = mask.shape
    score = float(prediction.confidence[mask].mean()) / 255
    return Regions(
        np.zeros(1, np.int64), RunList.from_masks([mask], height=height, width=width), np.array([score])
    ), name


def _selected_label(items: list[dict[str, Any]], mapping: ControlMapping) -> str | None:
    """Return the control's label that the newest item carries."""
    labels = mapping.control.labels
    offered = {name.casefold(): label.written for label in labels for name in (label.value, label.written)}
    for item in reversed(items):
        value = item.get("value")
        for key in ("keypointlabels", *(f"{kind}labels" for kind in KINDS), "labels"):
            carried = value.get(key) if isinstance(value, dict) else None
            for label in carried if isinstance(carried, list) else ():
                if str(label).casefold() in offered:
                    return offered[str(label).casefold()]
    return None


def _percent(item: Mapping[str, Any], *keys: str) -> list[float]:
    value = item.get("value")
    numbers = [value.get(key) for key in keys] if isinstance(value, dict) else []
    if not numbers or not all(isinstance(x, (int, float)) and np.isfinite(x) for x in numbers):
        raise DataError(
            f"params.context: expected the numbers {', '.join(keys)} (percent) in the value of a {item.get('type')}"
        )
    return [float(x) / 100 for x in numbers if x is not None]


def _pixel(item: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[int, int]:
    x, y = _percent(item, "x", "y")
    return int(min(shape[0] - 1, max(0, y * shape[0]))), int(min(shape[1] - 1, max(0, x * shape[1])))


def _box(item: Mapping[str, Any], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the pixels whose centres are in a box, which may be rotated round its upper left corner."""
    x, y, width, height = _percent(item, "x", "y", "width", "height")
    rotation = item["value"].get("rotation") or 0
    if not isinstance(rotation, int | float) or not np.isfinite(rotation):
        raise DataError(f"params.context: expected a rotation in degrees, got {rotation!r:.50}")
    turn = np.deg2rad(float(rotation))
    rows, columns = np.indices(shape)
    dx, dy = columns + 0.5 - x * shape[1], rows + 0.5 - y * shape[0]
    along, across = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
    inside: NDArray[np.bool_] = (along >= 0) & (along < width * shape[1]) & (across >= 0) & (across < height * shape[0])
    return inside


def _part_at(groups: NDArray[Any], at: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the connected part (pixels touching at a side or a corner) of one group round a pixel."""
    numbers, _ = ndimage.label(groups == groups[at], structure=_EIGHT_NEIGHBOURS)
    part: NDArray[np.bool_] = numbers == numbers[at]
    return part
