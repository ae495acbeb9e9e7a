"""How unsure a model is of an image, and what the image looks like to it.

A mean over all pixels is diluted by large, easy areas. So an image's figure is the mean of its most uncertain tenth,
among the pixels of predicted foreground and of the bands along predicted borders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import keras
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maskloop_converters.errors import DataError

from ..inference.score import TOP_SHARE, region_of_interest
from ..model.backbones.table import backbone
from ..model.bundle import Bundle
from ..model.fcn import split_network
from ..model.preprocessing import mirror_indices, missing

Measure = Literal["entropy", "margin", "bald"]
MEASURES: tuple[Measure, ...] = get_args(Measure)

# Passes of the head with random dropout; more change the figure by less than images differ.
PASSES = 8
# A longer side is shrunk to it: uncertainty is smooth over a cell of 32 pixels, and memory stays bounded.
MAX_SIDE = 1024


class UncertaintyError(DataError):
    """A measure that a model cannot give."""


@dataclass(frozen=True, slots=True, eq=False)
class Signals:
    """What is known of an image before anybody labelled it.

    Attributes:
        scores: measure -> its figure, 0 (sure) .. 1.
        by_class: channel -> entropy of the most uncertain tenth of the pixels predicted as that class, 0..1; only
            classes that are predicted.
        area: float32 (K,), share of the image's pixels predicted as each class.
        features: float32 (D,), the mean of the last feature map, scaled to length 1.
    """

    scores: Mapping[Measure, float]
    by_class: Mapping[int, float]
    area: NDArray[np.float32]
    features: NDArray[np.float32]

    @property
    def stratified(self) -> float:
        """The mean of ``by_class``: a rare class counts as much as a large one (ClaSP PE, arXiv:2601.13677)."""
        return float(np.mean(list(self.by_class.values())))


@keras.saving.register_keras_serializable("maskloop")
class RandomDropout(keras.layers.Dropout):  # type: ignore[misc]
    """Dropout that drops in prediction too: Monte Carlo dropout (Gal, Ghahramani, ICML 2016)."""

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the inputs with a random part of them 0, the others scaled up."""
        return super().call(inputs, training=True)


