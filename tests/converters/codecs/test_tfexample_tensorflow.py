"""TensorFlow reads what we write, and we read what TensorFlow writes. Importing it takes ten seconds: one module."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskloop_converters.codecs import tfexample

tf = pytest.importorskip("tensorflow")

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
COMPRESSIONS = get_args(tfexample.Compression)


def message(values: dict[str, Any]) -> Any:
    def feature(value: Any) -> Any:
        if isinstance(value, list):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
        if value.dtype.kind == "f":
            return tf.train.Feature(float_list=tf.train.FloatList(value=value))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=value))

    return tf.train.Example(features=tf.train.Features(feature={k: feature(v) for k, v in values.items()}))


def same(a: Any, b: Any) -> bool:
    return a == b if isinstance(a, list) and isinstance(b, list) else np.array_equal(a, b)


@settings(max_examples=50)
@given(
    st.dictionaries(
        st.text(max_size=5),
        st.one_of(
            st.lists(st.binary(max_size=200), max_size=3),
            st.lists(INT64, min_size=1, max_size=9).map(lambda v: np.array(v, np.int64)),
            st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=9).map(
                lambda v: np.array(v, np.float32)
            ),
        ),
        max_size=4,
    )
)
def test_examples_are_the_same(values: dict[str, Any]) -> None:
    theirs = message(values)
    ours = tfexample.decode_example(theirs.SerializeToString())
    assert ours.keys() == values.keys()
    assert all(same(ours[name], values[name]) for name in values)
    data = tfexample.encode_example(values)
    assert tf.train.Example.FromString(data) == theirs
    assert len(data) == len(theirs.SerializeToString())


@pytest.mark.parametrize("compression", [*COMPRESSIONS, "ZLIB"])
def test_files_are_the_same(compression: str, tmp_path: Path) -> None:
    records = [b"", b"one", np.random.default_rng(0).bytes(300_000), bytes(100_000)]
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    with tf.io.TFRecordWriter(str(theirs), options=compression) as writer:
        for record in records:
            writer.write(record)
    with theirs.open("rb") as file:
        assert list(tfexample.read_records(file)) == records
    if compression in COMPRESSIONS:
        with ours.open("wb") as file:
            tfexample.write_records(file, records, compression)  # type: ignore[arg-type]
        assert [r.numpy() for r in tf.data.TFRecordDataset(str(ours), compression_type=compression)] == records
    if not compression:
        assert ours.read_bytes() == theirs.read_bytes()


def test_label_maps_written_as_png_are_read_as_they_are() -> None:
    """TensorFlow gives brightness for palettes, so labels go out as grey images."""
    from maskloop_converters.codecs import png

    label_map = np.random.default_rng(0).integers(0, 12, (33, 47)).astype(np.uint8)
    assert (tf.io.decode_png(png.write_label_map(label_map), channels=1)[..., 0].numpy() == label_map).all()
    wide = label_map * np.uint16(5000)
    assert (tf.io.decode_png(png.write_label_map(wide), dtype=tf.uint16)[..., 0].numpy() == wide).all()
