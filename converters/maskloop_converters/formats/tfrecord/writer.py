"""Writing TFRecord files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from ...atomic import atomic_directory
from ...codecs import coco_rle
from ...codecs.tfexample import Compression, RecordWriter, encode_example
from ...errors import LabelError, TargetError
from ...journal import Journal, file_state, holds, report_of
from ...report import WriteReport
from ...samples import Dataset, Sample
from ..file_names import relative_path
from ..labels import label_names, labels_to_json
from ..png.writer import label_map_loss
from ..records import dumps, image_to_json, region_to_json
from .layout import (
    CLASS_NAMES,
    FEATURES,
    INFO,
    LABEL_MAP,
    LABELS,
    NAMES,
    NO_SPLIT,
    features_document,
    info_document,
    label_map_text,
    shard_name,
)
from .schemas import MASKS, ORIGINAL, RECORD, SCHEMAS, Numbers, Picture, Schema, features

#: A shard is closed when it has so many bytes; tf.data reads shards in parallel.
SHARD_BYTES = 256 << 20


def write(
    dataset: Dataset,
    path: Path,
    *,
    schema: Schema = "segmentation",
    shards: int | None = None,
    compression: Compression = "",
    overwrite: bool = False,
    resume: Journal | None = None,
) -> WriteReport:
    """Write a dataset as a folder of TFRecord files, with lists of labels beside them.

    Images are the bytes of the files. Those that TensorFlow would see turned or not at all (EXIF orientation, formats
    other than JPEG and PNG) are encoded anew, the original kept in a feature of ours.

    Args:
        dataset: what to write; samples follow one another through the shards in their own order.
        path: the folder to make.
        schema: 'segmentation' (DeepLab, tf-models: a label map; the ignored label is 255), 'panoptic' (DeepLab2: class *
            1000 + instance), 'detection' (TF Object Detection API: a PNG and a box an object, labels from 1), 'tfds' (for
            ``tfds.builder_from_directory``: label map and objects).
        shards: how many files; by default a new one every 256 MiB.
        compression: 'GZIP' compresses each file; its readers must be told so (TFDS cannot be).
        overwrite: replace what is there.
        resume: go on with what was left unfinished, as the journal says, from the first shard on that is not whole; what
            is left unfinished stays.

    Returns:
        What was written, and what is lost: soft edges.

    Raises:
        OutputExistsError: something is there already.
        TargetError: a label id above 65535, an instance above 999 in a panoptic map, GZIP for TFDS.
        LabelError: a region whose label is not in the label set.
    """
    if schema not in SCHEMAS:
        raise TargetError(f"schema is one of {', '.join(SCHEMAS)}, not {schema!r}")
    if schema == "tfds" and compression:
        raise TargetError("TFDS reads no compressed files; leave the compression out")
    if shards is not None and not 1 <= shards <= 99999:
        raise TargetError(f"the number of shards is 1..99999, not {shards}")
    with atomic_directory(Path(path), overwrite=overwrite, keep=resume is not None) as root:
        writer = _Writer(dataset, schema)
        split = dataset.split or NO_SPLIT.get(schema, NO_SPLIT[""])
        if relative_path(split, "the split").parts != (split,):
            raise TargetError(f"the split is part of file names and cannot be called {split!r}")
        count = None
        if shards is not None:
            count = dataset.count if dataset.count is not None else sum(1 for _ in dataset)
        out = _Shards(root, compression, _bounds(count, shards) if shards is not None and count is not None else None)
        with closing(out):
            if resume is None:
                for sample in dataset:
                    out.make_room()
                    out.write(writer.record(sample))
            else:
                _go_on(dataset, writer, out, resume)
        out.rename(schema, split)
        _write_lists(root, writer, split, out)
    return writer.report


def _go_on(dataset: Dataset, writer: _Writer, out: _Shards, journal: Journal) -> None:
    """Write the shards that the journal does not have, and note each one that gets full."""
    journal.sweep(out.root)
    samples, taken = iter(dataset), 0
    while (line := journal.next()) is not None:
        chain, shard = journal.chain.copy(), hashlib.blake2b(digest_size=16)
        for sample in islice(samples, line.get("samples", 0)):
            shard.update(journal.fingerprint(sample).encode())
        if shard.hexdigest() == line.get("shard") and holds(out.root, line["files"]) and out.adopt(line):
            taken += line["samples"]
            writer.report.merge(report_of(line["report"]))
            continue
        journal.drop(out.root)
        journal.chain = chain
        samples = islice(iter(dataset), taken, None)
    whole, writer.report = writer.report, WriteReport()
    shard = hashlib.blake2b(digest_size=16)
    for sample in samples:
        if out.is_full() and (path := out.end()) is not None:
            line = {"shard": shard.hexdigest(), "samples": out.lengths[-1], "bytes": out.bytes}
            line |= {"files": {path.name: file_state(path)}, "report": writer.report.to_dict()}
            journal.add(line)
            whole.merge(writer.report)
            writer.report, shard = WriteReport(), hashlib.blake2b(digest_size=16)
        out.make_room()
        shard.update(journal.fingerprint(sample).encode())
        out.write(writer.record(sample))
    whole.merge(writer.report)
    writer.report = whole


def _write_lists(root: Path, writer: _Writer, split: str, out: _Shards) -> None:
    dataset, numbers, names = writer.dataset, writer.numbers, writer.names
    record = labels_to_json(dataset.labels)
    own: dict[str, Any] = {"schema": writer.schema, "lengths": out.lengths, "wide": numbers.wide}
    own |= {"shift": numbers.shift, "ignored": numbers.ignored, "split": dataset.split}
    if dataset.attributes:
        own["attributes"] = dict(dataset.attributes)
    (root / LABELS).write_text(dumps({**record, "tfrecord": own}, "the dataset") + "\n", "utf-8")
    if writer.schema == "detection":
        text = label_map_text({label_id + numbers.shift: name for label_id, name in names.items()})
        (root / LABEL_MAP).write_text(text, "utf-8")
    elif writer.schema == "tfds":
        (root / FEATURES).write_text(dumps(features_document(numbers.wide, len(names)), FEATURES), "utf-8")
        (root / INFO).write_text(dumps(info_document(split, out.lengths, out.size), INFO), "utf-8")
        (root / CLASS_NAMES).write_text("".join(f"{name}\n" for name in names.values()), "utf-8")
    else:
        (root / NAMES).write_text("".join(f"{k} {name}\n" for k, name in names.items()), "utf-8")


@dataclass(slots=True)
class _Writer:
    """Turns samples into records."""

    dataset: Dataset
    schema: Schema
    report: WriteReport = field(default_factory=WriteReport)
    names: dict[int, str] = field(init=False)
    numbers: Numbers = field(init=False)

    def __post_init__(self) -> None:
        self.names = label_names(self.dataset.labels)
        self.numbers = Numbers.of(self.dataset.labels, self.names)

    def record(self, sample: Sample) -> bytes:
        """Return the serialised Example of a sample."""
        where = f"sample {sample.id}"
        relative_path(sample.image.name, where)
        for region in sample.regions:
            if region.label not in self.names:
                known = ", ".join(f"{k} {name}" for k, name in self.names.items())
                raise LabelError(f"{where}, region {region.id!r}: no label has id {region.label}; there are: {known}")
        labels = self.dataset.labels
        picture = Picture.of(sample, self.report, where)
        example = features(self.schema, sample, picture, labels, self.names, self.numbers)
        soft = sum(region.edge.positions.size for region in sample.regions if region.edge is not None)
        self.report.losses.add("soft edge pixels made hard", f"{where}: {soft}", soft)
        if self.schema == "segmentation" and self.numbers.wide:
            self.report.notes.add(
                f"label maps of 16 bits, as ids go up to {max(self.names)}: DeepLab and tf-models decode 8 and see other "
                "labels (ids up to 255 are safe)",
                where,
            )
        if self.schema == "panoptic" or (self.schema == "segmentation" and label_map_loss(sample, labels)):
            example[MASKS] = coco_rle.encode(sample.masks)
        record: dict[str, Any] = {
            "id": sample.id,
            "image": image_to_json(sample),
            "size": [sample.height, sample.width],
            "regions": [region_to_json(region) for region in sample.regions],
        }
        if sample.attributes:
            record["attributes"] = dict(sample.attributes)
        example[RECORD] = dumps(record, where)
        if picture.original is not None:
            example[ORIGINAL] = picture.original
        self.report.samples += 1
        self.report.regions += len(sample.regions)
        return encode_example(example)


class _Shards:
    """Writes records into one file after another; how many there are is known in the end, and so are their names."""

    def __init__(self, root: Path, compression: Compression, bounds: list[int] | None) -> None:
        self.root = root
        self._compression = compression
        #: how many records each shard gets; None for as many as fit
        self._bounds = bounds
        self._file: BinaryIO | None = None
        self._writer: RecordWriter | None = None
        self._paths: list[Path] = []
        self.bytes = 0
        self.lengths: list[int] = []
        self.size = 0

    def make_room(self) -> None:
        """Begin a new file where there is none or the last one is full."""
        while not self.lengths or self.is_full():
            self._open()
        if self._writer is None:
            self._open()

    def write(self, record: bytes) -> None:
        """Append a record to the file that is open."""
        assert self._writer is not None
        self._writer.write(record)
        self.lengths[-1] += 1
        self.bytes += len(record)
        self.size += len(record)

    def is_full(self) -> bool:
        """Return whether the next record belongs in a new file."""
        if not self.lengths:
            return False
        if self._bounds is not None:
            return len(self.lengths) < len(self._bounds) and self.lengths[-1] >= self._bounds[len(self.lengths) - 1]
        return self.bytes >= SHARD_BYTES

    def adopt(self, line: Mapping[str, Any]) -> bool:
        """Take a shard that is there already for the next one; False if that would have another size."""
        k = len(self.lengths)
        if self._bounds is not None and (k >= len(self._bounds) or self._bounds[k] != line["samples"]):
            return False
        self._paths.append(self._path(k))
        self.lengths.append(line["samples"])
        self.bytes = line["bytes"]
        self.size += line["bytes"]
        return True

    def _path(self, number: int) -> Path:
        return self.root / f"{number}.shard"

    def _open(self) -> None:
        self.close()
        path = self._path(len(self._paths))
        self._file = path.open("wb")
        self._writer = RecordWriter(self._file, self._compression)
        self._paths.append(path)
        self.lengths.append(0)
        self.bytes = 0

    def end(self) -> Path | None:
        """End the file that is open and return it."""
        if self._file is None:
            return None
        self.close()
        return self._paths[-1]

    def close(self) -> None:
        """End the file that is open."""
        if self._file is not None and self._writer is not None:
            with self._file:
                self._writer.finish()
        self._file = self._writer = None

    def rename(self, schema: str, split: str) -> None:
        """Give the files their names."""
        while len(self._paths) < (1 if self._bounds is None else len(self._bounds)):
            self._open()
            self.close()
        for k, path in enumerate(self._paths):
            target = self.root / shard_name(schema, split, k, len(self._paths))
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)


def _bounds(count: int, shards: int) -> list[int]:
    """Return how many records each shard gets, as evenly as can be."""
    return [count * (k + 1) // shards - count * k // shards for k in range(shards)]
