"""The table in docs/label-configs.md: what every kind of label config pre-fills, what is learned of it, what is converted.

Every row is tried: a prediction is made for the config, submitted as the editor submits it, collected for a training and
read by the converters. ``MASKLOOP_WRITE_DOCS=1 pytest`` on this file writes the table anew.
"""

from __future__ import annotations

import io
import itertools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray
from PIL import Image

from maskloop_backend.inference.prediction import Prediction
from maskloop_backend.loop.changes import channels
from maskloop_backend.loop.corrections import from_export
from maskloop_backend.studio.label_config import match, parse
from maskloop_backend.studio.predictions import PredictionOptions, build
from maskloop_converters.errors import DataError, LabelError
from maskloop_converters.formats import labelstudio
from maskloop_converters.samples import LabelSet

DOCS = Path(__file__).parents[3] / "docs" / "label-configs.md"
NAMES = ("sky", "road", "car")
MODEL = LabelSet.from_names(list(NAMES), ignore_id=255)
HEIGHT, WIDTH = 60, 80
KINDS = ("Brush", "Bitmask", "Polygon", "Rectangle")
EXTRAS = {
    "KeyPointLabels": '<KeyPointLabels name="point" toName="image" smart="true"><Label value="car"/></KeyPointLabels>',
    "Choices": '<Choices name="good" toName="image"><Choice value="yes"/><Choice value="no"/></Choices>',
    "TextArea": '<TextArea name="note" toName="image"/>',
}


def scene(flipped: bool = False) -> NDArray[np.uint8]:
    """Return sky over road, and a car: a label map, uint8 (60, 80)."""
    found = np.zeros((HEIGHT, WIDTH), np.uint8)
    found[30:] = 1
    found[35:50, 20:60] = 2
    found[40:44, 25:30] = 1  # a hole
    return found[::-1].copy() if flipped else found


def labels(*names: str) -> str:
    return "".join(f'<Label value="{name}"/>' for name in names or NAMES)


def image(name: str = "image", value: str = "$image") -> str:
    return f'<Image name="{name}" value="{value}"/>'


def control(kind: str, *names: str, to: str = "image", more: str = "", name: str = "") -> str:
    return f'<{kind}Labels name="{name or kind.lower()}" toName="{to}" {more}>{labels(*names)}</{kind}Labels>'


def bare(*kinds: str, to: str = "image") -> str:
    tags = "".join(f'<{kind} name="{kind.lower()}" toName="{to}"/>' for kind in kinds)
    return f'{tags}<Labels name="labels" toName="{to}">{labels()}</Labels>'


@dataclass(frozen=True, slots=True)
class Row:
    """One label config.

    Attributes:
        title: what the table calls it.
        config: the XML inside <View>.
        data: the task's data, but for the images' addresses, which are called FIRST and SECOND.
        expected: what the model's label map looks like to the project, by image; None: as the model sees it.
    """

    title: str
    config: str
    data: Callable[[str, str], dict[str, Any]] = lambda first, second: {"image": first}
    expected: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] = lambda seen: seen


