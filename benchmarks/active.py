"""Which images to label first: strategies on CamVid, 40 labelled images to 367, measured on the 101 validation images.

    python benchmarks/active.py CAMVID --weights VGG16.weights.h5 --plot docs/images/active-camvid.svg

CAMVID is any copy in SegNet's layout. The backbone is VGG16's convolutions as they come from the file, never trained on
CamVid, so no image has an advantage. See `maskloop simulate --help` for what is simulated.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from maskloop_backend.active.plot import curves_svg
from maskloop_backend.active.simulation import Rounds, comparison, curves, simulate
from maskloop_backend.active.strategies import STRATEGIES
from maskloop_backend.model.bundle import Bundle
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.fcn import build_fcn
from maskloop_backend.training.dataset import Examples, read_source


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("camvid", type=Path)
    parser.add_argument("--weights", help="imagenet, or a file with VGG16's convolutions")
    parser.add_argument(
        "--strategies", nargs="+", choices=STRATEGIES, default=["default", "random", "foreground-random"]
    )
    parser.add_argument("--start", type=int, default=40)
    parser.add_argument("--step", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--training-steps", type=int, default=800)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", type=Path, help="write every point here")
    options = parser.parse_args()
    dataset, validation = read_source(options.camvid)
    assert validation is not None
    train, measured = Examples(dataset, dataset.labels), Examples(validation, dataset.labels)
    architecture = Architecture(len(dataset.labels.classes), backbone="vgg16", head=False)
    network = build_fcn(architecture, weights=options.weights)
    bundle = Bundle.create(network, architecture, dataset.labels)
    plan = Rounds(
        tuple(options.strategies), options.start, options.step, options.rounds, options.seeds, options.training_steps
    )
    began = time.monotonic()

    def moved(done: int, total: int) -> None:
        if done % 100 == 0 or done == total:
            print(f"{time.monotonic() - began:6.0f} s  {done} of {total} images through the backbone", file=sys.stderr)

    points = simulate(
        bundle,
        train,
        measured,
        plan,
        each=moved,
        said=lambda p: print(
            f"{time.monotonic() - began:6.0f} s  {p.strategy} seed {p.seed}: {p.labelled} images, mIoU {p.miou:.4f}",
            file=sys.stderr,
        ),
    )
    drawn = curves(points)
    if options.json:
        options.json.write_text(json.dumps([point.to_json() for point in points], indent=1) + "\n")
    if options.plot:
        options.plot.write_text(curves_svg(drawn, f"CamVid, mean of {options.seeds} seeds"))
    print("| labelled | " + " | ".join(f"{c.strategy}: mIoU | to correct next | in all others" for c in drawn) + " |")
    print("|---" * (1 + 3 * len(drawn)) + "|")
    for row, count in enumerate(drawn[0].labelled):
        cells = []
        for curve in drawn:
            shares = [curve.to_correct[row], curve.to_correct_rest[row]]
            cells += [f"{curve.miou[row]:.3f} ± {curve.spread[row]:.3f}"]
            cells += ["" if share is None else f"{share:.1%}" for share in shares]
        print(f"| {count} | " + " | ".join(cells) + " |")
    print("\n".join(comparison(drawn)))


if __name__ == "__main__":
    main()
