from __future__ import annotations

import io
import struct
import subprocess
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from maskloop_converters.codecs import pictures
from maskloop_converters.errors import CodecError
from maskloop_converters.formats.images import probe

ORIENTATION = 0x112
COLORS = np.zeros((12, 20, 3), np.uint8)
COLORS[:6, :10], COLORS[:6, 10:], COLORS[6:, :10], COLORS[6:, 10:] = (255, 0, 0), (0, 255, 0), (0, 0, 255), 255


def encoded(array: Any, kind: str, orientation: int = 1, **options: Any) -> bytes:
    out = io.BytesIO()
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    if orientation != 1:
        options["exif"] = exif
    Image.fromarray(array).save(out, kind, **options)
    return out.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def grey16(values: np.ndarray, *before: bytes) -> bytes:
    """A 16-bit grey PNG, with further chunks in front of its pixels."""
    height, width = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", head), *before, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_where_browsers_do(kind: str, orientation: int) -> None:
    if kind not in pictures.FORMATS:
        pytest.skip("this Pillow was built without AVIF")
    data = encoded(COLORS, kind, orientation)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    array = pictures.decode(data)
    np.testing.assert_array_equal(array, expected)
    assert array.flags.c_contiguous
    assert array.flags.owndata
    info = probe(data, "here")
    assert (info.height, info.width) == array.shape[:2] == ((12, 20) if orientation < 5 else (20, 12))


def test_webp_is_not_turned_for_browsers_do_not() -> None:
    data = encoded(COLORS, "WEBP", 6, lossless=True)
    np.testing.assert_array_equal(pictures.decode(data), COLORS)
    info = probe(data, "here")
    assert (info.height, info.width, info.orientation) == (12, 20, 1)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_numbers_of_more_than_8_bits_are_scaled_by_their_depth(bits: int, kind: str) -> None:
    values = np.linspace(0, (1 << bits) - 1, 240).reshape(12, 20).astype(np.uint16)
    array = pictures.decode(encoded(values, kind))
    np.testing.assert_array_equal(array, np.repeat((values >> (bits - 8))[..., None], 3, axis=2))


def test_what_a_png_says_of_its_depth_counts_unless_it_is_wrong() -> None:
    dark = np.full((2, 3), 1000, np.uint16)
    assert pictures.decode(grey16(dark, chunk(b"sBIT", b"\x0c"))).max() == 1000 >> 4
    assert pictures.decode(grey16(dark)).max() == 1000 >> 2
    assert pictures.decode(grey16(dark, chunk(b"sBIT", b"\x08"))).max() == 1000 >> 2
    assert pictures.decode(grey16(dark * 0)).max() == 0


def test_no_other_format_is_opened_and_no_program_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "started"
    fake = tmp_path / "gs"
    fake.write_text(f"#!/bin/sh\necho started >> {marker}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n%%EOF\n"
    assert subprocess.run(["gs"], check=True, capture_output=True).returncode == 0, "the test must be able to see it"
    marker.unlink()
    with pytest.raises(CodecError, match=r"not an image in a known format \(JPEG, PNG"):
        pictures.decode(eps)
    assert not marker.exists()


@pytest.mark.parametrize("kind", ["PPM", "ICO", "ICNS", "PCX", "TGA", "SGI", "PDF", "JPEG2000", "DDS"])
def test_other_formats_are_refused_by_name(kind: str) -> None:
    with pytest.raises(CodecError, match="not an image in a known format"):
        pictures.decode(encoded(np.zeros((16, 16, 3), np.uint8), kind))
    with pytest.raises(Exception, match="not an image in a known format"):
        probe(encoded(np.zeros((16, 16, 3), np.uint8), kind), "here")


def test_sizes_are_checked_and_memory_asked_for_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    @contextmanager
    def room(size: int) -> Any:
        asked.append(size)
        raise CodecError("no room")
        yield

    data = encoded(COLORS, "PNG")
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(CodecError, match=r"20 x 12 pixels are over the limit of 0 megapixels"):
        pictures.decode(data, max_pixels=100, room=room)
    assert asked == []
    with pytest.raises(CodecError, match="no room"):
        pictures.decode(data, max_pixels=240, room=room)
    assert asked[0] >= 20 * 12 * 7


def test_only_the_first_frame_is_decoded() -> None:
    first = Image.fromarray(COLORS).quantize(4)
    out = io.BytesIO()
    others = [Image.new("P", (20, 12), value % 4) for value in range(30)]
    first.save(out, "GIF", save_all=True, append_images=others)
    np.testing.assert_array_equal(pictures.decode(out.getvalue()), np.asarray(first.convert("RGB")))


def test_a_jpeg_of_a_thousand_scans_is_refused() -> None:
    data = encoded(COLORS, "JPEG", progressive=True)
    start = data.index(b"\xff\xda")
    with pytest.raises(CodecError, match="scans"):
        pictures.decode(data[:start] + data[start:-2] * 150 + data[-2:])


def test_tiles_larger_than_their_picture_are_refused() -> None:
    out = io.BytesIO()
    tags = {322: 32768, 323: 16384, 324: 8, 325: 100}
    entries = {256: 10, 257: 10, 258: 8, 259: 5, 262: 1, 277: 1, **tags}
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries.items()))
    out.write(b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + body + b"\0\0\0\0" + bytes(200))
    with pytest.raises(CodecError, match="tiles of 536870912 pixels"):
        pictures.decode(out.getvalue())


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP", "AVIF"])
def test_damaged_files_are_refused_whatever_is_damaged(kind: str) -> None:
    data = encoded(np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8), kind)
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(60):
        broken = bytearray(data)
        for place in rng.integers(0, len(data), 8):
            broken[place] = rng.integers(0, 256)
        try:
            pictures.decode(bytes(broken[: rng.integers(1, len(data))]), max_pixels=1_000_000)
        except CodecError:
            refused += 1
    assert refused > 20
