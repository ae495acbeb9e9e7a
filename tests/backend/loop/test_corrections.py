"""What annotators did, read from recorded and drawn exports."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maskloop_backend.demo.scenes import write_scenes
from maskloop_backend.loop.changes import Change, channels, summary
from maskloop_backend.loop.classes import new_labels
from maskloop_backend.loop.collected import CorrectionsError, role_of
from maskloop_backend.loop.corrections import from_dataset, from_export
from maskloop_converters.errors import FormatError
from maskloop_converters.samples import Label, LabelSet

from .conftest import NAMES, WriteExport, annotation, fields, picture, regions

RECORDED = Path(__file__).parents[2] / "fixtures" / "label-studio" / "editor_export_json.json"
KNOWN = LabelSet.from_names(list(NAMES))


def test_roles_of_what_the_editor_submitted(tmp_path: Path) -> None:
    """Task 7: the prediction as it was; 8: a stroke added; 9: erased, and a new region; 10: a new region."""
    collected = from_export(RECORDED, tmp_path, LabelSet.from_names(["sky", "road"]))
    assert collected.roles == {"7": "accepted", "8": "corrected", "9": "corrected", "10": "corrected"}
    assert collected.counts == {"corrected": 3, "manual": 0, "accepted": 1}
    assert [label.name for label in collected.labels.classes] == ["sky", "road", "car"]
    assert [sample.image.name for sample in collected.samples] == ["img0.png", "img2.png", "img3.jpg", "img4.jpg"]
    assert collected.notes == ("new classes: car; the head grows, the others keep what they learned",)


@pytest.mark.parametrize(
    ("origins", "derived", "removed", "role"),
    [
        (["manual", "manual"], False, False, "manual"),
        ([None], False, False, "manual"),
        (["prediction"], False, False, "accepted"),
        (["prediction", "prediction"], True, False, "accepted"),
        (["prediction"], True, True, "corrected"),
        (["prediction", "prediction-changed"], True, False, "corrected"),
        (["prediction", "manual"], False, False, "corrected"),
        (["manual"], True, False, "corrected"),
        ([], True, True, "corrected"),
    ],
)
def test_roles(origins: list[str | None], derived: bool, removed: bool, role: str) -> None:
    assert role_of(origins, derived=derived, removed=removed) == role


def test_of_several_annotations_the_latest_that_was_not_cancelled_counts(
    tmp_path: Path, write_export: WriteExport
) -> None:
    old, new = fields(1), fields(2)
    assert (old != new).any()
    task = {
        "id": 50,
        "data": {"image": "/data/upload/1/1.png"},
        "annotations": [
            annotation(9, regions(new, "manual")),
            annotation(5, regions(old, "manual")),
            annotation(20, regions(old, "manual"), was_cancelled=True),
        ],
    }
    cancelled = {**task, "id": 51, "annotations": [annotation(1, [], was_cancelled=True)]}
    empty = {**task, "id": 52, "annotations": [annotation(1, [])]}
    path = write_export("several", [fields(0)], more=[task, cancelled, empty])
    collected = from_export(path, tmp_path / "home", KNOWN)
    assert [sample.id for sample in collected.samples] == ["1", "50"]
    np.testing.assert_array_equal(channels(collected.samples[1], collected.labels), new)
    assert collected.skipped.counts == {
        "tasks whose annotations were all cancelled": 1,
        "tasks with an empty annotation": 1,
    }


def _picture(label_map: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture(label_map, 1)).save(out, "PNG")
    return out.getvalue()


def annotators(*drawn: dict[str, Any]) -> dict[str, Any]:
    return {"id": 50, "data": {"image": "/data/upload/1/1.png"}, "annotations": list(drawn)}


@pytest.mark.parametrize("background", [False, True])
def test_a_majority_is_learned_and_disagreement_is_void(
    tmp_path: Path, write_export: WriteExport, background: bool
) -> None:
    """Three people: in one field each has another class, in one two have nothing, elsewhere two agree."""
    maps = [np.zeros((64, 64), np.uint8) for _ in range(3)]
    for k, drawn in enumerate(maps):
        drawn[:32, :32] = k
        drawn[32:, :32] = 2 if k == 2 else 255  # nothing
        drawn[32:, 32:] = 1 if k else 0
    done = [annotation(k + 1, regions(drawn, "manual"), completed_by=k + 1) for k, drawn in enumerate(maps)]
    path = write_export("voted", [fields(0), fields(1)], more=[annotators(*done)])
    # the background is no label of the project
    known = LabelSet((*(Label(k, name) for k, name in enumerate(NAMES)), Label(3, "rest")), background_id=3)
    collected = from_export(path, tmp_path / "work", known if background else KNOWN, annotations="majority")
    assert [sample.id for sample in collected.samples] == ["1", "2", "50"]
    nothing = 3 if background else 255
    found = channels(collected.samples[2], collected.labels)
    assert found[0, 63] == 0
    assert found[63, 63] == 1
    assert (found[:32, :32] == 255).all(), "what nobody agrees on is nobody's to learn"
    assert (found[32:, :32] == nothing).all()
    assert any(note.startswith("1,024 pixels that annotators disagree about") for note in collected.notes)
    (sample,) = (one for one in from_export(path, tmp_path / "latest", KNOWN).samples if one.id == "50")
    np.testing.assert_array_equal(channels(sample, KNOWN), maps[2])


def test_an_image_on_which_nobody_agrees_is_left_out(tmp_path: Path, write_export: WriteExport) -> None:
    done = [annotation(k + 1, regions((fields(1) + k) % len(NAMES), "manual")) for k in range(2)]
    path = write_export("disputed", [fields(0), fields(1)], more=[annotators(*done)])
    collected = from_export(path, tmp_path / "work", KNOWN, annotations="majority")
    assert [sample.id for sample in collected.samples] == ["1", "2"]
    assert set(collected.roles) == {"1", "2"}
    assert collected.skipped.counts == {"images whose annotators agree on no pixel": 1}


def test_the_ground_truth_is_learned_on_request(tmp_path: Path, write_export: WriteExport) -> None:
    done = [annotation(1, regions(fields(1), "manual"), ground_truth=True), annotation(2, regions(fields(2), "manual"))]
    path = write_export("marked", [fields(0)], more=[annotators(*done)])
    collected = from_export(path, tmp_path / "work", KNOWN, annotations="ground-truth")
    assert [sample.id for sample in collected.samples] == ["50"]
    np.testing.assert_array_equal(channels(collected.samples[0], collected.labels), fields(1))
    assert collected.skipped.counts == {"tasks without an annotation that is marked as ground truth": 1}


def test_a_prediction_that_one_of_several_changed_is_corrected(tmp_path: Path, write_export: WriteExport) -> None:
    kept = annotation(1, regions(fields(1), "prediction"), parent_prediction=7)
    changed = annotation(2, regions(fields(1), "prediction-changed"), parent_prediction=7)
    roles = []
    for name, drawn in (("same", [kept, {**kept, "id": 3}]), ("not", [kept, changed])):
        path = write_export(name, [], more=[annotators(*drawn)])
        Path(path.parent / "images" / "1.png").write_bytes(_picture(fields(1)))
        roles.append(from_export(path, tmp_path / f"{name}-work", KNOWN, annotations="majority").roles["50"])
    assert roles == ["accepted", "corrected"]


def test_an_empty_annotation_is_all_background_where_there_is_one(tmp_path: Path, write_export: WriteExport) -> None:
    known = LabelSet((*KNOWN.labels, Label(7, "nothing")), background_id=7)
    empty = {"id": 9, "data": {"image": "/data/upload/1/1.png"}, "annotations": [annotation(1, [])]}
    hole = fields(0)
    hole[:20] = 255
    path = write_export("empty", [fields(0)], labelled=[hole], more=[empty])
    collected = from_export(path, tmp_path / "home", known)
    assert [label.name for label in collected.labels.classes] == [*NAMES, "nothing"]
    drawn, nothing = (channels(sample, collected.labels) for sample in collected.samples)
    assert (drawn[:20] == 3).all()
    np.testing.assert_array_equal(drawn[20:], hole[20:])
    assert (nothing == 3).all()


def test_pixels_that_nobody_labelled_are_ignored(tmp_path: Path, write_export: WriteExport) -> None:
    partly = fields(0)
    partly[:20] = 255
    (sample,) = (
        collected := from_export(write_export("partly", [fields(0)], labelled=[partly]), tmp_path, KNOWN)
    ).samples
    np.testing.assert_array_equal(channels(sample, collected.labels), partly)


def test_what_changed_is_counted_pixel_by_pixel(tmp_path: Path, write_export: WriteExport) -> None:
    before, after = fields(1), fields(1)
    after[:10, :32] = (before[0, 0] + 1) % 3
    path = write_export("changed", [fields(1), fields(2)], labelled=[after, fields(2)], predicted=[before, fields(2)])
    collected = from_export(path, tmp_path / "home", KNOWN)
    changes = [
        Change.between(
            sample.id,
            collected.roles[sample.id],
            channels(collected.predictions[sample.id], collected.labels),
            channels(sample, collected.labels),
            3,
            stored=True,
        )
        for sample in collected.samples
    ]
    report = summary(changes, NAMES)
    assert (report["images"], report["pixels"], report["changed"]) == (2, 2 * 64 * 64, 320)
    assert report["share"] == pytest.approx(320 / 8192)
    assert [image["id"] for image in report["by_image"]] == ["1", "2"]
    assert report["by_image"][1]["changed"] == 0
    for k, name in enumerate(NAMES):
        maps = [np.stack([one, fields(2)]) == k for one in (before, after)]
        assert report["iou"][name] == pytest.approx((maps[0] & maps[1]).sum() / (maps[0] | maps[1]).sum())


def test_erasing_without_redrawing_is_a_change() -> None:
    before, after = np.zeros((4, 4), np.uint8), np.full((4, 4), 255, np.uint8)
    assert Change.between("a", "corrected", before, after, 2, stored=True).changed == 16
    assert Change.between("a", "manual", before, after, 2, stored=False).pixels == 0


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([], "has no annotation yet: label some images first"),
        (
            [{"id": 1, "data": {"image": "1.png"}, "annotations": [annotation(1, [], was_cancelled=True)]}],
            r"nothing to learn from in 1 task\(s\): 1 tasks whose annotations were all cancelled \(task 1\)",
        ),
        (
            [{"id": k, "data": {"image": "1.png"}, "annotations": [annotation(1, [])]} for k in (1, 2)],
            r"nothing to learn from in 2 task\(s\): 2 tasks with an empty annotation \(task 1; task 2\)",
        ),
    ],
)
def test_nothing_to_learn_from(tmp_path: Path, tasks: list[Any], message: str) -> None:
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    with pytest.raises(CorrectionsError, match=message):
        from_export(tmp_path / "export.json", tmp_path / "home", KNOWN)


def test_images_that_are_gone_are_named_or_left_out(tmp_path: Path, write_export: WriteExport) -> None:
    path = write_export("gone", [fields(k) for k in range(4)])
    for name in ("2", "4"):
        (path.parent / "images" / f"{name}.png").unlink()
    with pytest.raises(CorrectionsError, match=r"2 image\(s\) cannot be had; --on-error skip .* task 2: .*; task 4"):
        from_export(path, tmp_path / "home", KNOWN)
    collected = from_export(path, tmp_path / "home", KNOWN, on_error="skip")
    assert [sample.id for sample in collected.samples] == ["1", "3"]
    assert collected.counts["images that are gone"] == 2


def test_an_image_that_is_damaged_is_named(tmp_path: Path, write_export: WriteExport) -> None:
    path = write_export("damaged", [fields(0)])
    (path.parent / "images" / "1.png").write_bytes(b"no picture")
    with pytest.raises(CorrectionsError, match="task 1: 10 bytes that are not an image"):
        from_export(path, tmp_path / "home", KNOWN)


def test_labels_that_the_config_lost_are_named(tmp_path: Path, write_export: WriteExport) -> None:
    path = write_export("lost", [fields(0), fields(1)])
    config = path.with_name("export.label_config.xml")
    config.write_text(config.read_text().replace('"blue"', '"azure"'))
    with pytest.raises(CorrectionsError, match="labels that its label config does not have: blue; was it changed"):
        from_export(path, tmp_path / "home", KNOWN)
    collected = from_export(path, tmp_path / "home", KNOWN, on_error="skip")
    assert [label.name for label in collected.labels.classes] == ["red", "green", "azure"]
    assert any("blue" in text for text in collected.skipped.examples["regions skipped"])


def test_labels_are_called_what_the_model_calls_them(tmp_path: Path, write_export: WriteExport) -> None:
    path = write_export("renamed", [fields(3)])
    config = path.with_name("export.label_config.xml")
    config.write_text(config.read_text().replace('value="red"', 'value="red" predicted_values="rouge"'))
    known = LabelSet.from_names(["GREEN", "rouge"])
    collected = from_export(path, tmp_path / "home", known)
    assert [label.name for label in collected.labels.classes] == ["GREEN", "rouge", "blue"]
    (sample,) = collected.samples
    np.testing.assert_array_equal(channels(sample, collected.labels), np.array([1, 0, 2], np.uint8)[fields(3)])


@pytest.mark.parametrize(
    ("known", "names", "complete", "expected"),
    [
        (["a", "b"], ["b", "c"], False, ["a", "b", "c"]),
        (["a", "b"], ["b", "c"], True, ["b", "c"]),
        (None, ["x", "y"], True, ["x", "y"]),
    ],
)
def test_which_classes_a_new_version_has(
    known: list[str] | None, names: list[str], complete: bool, expected: list[str]
) -> None:
    labels, notes = new_labels(names, None if known is None else LabelSet.from_names(known), complete=complete)
    assert [label.name for label in labels.classes] == expected
    assert [label.id for label in labels.classes] == list(range(len(expected)))
    assert ("classes without a label in the project: a; the new version will not have them" in notes) == (
        known is not None and complete
    )


def test_a_folder_of_pictures_is_drawn_by_hand(tmp_path: Path) -> None:
    write_scenes(tmp_path / "street", 3, size=(64, 64))
    collected = from_dataset(tmp_path / "street", "png")
    assert set(collected.roles.values()) == {"manual"}
    assert len(collected.samples) == 3


def test_what_is_no_export_says_so(tmp_path: Path) -> None:
    (tmp_path / "export.json").write_text('[{"id": 1, "annotations"')
    with pytest.raises(FormatError, match=r"export\.json"):
        from_export(tmp_path / "export.json", tmp_path / "home", KNOWN)
