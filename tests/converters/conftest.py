"""A small dataset that every test may read: two images with masks, on disk as PNG."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskloop_converters import Dataset, ImageRef, Label, LabelSet, Region, RunList, Sample, write

LABELS = LabelSet((Label(0, "sky", (70, 130, 180)), Label(1, "road", (128, 64, 128)), Label(2, "car", (30, 60, 200))))


def make_sample(name: str, seed: int, *, overlapping: bool = False) -> Sample:
    rng = np.random.default_rng(seed)
    height, width = 20 + seed, 30
    label_map = np.zeros((height, width), np.uint8)
    label_map[height // 2 :] = 1
    label_map[5 + seed : 15, 4:20] = 2
    label_map[8:10, 8:12] = 1
    ids, masks = RunList.from_label_map(label_map)
    regions = [Region(int(k)) for k in ids]
    if overlapping:
        extra = rng.random((height, width)) > 0.7
        masks = RunList.concatenate([masks, RunList.from_masks([extra], height=height, width=width)])
        regions.append(Region(2, id="overlap"))
    picture = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (height, width, 3), np.uint8)).save(picture, "PNG")
    return Sample(name, ImageRef(f"{name}.png", picture.getvalue()), masks, tuple(regions))


def make_dataset(count: int = 2, *, overlapping: bool = False) -> Dataset:
    return Dataset(
        LABELS, tuple(make_sample(f"s{k}", k % 5, overlapping=overlapping) for k in range(count)), count=count
    )


@pytest.fixture
def png_dataset(tmp_path: Path) -> Path:
    write(make_dataset(), tmp_path / "source", "png")
    return tmp_path / "source"


@pytest.fixture
def make() -> Callable[..., Dataset]:
    return make_dataset
