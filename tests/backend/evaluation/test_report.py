"""Reports as a browser has them: parsed, their pictures decoded, their figures those of the JSON."""

from __future__ import annotations

import base64
import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maskloop_backend.evaluation import report_values
from maskloop_backend.evaluation.assessment import assess
from maskloop_backend.evaluation.comparison import compare
from maskloop_backend.evaluation.gate import decide
from maskloop_backend.evaluation.measurement import measure
from maskloop_backend.evaluation.pictures import BAD, BOTH, GOOD, change, class_colors, framed, mistakes
from maskloop_backend.evaluation.report import check_place, write_gate_report, write_report
from maskloop_backend.training.metrics import VOID
from maskloop_converters.errors import OutputExistsError
from maskloop_converters.overlay import UNKNOWN_COLOR
from maskloop_converters.samples import LabelSet

from .labelled import Told, examples_of

NAMES = ("sky", "<road> & rail", "car")
VOID_ELEMENTS = {"meta", "img", "br", "line", "rect"}


class Page(HTMLParser):
    """A page: its text, pictures, and whether its tags are balanced."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.words: list[str] = []
        self.pictures: list[Image.Image] = []
        self.links: list[str] = []
        self._open: list[str] = []
        self.feed(path.read_text("utf-8"))
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.links += [value or "" for name, value in attrs if name in {"href", "src"}]
        if tag == "img":
            assert values["alt"]
            data = (values["src"] or "").removeprefix("data:image/jpeg;base64,")
            picture = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
            picture.load()
            self.pictures.append(picture)
        if tag not in VOID_ELEMENTS:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID_ELEMENTS:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def scene(car: int = 30) -> np.ndarray:
    target = np.zeros((90, 120), np.uint8)
    target[40:] = 1
    target[50:70, car : car + 40] = 2
    target[:3] = VOID
    return target


def predicted(target: np.ndarray, wrong: int, label: int = 1) -> np.ndarray:
    """The target with the left of its lower part wrong."""
    out = np.where(target == VOID, 0, target).astype(np.uint8)
    out[40:, :wrong] = label
    return out


def told(version: str, wrong: list[int], names: tuple[str, ...] = NAMES) -> Told:
    return Told(version, names, [predicted(scene(), width) for width in wrong])


def test_a_report_is_one_file_that_says_what_was_found(tmp_path: Path) -> None:
    version, other = told("new", [40, 60, 0, 0]), told("old", [60, 60, 60, 60])
    targets = [scene(), scene(), scene(), scene()]
    targets[3][50:70, 30:70] = 1
    examples = examples_of(targets, NAMES)
    assessment = assess(version, examples, against=other)
    page = write_report(tmp_path / "found", assessment, examples, version, source="street/")
    assert sorted(path.name for path in page.parent.iterdir()) == ["report.html", "report.json"]
    parsed, values = Page(page), json.loads((page.parent / "report.json").read_text("utf-8"))
    assert all(link.startswith("data:") for link in parsed.links)
    for text in ("new on street/", f"{values['miou']['value']:.3f}", "Suspicious labels", "new against old"):
        assert text in parsed.text
    assert all(name in parsed.text for name in NAMES)
    assert len(parsed.pictures) == 4 * 3 + 2 * len(values["suspects"])
    assert parsed.pictures[0].size == (120, 90)
    assert values["source"] == "street/"
    assert values["suspects"][0]["image"] == "003"
    # the worst image comes first
    worst_first = sorted(values["by_image"], key=lambda row: row["pixel_accuracy"])
    drawn = parsed.text.partition("Worst images")[2]
    places = [drawn.index(f"{row['image']} ") for row in worst_first]
    assert places == sorted(places)


def test_what_does_not_match_is_said(tmp_path: Path) -> None:
    version = Told("v", ["sky", "dog"], [np.eye(4, dtype=np.uint8)])
    examples = examples_of([np.zeros((4, 4))], ["sky", "car"])
    text = Page(write_report(tmp_path / "r", assess(version, examples), examples, version)).text
    assert "The version does not know car" in text
    assert "does not know dog" in text
    assert "other classes" in text


def test_perfection_and_many_classes_are_reported_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_values, "MATRIX_CLASSES", 2)
    version = Told("v", NAMES, [predicted(scene(), 0)])
    examples = examples_of([scene()], NAMES)
    text = Page(write_report(tmp_path / "r", assess(version, examples), examples, version)).text
    for line in ("No pixel is wrong", "None: nowhere is the model sure", "Of 3 classes; report.json has it"):
        assert line in text


def test_what_is_there_is_not_replaced_unasked(tmp_path: Path) -> None:
    version = told("v", [10])
    examples = examples_of([scene()], NAMES)
    assessment = assess(version, examples)
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        write_report(tmp_path, assessment, examples, version)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    write_report(tmp_path, assessment, examples, version, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]


@pytest.mark.parametrize(
    ("after", "before", "promote", "sections"),
    [
        ([0, 10, 20, 0], [60, 60, 60, 60], True, "No image got worse."),
        ([60, 60, 60, 60], [0, 10, 20, 0], False, "No image got better."),
        ([0, 0, 0, 80], [60, 60, 60, 60], True, "Most damaged images"),
    ],
)
def test_the_gate_s_report_says_why_and_shows_it(
    tmp_path: Path, after: list[int], before: list[int], promote: bool, sections: str
) -> None:
    versions = told("new", after), told("old", before)
    examples = examples_of([scene()] * 4, NAMES)
    candidate, serving = (measure(version, examples) for version in versions)
    part = ["000", "001", "002"]
    decision = decide(compare(candidate, serving), compare(candidate.of(part), serving.of(part)))
    assert decision.promote is promote
    extra: dict[str, Any] = {"changed_by_annotators": {"pixels": 0.25, "by_class": [{"class": "car", "iou": None}]}}
    page = write_gate_report(tmp_path / "gate", decision, candidate, serving, examples, versions, extra)
    parsed, values = Page(page), json.loads((page.parent / "report.json").read_text("utf-8"))
    assert parsed.text.count("Promoted only if") == 1
    assert ("Not promoted " in parsed.text) is not promote
    for text in (decision.reason, sections, "Changed by annotators", "0.25", "held-out corrections, 3 images"):
        assert text in parsed.text
    assert len(parsed.pictures) == 4 * 4
    assert values["promote"] is promote
    assert values["changed_by_annotators"] == extra["changed_by_annotators"]
    assert [row["image"] for row in values["by_image"]["serving"]] == ["000", "001", "002", "003"]
    # the report of a second attempt takes the place of the first
    write_gate_report(tmp_path / "gate", decision, candidate, serving, examples, versions, {})


def test_a_gate_report_on_some_of_the_images_draws_the_right_ones(tmp_path: Path) -> None:
    versions = told("new", [0, 0, 0, 0, 0]), told("old", [0, 60, 0, 0, 60])
    examples = examples_of([scene()] * 5, NAMES)
    candidate, serving = (measure(version, examples).of(["002", "003", "004"]) for version in versions)
    versions[0].asked.clear()
    decision = decide(compare(candidate, serving), None)
    write_gate_report(tmp_path / "gate", decision, candidate, serving, examples, versions, {})
    assert versions[0].asked == [4]


def test_changes_and_mistakes_have_their_colours() -> None:
    image = np.full((1, 6, 3), 100, np.uint8)
    target = np.array([[0, 0, 0, 0, 1, VOID]], np.uint8)
    before, after = np.array([[1, 0, 1, 0, 1, 0]], np.uint8), np.array([[0, 1, 2, 0, 1, 1]], np.uint8)
    drawn = change(image, target, before, after)[0].astype(int)
    for place, color in ((0, GOOD), (1, BAD), (2, BOTH)):
        assert np.abs(drawn[place] - color).max() < 60
    assert len({tuple(pixel) for pixel in drawn[3:5].tolist()}) == 1
    wrong = mistakes(image, target, after)[0].astype(int)
    assert [bool(pixel[0] > pixel[2] + 50) for pixel in wrong] == [False, True, True, False, False, False]


@pytest.mark.parametrize("box", [(0, 0, 10, 8), (50, 30, 10, 10), (4, 4, 1, 1), (0, 0, 60, 40)])
def test_a_frame_leaves_what_it_frames(box: tuple[int, int, int, int]) -> None:
    picture = np.random.default_rng(0).integers(1, 250, (40, 60, 3)).astype(np.uint8)
    left, top, width, height = box
    shown = framed(picture, box)
    inside = picture[top : top + height, left : left + width]
    y, x = min(top, max(32, width // 2, height // 2)), min(left, max(32, width // 2, height // 2))
    np.testing.assert_array_equal(shown[y : y + height, x : x + width], inside)


def test_a_class_that_the_set_lacks_has_a_colour_of_its_own() -> None:
    assert class_colors(LabelSet.from_names(["a", "b"]))[2] == UNKNOWN_COLOR


def test_a_report_goes_neither_into_the_dataset_nor_in_the_place_of_anything_but_a_report(tmp_path: Path) -> None:
    dataset, report = tmp_path / "dataset", tmp_path / "report"
    (dataset / "images").mkdir(parents=True)
    (dataset / "images" / "a.png").touch()
    for place in (dataset, dataset / "images", dataset / "new"):
        with pytest.raises(OutputExistsError, match="nothing was written"):
            check_place(place, dataset, overwrite=True)
    report.mkdir()
    (report / "report.html").touch()
    (report / "report.json").touch()
    check_place(report, dataset, overwrite=True)
    with pytest.raises(OutputExistsError, match="--overwrite"):
        check_place(report, dataset, overwrite=False)
    (report / "mine.txt").touch()
    with pytest.raises(OutputExistsError, match=r"holds what is no report \(mine\.txt\)"):
        check_place(report, dataset, overwrite=True)


def test_a_report_runs_nothing_and_what_it_is_told_is_text(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>{{ 7 * 191 }}\"'"
    versions = told("new", [0, 10]), told("old", [60, 60])
    examples = examples_of([scene()] * 2, NAMES)
    candidate, serving = (measure(version, examples) for version in versions)
    decision = decide(compare(candidate, serving), None)
    extra: dict[str, Any] = {hostile: {hostile: [hostile, None, True, 0.25]}, "items": [{"keys": 1}, {"values": []}]}
    page = write_gate_report(tmp_path / "gate", decision, candidate, serving, examples, versions, extra)
    text = page.read_text("utf-8")
    assert "default-src 'none'" in text
    assert "<script" not in text
    assert " style=" not in text
    assert "1337" not in text
    shown = Page(page).text
    assert f"{hostile}, -, True, 0.25" in shown
    assert "Items keys values 1 - - -" in shown
