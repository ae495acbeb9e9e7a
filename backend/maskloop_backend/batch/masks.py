"""A prediction as a sample of a dataset: one region a class, nothing where nothing is claimed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maskloop_converters.formats.images import probe
from maskloop_converters.masks import RunList
from maskloop_converters.samples import ImageRef, LabelSet, Region, Sample

from ..inference import doubt
from ..inference.prediction import Prediction

# Beside the channels 0..255 of a prediction.
_VOID = 256


def sample(
    name: str,
    sample_id: str,
    image: ImageRef,
    prediction: Prediction,
    unsure: NDArray[np.bool_] | None,
    labels: LabelSet,
    version: str,
) -> Sample:
    """Return an image with what a model says of it.

    Pixels of the background are covered by no region, as everywhere in maskloop; neither are those that are left
    unlabelled, but where the labels have a background, which would claim them: there they are a region of the ignored id.

    Args:
        name: path of the image in the dataset.
        sample_id: unique there.
        image: how to get at its bytes, and its orientation.
        prediction: of the image.
        unsure: bool (H, W), pixels that are left unlabelled; None where none are.
        labels: of the dataset; ``classes`` are the model's channels.
        version: the model version.
    """
    slots: NDArray[np.uint8] | NDArray[np.uint16] = prediction.label_map
    if unsure is not None:
        slots = np.where(unsure, np.uint16(_VOID), slots.astype(np.uint16))
    found, masks = RunList.from_label_map(slots)
    areas = np.bincount(slots.ravel(), minlength=_VOID + 1)
    sums = np.bincount(slots.ravel(), weights=prediction.confidence.ravel(), minlength=_VOID + 1)
    kept, regions = [], []
    for row, channel in enumerate(found.tolist()):
        if channel == _VOID:
            if labels.background_id is None or labels.ignore_id is None:
                continue
            region = Region(labels.ignore_id, id=str(row), origin="prediction")
        else:
            label = labels.classes[channel].id
            if label == labels.background_id:
                continue
            mean = float(sums[channel] / (255.0 * areas[channel]))
            region = Region(label, id=str(row), score=round(mean, 4), origin="prediction")
        kept.append(row)
        regions.append(region)
    attributes = {"model_version": version, "score": round(prediction.score, 4), "void": doubt.share(unsure)}
    return Sample(sample_id, image, masks.select(kept), tuple(regions), attributes)


def image_ref(name: str, source: object, encoded: bytes, uri: str | None) -> ImageRef:
    """Return the reference of an image whose bytes were read; its header says how it is turned.

    Args:
        name: path in the dataset.
        source: a Path, or the bytes themselves.
        encoded: the bytes.
        uri: where the image is, for whoever wants to look for it; None for a plain file.
    """
    turned = probe(encoded, name).orientation
    return ImageRef(name, source, uri, turned)  # type: ignore[arg-type]
