"""CVAT's XML as CVAT exports it, as others write it, and as nobody should."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import maskloop_converters as mc
from maskloop_converters.codecs import cvat_rle
from maskloop_converters.errors import CodecError, FormatError
from maskloop_converters.formats import cvat

META = """<meta><job><labels>
<label><name>road</name><color>#800080</color><type>any</type><attributes></attributes></label>
<label><name>car</name><color>#ff0000</color></label>
<label><name>person</name><type>skeleton</type></label><label><name>knee</name><parent>person</parent></label>
</labels></job></meta>"""


def exported(root: Path, shapes: str, *, attributes: str = "", meta: str = META) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    image = f'<image id="7" name="a.png" {attributes} width="8" height="6">{shapes}</image>'
    (root / "annotations.xml").write_text(f"<annotations><version>1.1</version>{meta}{image}</annotations>")
    (root / "images").mkdir(exist_ok=True)
    Image.new("RGB", (8, 6)).save(root / "images" / "a.png")
    return root


def pixels(*rows: str) -> list[list[bool]]:
    return [[sign == "#" for sign in row] for row in rows]


SHAPES = {
    "mask": (
        '<mask label="car" source="auto" occluded="1" rle="0, 2, 3, 1" left="1" top="2" width="3" height="2" z_order="0">'
        '<attribute name="plate">x 1</attribute></mask>',
        ["........", "........", ".##.....", "...#....", "........", "........"],
    ),
    "box": (
        '<box label="car" source="manual" xtl="1.0" ytl="1.0" xbr="4.00" ybr="3.0" z_order="0"></box>',
        ["........", ".###....", ".###....", "........", "........", "........"],
    ),
    "box that is turned": (
        '<box label="car" xtl="1" ytl="2" xbr="5" ybr="4" rotation="90.0" z_order="0"></box>',
        ["........", "..##....", "..##....", "..##....", "..##....", "........"],
    ),
    "polygon": (
        '<polygon label="car" points="1.00,1.00;6.00,1.00;6.00,4.00;1.00,4.00" z_order="0"></polygon>',
        ["........", ".#####..", ".#####..", ".#####..", "........", "........"],
    ),
    "ellipse": (
        '<ellipse label="car" cx="4.0" cy="3.0" rx="3.0" ry="1.0" z_order="0"></ellipse>',
        ["........", "........", ".######.", ".######.", "........", "........"],
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(tmp_path: Path, name: str) -> None:
    shape, expected = SHAPES[name]
    dataset = mc.read(exported(tmp_path / "d", shape))
    assert dataset.format == "cvat"
    assert [(label.id, label.name, label.color) for label in dataset.labels.labels][:2] == [
        (0, "road", (128, 0, 128)),
        (1, "car", (255, 0, 0)),
    ]
    assert [label.name for label in dataset.labels.labels] == ["road", "car", "person"]
    (sample,) = dataset
    assert (sample.id, sample.image.name) == ("a", "a.png")
    assert sample.masks.mask(0).tolist() == pixels(*expected)
    if name == "mask":
        (region,) = sample.regions
        assert (region.label, region.origin) == (1, "prediction")
        assert dict(region.attributes) == {"plate": "x 1", "occluded": True}


def test_shapes_lie_as_their_z_order_says(tmp_path: Path) -> None:
    box = '<box label="{}" xtl="0" ytl="0" xbr="4" ybr="4" z_order="{}"/>'
    root = exported(tmp_path, box.format("car", 3) + box.format("road", -1) + box.format("person", 3))
    (sample,) = mc.read(root)
    assert [region.label for region in sample.regions] == [0, 1, 2]


def test_what_is_no_area_is_counted(tmp_path: Path) -> None:
    others = '<points label="car" points="1,1"/><polyline label="car" points="1,1;2,2"/><tag label="car"/><cuboid label="car"/>'
    dataset = mc.read(
        exported(tmp_path, others + '<skeleton label="person"><points label="knee" points="1,1"/></skeleton>')
    )
    (sample,) = dataset
    assert not sample.regions
    assert dataset.skipped.counts == {"shapes that are no areas": 5}
    text = (
        (tmp_path / "annotations.xml").read_text().replace("<image", '<track id="0" label="car"><box/></track><image')
    )
    (tmp_path / "annotations.xml").write_text(text)
    list(dataset)
    assert dataset.skipped.counts["tracks, which belong to videos"] == 1


def test_subsets_and_one_file_a_part(tmp_path: Path) -> None:
    root = exported(tmp_path / "one", "", attributes='subset="Train"')
    assert cvat.splits(root) == ("Train",)
    assert mc.read(root, split="Train").split == "Train"
    for part in ("train", "val"):
        exported(tmp_path / "more", "").joinpath("annotations.xml").rename(tmp_path / "more" / f"{part}.xml")
    assert cvat.splits(tmp_path / "more") == ("train", "val")
    assert [sample.id for sample in mc.read(tmp_path / "more")] == ["a", "val/a"]


MASK = '<mask label="car" rle="{}" left="{}" top="{}" width="{}" height="{}" z_order="0"/>'
BAD_SHAPES = {
    "runs": (MASK.format("0, 2", 1, 1, 3, 2), "its runs cover 2 pixels, its box has 3 x 2"),
    "far runs": (MASK.format("0, 9223372036854775807", 1, 1, 3, 2), "its runs cover"),
    "huge runs": (MASK.format("0, 99999999999999999999", 1, 1, 3, 2), "rle is a list of whole numbers"),
    "negative runs": (MASK.format("-6, 12", 1, 1, 3, 2), "its runs cover"),
    "box": (MASK.format("0, 6", 7, 1, 3, 2), "reaches out of the 8 x 6 image"),
    "large box": (MASK.format("0, 6", 0, 0, 10**8, 10**8), "reaches out"),
    "text": (MASK.format("zero", 1, 1, 3, 2), "rle is a list of whole numbers"),
    "no numbers": ('<mask label="car"/>', "left must be a whole number"),
    "label": ('<box label="tram" xtl="0" ytl="0" xbr="1" ybr="1"/>', "no label is named 'tram'; there are: road, car"),
    "points": ('<polygon label="car" points="1,1;2"/>', "a polygon is three points or more"),
    "far": ('<polygon label="car" points="1,1;1e9,2;3,3"/>', "far outside"),
    "nan": ('<box label="car" xtl="nan" ytl="0" xbr="1" ybr="1"/>', "xtl must be a number"),
    "z": ('<box label="car" xtl="0" ytl="0" xbr="1" ybr="1" z_order="top"/>', "z_order must be a whole number"),
}


@pytest.mark.parametrize("name", BAD_SHAPES)
def test_bad_shapes_are_named_and_skipped(tmp_path: Path, name: str) -> None:
    shape, message = BAD_SHAPES[name]
    root = exported(tmp_path, SHAPES["box"][0] + shape)
    with pytest.raises(FormatError, match=message) as caught:
        list(mc.read(root))
    assert "image 1 (a.png)" in str(caught.value)
    skipping = mc.read(root, on_error="skip")
    (sample,) = skipping
    assert len(sample.regions) == 1
    assert skipping.skipped.counts == {"shapes skipped": 1}


BOMB = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
BAD_FILES = {
    "entities": (f"{BOMB}<annotations><meta>&b;</meta></annotations>", "defines 'a'; a document type or entities"),
    "type": ('<!DOCTYPE annotations SYSTEM "file:///etc/passwd"><annotations/>', "a document type or entities"),
    "deep": ("<annotations>" + "<a>" * 100_000, "stand 64 deep"),
    "cut": ("<annotations><meta>", "no XML that can be read: no element found"),
    "other": ("<View><Image/></View>", "its root is <View>, expected <annotations>"),
    "no labels": ("<annotations><meta></meta></annotations>", "labels: there are none"),
    "no meta": ("<annotations></annotations>", "has no <meta>"),
    "encoding": ('<?xml version="1.0" encoding="x-nothing"?><annotations/>', "no XML that can be read"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_files_that_are_refused(tmp_path: Path, name: str) -> None:
    text, message = BAD_FILES[name]
    (tmp_path / "annotations.xml").write_text(text)
    with pytest.raises(FormatError, match=message):
        list(mc.read(tmp_path, "cvat"))


def test_masks_that_were_edited_are_not_taken_for_ours(make: Callable[..., mc.Dataset], tmp_path: Path) -> None:
    """What stands under our name belongs to the masks that we wrote; without it CVAT's own fields are read."""
    mc.write(make(1), tmp_path / "d", "cvat")
    file = tmp_path / "d" / "annotations.xml"
    whole = file.read_text()
    one = whole[whole.index("    <mask ") : whole.index("</mask>") + 8]
    file.write_text(whole.replace(one, "", 1))
    with pytest.raises(FormatError, match="its shapes are not those that 'maskloop' lists"):
        list(mc.read(tmp_path / "d"))
    lines = [line for line in whole.splitlines() if "<maskloop>" not in line]
    file.write_text("\n".join(lines))
    (after,), (before,) = mc.read(tmp_path / "d"), make(1)
    assert after.masks == before.masks
    assert [region.label for region in after.regions] == [region.label for region in before.regions]


