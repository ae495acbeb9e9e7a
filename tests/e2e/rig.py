"""What the end-to-end tests start and run: commands in their own processes, as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LABEL_CONFIG = """<View>
  <Image name="image" value="$image"/>
  <BrushLabels name="tag" toName="image">
    <Label value="sky" background="#4682b4"/><Label value="building" background="#964b4b"/>
    <Label value="road" background="#804080"/><Label value="tree" background="#3ca03c"/>
    <Label value="Vehicle" predicted_values="car" background="#1e3cc8"/><Label value="PERSON" background="#e63c28"/>
  </BrushLabels>
  <KeyPointLabels name="point" toName="image" smart="true"><Label value="sky"/><Label value="Vehicle"/></KeyPointLabels>
</View>"""
SIZE = (192, 256)


def maskloop(
    *arguments: str, env: dict[str, str] | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a command as a user would, in its own process."""
    return subprocess.run(
        [sys.executable, "-m", "maskloop_backend.cli.main", *arguments],
        env=environment(env),
        capture_output=True,
        text=True,
        check=check,
    )


def environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(ROOT / "backend"), str(ROOT / "converters"))),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        **(extra or {}),
    }


@dataclass(frozen=True, slots=True)
class Backend:
    """`maskloop serve`, running.

    Attributes:
        url: where it answers.
        user: of its basic auth.
        password: of its basic auth.
        home: its registry.
        log: what it writes to stderr.
    """

    url: str
    user: str
    password: str
    home: Path
    log: Path

    @property
    def environment(self) -> dict[str, str]:
        """What `maskloop connect` and `doctor` need to know."""
        return {"MASKLOOP_BASIC_AUTH_USER": self.user, "MASKLOOP_BASIC_AUTH_PASSWORD": self.password}
