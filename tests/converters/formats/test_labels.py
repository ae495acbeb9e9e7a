from __future__ import annotations

import pytest

from maskloop_converters.errors import LabelError
from maskloop_converters.formats.known_labels import CAMVID, CITYSCAPES, VOC
from maskloop_converters.formats.labels import (
    color_table,
    labels_from_json,
    labels_to_json,
    palette,
    voc_color,
)
from maskloop_converters.samples import Label, LabelSet

# From PASCAL VOC's development kit, VOClabelcolormap.m.
VOC_COLORS = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 15: (192, 128, 128), 20: (0, 64, 128), 255: (224, 224, 192)}


@pytest.mark.parametrize("label_id", VOC_COLORS)
def test_voc_colors(label_id: int) -> None:
    assert voc_color(label_id) == VOC_COLORS[label_id]


def test_every_label_and_the_fill_have_a_colour_of_their_own() -> None:
    labels = LabelSet((Label(0, "a", (128, 0, 0)), Label(1, "b"), Label(2, "c", (128, 0, 0)), Label(700, "d")), 255)
    table = color_table(labels)
    assert table[0] == (128, 0, 0)
    assert set(table) == {0, 1, 2, 700, 255}
    assert len(set(table.values())) == len(table)
    assert table == color_table(labels)
    assert palette(table)[[0, 1, 255]].tolist() == [list(table[k]) for k in (0, 1, 255)]


@pytest.mark.parametrize("labels", [CAMVID, VOC, CITYSCAPES], ids=["camvid", "voc", "cityscapes"])
def test_known_label_sets(labels: LabelSet) -> None:
    assert labels_from_json(labels_to_json(labels)) == labels
    assert [label.id for label in labels.labels] == list(range(len(labels.labels)))


def test_sizes_of_the_known_label_sets() -> None:
    assert [len(labels.classes) for labels in (CAMVID, VOC, CITYSCAPES)] == [11, 21, 33]
    assert [labels.fill_id for labels in (CAMVID, VOC, CITYSCAPES)] == [11, 0, 0]
    assert [CITYSCAPES.by_name(name).id for name in ("road", "car", "bicycle")] == [7, 26, 33]


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"labels": [1]},
        {"labels": [{"id": True, "name": "x"}]},
        {"labels": [{"id": 1.5, "name": "x"}]},
        {"labels": [{"id": 1, "name": "x", "thing": 1}]},
        {"labels": [], "ignore_id": "255"},
    ],
)
def test_bad_label_documents(document: object) -> None:
    with pytest.raises(LabelError):
        labels_from_json(document)
