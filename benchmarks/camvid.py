"""Train FCNs on CamVid's 367 training images and measure them on the 101 validation images, 11 classes, 360 x 480.

    python benchmarks/camvid.py train CAMVID --home HOME                                   # the default recipe
    python benchmarks/camvid.py train CAMVID stride=32 epochs=12 --home HOME               # any training setting
    python benchmarks/camvid.py train CAMVID --home HOME --drive 0001TP                    # train on the other drives, measure on this
    python benchmarks/camvid.py table HOME > rows.md
    python benchmarks/camvid.py pictures CAMVID --home HOME --version VERSION --out FOLDER

CAMVID is any copy in SegNet's layout (train/ trainannot/ val/ valannot/). Every training adds a model version to HOME and a
line to HOME/camvid.jsonl: its settings, processor seconds and figures. Published for the same split and classes, with VGG16,
fc6/fc7 and a GPU: 65.0 / 70.4 / 73.2 mIoU for FCN-32s / 16s / 8s (github.com/fmahoudeau/FCN-Segmentation-TensorFlow).

Validation is one clip of a drive (0016E5) that is in the training part, too: --drive says more about streets never seen.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from maskloop_backend.evaluation.measurement import measure
from maskloop_backend.inference.predictor import Predictor
from maskloop_backend.registry.store import Registry
from maskloop_backend.studio.images import decode
from maskloop_backend.training.dataset import Examples, read_source
from maskloop_backend.training.metrics import Evaluation
from maskloop_backend.training.outcome import Silent
from maskloop_backend.training.recipes import recipe
from maskloop_backend.training.settings import TrainingSettings
from maskloop_backend.training.staged import stages
from maskloop_backend.training.trainer import train
from maskloop_converters import Dataset, Region, RunList, overlay
from maskloop_converters.formats.labels import color_table
from maskloop_converters.samples import Sample

ROWS = "camvid.jsonl"
# What the table says of every training; all other settings are said where they are not the recipe's.
_OWN_COLUMN = {"evaluate_every", "backbone", "stride", "epochs", "seed", "weights", "patience"}


class Lines(Silent):
    """A line every epoch or so, and every evaluation."""

    def stepped(self, *, step: int, loss: float, learning_rate: float) -> None:
        if step % 92 == 0:
            print(f"{processor_seconds():6.0f} CPU s  step {step}  loss {loss:.3f}", file=sys.stderr, flush=True)

    def evaluated(self, evaluation: Evaluation, *, best: bool) -> None:
        print(
            f"{processor_seconds():6.0f} CPU s  epoch {evaluation.epoch}  mIoU {evaluation.miou:.4f}  "
            f"right {evaluation.pixel_accuracy:.4f}",
            file=sys.stderr,
            flush=True,
        )


def processor_seconds() -> float:
    """Return the processor time of this process, all threads together."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train")
    training.add_argument("camvid", type=Path)
    training.add_argument("settings", nargs="*", metavar="NAME=VALUE", help="a training setting, its value as JSON")
    training.add_argument("--home", type=Path, required=True)
    training.add_argument("--drive", help="measure on this drive of the training part and train on its others")
    training.add_argument("--staged", action="store_true", help="32s, from it 16s, from it 8s")
    training.add_argument("--from", dest="start", help="a version to start from")
    table = commands.add_parser("table")
    table.add_argument("homes", nargs="+", type=Path)
    table.add_argument("--classes", action="store_true", help="the IoU of every class")
    pictures = commands.add_parser("pictures")
    pictures.add_argument("camvid", type=Path)
    pictures.add_argument("--home", type=Path, required=True)
    pictures.add_argument("--version", required=True)
    pictures.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if options.command == "table":
        rows = [json.loads(line) for home in options.homes for line in (home / ROWS).read_text().splitlines()]
        print("\n".join(class_table(rows) if options.classes else table_of(rows)))
    elif options.command == "pictures":
        validation = read_source(options.camvid)[1]
        assert validation is not None
        draw_pictures(options.out, Registry(options.home), options.version, validation)
    else:
        run(options)


