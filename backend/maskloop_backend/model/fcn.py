"""Fully convolutional networks: FCN-32s, 16s, 8s (Long, Shelhamer, Darrell, CVPR 2015), and 4s, in Keras 3.

Score layers, 1x1, read the backbone at its strides. From the coarsest on, scores are doubled by a transposed convolution
and added to the next; one more transposed convolution brings the sum to the image's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
from keras import layers

from .backbones import applications, efficientnet_lite, vgg
from .backbones.table import Backbone, backbone
from .config import Architecture, Preprocessing
from .preprocessing import CropLike, MirrorPad, Preprocess
from .upsampling import DenseUpsampling, PerClassUpsampling, SampledUpsampling
from .weights.pretrained import load_pretrained

# Zeros round the image, and rows and columns before the part of the scores that is kept, in the authors' networks: at a
# skip, before it is added to the doubled scores, and at the end. (The networks of fcn.berkeleyvision.org pad by 100 in
# conv1_1, of which ours pads the last itself.)
_CAFFE_PAD = 99
_CAFFE_SKIPS, _CAFFE_END = {16: 5, 8: 9}, {32: 19, 16: 27, 8: 31}
# Rows that the scores have more than an image whose sides are multiples of 32, by the offset at the end.
_SURPLUS = {19: 64, 27: 80, 31: 88}
# The layer whose output is logits of the padded image, before the crop.
LAST = "upsampling"


def build_fcn(
    architecture: Architecture,
    *,
    preprocessing: Preprocessing | None = None,
    weights: str | Path | None = None,
    dtype: Any = None,
    blank: bool = False,
) -> keras.Model:
    """Return the network: images of any height and width in, one logit a class and pixel out.

    Input: (B, H, W, 3), RGB in 0..255, any number type, any H and W >= 1. Output: float32 (B, H, W, K), logits (no
    softmax). Sizes need not be known: TensorFlow runs one graph for all of them, JAX compiles one a size.

    Args:
        architecture: what to build.
        preprocessing: how RGB becomes the backbone's input; None takes what the backbone's weights want.
        weights: None for random ones, 'imagenet', or a file; see :func:`~.weights.pretrained.load_pretrained`.
        dtype: Keras dtype policy of the backbone and head ('float32', 'bfloat16', 'mixed_bfloat16'); None takes Keras'
            own setting. Preprocessing, scores and upsampling are float32 always.
        blank: leave the convolutions zero, for a caller who sets all weights next: drawing VGG16's 134 M at random takes
            five times as long as building it.

    Raises:
        WeightsError: the weights cannot be had or do not fit.
    """
    entry = backbone(architecture.backbone)
    preprocessing = preprocessing or entry.preprocessing
    # He et al. 2015: keeps the variance through ReLU layers; a normal draw takes five times as long as a uniform one
    model = _build(architecture, entry, preprocessing, "zeros" if blank else "he_uniform", dtype)
    if weights is not None:
        load_pretrained(model, architecture, weights)
    return model


def backbone_layers(model: keras.Model, name: str, blocks: int | None = None, *, head: bool = False) -> list[Any]:
    """Return the layers of the first blocks of a network's backbone, in the order of the graph, without its image input.

    Args:
        model: what :func:`build_fcn` gave.
        name: of the backbone.
        blocks: how many; None means all.
        head: the head's, too, where the network has one.
    """
    entry = backbone(name)
    wanted = entry.blocks if blocks is None else entry.blocks[:blocks]
    ends = [block.output for block in wanted[-1:]]
    if head and entry.head is not None and any(x.name == entry.head.output for x in model.operations):
        ends.append(entry.head.output)
    return _layers_until(model, ends)


def boundary(model: keras.Model, last: str, *, narrow: bool = False) -> list[Any]:
    """Return the tensors that cross from a layer and all before it to the layers after it, up to the logits.

    It is what has to be kept of an image to compute its logits without the layers up to ``last``: the output of ``last``
    and, if score layers read earlier maps, those.

    Args:
        model: what :func:`build_fcn` gave.
        last: name of a block's, or of the head's, last layer.
        narrow: instead of an earlier map with many channels that comes of one with fewer, cell by cell, keep that one: a
            1x1 convolution is computed again in less time than its output is read in.
    """
    end = output_of(model, last)
    inside, until = _operations_until(model, [end]), _operations_until(model, [output_of(model, LAST)])
    crossing = {
        id(tensor): tensor
        for node in _nodes(model)
        if node.operation in until - inside
        for tensor in node.input_tensors
        if tensor._keras_history.operation in inside
    }
    if narrow:
        before = [tensor if tensor is end else _narrowed(model, tensor) for tensor in crossing.values()]
        crossing = {id(tensor): tensor for tensor in before}
    # the output of ``last`` first, then the others in the order of the graph
    return sorted(crossing.values(), key=lambda tensor: tensor is not end)


def _narrowed(model: keras.Model, tensor: Any) -> Any:
    """Return the map with the fewest channels that a map comes of by 1x1 convolutions and activations."""
    nodes = {node.operation: node for node in _nodes(model)}
    best = tensor
    while True:
        layer = tensor._keras_history.operation
        pointwise = isinstance(layer, layers.Conv2D) and not isinstance(layer, layers.DepthwiseConv2D)
        pointwise = pointwise and tuple(layer.kernel_size) == tuple(layer.strides) == (1, 1)
        if not (pointwise or isinstance(layer, layers.ReLU | layers.Activation)):
            return best
        (tensor,) = nodes[layer].input_tensors
        if tensor.shape[-1] < best.shape[-1]:
            best = tensor


def split_network(
    model: keras.Model, last: str, *, narrow: bool = False, every: int = 1
) -> tuple[keras.Model, keras.Model]:
    """Return a network in two parts that share its weights: images -> features, features -> logits.

    The features are what :func:`boundary` names: one tensor, or a list of several with the output of ``last`` first.
    The second part does not know the image's size: it takes sides that are multiples of 32, and its logits are those of the
    padded image.

    Args:
        model: what :func:`build_fcn` gave.
        last: name of a block's, or of the head's, last layer.
        narrow: see :func:`boundary`.
        every: the second part gives the logits of every n-th row and column only and has one input more, integers (B, 2),
            the first row and column; see :class:`~.upsampling.SampledUpsampling`. Not for the authors' networks.
    """
    tensors = boundary(model, last, narrow=narrow)
    features = tensors[0] if len(tensors) == 1 else tensors
    logits = output_of(model, LAST)
    if every > 1:
        scores, upsampling = logits._keras_history.operation.input, logits._keras_history.operation
        phase = layers.Input((2,), dtype="int32", name="phase")
        some = SampledUpsampling(upsampling, every, dtype="float32", name="sampled")(scores, phase)
        return keras.Model(model.input, features), keras.Model([*tensors, phase], some)
    offset = model.get_layer("logits").offset
    if offset is not None:
        behind = _SURPLUS[offset] - offset
        logits = layers.Cropping2D(((offset, behind), (offset, behind)), dtype="float32")(logits)
    return keras.Model(model.input, features), keras.Model(features, logits)


def scores_network(model: keras.Model) -> keras.Model:
    """Return a network up to the sum of its scores, which shares its weights: images -> (B, h, w, K), a cell a stride.

    What is left is the last upsampling (layer :data:`LAST`) and the crop to the image's size (layer 'logits').
    """
    last = next(node for node in _nodes(model) if node.operation.name == LAST)
    return keras.Model(model.input, last.input_tensors[0])


def output_of(model: keras.Model, name: str) -> Any:
    """Return the output of the layer, or bare operation, of that name; ValueError where there is none."""
    for node in _nodes(model):
        if node.operation.name == name:
            return node.outputs[0]
    raise ValueError(f"{model.name} has no layer {name}")


def _layers_until(model: keras.Model, ends: Sequence[str]) -> list[Any]:
    inside = _operations_until(model, [output_of(model, name) for name in ends])
    return [layer for layer in model.layers if layer in inside and not isinstance(layer, layers.InputLayer)]


def _operations_until(model: keras.Model, tensors: Sequence[Any]) -> set[Any]:
    """Return the operations that the tensors are computed with."""
    nodes = {node.operation: node for node in _nodes(model)}
    found: set[Any] = set()
    waiting = [tensor._keras_history.operation for tensor in tensors]
    while waiting:
        operation = waiting.pop()
        if operation not in found:
            found.add(operation)
            waiting.extend(tensor._keras_history.operation for tensor in nodes[operation].input_tensors)
    return found


def _nodes(model: keras.Model) -> list[Any]:
    """Return the nodes of a network's graph, those before others first.

    A layer's own list of nodes has those of all models that it stands in.
    """
    return [node for depth in sorted(model._nodes_by_depth, reverse=True) for node in model._nodes_by_depth[depth]]


def _build(
    architecture: Architecture, entry: Backbone, preprocessing: Preprocessing, initializer: str, dtype: Any
) -> keras.Model:
    image = layers.Input((None, None, 3), dtype="float32", name="image")
    x = Preprocess(**preprocessing.to_json(), name="preprocess")(image)
    caffe = architecture.padding == "caffe"
    pad = (
        layers.ZeroPadding2D(_CAFFE_PAD, dtype="float32", name="pad")
        if caffe
        else MirrorPad(dtype="float32", name="pad")
    )
    x = pad(x)
    taps = _taps(x, architecture, entry, initializer, dtype)
    scores: Any = None
    for stride in architecture.strides:
        # zeros, as the paper has it: the first loss is log K and the first gradients reach only these layers
        name = "score" if stride == 32 else f"score_{stride}"
        own = layers.Conv2D(architecture.classes, 1, kernel_initializer="zeros", dtype="float32", name=name)(
            taps[stride]
        )
        if scores is not None:
            doubled = _upsampling(architecture, 2, f"upsampling_{stride}")(scores)
            if caffe:
                own = CropLike(_CAFFE_SKIPS[stride], dtype="float32", name=f"crop_{stride}")(own, doubled)
            own = layers.Add(dtype="float32", name=f"sum_{stride}")([doubled, own])
        scores = own
    full = _upsampling(architecture, architecture.stride, LAST)(scores)
    offset = _CAFFE_END[architecture.stride] if caffe else None
    logits = CropLike(offset, dtype="float32", name="logits")(full, image)
    name = f"fcn{architecture.stride}s_{architecture.backbone.replace('-', '_')}"
    return keras.Model(image, logits, name=name)


def _taps(x: Any, architecture: Architecture, entry: Backbone, initializer: str, dtype: Any) -> dict[int, Any]:
    """Return the maps that the score layers may read, by stride."""
    options: dict[str, Any] = {"head": architecture.head, "dropout": architecture.dropout, "dtype": dtype}
    if entry.family == "applications":
        return applications.build(x, entry.name, **options)
    options["initializer"] = initializer
    if entry.family == "vgg":
        return vgg.build(x, entry.name, caffe=architecture.padding == "caffe", **options)
    return efficientnet_lite.build(x, entry.name, **options)


def _upsampling(architecture: Architecture, factor: int, name: str) -> layers.Layer:
    options: dict[str, Any] = {"dtype": "float32", "name": name}
    if architecture.padding == "caffe":
        options["border"] = "zeros"
    layer: layers.Layer
    if architecture.upsampling == "dense":
        layer = DenseUpsampling(architecture.classes, factor, **options)
    else:
        layer = PerClassUpsampling(factor, **options)
    layer.trainable = architecture.upsampling_trainable
    return layer
