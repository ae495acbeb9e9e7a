"""A few of the faults of fuzz/faults.py: nodes of Ray, workers and drivers that are killed, a disk that is full."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = Path(__file__).parents[3] / "fuzz" / "faults.py"


def faults(home: Path, folder: Path, *arguments: str) -> str:
    command = [sys.executable, str(FAULTS), "--home", str(home), "--folder", str(folder), *arguments]
    done = subprocess.run(
        command, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}, capture_output=True, text=True, timeout=1700
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked for in /proc")
def test_nodes_of_ray_workers_and_drivers_may_be_killed(home: Path, tmp_path: Path) -> None:
    said = faults(home, tmp_path / "faults", "--scenes", "ray", "--images", "24", "--kills", "3")
    assert "each good image once, the same bytes" in said
    assert "killed {" in said
    for who in ("driver", "node"):
        assert f"'{who}': " in said


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(sys.platform != "linux", reason="a small disk is a tmpfs")
def test_a_full_disk_costs_nothing_but_time(home: Path, tmp_path: Path) -> None:
    tried = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", str(tmp_path)],
        check=False,
        capture_output=True,
    )
    if tried.returncode and os.geteuid():
        pytest.skip("no file system may be mounted here")
    said = faults(home, tmp_path / "faults", "--scenes", "disk", "--images", "24", "--fills", "2")
    assert said.count("disk: full at ") == 2
    assert "each good image once, the same bytes" in said
