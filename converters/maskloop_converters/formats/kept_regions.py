"""Regions as JSON beside shapes that another tool reads: all that the shapes have no field for, and what is no shape there.

A record a region, in drawing order. Where its mask is a shape, that is the next of the shapes; else its run lengths stand in
the record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..codecs import coco_rle
from ..errors import FormatError
from ..masks import RunList
from ..samples import Region, Sample
from .coco.segmentation import Counts, check_counts, masks_of
from .records import region_from_json, region_to_json

#: The key, or element, that our records stand under.
KEY = "maskloop"


def records_of(sample: Sample, placed: Sequence[bool]) -> list[dict[str, Any]]:
    """Return the records of a sample's regions; ``placed`` says of each whether its mask is a shape."""
    records = []
    for k, region in enumerate(sample.regions):
        record = region_to_json(region)
        if not placed[k]:
            record["counts"] = coco_rle.encode(sample.masks.select([k]))[0].decode("ascii")
        records.append(record)
    return records


def restored(records: Any, shapes: RunList, size: tuple[int, int], where: str) -> tuple[list[Region], RunList]:
    """Return regions and masks of records and the masks of the shapes.

    Raises:
        FormatError: the shapes are not those that the records were written with.
    """
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise FormatError(f"{where}: regions under {KEY} must be a list of objects")
    if sum("counts" not in record for record in records) != len(shapes):
        raise FormatError(
            f"{where}: its shapes are not those that {KEY!r} lists; remove {KEY!r} from it to read the shapes alone"
        )
    regions, order, shape = [], [], 0
    counts: list[Counts] = []
    for k, record in enumerate(records):
        place = f"{where}, region {k}"
        regions.append(region_from_json(record, place))
        if "counts" not in record:
            order.append(shape)
            shape += 1
            continue
        if not isinstance(record["counts"], str):
            raise FormatError(f"{place}: counts must be a text, received {record['counts']!r:.80}")
        check_counts(record["counts"], *size, place)
        order.append(len(shapes) + len(counts))
        counts.append(record["counts"])
    return regions, RunList.concatenate([shapes, masks_of(counts, *size)]).select(order)
