"""Predictions as Label Studio stores them: one JSON object a task, its masks as brush, bitmask, polygon or rectangle regions.

Every region has an id of its own in the task, because the editor gives a second region of the same id the first one's
mask; no region is empty, because the editor would submit an invisible one. The id begins with the mark of the label config
that the prediction was made for (:attr:`.label_config.LabelConfig.mark`).
"""

from __future__ import annotations

import base64
import hashlib
import math
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from maskloop_converters.codecs import png, studio_rle
from maskloop_converters.masks import RunList

from ..inference import doubt
from ..inference.outlines import outlines
from ..inference.prediction import Prediction
from ..inference.regions import Regions, extract, mapped
from . import smart_tools
from .label_config import UNMAPPED, Control, ControlMapping, LabelMapping


@dataclass(frozen=True, slots=True)
class PredictionOptions:
    """How a prediction becomes regions.

    Attributes:
        per: one region a 'class' or one a connected 'component'; rectangles and polygons are always per component.
        min_area: smaller regions, in pixels, are left out, >= 1.
        below: pixels of less confidence are left unlabelled, 0 <= below < 1; a smart tool's click asks for them anyway.
    """

    per: Literal["class", "component"] = "class"
    min_area: int = 1
    below: float = 0.0

    def __post_init__(self) -> None:
        doubt.check_threshold(self.below)


