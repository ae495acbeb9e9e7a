"""Drawn scenes: the same by seed, exact masks, readable by the png format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from scipy import ndimage

from maskloop_backend.demo.labels import LABELS, SKY
from maskloop_backend.demo.scenes import draw_scene, scenes, write_scenes
from maskloop_converters.errors import OutputExistsError
from maskloop_converters.formats import png

SIZE = (120, 160)


def test_a_seed_gives_the_same_scene_and_another_another() -> None:
    one, again, other = draw_scene(3, SIZE), draw_scene(3, SIZE), draw_scene(4, SIZE)
    np.testing.assert_array_equal(one.image, again.image)
    np.testing.assert_array_equal(one.mask, again.mask)
    assert (one.mask != other.mask).any()


def test_every_class_occurs_and_large_ones_do_not_drown_the_rest() -> None:
    drawn = list(scenes(12, seed=0, size=SIZE))
    shares = np.stack([np.bincount(scene.mask.ravel(), minlength=len(LABELS.labels)) for scene in drawn]).mean(0)
    assert (shares / drawn[0].mask.size > 0.01).all()
    present = np.stack([[(scene.mask == label.id).any() for label in LABELS.labels] for scene in drawn])
    assert (present.mean(0) > 0.7).all()


def test_there_are_holes_through_which_something_else_is_seen() -> None:
    holes = 0
    for scene in scenes(12, size=SIZE):
        for label in LABELS.labels:
            mask = scene.mask == label.id
            holes += int((ndimage.binary_fill_holes(mask) & ~mask).sum() > 20)
    assert holes >= 6


def test_light_and_weather_vary() -> None:
    skies = [scene.image[scene.mask == SKY].mean(0) for scene in scenes(12, size=SIZE)]
    assert np.ptp(np.stack(skies), axis=0).max() > 40


def test_too_small_a_scene_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 64 x 64 pixels, got 80 x 40"):
        draw_scene(0, (40, 80))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    files = write_scenes(tmp_path / "street", 3, seed=5, size=SIZE, rotated=[1])
    assert [file.name for file in files] == ["street-0005.png", "street-0006.jpg", "street-0007.png"]
    dataset = png.read(tmp_path / "street")
    assert dataset.labels == LABELS
    for sample, scene, file in zip(dataset, scenes(3, 5, SIZE), files, strict=True):
        np.testing.assert_array_equal(sample.label_map(LABELS), scene.mask)
        with Image.open(file) as image:
            upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB")).astype(int)
        # the JPEG is not exact
        assert np.abs(upright - scene.image).mean() < (8 if file.suffix == ".jpg" else 1e-9)
    with Image.open(files[1]) as image:
        assert image.size == (120, 160)
        assert image.getexif()[0x0112] == 6
    with Image.open(tmp_path / "street/masks/street-0005.png") as mask:
        assert mask.mode == "P"


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    write_scenes(tmp_path / "street", 1, size=SIZE)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputExistsError):
        write_scenes(tmp_path / "street", 1, seed=9, size=SIZE)
    assert sorted(tmp_path.rglob("*")) == before
    assert write_scenes(tmp_path / "street", 1, seed=9, size=SIZE, overwrite=True)[0].exists()
