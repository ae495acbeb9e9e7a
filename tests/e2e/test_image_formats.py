"""The frame in which a browser shows an image is the one in which masks are stored: every format, in the real browser."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from maskloop_converters.codecs import pictures
from rig import ROOT

pytestmark = pytest.mark.e2e
ORIENTATION = 0x112
QUARTERS = np.zeros((12, 20, 3), np.uint8)
QUARTERS[:6, :10], QUARTERS[:6, 10:], QUARTERS[6:, :10], QUARTERS[6:, 10:] = (255, 0, 0), (0, 255, 0), (0, 0, 255), 255
_SHOWN = """async address => {
  const image = new Image();
  image.src = address;
  try { await image.decode(); } catch { return null; }
  const canvas = document.createElement('canvas');
  canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
  const context = canvas.getContext('2d');
  context.drawImage(image, 0, 0);
  return {width: canvas.width, height: canvas.height,
          pixels: [...context.getImageData(0, 0, canvas.width, canvas.height).data]};
}"""


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context() as context:
        yield context.new_page()


def encoded(kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options: dict[str, Any] = {"exif": exif} if orientation != 1 and kind not in ("GIF", "BMP") else {}
    if kind in ("JPEG", "WEBP", "AVIF"):
        options["quality"] = 100
    out = io.BytesIO()
    Image.fromarray(QUARTERS).save(out, kind, **options)
    return out.getvalue()


def shown(page: Page, data: bytes, kind: str) -> np.ndarray | None:
    """Return what the browser shows: uint8 (H, W, 3), None where it shows nothing."""
    address = f"data:image/{kind.lower()};base64,{base64.b64encode(data).decode()}"
    found = page.evaluate(_SHOWN, address)
    if found is None:
        return None
    return np.array(found["pixels"], np.uint8).reshape(found["height"], found["width"], 4)[..., :3]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"])
def test_an_image_is_decoded_into_the_frame_that_the_browser_shows(page: Page, kind: str) -> None:
    turned = set()
    for orientation in range(1, 9):
        data = encoded(kind, orientation)
        seen = shown(page, data, kind)
        if seen is None:
            turned.add("is not shown")
            continue
        ours = pictures.decode(data)
        assert ours.shape == seen.shape, (kind, orientation)
        # the middle of each quarter: codecs and colour management change a level or two
        middle = (slice(2, None, 4), slice(2, None, 4))
        assert np.abs(ours[middle].astype(int) - seen[middle]).max() <= 60, (kind, orientation)
        if orientation > 4:
            turned.add("is turned" if seen.shape[0] == 20 else "stays as stored")
    table = (ROOT / "docs" / "design.md").read_text("utf-8")
    row = re.search(rf"^\| {kind} \| (.+?) \|", table, re.MULTILINE)
    assert row is not None
    assert {row.group(1)} == turned


def test_twelve_bits_in_sixteen_are_seen_by_the_model(page: Page) -> None:
    """The browser shows them nearly black, and so does nobody else; the model gets what the camera saw."""
    out = io.BytesIO()
    values = np.linspace(0, 4095, 240).reshape(12, 20).astype(np.uint16)
    Image.fromarray(values).save(out, "PNG")
    seen = shown(page, out.getvalue(), "PNG")
    assert seen is not None
    assert seen.max() < 40
    assert pictures.decode(out.getvalue()).max() == 255