def run(options: argparse.Namespace) -> None:
    """Train, measure and add a row."""
    dataset, validation = read_source(options.camvid)
    assert validation is not None
    if options.drive:
        dataset, validation = by_drive(dataset, options.drive)
    asked = {name: json_or_text(value) for name, value in (item.split("=", 1) for item in options.settings)}
    own = recipe(asked.get("backbone", TrainingSettings().backbone))
    start = {} if options.start else {"weights": own.weights}
    settings = TrainingSettings.from_json({"patience": None, **start, **asked})
    registry = Registry(options.home)
    began, used, initial = time.monotonic(), processor_seconds(), options.start
    for stage in stages(settings) if options.staged else [settings]:
        result = train(
            dataset,
            stage,
            registry,
            Lines(),
            validation=validation,
            resume=True,
            initial=None if initial is None else registry.load(initial),
        )
        initial = result.version
    seconds = {"cpu": round(processor_seconds() - used), "clock": round(time.monotonic() - began)}
    bundle = registry.load(result.version)
    measured = measure(Predictor(bundle), Examples(validation, validation.labels))
    scores = measured.scores
    row = {
        "version": result.version,
        "settings": settings.to_json(),
        "asked": asked,
        "staged": options.staged,
        "start": options.start,
        "drive": options.drive,
        "images": [len(result.train), len(result.validation)],
        "parameters": bundle.model.count_params(),
        "seconds": seconds,
        "epoch": result.best.epoch,
        "curve": [[one.epoch, round(one.miou, 4), round(one.pixel_accuracy, 4)] for one in result.history],
        "miou": float(scores.miou),
        "pixel_accuracy": float(scores.pixel_accuracy),
        "boundary_f": float(scores.boundary_f),
        "iou": {k: None if np.isnan(v) else float(v) for k, v in zip(measured.labels, scores.iou, strict=True)},
    }
    with (options.home / ROWS).open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row, indent=2))


def json_or_text(value: str) -> Any:
    """Return a value that is JSON, or the text itself."""
    try:
        return json.loads(value)
    except ValueError:
        return value


def by_drive(dataset: Dataset, drive: str) -> tuple[Dataset, Dataset]:
    """Return the images of all other drives, and those of one; file names begin with the drive's name."""
    samples = list(dataset)

    def part(held_out: bool) -> list[Sample]:
        return [one for one in samples if Path(one.id).name.startswith(drive) == held_out]

    return Dataset(dataset.labels, part(False)), Dataset(dataset.labels, part(True))


def table_of(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of a Markdown table, a training each."""
    yield "| network | what differs | epochs | seed | CPU s | mIoU | right | to correct | boundary F | pole | sign | pedestrian |"
    yield "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    for row in rows:
        asked, settings = row["asked"], TrainingSettings.from_json(row["settings"])
        differs = [f"{key} {_short(value)}" for key, value in asked.items() if key not in _OWN_COLUMN]
        differs += ["staged"] if row["staged"] else []
        differs += [f"from {row['start']}"] if row["start"] else []
        differs += [f"measured on {row['drive']} ({row['images'][1]} images)"] if row["drive"] else []
        thin = " | ".join(_percent(row["iou"][name]) for name in ("Pole", "SignSymbol", "Pedestrian"))
        yield (
            f"| FCN-{settings.recipe.stride}s {settings.backbone} | {', '.join(differs) or 'the recipe'} | "
            f"{settings.recipe.epochs} | {settings.seed} | {row['seconds']['cpu']:,} | **{row['miou']:.3f}** | "
            f"{row['pixel_accuracy']:.1%} | {1 - row['pixel_accuracy']:.1%} | {row['boundary_f']:.3f} | {thin} |"
        )


def class_table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of a Markdown table with the IoU of every class."""
    names = list(rows[0]["iou"])
    yield f"| version | mIoU | {' | '.join(names)} |"
    yield f"|---|--:|{'--:|' * len(names)}"
    for row in rows:
        yield f"| {row['version']} | {row['miou']:.3f} | {' | '.join(_percent(row['iou'][n]) for n in names)} |"


def _short(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f}"


def draw_pictures(folder: Path, registry: Registry, version: str, validation: Dataset, *, every: int = 40) -> None:
    """Draw every so many validation images: the image, the truth over it, the prediction over it."""
    predictor = Predictor(registry.load(version))
    labels = validation.labels
    colors = color_table(labels)
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for sample in itertools.islice(validation, 0, None, every):
        encoded = sample.image.read_bytes()
        assert encoded is not None
        image = decode(encoded, sample.id)
        (prediction,) = predictor.predict([image])
        ids, masks = RunList.from_label_map(prediction.label_map)
        regions = tuple(Region(labels.classes[k].id) for k in ids.tolist())
        drawn = overlay.draw(dataclasses.replace(sample, masks=masks, regions=regions), colors)
        lines.append(np.concatenate([image, overlay.draw(sample, colors), drawn], axis=1))
        Image.fromarray(lines[-1]).save(folder / f"camvid-{sample.id.replace('/', '_')}.jpg", quality=85)
    Image.fromarray(np.concatenate(lines)).save(folder / "camvid-validation.jpg", quality=85)


if __name__ == "__main__":
    main()
