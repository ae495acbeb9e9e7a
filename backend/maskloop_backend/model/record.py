"""The record of a model version: `bundle.json`, which needs no Keras to read, check and list."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maskloop_converters.errors import DataError, MaskloopError
from maskloop_converters.samples import Label, LabelSet

from ..json_files import read_json
from .backbones.table import BACKBONES
from .config import STRIDES, Architecture, Preprocessing
from .inputs import checked

RECORD_FILE = "bundle.json"
WEIGHTS_FILE = "model.weights.h5"
# Images that have this many pixels show their things large enough; a network that saw them larger would take seconds.
ZOOMED_PIXELS = 1536**2
# Raised when a reader of older records could misread newer ones.
RECORD_FORMAT = 1
# Bytes of a record. It grows with the classes and evaluations, to some hundred kilobytes.
MOST_RECORD = 16 << 20

VERSION_PATTERN = re.compile(
    rf"fcn({'|'.join(map(str, STRIDES))})s-({'|'.join(map(re.escape, BACKBONES))})-\d{{8}}-[0-9a-f]{{8}}"
)


_CREATED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_NESTED = ("architecture", "preprocessing", "labels")


@dataclass(frozen=True, slots=True)
class _Plain:
    """The types of a record's own fields, as JSON has them."""

    created: str
    code_version: str
    version: str
    sha256: str
    max_side: int | None
    zoom: float
    metrics: dict[str, Any]
    settings: dict[str, Any]
    parent: str | None
    data_fingerprint: str | None


@dataclass(frozen=True, slots=True)
class _Roles:
    """The types of a label set, as JSON has them."""

    labels: list[Any]
    ignore_id: int | None
    background_id: int | None


