"""TFRecord files: what stands in the records, the shards, and what may be wrong. TensorFlow's view: the module beside."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maskloop_converters.codecs import png
from maskloop_converters.codecs.tfexample import decode_example, encode_example, read_records, write_records
from maskloop_converters.errors import DataError, FormatError, TargetError
from maskloop_converters.formats import tfrecord
from maskloop_converters.formats.label_files import read_labels
from maskloop_converters.masks import RunList
from maskloop_converters.samples import Dataset, ImageRef, Label, LabelSet, Region, Sample, SoftEdge

LABELS = LabelSet((Label(0, "sky"), Label(1, "car", thing=True), Label(11, "void")), ignore_id=11)
LEFT = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]], bool)
RIGHT = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]], bool)
REST = ~(LEFT | RIGHT)


def picture(height: int = 3, width: int = 4, kind: str = "PNG", orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    pixels = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    Image.fromarray(pixels).save(out, kind, exif=exif)
    return out.getvalue()


def sample(name: str = "a", **other: Any) -> Sample:
    masks = RunList.from_masks([LEFT, RIGHT, REST], height=3, width=4)
    regions = (Region(1, instance=3, crowd=True), Region(0), Region(11))
    return Sample(name, ImageRef(f"{name}.png", picture()), masks, regions, **other)


def written(tmp_path: Path, *samples: Sample, **options: Any) -> Path:
    tfrecord.write(Dataset(LABELS, list(samples) or [sample()], split="val"), tmp_path / "out", **options)
    return tmp_path / "out"


def examples(path: Path) -> list[dict[str, Any]]:
    with path.open("rb") as file:
        return [decode_example(record) for record in read_records(file)]


def saved(folder: Path, *records: dict[str, Any], name: str = "train.tfrecord") -> Path:
    folder.mkdir(exist_ok=True)
    with (folder / name).open("wb") as file:
        write_records(file, [encode_example(record) for record in records])
    return folder


# The keys that the readers of each schema ask for: DeepLab's data_generator, tf-models' segmentation decoder,
# DeepLab2's sample_generator, and tf_example_decoder of the Object Detection API.
DEEPLAB = {
    "image/encoded": bytes,
    "image/filename": bytes,
    "image/format": bytes,
    "image/height": int,
    "image/width": int,
    "image/segmentation/class/encoded": bytes,
    "image/segmentation/class/format": bytes,
}
OBJECTS = {
    **{f"image/object/bbox/{side}": float for side in ("xmin", "xmax", "ymin", "ymax")},
    "image/height": int,
    "image/width": int,
    "image/filename": bytes,
    "image/source_id": bytes,
    "image/key/sha256": bytes,
    "image/encoded": bytes,
    "image/format": bytes,
    "image/object/class/text": bytes,
    "image/object/class/label": int,
    "image/object/is_crowd": int,
    "image/object/area": float,
    "image/object/mask": bytes,
}
KEYS = {"segmentation": DEEPLAB, "panoptic": {**DEEPLAB, "image/channels": int}, "detection": OBJECTS}


@pytest.mark.parametrize("schema", KEYS)
def test_the_keys_that_readers_ask_for_are_there(tmp_path: Path, schema: Any) -> None:
    (example,) = examples(written(tmp_path, schema=schema) / "val-00000-of-00001.tfrecord")
    for key, kind in KEYS[schema].items():
        value = example[key]
        found = bytes if isinstance(value, list) else {"f": float, "i": int}[value.dtype.kind]
        assert found is kind, key
        assert len(value) == (3 if "object" in key else 1), key
    assert set(example) - set(KEYS[schema]) <= {"maskloop/sample", "maskloop/masks", "image/channels"}


def test_deeplab_ignores_255(tmp_path: Path) -> None:
    (example,) = examples(written(tmp_path) / "val-00000-of-00001.tfrecord")
    pixels = np.array(Image.open(io.BytesIO(example["image/segmentation/class/encoded"][0])))
    assert np.array_equal(pixels, np.where(LEFT, 1, np.where(RIGHT, 0, 255)))
    assert example["image/encoded"] == [picture()]


def test_panoptic_values_are_class_and_instance(tmp_path: Path) -> None:
    (example,) = examples(written(tmp_path, schema="panoptic") / "val-00000-of-00001.tfrecord")
    values = np.frombuffer(example["image/segmentation/class/encoded"][0], "<i4").reshape(3, 4)
    assert np.array_equal(values, np.where(LEFT, 1003, np.where(RIGHT, 0, 255000)))


def test_detection_has_boxes_masks_and_a_label_map(tmp_path: Path) -> None:
    out = written(tmp_path, schema="detection")
    (example,) = examples(out / "val-00000-of-00001.tfrecord")
    assert example["image/object/class/label"].tolist() == [2, 1, 12]
    assert example["image/object/class/text"] == [b"car", b"sky", b"void"]
    assert example["image/object/is_crowd"].tolist() == [1, 0, 0]
    assert example["image/object/bbox/xmin"].tolist() == [0, 0.5, 0]
    assert example["image/object/bbox/ymax"].tolist() == pytest.approx([2 / 3, 2 / 3, 1])
    assert [np.array(Image.open(io.BytesIO(m))).tolist() for m in example["image/object/mask"]] == [
        m.astype(int).tolist() for m in (LEFT, RIGHT, REST)
    ]
    assert [(label.id, label.name) for label in read_labels(out / "label_map.pbtxt").labels] == [
        (1, "sky"),
        (2, "car"),
        (12, "void"),
    ]


# Files of others, without anything of ours.


def strip(path: Path, *also: str) -> None:
    """Remove what only we write."""
    for file in path.iterdir():
        if ".tfrecord" in file.name:
            kept = [
                {k: v for k, v in e.items() if not k.startswith("maskloop/") and k not in also} for e in examples(file)
            ]
            with file.open("wb") as out:
                write_records(out, [encode_example(example) for example in kept])
    (path / "labels.json").unlink()


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ("segmentation", [(0, None, RIGHT), (1, None, LEFT)]),
        ("panoptic", [(0, None, RIGHT), (1, 3, LEFT)]),
        ("detection", [(2, None, LEFT), (1, None, RIGHT), (12, None, REST)]),
        ("tfds", [(0, None, RIGHT), (1, None, LEFT)]),
    ],
)
def test_files_of_others(tmp_path: Path, schema: Any, expected: Any) -> None:
    out = written(tmp_path, schema=schema)
    strip(out)
    labels = LABELS if schema == "tfds" else None
    assert tfrecord.detect(out) is None
    dataset = tfrecord.read(out, labels=labels)
    assert (dataset.split, dataset.count) == ("val", 1)
    (found,) = dataset
    seen = [(r.label, r.instance, found.masks.mask(k)) for k, r in enumerate(found.regions)]
    # A label map in a file of others says 255 for what nobody judged: these pixels belong to no region.
    for (label, instance, mask), (label_, instance_, mask_) in zip(seen, expected, strict=True):
        assert (label, instance) == (label_, instance_)
        assert np.array_equal(mask, mask_)
    assert (found.image.name, found.image.read_bytes()) == ("a.png", picture())


def test_masks_as_floats_and_no_crowd(tmp_path: Path) -> None:
    record = {
        "image/height": 3,
        "image/width": 4,
        "image/source_id": "7",
        "image/object/class/label": np.array([1, 1]),
        "image/object/mask": np.stack([LEFT, RIGHT]).astype(np.float32),
    }
    path = saved(tmp_path / "x", record)
    (found,) = tfrecord.read(path, labels=LABELS)
    assert (found.id, found.masks.to_masks().tolist()) == ("7", [LEFT.tolist(), RIGHT.tolist()])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_of_others_are_in_the_frame_that_tensorflow_sees(tmp_path: Path, orientation: int) -> None:
    """TensorFlow heeds no EXIF: image and mask of such a file lie the same way, and both are turned upright."""
    stored = np.arange(12, dtype=np.uint8).reshape(3, 4) % 2
    record = {
        "image/encoded": picture(3, 4, "JPEG", orientation),
        "image/segmentation/class/encoded": png.write_label_map(stored),
        "image/segmentation/class/format": "png",
    }
    (found,) = tfrecord.read(saved(tmp_path / "x", record), labels=LABELS)
    exif = Image.Exif()
    exif[0x0112] = orientation
    tagged = io.BytesIO()
    Image.fromarray(stored).save(tagged, "PNG", exif=exif)
    from PIL import ImageOps

    upright = np.array(ImageOps.exif_transpose(Image.open(tagged)))
    assert np.array_equal(found.masks.mask(1), upright == 1)
    assert found.image.exif_orientation == orientation


# Shards.


@pytest.mark.parametrize(("shards", "lengths"), [(None, [7]), (1, [7]), (3, [2, 2, 3]), (9, [1] * 7)])
@pytest.mark.parametrize("compression", ["", "GZIP"])
def test_shards_hold_the_samples_in_their_order(tmp_path: Path, shards: Any, lengths: Any, compression: Any) -> None:
    names = [str(k) for k in range(7)]
    out = written(tmp_path, *map(sample, names), shards=shards, compression=compression)
    files = sorted(out.glob("*.tfrecord"))
    assert [file.name for file in files] == [f"val-{k:05d}-of-{len(lengths):05d}.tfrecord" for k in range(len(lengths))]
    assert [len(examples(file)) for file in files] == lengths
    assert [found.id for found in tfrecord.read(out)] == names


def test_a_new_shard_begins_where_one_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskloop_converters.formats.tfrecord.writer.SHARD_BYTES", 1000)
    out = written(tmp_path, *(sample(str(k)) for k in range(6)))
    assert len(list(out.glob("*.tfrecord"))) > 1
    assert [found.id for found in tfrecord.read(out)] == list("012345")


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    out = written(tmp_path, sample("a"), sample("b"), shards=2)
    (out / "val-00001-of-00002.tfrecord").unlink()
    reason = tfrecord.detect(out)
    assert reason is not None
    assert "of the 2 shards of 'val', number 1 is missing" in reason


def test_splits_by_name(tmp_path: Path) -> None:
    record = {
        "image/height": 1,
        "image/width": 1,
        "image/segmentation/class/encoded": png.write_label_map(np.ones((1, 1), np.uint8)),
    }
    for name in ("train-00000-of-00001.tfrecord", "val-00000-of-00001.tfrecord"):
        saved(tmp_path / "x", {**record, "image/filename": name}, name=name)
    (tmp_path / "x/labels.txt").write_text("sky\ncar\n")
    assert tfrecord.splits(tmp_path / "x") == ("train", "val")
    assert [found.id for found in tfrecord.read(tmp_path / "x", split="val")] == ["val-00000-of-00001.tfrecord"]
    assert len(list(tfrecord.read(tmp_path / "x"))) == 2


# What may be wrong.


def test_a_damaged_record_is_an_error_or_skipped(tmp_path: Path) -> None:
    out = written(tmp_path, *map(sample, "abc"))
    (file,) = out.glob("*.tfrecord")
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle] ^= 1
    file.write_bytes(data)
    with pytest.raises(FormatError, match=r"val-00000-of-00001\.tfrecord: record 1 at byte \d+: .*checksum"):
        list(tfrecord.read(out))
    dataset = tfrecord.read(out, on_error="skip")
    assert [found.id for found in dataset] == ["a", "c"]
    assert dataset.skipped.counts == {"samples skipped": 1}
    file.write_bytes(bytes(data[: len(data) * 5 // 6]))
    assert [found.id for found in tfrecord.read(out, on_error="skip")] == ["a"]


GOOD = {
    "image/height": 3,
    "image/width": 4,
    "image/filename": "x.png",
    "image/segmentation/class/encoded": png.write_label_map(LEFT.astype(np.uint8)),
}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image/segmentation/class/encoded": b"no png"}, "PNG"),
        ({"image/segmentation/class/encoded": [b"a", b"b"]}, "has 2 values, expected one"),
        ({"image/segmentation/class/encoded": 5}, "expected bytes"),
        ({"image/segmentation/class/encoded": png.write_label_map(np.zeros((4, 3), np.uint8))}, "a mask is 3 x 4"),
        ({"image/segmentation/class/encoded": png.write_label_map(np.zeros((99, 99), np.uint8))}, "pixels"),
        ({"image/segmentation/class/encoded": png.write_label_map(np.full((3, 4), 9, np.uint8))}, r"ids \[9\] are no"),
        ({"image/height": 0}, "no image/height and image/width"),
        ({"image/height": "3"}, "list of bytes, expected integers"),
        ({"image/encoded": b"no image"}, "not an image"),
        ({"image/filename": b"\xff"}, "not UTF-8"),
        ({"maskloop/sample": "{"}, "no JSON"),
        ({"maskloop/sample": "{}"}, "has no id"),
        ({"maskloop/sample": '{"id": "x", "size": [3, 4]}'}, "no size, image or list"),
        ({"maskloop/sample": '{"id": "x", "size": [0, 4], "image": {"name": "x"}, "regions": []}'}, "4 x 0 pixels"),
        ({"maskloop/sample": '{"id":"x","size":[3,4],"image":{"name":"x"},"regions":[]}', "maskloop/masks": "P0"}, "x"),
    ],
)
def test_a_wrong_record_is_named_or_counted(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    path = saved(tmp_path / "x", {**GOOD, "image/filename": "1"}, {**GOOD, **change}, {**GOOD, "image/filename": "3"})
    with pytest.raises(DataError, match=rf"train\.tfrecord, record 1.*{reason}"):
        list(tfrecord.read(path, labels=LABELS))
    dataset = tfrecord.read(path, labels=LABELS, on_error="skip")
    assert [found.id for found in dataset] == ["1", "3"]
    assert dataset.skipped.counts == {"samples skipped": 1}


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        ([{"a": 1}], "its features are those of no schema with masks: a; expected"),
        ([], "holds no record"),
        ([{**GOOD, "image/segmentation/class/format": np.array([1, 2])}], "list of numbers, expected bytes"),
        ([GOOD], "no list of labels"),
    ],
)
def test_what_is_no_dataset(tmp_path: Path, records: Any, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        tfrecord.read(saved(tmp_path / "x", *records))


def test_what_cannot_be_written(tmp_path: Path) -> None:
    edge = SoftEdge(np.array([2, 3]), np.array([100, 90], np.uint8))
    soft = Sample("a", sample().image, RunList.from_masks([LEFT], height=3, width=4), (Region(1, edge=edge),))
    report = tfrecord.write(Dataset(LABELS, [soft]), tmp_path / "soft")
    assert report.losses.counts == {"soft edge pixels made hard": 2}
    for labels, options, reason in (
        (LabelSet((Label(70_000, "x"),)), {}, "label id 70000 does not fit"),
        (LABELS, {"schema": "tfds", "compression": "GZIP"}, "TFDS reads no compressed files"),
    ):
        with pytest.raises(TargetError, match=reason):
            tfrecord.write(Dataset(labels, []), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_an_image_that_tensorflow_would_see_turned(tmp_path: Path) -> None:
    stored = picture(4, 3, "JPEG", 6)
    turned = Sample("t", ImageRef("t.jpg", stored, None, 6), sample().masks, sample().regions)
    webp = Sample("w", ImageRef("w.webp", picture(3, 4, "WEBP")), sample().masks, sample().regions)
    out = written(tmp_path, turned, webp)
    first, second = examples(out / "val-00000-of-00001.tfrecord")
    assert Image.open(io.BytesIO(first["image/encoded"][0])).size == (4, 3)
    assert second["image/format"] == [b"png"]
    assert [found.image.read_bytes() for found in tfrecord.read(out)] == [stored, webp.image.source]


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("LA", 2), ("RGB", 3), ("RGBA", 4), ("P", 3), ("I;16", 1)])
def test_channels_are_those_of_the_image(tmp_path: Path, mode: str, channels: int) -> None:
    out = io.BytesIO()
    Image.new(mode, (4, 3)).save(out, "PNG")
    picture = replace(sample(), image=ImageRef("a.png", out.getvalue()))
    written(tmp_path, picture)
    (file,) = (tmp_path / "out").glob("*.tfrecord")
    assert examples(file)[0]["image/channels"].tolist() == [channels]


def test_a_first_shard_that_is_empty_does_not_hide_the_others(tmp_path: Path) -> None:
    written(tmp_path, *map(sample, "ab"), shards=2)
    out = tmp_path / "out"
    for file in sorted(out.glob("*.tfrecord"), reverse=True):
        number = int(file.name.partition("-")[2][:5]) + 1
        file.rename(out / f"val-{number:05d}-of-00003.tfrecord")
    (out / "val-00000-of-00003.tfrecord").touch()
    (out / "labels.json").unlink()
    assert tfrecord.detect(out) is None
    assert len(list(tfrecord.read(out))) == 2
