"""The server's page in a real browser: every element is there, the buttons work, and pictures of it are taken.

MASKLOOP_SCREENSHOTS=docs/images writes the pictures that the documentation shows.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page

from maskloop_backend.demo.labels import LABELS
from maskloop_backend.demo.scenes import draw_scene
from maskloop_backend.inference.prediction import Prediction
from maskloop_backend.inference.score import image_score
from maskloop_backend.loop.outcome_store import OutcomeStore
from maskloop_backend.loop.outcomes import Fate, Outcome
from maskloop_backend.registry.store import Registry
from maskloop_backend.serving.app import create_app
from maskloop_backend.serving.auth import Credentials
from maskloop_backend.serving.models import FixedSource
from maskloop_backend.serving.server import HttpServer
from maskloop_backend.serving.settings import Settings
from versions import write_version

pytestmark = pytest.mark.e2e

USER, PASSWORD = "anna", "a-password"
CONFIG = (
    '<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image">'
    + "".join(f'<Label value="{label.name}"/>' for label in LABELS.labels)
    + "</BrushLabels></View>"
)
# says how far it is, then waits for the test
TRAINING = """
import json, sys
print("42 images to learn from (30 corrected, 2 drawn by hand, 10 accepted unchanged), 12 held out", file=sys.stderr)
print("epoch 17: loss 0.412, mIoU 0.741", file=sys.stderr, flush=True)
with open(sys.argv[sys.argv.index("--progress-file") + 1], "w") as file:
    json.dump({"phase": "train", "step": 340, "steps": 800, "seconds_left": 74.0, "miou": 0.741, "resumed": 0, "kept": 300}, file)
