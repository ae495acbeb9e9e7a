from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import maskloop_converters as mc
from maskloop_converters.cli.inspect import command
from maskloop_converters.errors import OutputExistsError
from maskloop_converters.overlay import OPACITY, Overlays, draw

MakeDataset = Callable[..., mc.Dataset]


def test_counts_are_those_of_the_masks(make: MakeDataset, tmp_path: Path) -> None:
    dataset = make(3, overlapping=True)
    mc.write(dataset, tmp_path / "d", "coco")
    found = mc.inspect(tmp_path / "d")
    samples = list(dataset)
    assert (found.format, found.samples, found.empty, found.rotated) == ("coco", 3, 0, 0)
    assert found.regions == sum(len(s.regions) for s in samples)
    depth = [s.masks.to_masks().sum(0) for s in samples]
    assert found.pixels == sum(d.size for d in depth)
    assert found.uncovered == sum(int((d == 0).sum()) for d in depth)
    assert found.overlapping == sum(int((d > 1).sum()) for d in depth)
    cars = [s.masks.mask(k).sum() for s in samples for k, r in enumerate(s.regions) if r.label == 2]
    assert (found.labels["car"].samples, found.labels["car"].regions) == (3, 6)
    assert found.labels["car"].pixels == sum(cars)
    assert not found.problems


def test_problems_are_found_and_named(png_dataset: Path) -> None:
    first, second = sorted((png_dataset / "images").iterdir())
    Image.new("RGB", (7, 7)).save(first)
    second.write_bytes(b"no image")
    found = mc.inspect(png_dataset)
    text = "\n".join(found.problems.lines())
    assert first.stem in text
    assert second.stem in text


def test_an_overlay_is_the_image_with_translucent_masks_and_opaque_outlines(make: MakeDataset) -> None:
    sample = next(iter(make(1)))
    grey = mc.Sample(sample.id, mc.ImageRef("none.png"), sample.masks, sample.regions)
    picture = draw(grey, {0: (70, 130, 180), 1: (128, 64, 128), 2: (30, 60, 200)})
    car = sample.masks.mask(2)
    inner = car.copy()
    inner[1:-1, 1:-1] &= car[:-2, 1:-1] & car[2:, 1:-1] & car[1:-1, :-2] & car[1:-1, 2:]
    blend = np.round(128 + (np.array([30, 60, 200]) - 128) * OPACITY)
    assert np.abs(picture[inner] - blend).max() <= 1
    assert (picture[car & ~inner] == [30, 60, 200]).all()


def test_the_command_draws_and_prints_json(png_dataset: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(command, [str(png_dataset), "--overlay", str(tmp_path / "o"), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["labels"]["road"]["samples"] == 2
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == ["contact-sheet.jpg", "s0.jpg", "s1.jpg"]
    for path in (tmp_path / "o").iterdir():
        Image.open(path).load()


def test_ignored_and_background_regions_are_no_unknown_labels(tmp_path: Path) -> None:
    labels = mc.LabelSet((mc.Label(1, "car"),), ignore_id=255, background_id=0)
    masks = mc.RunList.from_masks(np.eye(3, dtype=bool)[:, None], height=1, width=3)
    sample = mc.Sample("s", mc.ImageRef("s.png"), masks, (mc.Region(1), mc.Region(255), mc.Region(0)))
    mc.write(mc.Dataset(labels, (sample,), count=1), tmp_path / "d.json", "coco", images="reference")
    found = mc.inspect(tmp_path / "d.json")
    assert {name: label.pixels for name, label in found.labels.items()} == {
        "car": 1,
        "(ignored 255)": 1,
        "(background 0)": 1,
    }
    assert list(found.problems.counts) == ["images out of reach"]


def test_sample_ids_that_are_no_file_names(make: MakeDataset, tmp_path: Path) -> None:
    samples = [
        replace(sample, id=name) for sample, name in zip(make(3), ("contact-sheet", "ä" * 300, "a/../b"), strict=True)
    ]
    pictures = Overlays(tmp_path / "o", make(1).labels)
    for sample in samples:
        pictures.add(sample)
    pictures.finish()
    names = {path.name for path in (tmp_path / "o").iterdir()}
    assert names == {"contact-sheet.jpg", "contact-sheet-2.jpg", "ä" * 55 + ".jpg", "a_.._b.jpg"}


@pytest.mark.parametrize("place", ["source/images", "source", "source/new"])
def test_pictures_are_never_drawn_into_what_is_read(png_dataset: Path, tmp_path: Path, place: str) -> None:
    before = {path: path.read_bytes() for path in png_dataset.rglob("*") if path.is_file()}
    with pytest.raises(OutputExistsError, match="nothing was drawn: give a folder outside"):
        mc.inspect(png_dataset, overlay=tmp_path / place)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_pictures_replace_pictures_and_nothing_else(make: MakeDataset, png_dataset: Path, tmp_path: Path) -> None:
    mc.convert(png_dataset, tmp_path / "tasks", "labelstudio")
    photos = tmp_path / "tasks" / "images"
    with pytest.raises(OutputExistsError, match=r"has the image s0\.png itself"):
        mc.inspect(tmp_path / "tasks" / "tasks.json", overlay=photos)
    assert sorted(path.name for path in photos.iterdir()) == ["s0.png", "s1.png"]
    drawn = tmp_path / "drawn"
    for _ in range(2):
        mc.inspect(png_dataset, overlay=drawn)
    Image.new("RGB", (9, 9)).save(drawn / "s1.jpg")
    before = (drawn / "s1.jpg").read_bytes()
    with pytest.raises(OutputExistsError, match=r"s1\.jpg is there and no picture of maskloop"):
        mc.inspect(png_dataset, overlay=drawn)
    assert (drawn / "s1.jpg").read_bytes() == before
