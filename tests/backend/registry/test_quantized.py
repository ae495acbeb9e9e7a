"""A version's int8 graph: whole or not there, of its own weights, and never in an archive."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from maskloop_backend.cli.main import cli
from maskloop_backend.model import quantized
from maskloop_backend.model.quantized import QuantizedRecord, write_record
from maskloop_backend.model.record import BundleError, ModelRecord
from maskloop_backend.registry import Registry, RegistryError


def made(folder: Path, version: ModelRecord, **changes: Any) -> Path:
    """A folder as the quantiser leaves it."""
    folder.mkdir()
    files = {quantized.GRAPH: b"<net/>", quantized.CONSTANTS: b"\x01\x02"}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    graph, constants = (hashlib.sha256(data).hexdigest() for data in files.values())
    record = QuantizedRecord(
        version=version.version,
        weights_sha256=version.sha256,
        graph_sha256=graph,
        constants_sha256=constants,
        calibration_images=8,
        measured_images=4,
        miou=0.75,
        int8_miou=0.7475,
        pixel_accuracy=0.95,
        int8_pixel_accuracy=0.95,
        data_fingerprint="f",
        created="2026-11-29T12:00:00Z",
        made_by="nncf 3.4.0",
    )
    write_record(folder, dataclasses.replace(record, **changes))
    return folder


@pytest.fixture
def version(registry: Registry, save: Any) -> ModelRecord:
    return save(b"w" * 100)


def test_it_is_kept_and_read(registry: Registry, version: ModelRecord, tmp_path: Path) -> None:
    assert registry.quantized(version.version) is None
    registry.add_quantized(version.version, made(tmp_path / "made", version))
    found = registry.quantized(version.version)
    assert found is not None
    assert found.loss == pytest.approx(0.0025)
    assert found.is_small_loss
    assert registry.check() == {version.version: None}
    shown = CliRunner().invoke(cli, ["models", "show", version.version, "--home", str(registry.home)]).output
    assert '"int8_miou": 0.7475' in shown


def test_much_loss_is_not_small(tmp_path: Path, version: ModelRecord, registry: Registry) -> None:
    registry.add_quantized(version.version, made(tmp_path / "made", version, int8_miou=0.7))
    found = registry.quantized(version.version)
    assert found is not None
    assert not found.is_small_loss


def test_nothing_is_replaced_unasked(registry: Registry, version: ModelRecord, tmp_path: Path) -> None:
    registry.add_quantized(version.version, made(tmp_path / "made", version))
    again = made(tmp_path / "again", version, int8_miou=0.7)
    with pytest.raises(RegistryError, match="has an int8 graph already; --overwrite"):
        registry.add_quantized(version.version, again)
    registry.add_quantized(version.version, again, overwrite=True)
    found = registry.quantized(version.version)
    assert found is not None
    assert found.int8_miou == 0.7
    assert sorted(path.name for path in registry.models.iterdir()) == [".lock", version.version]


def test_of_other_weights(registry: Registry, version: ModelRecord, save: Any, tmp_path: Path) -> None:
    other = save(b"other")
    with pytest.raises(BundleError, match=rf"made of other weights, those of {version.version}"):
        registry.add_quantized(other.version, made(tmp_path / "made", version))
    assert registry.quantized(other.version) is None


def _edit(folder: Path) -> None:
    values = json.loads((folder / quantized.RECORD).read_text())
    (folder / quantized.RECORD).write_text(json.dumps({**values, "int8_miou": 0.75}))


def _link(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to(folder.with_name("elsewhere"))


def _link_file(folder: Path) -> None:
    graph = folder / quantized.GRAPH
    graph.rename(folder / "graph")
    graph.symlink_to(folder / "graph")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / quantized.GRAPH).write_text("<net>"), "graph.xml is not the one that was saved"),
        (lambda folder: (folder / quantized.CONSTANTS).write_bytes(b""), "graph.bin is not the one that was saved"),
        (lambda folder: (folder / quantized.CONSTANTS).unlink(), "No such file"),
        (lambda folder: (folder / quantized.RECORD).unlink(), "No such file"),
        (lambda folder: (folder / quantized.RECORD).write_text("[1]"), "no record of the format 1"),
        (lambda folder: (folder / quantized.RECORD).write_text("{"), "Expecting property name"),
        (_edit, "changed after it was saved"),
        (_link, "it is a link"),
        (_link_file, "graph.xml is no regular file"),
    ],
)
def test_damaged(
    registry: Registry, version: ModelRecord, tmp_path: Path, damage: Callable[[Path], Any], message: str
) -> None:
    registry.add_quantized(version.version, made(tmp_path / "made", version))
    damage(registry.models / version.version / quantized.FOLDER)
    with pytest.raises(BundleError, match=message) as error:
        registry.verify(version.version)
    assert "Remove the folder; `maskloop models quantize`" in str(error.value)
    problem = registry.check()[version.version]
    assert problem is not None
    assert message in problem


def test_archives_leave_it_out(registry: Registry, version: ModelRecord, tmp_path: Path) -> None:
    registry.export(version.version, tmp_path / "before.tar")
    registry.add_quantized(version.version, made(tmp_path / "made", version))
    registry.export(version.version, tmp_path / "after.tar")
    assert (tmp_path / "before.tar").read_bytes() == (tmp_path / "after.tar").read_bytes()
    other = Registry(tmp_path / "other")
    assert other.quantized(other.add_archive(tmp_path / "after.tar")) is None


def test_it_goes_with_its_version(registry: Registry, version: ModelRecord, tmp_path: Path) -> None:
    registry.add_quantized(version.version, made(tmp_path / "made", version))
    assert registry.remove(version.version) > 100
    assert not (registry.models / version.version).exists()
