"""Small pictures of what was predicted: the last ones, the least sure ones and the most corrected ones; in memory only."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maskloop_converters.formats.labels import color_table
from maskloop_converters.overlay import paint
from maskloop_converters.samples import Color, LabelSet

from ...inference.prediction import Prediction

# Longest side of a picture. One takes five bytes a pixel, 288 kB at most, and all lists together hold 72 at most: 20 MB.
SIDE = 240
RECENT, UNSURE, CORRECTED = 36, 18, 18
# Confidence at and above which a pixel counts as sure.
_SURE = 0.95
_ORANGE = np.array((255, 110, 20), np.float32)

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One predicted image, made small.

    Attributes:
        number: counts up from 1.
        project: Label Studio's id, as text.
        task: likewise.
        version: that predicted.
        score: of the image, 0..1.
        at: seconds since 1970.
        labels: what the channels mean.
        image: uint8 (h, w, 3) RGB, no side longer than :data:`SIDE`.
        label_map: uint8 (h, w), channels.
        confidence: uint8 (h, w), probability times 255.
    """

    number: int
    project: str
    task: str
    version: str
    score: float
    at: float
    labels: LabelSet
    image: Pixels = field(repr=False)
    label_map: Pixels = field(repr=False)
    confidence: Pixels = field(repr=False)

    @property
    def key(self) -> tuple[str, str]:
        """What it is of: project and task."""
        return self.project, self.task

    def overlay(self) -> bytes:
        """Return the image under its masks, JPEG."""
        colors = channel_colors(self.labels)
        found = [(self.label_map == k, colors[k]) for k in np.unique(self.label_map).tolist() if k < len(colors)]
        return _jpeg(paint(self.image, found))

    def unsure(self) -> bytes:
        """Return the image in grey, the more orange the less sure its pixels are, JPEG."""
        grey = np.repeat(self.image.mean(axis=2, keepdims=True), 3, axis=2).astype(np.float32) * 0.6 + 60
        doubt = np.clip((_SURE - self.confidence / np.float32(255)) / _SURE * 2, 0, 1)[:, :, None]
        return _jpeg((grey + (_ORANGE - grey) * doubt).round().astype(np.uint8))


def channel_colors(labels: LabelSet) -> list[Color]:
    """Return the colour of each class."""
    table = color_table(labels)
    return [table[label.id] for label in labels.classes]


def shrunk(image: Pixels) -> Pixels:
    """Return a copy of an image, uint8 (H, W, 3), whose longer side has :data:`SIDE` pixels or fewer."""
    height, width = _size(*image.shape[:2])
    if (height, width) == image.shape[:2]:
        return image.copy()
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


class Gallery:
    """Thread-safe lists of pictures, each bounded, one picture a task in each.

    Args:
        recent: how many of the last ones are kept.
        unsure: how many of the least sure ones that nobody has submitted.
        corrected: how many of the most corrected ones.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        recent: int = RECENT,
        unsure: int = UNSURE,
        corrected: int = CORRECTED,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._most = (recent, unsure, corrected)
        self._clock = clock
        self._lock = threading.Lock()
        self._count = 0
        # newest last
        self._recent: dict[tuple[str, str], Picture] = {}
        self._unsure: dict[tuple[str, str], Picture] = {}
        self._corrected: dict[tuple[str, str], tuple[float, Picture]] = {}

    def add(
        self, small: Pixels, predicted: Prediction, labels: LabelSet, version: str, project: str, task: str
    ) -> None:
        """Take in a prediction.

        Args:
            small: of :func:`shrunk`.
            predicted: of the whole image.
            labels: of the model.
            version: of the model.
            project: Label Studio's id.
            task: likewise.
        """
        size = small.shape[1], small.shape[0]
        label_map, confidence = (
            np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_NEAREST), np.uint8)
            for part in (predicted.label_map, predicted.confidence)
        )
        with self._lock:
            self._count += 1
            picture = Picture(
                *(self._count, project, task, version, predicted.score, self._clock(), labels),
                *(small, label_map, confidence),
            )
            self._recent.pop(picture.key, None)
            self._recent[picture.key] = picture
            if len(self._recent) > self._most[0]:
                del self._recent[next(iter(self._recent))]
            # what an older version was unsure of is the newer one's to say
            self._unsure = {k: p for k, p in self._unsure.items() if p.project != project or p.version == version}
            self._unsure[picture.key] = picture
            if len(self._unsure) > self._most[1]:
                del self._unsure[max(self._unsure.values(), key=lambda one: one.score).key]

    def submitted(self, project: str, task: str, share: float) -> None:
        """Note that somebody submitted a task and changed a share (0..1) of its pixels."""
        key = (project, task)
        with self._lock:
            found = self._recent.get(key) or self._unsure.get(key)
            self._unsure.pop(key, None)
            found = found or (self._corrected[key][1] if key in self._corrected else None)
            if found is None:
                return
            self._corrected[key] = (share, found)
            if len(self._corrected) > self._most[2]:
                del self._corrected[min(self._corrected, key=lambda one: self._corrected[one][0])]

    def recent(self) -> list[Picture]:
        """Return the last pictures, newest first."""
        with self._lock:
            return list(reversed(self._recent.values()))

    def unsure(self) -> list[Picture]:
        """Return the pictures that are least sure, those first."""
        with self._lock:
            return sorted(self._unsure.values(), key=lambda one: (one.score, one.number))

    def of(self, project: str, task: str) -> Picture | None:
        """Return the picture of a task that was corrected, None where none is kept."""
        with self._lock:
            found = self._corrected.get((project, task))
            return found[1] if found else self._recent.get((project, task))

    def picture(self, number: int) -> Picture | None:
        """Return a picture by its number, None where it is not kept any more."""
        with self._lock:
            return next((one for one in self._all() if one.number == number), None)

    def _all(self) -> Iterable[Picture]:
        yield from self._recent.values()
        yield from self._unsure.values()
        yield from (one for _, one in self._corrected.values())


def _size(height: int, width: int) -> tuple[int, int]:
    factor = min(1.0, SIDE / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def _jpeg(picture: Pixels) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=82)
    return out.getvalue()
