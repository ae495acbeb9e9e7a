"""A version as each kind of `maskloop models export`: size, speed in its own runtime, and whether it says the same.

    python benchmarks/exports.py --home HOME --version VERSION --images CAMVID/val
    python benchmarks/exports.py --home HOME --version VERSION --kinds onnx tflite

Each runtime has a process of its own and two threads; single images, rounds in turns, medians of processor time (all
threads) and of the clock. "Same pixels": the share in which its label map is that of maskloop's float32 on Keras, which
runs in the first process and is the table's first row.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_NUM_THREADS", "2")
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "backend"), str(ROOT / "converters")]

import numpy as np  # noqa: E402 - after the variables that it looks at
from numpy.typing import NDArray  # noqa: E402
from PIL import Image  # noqa: E402

KINDS = ("onnx", "openvino", "tflite", "saved-model")
THREADS = 2
Maps = NDArray[np.uint8]
Side = Callable[[Maps], Maps]


def onnx(path: Path) -> Side:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting is no work
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["label_map"], {"images": images})[0]


def openvino(path: Path) -> Side:
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": THREADS, "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(str(path / "model.xml"), "CPU", options)
    return lambda images: compiled(images)["label_map"]


def tflite(path: Path) -> Side:
    import warnings

    import tensorflow as tf

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it is going to move into a package of its own
        interpreter = tf.lite.Interpreter(str(path), num_threads=THREADS)
    place = interpreter.get_input_details()[0]["index"]
    shape: tuple[int, ...] | None = None

    def run(images: Maps) -> Maps:
        nonlocal shape
        if images.shape != shape:
            interpreter.resize_tensor_input(place, images.shape)
            shape = images.shape
        found: Maps = interpreter.get_signature_runner()(images=images)["label_map"]
        return found

    return run


def saved_model(path: Path) -> Side:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    loaded = tf.saved_model.load(str(path))

    def run(images: Maps) -> Maps:
        found: Maps = loaded.signatures["serving_default"](images=tf.constant(images))["label_map"].numpy()
        return found

    return run


LOADERS: dict[str, Callable[[Path], Side]] = {
    "onnx": onnx,
    "openvino": openvino,
    "tflite": tflite,
    "saved-model": saved_model,
}


def timed(side: Side, images: Maps) -> tuple[Maps, dict[str, float]]:
    spent, started = time.process_time(), time.perf_counter()
    found = side(images)
    return found, {"processor": time.process_time() - spent, "clock": time.perf_counter() - started}


def work(kind: str, path: Path, images: Path, kept: Path) -> None:
    """Answer each line, the number of an image, with what its label map took; the map is kept in a file."""
    answers, sys.stdout = sys.stdout, sys.stderr
    batch, side = np.load(images), LOADERS[kind](path)
    for line in sys.stdin:
        found, times = timed(side, batch[int(line)][None])
        np.save(kept, found)
        print(json.dumps(times), file=answers, flush=True)


class Process:
    """A runtime in a process of its own."""

    def __init__(self, kind: str, path: Path, images: Path) -> None:
        self._kept = path.with_name(f"{path.name}-map.npy")
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--work", kind, str(path), str(images), str(self._kept)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, number: int) -> tuple[Maps, dict[str, float]]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{number}\n")
        self._process.stdin.flush()
        times: dict[str, float] = json.loads(self._process.stdout.readline())
        return np.load(self._kept), times

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def megabytes(path: Path) -> float:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def compare(arguments: argparse.Namespace, folder: Path) -> None:
    """Export, let all runtimes take turns and print the table."""
    from maskloop_backend.exporting import export_graph
    from maskloop_backend.inference.runtimes.keras_runtime import KerasRuntime
    from maskloop_backend.registry import Registry

    files = sorted(p for p in arguments.images.iterdir() if p.suffix.lower() in (".jpg", ".png"))[: arguments.count]
    batch = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    np.save(folder / "images.npy", batch)
    registry = Registry(arguments.home)
    bundle = registry.load(arguments.version)
    own = KerasRuntime(bundle, precision="float32")
    sides: dict[str, Any] = {}
    sizes: dict[str, float] = {}
    for kind in arguments.kinds:
        export_graph(bundle, kind, folder / kind)
        sizes[kind] = megabytes(folder / kind)
        sides[kind] = Process(kind, folder / kind, folder / "images.npy")
    spent: dict[str, list[dict[str, float]]] = {side: [] for side in ("maskloop", *sides)}
    equal: dict[str, list[float]] = {side: [] for side in sides}
    for number in [0, *range(len(files))] * arguments.rounds:
        expected, times = timed(lambda images: np.asarray(own.labels(images)[0]), batch[number][None])
        spent["maskloop"].append(times)
        for kind, side in sides.items():
            found, times = side.run(number)
            spent[kind].append(times)
            equal[kind].append(float((found == expected).mean()))
    _, height, width, _ = batch.shape
    print(f"{arguments.version}, {len(files)} images of {height} x {width}, {arguments.rounds} rounds\n")
    print("| | MB | processor ms an image | clock | same pixels |\n|---|--:|--:|--:|--:|")
    for side, found in spent.items():
        kept = found[1:]  # the first call compiles
        processor, clock = (1000 * statistics.median(times[key] for times in kept) for key in ("processor", "clock"))
        size = f"{sizes[side]:.1f}" if side in sizes else ""
        same = f"{statistics.mean(equal[side]):.4%}" if side in equal else ""
        print(f"| {side} | {size} | {processor:.0f} | {clock:.0f} | {same} |", flush=True)
    for side in sides.values():
        side.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path.home() / ".maskloop")
    parser.add_argument("--version", help="of --home")
    parser.add_argument("--images", type=Path, help="folder of images of one size")
    parser.add_argument("--count", type=int, default=8, help="of them (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        kind, *paths = arguments.work
        work(kind, *map(Path, paths))
        return
    if not arguments.version or not arguments.images:
        parser.error("--version and --images are needed")
    with tempfile.TemporaryDirectory(prefix="maskloop-bench-") as name:
        compare(arguments, Path(name))


if __name__ == "__main__":
    main()
