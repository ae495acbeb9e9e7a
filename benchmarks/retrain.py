"""How long `maskloop retrain` takes from the command to the gate's decision, and what each effort brings.

    python benchmarks/retrain.py --corrected 50 --home /tmp/retrain-bench

Draws street scenes, trains a first version on some, lets it predict new ones, writes a Label Studio export in which every
prediction was put right, and runs the command on it, once an effort, each from the same first version. All versions are
measured on scenes that none of them saw.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maskloop_backend.demo.scenes import LABELS, Scene, scenes, write_scenes
from maskloop_backend.inference.predictor import Predictor
from maskloop_backend.registry.store import Registry
from maskloop_backend.training.dataset import read_source
from maskloop_backend.training.metrics import ConfusionMatrix
from maskloop_backend.training.settings import TrainingSettings
from maskloop_backend.training.trainer import train
from maskloop_converters.codecs import studio_rle

NAMES = [label.name for label in LABELS.classes]
CONFIG = (
    '<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image">'
    + "".join(f'<Label value="{name}"/>' for name in NAMES)
    + "</BrushLabels></View>"
)
FIRST, NEW, UNSEEN = 1, 10_000, 20_000


def results(label_map: NDArray[np.uint8], origin: str) -> list[dict[str, Any]]:
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
            "value": {"format": "rle", "rle": list(stream), "brushlabels": [NAMES[int(k)]]},
        }
        for k, stream in zip(ids, streams, strict=True)
    ]


def export(folder: Path, drawn: Sequence[Scene], predictor: Predictor) -> Path:
    (folder / "images").mkdir(parents=True)
    tasks = []
    for number, scene in enumerate(drawn, 1):
        Image.fromarray(scene.image).save(folder / "images" / f"{number}.png")
        before = results(predictor.predict([scene.image])[0].label_map, "prediction")
        done = {
            "id": number,
            "result": results(scene.mask, "prediction-changed"),
            "parent_prediction": number,
            "prediction": {"result": before},
        }
        tasks.append({"id": number, "data": {"image": f"{number}.png"}, "annotations": [done]})
    (folder / "export.json").write_text(json.dumps(tasks))
    (folder / "export.label_config.xml").write_text(CONFIG)
    return folder / "export.json"


def miou(predictor: Predictor, unseen: Sequence[Scene]) -> float:
    matrix = ConfusionMatrix(len(NAMES))
    for scene in unseen:
        matrix.add(scene.mask, predictor.predict([scene.image])[0].label_map)
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
    parser.add_argument("--unseen", type=int, default=60, help="images to measure on")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("runs", nargs="*", default=["quick", "full"], help="an effort and options: 'full --epochs 10'")
    arguments = parser.parse_args()
    base = Registry(arguments.home / "first")
    if base.serving() is None:
        street = arguments.home / "street"
        shutil.rmtree(street, ignore_errors=True)
        write_scenes(street, arguments.first, seed=FIRST)
        settings = TrainingSettings(
            "small", epochs=arguments.epochs, crop=(256, 256), learning_rate=3e-3, patience=None
        )
        base.promote(train(read_source(street)[0], settings, base, resume=True).version)
    first = base.serving() or ""
    predictor = Predictor(base.load(first))
    unseen = list(scenes(arguments.unseen, seed=UNSEEN))
    source = arguments.home / "export"
    if not source.exists():
        export(source, list(scenes(arguments.corrected, seed=NEW)), predictor)
    print("| retrain | seconds | CPU seconds | mIoU before | mIoU after | the gate |")
    print("|---|--:|--:|--:|--:|---|")
    before = miou(predictor, unseen)
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
        after = miou(Predictor(Registry(home).load(report["version"])), unseen)
        verdict = "promoted" if report["promoted"] else "not promoted"
        print(
            f"| {run} | {seconds:.0f} | {busy:.0f} | {before:.3f} | {after:.3f} | {verdict}: {report['reason']} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
