"""Whole conversions: against Label Studio's own converter code, and memory as the number of samples grows.

    python benchmarks/convert.py --camvid DIR             # 50 tasks with 4 brush regions each, as an export's JSON
    python benchmarks/convert.py --memory 1000 10000      # peak memory of each pair of formats at these sizes
    python benchmarks/convert.py --workers 10000          # two processes against one, with so many samples

DIR is a folder of CamVid label PNGs (360 x 480); without it masks are drawn. Both sides read the same export and write
files, in turns; every mask that either wrote is compared with what is in the export.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "converters"))

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import maskloop_converters as mc
from maskloop_converters.codecs import png
from maskloop_converters.registry import TARGETS

PACKAGES = [str(Path(__file__).resolve().parents[1] / name) for name in ("converters", "backend")]
NAMES = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "person", "bicycle", "void"]
LABELS = mc.LabelSet.from_names(NAMES, ignore_id=255)
HEIGHT, WIDTH = 360, 480
TASKS, REGIONS = 50, 4
ROUNDS = 5
# of --workers: what is read and written slowly and quickly
PAIRS = (
    ("png", "coco"),
    ("coco", "labelstudio"),
    ("labelstudio", "png"),
    ("labelme", "coco"),
    ("tfrecord", "cvat"),
)


@dataclass(frozen=True)
class Scenes:
    """Samples by number, made as they are iterated: regions of a label map, shifted so that no two are alike."""

    count: int
    regions: int
    image: Path
    maps: list[Path]

    def __iter__(self) -> Iterator[mc.Sample]:
        cache: dict[int, NDArray[Any]] = {}
        for k in range(self.count):
            which = k % len(self.maps) if self.maps else k % 16
            if which not in cache:
                cache[which] = png.read(self.maps[which].read_bytes()).indices() if self.maps else drawn(which)
            label_map = np.roll(cache[which], k // max(1, len(self.maps)), axis=1)
            ids, masks = mc.RunList.from_label_map(label_map)
            largest = np.sort(masks.areas().argsort(kind="stable")[-self.regions :])
            regions = tuple(mc.Region(int(ids[i]), id=f"r{k}-{i}") for i in largest)
            image = mc.ImageRef(f"{k + 1}.png", source=self.image)
            yield mc.Sample(f"{k + 1}", image, masks.select(largest), regions)


def drawn(number: int) -> NDArray[Any]:
    """Return a label map of waves."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    wave = np.sin(x / (15 + number % 7) + number) + np.sin(y / (11 + number % 5) - number) + np.sin((x + y) / 23)
    return np.digitize(wave, np.linspace(-2, 2, len(NAMES) - 1)).astype(np.uint8)


def scenes(folder: Path, maps: list[Path], count: int, regions: int) -> mc.Dataset:
    image = folder / "image.png"
    Image.new("RGB", (WIDTH, HEIGHT), "gray").save(image)
    return mc.Dataset(LABELS, Scenes(count, regions, image, maps), count=count)


def export(folder: Path, data: mc.Dataset) -> tuple[Path, Path]:
    """Write what Label Studio's JSON export of the samples looks like, spaces after commas included; and the config."""
    mc.write(data, folder / "made.json", "labelstudio", images="reference")
    tasks = json.loads((folder / "made.json").read_text())
    for number, task in enumerate(tasks):
        del task["meta"]
        task["annotations"][0] |= {"id": number + 1, "completed_by": {"id": 1, "email": "a@example.org"}}
    file, config = folder / "export.json", folder / "config.xml"
    file.write_text(json.dumps(tasks))
    (folder / "made.label_config.xml").rename(config)
    return file, config


