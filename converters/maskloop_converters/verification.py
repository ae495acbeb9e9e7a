"""An output read back and compared with what was written: all that its format says it holds, and what was not compared.

A sample is noted while it is written, as one short hash an aspect (its masks, its labels, its scores, ...), so that the
source is read once. Where the writer counted a loss in a sample, its visible pixels are compared, and that is said.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

from . import datasets
from .errors import VerificationError
from .masks import RunList
from .options import declared
from .report import Tally
from .samples import Dataset, LabelSet, Region, Sample

_EXAMPLES = 5
_PIXELS = "visible pixels"
_IMAGE, _TURN = "image", "EXIF orientation"


class Noted:
    """What was written of a dataset, sample by sample, to be compared with what is read back.

    Args:
        dataset: its head: labels, name of the part, attributes.
        to: the format that is written.
        options: of the writer.
        ordered: whether samples come back in the order in which they were written; formats without a list of them have
            the order of their files' names.
    """

    def __init__(self, dataset: Dataset, to: str, options: Mapping[str, Any], *, ordered: bool = True) -> None:
        self._ordered = ordered
        self._dataset = dataset
        self._format = to
        self._images = options.get("images")
        self._samples: list[tuple[str, dict[str, bytes]]] = []
        self._soft = False

    def add(self, sample: Sample, *, lossy: bool) -> None:
        """Note a sample that was written; ``lossy``: the writer counted something that it could not hold."""
        aspects = _painted(sample, self._dataset.labels) if lossy else _aspects(sample, self._dataset.labels)
        self._soft = self._soft or any(region.edge is not None for region in sample.regions)
        if self._images == "upright" and sample.image.exif_orientation != 1:
            # Its pixels are encoded anew.
            for name in (_IMAGE, _TURN):
                aspects.pop(name, None)
        self._samples.append((sample.id, aspects))

    def compare(self, path: Path) -> tuple[int, Tally]:
        """Read an output and return how many samples are equal, and what of them was not compared.

        Raises:
            VerificationError: something differs; the message names samples and aspects.
        """
        found = datasets.read(path, self._format, **self._options())
        left_out = Tally()
        different = [
            f"the {what} of the dataset differ"
            for what, before, after in (
                ("labels", self._dataset.labels, found.labels),
                ("attributes", _json(self._dataset.attributes), _json(found.attributes)),
                ("part names", self._dataset.split, found.split),
            )
            if before != after
        ]
        count = 0
        pairs: Iterator[tuple[tuple[str, dict[str, bytes]] | None, Sample | None]]
        pairs = zip_longest(self._samples, found) if self._ordered else self._by_id(found)
        for wanted, got in pairs:
            count += 1
            if wanted is None or got is None:
                name = wanted[0] if wanted is not None else got.id if got is not None else ""
                different.append(f"{name}: {'not in the output' if got is None else 'not in the input'}")
            elif reason := self._difference(wanted, got, found.labels, left_out):
                different.append(f"{wanted[0]}: {reason}")
        if different:
            shown = "; ".join(different[:_EXAMPLES])
            raise VerificationError(
                f"{len(different)} of {count} samples came back different and the output was not put in place: {shown}"
            )
        return count, left_out

    def _by_id(self, found: Dataset) -> Iterator[tuple[tuple[str, dict[str, bytes]] | None, Sample | None]]:
        """Yield what was written and what is read of each sample."""
        waiting = dict(self._samples)
        for sample in found:
            aspects = waiting.pop(sample.id, None)
            yield (None if aspects is None else (sample.id, aspects)), sample
        yield from ((sample, None) for sample in waiting.items())

    def _options(self) -> dict[str, Any]:
        return {"soft": True} if self._soft and "soft" in declared(self._format, "read") else {}

    def _difference(
        self, noted: tuple[str, dict[str, bytes]], got: Sample, labels: LabelSet, left_out: Tally
    ) -> str | None:
        """Return how a sample differs from what was written, None if it does not."""
        sample_id, wanted = noted
        if got.id != sample_id:
            return f"came back as {got.id}"
        if _PIXELS in wanted:
            left_out.add("samples compared by their visible pixels only, as something of them is lost", sample_id)
            found = _painted(got, labels)
        else:
            found = _aspects(got, labels)
            if _IMAGE not in wanted or (_IMAGE not in found and self._images in (None, "reference")):
                wanted = {name: value for name, value in wanted.items() if name != _IMAGE}
                left_out.add("images not compared: out of reach, left where they are, or encoded anew", sample_id)
        differing = [name for name, value in wanted.items() if found.get(name) != value]
        return f"{', '.join(differing)} differ" if differing else None


def _aspects(sample: Sample, labels: LabelSet) -> dict[str, bytes]:
    """Return a hash of each aspect of a sample, by its name."""
    # Ids of the ignored label and the background need not be listed: they stand for themselves.
    names = {label.id: label.name for label in labels.labels}
    regions, masks, image = sample.regions, sample.masks, sample.image

    def each(value: Any) -> list[Any]:
        return [value(region) for region in regions]

    facts: dict[str, Any] = {
        "sizes": (sample.height, sample.width),
        "masks": masks.order.encode() + masks.offsets.tobytes() + masks.counts.tobytes(),
        "labels of the regions": each(lambda region: names.get(region.label, region.label)),
        "ids of the regions": each(lambda region: region.id),
        "scores": each(lambda region: region.score),
        "crowd flags": each(lambda region: region.crowd),
        "instance numbers": each(lambda region: region.instance),
        "origins": each(lambda region: region.origin),
        "soft edges": each(_edge),
        "attributes of the regions": each(lambda region: _json(region.attributes)),
        "attributes": _json(sample.attributes),
        "image names": image.name,
        "image addresses": image.uri,
        _TURN: image.exif_orientation,
    }
    data = image.read_bytes()
    if data is not None:
        facts[_IMAGE] = data
    return {name: _hash(value if isinstance(value, bytes) else repr(value).encode()) for name, value in facts.items()}


def _painted(sample: Sample, labels: LabelSet) -> dict[str, bytes]:
    """Return a hash of the visible pixels of each label."""
    ids, masks = RunList.from_label_map(sample.label_map(labels))
    known = {label.id: label.name for label in labels.labels}
    seen = [
        (known.get(int(label_id), ""), masks.row(k).tobytes())
        for k, label_id in enumerate(ids)
        if int(label_id) != labels.fill_id
    ]
    return {_PIXELS: _hash(repr(((sample.height, sample.width), sorted(seen))).encode())}


def _edge(region: Region) -> Any:
    return region.edge and (region.edge.positions.tobytes(), region.edge.alpha.tobytes())


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), sort_keys=True, default=repr)


def _hash(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=8).digest()
