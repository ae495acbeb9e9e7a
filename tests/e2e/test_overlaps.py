"""Where regions overlap: what the real editor shows is what training gets and what `convert` writes, pixel by pixel."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from browser import Person
from maskloop_backend.loop.changes import channels
from maskloop_backend.loop.corrections import from_project
from maskloop_backend.studio.client import StudioClient
from maskloop_backend.studio.images import ImageFetcher
from maskloop_backend.studio.local import LocalStudio
from maskloop_converters.codecs import png, studio_rle
from maskloop_converters.formats import labelstudio
from maskloop_converters.masks import RunList
from maskloop_converters.samples import LabelSet
from rig import maskloop

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

HEIGHT, WIDTH = 240, 320
NOTHING = 255
LABELS = LabelSet.from_names(["a", "b", "c"], ignore_id=NOTHING)
# pure colours on white: whichever lies on top has the strongest channel, half transparent as it is
_LISTED = '<Label value="a" background="#ff0000"/><Label value="b" background="#00ff00"/><Label value="c" background="#0000ff"/>'
_TAGS = {
    "brush": 'BrushLabels name="brush"',
    "bitmask": 'BitmaskLabels name="bitmask"',
    "polygon": 'PolygonLabels name="polygon"',
    "rectangle": 'RectangleLabels name="rectangle"',
}
CONFIG = (
    '<View><Image name="image" value="$image"/>'
    + "".join(
        f'<{head} toName="image" opacity="1" fillOpacity="1">{_LISTED}</{head.split()[0]}>' for head in _TAGS.values()
    )
    + "</View>"
)
# one control alone: hotkeys of tools are shared else
BRUSHES = (
    f'<View><Image name="image" value="$image"/><BrushLabels name="brush" toName="image">{_LISTED}</BrushLabels></View>'
)
BOXES = {"a": (40, 60, 180, 180), "b": (100, 60, 240, 180), "c": (90, 100, 200, 220)}


def region(number: int, kind: str, label: str, box: tuple[int, int, int, int], origin: str) -> dict[str, Any]:
    """Return a region as it stands in an annotation; box is x0, y0, x1, y1 in pixels."""
    x0, y0, x1, y1 = box
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y0:y1, x0:x1] = True
    runs = RunList.from_masks([mask], height=HEIGHT, width=WIDTH)
    value: dict[str, Any]
    if kind == "brush":
        value = {"format": "rle", "rle": list(studio_rle.encode(runs)[0])}
    elif kind == "bitmask":
        value = {"imageDataURL": "data:image/png;base64," + base64.b64encode(png.write_alpha(runs)[0]).decode()}
    elif kind == "polygon":
        corners = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
        value = {"points": [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in corners], "closed": True}
    else:
        x, width, y, height = 100 * x0 / WIDTH, 100 * (x1 - x0) / WIDTH, 100 * y0 / HEIGHT, 100 * (y1 - y0) / HEIGHT
        value = {"x": x, "y": y, "width": width, "height": height, "rotation": 0}
    return {
        "id": f"region{number}",
        "from_name": kind,
        "to_name": "image",
        "type": f"{kind}labels",
        "origin": origin,
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "image_rotation": 0,
        "value": {**value, f"{kind}labels": [label]},
    }


def tops(screen: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return which label lies on top at every pixel of the screen, and where that is sure: not at an edge."""
    found = screen.argmax(-1).astype(np.uint8)
    found[screen.min(-1) > 200] = NOTHING
    inside = screen.any(-1)
    for down in range(-2, 3):
        for right in range(-2, 3):
            moved = np.roll(screen, (down, right), (0, 1)).astype(int)
            inside &= np.abs(moved - screen).max(-1) < 8
    return found, inside


@dataclass(frozen=True, slots=True)
class Overlaps:
    """A project without a backend, and an image in it."""

    id: int
    address: str
    client: StudioClient

    def task(self, **more: Any) -> int:
        """Make a task and return its id."""
        before = set(self.client.task_ids(self.id))
        self.client.add_tasks(self.id, [{"data": {"image": self.address}, **more}])
        (made,) = set(self.client.task_ids(self.id)) - before
        return made


def new_project(client: StudioClient, folder: Path, title: str, config: str) -> Overlaps:
    out = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT), "white").save(out, "PNG")
    (folder / "white.png").write_bytes(out.getvalue())
    number = int(client.create_project(title, config)["id"])
    client.upload(number, [folder / "white.png"])
    (task,) = client.task_ids(number)
    return Overlaps(number, client.task(task)["data"]["image"], client)


@pytest.fixture(scope="module")
def overlaps(client: StudioClient, tmp_path_factory: pytest.TempPathFactory) -> Overlaps:
    return new_project(client, tmp_path_factory.mktemp("overlaps"), "overlaps", CONFIG)


def learned(project: Overlaps, studio: LocalStudio, folder: Path) -> dict[str, NDArray[np.uint8]]:
    """Return what a training would get of each task."""
    fetcher = ImageFetcher(studio.url, studio.token)
    collected = from_project(project.client, fetcher, project.id, folder / "collected", LABELS)
    return {sample.id: channels(sample, collected.labels) for sample in collected.samples}