def against_label_studio(folder: Path, maps: list[Path]) -> None:
    data = scenes(folder, maps, TASKS, REGIONS)
    source, config = export(folder, data)
    from label_studio_sdk.converter import Converter

    def ours(to: str) -> Callable[[Path], object]:
        options = {"read_options": {"label_config": config}, "write_options": {"images": "reference"}}
        return lambda out: mc.convert(source, out, to, **options)  # type: ignore[arg-type]

    def theirs(name: str) -> Callable[[Path], object]:
        def work(out: Path) -> None:
            out.mkdir()
            Converter(str(config), str(out), download_resources=False).convert(
                str(source), str(out), name, is_dir=False
            )

        return work

    def command(to: str) -> Callable[[Path], object]:
        code = "from maskloop_backend.cli.main import cli; cli()"
        line = ["convert", source, "OUT", "--to", to, "--label-config", config, "--images", "reference"]
        return process([sys.executable, "-c", code, *line])

    def their_command(name: str) -> Callable[[Path], object]:  # its own command line has no PNG
        code = (
            "import sys; from pathlib import Path; from label_studio_sdk.converter import Converter\n"
            "source, out, config, name = sys.argv[1:]; Path(out).mkdir()\n"
            "Converter(config, out, download_resources=False).convert(source, out, name, is_dir=False)"
        )
        return process([sys.executable, "-c", code, source, "OUT", config, name])

    print(f"{source.stat().st_size / 1e6:.1f} MB of JSON, {TASKS} tasks x {REGIONS} regions, {HEIGHT} x {WIDTH}\n")
    print("| what | ours, s of processor (clock) | label-studio-sdk | the SDK takes, processor (clock) |")
    print("|---|---|---|---|")
    for to, what, name in (  # the SDK writes a PNG a region
        ("png", "label-map PNGs", "BRUSH_TO_PNG"),
        ("coco", "COCO RLE (the SDK: polygons)", "BRUSH_TO_COCO"),
    ):
        for kind, a, b in (
            ("in one process", ours(to), theirs(name)),
            ("as commands", command(to), their_command(name)),
        ):
            own, other = in_turns(a, b, folder)
            print(
                f"| {what}, {kind} | {own[0]:.2f} ({own[1]:.2f}) | {other[0]:.2f} ({other[1]:.2f}) "
                f"| {other[0] / own[0]:.1f}x ({other[1] / own[1]:.1f}x) |",
                flush=True,
            )
    for name, to in (("label-map PNGs", "png"), ("COCO RLE", "coco")):
        ours(to)(folder / to)
        wrong = sum(a.masks != b.masks for a, b in zip(data, mc.read(folder / to), strict=True))
        print(f"\nOurs as {name}: {wrong} of {TASKS} images differ from the export by a pixel or more.")
    theirs("BRUSH_TO_PNG")(folder / "their-png")
    report("PNGs", data, lambda k, name: their_png(folder / "their-png", k, name))
    theirs("BRUSH_TO_COCO")(folder / "their-coco")
    polygons = json.loads(next((folder / "their-coco").rglob("*.json")).read_text())
    report("COCO polygons", data, lambda k, name: their_polygons(polygons, k, name))


