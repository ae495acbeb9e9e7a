"""What the end-to-end tests start and run: commands in their own processes, as a user would."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from maskloop_backend.inference.predictor import Predictor
from maskloop_backend.registry.store import Registry
from maskloop_backend.studio.local import LocalStudio

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
        # what is computed is compared with what the tests compute, to the pixel
        "MASKLOOP_RUNTIME": "keras",
        "MASKLOOP_PRECISION": "float32",
        # and what is pre-filled is compared with all that the model says
        "MASKLOOP_CONFIDENCE_BELOW": "0",
        **(extra or {}),
    }


def predictor(registry: Registry, version: str) -> Predictor:
    """Return what predicts as the servers here do."""
    return Predictor(registry.load(version), precision="float32")


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


@contextmanager
def serving(home: Path, studio: LocalStudio, *options: str) -> Iterator[Backend]:
    """Run `maskloop serve` in its own process, with basic auth."""
    log = home / "serve.log"
    # not ASCII on purpose
    user, password = "annotators", f"pässword-{secrets.token_hex(8)}"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "maskloop_backend.cli.main", "serve", "--home", str(home), "--port", "0"),
                *("--studio-url", studio.url, "--basic-auth-user", user),
                *options,
            ],
            env=environment({"MASKLOOP_BASIC_AUTH_PASSWORD": password, "MASKLOOP_STUDIO_TOKEN": studio.token}),
            stdout=stderr,
            stderr=stderr,
        )
    try:
        yield Backend(_announced(process, log), user, password, home, log)
    finally:
        process.terminate()
        assert process.wait(60) == 0, log.read_text()


def _announced(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait for the line in which the server says where it answers."""
    while process.poll() is None:
        if found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text()):
            return found[0]
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError(f"maskloop serve ended: {log.read_text()}")