class BundleError(DataError):
    """A model version that is damaged, half-written, changed after it was saved, or from a newer maskloop."""


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """What is known of one immutable model version.

    Attributes:
        version: its name, 'fcn32s-vgg16-20261122-1a2b3c4d'; '' until the bundle is saved.
        sha256: of the weights file, 64 hex digits; '' until the bundle is saved.
        architecture: how the network is built.
        preprocessing: how it wants its images; the network applies it.
        labels: channel k is ``labels.classes[k]``.
        max_side: images with a longer side than this, in pixels, are shrunk before prediction; None predicts at full
            size. It is the size that the training saw.
        zoom: the network sees images, shrunk or not, so many times as large, 1..4, unless they had more than
            :data:`ZOOMED_PIXELS` then: it draws thin things that it would miss otherwise, for the square of it in time.
        metrics: what was measured and on what ({'holdout_miou': 0.81}), JSON values by name.
        settings: how it was trained, JSON values by name.
        parent: version it was fine-tuned from, None if none.
        created: UTC, ISO 8601 with seconds ('2026-11-22T10:15:00Z').
        code_version: of maskloop.
        data_fingerprint: names the training data's content, None where unknown.
    """

    architecture: Architecture
    preprocessing: Preprocessing
    labels: LabelSet
    created: str
    code_version: str
    version: str = ""
    sha256: str = ""
    max_side: int | None = None
    zoom: float = 1.0
    metrics: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    parent: str | None = None
    data_fingerprint: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values, with a checksum over them."""
        values: dict[str, Any] = {
            "format": RECORD_FORMAT,
            "version": self.version,
            "sha256": self.sha256,
            "architecture": self.architecture.to_json(),
            "preprocessing": self.preprocessing.to_json(),
            "labels": _labels_to_json(self.labels),
            "max_side": self.max_side,
            "zoom": self.zoom,
            "metrics": dict(self.metrics),
            "settings": dict(self.settings),
            "parent": self.parent,
            "created": self.created,
            "code_version": self.code_version,
            "data_fingerprint": self.data_fingerprint,
        }
        return {**values, "record_sha256": checksum(values)}

    @classmethod
    def from_json(cls, values: Any, *, where: str) -> ModelRecord:
        """Return the record of what :meth:`to_json` gave.

        Args:
            values: parsed JSON.
            where: what to call it in an error, a path or a version.

        Raises:
            BundleError: keys are missing or malformed, or the checksum disagrees: somebody edited it.
        """
        if not isinstance(values, dict):
            raise BundleError(f"{where}: expected a JSON object, got {type(values).__name__}")
        if values.get("format") != RECORD_FORMAT:
            raise BundleError(
                f"{where}: record format {values.get('format')!r}, this maskloop reads {RECORD_FORMAT}; "
                "a newer maskloop may have written it"
            )
        body = {key: value for key, value in values.items() if key != "record_sha256"}
        try:
            digest = checksum(body)
        except (ValueError, RecursionError) as error:
            raise BundleError(f"{where}: malformed record: {error}") from error
        if values.get("record_sha256") != digest:
            raise BundleError(
                f"{where}: the record was changed after it was saved (its checksum disagrees). "
                "Model versions are immutable: save a new one instead"
            )
        try:
            return _from_values(body)
        except (KeyError, TypeError, ValueError, RecursionError, MaskloopError) as error:
            raise BundleError(f"{where}: malformed record: {error}") from error


def read_record(directory: Path) -> ModelRecord:
    """Return the record of a saved bundle without reading its weights.

    Raises:
        BundleError: there is none, or it is damaged; the message names the directory.
    """
    path = directory / RECORD_FILE
    try:
        values = read_json(path, most=MOST_RECORD)
    except FileNotFoundError as error:
        raise BundleError(f"{directory} holds no model version: there is no {RECORD_FILE}") from error
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: not readable as JSON: {error}") from error
    return ModelRecord.from_json(values, where=str(path))


def verify(directory: Path) -> ModelRecord:
    """Return the record of a saved bundle after checking that the weights are those that were saved.

    Raises:
        BundleError: the record or the weights are damaged, half-written or changed; the message names the file.
    """
    record = read_record(directory)
    path = directory / WEIGHTS_FILE
    try:
        found = file_sha256(path)
    except OSError as error:
        raise BundleError(f"{path}: the weights of {record.version} cannot be read: {error}") from error
    if found != record.sha256:
        raise BundleError(
            f"{path}: the weights are not those that were saved as {record.version} (SHA-256 {found[:16]}..., expected "
            f"{record.sha256[:16]}...): the file is damaged or was replaced"
        )
    return record


def _from_values(values: Mapping[str, Any]) -> ModelRecord:
    """Return the record of JSON values, all of them checked: what is wrong here would break whoever uses it later."""
    # records from before there was a zoom saw images as they are
    plain = {"zoom": 1.0, **{key: value for key, value in values.items() if key != "format"}}
    architecture = Architecture.from_json(plain["architecture"])
    labels = _labels_from_json(plain["labels"])
    # the fields that are records of their own are checked above, as what they become
    typed = checked(_Plain, {key: value for key, value in plain.items() if key not in _NESTED})
    if len(labels.classes) != architecture.classes:
        raise DataError(f"the network has {architecture.classes} classes, the labels {len(labels.classes)}")
    if typed["max_side"] is not None and typed["max_side"] < 1:
        raise DataError(f"max_side is {typed['max_side']}; expected a number of pixels from 1, or null")
    if not 1 <= typed["zoom"] <= 4:
        raise DataError(f"zoom is {typed['zoom']}; expected a factor 1..4")
    if not _CREATED.fullmatch(typed["created"]):
        raise DataError(f"created is {typed['created']!r}; expected a time like 2026-11-22T10:15:00Z")
    if not _SHA256.fullmatch(typed["sha256"]):
        raise DataError(f"sha256 is {typed['sha256']!r}; expected 64 hex digits")
    _check_text(plain)
    preprocessing = Preprocessing.from_json(plain["preprocessing"])
    return ModelRecord(architecture=architecture, preprocessing=preprocessing, labels=labels, **typed)


def _check_text(values: Any) -> None:
    """Raise DataError where any text has control characters: it would speak to the terminal of whoever lists it."""
    if isinstance(values, str):
        if _CONTROL.search(values):
            raise DataError(f"{values[:80]!r} has control characters")
    elif isinstance(values, Mapping):
        for key, value in values.items():
            _check_text(key)
            _check_text(value)
    elif isinstance(values, list):
        for value in values:
            _check_text(value)


def version_name(architecture: Architecture, created: str, sha256: str) -> str:
    """Return a version's name: kind of FCN, backbone, UTC date, first 8 hex digits of the weights' SHA-256."""
    return f"fcn{architecture.stride}s-{architecture.backbone}-{created[:10].replace('-', '')}-{sha256[:8]}"


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksum(values: Mapping[str, Any]) -> str:
    """Return the SHA-256 of JSON values, whatever the order of their keys."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _labels_to_json(labels: LabelSet) -> dict[str, Any]:
    return {
        "labels": [
            {"id": x.id, "name": x.name, "color": None if x.color is None else list(x.color), "thing": x.thing}
            for x in labels.labels
        ],
        "ignore_id": labels.ignore_id,
        "background_id": labels.background_id,
    }


def _labels_from_json(values: Mapping[str, Any]) -> LabelSet:
    roles = checked(_Roles, values)
    labels = tuple(
        Label(x["id"], x["name"], None if x["color"] is None else tuple(x["color"]), x["thing"])
        for x in (checked(Label, label) for label in roles["labels"])
    )
    return LabelSet(labels, ignore_id=roles["ignore_id"], background_id=roles["background_id"])