def converted(project: Overlaps, folder: Path) -> NDArray[np.uint8]:
    """Return what `maskloop convert` writes of the one labelled task of a project."""
    (folder / "export.json").write_text(json.dumps(project.client.export(project.id)))
    (folder / "export.label_config.xml").write_text(BRUSHES)
    maskloop("convert", str(folder / "export.json"), str(folder / "out"), "--to", "png", "--from", "labelstudio")
    (path,) = (folder / "out" / "masks").glob("*.png")
    with Image.open(path) as mask:
        return np.array(mask)


@pytest.mark.parametrize(
    "kinds",
    [
        ("brush", "brush", "brush"),
        ("bitmask", "bitmask", "bitmask"),
        ("polygon", "rectangle", "polygon"),
        ("brush", "bitmask", "polygon"),
        ("bitmask", "brush", "rectangle"),
        ("polygon", "brush", "bitmask"),
        ("rectangle", "polygon", "brush"),
    ],
    ids="-".join,
)
def test_the_editor_draws_regions_in_the_order_that_we_read_them_in(
    overlaps: Overlaps, person: Person, tmp_path: Path, kinds: tuple[str, ...]
) -> None:
    listed = [
        region(k, kind, label, BOXES[label], "manual") for k, (kind, label) in enumerate(zip(kinds, "abc", strict=True))
    ]
    task = overlaps.task(annotations=[{"result": listed}])
    path = tmp_path / "task.json"
    path.write_text(
        json.dumps([{"id": task, "data": {"image": "/a.png"}, "annotations": [{"id": 1, "result": listed}]}])
    )
    (sample,) = labelstudio.read(path, labels=LABELS)
    expected = sample.label_map(LABELS)
    for _ in range(2):
        person.look_at(overlaps.id, task, regions=3)
        person.deselect()
        found, sure = tops(person.seen())
        assert sure.mean() > 0.7
        np.testing.assert_array_equal(found[sure], expected[sure])


# What is painted over the prediction 'a' on the left half and 'b' on the right half; 'a' stands first in the list.
def _extend_under(person: Person) -> None:
    person.select("b")
    person.stroke("b", (0.7, 0.4), (0.2, 0.4))


def _extend_above(person: Person) -> None:
    person.select("a")
    person.stroke("b", (0.3, 0.4), (0.8, 0.4))


def _erase(person: Person) -> None:
    person.select("a")
    person.stroke("e", (0.1, 0.6), (0.4, 0.6))


def _new_one_between(person: Person) -> None:
    """A stroke of 'c' over all; 'a', extended before, lies over it where both were painted."""
    person.select("a")
    person.stroke("b", (0.3, 0.4), (0.8, 0.4))
    person.deselect()
    person.paint("3", (0.65, 0.2), (0.65, 0.8))


_PAINTED_LAST = {"_extend_under": "b", "_extend_above": "a", "_erase": "a", "_new_one_between": "c"}


@pytest.mark.parametrize("edit", [_extend_under, _extend_above, _erase, _new_one_between])
def test_what_the_annotator_saw_is_learned_and_converted(
    client: StudioClient, studio: LocalStudio, person: Person, tmp_path: Path, edit: Callable[[Person], None]
) -> None:
    project = new_project(client, tmp_path, f"edited {edit.__name__}", BRUSHES)
    halves = [
        region(1, "brush", "a", (0, 0, 160, 240), "prediction"),
        region(2, "brush", "b", (160, 0, 320, 240), "prediction"),
    ]
    task = project.task(predictions=[{"model_version": "v", "result": halves}])
    person.look_at(project.id, task, regions=2)
    edit(person)
    person.screenshot(tmp_path / "at-work.png")
    person.submit()
    (annotation,) = client.task(task)["annotations"]
    # looked at again: where a stroke ends, what is drawn while painting and what is submitted differ by a pixel or two
    person.look_at(project.id, task, regions=len(annotation["result"]))
    at_rest, sure_at_rest = tops(person.seen())
    # the region that is selected lies on top of its kind, as it did while it was painted
    person.select(_PAINTED_LAST[edit.__name__])
    at_work, sure_at_work = tops(person.seen())
    result = {item["value"]["brushlabels"][0]: item for item in annotation["result"]}
    masks = {name: studio_rle.decode([item["value"]["rle"]], HEIGHT, WIDTH).mask(0) for name, item in result.items()}
    changed = {name for name, item in result.items() if item["origin"] != "prediction"}
    get = learned(project, studio, tmp_path)[str(task)]
    np.testing.assert_array_equal(converted(project, tmp_path), get)
    # the editor hides what was drawn under an untouched prediction as soon as it is not selected any more: there, what
    # the annotator saw at work counts; everywhere else, what is seen at rest
    drawn = np.any([masks[name] for name in changed], axis=0)
    untouched = np.any([masks[name] for name in result if name not in changed] or [np.zeros_like(drawn)], axis=0)
    several = np.sum([masks[name] for name in changed], axis=0) > 1
    behind = drawn & untouched & ~several
    np.testing.assert_array_equal(get[~behind & sure_at_rest], at_rest[~behind & sure_at_rest])
    np.testing.assert_array_equal(get[behind & sure_at_work], at_work[behind & sure_at_work])
    before = np.where(np.arange(WIDTH) < 160, 0, 1)[None].repeat(HEIGHT, 0)
    assert 300 < (get != before).sum() < 8000, "the stroke is in it"
