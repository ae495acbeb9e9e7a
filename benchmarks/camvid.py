"""Train an FCN-32s on CamVid's 367 training images and measure it on the 101 validation images, 11 classes, 360 x 480.

    python benchmarks/camvid.py CAMVID --home HOME --weights VGG16.weights.h5 --epochs 4

CAMVID is any copy in SegNet's layout (train/ trainannot/ val/ valannot/). The result is a model version in HOME, its
numbers in HOME/camvid.json. Published for the same split and classes, FCN-32s with fc6/fc7: 65.0 mIoU
(github.com/fmahoudeau/FCN-Segmentation-TensorFlow).
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import time
from pathlib import Path

import numpy as np
from PIL import Image

from maskloop_backend.inference.predictor import Predictor
from maskloop_backend.registry.store import Registry
from maskloop_backend.studio.images import decode
from maskloop_backend.training.dataset import read_source
from maskloop_backend.training.metrics import Evaluation
from maskloop_backend.training.settings import TrainingSettings
from maskloop_backend.training.trainer import Silent, train
from maskloop_converters import Dataset, Region, RunList, overlay
from maskloop_converters.formats.labels import color_table


class Lines(Silent):
    """A line every 20 steps and every evaluation."""

    def __init__(self) -> None:
        self.begun = time.monotonic()

    def stepped(self, *, step: int, loss: float, learning_rate: float) -> None:
        if step % 20 == 0:
            print(f"{time.monotonic() - self.begun:6.0f} s  step {step}  loss {loss:.3f}", flush=True)

    def evaluated(self, evaluation: Evaluation, *, best: bool) -> None:
        print(json.dumps(evaluation.to_json()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("camvid", type=Path)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--backbone", choices=("small", "vgg16"), default="vgg16")
    parser.add_argument("--weights", help="imagenet, or a file with VGG16's convolutions")
    parser.add_argument("--head", action="store_true", help="with fc6 and fc7")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--frozen-blocks", type=int, default=0)
    parser.add_argument("--precision", choices=("float32", "mixed_bfloat16"), default="float32")
    parser.add_argument("--crop", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--evaluate-every", type=int, default=1)
    parser.add_argument("--pictures", type=Path, help="draw validation images here: image, truth, prediction")
    options = parser.parse_args()
    dataset, validation = read_source(options.camvid)
    settings = TrainingSettings(
        backbone=options.backbone,
        head=options.head,
        weights=options.weights,
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        frozen_blocks=options.frozen_blocks,
        precision=options.precision,
        crop=tuple(options.crop) if options.crop else None,
        evaluate_every=options.evaluate_every,
        patience=None,
    )
    result = train(dataset, settings, Registry(options.home), Lines(), validation=validation, resume=True)
    report = {
        "version": result.version,
        "split": f"{len(result.train)} train, {len(result.validation)} val",
        "seconds": round(result.seconds),
        "best": result.best.to_json(),
        "settings": settings.to_json(),
    }
    (options.home / "camvid.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))
    if options.pictures:
        draw_pictures(options.pictures, Registry(options.home), result.version, validation)


def draw_pictures(folder: Path, registry: Registry, version: str, validation: Dataset, *, every: int = 25) -> None:
    """Draw every so many validation images: the image, the truth over it, the prediction over it."""
    predictor = Predictor(registry.load(version))
    labels = validation.labels
    colors = color_table(labels)
    folder.mkdir(parents=True, exist_ok=True)
    for sample in itertools.islice(validation, 0, None, every):
        encoded = sample.image.read_bytes()
        assert encoded is not None
        image = decode(encoded, sample.id)
        (prediction,) = predictor.predict([image])
        ids, masks = RunList.from_label_map(prediction.label_map)
        regions = tuple(Region(labels.classes[k].id) for k in ids.tolist())
        drawn = overlay.draw(dataclasses.replace(sample, masks=masks, regions=regions), colors)
        side_by_side = np.concatenate([image, overlay.draw(sample, colors), drawn], axis=1)
        Image.fromarray(side_by_side).save(folder / f"camvid-{sample.id.replace('/', '_')}.jpg", quality=85)


if __name__ == "__main__":
    main()
