from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from maskloop_converters.errors import FormatError
from maskloop_converters.formats.file_names import FreeNames, relative_path


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../x.png", "a/../../x.png", "C:\\x.png", "..\\x.png", "a\0.png", "\ud800.png"]
)
def test_names_that_leave_the_dataset_are_refused(name: str) -> None:
    with pytest.raises(FormatError, match="index, record 3"):
        relative_path(name, "index, record 3")


def test_sub_folders_are_kept() -> None:
    assert str(relative_path("train\\day 1/ü.png", "x")) == "train/day 1/ü.png"


@pytest.mark.parametrize("by_stem", [False, True])
@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (["a.png", "a.png", "a.png"], ["a.png", "a-2.png", "a-3.png"]),
        (["x", "x/y.png"], ["x", "x-2/y.png"]),
        (["x/y.png", "x"], ["x/y.png", "x-2"]),
        (["x", "x-2", "x/y.png", "x/z.png"], ["x", "x-2", "x-3/y.png", "x-3/z.png"]),
        (["a/b", "a/b/c.png", "a/b/c.png"], ["a/b", "a/b-2/c.png", "a/b-2/c-2.png"]),
    ],
)
def test_no_two_files_have_one_place(tmp_path: Path, asked: list[str], given: list[str], *, by_stem: bool) -> None:
    names = FreeNames()
    assert [str(names.take(PurePosixPath(name), by_stem=by_stem)) for name in asked] == given
    for name in given:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch(exist_ok=False)
