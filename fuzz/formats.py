"""Damage files of datasets of every format: reading and inspecting must give valid samples or raise MaskloopError.

    python fuzz/formats.py --runs 20000                 # that many damaged datasets for each format
    python fuzz/formats.py --format coco --start 700    # go on, or repeat one: --start N --runs 1
    python fuzz/formats.py --format png/ade20k          # one of the kinds that a format comes in

A dataset is damaged by its number alone, so a failure is repeated by the command that is printed with it. Memory is
bounded by a limit of address space, time by a timer.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "converters"))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "tests"))

from mutations import mutate, mutate_document, mutate_text

import maskloop_converters as mc
from foreign_files import MAKERS
from maskloop_converters.errors import MaskloopError
from maskloop_converters.formats.huggingface.library import library
from maskloop_converters.registry import FORMATS

CITYSCAPES = Path(__file__).resolve().parents[1] / "tests" / "fixtures" / "png" / "cityscapes"
RECORDED = Path(__file__).resolve().parents[1] / "tests" / "fixtures" / "label-studio"
MEMORY = 1 << 30  # address space beyond what is mapped at the start; more is a failure
SECONDS = 10  # for one dataset of three small images
TEXTS = frozenset({".json", ".jsonl", ".xml", ".txt", ".pbtxt", ".yaml"})

WRITTEN: dict[str, list[dict[str, Any]]] = {
    "png": [{"masks": m} for m in ("auto", "index", "color", "binary")]
    + [{"layout": n} for n in ("voc", "camvid", "ultralytics")],
    "coco": [{}, {"compressed": False}, {"kind": "panoptic"}],
    "tfrecord": [{"schema": s} for s in ("segmentation", "panoptic", "detection", "tfds")] + [{"compression": "GZIP"}],
    "labelstudio": [{}, {"kind": "predictions"}, {"encoding": "bitmask"}],
    "cvat": [{}],
    "labelme": [{}],
    "yolo": [{}],
    "huggingface": [{}],
}


CVAT_SHAPES = b"""<box label="car" xtl="1" ytl="2" xbr="5.5" ybr="9" rotation="30"/><ellipse label="sky" cx="4" cy="5" rx="3" ry="2"/>
<polygon label="road" points="1,1;9,2.5;4,9" z_order="-2"/><tag label="car"/>"""


LABELME = b"""{"version": "5.4.1", "flags": {}, "shapes": [
{"label": "car", "points": [[1, 2], [5.5, 9]], "shape_type": "rectangle", "group_id": 3},
{"label": "sky", "points": [[6, 7], [9, 9]], "shape_type": "circle"}, {"label": "sky", "points": [[6, 7]], "shape_type": "point"},
{"label": "road", "points": [[1, 1], [9, 2.5], [4, 9], [2, 2]], "shape_type": "polygon", "group_id": null, "flags": {}}],
"imagePath": "1.png", "imageData": null, "imageHeight": 15, "imageWidth": 17}"""


@dataclass(frozen=True)
class Seed:
    """A valid dataset: the bytes of its files by path, the file or folder that is read, and which kind of its format it is."""

    files: dict[str, bytes]
    entry: str
    kind: str = ""


class TooSlow(BaseException):
    """Reading took longer than any valid file of the size would."""


def dataset(overlapping: bool) -> mc.Dataset:
    labels = mc.LabelSet.from_names(["sky", "road", "car", "person"], ignore_id=255)
    samples = []
    for k in range(3):
        height, width = 14 + k, 17
        y, x = np.indices((height, width))
        label_map = (y // 5 + (np.hypot(y - 7, x - 9) < 4)).astype(np.uint8)
        ids, masks = mc.RunList.from_label_map(label_map)
        regions = [mc.Region(int(i), id=f"r{i}", score=0.5 if k else None) for i in ids]
        if overlapping:
            masks = mc.RunList.concatenate([masks, masks.select([0])])
            regions.append(mc.Region(2, id="over", crowd=True, instance=3, attributes={"a": [1, "b"]}))
        picture = io.BytesIO()
        Image.fromarray(np.full((height, width, 3), 80 * k, np.uint8)).save(picture, "PNG")
        image = mc.ImageRef(f"train/{k}.png", picture.getvalue())
        samples.append(mc.Sample(str(k + 1), image, masks, tuple(regions), {"where": "here"}))
    return mc.Dataset(labels, samples, count=3)


def seeds(name: str, folder: Path) -> list[Seed]:
    """Return the datasets of a format, or of one of its kinds ('png/voc')."""
    name, _, kind = name.partition("/")
    found = [seed for seed in _every_seed(name, folder) if kind in ("", seed.kind)]
    if not found:
        raise SystemExit(f"{name} has no kind {kind}")
    return found


def _every_seed(name: str, folder: Path) -> list[Seed]:
    found = []
    for number, save in enumerate(MAKERS.get(name, ())):
        found.append(Seed(tree(save(folder / str(number))), ""))
    for number, options in enumerate(WRITTEN.get(name, ())):
        for overlapping in (False, True):
            path = folder / f"{number}-{overlapping}"
            mc.write(dataset(overlapping), path, name, **options)
            if name == "png":  # as other programs lay it out, without our index
                bare = folder / f"{number}-{overlapping}-bare"
                shutil.copytree(path, bare)
                (bare / "maskloop.jsonl").unlink()
                found.append(Seed(tree(bare), "", str(options.get("layout", ""))))
            found.append(Seed(tree(path), "", str(options.get("layout", ""))))
    if name == "png":
        found += cityscapes()
        found += [Seed(files, "", kind) for kind, files in layouts_of_others()]
    if name == "coco":
        found += [Seed(results_of(seed.files), "results.json", "results") for seed in found[:2]]
    if name == "labelme":  # as labelme saves it, without what only we read
        for seed in list(found):
            files = {n: LABELME if n.endswith("1.json") else d for n, d in seed.files.items() if n != "labels.json"}
            found.append(Seed({f"{Path(n).name}": d for n, d in files.items()}, ""))
    if name == "cvat":  # as CVAT exports it, without what only we read
        for seed in list(found):
            files = {n: b"\n".join(x for x in d.splitlines() if b"<maskloop>" not in x) for n, d in seed.files.items()}
            files["annotations.xml"] = files["annotations.xml"].replace(b"</image>", CVAT_SHAPES + b"</image>")
            found.append(Seed(seed.files | {"annotations.xml": files["annotations.xml"]}, seed.entry))
    if name == "huggingface":
        found += [seed for k, own in enumerate(list(found)) for seed in as_others_keep_rows(own, folder / f"rows-{k}")]
    if name == "labelstudio":
        found += [Seed({"x.json": path.read_bytes()}, "x.json") for path in sorted(RECORDED.glob("*export*.json"))]
    return found


def cityscapes() -> list[Seed]:
    """Return images of Cityscapes with one kind of files each."""
    picture = io.BytesIO()
    Image.new("RGB", (96, 48)).save(picture, "PNG")
    image = {"leftImg8bit/val/f/a_leftImg8bit.png": picture.getvalue()}
    kinds = sorted(CITYSCAPES.iterdir())
    return [Seed(image | {f"gtFine/val/f/{kind.name}": kind.read_bytes()}, "", "cityscapes") for kind in kinds]


def results_of(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return a dataset's files and what a model says of its images, the list that COCO's tools evaluate."""
    name = next(name for name in files if name.endswith(".json"))
    document = json.loads(files[name])
    fields = ("image_id", "category_id", "segmentation", "bbox")
    results = [{key: a[key] for key in fields} | {"score": 0.5} for a in document["annotations"]]
    return files | {"results.json": json.dumps(results).encode(), "images.json": files[name]}


