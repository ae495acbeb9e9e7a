"""Versions with right checksums that would break whoever uses them later, and stray files among them."""

from __future__ import annotations

import json
import math
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from maskloop_backend.model import record as records
from maskloop_backend.model.bundle import Bundle
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.fcn import build_fcn
from maskloop_backend.model.record import RECORD_FILE, WEIGHTS_FILE, BundleError, ModelRecord, file_sha256, version_name
from maskloop_backend.registry import Registry
from maskloop_backend.registry.history import RegistryError
from maskloop_backend.registry.trial import try_version
from maskloop_converters.samples import LabelSet

Save = Callable[..., ModelRecord]


def signed(values: dict[str, Any]) -> dict[str, Any]:
    """Return a record with the right checksum, as somebody who knows the format would write it."""
    body = {key: value for key, value in values.items() if key != "record_sha256"}
    return {**body, "record_sha256": records.checksum(body)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"metrics": 5}, r"metrics is 5; expected dict", id="metrics"),
        pytest.param({"max_side": "abc"}, r"max_side is 'abc'; expected int \| None", id="max_side is text"),
        pytest.param({"max_side": True}, "max_side is True", id="max_side is a truth value"),
        pytest.param({"zoom": 0.5}, r"zoom is 0.5; expected a factor 1\.\.4", id="zoom below 1"),
        pytest.param({"zoom": "2"}, "zoom is '2'; expected float", id="zoom is text"),
        pytest.param({"max_side": 0}, "max_side is 0; expected a number of pixels", id="max_side 0"),
        pytest.param({"settings": []}, "settings is ", id="settings"),
        pytest.param({"parent": 7}, "parent is 7", id="parent"),
        pytest.param({"created": "2026-11-22T10:00:00Z\x1b]0;x\x07"}, "created is ", id="escape sequence"),
        pytest.param({"code_version": "1\x1b[2J"}, "control characters", id="escape sequence elsewhere"),
        pytest.param({"metrics": {"a": ["\x9b31m"]}}, "control characters", id="escape sequence deep inside"),
        pytest.param({"architecture": 5}, "malformed record", id="architecture"),
        pytest.param({"labels": {"labels": 3, "ignore_id": None, "background_id": None}}, "labels is 3", id="labels"),
        pytest.param({"sha256": "x"}, "sha256 is 'x'", id="sha256"),
    ],
)
def test_a_record_of_wrong_types_is_refused_by_name(
    registry: Registry, save: Save, change: dict[str, Any], message: str
) -> None:
    version = save().version
    path = registry.models / version / RECORD_FILE
    path.write_text(json.dumps(signed({**json.loads(path.read_text()), **change})))
    for use in (registry.record, registry.verify, registry.promote):
        with pytest.raises(BundleError, match=message) as caught:
            use(version)
        assert "\x1b" not in str(caught.value)
        assert version in str(caught.value)
    assert "error" in registry.summary()[0]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("classes", 256, "the network has 256 classes, the labels 2"),
        ("classes", "2", "classes is '2'; expected int"),
        ("dropout", math.pi * 10, "dropout is a fraction"),
        ("backbone", "../../etc", "backbone"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(
    registry: Registry, save: Save, key: str, value: object, message: str
) -> None:
    version = save().version
    path = registry.models / version / RECORD_FILE
    values = json.loads(path.read_text())
    path.write_text(json.dumps(signed({**values, "architecture": {**values["architecture"], key: value}})))
    with pytest.raises(BundleError, match=message):
        registry.record(version)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 200_000, "nested too deeply"),
        ('{"a":' * 200_000, "nested too deeply"),
        ('{"format": NaN}', "NaN is no number of JSON"),
        ("1" * 5000, "not readable as JSON"),
        (" " * (records.MOST_RECORD + 1), "the most is"),
    ],
    ids=["arrays", "objects", "NaN", "digits", "size"],
)
def test_json_that_nobody_should_parse(registry: Registry, save: Save, text: str, message: str) -> None:
    version = save().version
    (registry.models / version / RECORD_FILE).write_text(text)
    with pytest.raises(BundleError, match=message):
        registry.record(version)
    if len(text) < 4 << 20:
        (registry.home / "serving.json").write_text(text)
        with pytest.raises(RegistryError, match=r"models promote VERSION. writes it anew"):
            registry.serving()
        (registry.models / version / RECORD_FILE).unlink()
        (registry.models / version / WEIGHTS_FILE).unlink()
        (registry.models / version).rmdir()
        version = save().version
        registry.promote(version)
        assert registry.serving() == version


@pytest.mark.parametrize(
    "values",
    [5, [], {"version": 5}, {"version": "a", "before": 5}, {"version": "a", "changes": [5]},
     {"version": "a", "changes": [{"action": "promote", "version": 5, "at": ""}]}],
)  # fmt: skip
def test_serving_json_of_wrong_types(registry: Registry, save: Save, values: object) -> None:
    version = save().version
    (registry.home / "serving.json").write_text(json.dumps(values))
    with pytest.raises(RegistryError, match="writes it anew"):
        registry.history()
    registry.promote(version)
    assert registry.serving() == version


