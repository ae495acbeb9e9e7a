"""Folders that are gone when they are left, and after kill -9 with the next one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from maskloop_backend.loop.aside import set_aside

WAIT = """
import sys
from pathlib import Path
from maskloop_backend.loop.aside import set_aside
with set_aside(Path(sys.argv[1]), "review") as folder:
    (folder / "export.json").write_text("[]")
    print(folder, flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process(directory: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Give a process that works in a folder, and the folder."""
    command = [sys.executable, "-c", WAIT, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def folders(directory: Path) -> set[Path]:
    return {path for path in directory.iterdir() if path.is_dir()}


def test_nothing_stays(tmp_path: Path) -> None:
    home = tmp_path / "projects" / "project-5"
    with set_aside(home, "review") as folder:
        (folder / "deep").mkdir()
        assert folders(home) == {folder}
    with pytest.raises(ZeroDivisionError), set_aside(home, "review"):
        raise ZeroDivisionError
    assert not folders(home)


def test_what_kill_9_leaves_goes_with_the_next_and_what_lives_stays(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "review-of-an-older-release").mkdir()
    (tmp_path / "review-notes").write_text("mine")
    with another_process(tmp_path) as (dead, left), another_process(tmp_path) as (_, living):
        dead.kill()
        dead.wait()
        assert (left / "export.json").is_file()
        with set_aside(tmp_path, "review") as folder:
            assert folders(tmp_path) == {folder, living, tmp_path / "images"}
            assert (living / "export.json").is_file()
        assert folders(tmp_path) == {living, tmp_path / "images"}
    assert (tmp_path / "review-notes").read_text() == "mine"
