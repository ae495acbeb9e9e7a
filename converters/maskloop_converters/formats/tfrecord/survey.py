"""What records hold, seen before they are read: their schema, and names of classes that stand in them alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path

from ...codecs.tfexample import Feature, decode_example, read_records
from ...errors import CodecError, FormatError
from ...report import ErrorPolicy
from ...samples import Label, LabelSet
from ..parts import SKIPPED
from .layout import LABELS, Files
from .schemas import MAP, MAP_FORMAT, OBJECT_LABELS, OBJECT_MASKS, OBJECT_TEXTS, TFDS_MAP, TFDS_MASKS, Schema

# Records without an object have no list of masks; so many of them in a row are a dataset of boxes.
_LOOKED_AT = 2000


def records(path: Path, policy: ErrorPolicy) -> Iterator[tuple[int, tuple[bytes, str]]]:
    """Yield number, record and what errors call it."""
    number = 0

    def damaged(error: CodecError) -> None:
        nonlocal number
        number += 1
        if policy.on_error == "fail":
            raise FormatError(f"{path}: {error}") from error
        policy.skipped.add(SKIPPED, f"{path}: {error}")

    try:
        with path.open("rb") as file:
            for record in read_records(file, on_damaged=damaged):
                yield number, (record, f"{path}, record {number}")
                number += 1
    except CodecError as error:
        raise FormatError(f"{path}: {error}") from error
    except OSError as error:
        raise FormatError(f"{path}: cannot read the file: {error}") from error


def decoded(record: bytes, where: str) -> dict[str, Feature]:
    """Return the features of a record."""
    try:
        return decode_example(record)
    except CodecError as error:
        raise FormatError(f"{where}: {error}") from error


def count_records(path: Path) -> int:
    """Return how many records a file has: of a plain one only the lengths are read."""
    count, at, size = 0, 0, path.stat().st_size
    with path.open("rb") as file:
        if file.read(2) in (b"\x1f\x8b", b"\x78\x9c", b"\x78\xda", b"\x78\x01"):
            return sum(1 for _ in records(path, ErrorPolicy("skip")))
        while at + 16 <= size:
            file.seek(at)
            at += int.from_bytes(file.read(8), "little") + 16
            count += at <= size
    return count


def _all(found: Iterable[Files], policy: ErrorPolicy) -> Iterator[tuple[dict[str, Feature], str]]:
    """Yield the features of all records, and what errors call them; what cannot be decoded the policy skips."""
    for _, (record, where) in chain.from_iterable(records(path, policy) for files in found for path in files.paths):
        with policy.record():
            yield decoded(record, where), where


def schema_of(found: list[Files]) -> Schema:
    """Return the schema of the first record whose features tell it; FormatError lists what is there.

    Shards may be empty, and images without an object have no masks.
    """
    boxes = 0
    for names, where in islice(_all(found, ErrorPolicy()), _LOOKED_AT):
        if MAP in names:
            return "panoptic" if text(names, MAP_FORMAT) == "raw" else "segmentation"
        if OBJECT_MASKS in names:
            return "detection"
        if "image" in names and (TFDS_MAP in names or TFDS_MASKS in names):
            return "tfds"
        if not any(name.startswith("image/") for name in names):
            raise FormatError(
                f"{where}: its features are those of no schema with masks: {', '.join(sorted(names))[:300]}; expected "
                f"{MAP} (DeepLab), {OBJECT_MASKS} (Object Detection API), or image with {TFDS_MAP} or {TFDS_MASKS} (TFDS)"
            )
        boxes += 1
    first = found[0].paths[0]
    if boxes:
        raise FormatError(
            f"{first.parent}: none of the first {boxes} records has masks; expected {MAP} (DeepLab) or {OBJECT_MASKS} "
            "(Object Detection API)"
        )
    raise FormatError(
        f"{first} holds no record, nor does any other shard, and no {LABELS} beside says what it would be"
    )


def named_in_records(found: list[Files]) -> LabelSet | None:
    """Return the classes that the records of the Object Detection API name themselves, None where they name none.

    Where they say names and no numbers, these are counted from 1 in alphabetical order.

    Raises:
        FormatError: two names of one number.
    """
    by_id: dict[int, str] = {}
    names: set[str] = set()
    for features, where in _all(found, ErrorPolicy("skip")):
        listed, numbers = texts(features, OBJECT_TEXTS), features.get(OBJECT_LABELS, [])
        names.update(listed)
        if not isinstance(numbers, list) and len(numbers) == len(listed):
            for label_id, name in zip(map(int, numbers.tolist()), listed, strict=True):
                if by_id.setdefault(label_id, name) != name:
                    raise FormatError(
                        f"{where}: label {label_id} is {name!r}, in records before it is {by_id[label_id]!r}"
                    )
    names -= set(by_id.values())
    if by_id:
        free = max(by_id) + 1
        by_id |= {free + k: name for k, name in enumerate(sorted(names))}
    else:
        by_id = dict(enumerate(sorted(names), 1))
    if not by_id:
        return None
    labels = tuple(Label(k, name) for k, name in sorted(by_id.items()))
    return LabelSet(labels, background_id=None if 0 in by_id else 0)


def texts(features: Mapping[str, Feature], key: str) -> list[str]:
    """Return the texts of a feature."""
    value = features.get(key, [])
    if not isinstance(value, list):
        if not value.size:
            return []
        raise FormatError(f"{key} is a list of numbers, expected texts")
    try:
        return [item.decode() for item in value]
    except UnicodeDecodeError as error:
        raise FormatError(f"{key} is not UTF-8") from error


def text(features: Mapping[str, Feature], key: str) -> str:
    """Return the text of a feature that has one value, '' where it is not there."""
    if key not in features:
        return ""
    value = features[key]
    if not isinstance(value, list):
        raise FormatError(f"{key} is a list of numbers, expected bytes")
    if len(value) != 1:
        raise FormatError(f"{key} has {len(value)} values, expected one")
    return texts(features, key)[0]
