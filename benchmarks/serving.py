"""What the server costs over the bare model, and how it compares with label-studio-ml 2.x running the same model.

    python benchmarks/serving.py --backbone vgg16
    python benchmarks/serving.py --backbone small --peer-python ../lsml/bin/python

The peer needs an environment of its own, because it is not on PyPI:

    python -m venv ../lsml
    ../lsml/bin/pip install tensorflow scipy gunicorn==22.0.0 label-studio-sdk==2.1.2 \
        'label-studio-ml @ git+https://github.com/HumanSignal/label-studio-ml-backend.git' \
        -e '.[backend]'

Every figure is the median of rounds that take turns; only ratios mean anything on another machine. Neither side may
answer from a cache: ours is switched off, and every round has image addresses of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import http.server
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "backend"), str(ROOT / "converters")]

NAMES = ["sky", "building", "road", "tree", "car", "person", "sign", "fence", "pole", "bicycle", "void"]
ANNOTATORS = 8


def label_config() -> str:
    labels = "".join(f'<Label value="{name}"/>' for name in NAMES)
    return (
        '<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image">'
        f"{labels}</BrushLabels></View>"
    )


def street(seed: int, height: int, width: int) -> np.ndarray:
    """Return a picture with areas, edges and noise, uint8 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (9, 12, 3), np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    return np.clip(np.asarray(coarse) + rng.normal(0, 4, (height, width, 3)), 0, 255).astype(np.uint8)


def make_model(home: Path, backbone: str) -> None:
    """Put an untrained model into the registry whose answers have several classes an image, as a trained one's have."""
    import keras

    from maskloop_backend.model.bundle import Bundle
    from maskloop_backend.model.config import Architecture
    from maskloop_backend.model.fcn import build_fcn
    from maskloop_backend.registry.store import Registry
    from maskloop_converters.samples import LabelSet

    keras.utils.set_random_seed(0)
    architecture = Architecture(backbone=backbone, classes=len(NAMES))
    model = build_fcn(architecture)
    # The score layer begins at zero: every pixel would be of class 0.
    score = model.get_layer("score")
    kernel, bias = score.get_weights()
    kernel = np.random.default_rng(0).normal(0, 1, kernel.shape).astype(kernel.dtype)
    score.set_weights([kernel - kernel.mean(axis=-1, keepdims=True), bias])
    registry = Registry(home)
    registry.promote(registry.add(Bundle.create(model, architecture, LabelSet.from_names(NAMES))))


