"""How long `maskloop retrain` takes from the command to the gate's decision, and what each effort brings.

    python benchmarks/retrain.py --home /tmp/retrain-bench
    python benchmarks/retrain.py --home /tmp/retrain-camvid --camvid CAMVID quick

Trains a first version on 40 images, lets it predict 50 others, writes a Label Studio export in which every prediction was put
right, and runs the command on it, once an effort, each from the same first version. All versions are measured on images
that none of them saw: drawn street scenes, or CamVid's validation part (any copy in SegNet's layout).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maskloop_backend.demo.scenes import scenes, write_scenes
from maskloop_backend.inference.predictor import Predictor
from maskloop_backend.registry.store import Registry
from maskloop_backend.training.dataset import Examples, read_source
from maskloop_backend.training.metrics import VOID, ConfusionMatrix
from maskloop_backend.training.recipes import DEFAULT_BACKBONE, recipe
from maskloop_backend.training.settings import TrainingSettings
from maskloop_backend.training.trainer import train
from maskloop_converters import Dataset
from maskloop_converters.codecs import studio_rle

FIRST, NEW, UNSEEN = 1, 10_000, 20_000

# uint8 (H, W, 3) RGB, and uint8 (H, W): channel or VOID.
Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class Material:
    """What a first version learns, what people correct, and what everything is measured on.

    Attributes:
        first: to train the first version on.
        new: images that are corrected.
        unseen: images that nothing learns from.
    """

    first: Dataset
    new: Sequence[Pair]
    unseen: Sequence[Pair]

    @property
    def names(self) -> list[str]:
        return [label.name for label in self.first.labels.classes]


def drawn(folder: Path, first: int, corrected: int, unseen: int) -> Material:
    """Return street scenes."""
    if not folder.exists():
        write_scenes(folder, first, seed=FIRST)
    new, others = (
        [(one.image, one.mask) for one in scenes(n, seed=s)] for n, s in ((corrected, NEW), (unseen, UNSEEN))
    )
    return Material(read_source(folder)[0], new, others)


def camvid(folder: Path, first: int, corrected: int, unseen: int) -> Material:
    """Return street photographs: of the training part some to begin with and others to correct, of the validation part."""
    train_part, validation = read_source(folder)
    assert validation is not None
    samples = sorted(train_part, key=lambda sample: sample.id)
    order = np.random.default_rng(FIRST).permutation(len(samples))
    begin, rest = ([samples[k] for k in sorted(part)] for part in (order[:first], order[first : first + corrected]))
    new = list(Examples(rest, train_part.labels))
    return Material(
        Dataset(train_part.labels, begin), new, list(Examples(list(validation)[:unseen], train_part.labels))
    )


def results(label_map: NDArray[np.uint8], names: Sequence[str], origin: str) -> list[dict[str, Any]]:
    """Return one brush region a class as Label Studio stores it; what is VOID has none."""
    ids, streams = studio_rle.encode_label_map(label_map)
    height, width = label_map.shape
    return [
        {
            "id": f"r{k}",
            "from_name": "tag",
            "to_name": "image",
            "type": "brushlabels",
            "origin": origin,
            "original_width": width,
            "original_height": height,
            "value": {"format": "rle", "rle": list(stream), "brushlabels": [names[int(k)]]},
        }
        for k, stream in zip(ids, streams, strict=True)
        if k != VOID
    ]


def config(names: Sequence[str]) -> str:
    """Return the label config of a project with brushes of these labels."""
    labels = "".join(f'<Label value="{name}"/>' for name in names)
    image = '<Image name="image" value="$image"/>'
    return f'<View>{image}<BrushLabels name="tag" toName="image">{labels}</BrushLabels></View>'


def export(folder: Path, material: Material, predictor: Predictor) -> Path:
    """Write a Label Studio export in which every prediction was put right; return its file."""
    names = material.names
    (folder / "images").mkdir(parents=True)
    tasks = []
    for number, (image, target) in enumerate(material.new, 1):
        Image.fromarray(image).save(folder / "images" / f"{number}.png")
        before = results(predictor.predict([image])[0].label_map, names, "prediction")
        done = {
            "id": number,
            "result": results(target, names, "prediction-changed"),
            "parent_prediction": number,
            "prediction": {"result": before},
        }
        tasks.append({"id": number, "data": {"image": f"{number}.png"}, "annotations": [done]})
    (folder / "export.json").write_text(json.dumps(tasks))
    (folder / "export.label_config.xml").write_text(config(names))
    return folder / "export.json"


def miou(predictor: Predictor, unseen: Sequence[Pair]) -> float:
    """Return the mIoU of what is predicted, over all pixels that have a class."""
    matrix = ConfusionMatrix(len(predictor.labels.classes))
    for image, target in unseen:
        matrix.add(target, predictor.predict([image])[0].label_map)
    return matrix.miou()


def cpu_seconds() -> float:
    """Return what ended child processes computed: on a busy machine they take longer, not more."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corrected", type=int, default=50, help="images that people corrected")
    parser.add_argument("--first", type=int, default=40, help="images of the first version")
    parser.add_argument("--epochs", type=int, default=30, help="of the first version")
    parser.add_argument("--unseen", type=int, default=101, help="images to measure on")
    parser.add_argument("--backbone", default=DEFAULT_BACKBONE, help="of the first version")
    parser.add_argument("--camvid", type=Path, help="photographs instead of drawn scenes")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("runs", nargs="*", default=["quick", "full"], help="an effort and options: 'full --epochs 10'")
    arguments = parser.parse_args()
    numbers = arguments.first, arguments.corrected, arguments.unseen
    material = camvid(arguments.camvid, *numbers) if arguments.camvid else drawn(arguments.home / "street", *numbers)
    base = Registry(arguments.home / "first")
    if base.serving() is None:
        settings = TrainingSettings(
            arguments.backbone, epochs=arguments.epochs, weights=recipe(arguments.backbone).weights, patience=None
        )
        base.promote(train(material.first, settings, base, resume=True).version)
    predictor = Predictor(base.load(base.serving() or ""))
    source = arguments.home / "export"
    if not source.exists():
        export(source, material, predictor)
    print(f"load {os.getloadavg()[0]:.1f} at the start, {os.cpu_count()} cores")
    print("| retrain | seconds | CPU seconds | mIoU before | mIoU after | the gate |")
    print("|---|--:|--:|--:|--:|---|")
    before = miou(predictor, material.unseen)
    for run in arguments.runs:
        home = arguments.home / "run"
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(base.home, home)
        command = ["retrain", str(source / "export.json"), "--home", str(home), "--json", "--effort", *run.split()]
        began, busy = time.perf_counter(), cpu_seconds()
        done = subprocess.run(
            [sys.executable, "-m", "maskloop_backend.cli.main", *command], check=True, stdout=subprocess.PIPE, text=True
        )
        seconds, busy = time.perf_counter() - began, cpu_seconds() - busy
        report = json.loads(done.stdout)
        after = miou(Predictor(Registry(home).load(report["version"])), material.unseen)
        verdict = "promoted" if report["promoted"] else "not promoted"
        print(
            f"| {run} | {seconds:.0f} | {busy:.0f} | {before:.3f} | {after:.3f} | {verdict}: {report['reason']} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
