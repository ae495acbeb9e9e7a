"""The real parts, started once a session: Label Studio, a trained model, and the server as its own process."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from browser import CHROMIUM, Person, browse
from maskloop_backend.demo import scenes
from maskloop_backend.registry.store import Registry
from maskloop_backend.studio.client import StudioClient
from maskloop_backend.studio.local import LocalStudio
from rig import ROOT, SIZE, Backend, environment, maskloop


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStudio]:
    # The environment is kept between runs: installing takes minutes. Data and login are new.
    venv = Path(os.environ.get("MASKLOOP_HOME") or ROOT / ".maskloop") / "studio-venv"
    with LocalStudio(tmp_path_factory.mktemp("label-studio"), venv=venv) as running:
        yield running


@pytest.fixture(scope="session")
def client(studio: LocalStudio) -> Iterator[StudioClient]:
    with StudioClient(studio.url, studio.token) as connected:
        yield connected


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a model that learned a little: enough for masks of several classes with odd outlines."""
    directory = tmp_path_factory.mktemp("home")
    scenes.write_scenes(directory / "scenes", 24, 0, SIZE)
    arguments = ("--epochs", "6", "--backbone", "small", "--home", str(directory), "--seed", "1")
    maskloop("train", str(directory / "scenes"), *arguments)
    registry = Registry(directory)
    registry.promote(registry.versions()[-1])
    return directory


@pytest.fixture(scope="session")
def backend(home: Path, studio: LocalStudio) -> Iterator[Backend]:
    log = home / "serve.log"
    # not ASCII on purpose
    user, password = "annotators", f"pässword-{secrets.token_hex(8)}"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "maskloop_backend.cli.main", "serve", "--home", str(home), "--port", "0"),
                *("--studio-url", studio.url, "--basic-auth-user", user),
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


@pytest.fixture(scope="session")
def person(studio: LocalStudio) -> Iterator[Person]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here: the browser part is not tested (apt-get install chromium)")
    with browse(studio.url, email=studio.email, password=studio.password) as logged_in:
        yield logged_in
        assert not logged_in.foreign_requests, "Label Studio's pages called other hosts"
