"""Saving, loading and refusing model versions."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from maskloop_backend.model.bundle import Bundle
from maskloop_backend.model.config import Architecture, Preprocessing
from maskloop_backend.model.fcn import build_fcn
from maskloop_backend.model.record import VERSION_PATTERN, BundleError, checksum, read_record, verify
from maskloop_converters.errors import OutputExistsError
from maskloop_converters.samples import Label, LabelSet

LABELS = LabelSet((Label(0, "sky", (1, 2, 3)), Label(7, "Auto é", None, True), Label(255, "void")), ignore_id=255)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    keras.utils.set_random_seed(5)
    architecture = Architecture(2, "small", upsampling="per_class")
    preprocessing = Preprocessing("BGR", (1.5, 2.0, 3.25), 0.0078125)
    model = build_fcn(architecture, preprocessing=preprocessing)
    model.get_layer("score").set_weights([np.random.default_rng(0).normal(size=(1, 1, 192, 2)), np.array([0.5, -1])])
    return Bundle.create(
        model,
        architecture,
        LABELS,
        preprocessing=preprocessing,
        max_side=640,
        zoom=1.5,
        metrics={"holdout_miou": 0.75, "iou": {"sky": 0.9}},
        settings={"seed": 3},
        parent="fcn32s-small-20260101-00000000",
        data_fingerprint="abc",
    )


def test_what_is_saved_is_what_is_loaded(bundle: Bundle, tmp_path: Path) -> None:
    saved = bundle.save(tmp_path / "models" / "v")
    loaded = Bundle.load(tmp_path / "models" / "v")
    assert loaded.record == saved.record
    assert loaded.labels == LABELS
    images = np.random.default_rng(1).integers(0, 256, (2, 37, 50, 3), np.uint8)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(loaded.model(images, training=False)),
        ops.convert_to_numpy(bundle.model(images, training=False)),
    )
    assert sorted(path.name for path in (tmp_path / "models").rglob("*")) == ["bundle.json", "model.weights.h5", "v"]


def test_a_record_from_before_there_was_a_zoom_sees_images_as_they_are(bundle: Bundle, tmp_path: Path) -> None:
    bundle.save(tmp_path / "v")
    path = tmp_path / "v" / "bundle.json"
    values = json.loads(path.read_text())
    assert values.pop("zoom") == 1.5
    body = {key: value for key, value in values.items() if key != "record_sha256"}
    path.write_text(json.dumps({**body, "record_sha256": checksum(body)}))
    assert read_record(tmp_path / "v").zoom == 1


def test_the_version_names_architecture_backbone_date_and_weights(bundle: Bundle, tmp_path: Path) -> None:
    assert bundle.version == ""
    record = bundle.save(tmp_path / "v").record
    assert VERSION_PATTERN.fullmatch(record.version)
    date = record.created[:10].replace("-", "")
    assert record.version == f"fcn32s-small-{date}-{record.sha256[:8]}"
    assert bundle.save(tmp_path / "again").version == record.version


def test_the_optimiser_is_not_saved(bundle: Bundle, tmp_path: Path) -> None:
    version = bundle.save(tmp_path / "before").version
    bundle.model.compile("adam", "mse")
    bundle.model.optimizer.build(bundle.model.trainable_variables)
    assert bundle.save(tmp_path / "after").version == version
    assert Bundle.load(tmp_path / "after").version == version


def test_reading_a_record_reads_no_weights(bundle: Bundle, tmp_path: Path) -> None:
    saved = bundle.save(tmp_path / "v")
    (tmp_path / "v" / "model.weights.h5").unlink()
    assert read_record(tmp_path / "v") == saved.record


def test_an_existing_directory_is_never_touched(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "precious").write_text("x")
    with pytest.raises(OutputExistsError, match="exists already"):
        bundle.save(tmp_path / "v")
    assert [path.name for path in tmp_path.rglob("*")] == ["v", "precious"]


def test_a_failing_save_leaves_nothing(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        bundle.save(tmp_path / "v")
    assert list(tmp_path.iterdir()) == []


def test_labels_must_agree_with_the_channels(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="2 output channels, the label set 3 classes"):
        Bundle.create(bundle.model, bundle.record.architecture, LabelSet.from_names(["a", "b", "c"]))


def flip_a_weight(path: Path) -> None:
    data = bytearray((path / "model.weights.h5").read_bytes())
    data[len(data) // 2] ^= 1
    (path / "model.weights.h5").write_bytes(data)


def truncate(path: Path) -> None:
    data = (path / "model.weights.h5").read_bytes()
    (path / "model.weights.h5").write_bytes(data[: len(data) // 3])


def rename_a_label(path: Path) -> None:
    text = (path / "bundle.json").read_text(encoding="utf-8")
    assert "sky" in text
    (path / "bundle.json").write_text(text.replace("sky", "sea"), encoding="utf-8")


def cut_the_record(path: Path) -> None:
    (path / "bundle.json").write_text((path / "bundle.json").read_text()[:40])


def raise_the_format(path: Path) -> None:
    values = json.loads((path / "bundle.json").read_text())
    (path / "bundle.json").write_text(json.dumps({**values, "format": 99}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip_a_weight, r"model\.weights\.h5: the weights are not those that were saved as fcn32s-small-"),
        (truncate, "the weights are not those that were saved"),
        (lambda path: (path / "model.weights.h5").unlink(), "cannot be read"),
        (rename_a_label, "was changed after it was saved"),
        (cut_the_record, "not readable as JSON"),
        (lambda path: (path / "bundle.json").write_text("[]"), "expected a JSON object, got list"),
        (lambda path: (path / "bundle.json").unlink(), "holds no model version"),
        (raise_the_format, "record format 99, this maskloop reads 1"),
    ],
)
def test_damage_is_refused_by_name(
    bundle: Bundle, tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    bundle.save(tmp_path / "v")
    damage(tmp_path / "v")
    for read in (verify, Bundle.load):
        with pytest.raises(BundleError, match=message) as caught:
            read(tmp_path / "v")
        assert re.search(re.escape(str(tmp_path / "v")), str(caught.value))
