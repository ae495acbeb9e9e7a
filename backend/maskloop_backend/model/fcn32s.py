"""FCN-32s (Long, Shelhamer, Darrell: Fully Convolutional Networks for Semantic Segmentation, CVPR 2015) in Keras 3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
from keras import layers

from . import backbones
from .config import STRIDE, Architecture, Preprocessing
from .preprocessing import CropLike, MirrorPad, Preprocess
from .upsampling import DenseUpsampling, PerClassUpsampling
from .weights import load_pretrained


def build_fcn32s(
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
        weights: None for random ones, 'imagenet', or a file; see :func:`~.weights.load_pretrained`.
        dtype: Keras dtype policy of the backbone and head ('float32', 'bfloat16', 'mixed_bfloat16'); None takes Keras'
            own setting. Preprocessing, scores and upsampling are float32 always.
        blank: leave the convolutions zero, for a caller who sets all weights next: drawing VGG16's 134 M at random takes
            five times as long as building it.

    Raises:
        WeightsError: the weights cannot be had or do not fit.
    """
    preprocessing = preprocessing or Preprocessing.of(architecture.backbone)
    # He et al. 2015: keeps the variance through ReLU layers; a normal draw takes five times as long as a uniform one
    model = _build(architecture, preprocessing, "zeros" if blank else "he_uniform", dtype)
    if weights is not None:
        load_pretrained(model, architecture, weights)
    return model


def _build(architecture: Architecture, preprocessing: Preprocessing, initializer: str, dtype: Any) -> keras.Model:
    image = layers.Input((None, None, 3), dtype="float32", name="image")
    x = Preprocess(**preprocessing.to_json(), name="preprocess")(image)
    x = MirrorPad(dtype="float32", name="pad")(x)
    x = backbones.features(x, architecture.backbone, initializer=initializer, dtype=dtype)
    if architecture.head:
        x = backbones.head(x, architecture.backbone, dropout=architecture.dropout, initializer=initializer, dtype=dtype)
    # zeros, as the paper has it: the first loss is log K and the first gradients reach only this layer
    score = layers.Conv2D(architecture.classes, 1, kernel_initializer="zeros", dtype="float32", name="score")(x)
    upsampling: layers.Layer
    if architecture.upsampling == "dense":
        upsampling = DenseUpsampling(architecture.classes, STRIDE, dtype="float32", name="upsampling")
    else:
        upsampling = PerClassUpsampling(STRIDE, dtype="float32", name="upsampling")
    upsampling.trainable = architecture.upsampling_trainable
    logits = CropLike(dtype="float32", name="logits")(upsampling(score), image)
    return keras.Model(image, logits, name=f"fcn32s_{architecture.backbone}")
