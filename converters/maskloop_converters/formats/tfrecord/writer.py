"""Writing TFRecord files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from ...atomic import atomic_directory
from ...codecs import coco_rle
from ...codecs.tfexample import Compression, RecordWriter, encode_example, read_records, write_records
from ...errors import TargetError
from ...options import Option
from ...report import WriteReport
from ...samples import Dataset, Sample
from ..file_names import relative_path
from ..gate import gated
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
from .schemas import MASKS, ORIGINAL, RECORD, Numbers, Picture, Schema, features

#: A shard is closed when it has so many bytes; tf.data reads shards in parallel.
SHARD_BYTES = 256 << 20


@contextmanager
def opening(
    dataset: Dataset,
    path: Path,
    *,
    schema: Annotated[
        Schema,
        Option("Which readers: 'segmentation' is DeepLab and tf-models.", aliases=(("deeplab", "segmentation"),)),
    ] = "segmentation",
    shards: Annotated[int | None, Option("Number of files.", at_least=1, at_most=99999)] = None,
    compression: Annotated[Compression, Option("Compress the files.")] = "",
    overwrite: bool = False,
) -> Iterator[_Writer]:
    """Write a dataset as a folder of TFRecord files, with lists of labels beside them.

    Images are the bytes of the files. Those that TensorFlow would see turned or not at all (EXIF orientation, formats
    other than JPEG and PNG) are encoded anew, the original kept in a feature of ours.

    Args:
        dataset: what to write; samples follow one another through the shards in their own order.
        path: the folder to make.
        schema: 'segmentation' (DeepLab, tf-models: a label map; the ignored label is 255), 'panoptic' (DeepLab2: class *
            1000 + instance), 'detection' (TF Object Detection API: a PNG and a box an object, labels from 1), 'tfds' (for
            ``tfds.builder_from_directory``: label map and objects). 'deeplab' is 'segmentation'.
        shards: how many files, no more than there are samples; by default a new one every 256 MiB.
        compression: 'GZIP' compresses each file; its readers must be told so (TFDS cannot be).
        overwrite: replace what is there.

    Yields:
        The writer of samples; its report says what was written, and what is lost: soft edges.

    Raises:
        OutputExistsError: something is there already.
        TargetError: a label id above 65535, an instance above 999 in a panoptic map, GZIP for TFDS.
    """
    if schema == "tfds" and compression:
        raise TargetError("TFDS reads no compressed files; leave --compression out")
    with atomic_directory(path, overwrite=overwrite) as root:
        split = dataset.split or NO_SPLIT.get(schema, NO_SPLIT[""])
        if relative_path(split, "the split").parts != (split,):
            raise TargetError(f"the split is part of file names and cannot be called {split!r}")
        with closing(_Shards(root, compression, shards)) as out:
            writer = _Writer(dataset, schema, out)
            yield writer
            out.finish()
        out.rename(schema, split)
        _write_lists(root, writer, split, out)


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
    _out: _Shards
    report: WriteReport = field(default_factory=WriteReport)
    names: dict[int, str] = field(init=False)
    numbers: Numbers = field(init=False)

    def __post_init__(self) -> None:
        self.names = label_names(self.dataset.labels)
        self.numbers = Numbers.of(self.dataset.labels, self.names)

    def write(self, sample: Sample) -> None:
        """Write a sample into the shard that is open."""
        self._out.write(self._record(sample))
        self.report.samples += 1
        self.report.regions += len(sample.regions)

    def _record(self, sample: Sample) -> bytes:
        """Return the serialised Example of a sample."""
        where = f"sample {sample.id}"
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
        return encode_example(example)


class _Shards:
    """Writes records into one file after another; how many there are is known in the end, and so are their names.

    With a number of shards, all records go into one file first, which is cut when they are counted: no sooner is it
    known how many there are, as some may be skipped.
    """

    def __init__(self, root: Path, compression: Compression, shards: int | None) -> None:
        self._root = root
        self._compression = compression
        self._shards = shards
        self._file: BinaryIO | None = None
        self._writer: RecordWriter | None = None
        self._paths: list[Path] = []
        self._bytes = self._opened = 0
        self.lengths: list[int] = []
        #: of all records
        self.size = 0

    def write(self, record: bytes) -> None:
        """Append a record, to a new file where there is none or the last one is full."""
        if self._writer is None or (self._shards is None and self._bytes >= SHARD_BYTES):
            self._open("" if self._shards is not None else self._compression)
        assert self._writer is not None
        self._writer.write(record)
        self.lengths[-1] += 1
        self._bytes += len(record)
        self.size += len(record)

    def finish(self) -> None:
        """End the last file; cut it into shards where their number was given."""
        self.close()
        if self._shards is not None and self._paths:
            self._cut(self._paths.pop(), self.lengths.pop(), self._shards)
        elif not self._paths:
            self._open(self._compression)
            self.close()

    def _cut(self, whole: Path, count: int, shards: int) -> None:
        """Deal the records of a file out to shards, as evenly as can be and none of them empty."""
        shards = min(shards, count)
        with whole.open("rb") as file:
            records = read_records(file)
            for k in range(shards):
                length = count * (k + 1) // shards - count * k // shards
                self._paths.append(self._path())
                with self._paths[-1].open("wb") as shard:
                    self.lengths.append(write_records(shard, islice(records, length), self._compression))
        whole.unlink()

    def _open(self, compression: Compression) -> None:
        self.close()
        path = self._path()
        self._file = path.open("wb")
        self._writer = RecordWriter(self._file, compression)
        self._paths.append(path)
        self.lengths.append(0)
        self._bytes = 0

    def _path(self) -> Path:
        self._opened += 1
        return self._root / f"{self._opened}.shard"

    def close(self) -> None:
        """End the file that is open."""
        if self._file is not None and self._writer is not None:
            with self._file:
                self._writer.finish()
        self._file = self._writer = None

    def rename(self, schema: str, split: str) -> None:
        """Give the files their names."""
        for k, path in enumerate(self._paths):
            target = self._root / shard_name(schema, split, k, len(self._paths))
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)


write = gated(opening)
