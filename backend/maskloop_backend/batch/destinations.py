"""Where finished shards go: a dataset of any format, on disk or at a URL, or predictions for a project."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maskloop_converters.errors import OptionError
from maskloop_converters.formats.gate import Gate, SampleWriter
from maskloop_converters.options import checked
from maskloop_converters.registry import load_target
from maskloop_converters.samples import Dataset, LabelSet

from ..inference import doubt
from . import masks, storage
from .errors import BatchError
from .items import Failure, Shard
from .manifest import Manifest
from .shard import Labelled

#: Beside the shards: the plan, the manifests, the report.
OWN = "_maskloop"


class _NothingError(Exception):
    """A shard has no labelled image: there is no dataset to make."""


@dataclass(frozen=True, slots=True)
class DatasetDestination:
    """A folder, or a prefix of an object store, with one dataset a shard: ``convert`` reads all of them as one.

    Attributes:
        root: path or URL.
        format: 'png', 'coco', 'tfrecord' or 'labelstudio'.
        options: of the format's writer.
        labels: of the dataset.
        version: the model version.
        plan: fingerprint of what is asked for; shards of another one are made again.
    """

    root: str
    format: str
    options: Mapping[str, Any]
    labels: LabelSet
    version: str
    plan: str = ""

    @contextmanager
    def opening(self, shard: Shard) -> Iterator[DatasetWriter]:
        """Give what takes the images of a shard; it is finished, or not there, when the block ends.

        The files come first, made aside and renamed, the manifest last. What a worker left that was killed between the
        two is replaced: the same images give the same bytes.
        """
        manifest = Manifest(shard.number, self.plan)
        head = Dataset(self.labels, (), self.format, count=len(shard.items))
        options = dict(self.options)
        try:
            if storage.is_url(self.root):
                with tempfile.TemporaryDirectory(prefix="maskloop-") as folder:
                    made = Path(folder) / shard.name
                    with self._files(head, manifest, made, options) as writer:
                        yield writer
                    storage.upload(made, storage.joined(self.root, shard.name))
            else:
                place = Path(self.root) / shard.name
                _remove_leftovers(place)
                with self._files(head, manifest, place, {**options, "overwrite": True}) as writer:
                    yield writer
        except _NothingError:
            pass
        storage.write(self.manifest_place(shard.number), manifest.to_bytes())

    @contextmanager
    def _files(
        self, head: Dataset, manifest: Manifest, place: Path, options: Mapping[str, Any]
    ) -> Iterator[DatasetWriter]:
        """Make a shard's files; none where no image could be labelled."""
        with storage.refusals(str(place)), load_target(self.format).opening(head, place, **options) as writer:
            yield DatasetWriter(self, manifest, writer)
            if not manifest.images:
                raise _NothingError

    def manifest_place(self, number: int) -> str:
        """Return where a shard's manifest is."""
        return storage.joined(self.root, f"{OWN}/shards/{number:05d}.jsonl")

    def manifests(self) -> Iterator[Manifest]:
        """Yield the manifests of the shards that are finished, by number."""
        folder = storage.joined(self.root, f"{OWN}/shards")
        for name in storage.names(folder):
            if name.endswith(".jsonl") and not name.startswith("."):
                place = storage.joined(folder, name)
                yield Manifest.of(storage.read(place), storage.spoken(place))


@dataclass(slots=True)
class DatasetWriter:
    """Writes the images of a shard as samples of a dataset."""

    destination: DatasetDestination
    manifest: Manifest
    writer: SampleWriter
    lines: list[bytes] = field(default_factory=list)
    _gate: Gate = field(init=False)

    def __post_init__(self) -> None:
        self._gate = Gate(self.destination.labels)

    def write(self, labelled: Labelled) -> int:
        """Write one image with its masks and return how many regions it has."""
        item, prediction = labelled.item, labelled.prediction
        # what stays where it is has to be a file; all else is what was hashed, whatever becomes of the file
        stays = self.destination.options.get("images") in ("link", "reference") and item.at
        source: Path | bytes = Path(item.at) if stays and not storage.is_url(item.at) else labelled.encoded
        uri = item.at if item.at and storage.is_url(item.at) else None
        image = masks.image_ref(item.name, source, labelled.encoded, uri)
        sample = masks.sample(
            item.name,
            item.sample_id,
            image,
            prediction,
            labelled.unsure,
            self.destination.labels,
            self.destination.version,
        )
        self._gate.write(sample, self.writer)
        figures = round(prediction.score, 4), doubt.share(labelled.unsure)
        self.manifest.images.append((item.name, labelled.sha256, *figures))
        self.manifest.regions += len(sample.regions)
        left = 0 if labelled.unsure is None else int(labelled.unsure.sum())
        self.manifest.void = (self.manifest.void[0] + left, self.manifest.void[1] + prediction.label_map.size)
        return len(sample.regions)

    def fail(self, failure: Failure) -> None:
        """Take note of an image that is not labelled."""
        self.manifest.failures.append(failure)


def _remove_leftovers(place: Path) -> None:
    """Remove what a worker that was killed left of a shard."""
    for suffix in ("partial", "replaced"):
        for folder in place.parent.glob(f".{place.name}.*.{suffix}"):
            shutil.rmtree(folder, ignore_errors=True)


def write_options(format_name: str, options: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Return the options of a format's writer, checked; Label Studio's JSON becomes predictions of the version.

    Raises:
        OptionError: the format has no such option, or its value is wrong.
        FormatError: there is no such format.
    """
    own = checked(format_name, "write", options)
    if format_name == "labelstudio":
        own = {"kind": "predictions", "model_version": version, **own}
        if own["kind"] == "annotations":
            raise OptionError(
                "labelstudio: what a model drew is no annotation; --kind is predictions or predictions-only here"
            )
    return own


def fingerprint(facts: Mapping[str, Any]) -> str:
    """Return what stands for a plan in its shards' manifests."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def check_root(root: str, fresh: bool) -> None:
    """Refuse to write shards into a folder that holds something else.

    Args:
        root: path or URL.
        fresh: no plan of ours is there.

    Raises:
        BatchError: something else is there.
    """
    if storage.is_url(root):
        return
    path = Path(root)
    if path.exists() and not path.is_dir():
        raise BatchError(f"{root} is a file; expected a folder to make, or one that `maskloop label` made")
    if fresh and path.is_dir() and (foreign := [entry.name for entry in path.iterdir() if entry.name != OWN]):
        raise BatchError(
            f"{root} holds what `maskloop label` did not write ({', '.join(sorted(foreign)[:3])}); nothing was written: give "
            "another place"
        )
