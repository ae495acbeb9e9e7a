from __future__ import annotations

from pathlib import Path

import pytest

from maskloop_converters.atomic import atomic_directory, atomic_file
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
