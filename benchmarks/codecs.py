"""Codecs against their peers, side by side: how many times as long a peer takes for the same work.

    python benchmarks/codecs.py --camvid DIR     # a folder of CamVid label PNGs; without it, drawn scenes
    python benchmarks/codecs.py --only coco      # a part of the table
    python benchmarks/codecs.py --datumaro PY    # with datumaro, which wants versions of its own: PY is the interpreter of
                                                 # an environment with it (python -m venv E; E/bin/pip install datumaro)

Ours and the peers run in turn, round by round, in one process (datumaro and `tfrecord` each in its own); the table shows
medians of the processor time of all its threads, which other load on the machine does not lengthen as it does the time on
the clock. Every peer's result is compared with ours before it is timed. A peer that is not installed is left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as pycoco

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "converters"))

from maskloop_converters.codecs import coco_rle, png, studio_rle, tfexample
from maskloop_converters.masks import RunList

Work = Callable[[], Any]
LabelMap = NDArray[np.uint8]
ROUNDS = 15
SLOW_SECONDS, VERY_SLOW_SECONDS = 0.3, 2.0  # what takes longer is timed three times, or once
RUST_ENCODES_UP_TO = 30_000_000  # pixels times labels; more takes it minutes
RECORDS = 500


DATUMARO_CODE = """
import sys, time
import numpy as np
from datumaro.components.annotation import ExtractedMask
from datumaro.util import mask_tools

folder = sys.argv[1]
label_map = np.load(folder + "/map.npy")
ids = np.unique(label_map).tolist()

def encode():  # what its COCO exporter does with the masks of a label map
    return [mask_tools.mask_to_rle(ExtractedMask(label_map, k).image) for k in ids]

def decode():
    return mask_tools.merge_masks(((mask_tools.rle_to_mask(r), k) for r, k in zip(rles, ids)), np.zeros_like(label_map))