def test_a_pipe_instead_of_a_record_does_not_hang(registry: Registry, save: Save) -> None:
    version = save().version
    path = registry.models / version / RECORD_FILE
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(BundleError, match="no regular file"):
        registry.record(version)


def test_stray_files_and_links_stop_nothing(registry: Registry, save: Save, tmp_path: Path) -> None:
    kept, linked = save(b"one").version, save(b"two").version
    precious = tmp_path / "other-disk"
    (registry.models / linked).rename(precious)
    (registry.models / linked).symlink_to(precious)
    (registry.models / ".writing-x").write_text("stray")
    (registry.models / ".writing-link").symlink_to(precious)
    registry.promote(linked)
    registry.promote(kept)
    assert sorted(path.name for path in registry.models.glob(".writing-*")) == []
    registry.remove(linked, force=True)
    assert registry.versions() == [kept]
    # what a link leads to is not ours to remove
    assert sorted(path.name for path in precious.iterdir()) == [RECORD_FILE, WEIGHTS_FILE]


def test_a_file_of_negative_size_in_an_archive(registry: Registry, save: Save, tmp_path: Path) -> None:
    version = save().version
    registry.export(version, tmp_path / "a.tar")
    member = tarfile.TarInfo(f"{version}/{RECORD_FILE}")
    header = bytearray(member.tobuf(tarfile.USTAR_FORMAT))
    # base-256, two's complement: -4096
    header[124:136] = (-4096).to_bytes(12, "big", signed=True)
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.tar").write_bytes(bytes(header) + (tmp_path / "a.tar").read_bytes()[512:])
    with pytest.raises(RegistryError, match="-4096 bytes"):
        Registry(tmp_path / "other").add_archive(tmp_path / "a.tar")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    keras.utils.set_random_seed(5)
    architecture = Architecture(2, "small", upsampling="per_class")
    return Bundle.create(build_fcn(architecture), architecture, LabelSet.from_names(["road", "car"]))


def resigned(directory: Path) -> Path:
    """Give a version whose weights were changed the checksums and the name that fit them; return where it is now."""
    values = json.loads((directory / RECORD_FILE).read_text())
    values["sha256"] = file_sha256(directory / WEIGHTS_FILE)
    architecture = Architecture.from_json(values["architecture"])
    values["version"] = version_name(architecture, values["created"], values["sha256"])
    (directory / RECORD_FILE).write_text(json.dumps(signed(values)))
    return directory.rename(directory.with_name(values["version"]))


def put_nan(file: h5py.File) -> None:
    name = next(name for name in everything(file) if name.endswith("vars/0"))
    file[name][...] = np.full(file[name].shape, np.nan, np.float32)


def link_outside(file: h5py.File) -> None:
    name = next(name for name in everything(file) if name.endswith("vars/0"))
    del file[name]
    file[name] = h5py.ExternalLink("/etc/passwd", "/x")


def store_outside(file: h5py.File) -> None:
    name = next(name for name in everything(file) if name.endswith("vars/0"))
    shape = file[name].shape
    del file[name]
    file.create_dataset(name, shape, "f4", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


def everything(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visit(names.append)
    return names


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put_nan, "is not finite everywhere"),
        (link_outside, "is a link to another file; refused"),
        (store_outside, "points to data outside the file; refused"),
    ],
)
def test_weights_with_right_checksums_that_must_not_be_served(
    bundle: Bundle, tmp_path: Path, change: Callable[[h5py.File], None], message: str
) -> None:
    registry = Registry(tmp_path / "home", trial=try_version)
    good = registry.add(bundle)
    registry.promote(good)
    bundle.save(registry.models / "aside")
    with h5py.File(registry.models / "aside" / WEIGHTS_FILE, "r+") as file:
        change(file)
    bad = resigned(registry.models / "aside").name
    registry.export(bad, tmp_path / "bad.tar")
    for use in (registry.load, registry.promote):
        with pytest.raises(BundleError, match=message):
            use(bad)
    other = Registry(tmp_path / "other", trial=try_version)
    with pytest.raises(BundleError, match=message):
        other.add_archive(tmp_path / "bad.tar")
    assert (registry.serving(), other.versions()) == (good, [])


def test_a_network_that_overflows_is_not_promoted(bundle: Bundle, tmp_path: Path) -> None:
    """All its weights are finite, what it computes is not."""
    registry = Registry(tmp_path / "home", trial=try_version)
    architecture = bundle.record.architecture
    model = build_fcn(architecture)
    model.get_layer("score").set_weights([np.full((1, 1, 192, 2), 3e38), np.full(2, 3e38)])
    version = registry.add(Bundle.create(model, architecture, bundle.labels))
    with pytest.raises(BundleError, match="numbers that are not finite"):
        registry.promote(version)
    assert registry.serving() is None


def test_a_version_must_stand_in_the_folder_of_its_name(bundle: Bundle, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "home")
    version = registry.add(bundle)
    other = f"{version[:-8]}00000000"
    (registry.models / version).rename(registry.models / other)
    with pytest.raises(BundleError, match="holds the record of"):
        registry.load(other)