def _rows() -> list[Row]:
    rows = []
    for count in range(1, 5):
        for kinds in itertools.combinations(KINDS, count):
            title = ", ".join(f"{kind}Labels" for kind in kinds)
            rows.append(Row(title, image() + "".join(control(kind) for kind in kinds)))
    for count in range(1, 5):
        chosen = itertools.combinations(KINDS, count)
        rows += [Row(f"{', '.join(kinds)} + Labels", image() + bare(*kinds)) for kinds in chosen]
    pair = '<Image name="a" value="$left"/><Image name="b" value="$right"/>'

    def both(first: str, second: str) -> dict[str, Any]:
        return {"left": first, "right": second}

    def without(*gone: int) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
        return lambda seen: np.where(np.isin(seen, gone), 255, seen).astype(np.uint8)

    brush = image() + control("Brush")
    renamed = bare("Brush", to="b").replace('"brush"', '"brush2"').replace('"labels"', '"labels2"')

    def nested(first: str, second: str) -> dict[str, Any]:
        del second
        return {"my": {"image": first}, "pages": [{"url": "x.png"}, {"url": first}]}

    def divided(first: str, second: str) -> dict[str, Any]:
        del second
        return {"folder": first.rpartition("/")[0], "name": first.rpartition("/")[2]}

    rows += [
        Row("BrushLabels, boxes with other labels", image() + control("Brush", "sky", "road") + control("Rectangle", "car")),
        Row("two images, BrushLabels each", pair + control("Brush", to="a", name="one") + control("Brush", to="b", name="two"), both),
        Row("two images, BrushLabels and PolygonLabels", pair + control("Brush", to="a") + control("Polygon", to="b"), both),
        Row("two images, Brush + Labels each", pair + bare("Brush", to="a") + renamed, both),
        Row("two images, BrushLabels on one", pair + control("Brush", to="a"), both),
        Row("`alias`", image() + control("Brush").replace('value="car"', 'value="Vehicle" alias="car"')),
        Row("`alias` that is not the model's name", image() + control("Brush").replace('value="car"', 'value="car" alias="v1"')),
        Row("`predicted_values`", image() + control("Brush").replace('value="car"', 'value="Auto" predicted_values="car"')),
        Row(
            "`predicted_values` of two classes",
            image() + control("Brush", "sky").replace("</Brush", '<Label value="ground" predicted_values="road,car"/></Brush'),
            expected=lambda seen: np.where(seen == 2, 1, seen).astype(np.uint8),
        ),
        Row("labels in other case", image() + control("Brush", "Sky", "ROAD", "Car")),
        Row("a label that the model has not", image() + control("Brush", *NAMES, "river")),
        Row("a class without a label", image() + control("Brush", "sky", "road"), expected=without(2)),
        Row("BrushLabels, RectangleLabels with `model_skip`", image() + control("Brush") + control("Rectangle", more='model_skip="true"')),
        Row("BrushLabels with `model_skip`, PolygonLabels", image() + control("Brush", more='model_skip="true"') + control("Polygon")),
        Row("BrushLabels with `model_skip` alone", image() + control("Brush", more='model_skip="true"')),
        Row("`value=\"$my.image\"`", image(value="$my.image") + control("Brush"), nested),
        Row("`value=\"$pages[1].url\"`", image(value="$pages[1].url") + control("Brush"), nested),
        Row("`value=\"$folder/$name\"`", image(value="$folder/$name") + control("Brush"), divided),
        Row("`<Repeater>`", f'<Repeater on="$pages">{image(value="$pages[{{{{idx}}}}].url")}{control("Brush")}</Repeater>'),
        Row("`valueList`", '<Image name="image" valueList="$pages"/>' + control("Brush")),
        Row("labels from the task (`value=\"$labels\"`)", image() + '<BrushLabels name="brush" toName="image" value="$labels"/>'),
        Row("Brush without Labels", image() + '<Brush name="brush" toName="image"/>'),
        Row("KeyPointLabels alone", image() + EXTRAS["KeyPointLabels"]),
        Row("Choices alone", image() + EXTRAS["Choices"]),
        Row("TextArea alone", image() + EXTRAS["TextArea"]),
        Row("no Image", '<Text name="text" value="$text"/><Labels name="labels" toName="text"><Label value="car"/></Labels>'),
    ]  # fmt: skip
    rows.append(Row("with KeyPointLabels, Choices, TextArea or any of them", brush + "".join(EXTRAS.values())))
    return rows


ROWS = _rows()


def similar(found: NDArray[np.uint8], expected: NDArray[np.uint8]) -> str:
    """Return how near a label map comes to the one that was predicted."""
    if np.array_equal(found, expected):
        return "exact"
    return "outlines" if (found == expected).mean() > 0.97 else "boxes" if (found == expected).mean() > 0.6 else "WRONG"


def tried(row: Row, folder: Path) -> tuple[str, str, str]:
    """Return what the table says of a label config: pre-filled, learned, converted."""
    xml = f"<View>{row.config}</View>"
    try:
        mapping = match(parse(xml), MODEL)
    except LabelError as error:
        return f"refused: {error}", "", ""
    (folder / "images").mkdir()
    for name in ("first", "second"):
        out = io.BytesIO()
        Image.new("RGB", (WIDTH, HEIGHT)).save(out, "PNG")
        (folder / "images" / f"{name}.png").write_bytes(out.getvalue())
    seen = {tag.name: scene(flipped=number > 0) for number, tag in enumerate(mapping.images)}
    sure = np.full((HEIGHT, WIDTH), 200, np.uint8)
    predicted = {name: Prediction(label_map, sure, 0.8) for name, label_map in seen.items()}
    built = orjson.loads(orjson.dumps(build(predicted, mapping, PredictionOptions(), version="v")))
    task = {
        "id": 7,
        "data": row.data("/data/local-files/?d=images/first.png", "/data/local-files/?d=images/second.png"),
        "annotations": [{"id": 1, "parent_prediction": 3, "result": built["result"]}],
        "predictions": [{"id": 3, "result": built["result"]}],
    }
    export = folder / "export.json"
    export.write_text(json.dumps([task]))
    (folder / "export.label_config.xml").write_text(xml)
    expected = {name: row.expected(label_map) for name, label_map in seen.items()}

    collected = from_export(export, folder / "work", MODEL)
    assert set(collected.roles.values()) == {"accepted"}
    found = {sample.id: channels(sample, collected.labels) for sample in collected.samples}
    learned = [found.get("7" if len(seen) == 1 else f"7-{name}") for name in seen]
    assert all(one is not None for one in learned), found.keys()

    dataset = labelstudio.read(export, label_config=folder / "export.label_config.xml")
    written = [as_channels(sample.label_map(dataset.labels), dataset.labels) for sample in dataset]
    filled = dict.fromkeys(item["from_name"] for item in built["result"])
    tags = {m.control.name: m.control.tag for m in mapping.controls}
    shown = ", ".join(dict.fromkeys(tags[name] for name in filled if name in tags))
    return (
        shown,
        verdict([one for one in learned if one is not None], list(expected.values())),
        verdict(written, list(expected.values())),
    )


