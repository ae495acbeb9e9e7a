"""Label Studio exports of drawn pictures: fields of 32 x 32 pixels whose colour says their class."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from maskloop_converters.codecs import studio_rle

NAMES = ("red", "green", "blue")
COLORS = np.array([(200, 60, 60), (60, 190, 70), (50, 70, 200)], np.float32)
CONFIG = (
    '<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image">'
    + "".join(f'<Label value="{name}"/>' for name in NAMES)
    + "</BrushLabels></View>"
)
Maps = Sequence[NDArray[np.uint8]]


def fields(seed: int, *, size: int = 64) -> NDArray[np.uint8]:
    """Return a map of classes: uint8 (size, size), one class a field."""
    cells = np.random.default_rng(seed).integers(len(NAMES), size=(size // 32, size // 32))
    return np.repeat(np.repeat(cells, 32, axis=0), 32, axis=1).astype(np.uint8)


def picture(label_map: NDArray[np.uint8], seed: int, *, tint: float = 0.0) -> NDArray[np.uint8]:
    """Return the RGB picture of a map; ``tint`` 0..1 moves every colour on towards the next class's."""
    colors = (1 - tint) * COLORS + tint * np.roll(COLORS, -1, axis=0)
    noise = np.random.default_rng(seed).normal(0, 12, (*label_map.shape, 3))
    return np.clip(colors[label_map] + noise, 0, 255).astype(np.uint8)


def regions(label_map: NDArray[np.uint8], origin: str | Sequence[str], prefix: str = "r") -> list[dict[str, Any]]:
    """Return the results of a map as Label Studio has them, one region a class."""
    ids, streams = studio_rle.encode_label_map(label_map)
    height, width = label_map.shape
    kept = [(int(k), stream) for k, stream in zip(ids, streams, strict=True) if k < len(NAMES)]
    return [
        {
            "id": f"{prefix}_{NAMES[k]}",
            "from_name": "tag",
            "to_name": "image",
            "type": "brushlabels",
            "origin": origin if isinstance(origin, str) else origin[number % len(origin)],
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {"format": "rle", "rle": list(stream), "brushlabels": [NAMES[k]]},
        }
        for number, (k, stream) in enumerate(kept)
    ]


def annotation(number: int, result: list[dict[str, Any]], **facts: Any) -> dict[str, Any]:
    stamp = f"2026-11-22T07:{number % 60:02}:00.000000Z"
    return {"id": number, "result": result, "was_cancelled": False, "created_at": stamp, "updated_at": stamp, **facts}


WriteExport = Callable[..., Path]


@pytest.fixture
def write_export(tmp_path: Path) -> WriteExport:
    """Return a function that writes an export: one task a map, its picture beside it."""

    def write(
        name: str,
        maps: Maps,
        *,
        tint: float = 0.0,
        labelled: Maps | None = None,
        predicted: Maps | None = None,
        first: int = 1,
        more: Sequence[dict[str, Any]] = (),
    ) -> Path:
        folder = tmp_path / name
        (folder / "images").mkdir(parents=True)
        tasks: list[dict[str, Any]] = []
        for number, truth in enumerate(maps, first):
            Image.fromarray(picture(truth, number, tint=tint)).save(folder / "images" / f"{number}.png")
            drawn = truth if labelled is None else labelled[number - first]
            prediction = None if predicted is None else {"result": regions(predicted[number - first], "prediction")}
            origin = "manual" if prediction is None else "prediction-changed"
            done = annotation(number, regions(drawn, origin))
            if prediction is not None:
                done |= {"parent_prediction": 1000 + number, "prediction": prediction}
            tasks.append({"id": number, "data": {"image": f"/data/upload/1/{number}.png"}, "annotations": [done]})
        (folder / "export.json").write_text(json.dumps([*tasks, *more]))
        (folder / "export.label_config.xml").write_text(CONFIG)
        return folder / "export.json"

    return write
