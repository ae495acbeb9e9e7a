"""The matrix in docs/convert.md: what each way from a format to another loses, found out by going it.

``MASKLOOP_WRITE_DOCS=1 pytest`` on this file writes the table anew.
"""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import maskloop_converters as mc
from foreign_files import MAKERS
from maskloop_converters.codecs import png
from maskloop_converters.registry import FORMATS, READ_ONLY, TARGETS

DOCS = Path(__file__).parents[3] / "docs" / "convert.md"
BEGIN, END = "<!-- from x to: begin -->", "<!-- from x to: end -->"


def everything() -> mc.Dataset:
    """Two images with all that a dataset can have, and a dataset's own fields."""
    labels = mc.LabelSet(
        (mc.Label(3, "road", (1, 2, 3), thing=False), mc.Label(7, "car", (250, 0, 0), thing=True), mc.Label(9, "void")),
        ignore_id=9,
        background_id=0,
    )
    image = png.write_label_map(np.zeros((12, 16), np.uint8))
    samples = []
    for name in ("b", "a"):
        masks = np.zeros((6, 12, 16), bool)
        masks[0, 6:] = True
        masks[1, 4:9, 2:8] = True  # lies on the road
        masks[1, 6, 4] = False  # a hole
        masks[2, 1:3, 1:3] = masks[2, 1:3, 10:13] = True  # two pieces of one object
        masks[3, 3:11, 9:15] = True  # larger than what lies below it
        masks[4, :1] = True
        edge = mc.SoftEdge(np.array([0, 1]), np.array([200, 190], np.uint8))
        regions = (
            mc.Region(3, id="r0", origin="prediction", score=0.5),
            mc.Region(7, id="r1", instance=4, attributes={"lane": 2}),
            mc.Region(7, instance=5),
            mc.Region(7, crowd=True),
            mc.Region(9, edge=edge),
            mc.Region(7, id="empty"),
        )
        runs = mc.RunList.from_masks(masks, height=12, width=16)
        ref = mc.ImageRef(f"{name}.png", image, uri=f"s3://bucket/{name}.png")
        samples.append(mc.Sample(f"id {name}", ref, runs, regions, {"weather": "rain"}))
    return mc.Dataset(labels, samples, attributes={"info": {"year": 2026}}, split="train")


@cache
def lost() -> dict[tuple[str, str], tuple[str, ...]]:
    """Return what is lost on each way, as a conversion counts it; each is verified."""
    found = {}
    with TemporaryDirectory() as folder:
        for source in FORMATS:
            given = Path(folder, source)
            if source in READ_ONLY:
                MAKERS[source][0](given)
            else:
                mc.write(everything(), given, source)
            for target in TARGETS:
                out = Path(folder, f"{source}-{target}")
                report = mc.convert(given, out, target, source_format=source, verify=True)
                assert report.verified == 2
                found[source, target] = tuple(report.written.losses.counts)
    return found


def table() -> str:
    """Return the table, with a number for each set of losses."""
    ways = lost()
    numbers: dict[tuple[str, ...], int] = {}
    rows = []
    for source in FORMATS:
        cells = []
        for target in TARGETS:
            kinds = tuple(sorted(ways[source, target]))
            cells.append("nothing" if not kinds else str(numbers.setdefault(kinds, len(numbers) + 1)))
        rows.append(f"| **{source}** | {' | '.join(cells)} |")
    head = f"| from | {' | '.join(TARGETS)} |\n|{'---|' * (len(TARGETS) + 1)}"
    notes = [f"{number}. {'; '.join(kinds)}" for kinds, number in numbers.items()]
    return "\n".join([head, *rows, "", *notes])


def test_the_table_in_the_docs_is_true() -> None:
    text = DOCS.read_text()
    if os.environ.get("MASKLOOP_WRITE_DOCS"):
        text = re.sub(f"(?s){BEGIN}.*{END}", lambda _: f"{BEGIN}\n{table()}\n{END}", text)
        DOCS.write_text(text)
    assert text.partition(BEGIN)[2].partition(END)[0].strip() == table()


def test_formats_that_hold_everything_lose_soft_edges_at_most() -> None:
    for (source, target), kinds in lost().items():
        if target != "yolo":
            assert set(kinds) <= {"soft edge pixels made hard"}, (source, target)
