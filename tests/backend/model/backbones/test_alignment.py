"""Where in the image a cell of a feature map looks: scores are put there."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops
from scipy.ndimage import gaussian_filter

from maskloop_backend.model.backbones.table import backbone
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.fcn import build_fcn, output_of

NAME = "efficientnet-lite0"


def test_pretrained_cells_look_at_their_middle() -> None:
    """Padding is uneven, so by geometry the centre of a cell of stride 8 is pixel 7; what shows a change is pixel 3."""
    model = build_fcn(Architecture(1, NAME, stride=8), weights="imagenet", blank=True)
    strides = (8, 16)
    part = keras.Model(model.input, [output_of(model, backbone(NAME).taps[stride].layer) for stride in strides])
    random = np.random.default_rng(0)
    texture = np.stack([gaussian_filter(random.normal(size=(256, 256)), 3) for _ in range(3)], -1)
    image = np.clip(texture / texture.std() * 50 + 120, 0, 255).astype("float32")
    where = random.integers(104, 152, (16, 2))
    changed = np.repeat(image[None], len(where), 0)
    for one, (y, x) in zip(changed, where, strict=True):
        one[y - 6 : y + 7, x - 6 : x + 7] += random.normal(size=(13, 13, 3)) * 60
    for stride, before, after in zip(strides, part(image[None]), part(changed), strict=True):
        energy = ((ops.convert_to_numpy(after) - ops.convert_to_numpy(before)) ** 2).sum(-1)
        cells = np.arange(energy.shape[1])
        centre = np.stack([(energy.sum(axis) * cells).sum(-1) for axis in (2, 1)], -1) / energy.sum((1, 2))[:, None]
        found = (where - stride * centre).mean(0)
        assert np.abs(found - (stride - 1) / 2).max() < stride / 5, (stride, found)
