"""The classes of the scenes."""

from __future__ import annotations

from maskloop_converters.samples import Label, LabelSet

LABELS = LabelSet(
    (
        Label(0, "sky", (70, 130, 180)),
        Label(1, "building", (150, 75, 75)),
        Label(2, "road", (128, 64, 128)),
        Label(3, "tree", (60, 160, 60)),
        Label(4, "car", (30, 60, 200)),
        Label(5, "person", (230, 60, 40)),
    )
)
SKY, BUILDING, ROAD, TREE, CAR, PERSON = range(6)
