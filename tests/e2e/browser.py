"""A person in front of Label Studio: a headless Chromium that logs in, opens tasks, looks at the drawn masks and submits."""

from __future__ import annotations

import base64
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

# A path; 'none' runs the tests as on a machine without a browser.
_NAMED = os.environ.get("MASKLOOP_TEST_CHROMIUM")
CHROMIUM = None if _NAMED == "none" else _NAMED or shutil.which("chromium") or shutil.which("google-chrome")
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Every region of the open annotation is drawn by the editor and its canvas holds at least one visible pixel.
_ALL_DRAWN = """count => {
  const selected = window.Htx?.annotationStore?.selected;
  if (!selected || selected.regions.length < count) return false;
  return selected.regions.every(region => {
    const canvas = region.layerRef?.getNativeCanvasElement?.();
    if (!canvas || !canvas.width || !canvas.height) return false;
    const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    for (let i = 3; i < data.length; i += 4) if (data[i]) return true;
    return false;
  });
}"""
# So many regions are there and every one of them has what it needs to be drawn.
_READY = """count => {
  const selected = window.Htx?.annotationStore?.selected;
  return selected && selected.regions.length === count && selected.objects.every(object => object.isReady !== false);
}"""
# The task's image, not one of the thumbnails beside it.
_BOX = """() => {
  const area = image => image.getBoundingClientRect().width * image.getBoundingClientRect().height;
  const images = [...document.querySelectorAll('img')].filter(i => i.src.startsWith('blob:') || i.src.includes('/data/'));
  const image = images.sort((one, other) => area(other) - area(one))[0], box = image.getBoundingClientRect();
  return {left: box.left, top: box.top, width: box.width, height: box.height,
          pixels: [image.naturalWidth, image.naturalHeight]};
}"""
# What of the image is on the screen: the editor may open it larger than the place that it has.
_VIEW = """() => {
  const box = document.querySelector('.konvajs-content').getBoundingClientRect();
  return {left: box.left, top: box.top, right: box.right, bottom: box.bottom};
}"""
_DRAWN = """box => {
  return {
    regions: window.Htx.annotationStore.selected.regions.map(region => {
      const canvas = region.layerRef.getNativeCanvasElement(), at = canvas.getBoundingClientRect();
      return {labels: region.labels, scale: canvas.width / at.width, png: canvas.toDataURL(),
              left: box.left - at.left, top: box.top - at.top, boxWidth: box.width, boxHeight: box.height};
    }),
  };
}"""


@dataclass(frozen=True, slots=True)
class DrawnRegion:
    """What one region looks like on the screen, sampled at the centre of every image pixel.

    Attributes:
        labels: as the editor shows them.
        alpha: uint8 (H, W), the opacity that the annotator sees; 0 = nothing drawn there.
    """

    labels: list[str]
    alpha: NDArray[np.uint8]


