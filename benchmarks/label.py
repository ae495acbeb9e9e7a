"""Images a second of `maskloop label` against the bare runtime's batches, and the memory it takes, in one run.

    python benchmarks/label.py FOLDER --home HOME --version VERSION                      # 10,000 images, in the default runtime
    python benchmarks/label.py FOLDER --home HOME --version VERSION --images 400 --runtime keras --precision float32

The images of FOLDER are taken again and again, under new names (links), until there are enough. Both sides are processes of
their own that take turns: while one computes the other is stopped (SIGSTOP), so that what else runs on the machine falls on both.
`label` is the command's own code with the number of processes that it finds to be fastest. The bare runtime has what the
network sees in memory, decoded, enlarged and padded, and stops at the logits: nothing is decoded, decided, hashed or
written there. Of OpenVINO the best of several ways to call it is taken (batches, or a queue of requests with its THROUGHPUT
hint), of Keras `predict` or a tf.function. Memory is the sum of the peaks of label's processes.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

import processes

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "backend"), str(ROOT / "converters")]

# Images that the bare runtime goes round and round, and seconds that each way to call it is tried.
_IN_MEMORY, _TRIED = 24, 2.0
#: Says that a side is ready and what it is, and counts its images from there on.
Begin = Callable[[dict[str, Any]], Callable[[int], None]]


class Side:
    """A process, with those that it starts, which runs only in its turns.

    Args:
        run: what it does.
        arguments: of that.
    """

    def __init__(self, run: Callable[..., None], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._count = context.Value("q", 0)
        self._told, telling = context.Pipe(duplex=False)
        self._process = context.Process(target=_apart, args=(telling, self._count, run, arguments))
        self._process.start()
        self._group = self._process.pid or 0
        telling.close()
        self.facts: dict[str, Any] = self._told.recv()
        self._signal(signal.SIGSTOP)
        self.seconds = self.cpu_seconds = 0.0
        #: peak of all its processes together in MB, by the number of images after which it was read
        self.peaks: dict[int, float] = {}

    @property
    def images(self) -> int:
        """How many it has done."""
        return int(self._count.value)

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return not self._process.is_alive()

    def turn(self, most: int, marks: tuple[int, ...] = ()) -> tuple[float, float]:
        """Let it run; return images a second, and processor seconds an image.

        Args:
            most: images, about.
            marks: numbers of images at which the memory is read.
        """
        images, spent = self.images, processes.cpu_seconds(self._group)
        began = time.perf_counter()
        self._signal(signal.SIGCONT)
        now = spent
        while self.images - images < most and not self.over:
            now = processes.cpu_seconds(self._group)
            for mark in marks:
                if self.images >= mark and mark not in self.peaks:
                    self.peaks[mark] = processes.peak_mb(self._group)
            self._process.join(0.02)
        taken = time.perf_counter() - began
        if not self.over:
            self._signal(signal.SIGSTOP)
            now = processes.cpu_seconds(self._group)
        done = self.images - images
        self.seconds += taken
        self.cpu_seconds += now - spent
        return done / taken, (now - spent) / max(done, 1)

    def stop(self) -> None:
        """End it and all that it started."""
        self._signal(signal.SIGKILL)
        self._process.join()

    def _signal(self, number: int) -> None:
        if self._process.is_alive():
            os.killpg(self._group, number)


def _apart(telling: Connection, count: Any, run: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """Be a side, in a process group of its own."""
    os.setsid()

    def begin(facts: dict[str, Any]) -> Callable[[int], None]:
        def done(images: int) -> None:
            count.value = images

        telling.send(facts)
        return done

    run(begin, *arguments)


def labelling(begin: Begin, arguments: argparse.Namespace, folder: str, root: str) -> None:
    """Do what the command does, with the engine that it chooses."""
    from maskloop_backend.batch.engines.local import LocalEngine
    from maskloop_backend.batch.labelling import Request, chosen, label, prepare
    from maskloop_backend.batch.splitting import fastest
    from maskloop_backend.batch.work import Model

    model = Model(arguments.home, arguments.version, arguments.runtime, arguments.precision)
    request = Request(model, folder, root, arguments.to, "images", below=0.5)
    prepared = prepare(request, chosen(LocalEngine()))
    count = (
        None
        if arguments.processes is None
        else LocalEngine(arguments.processes, (os.cpu_count() or 1) // arguments.processes)
    )
    engine = count or fastest(prepared)
    counting: list[Callable[[int], None]] = []

    def progress(done: int, total: int) -> None:
        # the first batch compiles
        if done >= 2 * 16 and not counting:
            facts = prepared.plan.facts
            counting.append(
                begin({"engine": engine.title, "runtime": facts["runtime"], "precision": facts["precision"]})
            )
        for counted in counting:
            counted(done)

    label(prepared, engine, progress)


def bare(begin: Begin, arguments: argparse.Namespace, runtime: str, precision: str, files: list[Path]) -> None:
    """Give the network what it sees of some images, for ever."""
    from maskloop_backend import quiet

    quiet.import_keras()
    from maskloop_backend.inference.predictor import Predictor
    from maskloop_backend.registry.store import Registry
    from maskloop_backend.studio.images import decode

    bundle = Registry(arguments.home).load(arguments.version)
    predictor = Predictor(bundle, precision="float32")
    inputs = [next(predictor.inputs(decode(file.read_bytes(), file.name))) for file in files[:_IN_MEMORY]]
    ways = openvino_ways(bundle, precision, inputs) if runtime == "openvino" else keras_ways(bundle, precision, inputs)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(4):
        for name, way in ways.items():
            began, done = time.perf_counter(), 0
            while time.perf_counter() - began < _TRIED:
                done += way()
            if number:
                rates[name].append(done / (time.perf_counter() - began))
    best = max(rates, key=lambda name: statistics.median(rates[name]))
    shown = {name: round(statistics.median(found), 1) for name, found in rates.items()}
    done = begin({"way": best, "ways": shown, "size": inputs[0].shape[1:3]})
    for total in itertools.accumulate(itertools.starmap(ways[best], itertools.repeat(()))):
        done(total)


def openvino_ways(bundle: Any, precision: str, inputs: list[np.ndarray]) -> dict[str, Callable[[], int]]:
    """Return ways to call the network in OpenVINO; each is a call that says how many images it was for."""
    import openvino

    from maskloop_backend.inference.runtimes.openvino_graphs import Tail, logits_graph, read_graph
    from runtimes import bare_graph

    hint = {"float32": "f32", "bfloat16": "bf16", "int8": "bf16"}[precision]
    core = openvino.Core()

    def compiled(batch: int, performance: str) -> Any:
        shape = [batch, *inputs[0].shape[1:]]
        with tempfile.TemporaryDirectory() as folder:
            read = None
            if precision == "int8":
                read = Path(folder, "logits.xml")
                graph = logits_graph(read_graph(bundle.int8.graph), Tail.of(bundle.model))
                openvino.save_model(graph, read, compress_to_fp16=False)
            graph = bare_graph(bundle.model, shape, read)
            options = {"PERFORMANCE_HINT": performance, "INFERENCE_PRECISION_HINT": hint, "ENABLE_CPU_PINNING": False}
            return core.compile_model(graph, "CPU", options)

    def batches(size: int) -> Callable[[], int]:
        request = compiled(size, "LATENCY").create_infer_request()
        stacked = itertools.cycle(
            [np.concatenate(inputs[first : first + size]) for first in range(0, len(inputs) - size + 1, size)]
        )

        def call() -> int:
            request.infer([next(stacked)], share_inputs=True)
            return size

        return call

    waiting = openvino.AsyncInferQueue(compiled(1, "THROUGHPUT"))

    following = itertools.cycle(inputs)

    def queued() -> int:
        # waits until one of its requests is free
        waiting.start_async([next(following)], share_inputs=True)
        return 1

    return {"batches of 1": batches(1), "batches of 4": batches(4), "queue": queued}


def keras_ways(bundle: Any, precision: str, inputs: list[np.ndarray]) -> dict[str, Callable[[], int]]:
    """Return ways to call the network in Keras, see :func:`openvino_ways`."""
    import tensorflow as tf

    if precision != "float32":
        raise SystemExit("Keras is measured in float32: give --precision float32")
    model = bundle.model
    traced = tf.function(
        lambda images: model(images, training=False), input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)]
    )
    stacked = np.concatenate(inputs)

    def predicted() -> int:
        model.predict(stacked, batch_size=8, verbose=0)
        return len(stacked)

    def batches(size: int) -> Callable[[], int]:
        parts = itertools.cycle([stacked[first : first + size] for first in range(0, len(stacked) - size + 1, size)])

        def call() -> int:
            traced(next(parts)).numpy()
            return size

        return call

    return {"predict": predicted, "tf.function, batches of 1": batches(1), "tf.function, batches of 4": batches(4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with images of one size")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--runtime", default="auto", choices=["auto", "keras", "openvino"])
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16", "int8"])
    parser.add_argument("--to", default="png", help="format")
    parser.add_argument("--processes", type=int, help="of label; default: measured, as the command does")
    parser.add_argument(
        "--turns", type=int, nargs=2, default=(100, 50), metavar="IMAGES", help="of label and of the bare"
    )
    arguments = parser.parse_args()
    # the sides are ended, too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sources = sorted(file for file in arguments.folder.resolve().iterdir() if file.suffix in (".png", ".jpg"))
    with tempfile.TemporaryDirectory(prefix="label-benchmark-") as folder, ExitStack() as sides:
        photos = Path(folder, "photos")
        photos.mkdir()
        for number, source in zip(range(arguments.images), itertools.cycle(sources)):
            (photos / f"{number:06}{source.suffix}").symlink_to(source)
        ours = Side(labelling, arguments, str(photos), f"{folder}/masks")
        sides.callback(ours.stop)
        runtime, precision = ours.facts["runtime"], ours.facts["precision"]
        reference = Side(bare, arguments, runtime, precision, sources)
        sides.callback(reference.stop)
        print(
            f"{arguments.version}, {runtime} {precision}, {ours.facts['engine']}, the network sees "
            f"{' x '.join(map(str, reference.facts['size']))}; bare: {reference.facts['way']} of {reference.facts['ways']} images/s"
        )
        rows = measured(ours, reference, arguments)
        missing = arguments.images - ours.images
    print("\n| | images/s | processor ms an image |\n|---|--:|--:|")
    for name, k in (("bare runtime", 2), ("label", 0)):
        print(
            f"| {name} | {statistics.median(r[k] for r in rows):.1f} | {1000 * statistics.median(r[k + 1] for r in rows):.1f} |"
        )
    clock, work = (statistics.median(r[a] / r[b] for r in rows) for a, b in ((0, 2), (3, 1)))
    print(f"| label against the bare runtime, median of {len(rows)} turns | {clock:.0%} | {work:.0%} |")
    print(f"\n{ours.images} images in {ours.seconds:.0f} s of its own; memory: ", end="")
    print(", ".join(f"{peak:.0f} MB at {mark:,}" for mark, peak in ours.peaks.items()), f"; missing {missing}", sep="")


def measured(ours: Side, reference: Side, arguments: argparse.Namespace) -> list[tuple[float, float, float, float]]:
    """Return of each pair of turns images/s and processor seconds an image of ours, then of the bare runtime."""
    # the last images: a process that has ended has no memory to read
    marks = (*(mark for mark in (1000, 3000) if 2 * mark < arguments.images), arguments.images - 250)
    rows = []
    before = reference.turn(arguments.turns[1])
    while not ours.over:
        found = ours.turn(arguments.turns[0], marks)
        if ours.over:
            break
        after = reference.turn(arguments.turns[1])
        around = (before[0] + after[0]) / 2, (before[1] + after[1]) / 2
        rows.append((*found, *around))
        before = after
        print(
            f"{ours.images:6} images, load {os.getloadavg()[0]:.1f}: label {found[0]:.1f} images/s, {1000 * found[1]:.1f} ms; "
            f"bare {around[0]:.1f} images/s, {1000 * around[1]:.1f} ms",
            flush=True,
        )
    return rows


if __name__ == "__main__":
    main()
