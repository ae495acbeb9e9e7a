"""A few of the requests of fuzz/api.py; `make api` sends ten thousand and more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_drawn_and_damaged_requests_are_answered_as_documented() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "fuzz" / "api.py"), "--cases", "100", "--bodies", "200", "--seed", "1"],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "0 faults" in done.stdout
