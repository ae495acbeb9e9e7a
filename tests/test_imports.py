"""What must not be loaded: TensorFlow costs ten seconds and 500 MB, and nobody who converts masks needs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {"tensorflow", "keras", "jax", "torch", "label_studio_sdk", "scipy", "cv2", "pandas", "h5py"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["convert", "--help"],
        ["inspect", "--help"],
        ["models", "--help"],
        ["evaluate", "--help"],
        ["retrain", "--help"],
        ["rank", "--help"],
        ["review", "--help"],
        ["label", "--help"],
        ["simulate", "--help"],
        ["stats", "--help"],
    ],
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys, json\n"
        "from maskloop_backend.cli.main import cli\n"
        f"try:\n    cli({arguments!r})\nexcept SystemExit as done:\n    assert not done.code\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    path = os.pathsep.join((str(ROOT / "backend"), str(ROOT / "converters")))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path}
    )
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert not loaded & HEAVY
    # the options of convert come from the formats' own functions, which need arrays
    assert "numpy" not in loaded or arguments[0] in ("convert", "inspect", "models", "evaluate", "label"), (
        "it needs no arrays"
    )
