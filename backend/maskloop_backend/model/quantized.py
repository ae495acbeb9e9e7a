"""The quantised graph of a model version: `int8/` beside its weights. Checking it needs neither Keras nor OpenVINO.

    int8/record.json    from which weights, on which images, and what it costs
    int8/graph.xml      OpenVINO's: images -> scores, without the last upsampling
    int8/graph.bin

It belongs to a version without being part of it: it can be made anew, and archives of versions leave it out, because nobody
can tell from a graph whether it computes what its weights do.
"""

from __future__ import annotations

import json
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from maskloop_converters.errors import DataError

from ..json_files import read_json
from .inputs import checked
from .record import BundleError, ModelRecord, checksum, file_sha256

FOLDER = "int8"
RECORD, GRAPH, CONSTANTS = "record.json", "graph.xml", "graph.bin"
# It is taken without being asked for where it costs at most so much mIoU.
SMALL_LOSS = 0.005

_FORMAT = 1
_MOST_RECORD = 1 << 20


@dataclass(frozen=True, slots=True)
class QuantizedRecord:
    """What is known of a quantised graph.

    Attributes:
        version: the model version.
        weights_sha256: of the weights that were quantised.
        graph_sha256: of graph.xml.
        constants_sha256: of graph.bin.
        calibration_images: whose activations gave the ranges.
        measured_images: that the figures are of.
        miou: of the network in float32, 0..1.
        int8_miou: of the quantised one, on the same images.
        pixel_accuracy: of the network in float32, 0..1.
        int8_pixel_accuracy: of the quantised one.
        data_fingerprint: of the measured images and their labels.
        created: UTC, ISO 8601 with seconds.
        made_by: the quantiser and its version.
    """

    version: str
    weights_sha256: str
    graph_sha256: str
    constants_sha256: str
    calibration_images: int
    measured_images: int
    miou: float
    int8_miou: float
    pixel_accuracy: float
    int8_pixel_accuracy: float
    data_fingerprint: str
    created: str
    made_by: str

    @property
    def loss(self) -> float:
        """What it costs in mIoU; below 0 where it is better."""
        return self.miou - self.int8_miou

    @property
    def is_small_loss(self) -> bool:
        """Whether it may be taken without being asked for."""
        return self.loss <= SMALL_LOSS

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values, with a checksum over them."""
        values = {"format": _FORMAT, **asdict(self)}
        return {**values, "record_sha256": checksum(values)}


@dataclass(frozen=True, slots=True)
class Quantized:
    """A quantised graph on disk.

    Attributes:
        graph: its .xml; the .bin stands beside it.
        record: what is known of it.
    """

    graph: Path
    record: QuantizedRecord


def write_record(folder: Path, record: QuantizedRecord) -> None:
    """Write the record of the graph in a folder."""
    text = json.dumps(record.to_json(), indent=2, allow_nan=False)
    (folder / RECORD).write_text(text + "\n", encoding="utf-8")


def read(directory: Path, version: ModelRecord) -> Quantized | None:
    """Return the quantised graph of a version, its files checked; None where it has none.

    Args:
        directory: of the version.
        version: its record.

    Raises:
        BundleError: it is damaged, was changed, or is of other weights; the message says how to get rid of it.
    """
    folder = directory / FOLDER
    if not folder.exists() and not folder.is_symlink():
        return None
    try:
        return _read(folder, version)
    except (OSError, ValueError, TypeError, DataError) as error:
        raise BundleError(
            f"{folder}: the quantised graph of {version.version} is damaged: {error}. Remove the folder; "
            "`maskloop models quantize` makes another"
        ) from error


def _read(folder: Path, version: ModelRecord) -> Quantized:
    if folder.is_symlink():
        raise DataError("it is a link")
    values = read_json(folder / RECORD, most=_MOST_RECORD)
    if not isinstance(values, dict) or values.get("format") != _FORMAT:
        raise DataError(f"{RECORD} is no record of the format {_FORMAT}; a newer maskloop may have written it")
    body = {key: value for key, value in values.items() if key != "record_sha256"}
    if values.get("record_sha256") != checksum(body):
        raise DataError(f"{RECORD} was changed after it was saved (its checksum disagrees)")
    record = QuantizedRecord(**checked(QuantizedRecord, {key: body[key] for key in body if key != "format"}))
    if record.weights_sha256 != version.sha256:
        raise DataError(f"it was made of other weights, those of {record.version}")
    for name, expected in ((GRAPH, record.graph_sha256), (CONSTANTS, record.constants_sha256)):
        if not stat.S_ISREG((folder / name).lstat().st_mode):
            raise DataError(f"{name} is no regular file")
        if file_sha256(folder / name) != expected:
            raise DataError(f"{name} is not the one that was saved")
    return Quantized(folder / GRAPH, record)


def missing(version: str) -> DataError:
    """Return the error of a version that has none."""
    return DataError(
        f"{version or 'the model'} has no int8 graph: `maskloop models quantize {version or 'VERSION'} DATASET` makes one "
        "and measures what it costs; or choose another --precision"
    )
