"""What `--confidence-below P` costs and saves: pixels drawn wrong against pixels left to draw, on labelled images.

    python benchmarks/confidence.py CAMVID --home HOME --version VERSION

CAMVID is any dataset with a `val` part that maskloop reads. Prints a table in Markdown. The last column is the work of an
annotator, in pixels drawn or put right for each pixel of the images: a pixel that is left is drawn (1), one that is wrong
is taken away from one region and drawn in another (2).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from maskloop_backend.inference.predictor import Predictor
from maskloop_backend.registry.store import Registry
from maskloop_backend.studio.images import decode
from maskloop_converters import datasets

THRESHOLDS = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
WRONG, LEFT = 2, 1


def counted(dataset: Path, home: Path, version: str) -> tuple[np.ndarray, np.ndarray]:
    """Return how many pixels of each confidence are right, and how many wrong: int64 (256,) twice."""
    predictor = Predictor(Registry(home).load(version))
    right, wrong = np.zeros(256, np.int64), np.zeros(256, np.int64)
    read = datasets.read(dataset, split="val")
    names = {name: k for k, name in enumerate(label.name for label in predictor.labels.classes)}
    channel = np.full(1 << 16, 255, np.uint8)
    for label in read.labels.classes:
        if label.name in names:
            channel[label.id] = names[label.name]
    for sample in read:
        encoded = sample.image.read_bytes()
        assert encoded is not None
        truth = channel[sample.label_map(read.labels)]
        (prediction,) = predictor.predict([decode(encoded, sample.id)])
        judged = truth != 255
        same = (prediction.label_map == truth) & judged
        right += np.bincount(prediction.confidence[same], minlength=256)
        wrong += np.bincount(prediction.confidence[judged & ~same], minlength=256)
    return right, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--version", required=True)
    arguments = parser.parse_args()
    right, wrong = counted(arguments.dataset, arguments.home, arguments.version)
    total = int(right.sum() + wrong.sum())
    print(f"{arguments.version}, {total:,} judged pixels\n")
    print(
        "| P | left unlabelled | drawn wrong | of what is drawn, wrong | of what is left, would be wrong | work a pixel |"
    )
    print("|---|---|---|---|---|---|")
    for below in THRESHOLDS:
        first = int(np.ceil(below * 255))
        left = int(right[:first].sum() + wrong[:first].sum())
        bad = int(wrong[first:].sum())
        spared = wrong[:first].sum() / left if left else 0.0
        work = (WRONG * bad + LEFT * left) / total
        print(
            f"| {below:g} | {left / total:.2%} | {bad / total:.2%} | {bad / (total - left):.2%} | "
            f"{f'{spared:.0%}' if left else ''} | {work:.4f} |"
        )


if __name__ == "__main__":
    main()
