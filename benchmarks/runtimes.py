"""What our runtimes cost beside `keras predict`, a tf.function and OpenVINO called by hand, on the same networks.

    python benchmarks/runtimes.py                                               # all networks, 384 x 512, 1 and 8 images
    python benchmarks/runtimes.py --networks efficientnet-lite0:8 --sizes 360x480
    python benchmarks/runtimes.py --home HOME --version VERSION                 # a trained one; int8 where it was quantised

Every network runs in a process of its own, all sides take turns in it; medians of processor time and of the clock. Ratios mean
something on another machine, milliseconds do not. "Bare" OpenVINO is compiled for the one size as its manual has it and
returns logits; ours returns the label map and its confidence. int8 of networks with random weights is calibrated on drawn
pictures: good for its speed and nothing else. Memory is what a runtime adds to its process at its peak, load, compilation and first
call included, each measured in a process of its own (--memory).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "backend"), str(ROOT / "converters")]

NETWORKS = [f"{name}:{stride}" for name in ("vgg16", "efficientnet-lite0", "small") for stride in (32, 16, 8)]
CLASSES = 11
Side = Callable[[np.ndarray], Any]


def network(arguments: argparse.Namespace) -> Any:
    """Return a version of the registry, or a network with random weights."""
    import keras

    from maskloop_backend.model.bundle import Bundle
    from maskloop_backend.model.config import Architecture
    from maskloop_backend.model.fcn import build_fcn
    from maskloop_backend.registry.store import Registry
    from maskloop_converters.samples import LabelSet

    if arguments.version:
        return Registry(arguments.home).load(arguments.version)
    keras.utils.set_random_seed(0)
    backbone, stride = arguments.networks[0].split(":")
    architecture = Architecture(CLASSES, backbone, stride=int(stride))
    names = [f"class {k}" for k in range(CLASSES)]
    return Bundle.create(build_fcn(architecture), architecture, LabelSet.from_names(names))


def quantized(bundle: Any, folder: Path) -> Any:
    """Return a bundle with an int8 graph, calibrated on drawn pictures where it has none."""
    import dataclasses

    from maskloop_backend.inference.runtimes.openvino_graphs import scores_graph
    from maskloop_backend.inference.runtimes.openvino_int8 import quantize_graph, save_graph
    from maskloop_backend.model.quantized import GRAPH, Quantized

    if bundle.int8 is not None:
        return bundle
    graph, _ = quantize_graph(scores_graph(bundle.model), [pictures((1, 96, 128), seed) for seed in range(8)])
    save_graph(graph, folder / GRAPH)
    return dataclasses.replace(bundle, int8=Quantized(folder / GRAPH, None))


def pictures(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Return images of coarse patches, uint8 (B, H, W, 3)."""
    batch, height, width = shape
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (batch, height // 8, width // 8, 3), np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def bare_graph(model: Any, shape: Sequence[int], read: Path | None = None) -> Any:
    """Return the network to its logits, read as OpenVINO's manual has it, for one size (B, H, W, 3)."""
    import openvino
    import tensorflow as tf

    # the files go at the end
    core = openvino.Core()
    core.set_property({"ENABLE_MMAP": False})
    with tempfile.TemporaryDirectory() as folder:
        if read is None:
            module = tf.Module()
            module.weights = [variable.value for variable in model.variables]
            signature = [tf.TensorSpec((None, None, None, 3), tf.uint8, "images")]
            module.call = tf.function(
                lambda images: {"logits": model(images, training=False)}, input_signature=signature
            )
            tf.saved_model.save(module, folder, signatures=module.call)
        graph = core.read_model(folder if read is None else read)
    graph.reshape(list(shape))
    return graph


def bare_openvino(model: Any, shape: tuple[int, ...], hint: str, read: Path | None = None) -> Side:
    """Return the network to its logits, compiled as OpenVINO's manual has it, for one size."""
    import openvino

    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint, "ENABLE_CPU_PINNING": False}
    compiled = openvino.Core().compile_model(bare_graph(model, shape, read), "CPU", options)
    request = compiled.create_infer_request()
    return lambda images: request.infer([images], share_inputs=True)


def makers(bundle: Any, shape: tuple[int, ...], folder: Path) -> dict[str, Callable[[], Side]]:
    """Return what makes each side."""
    import tensorflow as tf

    from maskloop_backend.inference.runtimes.keras_runtime import KerasRuntime
    from maskloop_backend.inference.runtimes.openvino_graphs import Tail, logits_graph, read_graph
    from maskloop_backend.inference.runtimes.openvino_runtime import OpenVinoRuntime

    model = bundle.model

    def function() -> Side:
        traced = tf.function(
            lambda images: model(images, training=False),
            input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)],
        )
        return lambda images: traced(images).numpy()

    def bare_int8() -> Side:
        import openvino

        reduced = quantized(bundle, folder)
        path = folder / "logits.xml"
        openvino.save_model(logits_graph(read_graph(reduced.int8.graph), Tail.of(model)), path, compress_to_fp16=False)
        return bare_openvino(model, (*shape, 3), "bf16", path)

    def ours(kind: Any, precision: str) -> Callable[[], Side]:
        def make() -> Side:
            runtime = kind(quantized(bundle, folder) if precision == "int8" else bundle, precision=precision)
            runtime.prepare(*shape)
            return runtime.labels

        return make

    return {
        "keras predict": lambda: lambda images: model.predict(images, verbose=0),
        "tf.function, float32": function,
        "ours: keras, float32": ours(KerasRuntime, "float32"),
        "ours: keras, bfloat16": ours(KerasRuntime, "bfloat16"),
        "bare OpenVINO, float32": lambda: bare_openvino(model, (*shape, 3), "f32"),
        "ours: openvino, float32": ours(OpenVinoRuntime, "float32"),
        "bare OpenVINO, bfloat16": lambda: bare_openvino(model, (*shape, 3), "bf16"),
        "ours: openvino, bfloat16": ours(OpenVinoRuntime, "bfloat16"),
        "bare OpenVINO, int8": bare_int8,
        "ours: openvino, int8": ours(OpenVinoRuntime, "int8"),
    }


