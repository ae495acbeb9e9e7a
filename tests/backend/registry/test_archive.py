"""A version in one file: the same bytes every time, and nothing but an intact version comes out of one."""

from __future__ import annotations

import io
import os
import random
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maskloop_backend.cli.main import cli
from maskloop_backend.model.record import BundleError
from maskloop_backend.registry import Registry, RegistryError, archive
from maskloop_converters.errors import DataError, OutputExistsError


def exported(registry: Registry, version: str, path: Path) -> bytes:
    registry.export(version, path)
    return path.read_bytes()


def content(registry: Registry) -> dict[str, bytes]:
    return {str(p.relative_to(registry.models)): p.read_bytes() for p in registry.models.glob("fcn32s*/*")}


def test_out_and_in_again(registry: Registry, save: Any, tmp_path: Path) -> None:
    record = save(b"w" * 1000)
    data = exported(registry, record.version, tmp_path / "a.tar")
    other = Registry(tmp_path / "other")
    assert other.add_archive(tmp_path / "a.tar") == record.version
    assert other.verify(record.version) == record
    assert exported(other, record.version, tmp_path / "b.tar") == data
    assert sorted(path.name for path in other.models.iterdir()) == [".lock", record.version]
    # once more: it is here already
    assert other.add_archive(tmp_path / "a.tar") == record.version


def test_the_same_bytes_whoever_writes_when(registry: Registry, save: Any, tmp_path: Path) -> None:
    record = save()
    before = exported(registry, record.version, tmp_path / "a.tar")
    for path in (registry.models / record.version).iterdir():
        os.utime(path, (1, 1))
        path.chmod(0o600)
    assert exported(registry, record.version, tmp_path / "b.tar") == before


def test_any_tar_reads_it(registry: Registry, save: Any, tmp_path: Path) -> None:
    version = save().version
    exported(registry, version, tmp_path / "a.tar")
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert tar.getnames() == [f"{version}/bundle.json", f"{version}/model.weights.h5"]


def test_export_replaces_nothing_unasked(registry: Registry, save: Any, tmp_path: Path) -> None:
    version = save().version
    (tmp_path / "a.tar").write_text("mine")
    with pytest.raises(OutputExistsError):
        registry.export(version, tmp_path / "a.tar")
    assert (tmp_path / "a.tar").read_text() == "mine"
    registry.export(version, tmp_path / "a.tar", overwrite=True)
    (registry.models / version / "model.weights.h5").write_bytes(b"other")
    with pytest.raises(BundleError, match="not those that were saved"):
        registry.export(version, tmp_path / "b.tar")
    assert not (tmp_path / "b.tar").exists()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(data=st.data())
