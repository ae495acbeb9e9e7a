from __future__ import annotations

import pytest

from maskloop_converters.errors import FormatError
from maskloop_converters.formats.file_names import relative_path


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../x.png", "a/../../x.png", "C:\\x.png", "..\\x.png", "a\0.png", "\ud800.png"]
)
def test_names_that_leave_the_dataset_are_refused(name: str) -> None:
    with pytest.raises(FormatError, match="index, record 3"):
        relative_path(name, "index, record 3")


def test_sub_folders_are_kept() -> None:
    assert str(relative_path("train\\day 1/ü.png", "x")) == "train/day 1/ü.png"
