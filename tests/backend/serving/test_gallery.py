"""Pictures of predictions: small, few, and the right ones."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from maskloop_backend.inference.prediction import Prediction
from maskloop_backend.serving.page.gallery import SIDE, Gallery, shrunk
from maskloop_converters.samples import LabelSet

LABELS = LabelSet.from_names(["road", "car"])


def add(gallery: Gallery, task: int, score: float, *, version: str = "v1", project: str = "5", side: int = 40) -> None:
    image = np.full((side, 2 * side, 3), 90, np.uint8)
    label_map = np.zeros((side, 2 * side), np.uint8)
    label_map[:, side:] = 1
    confidence = np.full_like(label_map, 255)
    confidence[:, side:] = 90
    gallery.add(shrunk(image), Prediction(label_map, confidence, score), LABELS, version, project, str(task))


def test_lists_are_bounded_and_hold_each_task_once() -> None:
    gallery = Gallery(recent=3, unsure=2, corrected=1)
    for task, score in ((1, 0.5), (2, 0.9), (3, 0.1), (4, 0.7), (4, 0.6)):
        add(gallery, task, score)
    assert [picture.task for picture in gallery.recent()] == ["4", "3", "2"]
    assert [picture.task for picture in gallery.unsure()] == ["3", "1"]
    gallery.submitted("5", "3", 0.2)
    gallery.submitted("5", "2", 0.6)
    gallery.submitted("5", "99", 0.9)
    assert [picture.task for picture in gallery.unsure()] == ["1"]
    for task in (6, 7, 8):
        add(gallery, task, 0.99)
    # the one that was corrected most stays, however long ago it was predicted
    assert (gallery.of("5", "2"), gallery.of("5", "3")) == (gallery.picture(2), None)


def test_a_newer_version_says_itself_what_it_is_unsure_of() -> None:
    gallery = Gallery()
    for project in ("5", "6"):
        add(gallery, 1, 0.1, project=project)
    add(gallery, 2, 0.8, version="v2")
    assert [(picture.project, picture.task) for picture in gallery.unsure()] == [("6", "1"), ("5", "2")]


@pytest.mark.parametrize("side", [1, 40, 3000])
def test_pictures_are_small_and_show_masks_and_doubt(side: int) -> None:
    gallery = Gallery()
    add(gallery, 1, 0.5, side=side)
    (picture,) = gallery.recent()
    assert max(picture.label_map.shape) <= SIDE
    assert picture.image.nbytes + picture.label_map.nbytes + picture.confidence.nbytes <= 5 * SIDE * SIDE
    masks, doubt = (
        np.asarray(Image.open(io.BytesIO(part))).astype(int) for part in (picture.overlay(), picture.unsure())
    )
    assert masks.shape[:2] == doubt.shape[:2] == picture.label_map.shape
    if side > 1:
        # a different colour for each class; orange only where it is unsure
        assert np.abs(masks[:, :10].mean((0, 1)) - masks[:, -10:].mean((0, 1))).max() > 30
        assert doubt[:, -10:, 0].mean() - doubt[:, -10:, 2].mean() > 60
        assert abs(doubt[:, :10, 0].mean() - doubt[:, :10, 2].mean()) < 10