def test_changed_anywhere_it_is_refused_and_nothing_stays(registry: Registry, save: Any, data: st.DataObject) -> None:
    """Cut off, bits flipped, blocks moved: refused by name, or what comes out is the version as it was."""
    if not registry.versions():
        save(bytes(range(256)) * 4)
    version = registry.versions()[0]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.tar")
        original = exported(registry, version, path)
        changed = bytearray(original)
        match data.draw(st.sampled_from(["cut", "flip", "swap", "double"])):
            case "cut":
                del changed[data.draw(st.integers(0, len(changed) - 1)) :]
            case "flip":
                changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
            case "swap":
                one, other = (512 * data.draw(st.integers(0, len(changed) // 512 - 1)) for _ in range(2))
                changed[one : one + 512], changed[other : other + 512] = (
                    changed[other : other + 512],
                    changed[one : one + 512],
                )
            case "double":
                at = 512 * data.draw(st.integers(0, len(changed) // 512 - 1))
                changed[at:at] = changed[at : at + 512]
        path.write_bytes(changed)
        target = Registry(Path(folder, "home"))
        try:
            target.add_archive(path)
        except DataError as error:
            refusal = str(error)
        else:
            refusal = None
        if refusal is not None:
            assert str(path) in refusal
            assert [entry.name for entry in target.models.iterdir()] == [".lock"]
            assert sorted(entry.name for entry in Path(folder).iterdir()) == ["a.tar", "home"]
        else:
            assert content(target) == content(registry)


def members(version: str, record: bytes, **changes: Any) -> list[tuple[tarfile.TarInfo, bytes]]:
    first, second = tarfile.TarInfo(f"{version}/bundle.json"), tarfile.TarInfo(f"{version}/model.weights.h5")
    for name, value in changes.items():
        setattr(first, name, value)
    return [(first, record), (second, b"weights")]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "../../escape/bundle.json"}, "found '../../escape/bundle.json'"),
        ({"name": "/etc/bundle.json"}, "found '/etc/bundle.json'"),
        ({"name": "fcn32s-small-20261122-0000000g/bundle.json"}, "expected the file VERSION/bundle.json"),
        ({"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "expected the file VERSION/bundle.json"),
        ({"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"}, "expected the file VERSION/bundle.json"),
        ({"type": tarfile.DIRTYPE}, "expected the file VERSION/bundle.json"),
        ({"type": tarfile.FIFOTYPE}, "expected the file VERSION/bundle.json"),
        ({"pax_headers": {"path": "../x"}}, "expected the file VERSION/bundle.json"),
        ({"size": 17 << 20}, "bundle.json has 17825792 bytes, the most is 16777216"),
        ({"name": "fcn32s-small-20261122-00000000/bundle.json"}, "not of one version"),
    ],
)
def test_archives_of_others(registry: Registry, save: Any, tmp_path: Path, changes: Any, message: str) -> None:
    record = save()
    text = (registry.models / record.version / "bundle.json").read_bytes()
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for member, data in members(record.version, text, **changes):
            member.size = member.size or len(data)
            tar.addfile(member, io.BytesIO(data.ljust(member.size)))
    other = Registry(tmp_path / "deep" / "er" / "home")
    with pytest.raises(RegistryError, match=message):
        other.add_archive(path)
    assert other.versions() == []
    assert not list(tmp_path.rglob("escape*"))


def test_a_version_under_another_name(registry: Registry, save: Any, tmp_path: Path) -> None:
    record = save()
    exported(registry, record.version, tmp_path / "a.tar")
    data = (tmp_path / "a.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as tar:
        files = [(member, tar.extractfile(member).read()) for member in tar.getmembers()]  # type: ignore[union-attr]
    with tarfile.open(tmp_path / "b.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for member, text in files:
            member.name = member.name.replace(record.version, "fcn32s-small-20261122-deadbeef")
            tar.addfile(member, io.BytesIO(text))
    with pytest.raises(BundleError, match="called fcn32s-small-20261122-deadbeef, its record"):
        Registry(tmp_path / "other").add_archive(tmp_path / "b.tar")
    assert data


def test_too_big(registry: Registry, save: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = save(b"w" * 1000).version
    exported(registry, version, tmp_path / "a.tar")
    monkeypatch.setattr(archive, "MOST_WEIGHTS", 999)
    with pytest.raises(RegistryError, match=r"model\.weights\.h5 has 1000 bytes, the most is 999"):
        Registry(tmp_path / "other").add_archive(tmp_path / "a.tar")


@pytest.mark.parametrize(
    "data",
    [b"", b"PK\x03\x04 no tar at all", b"\0" * 2048, random.Random(1).randbytes(4096)],
    ids=["nothing", "zip", "zeros", "noise"],
)
def test_what_is_no_archive(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(RegistryError, match="expected an archive of `maskloop models export`"):
        Registry(tmp_path / "home").add_archive(path)


def test_a_version_that_is_here_with_other_weights(registry: Registry, save: Any, tmp_path: Path) -> None:
    version = save().version
    exported(registry, version, tmp_path / "a.tar")
    (registry.models / version / "model.weights.h5").write_bytes(b"damaged")
    with pytest.raises(BundleError, match="damaged or was replaced"):
        registry.add_archive(tmp_path / "a.tar")


def test_commands(registry: Registry, save: Any, tmp_path: Path) -> None:
    version, file, other = save().version, str(tmp_path / "v.tar"), str(tmp_path / "other")
    run = CliRunner().invoke
    assert run(cli, ["models", "export", version, file, "--home", str(registry.home)]).exit_code == 0
    assert run(cli, ["models", "import", file, "--home", other]).stdout.strip() == version
    Path(file).write_bytes(Path(file).read_bytes()[:1000])
    refused = run(cli, ["models", "import", file, "--home", other])
    assert (refused.exit_code, file in refused.stderr) == (1, True)
