"""The same Keras model behind label-studio-ml 2.x, written the way its examples are: the peer of serving.py.

`gunicorn --preload --workers 1 --threads 8 --timeout 0 peer_label_studio_ml:app`, the command line that it ships with.
"""

from __future__ import annotations

import os
import threading
import uuid
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from label_studio_ml.api import init_app
from label_studio_ml.model import LabelStudioMLBase
from label_studio_ml.response import ModelResponse
from label_studio_sdk.converter import brush
from PIL import Image

_loading = threading.Lock()


@cache
def _load() -> Any:
    """Return the predictor and what predicts; loaded after gunicorn's fork, which TensorFlow does not survive."""
    from maskloop_backend.inference.predictor import Predictor
    from maskloop_backend.registry.store import Registry

    registry = Registry(Path(os.environ["MASKLOOP_HOME"]))
    bundle = registry.load(str(registry.serving()))
    predictor = Predictor(bundle)
    if os.environ["PEER_MODEL"] == "predictor":
        return predictor, lambda image: predictor.predict([image])[0].label_map

    def label_map(image: np.ndarray) -> np.ndarray:
        return bundle.model.predict(image[None], verbose=0)[0].argmax(-1)

    return predictor, label_map


class Peer(LabelStudioMLBase):
    """Predicts image by image; encodes with the SDK."""

    def setup(self) -> None:
        self.set("model_version", "peer")

    def predict(self, tasks: list[dict[str, Any]], context: dict[str, Any] | None = None, **_: Any) -> ModelResponse:
        with _loading:
            predictor, label_map = _load()
        from_name, to_name, value = self.label_interface.get_first_tag_occurence("BrushLabels", "Image")
        predictions = []
        for task in tasks:
            path = self.get_local_path(task["data"][value], task_id=task["id"])
            image = np.asarray(Image.open(path).convert("RGB"))
            found = label_map(image)
            result = [
                {
                    "id": str(uuid.uuid4()),
                    "from_name": from_name,
                    "to_name": to_name,
                    "type": "brushlabels",
                    "original_width": image.shape[1],
                    "original_height": image.shape[0],
                    "image_rotation": 0,
                    "value": {
                        "format": "rle",
                        "rle": brush.mask2rle((found == index).astype(np.uint8) * 255),
                        "brushlabels": [predictor.labels.classes[index].name],
                    },
                }
                for index in np.unique(found).tolist()
            ]
            predictions.append({"result": result, "score": 0.5, "model_version": "peer"})
        return ModelResponse(predictions=predictions)


app = init_app(model_class=Peer)
