"""A model version: the network together with everything needed to use it rightly."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np

from maskloop_converters import __version__
from maskloop_converters.atomic import atomic_directory
from maskloop_converters.samples import LabelSet

from . import quantized
from .backbones.table import backbone
from .config import Architecture, Preprocessing
from .fcn import build_fcn
from .quantized import Quantized
from .record import (
    RECORD_FILE,
    WEIGHTS_FILE,
    BundleError,
    ModelRecord,
    file_sha256,
    read_record,
    verify,
    version_name,
)
from .weights.errors import WeightsError
from .weights.keras_files import check_self_contained, open_file

__all__ = ["Bundle", "BundleError", "ModelRecord", "read_record", "verify"]


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A Keras model and its record.

    Attributes:
        model: images (B, H, W, 3) RGB 0..255 -> logits float32 (B, H, W, K); see :func:`build_fcn`.
        record: what is known of it; ``record.version`` is '' until it is saved.
        int8: its quantised graph, None where it has none.
    """

    model: keras.Model
    record: ModelRecord
    int8: Quantized | None = None

    @classmethod
    def create(
        cls,
        model: keras.Model,
        architecture: Architecture,
        labels: LabelSet,
        *,
        preprocessing: Preprocessing | None = None,
        max_side: int | None = None,
        zoom: float = 1.0,
        metrics: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        parent: str | None = None,
        data_fingerprint: str | None = None,
    ) -> Bundle:
        """Return a new, unsaved bundle of a model, made now by this maskloop.

        Args:
            model: what ``build_fcn(architecture, preprocessing=preprocessing)`` gave, trained.
            architecture: of the model.
            labels: one class an output channel.
            preprocessing: as given to build_fcn; None where it was None there.
            max_side: see :class:`ModelRecord`, like the arguments after it.
            zoom: likewise.
            metrics: JSON values by name.
            settings: JSON values by name.
            parent: version name.
            data_fingerprint: names the training data's content.

        Raises:
            BundleError: the label set has another number of classes than the network has channels.
        """
        if len(labels.classes) != architecture.classes:
            raise BundleError(
                f"the network has {architecture.classes} output channels, the label set {len(labels.classes)} classes "
                f"({', '.join(label.name for label in labels.classes)}); they must agree"
            )
        record = ModelRecord(
            architecture=architecture,
            preprocessing=preprocessing or backbone(architecture.backbone).preprocessing,
            labels=labels,
            created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            code_version=__version__,
            max_side=max_side,
            zoom=zoom,
            metrics=metrics or {},
            settings=settings or {},
            parent=parent,
            data_fingerprint=data_fingerprint,
        )
        return cls(model, record)

    @property
    def version(self) -> str:
        """The version's name; '' until the bundle is saved."""
        return self.record.version

    @property
    def labels(self) -> LabelSet:
        """What the channels mean."""
        return self.record.labels

    def save(self, directory: Path) -> Bundle:
        """Write the bundle as a new directory and return it with its version name and hash filled in.

        Everything is written to a hidden sibling, flushed to the disk and renamed: the directory is there complete or
        not at all, whatever happens. A directory that exists is never touched.

        Args:
            directory: to make; its parents are made too.

        Raises:
            OutputExistsError: the directory exists.
            OSError: no space, no permission; nothing is left behind.
        """
        with atomic_directory(directory) as aside:
            return self._write(aside)

    def _write(self, directory: Path) -> Bundle:
        weights = directory / WEIGHTS_FILE
        # the same layers without the optimiser, whose moments would treble the file and change its hash (as names would)
        keras.Model(self.model.inputs, self.model.outputs, name=self.model.name).save_weights(weights)
        sha256 = file_sha256(weights)
        version = version_name(self.record.architecture, self.record.created, sha256)
        record = dataclasses.replace(self.record, sha256=sha256, version=version)
        text = json.dumps(record.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
        (directory / RECORD_FILE).write_text(text + "\n", encoding="utf-8")
        return Bundle(self.model, record)

    @classmethod
    def load(cls, directory: Path, *, dtype: Any = None) -> Bundle:
        """Return a saved bundle after checking that its weights are those that were saved.

        The network is rebuilt by our own code from the record: nothing that the files say is executed.

        Args:
            directory: that :meth:`save` made.
            dtype: Keras dtype policy of the network, see :func:`build_fcn`.

        Raises:
            BundleError: damaged, half-written or changed; the message names the file.
        """
        record = verify(directory)
        path = directory / WEIGHTS_FILE
        try:
            with open_file(path) as file:
                check_self_contained(file)
        except WeightsError as error:
            raise BundleError(f"{directory}: the weights of {record.version} are not safe to read: {error}") from error
        model = build_fcn(record.architecture, preprocessing=record.preprocessing, dtype=dtype, blank=True)
        try:
            model.load_weights(path)
        except (ValueError, OSError, KeyError) as error:
            raise BundleError(
                f"{directory}: the weights do not fit the network of {record.version}: {error}"
            ) from error
        for weight in model.weights:
            if not np.isfinite(keras.ops.convert_to_numpy(weight)).all():
                raise BundleError(f"{path}: {weight.path} of {record.version} is not finite everywhere")
        return cls(model, record, quantized.read(directory, record))