@dataclass(slots=True)
class Person:
    """A logged-in annotator's browser page."""

    page: Page
    url: str
    foreign_requests: list[str] = field(default_factory=list)

    def login(self, email: str, password: str) -> None:
        self.page.goto(f"{self.url}/user/login/")
        self.page.fill("input[name=email]", email)
        self.page.fill("input[name=password]", password)
        self.page.click("button[type=submit]")
        self.page.wait_for_url(lambda url: "/user/login" not in url)

    def label_next(self, project: int, *, regions: int) -> None:
        """Press 'Label All Tasks' and wait until so many regions of the first task are drawn.

        Not `?labeling=1`, which serves tasks as the data manager displays them, whatever the project's sampling is.
        """
        self.page.goto(f"{self.url}/projects/{project}/data")
        self.page.click("text=Label All Tasks")
        self.page.wait_for_function(_ALL_DRAWN, arg=regions)

    def open_task(self, project: int, task: int, *, regions: int) -> None:
        """Open one task from the data manager and wait until so many regions are drawn."""
        self.page.goto(f"{self.url}/projects/{project}/data?task={task}")
        self.page.wait_for_function(_ALL_DRAWN, arg=regions)

    def open_task_id(self) -> int:
        """Return the id of the task that is open."""
        return int(self.page.evaluate("() => window.Htx.task.id"))

    def drawn(self) -> list[DrawnRegion]:
        """Return what is on the screen, in the frame of the image as the browser shows it."""
        box = self.page.evaluate(_BOX)
        seen: dict[str, Any] = self.page.evaluate(_DRAWN, box)
        width, height = box["pixels"]
        regions = []
        for region in seen["regions"]:
            canvas = np.array(Image.open(io.BytesIO(base64.b64decode(region["png"].split(",")[1]))).convert("RGBA"))
            ys = (region["top"] + (np.arange(height) + 0.5) * region["boxHeight"] / height) * region["scale"]
            xs = (region["left"] + (np.arange(width) + 0.5) * region["boxWidth"] / width) * region["scale"]
            rows = np.clip(ys.astype(int), 0, canvas.shape[0] - 1)
            columns = np.clip(xs.astype(int), 0, canvas.shape[1] - 1)
            regions.append(DrawnRegion(list(region["labels"]), canvas[np.ix_(rows, columns)][..., 3]))
        return regions

    def paint(self, hotkey: str, *points: tuple[float, float]) -> None:
        """Draw a new region with the brush.

        Args:
            hotkey: of the label.
            points: (x, y) of the stroke, shares of the image's width and height.
        """
        box = self.page.evaluate(_BOX)
        there = "count => window.Htx.annotationStore.selected.regions.length === count"
        count = self.page.evaluate("() => window.Htx.annotationStore.selected.regions.length")
        self.page.keyboard.press(hotkey)
        at = [(box["left"] + x * box["width"], box["top"] + y * box["height"]) for x, y in points]
        self.page.mouse.move(*at[0])
        self.page.mouse.down()
        for x, y in at[1:]:
            self.page.mouse.move(x, y, steps=10)
        self.page.mouse.up()
        self.page.wait_for_function(there, arg=count + 1)

    def look_at(self, project: int, task: int, *, regions: int) -> None:
        """Open one task, whatever kinds of regions it has, and wait until the editor is ready and quiet."""
        self.page.goto(f"{self.url}/projects/{project}/data?task={task}")
        self.page.wait_for_function(_READY, arg=regions)
        self._settle()

    def select(self, label: str) -> None:
        """Click a region in the list of regions, by its label."""
        self.page.locator("[class*=outliner-item]").filter(has_text=label).first.click()
        chosen = "label => window.Htx.annotationStore.selected.selectedRegions.some(r => r.labels.includes(label))"
        self.page.wait_for_function(chosen, arg=label)

    def deselect(self) -> None:
        """Leave no region selected."""
        self.page.keyboard.press("Escape")
        self.page.wait_for_function("() => window.Htx.annotationStore.selected.selectedRegions.length === 0")

    def stroke(self, tool: str, *points: tuple[float, float]) -> None:
        """Paint with a tool, by its hotkey ('b' brush, 'e' eraser), in the region that is selected.

        Args:
            tool: hotkey.
            points: (x, y) of the stroke, shares of the image's width and height.
        """
        box = self.page.evaluate(_BOX)
        self.page.keyboard.press(tool)
        touches = "() => window.Htx.annotationStore.selected.selectedRegions[0].touches.length"
        before = self.page.evaluate(touches)
        at = [(box["left"] + x * box["width"], box["top"] + y * box["height"]) for x, y in points]
        self.page.mouse.move(*at[0])
        self.page.mouse.down()
        for x, y in at[1:]:
            self.page.mouse.move(x, y, steps=10)
        self.page.mouse.up()
        self.page.wait_for_function(f"before => ({touches})() > before", arg=before)

    def seen(self) -> NDArray[np.uint8]:
        """Return the screen over the image: uint8 (H, W, 3), sampled at the centre of every pixel; black where it is cut off."""
        self._settle()
        box, view = self.page.evaluate(_BOX), self.page.evaluate(_VIEW)
        shot = self.page.screenshot(style="[class*=toolbar] { visibility: hidden !important; }")
        screen = np.array(Image.open(io.BytesIO(shot)).convert("RGB"))
        width, height = box["pixels"]
        rows = box["top"] + (np.arange(height) + 0.5) * box["height"] / height
        columns = box["left"] + (np.arange(width) + 0.5) * box["width"] / width
        seen = screen[
            np.ix_(rows.clip(0, len(screen) - 1).astype(int), columns.clip(0, screen.shape[1] - 1).astype(int))
        ]
        seen[(rows <= view["top"]) | (rows >= view["bottom"])] = 0
        seen[:, (columns <= view["left"]) | (columns >= view["right"])] = 0
        return seen

    def _settle(self) -> None:
        """Wait until two pictures of the page, some frames apart, are the same; the mouse is out of the way."""
        self.page.mouse.move(1, 1)
        before = b""
        for _ in range(100):
            self.page.evaluate("() => new Promise(done => setTimeout(() => requestAnimationFrame(done), 150))")
            now = self.page.screenshot()
            if now == before:
                return
            before = now
        raise AssertionError("the page does not come to rest")

    def submit(self) -> None:
        """Press Submit and wait for Label Studio to have stored the annotation."""
        with self.page.expect_response(
            lambda r: r.request.method == "POST" and "/annotations" in urlsplit(r.url).path
        ) as answer:
            self.page.click("button[aria-label='Submit current annotation']")
        assert answer.value.ok, f"submit was answered {answer.value.status}"

    def screenshot(self, path: Path) -> None:
        self.page.screenshot(path=str(path))


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a headless Chromium and stop it afterwards; a process has one at a time, as Playwright wants it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def browse(browser: Browser, url: str, *, email: str, password: str) -> Iterator[Person]:
    """Open a page of its own, log in, and close it afterwards."""
    host = urlsplit(url).netloc
    with browser.new_context(viewport={"width": 1400, "height": 900}) as context:
        page = context.new_page()
        page.set_default_timeout(60_000)
        person = Person(page, url)
        page.on("request", lambda r: _note_foreign(person, r.url, host))
        person.login(email, password)
        yield person


def _note_foreign(person: Person, url: str, host: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"data", "blob"} and parts.netloc != host:
        person.foreign_requests.append(url)
