"""The commands of docs/reference/shell-completion.md make scripts that know our commands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "shell-completion.md").read_text("utf-8")
SHELLS = ["bash", "zsh", "fish"]


def program(tmp_path: Path) -> dict[str, str]:
    """Put `maskloop` first in the path, whatever environment the tests run in."""
    script = tmp_path / "bin" / "maskloop"
    script.parent.mkdir()
    script.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path[:0] = {sys.path!r}\n"
        "from maskloop_backend.cli.main import cli\ncli(prog_name='maskloop')\n"
    )
    script.chmod(0o755)
    return {**os.environ, "HOME": str(tmp_path), "PATH": f"{script.parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_are_made(tmp_path: Path, shell: str) -> None:
    environment = program(tmp_path)
    (block,) = re.findall(rf"^```bash\n([^`]*{shell}_source[^`]*)^```$", PAGE, re.MULTILINE)
    done = subprocess.run(["bash", "-e", "-c", block], env=environment, capture_output=True, text=True, check=False)
    if shell == "bash" and "Couldn't detect Bash version" in done.stderr:
        pytest.fail(done.stderr)
    assert done.returncode == 0, done.stderr
    (made,) = [path for path in tmp_path.rglob("*maskloop*") if path.is_file() and path.parent.name != "bin"]
    assert "_MASKLOOP_COMPLETE" in made.read_text()


def test_bash_completes_commands_and_values(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    environment = program(tmp_path)
    asked = {
        "maskloop re": "retrain",
        "maskloop train --str": "--stride",
        "maskloop serve --log-format ": "json",
    }
    for typed, wanted in asked.items():
        words = typed.split(" ")
        request = {"_MASKLOOP_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1)}
        done = subprocess.run(["maskloop"], env={**environment, **request}, capture_output=True, text=True, check=True)
        assert f"plain,{wanted}" in done.stdout.split(), typed
