"""A skip is a hole: one that is not in skips.toml fails the run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from skips import allowed_skips, is_allowed

ROOT = Path(__file__).parents[1]
SKIPPED = """
import pytest
def test_runs(): pass
@pytest.mark.skip(reason="no Chromium here: not today")
def test_hole(): pass
"""


@pytest.mark.parametrize(
    ("node", "reason", "allowed"),
    [
        ("tests/e2e/test_loop.py::test_x", "no Chromium here: the browser part is not tested", True),
        ("tests/e2e/test_loop.py::test_x[one*]", "no Chromium here: the browser part is not tested", True),
        ("tests/e2e/test_loop.py::test_x", "too slow", False),
        ("tests/backend/test_x.py::test_x", "no Chromium here: the browser part is not tested", False),
        ("tests/backend/test_x.py", "could not import 'tensorflow'", False),
    ],
)
def test_which_skips_are_allowed(node: str, reason: str, allowed: bool) -> None:
    assert is_allowed(node, reason, allowed_skips(every_tool=False)) is allowed
    # with every tool at hand there is no excuse
    assert not is_allowed(node, reason, allowed_skips(every_tool=True))


@pytest.mark.parametrize(("every_tool", "code", "said"), [("", 0, "allowed"), ("1", 1, "NOT in tests/skips.toml")])
def test_a_skip_that_is_not_allowed_fails_the_run(tmp_path: Path, every_tool: str, code: int, said: str) -> None:
    tests = tmp_path / "tests/e2e"
    tests.mkdir(parents=True)
    (tests / "test_one.py").write_text(SKIPPED)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "skips",
        "--rootdir",
        str(tmp_path),
    ]
    environment = os.environ | {"MASKLOOP_EVERY_TOOL": every_tool, "PYTHONPATH": str(ROOT / "tests")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert f"{said}: tests/e2e/test_one.py::test_hole: no Chromium here" in done.stdout
    # pytest's own line is the last one
    assert done.stdout.strip().splitlines()[-1].startswith("1 passed, 1 skipped in ")
