"""Samples become targets: channels, void, EXIF rotation, memory."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskloop_backend.training.dataset import Examples, TrainingDataError, read_source, split
from maskloop_backend.training.metrics import VOID
from maskloop_converters.masks import RunList
from maskloop_converters.samples import ImageRef, Label, LabelSet, Region, Sample

# ids that are no channels, the ignored one in the middle
LABELS = LabelSet((Label(7, "sky"), Label(9, "void"), Label(30, "road")), ignore_id=9)


def encoded(image: np.ndarray, orientation: int = 1) -> bytes:
    out, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(image).save(out, "PNG", exif=exif)
    return out.getvalue()


def sample(name: str, label_map: np.ndarray, data: bytes | None = None) -> Sample:
    ids, masks = RunList.from_label_map(label_map)
    height, width = label_map.shape
    if data is None:
        data = encoded(np.full((height, width, 3), len(name), np.uint8))
    return Sample(name, ImageRef(f"{name}.png", data), masks, tuple(Region(int(k)) for k in ids))


def test_ids_become_channels_and_ignored_ones_void() -> None:
    label_map = np.array([[7, 9, 30], [30, 30, 7]])
    examples = Examples([sample("a", label_map)], LABELS)
    np.testing.assert_array_equal(examples[0][1], [[0, VOID, 1], [1, 1, 0]])
    assert examples.pixels.tolist() == [2, 3]


@pytest.mark.parametrize(("background", "wanted"), [(None, VOID), (7, 0)])
def test_uncovered_pixels_are_background_or_void(background: int | None, wanted: int) -> None:
    labels = LabelSet((Label(7, "sky"), Label(30, "road")), background_id=background)
    masks = RunList.from_masks([np.array([[0, 1]])], height=1, width=2)
    image = ImageRef("a.png", encoded(np.zeros((1, 2, 3), np.uint8)))
    examples = Examples([Sample("a", image, masks, (Region(30),))], labels)
    np.testing.assert_array_equal(examples[0][1], [[wanted, 1]])


def test_images_are_turned_upright() -> None:
    picture = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    examples = Examples([sample("a", np.full((3, 2), 7), encoded(picture, orientation=6))], LABELS)
    np.testing.assert_array_equal(examples[0][0], np.rot90(picture, -1))


def test_the_longest_side_is_shrunk() -> None:
    examples = Examples([sample("a", np.full((60, 120), 7)), sample("b", np.full((30, 40), 7))], LABELS, size=80)
    assert [image.shape for image, _ in examples] == [(40, 80, 3), (30, 40, 3)]
    assert examples.shapes == [(40, 80), (30, 40)]


def test_what_does_not_fit_in_memory_is_decoded_anew_and_the_same() -> None:
    samples = [sample(name, np.full((8, 8), 7)) for name in "abc"]
    kept, streamed = Examples(samples, LABELS), Examples(samples, LABELS, memory_limit=300)
    assert streamed.fingerprint == kept.fingerprint
    assert kept[2][0] is kept[2][0]
    assert streamed[2][0] is not streamed[2][0]
    for one, other in zip(kept, streamed, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def test_the_fingerprint_follows_the_content_and_not_the_order() -> None:
    a, b = (sample(name, np.full((8, 8), 7)) for name in "ab")
    changed = sample("b", np.full((8, 8), 30))
    prints = [Examples(samples, LABELS).fingerprint for samples in ([a, b], [b, a], [a, changed])]
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "no sample"),
        ([sample("a", np.full((2, 2), 9))], "no pixel of the dataset has a class"),
        ([sample("a", np.full((2, 2), 7), b"no image")], "sample 'a' \\(a.png\\): the image cannot be decoded"),
        (
            [sample("a", np.full((2, 2), 7), encoded(np.zeros((3, 2, 3), np.uint8)))],
            "2 x 3 pixels, its masks are 2 x 2",
        ),
        ([Sample("a", ImageRef("a.png", uri="s3://b/a.png"), RunList.empty(2, 2), ())], "out of reach \\(s3://b/a.png"),
    ],
)
def test_bad_samples_are_named(samples: list[Sample], message: str) -> None:
    with pytest.raises(TrainingDataError, match=message):
        Examples(samples, LABELS)


def test_the_split_is_drawn_by_seed_and_leaves_nothing_out() -> None:
    samples = [sample(f"{k:02}", np.full((2, 2), 7)) for k in range(10)]
    train, held_out = split(samples, 0.3, 1)
    assert (len(train), len(held_out)) == (7, 3)
    assert sorted(x.id for x in train + held_out) == [x.id for x in samples]
    assert [x.id for x in split(samples[::-1], 0.3, 1)[1]] == [x.id for x in held_out]
    assert [x.id for x in split(samples, 0.3, 2)[1]] != [x.id for x in held_out]
    with pytest.raises(TrainingDataError, match="at least 2"):
        split(samples[:1], 0.3, 1)


@pytest.mark.parametrize("names", [("train", "val"), ("training", "valid"), ("train", "validation")])
def test_camvid_layout_has_its_own_parts(tmp_path: Path, names: tuple[str, str]) -> None:
    road = np.full((4, 6), 3, np.uint8)
    road[0, 0] = 11  # CamVid's void, which says that it is CamVid
    for part, count in zip(names, (3, 2), strict=True):
        for k in range(count):
            for folder, array in (
                (part, np.zeros((4, 6, 3), np.uint8)),
                (f"{part}annot", road),
            ):
                (tmp_path / folder).mkdir(exist_ok=True)
                Image.fromarray(array).save(tmp_path / folder / f"{k}.png")
    train, validation = read_source(tmp_path)
    assert validation is not None
    assert len(list(train)) == 3
    assert len(list(validation)) == 2
    assert train.labels.classes[3].name == "Road"
    assert train.labels.ignore_id == 11