@contextlib.contextmanager
def image_host(images: list[bytes]) -> Iterator[str]:
    """Serve image i under /ROUND/i.png on loopback."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            data = images[int(Path(self.path).stem)]
            self.send_response(200)
            self.send_header("Content-Type", "image/png")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def request(port: int, method: str, path: str, body: Any = None) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3600)
    headers = {"Content-Type": "application/json"} if body else {}
    connection.request(method, path, json.dumps(body) if body else None, headers)
    response = connection.getresponse()
    data = response.read()
    connection.close()
    if response.status != 200:
        raise SystemExit(f"{path} on port {port}: {response.status} {response.reason}")
    return data


def predict(port: int, urls: list[str]) -> None:
    tasks = [{"id": number, "data": {"image": url}} for number, url in enumerate(urls, 1)]
    data = request(
        port, "POST", "/predict", {"tasks": tasks, "project": "1.1", "label_config": label_config(), "params": {}}
    )
    results = json.loads(data)["results"]
    results = results.get("predictions", results) if isinstance(results, dict) else results
    if len(results) != len(urls) or not all(result["result"] for result in results):
        raise SystemExit(f"port {port} did not answer every task")


def annotators(port: int, urls: list[str]) -> None:
    """Let ANNOTATORS people open the tasks one after the other, with the three calls that Label Studio makes."""

    def person(mine: list[str]) -> None:
        for url in mine:
            request(port, "GET", "/health")
            request(
                port, "POST", "/setup", {"project": "1.1", "schema": label_config(), "hostname": "", "access_token": ""}
            )
            predict(port, [url])

    with ThreadPoolExecutor(ANNOTATORS) as pool:
        list(pool.map(person, [urls[first::ANNOTATORS] for first in range(ANNOTATORS)]))


@contextlib.contextmanager
def process(command: list[str], environment: dict[str, str], port: int) -> Iterator[None]:
    started = subprocess.Popen(
        command,
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=ROOT / "benchmarks",
    )
    lines: list[bytes] = []
    assert started.stderr is not None
    stream = started.stderr
    threading.Thread(target=lambda: lines.extend(stream), daemon=True).start()
    try:
        while True:
            with contextlib.suppress(OSError):
                request(port, "GET", "/health")
                break
            if started.poll() is not None:
                raise SystemExit(f"{command} ended:\n{b''.join(lines).decode()}")
            time.sleep(0.2)
        yield
    finally:
        started.terminate()
        started.wait(60)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def in_turns(rounds: int, sides: dict[str, Callable[[int], None]]) -> dict[str, float]:
    """Return the median seconds of each side; the sides take turns, the first round of each is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, run in sides.items():
            started = time.perf_counter()
            run(number)
            if number:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", choices=["small", "vgg16"], default="small")
    parser.add_argument(
        "--peer-python", type=Path, help="python of an environment with label-studio-ml 2.x and gunicorn"
    )
    parser.add_argument(
        "--peer-model", choices=["keras", "predictor"], default="keras", help="how the peer calls the model"
    )
    parser.add_argument("--tasks", type=int, default=50)
    parser.add_argument("--height", type=int, default=360)
    parser.add_argument("--width", type=int, default=480)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=8)
    arguments = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    arrays = [street(seed, arguments.height, arguments.width) for seed in range(arguments.tasks)]
    encoded = []
    for array in arrays:
        out = io.BytesIO()
        Image.fromarray(array).save(out, "PNG")
        encoded.append(out.getvalue())

    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        make_model(home, arguments.backbone)
        host = stack.enter_context(image_host(encoded))
        shared = {"MASKLOOP_HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path[:2]), "TF_CPP_MIN_LOG_LEVEL": "3"}

        def urls(side: str, number: int) -> list[str]:
            return [f"{host}/{side}-{number}/{index}.png" for index in range(arguments.tasks)]

        ours = free_port()
        serve = [sys.executable, "-m", "maskloop_backend.cli.main", "serve", "--port", str(ours), "--cache-mb", "0"]
        stack.enter_context(process([*serve, "--batch-size", str(arguments.batch_size)], shared, ours))

        from maskloop_backend.inference.predictor import Predictor
        from maskloop_backend.registry.store import Registry

        registry = Registry(home)
        predictor = Predictor(registry.load(str(registry.serving())))

        def bare(_: int) -> None:
            for first in range(0, arguments.tasks, arguments.batch_size):
                predictor.predict(arrays[first : first + arguments.batch_size])

        def bulk(port: int, side: str) -> Callable[[int], None]:
            return lambda number: predict(port, urls(side, number))

        def people(port: int, side: str) -> Callable[[int], None]:
            return lambda number: annotators(port, urls(f"{side}-people", number))

        size = f"{arguments.backbone}, {arguments.tasks} images of {arguments.width} x {arguments.height}"
        times = in_turns(arguments.rounds, {"bare": bare, "server": bulk(ours, "ours")})
        per_image = {name: 1000 * value / arguments.tasks for name, value in times.items()}
        print(f"{size}, {arguments.rounds} rounds, {os.cpu_count()} cores")
        print(f"bare model call               {per_image['bare']:8.1f} ms an image")
        print(f"server, one request           {per_image['server']:8.1f} ms an image")
        print(f"server over bare              {100 * (times['server'] / times['bare'] - 1):+8.1f} %")
        if arguments.peer_python is None:
            print("label-studio-ml 2.x: not measured, see --help")
            return
        theirs = free_port()
        gunicorn = [str(arguments.peer_python), "-m", "gunicorn", "--preload", "--workers", "1", "--threads", "8"]
        command = [*gunicorn, "--timeout", "0", "--bind", f"127.0.0.1:{theirs}", "peer_label_studio_ml:app"]
        own = {"PEER_MODEL": arguments.peer_model, "MODEL_DIR": str(home), "LOG_LEVEL": "WARNING"}
        stack.enter_context(process(command, shared | own, theirs))
        for name, load in (
            ("50-task request" if arguments.tasks == 50 else "one request", bulk),
            ("8 annotators", people),
        ):
            times = in_turns(arguments.rounds, {"ours": load(ours, "ours2"), "theirs": load(theirs, "theirs")})
            rates = {side: arguments.tasks / value for side, value in times.items()}
            print(
                f"{name:<16} maskloop {rates['ours']:7.2f} images/s, label-studio-ml ({arguments.peer_model}) "
                f"{rates['theirs']:7.2f} images/s: {rates['ours'] / rates['theirs']:.2f} x"
            )


if __name__ == "__main__":
    main()
