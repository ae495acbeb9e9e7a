"""Versions whose weights are a few bytes: the registry looks at hashes only."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maskloop_backend.model.backbones.table import backbone
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.record import RECORD_FILE, WEIGHTS_FILE, ModelRecord, version_name
from maskloop_backend.registry import Registry, store
from maskloop_converters.samples import LabelSet


@pytest.fixture(autouse=True)
def untried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try no version: these have no network. test_trial.py tries real ones."""
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
        record = ModelRecord(
            architecture=Architecture(len(labels), "small"),
            preprocessing=backbone("small").preprocessing,
            labels=LabelSet.from_names(labels),
            **{"created": "2026-11-22T10:00:00Z", "code_version": "1"} | fields,
        )
        sha256 = hashlib.sha256(weights).hexdigest()
        record = dataclasses.replace(
            record, sha256=sha256, version=version_name(record.architecture, record.created, sha256)
        )
        directory = registry.models / record.version
        directory.mkdir(parents=True)
        (directory / WEIGHTS_FILE).write_bytes(weights)
        (directory / RECORD_FILE).write_text(json.dumps(record.to_json()))
        return record

    return save_version
