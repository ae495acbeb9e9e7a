"""What our runtimes cost beside `keras predict`, a tf.function and OpenVINO called by hand, on one network.

    python benchmarks/runtimes.py --sizes 360x480 384x512
    python benchmarks/runtimes.py --home HOME --version VERSION

All take turns, one image a call; medians. Ratios mean something on another machine, milliseconds do not. "Bare" sides
return logits, ours the label map and its confidence. Bare OpenVINO is compiled for the one size.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "backend"), str(ROOT / "converters")]


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
    architecture = Architecture(11, arguments.backbone, stride=arguments.stride)
    return Bundle.create(build_fcn(architecture), architecture, LabelSet.from_names([f"class {k}" for k in range(11)]))


def bare_openvino(model: Any, shape: tuple[int, ...], hint: str) -> Callable[[np.ndarray], Any]:
    """Return the network to its logits, read and compiled as OpenVINO's manual has it, for one size."""
    import openvino
    import tensorflow as tf

    module = tf.Module()
    module.weights = [variable.value for variable in model.variables]
    signature = [tf.TensorSpec((None, None, None, 3), tf.uint8, "images")]
    module.call = tf.function(lambda images: {"logits": model(images, training=False)}, input_signature=signature)
    core = openvino.Core()
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=module.call)
        graph = core.read_model(folder)
        graph.reshape(list(shape))
        compiled = core.compile_model(
            graph, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint, "ENABLE_CPU_PINNING": False}
        )
    request = compiled.create_infer_request()
    return lambda images: request.infer([images], share_inputs=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path.home() / ".maskloop")
    parser.add_argument("--version", help="a trained version of --home; default: random weights")
    parser.add_argument("--backbone", default="efficientnet-lite0")
    parser.add_argument("--stride", type=int, default=8)
    parser.add_argument("--sizes", nargs="+", default=["360x480", "384x512"], help="HEIGHTxWIDTH")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()

    import tensorflow as tf

    from maskloop_backend.inference.runtimes.keras_runtime import KerasRuntime
    from maskloop_backend.inference.runtimes.openvino_runtime import OpenVinoRuntime

    bundle = network(arguments)
    model = bundle.model
    signature = [tf.TensorSpec((None, None, None, 3), tf.uint8)]
    function = tf.function(lambda images: model(images, training=False), input_signature=signature)
    ours = {
        f"ours: {name}, {precision}": runtime(bundle, precision=precision).labels
        for name, runtime in (("keras", KerasRuntime), ("openvino", OpenVinoRuntime))
        for precision in ("float32", "bfloat16")
    }
    random = np.random.default_rng(0)
    for size in arguments.sizes:
        height, width = (int(side) for side in size.split("x"))
        images = random.integers(0, 256, (1, height // 8, width // 8, 3), np.uint8).repeat(8, axis=1).repeat(8, axis=2)
        sides: dict[str, Callable[[np.ndarray], Any]] = {
            "keras predict": lambda images: model.predict(images, verbose=0),
            "tf.function, float32": lambda images: function(images).numpy(),
            "bare OpenVINO, float32": bare_openvino(model, images.shape, "f32"),
            "bare OpenVINO, bfloat16": bare_openvino(model, images.shape, "bf16"),
            **ours,
        }
        wall: dict[str, list[float]] = {name: [] for name in sides}
        busy: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(arguments.rounds + 2):
            for name, run in sides.items():
                started, spent = time.perf_counter(), time.process_time()
                run(images)
                if number >= 2:
                    wall[name].append(time.perf_counter() - started)
                    busy[name].append(time.process_time() - spent)
        print(f"{model.name}, {size}, {arguments.rounds} rounds, medians")
        first = statistics.median(wall["keras predict"])
        for name in sides:
            median, processor = statistics.median(wall[name]), statistics.median(busy[name])
            print(
                f"| {name} | {1000 * median:.0f} ms | {first / median:.2f} x keras predict | "
                f"{1000 * processor:.0f} ms of processor time |",
                flush=True,
            )


if __name__ == "__main__":
    main()
