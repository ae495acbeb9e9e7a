"""Cross-entropy as a mean over the pixels that somebody judged, and what the IoU of the classes lacks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from .metrics import VOID
from .recipes import ClassWeighting


def cross_entropy(weights: Sequence[float], *, jaccard: float = 0.0) -> Callable[[Any, Any], Any]:
    """Return the loss function of K classes: the weighted mean of ``-log softmax`` over all judged pixels of a batch.

    A mean, not a sum: the gradient keeps its size whatever the image size and however much of it is void. A batch that
    is all void has loss and gradient 0.

    Args:
        weights: K weights, one a class; all 1 is the plain mean.
        jaccard: so many times 1 - soft IoU is added, a mean over the classes that the batch has. A pole's pixels are too few
            to matter to a mean over pixels; its IoU counts as much as the road's (Rahman, Wang: Optimizing
            Intersection-Over-Union in Deep Neural Networks for Image Segmentation, ISVC 2016).
    """
    table = np.asarray(weights, np.float32)

    def loss(target: Any, logits: Any) -> Any:
        """Return a scalar from integers (B, H, W), channel or VOID, and logits float32 (B, H, W, K)."""
        target = ops.cast(target, "int32")
        judged = ops.not_equal(target, VOID)
        channel = ops.where(judged, target, 0)
        weight = ops.where(judged, ops.take(ops.convert_to_tensor(table), channel), 0.0)
        each = ops.sparse_categorical_crossentropy(channel, logits, from_logits=True)
        # weight 0 does not stop an infinite logit: 0 * inf is nan, and it should be seen
        mean = ops.sum(each * weight) / ops.maximum(ops.sum(weight), 1e-6)
        return mean + jaccard * _missed(channel, judged, logits) if jaccard else mean

    return loss


def _missed(channel: Any, judged: Any, logits: Any) -> Any:
    """Return 1 - soft IoU, a mean over the classes that the judged pixels have; 0 where none is judged."""
    seen = ops.cast(judged, "float32")[..., None]
    probability = ops.softmax(logits) * seen
    truth = ops.one_hot(channel, logits.shape[-1], dtype="float32") * seen
    hits = ops.sum(probability * truth, axis=(0, 1, 2))
    true = ops.sum(truth, axis=(0, 1, 2))
    union = ops.sum(probability, axis=(0, 1, 2)) + true - hits
    present = ops.cast(true > 0, "float32")
    # one pixel on both sides: a class of which the batch has but a few pixels is not worth as much as that
    return ops.sum(present * (1 - (hits + 1) / (union + 1))) / ops.maximum(ops.sum(present), 1.0)


def class_weights(pixels: NDArray[np.int64], weighting: ClassWeighting) -> list[float]:
    """Return the weights of the classes in the loss.

    Args:
        pixels: int64 (K,), judged pixels of each class in the training data.
        weighting: 'none': all 1; 'median_frequency': see :func:`median_frequency`; 'sqrt_median_frequency': the square
            roots of these, up to 4: rare classes are not drowned, and not drawn where they are not either.
    """
    if weighting == "none":
        return [1.0] * len(pixels)
    if weighting == "median_frequency":
        return median_frequency(pixels)
    return [math.sqrt(weight) for weight in median_frequency(pixels, limit=16.0)]


def median_frequency(pixels: NDArray[np.int64], *, limit: float = 10.0) -> list[float]:
    """Return class weights, median frequency over own frequency (Eigen, Fergus: ICCV 2015, section 6.3.2).

    Args:
        pixels: int64 (K,), judged pixels of each class in the training data.
        limit: greatest weight; a class that covers a thousandth would else rule the gradient.
    """
    present = pixels > 0
    middle = float(np.median(pixels[present]))
    return [min(limit, middle / count) if count else 1.0 for count in pixels.tolist()]
