"""Which images to label first: strategies on CamVid, 10 labelled images to all 367, measured on the 101 validation images.

    python benchmarks/active.py CAMVID --plot docs/images/active-camvid.svg
    python benchmarks/active.py CAMVID --backbone vgg16 --weights VGG16.weights.h5 --labelled 40 80 160 320

CAMVID is any copy in SegNet's layout. The backbone's weights are those that a training begins with (of ImageNet), never
trained on CamVid, so no image has an advantage. See `maskloop simulate --help` for what is simulated.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path

from maskloop_backend.active.curves import comparison, curves
from maskloop_backend.active.plot import curves_svg
from maskloop_backend.active.simulation import Rounds, simulate
from maskloop_backend.active.strategies import STRATEGIES
from maskloop_backend.model.bundle import Bundle
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.fcn import build_fcn
from maskloop_backend.training.dataset import Examples, read_source
from maskloop_backend.training.recipes import DEFAULT_BACKBONE, recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("camvid", type=Path)
    parser.add_argument("--backbone", default=DEFAULT_BACKBONE)
    parser.add_argument("--weights", help="imagenet, or a file; what a training begins with where nothing is said")
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=["default", "random"])
    parser.add_argument("--labelled", nargs="+", type=int, default=[10, 25, 50, 100, 200, 367])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--training-steps", type=int, default=Rounds().training_steps)
    parser.add_argument("--learning-rate", type=float, help="default: the backbone's recipe")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", type=Path, help="write every point here")
    options = parser.parse_args()
    dataset, validation = read_source(options.camvid)
    assert validation is not None
    train, measured = Examples(dataset, dataset.labels), Examples(validation, dataset.labels)
    own = recipe(options.backbone)
    # fc6 and fc7 of VGG16 would not learn, and nobody has their weights in a file of its convolutions
    head = options.backbone != "vgg16"
    architecture = Architecture(len(dataset.labels.classes), options.backbone, head=head, stride=own.stride)
    network = build_fcn(architecture, weights=options.weights or own.weights)
    bundle = Bundle.create(network, architecture, dataset.labels)
    plan = Rounds(
        tuple(options.strategies),
        tuple(options.labelled),
        options.seeds,
        options.training_steps,
        learning_rate=options.learning_rate,
    )

    def moved(done: int, total: int) -> None:
        if done % 100 == 0 or done == total:
            print(
                f"{time.process_time():6.0f} CPU s  {done} of {total} views through the frozen layers", file=sys.stderr
            )

    points = simulate(
        bundle,
        train,
        measured,
        plan,
        each=moved,
        said=lambda p: print(
            f"{time.process_time():6.0f} CPU s  {p.strategy} seed {p.seed}: {p.labelled} images, mIoU {p.miou:.4f}",
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
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(f"{used.ru_utime + used.ru_stime:.0f} CPU s, {used.ru_maxrss / 1024:.0f} MB at most")


if __name__ == "__main__":
    main()