open(sys.argv[1]).close()
"""
WEEK = 7 * 86400.0


class Painter:
    """Knows the scenes that it is shown, and draws them a little wrong and unsure at their outlines."""

    labels = LABELS

    def __init__(self, version: str) -> None:
        self.version = version
        self.known: dict[bytes, tuple[NDArray[np.uint8], int]] = {}

    def predict(self, images: Sequence[NDArray[Any]]) -> list[Prediction]:
        return [self._one(image) for image in images]

    def _one(self, image: NDArray[np.uint8]) -> Prediction:
        mask, number = self.known[image.tobytes()]
        blurred = cv2.medianBlur(mask, 5 + 4 * (number % 4))
        edges = cv2.morphologyEx(blurred, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        distance = cv2.distanceTransform((~edges).astype(np.uint8), cv2.DIST_L2, 3)
        sure = 1 - (0.2 + 0.08 * (number % 5)) * np.exp(-distance / (3 + number))
        confidence = (255 * sure).round().astype(np.uint8)
        return Prediction(blurred, confidence, image_score(blurred, confidence))


@dataclass
class Shown:
    """A server with a history.

    Attributes:
        url: where it answers.
        port: of it.
        registry: its versions.
        versions: their names, oldest first.
        app: of the server.
    """

    url: str
    port: int
    registry: Registry
    versions: list[str]
    app: Any

    def post(self, path: str, body: Any) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        known = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        headers = {"Content-Type": "application/json", "Authorization": f"Basic {known}"}
        connection.request("POST", path, json.dumps(body).encode(), headers)
        answer = connection.getresponse()
        found = json.loads(answer.read())
        connection.close()
        assert answer.status < 300, found
        return found


def write_history(registry: Registry) -> list[str]:
    versions = []
    for number, (miou, accuracy, changed) in enumerate(
        (
            (0.52, 0.861, 0.21),
            (0.58, 0.884, 0.16),
            (0.57, 0.879, 0.155),
            (0.64, 0.902, 0.11),
            (0.695, 0.921, 0.09),
            (0.741, 0.938, 0.06),
        )
    ):
        better = number != 2
        gate = {
            "promote": better,
            "reason": "mIoU rises by 0.04 on the holdout" if better else "mIoU falls by 0.01 on the holdout",
        }
        metrics = {
            "holdout_miou": miou,
            "pixel_accuracy": accuracy,
            "annotators_changed": {"share": changed},
            "gate": gate,
        }
        created = f"2026-11-{4 * number + 1:02}T10:00:00Z"
        versions.append(write_version(registry, b"%d" % number, LABELS, created=created, metrics=metrics).version)
        if better:
            registry.promote(versions[-1], reason=gate["reason"])
    return versions


def write_outcomes(home: Path, versions: list[str]) -> None:
    now = [time.time() - 5 * WEEK]
    store, source = OutcomeStore(home, clock=lambda: now[0]), np.random.default_rng(0)
    names = [label.name for label in LABELS.labels]
    for week in range(6):
        for k in range(24 + 4 * week):
            off = {
                name: (0.3 if name in ("person", "car") else 0.12) * source.uniform(0.3, 1) / (1 + 0.4 * week)
                for name in names
            }
            kind: Any = (
                "accepted"
                if source.random() < 0.2 + 0.1 * week
                else "rejected"
                if source.random() < 0.06
                else "changed"
            )
            fates = {
                n: Fate(kept=1, changed=kind == "changed", pixels=10_000, off=round(10_000 * off[n])) for n in names
            }
            total = sum(fate.off for fate in fates.values())
            store.record(Outcome(5, 1000 + 100 * week + k, k, versions[min(week, 5)], kind, 60_000, total, fates))
        now[0] += WEEK
    store.close()


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Shown]:
    """A server with versions, corrections of six weeks, a running training, predictions, and tasks submitted today."""
    home = tmp_path / "home"
    registry = Registry(home, trial=lambda directory: None)
    versions = write_history(registry)
    write_outcomes(home, versions)
    script, gate = tmp_path / "training.py", tmp_path / "gate"
    script.write_text(TRAINING)
    os.mkfifo(gate)
    painter = Painter(versions[-1])
    settings = Settings(
        home=home,
        port=0,
        credentials=Credentials(USER, PASSWORD),
        studio_url="http://localhost:8080",
        studio_token="t",
        training_command=(sys.executable, "-I", "-S", str(script), str(gate)),
        grace=5.0,
    )
    app = create_app(FixedSource(painter), settings)
    with HttpServer(app, settings) as server:
        found = Shown(server.url, server.port, registry, versions, app)
        use(found, painter)
        yield found
        if app.server.queue.running() is not None:
            gate.write_text("")
        deadline = time.monotonic() + 60
        while app.server.queue.running() is not None:
            assert time.monotonic() < deadline
            threading.Event().wait(0.01)


def use(shown: Shown, painter: Painter) -> None:
    """Predict scenes, submit some of them corrected, and start a training."""
    tasks = []
    for number in range(9):
        scene = draw_scene(number + 40, (240, 320))
        painter.known[scene.image.tobytes()] = scene.mask, number
        out = io.BytesIO()
        Image.fromarray(scene.image).save(out, "PNG")
        tasks.append(
            {
                "id": 1700 + number,
                "data": {"image": "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()},
            }
        )
    answer = shown.post("/predict", {"tasks": tasks, "project": "5.1", "label_config": CONFIG})
    assert shown.app.server.observer.settle()
    for task, predicted in list(zip(tasks, answer["results"], strict=True))[:4]:
        result = predicted["result"][: -1 - (task["id"] % 3)]
        first = json.loads(json.dumps(result[0]))
        first["origin"] = "prediction-changed"
        annotation = {"id": task["id"], "task": task["id"], "prediction": predicted, "result": [first, *result[1:]]}
        event = {
            "action": "ANNOTATION_CREATED",
            "annotation": annotation,
            "task": {"id": task["id"]},
            "project": {"id": 5},
        }
        shown.post("/webhook", event)
    shown.post("/webhook", {"action": "START_TRAINING", "project": {"id": 5}})
    assert shown.app.server.observer.settle()


@pytest.fixture
def page(shown: Shown, browser: Browser) -> Iterator[Page]:
    foreign: list[str] = []
    said: list[str] = []
    with browser.new_context(
        viewport={"width": 1100, "height": 900}, http_credentials={"username": USER, "password": PASSWORD}
    ) as context:
        opened = context.new_page()
        opened.on("request", lambda r: foreign.append(r.url) if not r.url.startswith((shown.url, "data:")) else None)
        opened.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        opened.on("pageerror", lambda error: said.append(str(error)))
        opened.goto(f"{shown.url}/")
        opened.wait_for_selector("progress")
        yield opened
        assert foreign == []
        # nothing of the page breaks its own policy
        assert said == []


def pictures(page: Page) -> list[int]:
    """Load every picture and return their widths."""
    page.evaluate("() => document.querySelectorAll('img').forEach(image => { image.loading = 'eager'; })")
    page.wait_for_function("() => [...document.images].every(image => image.complete)")
    widths: list[int] = page.evaluate("() => [...document.images].map(image => image.naturalWidth)")
    return widths


def test_every_element_is_there(page: Page, shown: Shown) -> None:
    served = page.locator("#served")
    assert shown.versions[-1] in served.inner_text()
    assert "mIoU rises by 0.04 on the holdout" in served.inner_text()
    assert page.locator("#served button").inner_text() == f"Roll back to {shown.versions[-2]}"
    served.locator("summary").click()
    assert served.locator("tbody tr").count() == 5
    running = page.locator("#running")
    for text in ("Job 1 trains project 5", "train 340 of 800", "1 min 14 s left", "best mean IoU 0.741"):
        assert text in running.inner_text()
    assert running.locator("progress").get_attribute("value") == "340"
    running.locator("summary").click()
    assert "epoch 17: loss 0.412" in running.locator("pre").inner_text()
    assert page.locator("#versions tbody tr").count() == 6
    assert page.locator("#versions svg.chart circle").count() == 12
    assert page.locator("#outcomes .tile").count() == 5
    assert page.locator("#outcomes svg.chart").count() == 2
    assert page.locator("#outcomes svg.chart").first.locator("rect").count() > 12
    assert page.locator("#outcomes table").last.locator("tbody tr").count() == 6
    assert page.locator("#corrected figure").count() == 12
    assert page.locator("#unsure figure").count() == 5
    assert page.locator("#recent figure").count() == 9
    # images of one request are predicted side by side: the order of their ends is theirs
    linked = {link.get_attribute("href") for link in page.locator("#recent a").all()}
    assert "http://localhost:8080/projects/5/data?task=1708" in linked
    widths = pictures(page)
    assert len(widths) >= 2 * (5 + 9)
    assert all(width == 240 for width in widths)
    # the least sure one first
    told = [figure.inner_text() for figure in page.locator("#unsure figcaption").all()]
    scores = [float(text.partition("score ")[2].partition(",")[0]) for text in told]
    assert scores == sorted(scores)


def test_buttons(page: Page, shown: Shown) -> None:
    page.locator("#served button").click()
    page.wait_for_selector(f"text=Roll back to {shown.versions[3]}")
    assert shown.registry.serving() == shown.versions[-2]
    assert "rolled back on the page" in page.locator("#served").inner_text()
    page.locator("#running button").click()
    page.wait_for_selector("text=it was told to stop")
    # the page notices the end by itself
    page.wait_for_selector("#running >> text=No training runs or waits")
    assert shown.app.server.queue.job(1).state == "cancelled"


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [("page-light", 1100, "light"), ("page-dark", 1100, "dark"), ("page-narrow", 390, "light")],
)
def test_it_is_readable_light_dark_and_on_a_phone(
    page: Page, tmp_path: Path, name: str, width: int, scheme: Any
) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    pictures(page)
    # nothing is wider than the screen but what scrolls by itself
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    shade, ink = [
        sum(int(v) for v in page.evaluate(f"() => getComputedStyle(document.body).{what}").strip("rgb()").split(","))
        for what in ("backgroundColor", "color")
    ]
    assert (shade < ink) == (scheme == "dark")
    assert abs(shade - ink) > 400
    folder = Path(os.environ.get("MASKLOOP_SCREENSHOTS") or tmp_path)
    # by day the upper part, by night the lower one
    top = page.locator("#outcomes").bounding_box() if scheme == "dark" else None
    clip: Any = {"x": 0, "y": top["y"] if top else 0, "width": width, "height": 1800}
    page.screenshot(path=str(folder / f"{name}.jpg"), type="jpeg", quality=65, full_page=True, clip=clip)
    with Image.open(folder / f"{name}.jpg") as picture:
        assert picture.size == (width, 1800)
