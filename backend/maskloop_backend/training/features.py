"""Features of frozen layers, computed once: a training of the layers after them then needs no image any more.

A few random views of every image (zoomed, mirrored, recoloured as any training sees them) go through the frozen layers;
what comes out lies in memory-mapped files, so it may be larger than the memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

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
_FEATURES, _TARGETS, _DONE = "features-{}.f16", "targets.u8", "features.json"
# Views computed at once, and between two records of how far it has come.
_AT_ONCE, _BETWEEN = 4, 64
# The greatest number of half precision.
_GREATEST = float(np.finfo(np.float16).max)


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
        self._recipe = settings.recipe
        height, width = self._recipe.crop or default_crop(examples.shapes)
        self.crop = -(-height // STRIDE) * STRIDE, -(-width // STRIDE) * STRIDE
        # what crosses from the frozen layers to the others: the last map, and those that score layers read on the way
        shapes = front.compute_output_shape((1, *self.crop, 3))
        shapes = [shapes] if len(front.outputs) == 1 else shapes
        self._shapes = [tuple(int(side) for side in shape[1:]) for shape in shapes]
        bytes_a_view = 2 * sum(int(np.prod(shape)) for shape in self._shapes) + int(np.prod(self.crop))
        self.views = min(settings.cached_views, limit // (bytes_a_view * len(examples)))
        self._examples = examples
        self._draw = draw
        self._seed = settings.seed
        self._front = front
        self._directory = directory
        self._every = settings.loss_every
        self._features: list[NDArray[np.float16]] = []
        self._targets: NDArray[np.uint8] = np.empty(0, np.uint8)

    def compute(self, each: Callable[[int, int], None]) -> None:
        """Compute the features that are not on the disk yet.

        Args:
            each: is called with (views done, views in all); what it raises ends the work, which can be taken up again.
        """
        rows = len(self._examples) * self.views
        plan: dict[str, Any] = {
            "features": [[rows, *shape] for shape in self._shapes],
            "targets": [rows, *self.crop],
        }
        self._directory.mkdir(parents=True, exist_ok=True)
        done = self._done(plan)
        mode: Literal["r+", "w+"] = "r+" if done else "w+"
        self._features = [
            np.memmap(path, np.float16, mode, shape=tuple(shape))
            for path, shape in zip(self._files(), plan["features"], strict=True)
        ]
        self._targets = np.memmap(self._directory / _TARGETS, np.uint8, mode, shape=tuple(plan["targets"]))
        while done < rows:
            each(done, rows)
            following = range(done, min(done + _AT_ONCE, rows))
            images = np.empty((len(following), *self.crop, 3), np.float32)
            for place, row in enumerate(following):
                images[place], self._targets[row] = self._view(row)
            computed = self._front.predict_on_batch(images)
            maps = computed if isinstance(computed, list) else [computed]
            for features, values in zip(self._features, maps, strict=True):
                whole = keras.ops.convert_to_numpy(keras.ops.cast(values, "float32"))
                features[done : following.stop] = np.clip(whole, -_GREATEST, _GREATEST)
            done = following.stop
            if done == rows or done % _BETWEEN < _AT_ONCE:
                self._record(plan, done)
        each(done, rows)

    def at(self, step: int) -> Batch:
        """Return the batch of a step.

        Returns:
            float32 (B, h / s, w / s, C) of the last frozen map at its stride s, or a list of such where score layers
            read earlier ones, too; and int32 (B, h, w), channel or VOID. Where the loss looks at every n-th row and column,
            the list ends with the first of them, int32 (B, 2), and the target has these only.
        """
        rng = np.random.default_rng((self._seed, step))
        chosen = np.array(self._draw.at(step))
        rows = chosen * self.views + rng.integers(self.views, size=len(chosen))
        maps = [features[rows].astype(np.float32) for features in self._features]
        targets = self._targets[rows].astype(np.int32)
        if self._every > 1:
            top, left = (int(side) for side in rng.integers(self._every, size=2))
            phase = np.tile(np.array([top, left], np.int32), (len(chosen), 1))
            return [*maps, phase], targets[:, top :: self._every, left :: self._every]
        return maps[0] if len(maps) == 1 else maps, targets

    def _files(self) -> list[Path]:
        return [self._directory / _FEATURES.format(number) for number in range(len(self._shapes))]

    def _view(self, row: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        index, view = divmod(row, self.views)
        image, target = self._examples[index]
        rng = np.random.default_rng((self._seed, index, view))
        return augment(image, target, self.crop, self._recipe, rng)

    def _done(self, plan: dict[str, Any]) -> int:
        """Return how many rows an earlier sitting has computed."""
        try:
            record = json.loads((self._directory / _DONE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return 0
        present = all(path.exists() for path in (*self._files(), self._directory / _TARGETS))
        return int(record["done"]) if present and record["plan"] == plan else 0

    def _record(self, plan: dict[str, Any], done: int) -> None:
        for array in (*self._features, self._targets):
            if isinstance(array, np.memmap):
                array.flush()
        with atomic_file(self._directory / _DONE, overwrite=True) as aside:
            aside.write_text(json.dumps({"plan": plan, "done": done}), encoding="utf-8")
