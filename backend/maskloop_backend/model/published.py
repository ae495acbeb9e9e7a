"""The authors' own networks: FCN-32s, 16s and 8s of shelhamer/fcn.berkeleyvision.org, from their `.caffemodel`.

Their layers are VGG16's with the head, but images get 100 zeros on every side, fc6 does not pad, the transposed
convolutions see zeros outside of their maps, and scores are cropped from the top left (:class:`~.config.Architecture`,
padding 'caffe').
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskloop_converters.samples import Label, LabelSet

from .bundle import Bundle
from .config import Architecture, Preprocessing, Upsampling
from .fcn import build_fcn
from .weights.caffemodel import read_caffemodel
from .weights.errors import WeightsError


@dataclass(frozen=True, slots=True)
class Published:
    """What a dataset's networks have in common.

    Attributes:
        names: of the classes, in the order of the channels.
        mean: blue, green, red: subtracted from the image.
    """

    names: tuple[str, ...]
    mean: tuple[float, float, float]


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


_VOC = (
    "background, aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, diningtable, dog, horse, motorbike, "
    "person, pottedplant, sheep, sofa, train, tvmonitor"
)
# The means stand in the authors' data layers.
DATASETS: Mapping[str, Published] = {
    "voc": Published(_names(_VOC), (104.00699, 116.66877, 122.67892)),
    "pascal-context": Published(
        _names(
            _VOC
            + ", bag, bed, bench, book, building, cabinet, ceiling, clothes, computer, cup, door, fence, floor, flower, "
            "food, grass, ground, keyboard, light, mountain, mouse, curtain, platform, sign, plate, road, rock, shelves, "
            "sidewalk, sky, snow, bedcloth, track, tree, truck, wall, water, window, wood"
        ),
        (104.007, 116.669, 122.679),
    ),
    "sift-flow": Published(
        _names(
            "awning, balcony, bird, boat, bridge, building, bus, car, cow, crosswalk, desert, door, fence, field, grass, "
            "moon, mountain, person, plant, pole, river, road, rock, sand, sea, sidewalk, sign, sky, staircase, "
            "streetlight, sun, tree, window"
        ),
        (114.578, 115.294, 108.353),
    ),
    "nyud": Published(
        _names(
            "wall, floor, cabinet, bed, chair, sofa, table, door, window, bookshelf, picture, counter, blinds, desk, "
            "shelves, curtain, dresser, pillow, mirror, floor mat, clothes, ceiling, books, refridgerator, television, "
            "paper, towel, shower curtain, box, whiteboard, person, night stand, toilet, sink, lamp, bathtub, bag, "
            "otherstructure, otherfurniture, otherprop"
        ),
        (116.190, 97.203, 92.318),
    ),
}

# ours -> theirs
_HEAD = {"fc6": "fc6", "fc7": "fc7"}
_SKIPS = {16: "pool4", 8: "pool3"}


def import_caffemodel(path: Path, *, names: Sequence[str] | None = None) -> Bundle:
    """Return an unsaved version with the weights of a published network.

    Args:
        path: of the `.caffemodel`.
        names: of the classes; None takes those of the dataset that has as many.

    Raises:
        WeightsError: a damaged file, another network than FCN-32s, 16s or 8s on VGG16 and colour images, or as many
            classes as no dataset has.
    """
    stored = read_caffemodel(path)
    try:
        return _bundle(stored, names)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error


def _bundle(stored: Mapping[str, list[NDArray[Any]]], names: Sequence[str] | None) -> Bundle:
    # SIFT Flow's networks predict geometry, too: that is left out
    ending = "_sem" if "score_fr_sem" in stored else ""
    finals = {32: "upscore", 16: "upscore16", 8: "upscore8"}
    stride = next((stride for stride, layer in finals.items() if layer + ending in stored), None)
    if stride is None or "conv1_1" not in stored or f"score_fr{ending}" not in stored:
        raise WeightsError(
            "expected an FCN-32s, 16s or 8s on VGG16 that sees colour images (layers conv1_1, ..., fc7, score_fr and "
            f"upscore, upscore16 or upscore8); it has: {', '.join(list(stored)[:40])}"
        )
    classes = len(stored[f"score_fr{ending}"][0])
    dataset, published = _dataset(classes)
    if names is None and published is None:
        sizes = ", ".join(f"{name} {len(entry.names)}" for name, entry in DATASETS.items())
        raise WeightsError(
            f"it has {classes} classes, and none of the datasets has so many ({sizes}): name them (--names)"
        )
    if names is not None and len(names) != classes:
        raise WeightsError(f"it has {classes} classes, but {len(names)} names were given")
    own = names or (published.names if published else ())
    upsampling = {"upsampling": finals[stride]}
    if stride <= 16:
        upsampling["upsampling_16"] = "upscore2"
    if stride == 8:
        upsampling["upsampling_8"] = "upscore_pool4"
    kernels = {ours: _kernel(stored, theirs + ending, classes) for ours, theirs in upsampling.items()}
    # the published ones interpolate each class for itself, in dense kernels: a K-th of the work without the zeros
    alone = all(_is_diagonal(kernel) for kernel in kernels.values())
    kind: Upsampling = "per_class" if alone else "dense"
    architecture = Architecture(classes, "vgg16", stride=stride, padding="caffe", upsampling=kind)
    preprocessing = Preprocessing("BGR", (published if published and not names else DATASETS["voc"]).mean, 1.0)
    model = build_fcn(architecture, preprocessing=preprocessing, blank=True)
    for ours, kernel in kernels.items():
        side = model.get_layer(ours).kernel.shape[0]
        if kernel.shape[:2] != (side, side):
            raise WeightsError(
                f"the layer {upsampling[ours]}{ending} has a kernel of shape {kernel.shape}, expected {side} x {side}"
            )
        diagonal = kernel[:, :, np.arange(classes), np.arange(classes)]
        model.get_layer(ours).set_weights([diagonal if alone else kernel])
    theirs_of = {**_HEAD, "score": f"score_fr{ending}"}
    theirs_of |= {f"block{block}_conv{n}": f"conv{block}_{n}" for block in range(1, 6) for n in range(1, 4)}
    theirs_of |= {f"score_{s}": f"score_{pool}{ending}" for s, pool in _SKIPS.items() if s >= stride}
    for ours, theirs in theirs_of.items():
        if not any(layer.name == ours for layer in model.layers):
            continue
        kernel, bias = _convolution(stored, theirs)
        # the at-once networks scale what their skips see; a scaled kernel sees the same
        scale = stored.get(theirs.removesuffix(ending).replace("score_", "scale_"))
        if scale is not None and ours.startswith("score_"):
            kernel = kernel * scale[0].reshape(1, 1, -1, 1)
        layer = model.get_layer(ours)
        wanted = [tuple(weight.shape) for weight in layer.weights]
        if [kernel.shape, bias.shape] != wanted:
            raise WeightsError(f"the layer {theirs} has a kernel of shape {kernel.shape}, expected {wanted[0]}")
        layer.set_weights([kernel, bias])
    return Bundle.create(
        model,
        architecture,
        _labels(own),
        preprocessing=preprocessing,
        metrics={"imported": f"caffemodel, {dataset if names is None else 'classes named by hand'}"},
    )


def _dataset(classes: int) -> tuple[str, Published | None]:
    return next(((name, entry) for name, entry in DATASETS.items() if len(entry.names) == classes), ("", None))


def _labels(names: Sequence[str]) -> LabelSet:
    background = 0 if names[0] == "background" else None
    labels = tuple(Label(number, name) for number, name in enumerate(names))
    return LabelSet(labels, ignore_id=255, background_id=background)


def _convolution(stored: Mapping[str, list[NDArray[Any]]], name: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return kernel (height, width, in, out) and bias (out,) of a convolution."""
    blobs = stored.get(name, [])
    if len(blobs) != 2 or blobs[0].ndim != 4:
        raise WeightsError(
            f"the layer {name} has blobs of shape {[blob.shape for blob in blobs]}, expected kernel and bias"
        )
    return blobs[0].transpose(2, 3, 1, 0), blobs[1].reshape(-1)


def _kernel(stored: Mapping[str, list[NDArray[Any]]], name: str, classes: int) -> NDArray[Any]:
    """Return the kernel of a transposed convolution as we have it: (height, width, out, in)."""
    blobs = stored.get(name, [])
    shape = blobs[0].shape if blobs else ()
    if (
        len(blobs) != 1
        or len(shape) != 4
        or shape[0] != classes
        or shape[1] not in (1, classes)
        or shape[2] != shape[3]
    ):
        raise WeightsError(f"the layer {name} has blobs of shape {[blob.shape for blob in blobs]}; expected one kernel")
    kernel = blobs[0]
    if shape[1] != classes:
        # as many groups as classes
        kernel = kernel * np.eye(classes, dtype=kernel.dtype)[:, :, None, None]
    return kernel.transpose(2, 3, 1, 0)


def _is_diagonal(kernel: NDArray[Any]) -> bool:
    """Tell whether no class feeds another one; kernel (height, width, out, in)."""
    used = np.abs(kernel).max(axis=(0, 1)) > 0
    return not np.any(used & ~np.eye(len(used), dtype=bool))
