"""A version's network cut in two: layers that keep their weights, computed once an image, and what learns on them.

What learns is small: the head (EfficientNet-Lite's 1280 channels) and the scores at every stride, on maps of the layers that
stay. A fit within seconds, and a simulation of dozens of trainings, are made with it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from maskloop_converters.errors import DataError
from maskloop_converters.samples import LabelSet

from ..model.backbones.table import backbone
from ..model.bundle import Bundle
from ..model.config import Architecture
from ..model.fcn import LAST, backbone_layers, build_fcn, split_network
from .growing import take_weights
from .loss import cross_entropy
from .optimizer import RatedAdamW
from .recipes import Recipe

# Pixels between those that the loss looks at, in rows and columns.
_EVERY = 4
# The longest gradient: a batch of few images may point anywhere.
_CLIP = 5.0
# The greatest number of half precision.
_GREATEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True, slots=True)
class FreeHead:
    """A network whose head and scores learn, and its two parts, which share its weights.

    Attributes:
        model: all of it, images -> logits.
        architecture: what it is made of.
        last: the last layer of those that keep their weights.
        front: images, sides multiples of 32 -> what is kept of them, one map a stride that crosses into the second part.
        rest: these maps and the first row and column, integers (B, 2) -> logits of every n-th row and column from these on.
        every: n.
    """

    model: keras.Model
    architecture: Architecture
    last: str
    front: keras.Model
    rest: keras.Model
    every: int

    @property
    def learning(self) -> list[Any]:
        """The variables that learn, in the order of ``rest``."""
        return list(self.rest.trainable_variables)

    def shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """Return the (h, w, C) of what is kept of an image, whose sides are multiples of 32."""
        found = self.front.compute_output_shape((1, height, width, 3))
        return [tuple(shape[1:]) for shape in (found if isinstance(found, list) else [found])]

    def features(self, images: NDArray[np.uint8]) -> list[NDArray[np.float16]]:
        """Return what is kept of images, uint8 (B, H, W, 3) with sides that are multiples of 32: (B, h, w, C) a map."""
        found = self.front.predict_on_batch(images.astype(np.float32))
        # Keras gives the one map itself where there is one
        maps = (np.asarray(one, np.float32) for one in (found if isinstance(found, list) else [found]))
        return [one.clip(-_GREATEST, _GREATEST).astype(np.float16) for one in maps]

    def compile(self, recipe: Recipe, *, rate: float, average: float) -> None:
        """Give ``rest`` the loss of a recipe and an optimizer that holds no state yet.

        Args:
            recipe: its weight decay and loss.
            rate: learning rate of head and scores.
            average: see :class:`~.recipes.Recipe`.
        """
        optimizer = RatedAdamW(
            [1.0] * len(self.learning),
            rate,
            weight_decay=recipe.weight_decay,
            global_clipnorm=_CLIP,
            average=average,
        )
        loss = cross_entropy([1.0] * self.architecture.classes, jaccard=recipe.jaccard)
        self.rest.compile(optimizer, loss, jit_compile=False)
        optimizer.build(self.learning)


def free_head(bundle: Bundle, labels: LabelSet, *, fresh: bool = False) -> FreeHead:
    """Return the network of a version with everything frozen but its head and scores.

    Args:
        bundle: the version; its weights are copied.
        labels: the classes to learn, matched by name; new ones begin with score 0.
        fresh: all classes begin with score 0, those that the version knows, too.

    Raises:
        DataError: the network is one that cannot be cut in two (the authors' own).
    """
    own = bundle.record.architecture
    if own.padding != "mirror":
        raise DataError(f"{bundle.version} is a network of the authors', which is not fitted in parts")
    architecture = dataclasses.replace(own, classes=len(labels.classes))
    model = build_fcn(architecture, preprocessing=bundle.record.preprocessing, dtype="float32", blank=True)
    names, known = ([label.name for label in one.classes] for one in (labels, bundle.labels))
    take_weights(model, bundle.model, names, [] if fresh else known)
    entry = backbone(own.backbone)
    # VGG16's fc6 alone has a hundred million weights
    frozen_head = own.head and entry.family == "vgg" and own.backbone != "small"
    for layer in backbone_layers(model, own.backbone, head=frozen_head):
        layer.trainable = False
    model.get_layer(LAST).trainable = False
    for layer in model.layers:
        # statistics of a few images are none, and all fits share what is not trainable
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    last = entry.head.output if frozen_head and entry.head is not None else entry.blocks[-1].output
    every = min(_EVERY, own.stride // 2)
    front, rest = split_network(model, last, narrow=True, every=every)
    return FreeHead(model, architecture, last, front, rest, every)