def build(
    predicted: Mapping[str, Prediction],
    mapping: LabelMapping,
    options: PredictionOptions,
    *,
    version: str,
    context: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the prediction of one task, as /predict answers it.

    Args:
        predicted: what the model says of each image of the task, by the name of its Image tag; images that a task does not
            have are left out.
        mapping: of the model's classes to the project's labels.
        options: how it becomes regions.
        version: the model version's name.
        context: ``params.context`` of a smart tool's request; the answer is then the one region under its clicks or in
            its box. None for the whole image.

    Returns:
        ``{"result": [...], "score": 0..1, "model_version": version}`` for orjson.dumps: brush RLEs are orjson.Fragment.
        The score of several images is that of the one that the model is least sure of. Where pixels may be left
        unlabelled, ``"void"`` is the share of them, 0..1, of all images; it stands in the first region's ``meta`` too,
        because that is all of it that Label Studio stores.
    """
    result: list[dict[str, Any]] = []
    said: dict[str, Any] = {}
    if context is None:
        unsure = {name: doubt.doubtful(prediction, options.below) for name, prediction in predicted.items()}
        for control_mapping in mapping.controls:
            name = control_mapping.control.to_name
            if (prediction := predicted.get(name)) is not None:
                slots = mapped(control_mapping.filled, prediction.label_map)
                if (left := unsure[name]) is not None:
                    slots[left] = UNMAPPED
                result += _regions(
                    replace(prediction, label_map=slots), control_mapping, options, mapping.mark, version
                )
        if options.below > 0:
            said["void"] = _void(predicted, unsure)
            if result:
                result[0] = {**result[0], "meta": {"maskloop": {"attributes": said}}}
    elif (answer := _answer(predicted, mapping, context)) is not None:
        chosen, regions = answer
        # an id of its own for every answer: the annotation has the pre-filled regions and earlier answers in it
        result += _items(regions, chosen, mapping.mark, f"{version}\0{secrets.token_hex(8)}")
    scores = [p.score if math.isfinite(p.score) else 0.0 for p in predicted.values()]
    return {"result": result, "score": min(1.0, max(0.0, min(scores, default=0.0))), "model_version": version} | said


def _void(predicted: Mapping[str, Prediction], unsure: Mapping[str, NDArray[np.bool_] | None]) -> float:
    """Return the share of the pixels of all images that is left unlabelled."""
    pixels = sum(prediction.label_map.size for prediction in predicted.values())
    left = sum(int(mask.sum()) for mask in unsure.values() if mask is not None)
    return round(left / pixels, 4) if pixels else 0.0


def _answer(
    predicted: Mapping[str, Prediction], mapping: LabelMapping, context: Mapping[str, Any]
) -> tuple[ControlMapping, Regions] | None:
    """Return what a smart tool's clicks mean, in the first control that has the label and something there."""
    for control_mapping in smart_tools.candidates(mapping, context):
        prediction = predicted.get(control_mapping.control.to_name)
        if prediction is not None and (found := smart_tools.select(prediction, control_mapping, context)) is not None:
            regions, name = found
            return replace(control_mapping, names=(name,)), regions
    return None


def _regions(
    shown: Prediction, mapping: ControlMapping, options: PredictionOptions, mark: str, version: str
) -> Iterator[dict[str, Any]]:
    """Yield the result items of one control; ``shown.label_map`` holds its slots."""
    outlined = mapping.control.kind in {"polygon", "rectangle"}
    regions = extract(shown, per="component" if outlined else options.per, min_area=options.min_area)
    kept = (regions.class_index != UNMAPPED) & (regions.scores >= mapping.control.score_threshold)
    if not kept.all():
        chosen = np.flatnonzero(kept)
        regions = Regions(regions.class_index[chosen], regions.masks.select(chosen), regions.scores[chosen])
    return _items(regions, mapping, mark, version)


def _items(regions: Regions, mapping: ControlMapping, mark: str, origin: str) -> Iterator[dict[str, Any]]:
    """Yield the result items of regions, ``mapping.names[class_index]`` being the label; ids differ where origins do.

    A control with labels of its own has one item a region, one that takes them from a <Labels> has two of the same id, as
    the editor writes them.
    """
    control, masks = mapping.control, regions.masks
    for number, (k, value) in enumerate(_values(control, masks)):
        labels = [mapping.names[regions.class_index[k]]]
        region_id = f"{mark}-{_region_id(origin, f'{control.to_name}/{control.name}/{control.labels_name}', number)}"
        item = {
            "id": region_id,
            "from_name": control.name,
            "to_name": control.to_name,
            "type": control.result_type,
            "origin": "prediction",
            "original_width": masks.width,
            "original_height": masks.height,
            "image_rotation": 0,
            "score": round(float(regions.scores[k]), 4),
            "value": value,
        }
        if control.labels_name is None:
            yield {**item, "value": {**value, control.result_type: labels}}
        else:
            yield item
            yield {**item, "from_name": control.labels_name, "type": "labels", "value": {**value, "labels": labels}}


def _values(control: Control, masks: RunList) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (index of the mask, ``value`` without labels) of every region; a polygon control may need several a mask."""
    if control.kind == "brush":
        for k, stream in enumerate(studio_rle.encode(masks)):
            yield k, {"format": "rle", "rle": orjson.Fragment(studio_rle.to_json(stream))}
    elif control.kind == "bitmask":
        for k, picture in enumerate(png.write_alpha(masks)):
            yield k, {"imageDataURL": "data:image/png;base64," + base64.b64encode(picture).decode()}
    elif control.kind == "polygon":
        for k in range(len(masks)):
            for points in polygons(masks.mask(k)):
                yield k, {"points": points, "closed": True}
    else:
        scale = 100 / np.array([masks.width, masks.height, masks.width, masks.height])
        for k, box in enumerate((masks.boxes() * scale).tolist()):
            yield k, {**dict(zip(("x", "y", "width", "height"), box, strict=True)), "rotation": 0}


def polygons(mask: NDArray[np.bool_]) -> list[list[list[float]]]:
    """Return the outlines of a mask as Label Studio's polygons: one a connected part, points in percent of the image.

    Args:
        mask: bool (H, W).
    """
    height, width = mask.shape
    return [(ring * [100 / width, 100 / height]).round(3).tolist() for ring in outlines(mask)]


def _region_id(origin: str, control: str, number: int) -> str:
    """Return an id of ten characters, another one for every region of a task and of every model version."""
    digest = hashlib.blake2b(f"{origin}\0{control}\0{number}".encode(), digest_size=8).digest()
    return base64.urlsafe_b64encode(digest).decode()[:10]
