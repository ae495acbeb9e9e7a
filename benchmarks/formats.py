"""Reading each format against its peers, side by side: processor time an image of 480 x 640 with 8 objects.

    python benchmarks/formats.py --peers PYTHON      # an interpreter whose environment has the peers
    python benchmarks/formats.py --only yolo voc     # a part of the table; without --peers, ours alone
    python benchmarks/formats.py --writing           # what is written, from the objects' masks
    python benchmarks/formats.py --profile cvat-masks

    python -m venv E; E/bin/pip install datumaro labelme supervision ultralytics cityscapesscripts pycocotools \\
        opencv-python-headless scikit-image datasets

Every side opens the dataset anew and ends with a label map of every image (or the stack of its objects' masks, where
there are no classes) of the size that the image's header says. maskloop checks all that it checks always. Sides take
turns, round by round, a thread each, after a first round that does not count; medians of processor time, which other
load on the machine does not lengthen as it does the time on the clock. "Same pixels" compares what both made.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "converters"))

import numpy as np
from numpy.typing import NDArray

import made_formats as made
import maskloop_converters as mc

Maps = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Case:
    """A dataset as one tool saves it.

    Attributes:
        format: it is read as, which is not left to be found out: peers are told, too.
        make: writes it.
        peers: whose names come after the case's in ``peer_formats.WORKS``.
        below: what is read, below the folder that is made.
        stacked: the masks of its objects are what is compared, as they have no classes.
        options: of our reader.
    """

    format: str
    make: Callable[[Path, list[made.Scene]], None]
    peers: tuple[str, ...]
    below: str = ""
    stacked: bool = False
    options: dict[str, str] = field(default_factory=dict)


CASES = {
    "cvat-masks": Case("cvat", made.cvat_masks, ("datumaro",)),
    "cvat-polygons": Case("cvat", made.cvat_polygons, ("datumaro",)),
    "labelme-masks": Case("labelme", partial(made.labelme, stored=True), ("labelme", "Pillow")),
    "labelme-polygons": Case("labelme", partial(made.labelme, stored=False), ("labelme",)),
    "yolo": Case("yolo", made.yolo, ("supervision", "ultralytics", "OpenCV")),
    "ultralytics-masks": Case("png", made.ultralytics, ("OpenCV",)),
    "sa1b": Case("sa1b", made.sa1b, ("datumaro", "pycocotools"), stacked=True),
    "via": Case("via", made.via, ("scikit-image",)),
    "cityscapes-polygons": Case("png", made.cityscapes_polygons, ("cityscapesscripts",)),
    "cityscapes-ids": Case("png", made.cityscapes_ids, ("OpenCV",)),
    "ade20k": Case("png", made.ade20k, ("datumaro",)),
    "mapillary": Case("png", made.mapillary, ("datumaro",)),
    "kitti": Case("png", made.kitti, ("datumaro",)),
    "voc": Case("png", made.voc, ("datumaro", "Pillow")),
    "coco-rle": Case("coco", made.coco_rle, ("datumaro", "pycocotools")),
    "coco-polygons": Case("coco", made.coco_polygons, ("datumaro", "pycocotools")),
    "coco-results": Case("coco", made.coco_results, ("pycocotools",), "results.json", stacked=True,
                         options={"images_of": "annotations/instances_train.json"}),
    "huggingface": Case("huggingface", made.huggingface, ("datasets",)),
}  # fmt: skip


def ours(case: Case, root: Path, *, keep: bool = False) -> Maps:
    """Read all images; what was made is dropped, as a program that goes on to the next image does, or kept."""
    options: dict[str, Any] = {name: root / value for name, value in case.options.items()}
    dataset = mc.read(root / case.below, case.format, **options)
    found = {}
    for sample in dataset:
        pixels = sample.masks.to_masks() if case.stacked else sample.label_map(dataset.labels)
        if keep:
            found[Path(sample.image.name).stem] = pixels
    return found


class Peers:
    """The process that has the peers."""

    def __init__(self, python: Path, kept: Path) -> None:
        line = [str(python), str(Path(__file__).with_name("peer_formats.py"))]
        self._process = subprocess.Popen(
            line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._kept = kept

    def work(self, name: str, root: Path, *, keep: bool = False, out: Path | None = None) -> dict[str, Any]:
        """Let a peer read, or write to ``out``; the label maps it reads are kept for :meth:`maps` if asked for."""
        assert self._process.stdin
        assert self._process.stdout
        asked = {"work": name, "root": str(root), "keep": str(self._kept) if keep else None}
        asked |= {"out": str(out)} if out else {}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def maps(self) -> Maps:
        with np.load(self._kept) as found:
            return dict(found)

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def same(case: Case, own: Maps, theirs: Maps) -> float:
    """Return the share of pixels that have the same class, whatever its number; of stacks, as many masks."""
    equal = total = 0
    for (_, a), (_, b) in zip(sorted(own.items()), sorted(theirs.items()), strict=True):
        if case.stacked:
            equal += int((a.sum(axis=0) == b.sum(axis=0)).sum())
        else:
            values, at = zip(*(np.unique(side, return_inverse=True) for side in (a, b)), strict=True)
            table = np.bincount((at[0] * len(values[1]) + at[1]).ravel(), minlength=len(values[0]) * len(values[1]))
            table = table.reshape(len(values[0]), -1)
            # Each number stands for the one of the other side that it meets most.
            equal += int(min(table.max(axis=0).sum(), table.max(axis=1).sum()))
        total += a.shape[-1] * a.shape[-2]
    return equal / total


def measured(name: str, root: Path, peers: Peers | None, images: int, rounds: int) -> list[str]:
    """Return the table's cells of a case."""
    case = CASES[name]
    own: list[float] = []
    others: dict[str, list[float]] = {peer: [] for peer in case.peers} if peers else {}
    told: dict[str, str] = {}
    for number in range(rounds + 1):
        started = time.process_time()
        found = ours(case, root, keep=not number)
        own.append(time.process_time() - started)
        for peer, times in others.items():
            assert peers
            answer = peers.work(f"{name}/{peer}", root, keep=not number)
            if "error" in answer:
                told[peer] = answer["error"]
                continue
            if not number:
                told[peer] = f"{same(case, found, peers.maps()):.2%}"
            times.append(answer["seconds"])
    own_ms = statistics.median(own[1:]) * 1000 / images
    cells = [f"{own_ms:.2f}"]
    for peer, times in others.items():
        if times:
            ms = statistics.median(times[1:]) * 1000 / images
            cells.append(f"{peer} {ms:.2f}: {ms / own_ms:.1f}x, {told[peer]}")
        else:
            print(f"{name}: {peer} cannot: {told[peer]}", file=sys.stderr)
    return cells