def median(work):
    times = []
    while len(times) < 8 and sum(times) < 8:
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return sorted(times[1:] or times)[len(times[1:]) // 2]

rles = encode()
np.save(folder + "/counts.npy", np.concatenate([r["counts"] for r in rles]))
np.save(folder + "/back.npy", decode())
print(median(encode), median(decode))
"""


def installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def measure(ours: Work, peers: dict[str, Work]) -> tuple[float, dict[str, float]]:
    """Return our median in milliseconds, and each peer's as a multiple of it."""
    times: dict[str, list[float]] = {name: [] for name in ("", *peers)}
    works = {"": ours, **peers}
    for index in range(-1, ROUNDS):  # the first round warms up; it counts for what is very slow
        for name, work in works.items():
            seen = max(times[name], default=0)
            if (index >= 0 and seen > VERY_SLOW_SECONDS) or (index >= 3 and seen > SLOW_SECONDS):
                continue
            if index == 0:
                times[name].clear()
            start = time.process_time()
            work()
            times[name].append(time.process_time() - start)
    base = statistics.median(times[""])
    return base * 1e3, {name: statistics.median(times[name]) / base for name in peers}


def camvid(folder: Path | None) -> LabelMap:
    """Return a 360 x 480 street scene of ten to twelve classes: the median of the folder by number of runs."""
    if folder is None:
        return drawn_scene()
    files = sorted(folder.glob("*.png"))
    maps = [png.read(file.read_bytes()).indices() for file in files[:: max(1, len(files) // 21)]]
    ranked = sorted(maps, key=lambda a: RunList.from_label_map(a)[1].counts.size)
    return np.asarray(ranked[len(ranked) // 2])


def drawn_scene() -> LabelMap:
    """Return something like a street: sky, ground, and ragged regions of nine more classes."""
    rng = np.random.default_rng(0)
    label_map = regions(360, 480, 60, ragged=True) % 9 + 2
    label_map[:90] = 0
    label_map[260:] = np.where(rng.random((100, 1)) < 0.98, 1, label_map[260:])
    return label_map.astype(np.uint8)


def regions(height: int, width: int, count: int, *, ragged: bool = False) -> LabelMap:
    """Return ``count`` regions, each around a random point, numbered from 0."""
    rng = np.random.default_rng(1)
    points = rng.random((count, 2)) * (height, width)
    y, x = np.indices((height, width)).astype(np.float32)
    if ragged:
        x, y = x + 4 * np.sin(y / 3), y + 4 * np.sin(x / 4)
    best, out = np.full((height, width), np.inf, np.float32), np.zeros((height, width), np.uint8)
    for k, (py, px) in enumerate(points):
        distance = (y - np.float32(py)) ** 2 + (x - np.float32(px)) ** 2
        closer = distance < best
        best[closer], out[closer] = distance[closer], k
    return out


def scaled(label_map: LabelMap, height: int, width: int) -> LabelMap:
    return np.asarray(Image.fromarray(label_map).resize((width, height), Image.Resampling.NEAREST))


def cases(folder: Path | None) -> dict[str, LabelMap]:
    """Return the label maps that everything is timed on."""
    street = camvid(folder)
    noise = scaled(street, 360, 480).copy()
    rng = np.random.default_rng(2)
    hit = rng.random(noise.shape) < 0.1
    noise[hit] = rng.integers(0, 12, int(hit.sum()))
    return {
        "360x480": scaled(street, 360, 480),
        "1080p": scaled(street, 1080, 1920),
        "12 MP": scaled(street, 3000, 4000),
        "1080p, 200 instances": regions(1080, 1920, 200),
        "360x480, 10 % noise": noise,
    }


def same(left: Any, right: Any) -> None:
    if not np.array_equal(np.asarray(left), np.asarray(right)):
        raise SystemExit("a peer's result differs from ours; the comparison would mean nothing")


def coco(label_map: LabelMap) -> Iterator[tuple[str, Work, dict[str, Work]]]:
    """COCO counts of a label map, and back."""
    h, w = label_map.shape
    ids, counts = coco_rle.encode_label_map(label_map)
    rles = [{"size": [h, w], "counts": c} for c in counts]

    def usual() -> list[bytes]:
        return [pycoco.encode(np.asfortranarray((label_map == k).astype(np.uint8)))["counts"] for k in ids]

    def expert() -> list[bytes]:  # one copy into column order, comparisons there
        columns = np.asfortranarray(label_map)
        return [pycoco.encode((columns == k).view(np.uint8))["counts"] for k in ids]

    def paint(masks: Iterator[NDArray[Any]], order: Any) -> LabelMap:
        out = np.zeros((h, w), np.uint8, order)
        for k, mask in zip(ids, masks, strict=True):
            out[mask.view(bool)] = k
        return out

    same(usual(), counts)
    same(expert(), counts)
    peers: dict[str, Work] = {"pycocotools, usual": usual, "pycocotools, expert": expert}
    decoders: dict[str, Work] = {
        "pycocotools, usual": lambda: paint((pycoco.decode(r) for r in rles), "C"),
        "pycocotools, expert": lambda: np.ascontiguousarray(paint((pycoco.decode(r) for r in rles), "F")),
    }
    if installed("faster_coco_eval"):
        from faster_coco_eval.core import mask as faster

        def quick() -> list[bytes]:
            return [faster.encode(np.asfortranarray((label_map == k).astype(np.uint8)))["counts"] for k in ids]

        same(quick(), counts)
        peers["faster-coco-eval"] = quick
        decoders["faster-coco-eval"] = lambda: paint((faster.decode(r) for r in rles), "C")

    def decode() -> LabelMap:
        return coco_rle.decode(counts, h, w).to_label_map(ids, fill=0)

    same(decode(), label_map)
    same(decoders["pycocotools, expert"](), label_map)
    yield "COCO: label map -> counts", lambda: coco_rle.encode_label_map(label_map), peers
    yield "COCO: counts -> label map", decode, decoders


def datumaro(python: str, label_map: LabelMap, name: str) -> None:
    """Print the rows of datumaro: it upgrades Pillow and NumPy, so it has an environment and a process of its own."""
    h, w = label_map.shape
    ids, counts = coco_rle.encode_label_map(label_map)
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/map.npy", label_map)
        command = [python, "-c", DATUMARO_CODE, folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{python} does not run datumaro: {done.stderr[-500:]}")
        same(np.load(f"{folder}/counts.npy"), np.concatenate(coco_rle.to_uncompressed(coco_rle.decode(counts, h, w))))
        same(np.load(f"{folder}/back.npy"), label_map)
    encode, decode = (float(seconds) * 1e3 for seconds in done.stdout.split())
    own, _ = measure(lambda: RunList.from_label_map(label_map, order="F")[1].counts, {})
    print(f"| COCO: label map -> uncompressed counts | {name} | {own:.2f} | datumaro {encode / own:.1f}x |")
    rows = coco_rle.to_uncompressed(coco_rle.decode(counts, h, w))
    own, _ = measure(lambda: coco_rle.decode(rows, h, w).to_label_map(ids, fill=0), {})
    print(f"| COCO: uncompressed counts -> label map | {name} | {own:.2f} | datumaro {decode / own:.1f}x |", flush=True)


def coco_single(label_map: LabelMap) -> Iterator[tuple[str, Work, dict[str, Work]]]:
    """COCO counts of one mask that is an array already."""
    mask = np.ascontiguousarray(label_map == np.bincount(label_map.ravel()).argmax())
    peers: dict[str, Work] = {"pycocotools, usual": lambda: pycoco.encode(np.asfortranarray(mask.view(np.uint8)))}
    yield "COCO: one mask -> counts", lambda: coco_rle.encode_mask(mask), peers


def studio(label_map: LabelMap) -> Iterator[tuple[str, Work, dict[str, Work]]]:
    """Brush RLE of a label map, and back."""
    from label_studio_sdk.converter import brush

    h, w = label_map.shape
    ids, streams = studio_rle.encode_label_map(label_map)
    _, counts = coco_rle.encode_label_map(label_map)
    lists = [list(s) for s in streams]

    def sdk_encode() -> list[list[int]]:
        return [brush.mask2rle((label_map == k).astype(np.uint8) * 255) for k in ids]

    def paint(alphas: Iterator[NDArray[Any]]) -> LabelMap:
        out = np.zeros((h, w), np.uint8)
        for k, alpha in zip(ids, alphas, strict=True):
            out[alpha.reshape(h, w, 4)[..., 3] > 127] = k
        return out

    def sdk_decode() -> LabelMap:
        return paint(brush.decode_rle(s) for s in lists)

    def decode() -> LabelMap:
        return studio_rle.decode(streams, h, w).to_label_map(ids, fill=0)

    encoders: dict[str, Work] = {"label-studio-sdk": sdk_encode}
    decoders: dict[str, Work] = {"label-studio-sdk": sdk_decode}
    same(sdk_decode(), label_map)
    same(decode(), label_map)
    if installed("label_studio_brush_rle_rs"):
        import label_studio_brush_rle_rs as rust

        def rust_encode() -> list[bytes]:
            return [rust.encode_rle(np.repeat((label_map == k).ravel().view(np.uint8) * 255, 4), 8, [3, 4, 8, 16])
                    for k in ids]  # fmt: skip

        def rust_decode() -> LabelMap:
            return paint(rust.decode_rle(s, False) for s in streams)

        same(rust_decode(), label_map)
        decoders["brush-rle-rs (Rust)"] = rust_decode
        if label_map.size * len(ids) < RUST_ENCODES_UP_TO:
            encoders["brush-rle-rs (Rust)"] = rust_encode

    def sdk_to_coco() -> list[bytes]:
        masks = (brush.decode_rle(s).reshape(h, w, 4)[..., 3] > 127 for s in lists)
        return [pycoco.encode(np.asfortranarray(m.view(np.uint8)))["counts"] for m in masks]

    def sdk_from_coco() -> list[list[int]]:
        return [brush.mask2rle(pycoco.decode({"size": [h, w], "counts": c}) * np.uint8(255)) for c in counts]

    same(sdk_to_coco(), coco_rle.encode(studio_rle.decode(streams, h, w)))
    same(studio_rle.encode(coco_rle.decode(counts, h, w)), streams)
    yield "Label Studio: label map -> brush RLE", lambda: studio_rle.encode_label_map(label_map), encoders
    yield "Label Studio: brush RLE -> label map", decode, decoders
    yield (
        "Label Studio -> COCO counts",
        lambda: coco_rle.encode(studio_rle.decode(streams, h, w)),
        {"sdk + pycocotools": sdk_to_coco},
    )
    yield (
        "COCO counts -> Label Studio",
        lambda: studio_rle.encode(coco_rle.decode(counts, h, w)),
        {"pycocotools + sdk": sdk_from_coco},
    )
    yield (
        "brush RLE -> JSON text",
        lambda: [studio_rle.to_json(s) for s in streams],
        {"json.dumps": lambda: [json.dumps(list(s)) for s in streams]},
    )


def images(label_map: LabelMap) -> Iterator[tuple[str, Work, dict[str, Work]]]:
    """PNG files of label maps and masks."""
    import cv2

    ids, masks = RunList.from_label_map(label_map)

    def pillow_write(pixels: NDArray[Any]) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        return file.getvalue()

    def pillow_read(data: bytes) -> NDArray[Any]:
        return np.asarray(Image.open(io.BytesIO(data)))

    ours = png.write_label_map(label_map)
    for data in (ours, pillow_write(label_map)):
        same(png.read(data).pixels, label_map)
        same(pillow_read(data), label_map)
    size = f"{len(ours) / 1000:.1f} kB"
    yield (
        f"PNG: label map written ({size})",
        lambda: png.write_label_map(label_map),
        {
            f"Pillow ({len(pillow_write(label_map)) / 1000:.1f} kB)": lambda: pillow_write(label_map),
            f"OpenCV ({cv2.imencode('.png', label_map)[1].size / 1000:.1f} kB)": lambda: cv2.imencode(
                ".png", label_map
            ),
        },
    )
    written = pillow_write(label_map)
    yield (
        "PNG: label map read (as Pillow wrote it)",
        lambda: png.read(written).indices(),
        {
            "Pillow": lambda: pillow_read(written),
            "OpenCV": lambda: cv2.imdecode(np.frombuffer(written, np.uint8), cv2.IMREAD_UNCHANGED),
        },
    )
    same(pillow_read(png.write_masks(masks)[-1]), label_map == ids[-1])
    yield (
        "PNG: one mask a label, from the label map",
        lambda: png.write_masks(RunList.from_label_map(label_map)[1]),
        {
            "Pillow": lambda: [pillow_write((label_map == k).view(np.uint8)) for k in ids],
            "OpenCV": lambda: [cv2.imencode(".png", (label_map == k).view(np.uint8)) for k in ids],
        },
    )


def records(label_map: LabelMap) -> Iterator[tuple[str, Work, dict[str, Work]]]:
    """DeepLab records of an image of 22 kB and a label map, read from a file and parsed."""
    h, w = label_map.shape
    picture = np.random.default_rng(3).bytes(22_000)
    example = {
        "image/encoded": picture,
        "image/filename": "0001.jpg",
        "image/format": "jpeg",
        "image/height": h,
        "image/width": w,
        "image/channels": 3,
        "image/segmentation/class/encoded": png.write_label_map(label_map),
        "image/segmentation/class/format": "png",
    }
    serialised = [tfexample.encode_example(example)] * RECORDS
    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name) / "train-00000-of-00001.tfrecord"
    with path.open("wb") as file:
        tfexample.write_records(file, serialised)

    def read() -> int:
        with path.open("rb") as file:
            return sum(len(tfexample.decode_example(r)["image/encoded"][0]) for r in tfexample.read_records(file))

    peers: dict[str, Work] = {}
    if installed("tensorflow"):
        import tensorflow as tf

        text, number = tf.io.FixedLenFeature([], tf.string), tf.io.FixedLenFeature([], tf.int64)
        schema = {k: number if isinstance(v, int) else text for k, v in example.items()}

        def tf_data() -> int:
            dataset = tf.data.TFRecordDataset(str(path)).map(lambda r: tf.io.parse_single_example(r, schema))
            return sum(1 for _ in dataset.as_numpy_iterator())

        def protobuf() -> int:  # as scripts of tf-models and TFDS do outside of a graph
            examples = map(tf.train.Example.FromString, tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
            return sum(len(e.features.feature["image/encoded"].bytes_list.value[0]) for e in examples)

        if not read() == protobuf() or not tf_data() == RECORDS:
            raise SystemExit("tf.data reads other records")
        peers["tf.data + parse"] = tf_data
        peers["tf.data + tf.train.Example"] = protobuf
        peers["tf.data + parse, 2 threads, prefetched"] = lambda: sum(
            1
            for _ in tf.data.TFRecordDataset(str(path))
            .map(lambda r: tf.io.parse_single_example(r, schema), num_parallel_calls=2)
            .prefetch(tf.data.AUTOTUNE)
            .as_numpy_iterator()
        )
    yield f"TFRecord: {RECORDS} records of {len(serialised[0]) / 1000:.0f} kB read and parsed", read, peers
    if installed("tfrecord"):
        # It cannot share a process with TensorFlow: both register the same protocol buffer names.
        code = (
            "import sys, time\nfrom tfrecord.reader import tfrecord_loader\nt = []\n"
            "for _ in range(8):\n    s = time.process_time()\n    n = sum(1 for _ in tfrecord_loader(sys.argv[1], None))\n"
            "    t.append(time.process_time() - s)\nprint(sorted(t)[4])"
        )

        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            seconds = float(done.stdout.split()[-1])
            own, _ = measure(read, {})
            print(
                f"| TFRecord: the same, `tfrecord` in its own process | {own:.1f} | tfrecord {seconds * 1e3 / own:.1f}x |"
            )
    folder.cleanup()


PARTS: dict[str, Callable[[LabelMap], Iterator[tuple[str, Work, dict[str, Work]]]]] = {
    "coco": coco,
    "coco-single": coco_single,
    "studio": studio,
    "png": images,
    "tfrecord": records,
}


def main() -> int:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--camvid", type=Path, help="folder of CamVid label PNGs")
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--case", action="append", help="only label maps of this name")
    parser.add_argument("--datumaro", metavar="PYTHON", help="interpreter of an environment that has datumaro")
    arguments = parser.parse_args()
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, {platform.machine()}, one thread\n")
    print("| what | label map | ours, ms | peers: times as long |\n|---|---|---|---|")
    for name, label_map in cases(arguments.camvid).items():
        if arguments.case and name not in arguments.case:
            continue
        for part, function in PARTS.items():
            if (arguments.only and part not in arguments.only) or (part == "tfrecord" and name != "360x480"):
                continue
            for what, ours, peers in function(label_map):
                own, ratios = measure(ours, peers)
                shown = ", ".join(f"{peer} {ratio:.1f}x" for peer, ratio in ratios.items())
                print(f"| {what} | {name} | {own:.2f} | {shown} |", flush=True)
            if part == "coco" and arguments.datumaro:
                datumaro(arguments.datumaro, label_map, name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
