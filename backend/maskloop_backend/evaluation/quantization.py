"""Quantise a version, measure what that costs, and keep both beside its weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from ..inference.predictor import Predictor
from ..inference.runtimes.openvino_graphs import scores_graph
from ..inference.runtimes.openvino_int8 import quantize_graph, require_quantizer, save_graph
from ..inference.runtimes.openvino_runtime import OpenVinoRuntime
from ..inference.runtimes.protocol import Computed
from ..model.bundle import Bundle
from ..model.quantized import CONSTANTS, FOLDER, GRAPH, Quantized, QuantizedRecord, write_record
from ..model.record import file_sha256
from ..registry import Registry
from ..training.dataset import Examples
from .measurement import Measurement, measure


def quantize(
    registry: Registry,
    version: str,
    calibration: Examples,
    measured: Examples,
    *,
    overwrite: bool = False,
    each: Callable[[int, int], None] = lambda done, total: None,
) -> QuantizedRecord:
    """Give a version its quantised graph and return what is known of it.

    Args:
        registry: where the version is.
        version: its name.
        calibration: images that give the ranges of activations: best some of those it was trained on.
        measured: labelled images that it was not trained on, for what it costs.
        overwrite: replace a graph that is there.
        each: called with the number of predictions done and their total.

    Raises:
        RuntimeUnavailableError: OpenVINO or NNCF is not installed.
        RegistryError: there is no such version, or it has a graph already.
        MeasurementError: it has no class in common with the labels.
    """
    require_quantizer()
    registry.check_quantizable(version, overwrite=overwrite)
    bundle = registry.load(version)
    seen = Predictor(bundle)
    with TemporaryDirectory(prefix="maskloop-int8-") as name:
        # not the private folder itself, whose mode the copy in the registry would have
        folder = Path(name, FOLDER)
        folder.mkdir()
        batches = (batch for index in range(len(calibration)) for batch in seen.inputs(calibration[index][0]))
        graph, made_by = quantize_graph(scores_graph(bundle.model), batches)
        save_graph(graph, folder / GRAPH)
        record = QuantizedRecord(
            version=version,
            weights_sha256=bundle.record.sha256,
            graph_sha256=file_sha256(folder / GRAPH),
            constants_sha256=file_sha256(folder / CONSTANTS),
            calibration_images=len(calibration),
            measured_images=len(measured),
            miou=0.0,
            int8_miou=0.0,
            pixel_accuracy=0.0,
            int8_pixel_accuracy=0.0,
            data_fingerprint=measured.fingerprint,
            created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            made_by=made_by,
        )
        total = len(measured)
        before = _measured(bundle, "float32", measured, lambda done: each(done, 2 * total))
        reduced = dataclasses.replace(bundle, int8=Quantized(folder / GRAPH, record))
        after = _measured(reduced, "int8", measured, lambda done: each(total + done, 2 * total))
        record = dataclasses.replace(
            record,
            miou=float(before.scores.miou),
            int8_miou=float(after.scores.miou),
            pixel_accuracy=float(before.scores.pixel_accuracy),
            int8_pixel_accuracy=float(after.scores.pixel_accuracy),
        )
        write_record(folder, record)
        registry.add_quantized(version, folder, overwrite=overwrite)
    return record


def _measured(bundle: Bundle, precision: Computed, examples: Examples, each: Callable[[int], None]) -> Measurement:
    return measure(Predictor(bundle, runtime=OpenVinoRuntime(bundle, precision=precision)), examples, each=each)