def process(line: list[Any]) -> Callable[[Path], object]:
    """Return work that runs a command, OUT replaced by its output."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(PACKAGES)}
    return lambda out: subprocess.run(
        [str(out) if word == "OUT" else str(word) for word in line], check=True, capture_output=True, env=environment
    )


def in_turns(
    a: Callable[[Path], object], b: Callable[[Path], object], folder: Path, rounds: int = ROUNDS, warm: bool = True
) -> list[tuple[float, float]]:
    """Return the median processor time (children included) and time on the clock of two works, run in turn."""
    times: list[list[tuple[float, float]]] = [[], []]
    for index in range(1 - warm, rounds + 1):  # the first round warms up
        for work, found in zip((a, b), times, strict=True):
            out = Path(tempfile.mkdtemp(dir=folder)) / "out"
            clock, before = time.perf_counter(), processor()
            work(out)
            if index:
                found.append((processor() - before, time.perf_counter() - clock))
            shutil.rmtree(out.parent)
    return [(statistics.median(t for t, _ in found), statistics.median(t for _, t in found)) for found in times]


def processor() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def report(what: str, data: mc.Dataset, found: Callable[[int, str], NDArray[np.bool_] | None]) -> None:
    """Print in how many images what the peer wrote differs from what was drawn, and by how many pixels."""
    images = pixels = total = 0
    for k, sample in enumerate(data):
        wrong = 0
        for region, mask in zip(sample.regions, sample.masks.to_masks(), strict=True):
            theirs = found(k, LABELS.by_id(region.label).name)
            wrong += int((mask if theirs is None else mask ^ theirs).sum())
            total += int(mask.sum())
        images += wrong > 0
        pixels += wrong
    print(f"\nThe SDK's {what}: {images} of {TASKS} images differ, by {pixels:,} pixels of {total:,} drawn.")


def their_png(folder: Path, k: int, name: str) -> NDArray[np.bool_] | None:
    files = list(folder.glob(f"task-{k + 1}-annotation-*-tag-{name}-0.png"))
    return np.asarray(Image.open(files[0])) > 127 if files else None


def their_polygons(document: dict[str, Any], k: int, name: str) -> NDArray[np.bool_] | None:
    from pycocotools import mask as pycoco

    image = next(i["id"] for i in document["images"] if i["file_name"].endswith(f"{k + 1}.png") and i["id"] == k)
    category = next(c["id"] for c in document["categories"] if c["name"] == name)
    out = np.zeros((HEIGHT, WIDTH), bool)
    for annotation in document["annotations"]:
        if (annotation["image_id"], annotation["category_id"]) == (image, category):
            parts = [polygon for polygon in annotation["segmentation"] if len(polygon) >= 6]
            if parts:
                out |= pycoco.decode(pycoco.merge(pycoco.frPyObjects(parts, HEIGHT, WIDTH))).astype(bool)
    return out


def memory(sizes: list[int], folder: Path, maps: list[Path]) -> None:
    """Convert each size from each format to each other one, every conversion in a process of its own."""
    shown = [f"{n:,} samples: peak MB | samples/s" for n in sizes]
    print("| from | to | " + " | ".join(shown) + " |\n" + "|---" * (2 + 2 * len(sizes)) + "|")
    for source in TARGETS:
        for n in sizes:
            mc.write(scenes(folder, maps, n, len(NAMES)), folder / f"{source}-{n}", source)
        for to in (b for a, b in permutations(TARGETS, 2) if a == source):
            cells = []
            for n in sizes:
                line = [sys.executable, __file__, "--one", str(folder / f"{source}-{n}"), str(folder / "out"), to]
                cells.append(subprocess.run(line, check=True, capture_output=True, text=True).stdout.strip())
                shutil.rmtree(folder / "out")
            print(f"| {source} | {to} | " + " | ".join(cells) + " |", flush=True)
        for n in sizes:
            shutil.rmtree(folder / f"{source}-{n}")


def two_processes(count: int, rounds: int, folder: Path, maps: list[Path]) -> None:
    """Convert by one process and by two, in turns."""
    print(
        "| from | to | one process, samples/s | two processes | on the clock | processor time |\n|---|---|---|---|---|---|"
    )
    for source, to in PAIRS:
        mc.write(scenes(folder, maps, count, len(NAMES)), folder / source, source)
        one, two = in_turns(
            *(partial(mc.convert, folder / source, to=to, workers=workers) for workers in (1, 2)),
            folder,
            rounds=rounds,
            warm=False,
        )
        print(
            f"| {source} | {to} | {count / one[1]:.0f} | {count / two[1]:.0f} | {one[1] / two[1]:.2f}x as fast "
            f"| {two[0] / one[0]:.2f}x |",
            flush=True,
        )
        shutil.rmtree(folder / source)


def peak_memory() -> float:
    """Return this program's largest resident size in MB; ``getrusage`` counts that of the program that started it too."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 * 1024 if sys.platform == "darwin" else 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--camvid", type=Path, help="folder of CamVid label PNGs")
    parser.add_argument("--memory", nargs="+", type=int, metavar="SAMPLES")
    parser.add_argument("--workers", type=int, metavar="SAMPLES")
    parser.add_argument("--rounds", type=int, default=1, help="of --workers")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        source, target, to = arguments.one
        done = mc.convert(source, target, to)
        print(f"{peak_memory():.0f} | {done.written.samples / done.seconds:.0f}")
        return
    maps = sorted(arguments.camvid.glob("*.png")) if arguments.camvid else []
    with tempfile.TemporaryDirectory(prefix="maskloop-bench-") as name:
        if arguments.memory:
            memory(arguments.memory, Path(name), maps)
        elif arguments.workers:
            two_processes(arguments.workers, arguments.rounds, Path(name), maps)
        else:
            against_label_studio(Path(name), maps)


if __name__ == "__main__":
    main()
