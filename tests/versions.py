"""Versions on disk whose weights are a few bytes: whoever lists, verifies or rolls back looks at records and hashes only."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from maskloop_backend.model.backbones.table import backbone
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.record import RECORD_FILE, WEIGHTS_FILE, ModelRecord, version_name
from maskloop_backend.registry.store import Registry
from maskloop_converters.samples import LabelSet


def write_version(registry: Registry, weights: bytes, labels: LabelSet, **fields: Any) -> ModelRecord:
    """Write a version with these bytes as its weights and return its record, which has these fields."""
    known = {"created": "2026-11-22T10:00:00Z", "code_version": "1"}
    record = ModelRecord(
        architecture=Architecture(len(labels.classes), "small"),
        preprocessing=backbone("small").preprocessing,
        labels=labels,
        **{**known, **fields},
    )
    sha256 = hashlib.sha256(weights).hexdigest()
    version = version_name(record.architecture, record.created, sha256)
    record = dataclasses.replace(record, sha256=sha256, version=version)
    directory = registry.models / version
    directory.mkdir(parents=True)
    (directory / WEIGHTS_FILE).write_bytes(weights)
    (directory / RECORD_FILE).write_text(json.dumps(record.to_json()))
    return record
