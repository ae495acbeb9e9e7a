"""Strokes of a draft against what Label Studio's editor made of them, and against geometry."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskloop_converters.codecs import brush_strokes, studio_rle
from maskloop_converters.errors import CodecError

DRAFT = json.loads((Path(__file__).parents[2] / "fixtures" / "codecs" / "editor_draft.json").read_text())


def stroke(points: list[float], width: float, kind: str = "add") -> dict[str, Any]:
    return {"type": kind, "relativePoints": points, "relativeStrokeWidth": width}


def test_a_recorded_draft_is_what_the_editor_submitted() -> None:
    size = DRAFT["height"], DRAFT["width"]
    expected = studio_rle.decode_alpha(bytes.fromhex(DRAFT["rle"]), *size)
    drawn = brush_strokes.rasterise(DRAFT["touches"], *size)
    ours, theirs = drawn > 127, expected > 127
    assert (ours & theirs).sum() / (ours | theirs).sum() > 0.99
    assert np.abs(drawn.astype(int) - expected).max() < 50


def test_a_dot_is_a_disc_and_a_line_has_round_ends() -> None:
    dot = brush_strokes.rasterise([stroke([50, 50], 20)], 100, 200)
    y, x = np.indices((100, 200)) + 0.5
    assert ((dot > 127) == (np.hypot(y - 50, x - 100) < 20)).all()
    line = brush_strokes.rasterise([stroke([25, 50, 75, 50], 20)], 100, 200)
    area = 100 * 40 + np.pi * 20**2
    assert abs(line.sum() / 255 - area) < 0.005 * area
    assert dot[50, 100] == line[50, 50] == line[50, 31] == 255
    assert line[50, 28] == line[50, 171] == 0


def test_the_eraser_takes_away_what_was_there() -> None:
    base = np.full((100, 200), 255, np.uint8)
    erased = brush_strokes.rasterise([stroke([50, 50], 20, "eraser")], 100, 200, base)
    assert (erased == 255 - brush_strokes.rasterise([stroke([50, 50], 20)], 100, 200)).all()
    both = brush_strokes.rasterise([stroke([50, 50], 20, "eraser"), stroke([50, 50], 20)], 100, 200, base)
    assert both[50, 100] == 255
    assert (base == 255).all()
    assert brush_strokes.rasterise([], 100, 200, base).tolist() == base.tolist()


@pytest.mark.parametrize("points", [[-50.0, 50.0, 150.0, 50.0], [100.0, 100.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
def test_strokes_may_leave_the_image(points: list[float]) -> None:
    large = brush_strokes.rasterise([stroke([50 + (p - 50) / 3 for p in points], 20 / 3)], 300, 600)
    assert (brush_strokes.rasterise([stroke(points, 20)], 100, 200) == large[100:200, 200:400]).all()


def test_bands_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    strokes = [stroke([10, 10, 90, 80, 30, 70], 12)]
    whole = brush_strokes.rasterise(strokes, 90, 110)
    monkeypatch.setattr(brush_strokes, "_BAND_PIXELS", 200)
    assert (brush_strokes.rasterise(strokes, 90, 110) == whole).all()


@pytest.mark.parametrize(
    ("touch", "message"),
    [
        (stroke([1, 2], 3, "fill"), "type is 'add' or 'eraser', not 'fill'"),
        ({"type": "add", "points": [1, 2], "strokeWidth": 3}, "has no relativePoints"),
        (stroke([1, 2, 3], 3), r"pairs of x and y in percent, not \[1.0, 2.0, 3.0\]"),
        (stroke([], 3), "pairs of x and y"),
        (stroke([1, float("nan")], 3), "pairs of x and y"),
        (stroke([1, 1e300], 3), "pairs of x and y"),
        (stroke([1, 2], 0), "a positive number of percent, not 0"),
        (stroke([1, 2], float("inf")), "not inf"),
        (stroke(["a", 2], 3), "are numbers"),  # type: ignore[list-item]
        (stroke([0, 0, 100, 100] * 70_000, 10), "more than anyone draws"),
    ],
)
def test_bad_strokes_are_named(touch: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brush_strokes, "_MOST_STROKE_PIXELS", 1 << 20)
    with pytest.raises(CodecError, match=f"stroke 1: .*{message}"):
        brush_strokes.rasterise([stroke([1, 2], 3), touch], 100, 200)


@pytest.mark.parametrize("base", [np.zeros((3, 4)), np.zeros((4, 3), np.uint8)])
def test_the_base_fits_the_image(base: Any) -> None:
    with pytest.raises(CodecError, match=r"uint8 \(3, 4\)"):
        brush_strokes.rasterise([], 3, 4, base)