def as_channels(label_map: NDArray[Any], label_set: LabelSet) -> NDArray[np.uint8]:
    """Return a label map in the model's channels, whatever the project calls them."""
    called = {"vehicle": 2, "v1": 2, "auto": 2, "ground": 1}
    table = np.full(256, 255, np.uint8)
    for label in label_set.labels:
        name = label.name.lower()
        table[label.id] = NAMES.index(name) if name in NAMES else called.get(name, 255)
    return table[label_map]


def verdict(found: list[NDArray[np.uint8]], expected: list[NDArray[np.uint8]]) -> str:
    if len(found) != len(expected):
        return f"WRONG: {len(found)} images of {len(expected)}"
    return ", ".join(dict.fromkeys(similar(one, other) for one, other in zip(found, expected, strict=True)))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.title)
def test_every_label_config_is_right_or_refused(row: Row, tmp_path: Path) -> None:
    line = line_of(row, tmp_path)
    assert "WRONG" not in line
    if os.environ.get("MASKLOOP_WRITE_DOCS"):
        kept = DOCS.read_text().splitlines()
        written = [k for k, old in enumerate(kept) if old.startswith(f"| {row.title} |")]
        at = written[0] if written else len(kept)
        kept[at : at + len(written)] = [line]
        DOCS.write_text("\n".join(kept) + "\n")
    assert line in DOCS.read_text().splitlines()


def line_of(row: Row, folder: Path) -> str:
    filled, learned, converted = tried(row, folder)
    return f"| {row.title} | {filled} | {learned} | {converted} |"


def test_the_table_has_no_other_rows() -> None:
    lines = [line for line in DOCS.read_text().splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0][2:] for line in lines[1:]] == [row.title for row in ROWS]


@pytest.mark.parametrize("kinds", [k for n in (1, 2, 3) for k in itertools.combinations(EXTRAS, n)], ids="-".join)
@pytest.mark.parametrize("masks", ["Brush", "Bitmask", "Polygon", "Rectangle"])
def test_points_choices_and_texts_change_nothing(kinds: tuple[str, ...], masks: str, tmp_path: Path) -> None:
    (tmp_path / "with").mkdir()
    (tmp_path / "without").mkdir()
    config = image() + control(masks)
    beside = "".join(EXTRAS[kind] for kind in kinds)
    assert tried(Row("", config + beside), tmp_path / "with") == tried(Row("", config), tmp_path / "without")


def test_results_of_other_controls_do_no_harm(tmp_path: Path) -> None:
    """Points, choices and texts stand between the masks in what the editor submits."""
    xml = f"<View>{image()}{control('Brush')}{''.join(EXTRAS.values())}</View>"
    mapping = match(parse(xml), MODEL)
    sure = np.full((HEIGHT, WIDTH), 200, np.uint8)
    built = build({"image": Prediction(scene(), sure, 0.8)}, mapping, PredictionOptions(), version="v")
    result = orjson.loads(orjson.dumps(built))["result"]
    size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0, "to_name": "image"}
    point = {"x": 50, "y": 50, "width": 0.3, "keypointlabels": ["car"]}
    result += [
        {"id": "p", "from_name": "point", "type": "keypointlabels", "value": point, **size},
        {"id": "c", "from_name": "good", "type": "choices", "to_name": "image", "value": {"choices": ["yes"]}},
        {"id": "t", "from_name": "note", "type": "textarea", "to_name": "image", "value": {"text": ["so"]}},
    ]
    (tmp_path / "images").mkdir()
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "images" / "a.png")
    task = {"id": 1, "data": {"image": "/data/upload/1/a.png"}, "annotations": [{"id": 1, "result": result}]}
    (tmp_path / "export.json").write_text(json.dumps([task]))
    (tmp_path / "export.label_config.xml").write_text(xml)
    (sample,) = from_export(tmp_path / "export.json", tmp_path / "work", MODEL).samples
    np.testing.assert_array_equal(channels(sample, MODEL), scene())
    (sample,) = labelstudio.read(tmp_path / "export.json", label_config=tmp_path / "export.label_config.xml")
    assert len(sample.regions) == 3


def test_a_class_that_nothing_can_be_said_of_is_an_error() -> None:
    with pytest.raises(DataError, match="None of the model's classes"):
        match(parse(f"<View>{image()}{control('Brush', 'river')}</View>"), MODEL)
