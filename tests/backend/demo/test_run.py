from __future__ import annotations

from pathlib import Path

import pytest

from maskloop_backend.demo import run
from maskloop_converters.errors import MaskloopError


def test_two_demos_do_not_share_a_directory(tmp_path: Path) -> None:
    with (
        run._alone(tmp_path / "demo"),
        pytest.raises(MaskloopError, match="another `maskloop demo` runs in"),
        run.running(tmp_path),
    ):
        pass
    with run._alone(tmp_path / "demo"):
        pass