def test_texts_that_xml_cannot_hold_come_back(tmp_path: Path, make: Callable[..., mc.Dataset]) -> None:
    names = ["a<b&\"c'", "tab\tline\n", "bell\x07", "\ufffe"]
    labels = mc.LabelSet.from_names(names)
    (sample,) = make(1)
    sample = mc.Sample("i\x01d<", sample.image, sample.masks, tuple(mc.Region(k, id=names[k]) for k in (0, 2, 3)))
    mc.write(mc.Dataset(labels, [sample]), tmp_path / "d", "cvat")
    (after,) = found = mc.read(tmp_path / "d")
    assert found.labels == labels
    assert after.id == sample.id
    assert after.regions == sample.regions


@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_run_lengths_there_and_back(height: int, width: int, data: st.DataObject) -> None:
    masks = [
        np.array(data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width)))
        for _ in range(data.draw(st.integers(0, 3)))
    ]
    runs = mc.RunList.from_masks((m.reshape(height, width) for m in masks), height=height, width=width)
    encoded = cvat_rle.encode(runs)
    for mask, (counts, (x, y, w, h)) in zip(masks, encoded, strict=True):
        flat = mask.reshape(height, width)[y : y + h, x : x + w].ravel()
        assert np.repeat(np.arange(counts.size) & 1, counts).tolist() == flat.astype(int).tolist()
    assert cvat_rle.decode([c for c, _ in encoded], [b for _, b in encoded], height, width) == runs


def test_runs_along_columns_are_refused() -> None:
    with pytest.raises(CodecError, match="along the rows"):
        cvat_rle.encode(mc.RunList.empty(2, 2, "F"))