def layouts_of_others() -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield datasets of releases and exports that we do not write, and what they are called."""
    y, x = np.indices((14, 17))
    stuff = (y // 5 + 3 * (x > 9)).astype(np.uint8)
    channels = np.stack([stuff * 10, stuff + 100, stuff], 2)
    picture = encoded(channels, "JPEG")
    names = [{"name_ndx": k * 256 + k + 100, "name": f"n{k}"} for k in range(6)]
    table = json.dumps({"annotation": {"object": names}}).encode()
    ade = {f"images/training/a/ADE_train_{k}": k for k in range(2)}
    yield "ade20k", {f"{n}{tail}": data for n in ade
                     for tail, data in ((".jpg", picture), ("_seg.png", encoded(channels)), (".json", table))}  # fmt: skip
    yield (
        "ade20k",
        {f"images/ADE_train_1{tail}": data for tail, data in (("_seg.png", encoded(channels)), (".jpg", b"no image"))},
    )
    names_of = "".join(f"{k}: {'unlabeled' if not k else f'thing {k}'}\n" for k in range(183)).encode()
    yield (
        "cocostuff",
        {
            "train2017/1.jpg": picture,
            "stuffthingmaps/train2017/1.png": encoded(stuff),
            "labels.txt": names_of,
        },
    )
    yield "cocostuff", {"images/train2017/1.jpg": picture, "annotations/train2017/1.png": encoded(stuff),
                        "annotations/train2017/1_labelTrainIds.png": encoded(stuff)}  # fmt: skip
    config = json.dumps(
        {"labels": [{"name": f"n{k}", "color": [k, 9, 9], "evaluate": True} for k in range(6)]}
    ).encode()
    objects = encoded(stuff.astype(np.uint16) * 256 + x.astype(np.uint16) // 4)
    for release in ("v2.0", "v1.2", "."):
        part = f"training/{release}".removesuffix("/.")
        yield "mapillary", {"training/images/1.jpg": picture, f"{part}/labels/1.png": encoded(stuff),
                            f"{part}/instances/1.png": objects, f"config_{release}.json": config}  # fmt: skip
    yield "kitti", {"training/image_2/1.png": encoded(channels), "training/semantic/1.png": encoded(stuff),
                    "training/instance/1.png": objects}  # fmt: skip
    meta = json.dumps({"label_map": {str(k): f"n{k}" for k in range(6)}}).encode()
    yield "mmsegmentation", {"img_dir/train/1.jpg": picture, "ann_dir/train/1.png": encoded(stuff),
                             "dataset_meta.json": meta}  # fmt: skip
    classes = b"Pixel Value, Class\n0, a\n1, b\n2, c\n3, d\n4, e\n5, f\n"
    yield "roboflow", {f"train/{k}{tail}": data for k in range(2)
                       for tail, data in ((".jpg", picture), ("_mask.png", encoded(stuff)))} | {
                           "train/_classes.csv": classes}  # fmt: skip
    alpha = (stuff > 2).astype(np.uint8) * 200
    array = io.BytesIO()
    np.save(array, alpha)
    for end, data in ((".png", encoded(alpha)), (".npy", array.getvalue())):
        tags = (
            "1-annotation-2-by-3-tag-Road-0",
            "1-annotation-2-by-3-tag-Road-1",
            "1-annotation-4-by-3-tag-a-b-0",
            "7-annotation-9-by--tag-Road-0",
        )
        yield "brush", {f"task-{tag}{end}": data for tag in tags}


def encoded(pixels: np.ndarray[Any, Any], kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


def as_others_keep_rows(seed: Seed, folder: Path) -> Iterator[Seed]:
    """Yield rows without what only we read: Parquet, what save_to_disk leaves, and an imagefolder."""
    datasets = library()
    for file, data in seed.files.items():
        (folder / "own" / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / "own" / file).write_bytes(data)
    (parquet,) = (folder / "own").rglob("*.parquet")
    options = {"split": "train", "cache_dir": str(folder / "cache"), "keep_in_memory": True}
    rows = datasets.load_dataset("parquet", data_files=str(parquet), **options).remove_columns("maskloop")
    rows.to_parquet(folder / "others" / "train.parquet")
    rows.save_to_disk(folder / "disk")
    plain = rows.cast_column("image", datasets.Image(decode=False)).cast_column("mask", datasets.Image(decode=False))
    (folder / "images" / "train" / "m").mkdir(parents=True)
    lines = []
    for k, row in enumerate(plain):
        (folder / "images" / "train" / f"{k}.png").write_bytes(row["image"]["bytes"])
        (folder / "images" / "train" / "m" / f"{k}.png").write_bytes(row["mask"]["bytes"])
        lines.append(f'{{"file_name": "{k}.png", "mask_file_name": "m/{k}.png", "weather": "rain"}}\n')
    (folder / "images" / "train" / "metadata.jsonl").write_text("".join(lines))
    yield from (Seed(tree(folder / name), "") for name in ("others", "disk", "images"))


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def damaged(seed: Seed, others: list[Seed], source: random.Random) -> dict[str, bytes]:
    """Return a dataset with one or two of its files damaged, lost or exchanged; images are damaged seldom."""
    files = dict(seed.files)
    for _ in range(source.choice((1, 1, 1, 2))):
        texts = [n for n in files if Path(n).suffix in TEXTS]
        names = texts if texts and source.random() < 0.6 else [n for n in files if not n.startswith("images/")]
        name = source.choice(names or list(files) or [""])
        if not name:
            return files
        data, other = files[name], source.choice(list(source.choice(others).files.values()))
        kind = source.random()
        if kind < 0.03:
            del files[name]
        elif kind < 0.05:
            files[name] = other
        elif kind < 0.4 and Path(name).suffix in TEXTS:
            files[name] = mutate_document(data, source)
        elif kind < 0.75 and Path(name).suffix in TEXTS:
            files[name] = mutate_text(data, other, source)
        else:
            files[name] = mutate(data, other, source)
    return files


def check(path: Path, name: str, source: random.Random) -> None:
    """Read a dataset in one of the ways that there are."""
    name = name.partition("/")[0]
    way = source.randrange(4)
    if way == 0:
        mc.inspect(path)
        return
    options: dict[str, Any] = {"on_error": "skip" if way == 1 else "fail"}
    if name in ("png", "labelstudio") and source.random() < 0.3:
        options["soft"] = True
    if name == "labelstudio":
        options["annotations"] = source.choice(("latest", "ground-truth", "all", "majority"))
    if path.name == "results.json":
        options["images_of"] = path.with_name("images.json")
    found = mc.read(path, name, **options)
    known = found.labels.known_ids
    for sample in found:
        assert len(sample.regions) == len(sample.masks.validate())
        assert (sample.height, sample.width) == (sample.masks.height, sample.masks.width)
        assert all(region.label in known for region in sample.regions)
        name = Path(sample.image.name)
        assert not name.is_absolute()
        assert ".." not in name.parts


def run(name: str, start: int, runs: int) -> bool:
    """Damage datasets number start..start + runs - 1 of a format; return whether all passed."""
    read, begun, slowest = 0, time.monotonic(), 0.0
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as place:
        valid = seeds(name, Path(place))
        work = Path(place, "work")
        for number in range(start, start + runs):
            source = random.Random(f"{name} {number}")
            seed = source.choice(valid)
            files = damaged(seed, valid, source)
            work.mkdir()
            for file, data in files.items():
                (work / file).parent.mkdir(parents=True, exist_ok=True)
                (work / file).write_bytes(data)
            clock = time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, SECONDS)
            try:
                check(work / seed.entry, name, source)
                read += 1
            except MaskloopError:
                pass
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                signal.setitimer(signal.ITIMER_REAL, 0)
                traceback.print_exc()
                print(f"{name}: dataset {number} ended in {type(error).__name__}, expected samples or MaskloopError")
                print(f"repeat: python fuzz/formats.py --format {name} --start {number} --runs 1")
                return False
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            slowest = max(slowest, time.monotonic() - clock)
            shutil.rmtree(work)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    seconds = time.monotonic() - begun
    print(f"{name}: {runs} datasets from {start}: {read} read, {runs - read} refused with MaskloopError; "
          f"{runs / seconds:.0f}/s, the slowest {slowest:.1f} s, peak {peak} MiB", flush=True)  # fmt: skip
    return True


def too_slow(number: int, frame: FrameType | None) -> Iterator[None]:
    raise TooSlow(f"reading took more than {SECONDS} s")


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20_000, help="datasets for each format (default %(default)s)")
    parser.add_argument("--start", type=int, default=0, help="number of the first one (default %(default)s)")
    parser.add_argument("--format", action="append", metavar="NAME",
                        help="only this one, or one of its kinds: png/voc (may be repeated)")  # fmt: skip
    arguments = parser.parse_args()
    if unknown := {name.partition("/")[0] for name in arguments.format or ()} - FORMATS.keys():
        parser.error(f"no format is called {', '.join(unknown)}; there are: {', '.join(FORMATS)}")
    signal.signal(signal.SIGALRM, too_slow)
    for name in FORMATS:  # what is imported later counts too
        mc.registry.load_format(name)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY,) * 2)
    results = [run(name, arguments.start, arguments.runs) for name in arguments.format or FORMATS]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
