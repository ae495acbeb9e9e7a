"""Label list files of many tools."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from maskloop_converters.errors import FormatError
from maskloop_converters.formats.label_files import find_label_file, read_label_list, unknown_lists
from maskloop_converters.samples import Label, LabelSet

CAR, BUS = Label(1, "car", (255, 0, 0)), Label(2, "bus", (0, 255, 0))
BACKGROUND = Label(0, "background", (0, 0, 0))
COLORED = LabelSet((BACKGROUND, CAR, BUS), background_id=0)
NAMED = LabelSet((Label(0, "background"), Label(1, "car"), Label(2, "bus")), background_id=0)

LISTS = {
    # name, text, labels, whether the file says the ids
    "names": ("classes.txt", "background\ncar\nbus\n", NAMED, False),
    "names with spaces": ("names.txt", "traffic  light\nno parking 2\n", ["traffic light", "no parking 2"], False),
    "labelme": (
        "class_names.txt",
        "_background_\ncar\n",
        LabelSet((Label(0, "_background_"), Label(1, "car")), background_id=0),
        False,
    ),
    "labelme with its ignored": (
        "labels.txt",
        "__ignore__\n_background_\ncar\n",
        LabelSet((Label(0, "_background_"), Label(1, "car")), 255, 0),
        True,
    ),
    "numbers": ("labels.txt", "0 background\n1 car\n2 bus\n", NAMED, True),
    "numbers and colons": ("labels.txt", "0: background\n1: car\n2: bus\n", NAMED, True),
    "numbers and commas": ("labels.txt", "0,background\n1,car\n2,bus\n", NAMED, True),
    "numbers and colours": ("labels.txt", "0 background 0 0 0\n1 car 255 0 0\n2 bus 0 255 0\n", COLORED, True),
    "camvid": ("label_colors.txt", "0 0 0\tbackground\n255 0 0\tcar\n0 255 0\t\tbus\n", COLORED, False),
    "camvid of cvat": ("label_colors.txt", "0 0 0 background\n255 0 0 car\n0 255 0 bus\n", COLORED, False),
    "names and colours": ("label_colors.txt", "background 0 0 0\ncar 255 0 0\nbus 0 255 0\n", COLORED, False),
    "cvat": (
        "labelmap.txt",
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncar:255,0,0:wheel,door:\nbus:0,255,0::\n",
        COLORED,
        False,
    ),
    "datumaro's for voc": (
        "labelmap.txt",
        "# label:color_rgb:parts:actions\nbackground:::\ncar:::\nbus:::\n",
        NAMED,
        False,
    ),
    "csv": ("class_dict.csv", "name,r,g,b\nbackground,0,0,0\ncar,255,0,0\nbus,0,255,0\n", COLORED, False),
    "csv with numbers": ("labels.csv", "ID;Name\n0;background\n1;car\n2;bus\n", NAMED, True),
    "csv without a head": ("labels.csv", "0,background\n1,car\n2,bus\n", NAMED, True),
    "roboflow": ("_classes.csv", "Pixel Value, Class\n0, background\n1, car\n2, bus\n", NAMED, True),
    "ade20k": (
        "objectInfo150.txt",
        "Idx\tRatio\tTrain\tVal\tName\n1\t0.2\t11\t3\twall\n2\t0.1\t1\t1\tbuilding, edifice\n",
        LabelSet((Label(1, "wall"), Label(2, "building, edifice")), ignore_id=0),
        True,
    ),
    "datumaro": (
        "dataset_meta.json",
        json.dumps(
            {
                "label_map": {"0": "background", "1": "car", "2": "bus"},
                "segmentation_colors": [[0, 0, 0], [255, 0, 0], [0, 255, 0]],
                "background_label": "0",
            }
        ),
        COLORED,
        True,
    ),
    "json of names": ("classes.json", '["background", "car", "bus"]', NAMED, False),
    "json by number": ("classes.json", '{"0": "background", "2": "bus", "1": "car"}', NAMED, True),
    "json by name": ("classes.json", '{"background": 0, "car": 1, "bus": 2}', NAMED, True),
    "mapillary": (
        "config.json",
        json.dumps(
            {
                "labels": [
                    {"name": "construction--wall", "readable": "Wall", "color": [1, 2, 3]},
                    {"name": "void--unlabeled", "readable": "Unlabeled", "color": [0, 0, 0]},
                ]
            }
        ),
        LabelSet((Label(0, "construction--wall", (1, 2, 3)), Label(1, "void--unlabeled", (0, 0, 0))), 1),
        True,
    ),
    "yaml": ("data.yaml", "path: x\nnames: ['background', \"car\", bus]  # three\nnc: 3\n", NAMED, False),
    "yaml in lines": ("data.yaml", "names:\n  - background\n  # of all kinds\n  - car\n- bus\nnc: 3\n", NAMED, False),
    "yaml by number": ("data.yaml", "nc: 3\nnames:\n  0: background\n  1: car\n  2: 'bus'\n", NAMED, True),
    "label map": (
        "label_map.pbtxt",
        "item { id: 1 name: 'car' }",
        LabelSet((Label(1, "car"),), background_id=0),
        True,
    ),
}


@pytest.mark.parametrize("kind", LISTS)
def test_lists(tmp_path: Path, kind: str) -> None:
    name, text, expected, numbered = LISTS[kind]
    (tmp_path / name).write_text(text, "utf-8")
    assert find_label_file(tmp_path) == tmp_path / name
    found = read_label_list(tmp_path / name)
    assert found.labels == (expected if isinstance(expected, LabelSet) else LabelSet.from_names(expected))
    assert found.numbered is numbered


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("classes.json", "{}", "expected"),
        ("dataset_meta.json", '{"label_map": {"x": "y"}}', "invalid literal"),
        ("data.yaml", "nc: 3\n", "it has no names"),
        ("labels.csv", "x,y\na,b\n", "it has no column of names"),
        ("labels.csv", "name,r,g,b\ncar,1,2,999\n", "three numbers 0..255"),
        ("labels.txt", "1 car\n1 bus\n", "label id 1 stands twice"),
        ("labels.txt", "car\ncar\n", "label name 'car' stands twice"),
        ("labels.txt", "", "the list is empty"),
        ("labelmap.txt", "car\n", "expected lines such as"),
    ],
)
def test_what_is_no_list_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(FormatError, match=rf"{name}: not a label list: .*{message}"):
        read_label_list(tmp_path / name)


def test_the_first_folder_with_a_list_counts(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model": "unet"}')  # no list at all
    (tmp_path / "train").mkdir()
    assert find_label_file(tmp_path / "train", tmp_path) is None
    (tmp_path / "Labels.TXT").write_text("car\n")
    assert find_label_file(tmp_path / "train", tmp_path) == tmp_path / "Labels.TXT"
    (tmp_path / "my_categories.csv").write_text("?")
    assert tmp_path / "my_categories.csv" in unknown_lists(tmp_path)
