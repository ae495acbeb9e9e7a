from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from maskloop_converters.atomic import atomic_directory, atomic_file, staged
from maskloop_converters.errors import OutputExistsError


def test_directory_appears_whole(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with atomic_directory(out) as partial:
        (partial / "a.txt").write_text("a")
        assert not out.exists()
    assert (out / "a.txt").read_text() == "a"
    assert [p.name for p in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_changes_when_the_block_raises(tmp_path: Path, error: type[BaseException]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "old.txt").write_text("old")

    def fail() -> None:
        with atomic_directory(out, overwrite=True) as partial:
            (partial / "new.txt").write_text("new")
            raise error

    with pytest.raises(error):
        fail()
    assert [p.name for p in tmp_path.rglob("*")] == ["out", "old.txt"]


def test_existing_output_needs_overwrite(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with atomic_directory(out) as partial:  # an empty directory is free
        (partial / "first").touch()
    with pytest.raises(OutputExistsError, match="overwrite"), atomic_directory(out):
        pass
    with atomic_directory(out, overwrite=True) as partial:
        (partial / "second").touch()
    assert [p.name for p in tmp_path.rglob("*")] == ["out", "second"]


def test_file_is_replaced_by_one_rename(tmp_path: Path) -> None:
    out = tmp_path / "a.json"
    with atomic_file(out) as partial:
        partial.write_text("1")
    with pytest.raises(OutputExistsError), atomic_file(out):
        pass
    with atomic_file(out, overwrite=True) as partial:
        partial.write_text("2")
        assert out.read_text() == "1"
    assert out.read_text() == "2"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_as_place_stays_and_the_output_goes_where_it_leads(tmp_path: Path, exists: bool) -> None:
    disk, link = tmp_path / "disk", tmp_path / "out"
    disk.mkdir()
    if exists:
        (disk / "real").mkdir()
        (disk / "real" / "old").touch()
    link.symlink_to(disk / "real")
    with atomic_directory(link, overwrite=True) as partial:
        assert partial.parent == disk, "on the disk of its place, or the rename would fail"
        (partial / "new").touch()
    assert link.is_symlink()
    assert [path.name for path in (disk / "real").iterdir()] == ["new"]
    with staged(link, overwrite=True) as partial:
        partial.mkdir()
        (partial / "newer").touch()
    assert link.is_symlink()
    assert [path.name for path in link.iterdir()] == ["newer"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "out"]


def test_a_link_to_another_disk_is_no_mount_point(tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system to link to")
    with tempfile.TemporaryDirectory(dir=memory) as disk:
        (tmp_path / "out").symlink_to(Path(disk) / "real")
        with staged(tmp_path / "out") as partial:
            partial.mkdir()
            (partial / "new").touch()
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["new"]
        assert [path.name for path in Path(disk).iterdir()] == ["real"]


def test_a_mount_point_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == out)
    for opening in (atomic_directory, staged):
        with pytest.raises(OutputExistsError, match=r"is a mount point.*give a folder inside it"), opening(out):
            pytest.fail("the block was entered")
    assert list(tmp_path.rglob("*")) == [out]


def test_folders_that_were_made_above_go_away_with_a_failure(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for opening in (atomic_directory, atomic_file, staged):
        with pytest.raises(RuntimeError), opening(tmp_path / "there" / "a" / "b" / "out"):
            raise RuntimeError
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]
