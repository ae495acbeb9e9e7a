"""Film a task that opens with its masks, in the real Label Studio: docs/images/opening.webp.

    python tests/e2e/film.py PICTURES --home HOME [--label Building] [--tool e] [--stroke 0.4,0.02 0.6,0.02]

HOME serves a version, PICTURES is a folder of images that it never saw. Label Studio runs on loopback (MASKLOOP_STUDIO_VENV
names an environment that has it), `maskloop serve` and `connect` as a user would run them, and Chromium clicks: the data
manager, Label All Tasks, a region of the list, a stroke in it, Submit. Screenshots have no pointer; it is drawn where it was.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from browser import _BOX, Person, browse, chromium
from maskloop_backend.registry.store import Registry
from maskloop_backend.studio.client import StudioClient
from maskloop_backend.studio.local import LocalStudio
from maskloop_converters.formats.labelstudio import config
from maskloop_converters.samples import LabelSet
from rig import ROOT, maskloop, serving

FILM = ROOT / "docs" / "images" / "opening.webp"
SCREEN, SHOWN = (1260, 798), (1000, 633)
# Brighter than the data set's own, which are hard to tell apart over dark streets.
COLORS = {
    "Sky": (74, 144, 217),
    "Building": (196, 102, 31),
    "Pole": (201, 201, 143),
    "Road": (132, 88, 179),
    "Pavement": (224, 90, 200),
    "Tree": (63, 158, 63),
    "SignSymbol": (230, 192, 42),
    "Fence": (199, 139, 90),
    "Car": (214, 48, 49),
    "Pedestrian": (243, 156, 18),
    "Bicyclist": (18, 165, 165),
}
# An arrow's outline, in pixels of the screen from its tip.
_POINTER = ((0, 0), (0, 22), (5, 17), (9, 26), (13, 24), (9, 16), (16, 16))
_ROWS = "[class*=row-wrapper]"
_SUBMIT = "button[aria-label='Submit current annotation']"
_DRAWN = "count => window.Htx?.annotationStore?.selected?.regions.length >= count"


@dataclass(slots=True)
class Camera:
    """Takes frames of a person's page.

    Attributes:
        person: whose page.
        frames: (picture, milliseconds that it is shown).
        at: where the pointer is, in pixels.
    """

    person: Person
    frames: list[tuple[Image.Image, int]] = field(default_factory=list)
    at: tuple[float, float] = (630.0, 500.0)

    def move(self, x: float, y: float, steps: int = 10) -> None:
        """Move the pointer."""
        self.person.page.mouse.move(x, y, steps=steps)
        self.at = x, y

    def over(self, box: dict[str, float]) -> None:
        """Move the pointer into the middle of a box."""
        self.move(box["x"] + min(box["width"] / 2, 120), box["y"] + box["height"] / 2)

    def take(self, milliseconds: int) -> None:
        """Take a frame."""
        shot = Image.open(io.BytesIO(self.person.page.screenshot())).convert("RGB")
        outline = [(self.at[0] + x, self.at[1] + y) for x, y in _POINTER]
        ImageDraw.Draw(shot).polygon(outline, fill="white", outline="black", width=2)
        self.frames.append((shot.resize(SHOWN, Image.Resampling.LANCZOS), milliseconds))

    def save(self, path: Path, quality: int) -> None:
        """Write the film, which begins again at its end."""
        first, *others = [frame for frame, _ in self.frames]
        durations = [shown for _, shown in self.frames]
        first.save(
            path, "WEBP", save_all=True, append_images=others, duration=durations, loop=0, quality=quality, method=6
        )


def box_of(locator: Any) -> dict[str, float]:
    """Return where an element is on the screen."""
    found = locator.bounding_box()
    assert found is not None
    return dict(found)


def film(person: Person, project: int, label: str, tool: str, stroke: list[tuple[float, float]]) -> Camera:
    """Do what an annotator does with the first task, and take frames of it.

    Args:
        person: logged in.
        project: whose tasks have predictions.
        label: of the region to put right.
        tool: hotkey, 'b' brush or 'e' eraser.
        stroke: points (x, y), shares of the image's width and height.
    """
    page, camera = person.page, Camera(person)
    page.set_viewport_size({"width": SCREEN[0], "height": SCREEN[1]})
    page.goto(f"{person.url}/projects/{project}/data")
    page.locator(_ROWS).first.wait_for()
    page.wait_for_load_state("networkidle")
    camera.move(*camera.at)
    camera.take(1200)
    camera.over(box_of(page.locator("text=Label All Tasks").first))
    camera.take(900)
    page.mouse.click(*camera.at)
    page.locator(_SUBMIT).wait_for()
    camera.take(400)
    page.wait_for_function(_DRAWN, arg=1)
    settle(person)
    camera.take(2200)
    region = page.locator("[class*=outliner-item]").filter(has_text=label).first
    camera.over(box_of(region))
    camera.take(700)
    page.mouse.click(*camera.at)
    page.wait_for_timeout(300)
    camera.take(1000)
    page.keyboard.press(tool)
    for milliseconds in painted(camera, stroke):
        camera.take(milliseconds)
    page.keyboard.press("Escape")
    camera.move(camera.at[0] + 40, camera.at[1] + 60)
    page.wait_for_timeout(300)
    camera.take(1300)
    camera.over(box_of(page.locator(_SUBMIT)))
    camera.take(700)
    with page.expect_response(lambda r: r.request.method == "POST" and "/annotations" in r.url) as answer:
        page.mouse.click(*camera.at)
    assert answer.value.ok
    settle(person)
    camera.take(2500)
    return camera


def painted(camera: Camera, stroke: list[tuple[float, float]]) -> Iterator[int]:
    """Draw a stroke; yields how long to show the screen, on the way."""
    page = camera.person.page
    box = page.evaluate(_BOX)
    points = [(box["left"] + x * box["width"], box["top"] + y * box["height"]) for x, y in stroke]
    camera.move(*points[0])
    yield 500
    page.mouse.down()
    for x, y in points[1:]:
        camera.move(x, y, steps=12)
        yield 260
    page.mouse.up()
    yield 600


def settle(person: Person) -> None:
    """Wait until two pictures of the page are the same; the pointer stays."""
    before = b""
    for _ in range(60):
        person.page.wait_for_timeout(250)
        if (now := person.page.screenshot()) == before:
            return
        before = now


def shown(labels: LabelSet) -> LabelSet:
    """Return a model's classes with the colours of the film."""
    return LabelSet(tuple(replace(one, color=COLORS.get(one.name, one.color)) for one in labels.classes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--title", default="Streets")
    parser.add_argument("--label", default="Building")
    parser.add_argument("--tool", choices=["b", "e"], default="e")
    parser.add_argument(
        "--stroke", nargs="+", default=["0.4,0.015", "0.46,0.02", "0.52,0.015", "0.58,0.01"], metavar="X,Y"
    )
    parser.add_argument("--quality", type=int, default=60)
    asked = parser.parse_args()
    stroke = [(float(x), float(y)) for x, _, y in (point.partition(",") for point in asked.stroke)]
    registry = Registry(asked.home)
    version = registry.serving()
    assert version is not None, f"{asked.home} serves no version"
    labels = registry.record(version).labels
    venv = Path(os.environ.get("MASKLOOP_STUDIO_VENV", ROOT / ".maskloop" / "studio-venv"))
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalStudio(Path(folder), venv=venv) as studio,
        StudioClient(studio.url, studio.token) as client,
        serving(asked.home, studio) as backend,
    ):
        xml = config.render(shown(labels), [("BrushLabels", "tag", "image")], {"image": "image"})
        project = int(client.create_project(asked.title, xml)["id"])
        client.upload(project, sorted(asked.pictures.iterdir()))
        reached = ("--studio-url", studio.url, "--studio-token", studio.token, "--backend-url", backend.url)
        maskloop("connect", "--project", str(project), *reached, env=backend.environment)
        with chromium() as browser, browse(browser, studio.url, email=studio.email, password=studio.password) as person:
            camera = film(person, project, asked.label, asked.tool, stroke)
    camera.save(FILM, asked.quality)
    sys.stdout.write(f"{FILM}: {len(camera.frames)} frames, {FILM.stat().st_size >> 10} KiB\n")


if __name__ == "__main__":
    main()
