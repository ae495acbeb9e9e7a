"""Features of frozen layers, computed once: a training of the layers after them then needs no image any more.

A few random views of every image (zoomed, mirrored, recoloured as any training sees them) go through the frozen layers;
what comes out lies in memory-mapped files, so it may be larger than the memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import keras
import numpy as np
from numpy.typing import NDArray

from maskloop_converters.atomic import atomic_file

from ..model.config import STRIDE
from .augmentation import augment
from .batches import Batch, Draw, default_crop
from .dataset import Examples
from .settings import TrainingSettings

# Bytes of features and targets on the disk; where they do not fit, there are fewer views.
CACHE_LIMIT = 4 * 1024**3
_FEATURES, _TARGETS, _DONE = "features.f32", "targets.u8", "features.json"
# Views computed at once, and between two records of how far it has come.
_AT_ONCE, _BETWEEN = 4, 64


class FeatureBatches:
    """Batches of features instead of images; see :class:`~.batches.Batches`.

    Attributes:
        crop: (height, width) of every view.
        views: of every example.
    """

    def __init__(
        self,
        examples: Examples,
        draw: Draw,
        settings: TrainingSettings,
        front: keras.Model,
        directory: Path,
        *,
        limit: int = CACHE_LIMIT,
    ) -> None:
        height, width = settings.crop or default_crop(examples.shapes)
        self.crop = -(-height // STRIDE) * STRIDE, -(-width // STRIDE) * STRIDE
        # every block halves the size
        stride = 1 << settings.frozen_blocks
        cells = self.crop[0] // stride, self.crop[1] // stride
        shape = (*cells, int(front.output.shape[-1]))
        bytes_a_view = 4 * int(np.prod(shape)) + int(np.prod(self.crop))
        self.views = min(settings.cached_views, limit // (bytes_a_view * len(examples)))
        self._examples = examples
        self._draw = draw
        self._settings = settings
        self._front = front
        self._directory = directory
        self._shape = shape
        self._features: NDArray[np.float32] = np.empty(0, np.float32)
        self._targets: NDArray[np.uint8] = np.empty(0, np.uint8)

    def compute(self, each: Callable[[int, int], None]) -> None:
        """Compute the features that are not on the disk yet.

        Args:
            each: is called with (views done, views in all); what it raises ends the work, which can be taken up again.
        """
        rows = len(self._examples) * self.views
        plan = {"features": [rows, *self._shape], "targets": [rows, *self.crop]}
        self._directory.mkdir(parents=True, exist_ok=True)
        done = self._done(plan)
        mode: Literal["r+", "w+"] = "r+" if done else "w+"
        self._features = np.memmap(self._directory / _FEATURES, np.float32, mode, shape=tuple(plan["features"]))
        self._targets = np.memmap(self._directory / _TARGETS, np.uint8, mode, shape=tuple(plan["targets"]))
        while done < rows:
            each(done, rows)
            following = range(done, min(done + _AT_ONCE, rows))
            images = np.empty((len(following), *self.crop, 3), np.float32)
            for place, row in enumerate(following):
                images[place], self._targets[row] = self._view(row)
            self._features[done : following.stop] = keras.ops.convert_to_numpy(
                keras.ops.cast(self._front.predict_on_batch(images), "float32")
            )
            done = following.stop
            if done == rows or done % _BETWEEN < _AT_ONCE:
                self._record(plan, done)
        each(done, rows)

    def at(self, step: int) -> Batch:
        """Return the batch of a step: float32 (B, h / 2^n, w / 2^n, C) after n blocks, and int32 (B, h, w), channel or VOID."""
        rng = np.random.default_rng((self._settings.seed, step))
        chosen = np.array(self._draw.at(step))
        rows = chosen * self.views + rng.integers(self.views, size=len(chosen))
        return self._features[rows], self._targets[rows].astype(np.int32)

    def _view(self, row: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        index, view = divmod(row, self.views)
        image, target = self._examples[index]
        rng = np.random.default_rng((self._settings.seed, index, view))
        return augment(image, target, self.crop, self._settings, rng)

    def _done(self, plan: dict[str, list[int]]) -> int:
        """Return how many rows an earlier sitting has computed."""
        try:
            record = json.loads((self._directory / _DONE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return 0
        present = all((self._directory / name).exists() for name in (_FEATURES, _TARGETS))
        return int(record["done"]) if present and record["plan"] == plan else 0

    def _record(self, plan: dict[str, list[int]], done: int) -> None:
        for array in (self._features, self._targets):
            if isinstance(array, np.memmap):
                array.flush()
        with atomic_file(self._directory / _DONE, overwrite=True) as aside:
            aside.write_text(json.dumps({"plan": plan, "done": done}), encoding="utf-8")
