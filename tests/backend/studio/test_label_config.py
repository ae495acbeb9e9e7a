from __future__ import annotations

import numpy as np
import pytest

from maskloop_backend.studio.label_config import UNMAPPED, match, parse
from maskloop_converters.errors import LabelError
from maskloop_converters.samples import Label, LabelSet

MODEL = LabelSet.from_names(["road", "car", "truck", "sky"])


def config(labels: str, tag: str = "BrushLabels", attributes: str = "") -> str:
    return (
        f'<View><Image name="img" value="$image"/><{tag} name="tag" toName="img" {attributes}>{labels}</{tag}></View>'
    )


def mapped(xml: str, model: LabelSet = MODEL) -> dict[str, str]:
    mapping = match(parse(xml), model)
    (control,) = mapping.controls
    return {
        label.name: control.names[control.lut[k]] for k, label in enumerate(model.classes) if control.lut[k] != UNMAPPED
    }


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ('<Label value="road"/><Label value="car"/>', {"road": "road", "car": "car"}),
        ('<Label value="Road"/><Label value="CAR"/>', {"road": "Road", "car": "CAR"}),
        ('<Label value="road"/><Label value="Road"/>', {"road": "road"}),
        ('<Label value="auto" predicted_values="car, truck"/>', {"car": "auto", "truck": "auto"}),
        ('<Label value="auto" predicted_values="CAR"/>', {"car": "auto"}),
        ('<Label value="car"/><Label value="road" predicted_values="car"/>', {"car": "road", "road": "road"}),
    ],
    ids=["exact", "case", "exact-wins", "several-classes-one-label", "predicted-case", "predicted-wins"],
)
def test_classes_find_their_label(labels: str, expected: dict[str, str]) -> None:
    assert mapped(config(labels)) == expected


def test_what_is_missing_and_unused_is_named_but_not_the_background() -> None:
    model = LabelSet((*MODEL.labels, Label(9, "background")), background_id=9)
    mapping = match(parse(config('<Label value="road"/><Label value="river"/>')), model)
    assert mapping.missing == ("car", "truck", "sky")
    assert mapping.unused == ("river",)
    assert [image.value for image in mapping.images] == ["$image"]


def test_each_control_has_its_own_mapping_and_skipped_ones_have_none() -> None:
    xml = """<View><Image name="img" value="$picture"/>
      <BrushLabels name="a" toName="img"><Label value="road"/></BrushLabels>
      <RectangleLabels name="b" toName="img" model_score_threshold="0.5"><Label value="car"/></RectangleLabels>
      <PolygonLabels name="c" toName="img" model_skip="true"><Label value="car"/></PolygonLabels>
      <BrushLabels name="d" toName="other"><Label value="car"/></BrushLabels></View>"""
    mapping = match(parse(xml), MODEL)
    assert [(m.control.name, m.names, m.control.score_threshold) for m in mapping.controls] == [
        ("a", ("road",), 0.0),
        ("b", ("car",), 0.5),
    ]
    assert [image.value for image in mapping.images] == ["$picture"]
    assert mapping.controls[0].lut.dtype == np.uint8


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<View>", "not well-formed XML"),
        ("", "not well-formed XML"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><View/>', "DOCTYPE or ENTITY"),
        ('<View><Text name="t" value="$t"/></View>', "no Image tag"),
        ('<View><Image name="i" value="$i"/><Choices name="c" toName="i"/></View>', "no BrushLabels"),
        (config('<Label value="road"/>').replace("$image", "image"), "expected \\$KEY"),
        (config("<Label value='road'/>", attributes='model_score_threshold="much"'), "expected a number from 0 to 1"),
        (config('<Label value="Stra\u00dfe"/>'), "None of the model's classes"),
        (config('<Label value="a" predicted_values="car"/><Label value="b" predicted_values="car"/>'), "fits several"),
    ],
)
def test_errors_are_one_line_of_ascii_for_a_reason_phrase(xml: str, message: str) -> None:
    with pytest.raises(LabelError, match=message) as error:
        match(parse(xml), MODEL)
    assert str(error.value).isascii()
    assert "\n" not in str(error.value)
