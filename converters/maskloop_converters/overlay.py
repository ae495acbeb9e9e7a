"""Pictures of samples with their masks drawn over, for human eyes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .codecs import pictures
from .errors import CodecError, OutputExistsError
from .formats.file_names import FreeNames
from .formats.labels import color_table
from .samples import Color, LabelSet, Sample

# Opacity of a mask's colour over the image; its outline is opaque.
OPACITY = 0.45
# Longest side of a picture, and of one on the contact sheet, in pixels.
LONGEST = 1280
THUMBNAIL = 240
COLUMNS = 5
SHEET_SAMPLES = 60
# Characters of a sample's id in a file name, of at most 4 bytes each: file systems take 255 bytes.
_NAME_LENGTH = 55
# Of a region whose label the set does not have.
UNKNOWN_COLOR: Color = (255, 0, 255)
_SHEET = "contact-sheet"
# The comment of every picture that is drawn here: no other file is ever replaced.
_MARK = b"maskloop overlay"
_GREY = 128
_TEXT = (20, 20, 20)
_PAPER = (255, 255, 255)


class Overlays:
    """Draws samples into a folder, one JPEG each, and the first of them on a contact sheet with the legend.

    Args:
        folder: is made; pictures in it of the same name are replaced if they were drawn here.
        labels: of the samples.

    Raises:
        OutputExistsError: from any method: a picture would replace a file that was not drawn here, or the folder has
            images that are read.
    """

    def __init__(self, folder: Path, labels: LabelSet) -> None:
        self._folder = folder
        self._labels = labels
        self._colors = color_table(labels)
        self._thumbnails: list[tuple[str, Image.Image]] = []
        self._names = FreeNames()
        self._names.take(PurePosixPath(_SHEET))
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, sample: Sample) -> None:
        """Draw one sample."""
        source = sample.image.source
        if isinstance(source, Path) and source.resolve().parent == self._folder.resolve():
            raise OutputExistsError(
                f"{self._folder} has the image {source.name} itself; give another folder for pictures"
            )
        picture = Image.fromarray(draw(sample, self._colors))
        picture.thumbnail((LONGEST, LONGEST))
        wanted = sample.id.replace("/", "_").replace("\0", "_").lstrip(".")[:_NAME_LENGTH] or "sample"
        name = self._names.take(PurePosixPath(wanted))
        self._save(picture, f"{name}.jpg")
        if len(self._thumbnails) < SHEET_SAMPLES:
            small = picture.copy()
            small.thumbnail((THUMBNAIL, THUMBNAIL))
            self._thumbnails.append((sample.id, small))

    def finish(self) -> None:
        """Draw the contact sheet, ``contact-sheet.jpg``."""
        rows = -(-len(self._thumbnails) // COLUMNS)
        cell, line = THUMBNAIL + 12, 20
        row = max((picture.height for _, picture in self._thumbnails), default=0) + line + 12
        legend = line * (-(-len(self._labels.labels) // COLUMNS)) + 16
        sheet = Image.new("RGB", (COLUMNS * cell, legend + rows * row), _PAPER)
        pen = ImageDraw.Draw(sheet)
        for k, label in enumerate(self._labels.labels):
            x, y = k % COLUMNS * cell + 8, k // COLUMNS * line + 8
            pen.rectangle((x, y, x + 12, y + 12), fill=self._colors[label.id], outline=_TEXT)
            pen.text((x + 18, y), label.name, fill=_TEXT)
        for k, (name, picture) in enumerate(self._thumbnails):
            x, y = k % COLUMNS * cell + 6, legend + k // COLUMNS * row
            sheet.paste(picture, (x, y))
            pen.text((x, y + picture.height + 2), name[-38:], fill=_TEXT)
        self._save(sheet, f"{_SHEET}.jpg")

    def _save(self, picture: Image.Image, name: str) -> None:
        """Save a picture under a name that is free, or that one drawn here has."""
        path = self._folder / name
        if path.is_symlink() or (path.exists() and not _drawn_here(path)):
            raise OutputExistsError(f"{path} is there and no picture of maskloop; give another folder for the pictures")
        picture.save(path, quality=90, comment=_MARK)


def _drawn_here(path: Path) -> bool:
    try:
        with Image.open(path) as picture:
            return picture.info.get("comment") == _MARK
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def draw(sample: Sample, colors: dict[int, Color]) -> NDArray[np.uint8]:
    """Return a sample's image with its masks in their colours: uint8 (H, W, 3); grey where the image is out of reach.

    Args:
        sample: to draw; later regions lie over earlier ones.
        colors: of each label id.
    """
    masks = ((sample.masks.mask(k), colors.get(region.label, UNKNOWN_COLOR)) for k, region in enumerate(sample.regions))
    return paint(_image(sample), masks)


def paint(image: NDArray[np.uint8], masks: Iterable[tuple[NDArray[np.bool_], Color]]) -> NDArray[np.uint8]:
    """Return an image with masks over it, each in its colour, their outlines opaque: uint8 (H, W, 3).

    Args:
        image: uint8 (H, W, 3).
        masks: bool (H, W) and colour; later ones lie over earlier ones.
    """
    canvas = image.astype(np.float32)
    for mask, color in masks:
        canvas[mask] += (np.array(color, np.float32) - canvas[mask]) * OPACITY
        canvas[_outline(mask)] = color
    return canvas.round().astype(np.uint8)


def _image(sample: Sample) -> NDArray[np.uint8]:
    """Return the image upright, in the masks' size; grey where there is none that can be read."""
    grey = np.full((sample.height, sample.width, 3), _GREY, np.uint8)
    try:
        encoded = sample.image.read_bytes()
        if encoded is None:
            return grey
        upright = pictures.decode(encoded)
    except (OSError, CodecError):
        return grey
    return upright if upright.shape[:2] == (sample.height, sample.width) else grey


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of a mask beside a pixel that is not in it; the picture's border is no outline."""
    padded = np.pad(mask, 1, mode="edge")
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    outline: NDArray[np.bool_] = mask & ~inner
    return outline
