"""Mask files as they are stored: PNG by our own codec, GIF, TIFF, BMP and WebP without loss by Pillow."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image, UnidentifiedImageError

from ...codecs import png
from ...codecs.pictures import FORMATS, UNREADABLE, open_picture
from ...errors import CodecError, FormatError

#: What mask files end in. JPEG is not among them: it keeps no label numbers.
MASK_SUFFIXES = frozenset({".png", ".gif", ".tif", ".tiff", ".bmp"})
_PNG = b"\x89PNG\r\n\x1a\n"
_NUMPY = b"\x93NUMPY"
_LONGEST_HEAD = 4096


class MaskSource(Protocol):
    """Where a mask's bytes are: a file, or what stands for one in a larger file."""

    @property
    def name(self) -> str:
        """Its name, for errors."""

    @property
    def suffix(self) -> str:
        """What its name ends in, the dot included."""

    def read_bytes(self) -> bytes:
        """Return the encoded mask."""


@dataclass(frozen=True, slots=True)
class StoredMask:
    """A mask that lies in a row of a larger file.

    Attributes:
        name: what it is called there.
        data: the encoded mask.
    """

    name: str
    data: bytes

    @property
    def suffix(self) -> str:
        """Nothing: the bytes say what it is."""
        return ""

    def read_bytes(self) -> bytes:
        """Return the encoded mask."""
        return self.data

    def __str__(self) -> str:
        return self.name


def read_pixels(path: MaskSource, where: str, size: tuple[int, int] | None = None) -> png.PngImage:
    """Return the pixels of a mask file as they are stored: indices of a palette, grey numbers or colours.

    Args:
        path: the mask file.
        where: file and record, for errors.
        size: (height, width) that it must have; None for any.

    Raises:
        FormatError: it is missing, unreadable, of another size or of a kind that holds no labels.
    """
    most = png.MAX_PIXELS if size is None else min(size[0] * size[1], png.MAX_PIXELS)
    try:
        data = path.read_bytes()
        if path.suffix == ".npy":
            image = _array(data, most)
        else:
            image = png.read(data, max_pixels=most) if data[:8] == _PNG or path.suffix == ".png" else _other(data, most)
    except FileNotFoundError as error:
        raise FormatError(f"{where}: there is no mask {path}") from error
    except (OSError, CodecError) as error:
        raise FormatError(f"{where}: cannot read the mask {path}: {error}") from error
    height, width = image.pixels.shape[:2]
    if size is not None and (height, width) != size:
        raise FormatError(f"{where}: the mask {path} is {width} x {height} pixels, its image is {size[1]} x {size[0]}")
    return image


def _array(data: bytes, max_pixels: int) -> png.PngImage:
    """Return the pixels of NumPy's file of an array."""
    start = {1: 10, 2: 12}.get(data[6] if data[:6] == _NUMPY and len(data) > 6 else 0)
    if start is None:
        raise CodecError("the array is damaged: it does not begin as NumPy's files of plain arrays do")
    end = start + int.from_bytes(data[8:start], "little")
    try:
        head = ast.literal_eval(data[start : min(end, _LONGEST_HEAD)].decode("latin-1").strip())
        kind, columns_first, (height, width) = head["descr"], head["fortran_order"], head["shape"]
    except (ValueError, TypeError, KeyError, SyntaxError, RecursionError, MemoryError) as error:
        raise CodecError(f"expected an array of height x width, its head says {data[start:end][:120]!r}") from error
    if kind not in ("|u1", "|b1") or not all(type(side) is int and side > 0 for side in (height, width)):
        raise CodecError(
            f"expected an array of uint8, height x width, it is {kind!r:.40} of shape {head['shape']!r:.60}"
        )
    if height * width > max_pixels:
        raise CodecError(f"it claims {width} x {height} pixels, more than the {max_pixels} allowed")
    values = np.frombuffer(data, np.uint8, offset=min(end, len(data)))
    if values.size != height * width:
        raise CodecError(f"it holds {values.size} values, expected {height} x {width}")
    pixels = values.reshape((height, width), order="F" if columns_first else "C")
    if kind == "|b1":
        pixels = np.where(pixels != 0, np.uint8(255), np.uint8(0))
    return png.PngImage(np.ascontiguousarray(pixels), "grey", 8)


def _other(data: bytes, max_pixels: int) -> png.PngImage:
    """Return the pixels of a file that is no PNG."""
    try:
        with open_picture(data) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise CodecError(f"it claims {width} x {height} pixels, more than the {max_pixels} allowed")
            if image.format in ("JPEG", "MPO"):
                raise CodecError("a JPEG does not keep label numbers; save masks as PNG")
            if getattr(image, "n_frames", 1) > 1:
                raise CodecError("it has several frames; which of them is the mask?")
            image.load()
            return _as_stored(image)
    except UnidentifiedImageError as error:
        raise CodecError(f"{len(data)} bytes that are no image in a known format ({', '.join(FORMATS)})") from error
    except CodecError:
        raise
    except UNREADABLE as error:
        raise CodecError(f"the image is damaged: {error}") from error


def _as_stored(image: Image.Image) -> png.PngImage:
    """Return the pixels of a loaded image in the kinds that PNG has."""
    mode = image.mode
    if mode == "1":
        return png.PngImage(np.asarray(image).astype(np.uint8), "grey", 1)
    if mode == "L":
        return png.PngImage(np.array(image), "grey", 8)
    if mode == "P":
        colors = np.frombuffer(bytes(image.getpalette("RGB") or []), np.uint8).reshape(-1, 3)
        return png.PngImage(np.array(image), "palette", 8, colors)
    if mode in ("LA", "RGB", "RGBA"):
        kinds: dict[str, png.Kind] = {"LA": "grey-alpha", "RGB": "rgb", "RGBA": "rgba"}
        return png.PngImage(np.array(image), kinds[mode], 8)
    pixels = np.asarray(image)
    if mode.startswith("I") and pixels.size and int(pixels.min()) >= 0 and int(pixels.max()) <= 65535:
        return png.PngImage(pixels.astype(np.uint16), "grey", 16)
    raise CodecError(f"pixels of Pillow's mode {mode} are no label numbers up to 65535")
