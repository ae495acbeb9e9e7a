"""From images of any size to predictions: shrink, pad, tile, batch, decide, put together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maskloop_converters.errors import DataError
from maskloop_converters.samples import LabelSet

from ..model.bundle import Bundle
from ..model.config import STRIDE
from ..model.preprocessing import mirror_indices, missing
from ..model.record import ZOOMED_PIXELS
from .edges import refined
from .prediction import Prediction, Steps, finished
from .runtimes.keras_runtime import KerasRuntime
from .runtimes.protocol import Precision, Runtime
from .score import image_score

# Pixels of a batch: five images of 384 x 512. VGG16 needs 0.5 kB a pixel, and a CPU gains nothing from more.
_BATCH_PIXELS = 1 << 20

# Rows of an image that is shrunk are made in strips that read so many pixels: Pillow copies what it reads, 4 bytes a pixel.
_STRIP_PIXELS = 1 << 22
# Rows on both sides of a strip that are made and left out: what Pillow's filter reads beyond the strip is theirs.
_STRIP_MARGIN = 2

# Side of the tiles of what is too large for one piece: a tile is a batch, so that who waits beside it waits for a batch.
_CUT = 1024

Box = tuple[slice, slice]


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """One image on its way.

    Attributes:
        image: uint8 (h, w, 3): the image, shrunk or enlarged where asked.
        inner: rows and columns that are the image, in a frame where it is mirrored up to multiples of 32. The frame is
            made tile by tile: a copy of the whole of a large image would be in memory beside it.
        resized: its logits are interpolated to the size of ``labels``.
        labels: uint8 (H, W), filled as the pieces come back; the original size.
        confidence: uint8 (H, W), the same.
    """

    image: NDArray[np.uint8]
    inner: Box
    resized: bool
    labels: NDArray[np.uint8]
    confidence: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """What goes through the network at once: a whole padded image, or a tile of it.

    Attributes:
        job: whose piece it is.
        seen: rows and columns of the job's frame that the network gets; multiples of 32.
        kept: rows and columns of the frame that are taken from the result.
    """

    job: _Job
    seen: Box
    kept: Box

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """What the network gets: uint8 (h, w, 3)."""
        pixels = self.job.image
        for axis, (seen, inner) in enumerate(zip(self.seen, self.job.inner, strict=True)):
            if inner.start <= seen.start and seen.stop <= inner.stop:
                pixels = pixels[(slice(None),) * axis + (_shifted(seen, inner.start),)]
            else:
                pixels = pixels.take(mirror_indices(inner.stop - inner.start)[seen], axis=axis)
        return pixels

    @property
    def group(self) -> Hashable:
        """Pieces of equal groups fit into one batch."""
        height, width = (side.stop - side.start for side in self.seen)
        if not self.job.resized:
            return height, width
        return height, width, *((side.start, side.stop) for side in self.job.inner), self.job.labels.shape

    def store(self, labels: NDArray[np.uint8], confidence: NDArray[np.uint8]) -> None:
        """Put the network's answer, uint8 (h, w) twice, to its place in the job's result."""
        if self.job.resized:
            self.job.labels[:], self.job.confidence[:] = labels, confidence
            return
        source = tuple(_shifted(kept, seen.start) for kept, seen in zip(self.kept, self.seen, strict=True))
        target = tuple(_shifted(kept, inner.start) for kept, inner in zip(self.kept, self.job.inner, strict=True))
        self.job.labels[target], self.job.confidence[target] = labels[source], confidence[source]


class Predictor:
    """A model version that predicts: a :class:`~.prediction.Segmenter`. Thread-safe.

    Args:
        bundle: the model version.
        max_side: images with a longer side are shrunk to it before the prediction and their logits enlarged after it,
            so that label maps have the original size; None never shrinks; 'record' does what the bundle's record says.
        precision: of Keras' runtime, see :class:`~.runtimes.keras_runtime.KerasRuntime`.
        runtime: what runs the bundle's network instead, see :func:`~.runtimes.choosing.choose`; it has a precision already.
        reason: why that one, for /health.
        edges: move label maps to the edges of their images, see :mod:`~.edges`; confidences stay as the network has them.
        tile: images of more than ``tile * tile`` pixels are predicted in tiles, of this side or of 1024 where that is
            less. A multiple of 32, which bounds the memory: 1536 needs about 1.5 GB with VGG16.
        overlap: pixels that neighbouring tiles share, a multiple of 32 below ``tile``; each keeps its half. From the
            receptive field on (512 for VGG16 with its head) the result is that of the whole image; less saves time.

    Raises:
        DataError: impossible sizes.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        max_side: int | Literal["record"] | None = "record",
        precision: Precision = "auto",
        runtime: Runtime | None = None,
        reason: str | None = None,
        edges: bool = False,
        tile: int = 1536,
        overlap: int = 256,
    ) -> None:
        side = bundle.record.max_side if max_side == "record" else max_side
        if side is not None and not 1 <= side <= tile:
            raise DataError(f"max_side is a number of pixels in 1..{tile} (the side of a tile), got {side}")
        if tile % STRIDE or overlap % STRIDE or not 0 <= overlap < tile:
            raise DataError(f"tile and overlap are multiples of {STRIDE}, overlap < tile; got {tile} and {overlap}")
        self._record = bundle.record
        self._runtime: Runtime = runtime or KerasRuntime(bundle, precision=precision)
        self.runtime_reason = reason
        self._edges = edges
        self._max_side = side
        labels = bundle.record.labels
        self._background = next((k for k, c in enumerate(labels.classes) if c.id == labels.background_id), None)
        self._tile = tile
        self._cut = tile if overlap >= _CUT else min(tile, _CUT)
        self._overlap = overlap

    @property
    def version(self) -> str:
        """The model version's name; '' for a bundle that was never saved."""
        return self._record.version

    @property
    def labels(self) -> LabelSet:
        """What the channels mean: channel k is ``labels.classes[k]``."""
        return self._record.labels

    @property
    def precision(self) -> str:
        """What the network computes in: 'float32' or 'bfloat16'."""
        return self._runtime.precision

    @property
    def runtime(self) -> str:
        """What runs the network: 'keras' or 'openvino'."""
        return self._runtime.name

    def warm_up(self, height: int = STRIDE, width: int = STRIDE) -> None:
        """Compile, so that the first request need not wait for it; JAX compiles for this size only."""
        self.predict([np.zeros((height, width, 3), np.uint8)])

    def predict(self, images: Sequence[NDArray[Any]]) -> list[Prediction]:
        """Return one prediction an image, in order; an image's prediction does not depend on its neighbours.

        Args:
            images: uint8 (H, W, 3) RGB arrays, EXIF rotation applied; sizes may differ.

        Raises:
            DataError: an array of another shape or type; the message says which.
        """
        return finished(self.steps(images))

    def start_stretch(self) -> None:
        """Begin a stretch of images: with a repeatable runtime, no prediction of it depends on what was before, not even by rounding."""
        self._runtime.start_stretch()

    def steps(self, images: Sequence[NDArray[Any]]) -> Steps:
        """Return the same as :meth:`predict`, as a generator that pauses after every call of the network.

        A large image is dozens of tiles: whoever drives it can let other images through between them.
        """
        jobs = [self._prepare(number, image) for number, image in enumerate(images)]
        groups: dict[Hashable, list[_Piece]] = {}
        for job in jobs:
            for piece in self._pieces(job):
                groups.setdefault(piece.group, []).append(piece)
        for pieces in groups.values():
            yield from self._run(pieces)
        if self._edges:
            for image, job in zip(images, jobs, strict=True):
                job.labels[:] = refined(image, job.labels)
        return [
            Prediction(job.labels, job.confidence, image_score(job.labels, job.confidence, self._background))
            for job in jobs
        ]

    def inputs(self, image: NDArray[Any]) -> Iterator[NDArray[np.uint8]]:
        """Yield what the network sees of an image: uint8 (1, h, w, 3), all of it or tile by tile."""
        for piece in self._pieces(self._prepare(0, image)):
            yield np.ascontiguousarray(piece.pixels[None])

    def _prepare(self, number: int, image: NDArray[Any]) -> _Job:
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise DataError(
                f"image {number}: expected uint8 (height, width, 3) RGB, got {image.dtype} of shape {image.shape}"
            )
        height, width = image.shape[:2]
        size = self._seen(height, width)
        resized = size != (height, width)
        if resized:
            image = _resized(image, *size)
        inner = tuple(slice(missing(side) // 2, missing(side) // 2 + side) for side in image.shape[:2])
        result = np.empty((height, width), np.uint8)
        return _Job(image, (inner[0], inner[1]), resized, result, np.empty_like(result))

    def _seen(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) at which the network sees an image of a size."""
        longest = max(height, width)
        factor = 1.0 if self._max_side is None else min(1.0, self._max_side / longest)
        zoomed = factor * self._record.zoom
        if zoomed != factor:
            sides = [side + missing(side) for side in (round(height * zoomed), round(width * zoomed))]
            if sides[0] * sides[1] <= min(ZOOMED_PIXELS, self._tile**2):
                factor = zoomed
        return max(1, round(height * factor)), max(1, round(width * factor))

    def _pieces(self, job: _Job) -> Iterator[_Piece]:
        height, width = (side + missing(side) for side in job.image.shape[:2])
        if height * width <= self._tile**2:
            yield _Piece(job, (slice(0, height), slice(0, width)), job.inner)
            return
        for rows, kept_rows in self._cuts(height, job.inner[0]):
            for columns, kept_columns in self._cuts(width, job.inner[1]):
                yield _Piece(job, (rows, columns), (kept_rows, kept_columns))

    def _cuts(self, size: int, inner: slice) -> Iterator[Box]:
        """Yield what the tiles of one side see and keep; they start at multiples of 32, as the poolings do."""
        tile = self._cut
        if size <= tile:
            yield slice(0, size), inner
            return
        starts = [*range(0, size - tile, tile - self._overlap), size - tile]
        # neighbours meet in the middle of what they share
        borders = [(before + tile + after) // 2 for before, after in itertools.pairwise(starts)]
        edges = [inner.start, *borders, inner.stop]
        for start, kept in zip(starts, itertools.pairwise(edges), strict=True):
            yield slice(start, start + tile), slice(*kept)

    def _run(self, pieces: list[_Piece]) -> Iterator[None]:
        """Predict pieces of one group and store the answers, pausing after each call of the network."""
        height, width = pieces[0].pixels.shape[:2]
        most = max(1, _BATCH_PIXELS // (height * width))
        for first in range(0, len(pieces), most):
            part = pieces[first : first + most]
            batch = np.stack([piece.pixels for piece in part])
            if self._runtime.static_shapes and 1 < len(part) < most:
                batch = np.concatenate([batch, np.repeat(batch[-1:], most - len(part), axis=0)])
            job = part[0].job
            if job.resized:
                answers = self._runtime.enlarged(batch, job.inner, *job.labels.shape)
            else:
                answers = self._runtime.labels(batch)
            for piece, labels, confidence in zip(part, *answers, strict=False):
                piece.store(labels, confidence)
            yield


def _resized(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Return an image at another size; Pillow widens its filter when it shrinks: no aliasing."""
    rows, columns = image.shape[:2]
    if height >= rows and width >= columns:
        # the same filter in a tenth of the time
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
    step = max(1, _STRIP_PIXELS * height // (rows * columns))
    if step >= height:
        return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
    result = np.empty((height, width, 3), np.uint8)
    scale = rows / height
    for top in range(0, height, step):
        bottom = min(top + step, height)
        first, last = max(0, top - _STRIP_MARGIN), min(height, bottom + _STRIP_MARGIN)
        start, stop = math.floor(first * scale), min(rows, math.ceil(last * scale))
        strip = Image.fromarray(image[start:stop]).resize(
            (width, last - first),
            Image.Resampling.BILINEAR,
            box=(0, first * scale - start, columns, min(last * scale - start, stop - start)),
        )
        result[top:bottom] = np.asarray(strip)[top - first : bottom - first]
    return result


def _shifted(side: slice, origin: int) -> slice:
    return slice(side.start - origin, side.stop - origin)