@keras.saving.register_keras_serializable("maskloop")
class RandomChannelDropout(keras.layers.SpatialDropout2D):  # type: ignore[misc]
    """The same for whole channels."""

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the inputs with random channels of them 0, the others scaled up."""
        return super().call(inputs, training=True)


class Prober:
    """Asks a model version how unsure it is.

    Args:
        bundle: the model version.
        measures: which figures are wanted; 'bald' runs the head ``passes`` times on features that are computed once.
        passes: of Monte Carlo dropout.
        max_side: images with a longer side are shrunk to it.
        seed: of the dropout.

    Raises:
        UncertaintyError: BALD is wanted of a network without dropout.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        measures: Sequence[Measure] = ("entropy", "margin"),
        passes: int = PASSES,
        max_side: int = MAX_SIDE,
        seed: int = 0,
    ) -> None:
        model = bundle.model
        self._measures = tuple(measures)
        self._passes = passes
        self._max_side = max_side
        self.labels = bundle.labels
        classes = bundle.labels.classes
        background = bundle.labels.background_id
        self._background = next((k for k, label in enumerate(classes) if label.id == background), None)
        # what the head and the scores read, the last feature map first
        front, tail = split_network(model, backbone(bundle.record.architecture.backbone).blocks[-1].output)
        # Keras gives a list of maps where scores read earlier ones, too, and else the one map itself
        self._front, self._tail = keras.Model(front.inputs, front.outputs), keras.Model(tail.inputs, tail.outputs)
        self._random_tail = None
        if "bald" in self._measures:
            self._random_tail = random_tail(self._tail, bundle.version, seed)

    def probe(self, images: Sequence[NDArray[np.uint8]], each: Callable[[int], None] | None = None) -> list[Signals]:
        """Return the signals of images.

        Args:
            images: uint8 (H, W, 3) RGB, sizes may differ.
            each: called with the number of images done, after each.
        """
        found = []
        for number, image in enumerate(images, 1):
            found.append(self._probe(image))
            if each is not None:
                each(number)
        return found

    def _probe(self, image: NDArray[np.uint8]) -> Signals:
        shrunk = _shrunk(image, self._max_side)
        # the parts of a network take sides that are multiples of 32
        rows, columns = (mirror_indices(side) for side in shrunk.shape[:2])
        features = self._front.predict_on_batch(shrunk[rows][:, columns][None].astype(np.float32))
        last = features[0] if isinstance(features, list) else features
        probability = self._probability(self._tail, features, shrunk)
        maps = {"entropy": entropy(probability), "margin": margin(probability)}
        if self._random_tail is not None:
            draws = (self._probability(self._random_tail, features, shrunk) for _ in range(self._passes))
            maps["bald"] = bald(draws)
        return signals(
            probability.argmax(-1).astype(np.uint8),
            {measure: maps[measure] for measure in self._measures},
            maps["entropy"],
            np.asarray(keras.ops.convert_to_numpy(last), np.float32)[0],
            len(self.labels.classes),
            self._background,
        )

    def _probability(self, tail: keras.Model, features: Any, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return softmax probabilities, float32 (H, W, K)."""
        logits = np.asarray(keras.ops.convert_to_numpy(tail.predict_on_batch(features)), np.float32)[0]
        height, width = image.shape[:2]
        top, left = missing(height) // 2, missing(width) // 2
        return softmax(logits[top : top + height, left : left + width])


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probabilities of logits, both float32 (..., K)."""
    grown = np.exp(logits - logits.max(-1, keepdims=True))
    probability: NDArray[np.float32] = grown / grown.sum(-1, keepdims=True)
    return probability


def entropy(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the entropy of probabilities (..., K) over its greatest possible value, 0..1: float32 (...)."""
    classes = probability.shape[-1]
    terms = probability * np.log(np.maximum(probability, np.finfo(np.float32).tiny))
    whole: NDArray[np.float32] = -terms.sum(-1) / np.float32(np.log(max(2, classes)))
    return whole.clip(0, 1)


def margin(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 1 less the lead of the likeliest class over the second, 0 (sure) .. 1: float32 (...)."""
    if probability.shape[-1] == 1:
        return np.zeros(probability.shape[:-1], np.float32)
    best = np.partition(probability, probability.shape[-1] - 2, axis=-1)
    close: NDArray[np.float32] = 1 - (best[..., -1] - best[..., -2])
    return close


def bald(draws: Any) -> NDArray[np.float32]:
    """Return the mutual information of prediction and weights over its greatest possible value, 0..1.

    Args:
        draws: probabilities (..., K) of some random passes (Houlsby et al., arXiv:1112.5745).

    Returns:
        float32 (...): entropy of the mean less mean of the entropies.
    """
    total: Any = 0.0
    inner: Any = 0.0
    count = 0
    for probability in draws:
        total, inner, count = total + probability, inner + entropy(probability), count + 1
    gained: NDArray[np.float32] = entropy(np.asarray(total / count)) - np.asarray(inner / count)
    return gained.clip(0, 1)


def signals(
    label_map: NDArray[np.uint8],
    maps: Mapping[Any, NDArray[np.float32]],
    by_class: NDArray[np.float32],
    features: NDArray[np.float32],
    classes: int,
    background: int | None,
) -> Signals:
    """Return the signals of one image.

    Args:
        label_map: uint8 (H, W), predicted channels.
        maps: measure -> float32 (H, W), 0..1.
        by_class: float32 (H, W), the measure that is taken class by class.
        features: float32 (h, w, D), the last feature map.
        classes: K.
        background: channel that is no foreground, None where all are.
    """
    interesting = region_of_interest(label_map, background)
    scores = {m: top_mean(values if interesting is None else values[interesting]) for m, values in maps.items()}
    present = [k for k in np.unique(label_map).tolist() if k != background] or [int(label_map.flat[0])]
    pooled = features.mean((0, 1))
    return Signals(
        scores,
        {k: top_mean(by_class[label_map == k]) for k in present},
        (np.bincount(label_map.ravel(), minlength=classes) / label_map.size).astype(np.float32),
        (pooled / max(float(np.linalg.norm(pooled)), 1e-12)).astype(np.float32),
    )


def top_mean(values: NDArray[np.float32], share: float = TOP_SHARE) -> float:
    """Return the mean of the greatest values of an array of at least one: at least one of them, at most ``share``."""
    count = max(1, round(share * values.size))
    return float(np.partition(values.ravel(), values.size - count)[values.size - count :].mean())


def random_tail(tail: keras.Model, version: str, seed: int = 0) -> keras.Model:
    """Return the same layers with dropout that is always random.

    Args:
        tail: the part of a network after its last block.
        version: whose part, for the error.
        seed: of the dropout.

    Raises:
        UncertaintyError: there is no dropout.
    """
    if not any(isinstance(layer, keras.layers.Dropout) and layer.rate > 0 for layer in tail.layers):
        raise UncertaintyError(
            f"{version or 'the model'} has no dropout, which BALD needs: train it with its head (`maskloop train --head`), "
            "or choose entropy or margin"
        )

    def replaced(layer: Any) -> Any:
        if not isinstance(layer, keras.layers.Dropout):
            return layer
        kind = RandomChannelDropout if isinstance(layer, keras.layers.SpatialDropout2D) else RandomDropout
        return kind(layer.rate, seed=seed + len(layer.name), dtype=layer.dtype_policy)

    return keras.models.clone_model(tail, clone_function=replaced)


def _shrunk(image: NDArray[np.uint8], max_side: int) -> NDArray[np.uint8]:
    longest = max(image.shape[:2])
    if longest <= max_side:
        return image
    height, width = (max(1, round(side * max_side / longest)) for side in image.shape[:2])
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
