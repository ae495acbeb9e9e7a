"""Large images, end to end on one machine: seconds and peak memory, stage by stage.

    python benchmarks/large.py --home HOME --version VERSION --megapixels 12 100

A JPEG is decoded, predicted in tiles, and its regions are written as Label Studio's brush RLE. Every run is a process of its
own, whose peak is read from the kernel: what it holds more than before the image was there. The picture is a small one
(--image) enlarged, or drawn where there is none.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "backend"), str(ROOT / "converters")]


def megabytes(field: str) -> float:
    """Return a line of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:"))


def picture(path: Path | None, megapixels: float) -> bytes:
    """Return a JPEG of that size, 4 : 3."""
    if path is None:
        small = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8))
    else:
        small = Image.open(path).convert("RGB")
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    out = io.BytesIO()
    small.resize((round(height * 4 / 3), height), Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
    return out.getvalue()


def run(arguments: argparse.Namespace, megapixels: float) -> None:
    """Measure one size in this process."""
    from maskloop_backend.inference.predictor import Predictor
    from maskloop_backend.inference.regions import extract
    from maskloop_backend.inference.runtimes.choosing import choose
    from maskloop_backend.registry.store import Registry
    from maskloop_converters.codecs import pictures, studio_rle

    bundle = Registry(arguments.home).load(arguments.version)
    choice = choose(bundle, arguments.runtime, arguments.precision)
    side = (
        {"record": "record", "none": None}.get(arguments.max_side)
        if not arguments.max_side.isdigit()
        else int(arguments.max_side)
    )
    predictor = Predictor(bundle, runtime=choice.runtime, max_side=side)
    # a tile: what the network itself needs is there before
    for _ in range(10):
        choice.runtime.labels(np.zeros((1, 1024, 1024, 3), np.uint8))
    data = picture(arguments.image, megapixels)
    Path("/proc/self/clear_refs").write_text("5")
    before = megabytes("VmRSS")
    stages: list[tuple[str, float, float]] = []

    def done(name: str, began: tuple[float, float]) -> None:
        stages.append((name, time.perf_counter() - began[0], time.process_time() - began[1]))

    began = time.perf_counter(), time.process_time()
    image = pictures.decode(data)
    done("decode", began)
    decoded = megabytes("VmHWM") - before
    Path("/proc/self/clear_refs").write_text("5")
    began = time.perf_counter(), time.process_time()
    (prediction,) = predictor.predict([image])
    done("predict", began)
    predicted = megabytes("VmHWM") - before
    needed = image.nbytes * 5 / 3 / 2**20
    del image
    Path("/proc/self/clear_refs").write_text("5")
    began = time.perf_counter(), time.process_time()
    streams = studio_rle.encode(extract(prediction).masks)
    done("regions and RLE", began)
    written = megabytes("VmHWM") - before
    height, width = prediction.label_map.shape
    what = f"{width} x {height}, {choice.runtime.name} {choice.runtime.precision}"
    times = "; ".join(f"{name} {wall:.2f} s ({spent:.2f} of the processors)" for name, wall, spent in stages)
    print(f"{what}: {times}")
    print(
        f"    peak MB over the idle process: decoding {decoded:.0f}, predicting {predicted:.0f} (image and answer are "
        f"{needed:.0f}), writing {written:.0f}; {len(streams)} regions, {sum(map(len, streams)) / 1e6:.1f} MB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--megapixels", type=float, nargs="+", default=[12, 100])
    parser.add_argument("--runtime", default="openvino")
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--max-side", default="record", help="pixels, 'record' or 'none'")
    arguments = parser.parse_args()
    if len(arguments.megapixels) == 1:
        run(arguments, arguments.megapixels[0])
        return
    for megapixels in arguments.megapixels:
        own = [part for part in sys.argv[1:] if part not in {"--megapixels", *(f"{m:g}" for m in arguments.megapixels)}]
        command = [sys.executable, __file__, *own, "--megapixels", f"{megapixels:g}"]
        subprocess.run(command, check=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})


if __name__ == "__main__":
    main()
