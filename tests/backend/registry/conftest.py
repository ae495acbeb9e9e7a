"""Versions whose weights are a few bytes: the registry looks at hashes only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maskloop_backend.model.record import ModelRecord
from maskloop_backend.registry import Registry, store
from maskloop_converters.samples import LabelSet
from versions import write_version


@pytest.fixture(autouse=True)
def untried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try no version: these have no network. test_hostile.py tries real ones."""
    monkeypatch.setattr(store, "try_version", lambda directory: None)


Save = Callable[..., ModelRecord]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "home")


@pytest.fixture
def save(registry: Registry) -> Save:
    """Return a function that puts a version on disk: its weights' bytes, names of labels, fields of its record."""

    def save_version(
        weights: bytes = b"weights", *, labels: tuple[str, ...] = ("road", "Straße"), **fields: Any
    ) -> ModelRecord:
        return write_version(registry, weights, LabelSet.from_names(labels), **fields)

    return save_version
