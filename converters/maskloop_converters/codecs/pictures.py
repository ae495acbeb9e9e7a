"""Encoded pictures to RGB arrays: one decoder for serving, training, measuring and drawing.

Only the formats of :data:`FORMATS` are opened, whatever the bytes are called: Pillow's other plugins start programs
(EPS runs Ghostscript) or decode before they tell a size. Sizes are checked, and memory is asked for, between header and
pixels; of a file with several frames only the first is decoded.

The frame is the one that a browser shows, in which Label Studio stores masks. What Chromium does with an orientation
that asks for a quarter turn (a test repeats it):

    JPEG, PNG      EXIF is heeded: rotated
    AVIF           `irot` and `imir` of the container are heeded, EXIF is not
    WebP           EXIF is not heeded
    BMP, GIF       have none
    TIFF           is not shown; its orientation tag is heeded here, as by every other viewer
"""

from __future__ import annotations

import importlib.util
import io
import struct
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from ..errors import CodecError

#: Pillow's names of the formats that are opened, as far as its build has them.
FORMATS = (
    *("JPEG", "PNG", "TIFF", "BMP", "GIF"),
    *(name for name, module in (("WEBP", "PIL._webp"), ("AVIF", "PIL._avif")) if importlib.util.find_spec(module)),
)
#: What Pillow raises of files that are no picture or a damaged one, beside UnidentifiedImageError (an OSError).
UNREADABLE = (
    *(OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, MemoryError, RuntimeError),
    *(IndexError, KeyError, TypeError, AttributeError, ArithmeticError, Image.DecompressionBombError),
)
# MPO is what Pillow calls a JPEG with a second one behind it. Of an AVIF Pillow tells `irot` and `imir` as if they were
# EXIF, whatever EXIF says; a TIFF it turns itself.
_TURNED = frozenset({"JPEG", "MPO", "PNG", "AVIF"})
# A progressive JPEG has about ten; each costs a pass over all pixels, however few bytes it takes.
_MOST_SCANS = 100
# Depths that cameras and microscopes have; their numbers stand in 16 bits.
_DEPTHS = (8, 10, 12, 14, 16)
# Of a conversion: larger pieces are no faster.
_STRIP_PIXELS = 1 << 20

Room = Callable[[int], AbstractContextManager[Any]]


def open_picture(source: Path | bytes) -> Image.Image:
    """Open a picture of one of :data:`FORMATS` with Pillow and read its header; pixels are decoded by `load`.

    Raises:
        UnidentifiedImageError: none of these formats.
        Exception: one of :data:`UNREADABLE`.
    """
    return Image.open(source if isinstance(source, Path) else io.BytesIO(source), formats=FORMATS)


