"""What no writer takes: named with the sample, left out under --on-error skip, whatever the format."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import maskloop_converters as mc
from maskloop_converters.errors import DataError, TargetError
from maskloop_converters.registry import TARGETS
from maskloop_converters.samples import SoftEdge

LABELS = mc.LabelSet.from_names(["road", "car"])


def picture(height: int, width: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height)).save(out, "PNG")
    return out.getvalue()


def sample(name: str, **fields: Any) -> mc.Sample:
    masks = mc.RunList.from_masks([np.eye(3, 4, dtype=bool)], height=3, width=4)
    whole = mc.Sample(name, mc.ImageRef(f"{name}.png", picture(3, 4)), masks, (mc.Region(1),))
    return replace(whole, **fields)


GOOD = sample("good")
FAR = SoftEdge(np.array([12]), np.array([9], np.uint8))
BAD = {
    "more regions than masks": (sample("a", regions=(mc.Region(1), mc.Region(0))), "sample a: 2 regions and 1 masks"),
    "fewer regions than masks": (sample("a", regions=()), "sample a: 0 regions and 1 masks"),
    "an id that stands twice": (GOOD, "sample good: the id stands twice"),
    "an empty id": (sample("", image=mc.ImageRef("a.png")), r"image a\.png: its id is empty"),
    "an unknown label": (sample("a", regions=(mc.Region(7),)), "sample a: region 0 has label 7"),
    "an absolute name": (sample("a", image=mc.ImageRef("/a.png")), "sample a: the file name '/a.png'"),
    "an image of another size": (
        sample("a", image=mc.ImageRef("a.png", picture(4, 4))),
        r"sample a: the image a\.png is 4 x 4 pixels, its masks are 4 x 3",
    ),
    "an image that is gone": (sample("a", image=mc.ImageRef("a.png", Path("gone.png"))), "sample a: there is no image"),
    "a score that is no number": (
        sample("a", regions=(mc.Region(1, score=float("nan")),)),
        "sample a, region 0: score",
    ),
    "an instance below zero": (sample("a", regions=(mc.Region(1, instance=-1),)), "sample a, region 0: instance"),
    "an attribute that is no JSON": (sample("a", attributes={"x": b""}), "sample a: an attribute is no JSON value"),
    "half a character in an id": (sample("a\ud800", image=mc.ImageRef("a.png")), "an attribute is no JSON value"),
    "an edge outside": (sample("a", regions=(mc.Region(1, edge=FAR),)), "sample a, region 0: its soft edge"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("to", TARGETS)
def test_no_writer_takes_what_cannot_be_read_again(tmp_path: Path, to: str, kind: str) -> None:
    bad, message = BAD[kind]
    dataset = mc.Dataset(LABELS, [GOOD, bad, sample("last")])
    with pytest.raises(DataError, match=message):
        mc.write(dataset, tmp_path / "out", to)
    assert list(tmp_path.iterdir()) == []
    report = mc.write(dataset, tmp_path / "out", to, on_error="skip")
    assert report.samples == 2
    assert list(report.skipped.counts.values()) == [1]
    assert [found.id for found in mc.read(tmp_path / "out", to)] == ["good", "last"]


LARGE = mc.LabelSet((mc.Label(1, "car", thing=True), mc.Label(70_000, "far")))
REFUSED: list[tuple[str, dict[str, Any], mc.Sample]] = [
    ("png", {"masks": "index"}, sample("a", regions=(mc.Region(70_000),))),
    ("tfrecord", {"schema": "panoptic"}, sample("a", regions=(mc.Region(1, instance=1000),))),
    ("labelstudio", {"kind": "predictions-only"}, sample("a")),
]


@pytest.mark.parametrize(("to", "options", "bad"), REFUSED, ids=[to for to, _, _ in REFUSED])
def test_what_one_target_cannot_hold_of_a_sample_is_under_the_same_policy(
    tmp_path: Path, to: str, options: dict[str, Any], bad: mc.Sample
) -> None:
    labels = LABELS if to == "tfrecord" else LARGE
    good = sample("7")
    with pytest.raises(TargetError, match="sample a"):
        mc.write(mc.Dataset(labels, [good, bad]), tmp_path / "out", to, **options)
    assert list(tmp_path.iterdir()) == []
    report = mc.write(mc.Dataset(labels, [bad, good]), tmp_path / "out", to, on_error="skip", **options)
    assert (report.samples, report.skipped.total) == (1, 1)
    assert [found.id for found in mc.read(tmp_path / "out", to)] == ["7"]