def compare(arguments: argparse.Namespace, shape: tuple[int, ...]) -> None:
    """Let all sides take turns and print a table."""
    bundle = network(arguments)
    images = pictures(shape)
    with tempfile.TemporaryDirectory() as name:
        sides = {}
        for side, make in makers(bundle, shape, Path(name)).items():
            if arguments.sides and not any(part in side for part in arguments.sides):
                continue
            sides[side] = make()
            sides[side](images)
        wall: dict[str, list[float]] = {side: [] for side in sides}
        busy: dict[str, list[float]] = {side: [] for side in sides}
        for number in range(arguments.rounds + 1):
            for side, run in sides.items():
                started, spent = time.perf_counter(), time.process_time()
                run(images)
                if number:
                    wall[side].append(time.perf_counter() - started)
                    busy[side].append(time.process_time() - spent)
    batch, height, width = shape
    print(f"\n{bundle.model.name}, {batch} x {height} x {width}, {arguments.rounds} rounds, milliseconds a call")
    print("\n| | processor time | clock | processor time against keras predict | against the bare runtime |")
    print("|---|--:|--:|--:|--:|")
    first = next(iter(sides))
    for side in sides:
        spent = statistics.median(busy[side])
        clock, gain = 1000 * statistics.median(wall[side]), statistics.median(busy[first]) / spent
        row = f"| {side} | {1000 * spent:.0f} | {clock:.0f} | {gain:.2f} x |"
        bare = side.replace("ours: openvino", "bare OpenVINO")
        if bare != side and bare in sides:
            # rounds are paired: load of other programs falls on both sides
            ratio = statistics.median(a / b for a, b in zip(busy[side], busy[bare], strict=True))
            row += f" {100 * (ratio - 1):+.0f} %"
        print(f"{row} |", flush=True)


def measure_memory(arguments: argparse.Namespace, shape: tuple[int, ...]) -> None:
    """Make one side, run it, and print what it added to this process."""
    bundle = network(arguments)
    images = pictures(shape)
    with tempfile.TemporaryDirectory() as name:
        side = arguments.memory
        make = makers(bundle, shape, Path(name))[side]
        if "int8" in side:
            quantized(bundle, Path(name))
        Path("/proc/self/clear_refs").write_text("5")
        before = megabytes("VmRSS")
        run = make()
        run(images)
        loaded = megabytes("VmHWM") - before
        Path("/proc/self/clear_refs").write_text("5")
        run(images)
        running = megabytes("VmHWM") - before
    print(
        f"| {bundle.model.name} | {'x'.join(map(str, shape))} | {side} | {loaded:.0f} MB | {running:.0f} MB |",
        flush=True,
    )


def megabytes(field: str) -> float:
    """Return a line of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path.home() / ".maskloop")
    parser.add_argument("--version", help="a trained version of --home; default: random weights")
    parser.add_argument("--networks", nargs="+", default=NETWORKS, metavar="BACKBONE:STRIDE")
    parser.add_argument("--sizes", nargs="+", default=["384x512"], help="HEIGHTxWIDTH")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--sides", nargs="+", metavar="PART", help="only sides whose names have one of these parts")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument(
        "--memory", metavar="SIDE", help="measure the memory of one side instead, by its name in the table"
    )
    arguments = parser.parse_args()
    networks = ["-"] if arguments.version else arguments.networks
    todo = [(n, s, b) for n in networks for s in arguments.sizes for b in arguments.batches]
    if len(todo) > 1:
        common = ["--home", str(arguments.home), "--rounds", str(arguments.rounds)]
        common += ["--version", arguments.version] if arguments.version else []
        common += ["--sides", *arguments.sides] if arguments.sides else []
        common += ["--memory", arguments.memory] if arguments.memory else []
        for name, size, batch in todo:
            own = ["--networks", name, "--sizes", size, "--batches", str(batch)]
            subprocess.run(
                [sys.executable, __file__, *common, *own], check=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
            )
        return
    height, width = (int(side) for side in arguments.sizes[0].split("x"))
    shape = (arguments.batches[0], height, width)
    if arguments.memory:
        measure_memory(arguments, shape)
    else:
        compare(arguments, shape)


if __name__ == "__main__":
    main()
