"""TensorFlow and TFDS as oracles: they read what we write, we read what they write. The one module that loads them."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maskloop_converters.formats import tfrecord
from maskloop_converters.masks import RunList
from maskloop_converters.samples import Dataset, ImageRef, Label, LabelSet, Region, Sample

pytestmark = pytest.mark.slow

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    tf: Any = pytest.importorskip("tensorflow")

LABELS = LabelSet((Label(0, "sky"), Label(1, "car", thing=True), Label(11, "void")), ignore_id=11)
MASKS = np.random.default_rng(5).random((3, 7, 9)) < 0.5
PIXELS = np.random.default_rng(6).integers(0, 255, (7, 9, 3), np.uint8)


def encoded(pixels: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def dataset() -> Dataset:
    runs = RunList.from_masks(list(MASKS), height=7, width=9)
    regions = (Region(1, instance=3), Region(0), Region(11))
    return Dataset(LABELS, [Sample(str(k), ImageRef(f"{k}.png", encoded(PIXELS)), runs, regions) for k in range(5)])


def test_tensorflow_parses_a_segmentation_record(tmp_path: Path) -> None:
    tfrecord.write(dataset(), tmp_path / "out", shards=2, compression="GZIP")
    files = sorted(map(str, (tmp_path / "out").glob("data-*")))
    keys = {k: tf.io.FixedLenFeature([], tf.string) for k in ("image/encoded", "image/segmentation/class/encoded")}
    records = [tf.io.parse_single_example(r, keys) for r in tf.data.TFRecordDataset(files, "GZIP")]
    assert len(records) == 5
    expected = np.where(MASKS[2], 255, np.where(MASKS[1], 0, np.where(MASKS[0], 1, 255)))
    for record in records:
        labels = tf.io.decode_png(record["image/segmentation/class/encoded"], channels=1)
        assert np.array_equal(labels.numpy()[..., 0], expected)
        assert np.array_equal(tf.io.decode_image(record["image/encoded"], channels=3).numpy(), PIXELS)


def test_tensorflow_parses_objects(tmp_path: Path) -> None:
    tfrecord.write(dataset(), tmp_path / "out", schema="detection")
    keys = {k: tf.io.VarLenFeature(tf.string) for k in ("image/object/mask", "image/object/class/text")}
    keys["image/object/class/label"] = tf.io.VarLenFeature(tf.int64)
    keys |= {f"image/object/bbox/{k}": tf.io.VarLenFeature(tf.float32) for k in ("xmin", "ymax")}
    (file,) = map(str, (tmp_path / "out").glob("data-*"))
    record = tf.io.parse_single_example(next(iter(tf.data.TFRecordDataset(file))), keys)
    masks = [tf.io.decode_png(m, channels=1).numpy()[..., 0] for m in record["image/object/mask"].values]
    assert np.array_equal(masks, MASKS)
    assert record["image/object/class/label"].values.numpy().tolist() == [2, 1, 12]


def test_we_read_what_tensorflow_writes(tmp_path: Path) -> None:
    values = np.where(MASKS[0], 1, 0).astype(np.uint8)

    def feature(value: bytes) -> Any:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    example = tf.train.Example(
        features=tf.train.Features(
            feature={
                "image/encoded": feature(tf.io.encode_png(PIXELS).numpy()),
                "image/filename": feature(b"x.png"),
                "image/segmentation/class/encoded": feature(tf.io.encode_png(values[..., None]).numpy()),
                "image/segmentation/class/format": feature(b"png"),
            }
        )
    )
    for compression in ("", "GZIP"):
        with tf.io.TFRecordWriter(str(tmp_path / f"train{compression}.tfrecord"), compression) as writer:
            writer.write(example.SerializeToString())
        (found,) = tfrecord.read(tmp_path / f"train{compression}.tfrecord", labels=LABELS)
        assert np.array_equal(found.masks.mask(1), MASKS[0])
        assert [region.label for region in found.regions] == [0, 1]


def test_tfds_reads_what_we_write(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tfds: Any = pytest.importorskip("tensorflow_datasets", reason="tensorflow-datasets is not installed")
        tfrecord.write(dataset(), tmp_path / "out", schema="tfds", shards=2)
        builder = tfds.builder_from_directory(tmp_path / "out")
        assert builder.info.splits["train"].num_examples == 5
        assert builder.info.features["objects"]["label"].names == ["sky", "car", "void"]
        records = list(tfds.as_numpy(builder.as_dataset(split="train", shuffle_files=False)))
    expected = np.where(MASKS[2], 255, np.where(MASKS[1], 0, np.where(MASKS[0], 1, 255)))
    assert [record["id"].decode() for record in records] == ["0", "1", "2", "3", "4"]
    for record in records:
        assert np.array_equal(record["image"], PIXELS)
        assert np.array_equal(record["segmentation_mask"][..., 0], expected)
        assert np.array_equal(record["objects"]["mask"][..., 0], MASKS)
        assert record["objects"]["label"].tolist() == [1, 0, 2]
