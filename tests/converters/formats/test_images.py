from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from maskloop_converters.errors import FormatError
from maskloop_converters.formats.images import ImageMode, probe, store_image, upright
from maskloop_converters.report import WriteReport
from maskloop_converters.samples import ImageRef


def encoded(orientation: int, kind: str = "JPEG") -> bytes:
    """A 40 x 20 picture, its left half white, with an orientation tag."""
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, exif=exif)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_probe_gives_the_size_that_opencv_and_browsers_see(orientation: int, kind: str) -> None:
    data = encoded(orientation, kind)
    info = probe(data, "x")
    assert (info.orientation, info.format) == (orientation, kind)
    assert (info.height, info.width) == ((20, 40) if orientation < 5 else (40, 20))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_is_what_opencv_rotates_to(orientation: int) -> None:
    data = encoded(orientation)
    rotated = upright(ImageRef("a.jpg", data), "x")
    assert rotated is not None
    assert probe(rotated, "x").orientation == 1
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).astype(int)
    with Image.open(io.BytesIO(rotated)) as image:
        assert np.abs(np.asarray(image).astype(int) - expected).max() < 8
    if orientation == 1:
        assert rotated == data


@pytest.mark.parametrize("data", [b"", b"no image", encoded(1)[:50], encoded(1, "PNG")[:20]])
def test_unreadable_images_are_named(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.jpg"
    path.write_bytes(data)
    for source in (path, data):
        with pytest.raises(FormatError, match="record 7"):
            probe(source, "record 7")


def test_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"record 7: there is no image .*gone\.png"):
        probe(tmp_path / "gone.png", "record 7")


@pytest.mark.parametrize(
    ("mode", "is_link", "same_bytes", "placed"),
    [
        ("copy", False, True, True),
        ("link", True, True, True),
        ("upright", False, False, True),
        ("reference", False, False, False),
    ],
)
def test_place(tmp_path: Path, mode: ImageMode, is_link: bool, same_bytes: bool, placed: bool) -> None:
    source = tmp_path / "source.jpg"
    source.write_bytes(encoded(6))
    target = tmp_path / "out" / "sub" / "a.jpg"
    report = WriteReport()
    assert store_image(ImageRef("sub/a.jpg", source, exif_orientation=6), target, mode, report, "sample a") is placed
    assert target.exists() is placed
    if placed:
        assert target.is_symlink() is is_link
        assert (target.read_bytes() == source.read_bytes()) is same_bytes
        assert report.notes  # a rotated image is always spoken of
    assert not report.losses


def test_place_from_memory_and_from_nowhere(tmp_path: Path) -> None:
    report = WriteReport()
    data = encoded(1)
    for source in (data, lambda: data):
        target = tmp_path / str(id(source))
        assert store_image(ImageRef("a.jpg", source), target, "link", report, "sample a")
        assert target.read_bytes() == data
    assert not report.notes
    assert not store_image(ImageRef("a.jpg", None, uri="s3://b/a.jpg"), tmp_path / "x", "copy", report, "sample a")
    assert report.notes.examples == {"images out of reach, kept by their name and URI only": ["sample a: s3://b/a.jpg"]}
    with pytest.raises(FormatError, match=r"sample a: there is no image .*gone"):
        store_image(ImageRef("a.jpg", tmp_path / "gone"), tmp_path / "x", "copy", report, "sample a")