def decode(data: bytes, *, max_pixels: int | None = None, room: Room = nullcontext) -> NDArray[np.uint8]:
    """Return a picture as uint8 (H, W, 3) RGB in the frame that a browser shows.

    Grey, palette and transparent pictures are converted as a browser shows them; transparency is dropped. Numbers of
    more than 8 bits are scaled by their depth: what the file says of it, else the least of 8, 10, 12, 14 and 16 bits
    that holds all of them. 12-bit data in a 16-bit file would be nearly black otherwise.

    Args:
        data: JPEG, PNG, WebP, TIFF, BMP, GIF or AVIF.
        max_pixels: more are refused before anything is decoded.
        room: is entered with the bytes that decoding takes at most, pixels included, before anything is decoded.

    Raises:
        CodecError: empty, not a picture, damaged or too large.
    """
    if not data:
        raise CodecError("the file is empty (0 bytes)")
    try:
        with open_picture(data) as image:
            width, height = image.size
            if max_pixels is not None and width * height > max_pixels:
                raise CodecError(f"{width} x {height} pixels are over the limit of {max_pixels / 1e6:.0f} megapixels")
            _check_effort(image, data)
            with room(working_bytes(image)):
                image.load()
                return _rgb(image, orientation(image), _depth(image, data))
    except CodecError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit = f"the limit of {max_pixels / 1e6:.0f} megapixels" if max_pixels else "Pillow's limit"
        raise CodecError(f"more pixels than {limit}") from error
    except UnidentifiedImageError as error:
        known = ", ".join(FORMATS)
        raise CodecError(f"{len(data)} bytes that are not an image in a known format ({known})") from error
    except UNREADABLE as error:
        raise CodecError(f"the image is damaged: {error}") from error


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1..8, by which pixels as Pillow gives them must be turned to be as browsers show them."""
    if image.format not in _TURNED:
        return 1
    if image.format == "PNG" and "exif" not in image.info:
        # Image.getexif would decode the whole PNG to look for a chunk behind the pixels.
        return 1
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except UNREADABLE:
        return 1  # damaged EXIF is no damaged picture
    return int(value) if value in range(1, 9) else 1


def working_bytes(image: Image.Image) -> int:
    """Return the bytes that decoding an opened picture to RGB takes at most, by its header."""
    stored = {"1": 1, "L": 1, "P": 1}.get(image.mode, 2 if image.mode.startswith("I;16") else 4)
    codec = {"WEBP": 16, "AVIF": 16, "GIF": 5, "TIFF": 4}.get(image.format or "", 0)
    if image.info.get("progressive") or image.info.get("progression"):
        codec = 6  # libjpeg keeps every coefficient
    return image.width * image.height * (stored + codec + 3)


def _check_effort(image: Image.Image, data: bytes) -> None:
    """Refuse what a few bytes make slow or large beyond what the size in pixels tells."""
    if image.format in ("JPEG", "MPO"):
        scans = data.count(b"\xff\xda")
        if scans > _MOST_SCANS:
            raise CodecError(f"a JPEG of {scans} scans, expected at most {_MOST_SCANS}")
    if image.format == "TIFF":
        tags: Any = image.tag_v2  # type: ignore[attr-defined]
        tile = int(tags.get(322, 0)) * int(tags.get(323, 0))
        if tile > 4 * image.width * image.height + (1 << 20):
            raise CodecError(f"a TIFF of {image.width} x {image.height} pixels with tiles of {tile} pixels")


def _rgb(image: Image.Image, turned: int, depth: int | None) -> NDArray[np.uint8]:
    """Return the loaded pixels upright, converted strip by strip into the one array."""
    width, height = image.size
    upright = np.empty((width, height, 3) if turned >= 5 else (height, width, 3), np.uint8)
    stored = _as_stored(upright, turned)
    rows = max(1, _STRIP_PIXELS // max(1, width))
    shift = None if depth is None else max(0, depth - 8)
    for top in range(0, height, rows):
        # each of these copies what it is given
        strip = image if rows >= height else image.crop((0, top, width, min(height, top + rows)))
        if shift is None:
            stored[top : top + rows] = np.asarray(strip if strip.mode == "RGB" else strip.convert("RGB"))
        else:
            grey = np.asarray(strip) >> shift
            stored[top : top + rows] = grey.clip(0, 255).astype(np.uint8)[..., None]
    return upright


def _as_stored(upright: NDArray[np.uint8], turned: int) -> NDArray[np.uint8]:
    """Return the view of an upright array (H, W, 3) in which the pixels stand as the file stores them.

    A file whose orientation is 6 must be turned clockwise to be upright, so the view is turned against the clock.
    """
    match turned:
        case 2:
            return upright[:, ::-1]
        case 3:
            return upright[::-1, ::-1]
        case 4:
            return upright[::-1]
        case 5:
            return upright.transpose(1, 0, 2)
        case 6:
            return np.rot90(upright, 1)
        case 7:
            return upright[::-1, ::-1].transpose(1, 0, 2)
        case 8:
            return np.rot90(upright, -1)
    return upright


def _depth(image: Image.Image, data: bytes) -> int | None:
    """Return the bits of the grey numbers in a loaded picture of more than 8 bits, None for every other."""
    if not image.mode.startswith("I"):
        return None
    _, high = image.getextrema()
    most = int(max(0, high))  # type: ignore[arg-type]
    said = _said_depth(image, data)
    if said is not None and most < 1 << said:
        return said
    return next((bits for bits in _DEPTHS if most < 1 << bits), most.bit_length())


def _said_depth(image: Image.Image, data: bytes) -> int | None:
    """Return the significant bits that a file says its numbers have: PNG's sBIT, TIFF's MaxSampleValue."""
    if image.format == "PNG":
        position = 8
        while position + 12 <= len(data):
            size, name = struct.unpack_from(">I4s", data, position)
            if name == b"sBIT" and size >= 1 and data[position + 8]:
                return data[position + 8]
            if name == b"IDAT":
                return None
            position += 12 + size
    if image.format == "TIFF":
        most: Any = image.tag_v2.get(281)  # type: ignore[attr-defined]
        most = most[0] if isinstance(most, tuple) and most else most
        if isinstance(most, int) and most > 0:
            return most.bit_length()
    return None
