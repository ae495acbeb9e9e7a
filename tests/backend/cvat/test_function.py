"""The auto-annotation function through cvat-sdk's own checks and cvat-cli's own loader."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cvat_sdk.auto_annotation as cvataa
import numpy as np
import pytest
from cvat_cli._internal.common import FunctionLoader
from cvat_sdk import models
from cvat_sdk.auto_annotation.driver import _AnnotationMapper, _DetectionFunctionContextImpl
from cvat_sdk.masks import decode_mask, encode_mask
from numpy.typing import NDArray
from PIL import Image

from maskloop_backend.cvat import Function, create
from maskloop_backend.inference.prediction import Prediction
from maskloop_backend.inference.predictor import Predictor
from maskloop_backend.model.bundle import Bundle
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.fcn import build_fcn
from maskloop_backend.registry import Registry
from maskloop_converters.errors import DataError
from maskloop_converters.samples import Label, LabelSet

LABELS = LabelSet((Label(0, "sky"), Label(1, "road"), Label(2, "car")), background_id=0)


class Grey:
    """Dark pixels are sky, grey ones road with confidence 0.4, bright ones cars with 0.8."""

    version = "fcn32s-small-20261122-00000001"
    labels = LABELS

    def predict(self, images: Sequence[NDArray[Any]]) -> list[Prediction]:
        maps = [np.digitize(image.mean(axis=2), [85, 170]).astype(np.uint8) for image in images]
        return [Prediction(m, np.array([255, 102, 204], np.uint8)[m], 0.5) for m in maps]


def picture() -> Image.Image:
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[10:] = 128
    pixels[4:14, 5:12] = 255
    pixels[6:8, 7:9] = 0  # a hole
    pixels[15:18, 20:25] = 255
    return Image.fromarray(pixels)


def annotated(
    function: Any,
    labels: dict[str, str],
    *,
    threshold: float | None = None,
    to_polygons: bool = False,
    image: Image.Image | None = None,
) -> list[tuple[str, Any]]:
    """What cvat-sdk makes of a function's answer for a task with labels (name -> type): (name, shape)."""
    task = [
        models.Label._from_openapi_data(id=100 + k, name=n, type=t, attributes=[], sublabels=[])
        for k, (n, t) in enumerate(labels.items())
    ]
    mapper = _AnnotationMapper(
        logging.getLogger(), function.spec.labels, task, allow_unmatched_labels=True, conv_mask_to_poly=to_polygons
    )
    context = _DetectionFunctionContextImpl(frame_name="a.png", conf_threshold=threshold, conv_mask_to_poly=to_polygons)
    tags, shapes = mapper.validate_and_remap(function.detect(context, image or picture()), 0)
    assert not tags
    names = {100 + k: name for k, name in enumerate(labels)}
    return [(names[shape.label_id], shape) for shape in shapes]


def test_masks_are_in_cvats_own_run_lengths() -> None:
    found = annotated(Function(Grey()), {"car": "mask", "road": "any"})
    grey = np.asarray(picture())[..., 0]
    assert [name for name, _ in found] == ["road", "car"]
    for (_, shape), value in zip(found, (128, 255), strict=True):
        assert shape.type.value == "mask"
        assert shape.points == encode_mask(grey == value)
        decoded = decode_mask(shape.points, image_width=30, image_height=20)
        assert decoded.tolist() == (grey == value).tolist()


def test_polygons_where_the_labels_ask_for_them() -> None:
    found = annotated(Function(Grey(), polygons=frozenset({"car"})), {"car": "polygon", "road": "mask"})
    assert [(name, shape.type.value) for name, shape in found] == [("road", "mask"), *[("car", "polygon")] * 2]
    every = annotated(Function(Grey()), {"car": "polygon", "road": "polygon"}, to_polygons=True)
    assert {shape.type.value for _, shape in every} == {"polygon"}
    for _, shape in every:
        corners = np.array(shape.points).reshape(-1, 2)
        assert len(corners) >= 3
        assert corners.min() >= 0
        assert (corners <= (30, 20)).all()
    with pytest.raises(cvataa.BadFunctionError, match="has type 'mask' in the function"):
        annotated(Function(Grey()), {"car": "polygon"})


def test_confidence_names_and_components() -> None:
    assert [name for name, _ in annotated(Function(Grey()), {"car": "any", "road": "any"}, threshold=0.6)] == ["car"]
    renamed = Function(Grey(), names={"car": "vehicle", "road": "vehicle"}, per="component", min_area=20)
    assert [label.name for label in renamed.spec.labels] == ["vehicle"]
    assert len(annotated(renamed, {"vehicle": "mask"})) == 2  # the small car has 15 pixels


@pytest.mark.parametrize(
    "options", [{"names": {"tram": "x"}}, {"polygons": frozenset({"tram"})}], ids=["names", "polygons"]
)
def test_labels_that_the_model_lacks_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="names 'tram', which the model does not have; it has: car, road, sky"):
        Function(Grey(), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": "person"}, "person=pedestrian"),
        ({"per": "pixel"}, "class or component"),
        ({"runtime": "x"}, "auto, keras or openvino"),
        ({}, "no version is served in .*models promote"),
    ],
)
def test_wrong_parameters_say_what_is_right(tmp_path: Path, options: dict[str, str], message: str) -> None:
    home = tmp_path / "home"
    if "labels" in options:
        served(home)
    with pytest.raises(DataError, match=message):
        create(home=str(home), **options)


def served(home: Path) -> Bundle:
    architecture = Architecture(3, "small")
    bundle = Bundle.create(build_fcn(architecture), architecture, LABELS)
    registry = Registry(home)
    registry.promote(registry.add(bundle))
    return bundle


def test_cvat_cli_loads_it_and_gets_what_the_version_predicts(tmp_path: Path) -> None:
    bundle = served(tmp_path)
    parameters = {"home": str(tmp_path), "labels": "car=vehicle", "runtime": "keras"}
    function: Any = FunctionLoader("maskloop_backend.cvat", None, parameters).load()
    (prediction,) = Predictor(bundle).predict([np.asarray(picture())])
    for name, shape in annotated(function, {"vehicle": "any", "road": "any"}):
        channel = 2 if name == "vehicle" else 1
        decoded = decode_mask(shape.points, image_width=30, image_height=20)
        assert decoded.tolist() == (prediction.label_map == channel).tolist()
