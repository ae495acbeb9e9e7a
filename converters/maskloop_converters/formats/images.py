"""The images beside the masks: size and EXIF orientation without decoding, and how they come into an output.

Masks are in the frame of the upright image. An image that is copied is copied byte for byte, its orientation tag
included: browsers and OpenCV rotate by the tag, Pillow and TensorFlow do not. A target whose readers ignore the tag
takes :func:`upright` bytes.
"""

from __future__ import annotations

import io
import shutil
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from PIL import Image, ImageOps, UnidentifiedImageError

from ..codecs.pictures import FORMATS, UNREADABLE, open_picture, orientation
from ..errors import FormatError
from ..options import Option
from ..report import WriteReport
from ..samples import ImageRef

ImageMode = Literal["copy", "link", "reference", "upright"]
#: The option of a format's writer.
Images = Annotated[
    ImageMode | None,
    Option("How images come along; 'upright' rotates by EXIF, 'reference' leaves them where they are."),
]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".avif"})

# By Pillow's mode; others have three.
_CHANNELS = {"1": 1, "L": 1, "I": 1, "I;16": 1, "I;16B": 1, "F": 1, "LA": 2, "RGBA": 4}

# 4:4:4 at quality 95 keeps a re-encoded photograph within about one grey level of the original.
_JPEG_OPTIONS = {"quality": 95, "subsampling": 0}


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What the header of an image says.

    Attributes:
        height: in pixels, upright: after the rotation that ``orientation`` asks for.
        width: likewise.
        orientation: EXIF orientation, 1..8; 1 where there is none, and where browsers do not heed it (WebP).
        format: Pillow's name: 'JPEG', 'PNG', ...
        channels: 1 grey, 2 grey with opacity, 3 colours, 4 colours with opacity; a palette has colours.
    """

    height: int
    width: int
    orientation: int
    format: str
    channels: int = 3


def probe(source: Path | bytes, where: str) -> ImageInfo:
    """Return size, orientation and format of an image from its header; nothing is decoded.

    Args:
        source: a file or the encoded bytes.
        where: file and record, for the error.

    Raises:
        FormatError: no image, or an unreadable one.
    """
    what = str(source) if isinstance(source, Path) else f"{len(source)} bytes"
    try:
        if isinstance(source, Path):
            state = source.stat()
            return _read_header(source, state.st_size, state.st_mtime_ns)
        return _info_of(source)
    except FileNotFoundError as error:
        raise FormatError(f"{where}: there is no image {what}") from error
    except UnidentifiedImageError as error:
        raise FormatError(f"{where}: {what} is not an image in a known format ({', '.join(FORMATS)})") from error
    except UNREADABLE as error:
        raise FormatError(f"{where}: cannot read the header of the image, {what}: {error}") from error


@lru_cache(maxsize=64)
def _read_header(path: Path, size: int, changed: int) -> ImageInfo:
    """Return what a file's header says; once for its reader and for the gate before the writer, while it does not change."""
    del size, changed
    return _info_of(path)


def _info_of(source: Path | bytes) -> ImageInfo:
    # The pixels stay packed here, so a large size is no danger: who decodes sets the limit.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with open_picture(source) as image:
            turned = orientation(image)
            width, height = image.size
            name = image.format or ""
            channels = _CHANNELS.get(image.mode, 3)
    if turned >= 5:
        width, height = height, width
    return ImageInfo(height, width, turned, name, channels)


def upright(ref: ImageRef, where: str) -> bytes | None:
    """Return the encoded image such that a reader that ignores EXIF sees it upright, None when it is out of reach.

    Bytes of an image that has no rotation come back as they are. Others are rotated and encoded anew in their own
    format (JPEG: quality 95, no chroma subsampling), the tag removed: the pixels of a JPEG change slightly.
    """
    data = ref.read_bytes()
    if data is None:
        return None
    info = probe(data, where)
    if info.orientation == 1:
        return data
    try:
        with open_picture(data) as image:
            rotated = ImageOps.exif_transpose(image)
            out = io.BytesIO()
            rotated.save(out, info.format, **(_JPEG_OPTIONS if info.format == "JPEG" else {}))
    except UNREADABLE as error:
        raise FormatError(f"{where}: cannot rotate the image {ref.name}: {error}") from error
    return out.getvalue()


def store_image(ref: ImageRef, target: Path, mode: ImageMode, report: WriteReport, where: str) -> bool:
    """Bring an image into an output and say whether a file stands there now.

    Args:
        ref: the image.
        target: the file to make; its parents are made.
        mode: 'copy' byte for byte; 'link' symbolic to the source file (copied when the source is no file);
            'reference' writes nothing; 'upright' copies, rotated where EXIF asks for it.
        report: notes images that are out of reach, and those whose readers must heed EXIF.
        where: file and record, for the report and errors.
    """
    if mode == "reference":
        return False
    if ref.source is None:
        report.notes.add("images out of reach, kept by their name and URI only", f"{where}: {ref.uri or ref.name}")
        return False
    if isinstance(ref.source, Path) and not ref.source.is_file():
        raise FormatError(f"{where}: there is no image {ref.source}")
    target.parent.mkdir(parents=True, exist_ok=True)
    rotated = ref.exif_orientation != 1
    if mode == "upright" and rotated:
        report.notes.add("images re-encoded upright", f"{where}: {ref.name}")
        target.write_bytes(upright(ref, where) or b"")
        return True
    if isinstance(ref.source, Path) and mode == "link":
        target.symlink_to(ref.source.resolve())
    elif isinstance(ref.source, Path):
        shutil.copyfile(ref.source, target)
    else:
        target.write_bytes(ref.read_bytes() or b"")
    if rotated:
        report.notes.add(
            "images that a reader must rotate by their EXIF orientation (--images upright rotates them)",
            f"{where}: {ref.name}",
        )
    return True
