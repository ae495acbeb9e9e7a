"""Whole conversions: against Label Studio's own converter code, and memory as the number of samples grows.

    python benchmarks/convert.py                          # 50 tasks with 4 brush regions each, 500 x 375
    python benchmarks/convert.py --memory 1000 10000      # peak memory of each pair of formats at these sizes

Both sides read the same export file and write files; every mask that the peer wrote is compared with the truth.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "converters"))

import numpy as np
from PIL import Image

import maskloop_converters as mc
from maskloop_converters.registry import FORMATS

NAMES = ["road", "car", "tree", "sky"]
LABELS = mc.LabelSet.from_names(NAMES, ignore_id=255)
CONFIG = (
    '<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image">'
    + "".join(f'<Label value="{name}"/>' for name in NAMES)
    + "</BrushLabels></View>"
)
ROUNDS = 3


@dataclass(frozen=True)
class Scenes:
    """Samples of four regions that wave over the whole image, drawn by number as they are iterated."""

    count: int
    height: int
    width: int
    image: Path

    def __iter__(self) -> Iterator[mc.Sample]:
        y, x = np.mgrid[: self.height, : self.width].astype(np.float32)
        for k in range(self.count):
            wave = np.sin(x / (15 + k % 7) + k) + np.sin(y / (11 + k % 5) - k) + np.sin((x + y) / 23)
            ids, masks = mc.RunList.from_label_map(np.digitize(wave, [-1.0, 0.0, 1.0]).astype(np.uint8))
            regions = tuple(mc.Region(int(i), id=f"r{k}-{i}") for i in ids)
            yield mc.Sample(f"{k + 1}", mc.ImageRef(f"{k + 1}.png", source=self.image), masks, regions)


def scenes(folder: Path, count: int, height: int, width: int) -> mc.Dataset:
    image = folder / "image.png"
    Image.new("RGB", (width, height), "gray").save(image)
    return mc.Dataset(LABELS, Scenes(count, height, width, image), count=count)


def seconds(work: Callable[[Path], object], folder: Path) -> float:
    """Return the median processor time of some rounds, each into a new folder."""
    times = []
    for _ in range(ROUNDS):
        out = Path(tempfile.mkdtemp(dir=folder)) / "out"
        start = time.process_time()
        work(out)
        times.append(time.process_time() - start)
    return statistics.median(times)


def against_label_studio(folder: Path) -> None:
    from label_studio_sdk.converter import Converter

    data = scenes(folder, 50, 375, 500)
    mc.write(data, folder / "tasks.json", "labelstudio", images="reference")
    source = str(folder / "tasks.json")

    def peer(format: str) -> Callable[[Path], None]:  # noqa: A002 - the peer's word
        def work(out: Path) -> None:
            out.mkdir()
            Converter(CONFIG, str(out), download_resources=False).convert(source, str(out), format, is_dir=False)

        return work

    print("| 50 tasks x 4 regions, 500 x 375 | ours, s | label-studio-sdk | the SDK takes |")
    print("|---|---|---|---|")
    for to, what, format in (  # noqa: A001
        ("png", "label-map PNGs (the SDK: one a region)", "BRUSH_TO_PNG"),
        ("coco", "COCO RLE", "BRUSH_TO_COCO"),
    ):
        options = {"images": "reference"}
        ours = seconds(lambda out, to=to, o=options: mc.convert(source, out, to, write_options=o), folder)
        theirs = seconds(peer(format), folder)
        print(f"| {what} | {ours:.2f} | {theirs:.2f} | {theirs / ours:.1f}x |", flush=True)
    mc.convert(source, folder / "exact", "coco", write_options={"images": "reference"})
    wrong = sum(a.masks != b.masks for a, b in zip(data, mc.read(folder / "exact"), strict=True))
    print(f"\nOurs as COCO: {wrong} of 50 samples differ from what was drawn.")
    peer("BRUSH_TO_COCO")(folder / "peer")
    print(f"The SDK's COCO: {differing(folder / 'peer', data)} of 200 masks are missing or differ.")


def differing(out: Path, data: mc.Dataset) -> int:
    """Return how many masks drawn are not among those that the peer's COCO file has for any image."""
    from pycocotools import mask as pycoco

    found = json.loads(next(out.rglob("*.json")).read_text())
    theirs = {pycoco.decode(a["segmentation"]).tobytes() for a in found["annotations"] if a["segmentation"]}
    drawn = [np.asfortranarray(m, np.uint8).tobytes() for sample in data for m in sample.masks.to_masks()]
    return sum(mask not in theirs for mask in drawn)


def memory(sizes: list[int], folder: Path) -> None:
    print("| from | to | " + " | ".join(f"{n:,} samples: MB peak, s" for n in sizes) + " |")
    print("|---" * (2 + len(sizes)) + "|")
    for source in FORMATS:
        for n in sizes:
            options = {"images": "reference"} if source != "tfrecord" else {}
            mc.write(scenes(folder, n, 360, 480), folder / f"{source}-{n}", source, **options)
        for to in (b for a, b in permutations(FORMATS, 2) if a == source):
            cells = []
            for n in sizes:
                line = [sys.executable, __file__, "--one", str(folder / f"{source}-{n}"), str(folder / "out"), to]
                cells.append(subprocess.run(line, check=True, capture_output=True, text=True).stdout.strip())
            print(f"| {source} | {to} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", nargs="+", type=int, metavar="SAMPLES")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        source, target, to = arguments.one
        report = mc.convert(source, target, to, overwrite=True)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{peak:.0f} MB, {report.seconds:.1f} s")
        return
    with tempfile.TemporaryDirectory(prefix="maskloop-bench-") as name:
        if arguments.memory:
            memory(arguments.memory, Path(name))
        else:
            against_label_studio(Path(name))


if __name__ == "__main__":
    main()
