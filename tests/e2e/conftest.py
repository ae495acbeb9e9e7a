"""The real parts, started once a session: Label Studio, a trained model, and the server as its own process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from browser import CHROMIUM, Person, browse, chromium
from maskloop_backend.demo import scenes
from maskloop_backend.registry.store import Registry
from maskloop_backend.studio.client import StudioClient
from maskloop_backend.studio.local import LocalStudio
from rig import ROOT, SIZE, Backend, maskloop, serving


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
    with serving(home, studio) as running:
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here: the browser part is not tested (apt-get install chromium)")
    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def person(studio: LocalStudio, browser: Browser) -> Iterator[Person]:
    with browse(browser, studio.url, email=studio.email, password=studio.password) as logged_in:
        yield logged_in
        assert not logged_in.foreign_requests, "Label Studio's pages called other hosts"