#: What is written: the format, its options, and the peers of ``peer_formats.WRITERS``.
WRITTEN: dict[str, tuple[str, dict[str, str], tuple[str, ...]]] = {
    "coco": ("coco", {}, ("datumaro", "supervision")),
    "cvat": ("cvat", {}, ("datumaro",)),
    "voc": ("png", {"layout": "voc"}, ("datumaro",)),
    "yolo": ("yolo", {}, ("supervision",)),
    "huggingface": ("huggingface", {}, ("datasets",)),
}


def in_arrays(root: Path, drawn: list[made.Scene]) -> None:
    """Write what every side writes from: images, and their objects' masks and classes as arrays."""
    for scene in drawn:
        made.saved(root / "images" / f"{scene.name}.jpg", made.PHOTOS["JPEG"])
    (root / "classes.txt").write_text("\n".join(made.CLASSES))
    masks, classes = np.stack([scene.masks for scene in drawn]), np.array([scene.classes for scene in drawn])
    np.savez(root / "scenes.npz", masks=masks, classes=classes)


def write_ours(root: Path, drawn: list[made.Scene], out: Path, name: str, options: dict[str, str]) -> None:
    """Write the objects of all images, whose masks are arrays as yet."""
    samples = []
    for scene in drawn:
        masks = mc.RunList.from_masks(scene.masks, height=made.HEIGHT, width=made.WIDTH)
        regions = tuple(mc.Region(label + 1, instance=k) for k, label in enumerate(scene.classes, 1))
        image = mc.ImageRef(f"{scene.name}.jpg", root / "images" / f"{scene.name}.jpg")
        samples.append(mc.Sample(scene.name, image, masks, regions))
    mc.write(mc.Dataset(made.LABELS, samples, count=len(samples)), out, name, **options)


def written(name: str, root: Path, drawn: list[made.Scene], peers: Peers | None, rounds: int) -> list[str]:
    """Return the table's cells of a format that is written."""
    form, options, names = WRITTEN[name]
    own: list[float] = []
    others: dict[str, list[float]] = {peer: [] for peer in names} if peers else {}
    for number in range(rounds + 1):
        started = time.process_time()
        write_ours(root, drawn, root / f"{name}-{number}", form, options)
        own.append(time.process_time() - started)
        for peer, times in others.items():
            assert peers
            answer = peers.work(f"{name}/{peer}", root, out=root / f"{name}-{peer}-{number}")
            if "error" in answer:
                print(f"writing {name}: {peer} cannot: {answer['error']}", file=sys.stderr)
            else:
                times.append(answer["seconds"])
    own_ms = statistics.median(own[1:]) * 1000 / len(drawn)
    cells = [f"{own_ms:.2f}"]
    for peer, times in others.items():
        if times[1:]:
            ms = statistics.median(times[1:]) * 1000 / len(drawn)
            cells.append(f"{peer} {ms:.2f}: {ms / own_ms:.1f}x")
    return cells


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, metavar="PYTHON", help="interpreter of an environment that has the peers")
    parser.add_argument("--only", nargs="+", choices=list(CASES), metavar="CASE", default=list(CASES))
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--writing", action="store_true", help="what is written, instead")
    parser.add_argument("--profile", choices=list(CASES), metavar="CASE", help="where our time goes, instead")
    arguments = parser.parse_args()
    drawn = made.scenes(arguments.images)
    with tempfile.TemporaryDirectory(prefix="maskloop-bench-") as folder:
        if arguments.profile:
            case = CASES[arguments.profile]
            case.make(Path(folder), drawn)
            ours(case, Path(folder))
            with cProfile.Profile(time.process_time) as profile:
                ours(case, Path(folder))
            pstats.Stats(profile).sort_stats("tottime").print_stats(35)
            return
        peers = Peers(arguments.peers, Path(folder, "kept.npz")) if arguments.peers else None
        if arguments.writing:
            in_arrays(Path(folder), drawn)
            print("| written | ours, ms an image | peers: ms an image, times as long |\n|---|--:|---|")
            for name in WRITTEN:
                own, *others = written(name, Path(folder), drawn, peers, arguments.rounds)
                print(f"| {name} | {own} | {'; '.join(others)} |", flush=True)
            if peers:
                peers.close()
            return
        print("| dataset | ours, ms an image | peers: ms an image, times as long, same pixels |\n|---|--:|---|")
        for name in arguments.only:
            root = Path(folder, name)
            CASES[name].make(root, drawn)
            own, *others = measured(name, root, peers, arguments.images, arguments.rounds)
            print(f"| {name} | {own} | {'; '.join(others)} |", flush=True)
        if peers:
            peers.close()


if __name__ == "__main__":
    main()
