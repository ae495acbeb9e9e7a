"""What attacks are tried on: fresh servers as processes of their own, and annotators who work beside the attack."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import itertools
import json
import math
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
CONFIG = (
    '<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image">'
    '<Label value="road"/><Label value="car"/></BrushLabels></View>'
)
MIB = 1 << 20


def png(height: int, width: int, seed: int) -> bytes:
    """Return a PNG that no other seed gives: noise in its first rows, so that nothing comes out of a cache."""
    array = np.zeros((height, width, 3), np.uint8)
    array[:16] = np.random.default_rng(seed).integers(0, 256, (min(16, height), width, 3))
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG", compress_level=1)
    return out.getvalue()


def data_uri(encoded: bytes, kind: str = "png") -> str:
    """Return an encoded image as an address that a task can carry."""
    return f"data:image/{kind};base64," + base64.b64encode(encoded).decode()


def predict_body(addresses: Sequence[str], **more: Any) -> dict[str, Any]:
    """Return the body of a /predict request for images at these addresses."""
    tasks = [{"id": number, "data": {"image": address}} for number, address in enumerate(addresses)]
    return {"tasks": tasks, "project": "5.1", "label_config": CONFIG, **more}


@dataclass(slots=True)
class Answer:
    """What a server answered: the status line, and the body as it came."""

    status: int
    reason: str
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


@dataclass
class Server:
    """A `maskloop serve` process.

    Attributes:
        process: it.
        port: that it listens on, on loopback.
        log: file with its log lines.
        spool: its temporary folder.
        home: its home, with models and jobs.
        authorization: value of the header that it wants, None where it wants none.
    """

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    spool: Path
    home: Path
    authorization: str | None = None

    def connect(self, timeout: float = 60.0) -> socket.socket:
        """Return a connection on which nothing was sent."""
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, timeout: float = 90.0
    ) -> Answer:
        """Send one request over a connection of its own; a body that is not bytes is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        sent = {"Content-Type": "application/json"} if body is not None else {}
        if self.authorization is not None:
            sent["Authorization"] = self.authorization
        try:
            data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            connection.request(method, path, data, sent | (headers or {}))
            response = connection.getresponse()
            return Answer(response.status, response.reason, response.read())
        finally:
            connection.close()

    def open_task(self, number: int, size: tuple[int, int] = (192, 256)) -> float:
        """Open a task as an annotator does; return the seconds until its prediction was there."""
        body = predict_body([data_uri(png(*size, number))])
        started = time.monotonic()
        answer = self.request("POST", "/predict", body)
        if answer.status != 200 or not answer.json["results"][0]:
            raise RuntimeError(f"an annotator got {answer.status} {answer.reason} {answer.body[:200]!r}")
        return time.monotonic() - started

    def peak(self) -> int:
        """Return the most memory that the process held since :meth:`forget_peak`, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) << 10

    def forget_peak(self) -> int:
        """Begin to measure :meth:`peak` anew; return what the process holds now, in bytes."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        return self.peak()

    def spooled(self) -> int:
        """Return the bytes of temporary files that the process holds open, those without a name included."""
        total = 0
        for descriptor in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if str(descriptor.readlink()).startswith(str(self.spool)):
                    total += descriptor.stat().st_size
        return total

    def logged(self) -> str:
        """Return what it has logged so far."""
        return self.log.read_text(errors="replace")

    def alive(self) -> bool:
        """Return whether the process still runs."""
        return self.process.poll() is None

    def stop(self, timeout: float = 60.0) -> float:
        """Send SIGTERM; return the seconds until the process was gone."""
        started = time.monotonic()
        self.process.terminate()
        self.process.wait(timeout)
        return time.monotonic() - started

    @contextlib.contextmanager
    def annotators(self, count: int = 3, *, think: float = 0.05, size: tuple[int, int] = (192, 256)) -> Iterator[Waits]:
        """Let so many people open one small task after another until the block ends.

        Args:
            count: of people.
            think: seconds between two tasks.
            size: of their images, height and width in pixels.
        """
        waits = Waits()

        def work(number: int, over: threading.Event) -> None:
            # they do not all come in the same moment
            over.wait(think * number / count)
            while not over.is_set():
                began = time.monotonic()
                try:
                    seconds = self.open_task(next(_NUMBERS), size)
                except (OSError, http.client.HTTPException, RuntimeError) as error:
                    waits.failed.append(str(error) or type(error).__name__)
                else:
                    waits.seconds.append((began, seconds))
                over.wait(think)

        with at_work(count, work):
            yield waits

    @contextlib.contextmanager
    def health(self, every: float = 0.05) -> Iterator[Waits]:
        """Ask for /health again and again until the block ends, as Label Studio does; it allows 1 s."""
        waits = Waits()

        def ask(_: int, over: threading.Event) -> None:
            while not over.is_set():
                began = time.monotonic()
                try:
                    answer = self.request("GET", "/health", timeout=10)
                    if answer.status != 200:
                        waits.failed.append(f"{answer.status} {answer.reason}")
                except (OSError, http.client.HTTPException) as error:
                    waits.failed.append(str(error) or type(error).__name__)
                waits.seconds.append((began, time.monotonic() - began))
                over.wait(every)

        with at_work(1, ask):
            yield waits


# images of all annotators of all servers
_NUMBERS = itertools.count(1)


@dataclass
class Waits:
    """How long somebody waited.

    Attributes:
        seconds: (start, length) of each wait.
        failed: what went wrong instead.
    """

    seconds: list[tuple[float, float]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @property
    def longest(self) -> float:
        """The longest wait in seconds."""
        return max((seconds for _, seconds in self.seconds), default=0.0)

    @property
    def p95(self) -> float:
        """The wait in seconds that 95 of 100 do not exceed."""
        ordered = sorted(seconds for _, seconds in self.seconds)
        return ordered[math.ceil(0.95 * len(ordered)) - 1] if ordered else 0.0


@contextlib.contextmanager
def at_work(count: int, work: Callable[[int, threading.Event], None]) -> Iterator[None]:
    """Let so many threads work until the block ends.

    Args:
        count: of threads.
        work: gets the thread's number, from 0, and an event: when it is set, the work is to end.
    """
    over = threading.Event()
    people = [threading.Thread(target=work, args=(number, over), daemon=True) for number in range(count)]
    for person in people:
        person.start()
    try:
        yield
    finally:
        over.set()
        for person in people:
            person.join()


class Rig:
    """Starts servers for one attack and clears up behind it: a context manager.

    Args:
        folder: a new one for this attack.
        model: a home with a model version, see :func:`small_model`.
    """

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder = folder
        self._model = model
        self._servers: list[Server] = []
        folder.mkdir(parents=True)

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.process.kill()
            server.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def environment() -> dict[str, str]:
        """Return variables for a command of maskloop: those of this process without its settings of maskloop."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MASKLOOP_")}
        path = os.pathsep.join((str(ROOT / "backend"), str(ROOT / "converters")))
        return kept | {"PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"}

    def serve(
        self, *options: str, model: bool = True, user: tuple[str, str] | None = None, **environment: str
    ) -> Server:
        """Start a server and wait until it answers, and until its model is loaded where it has one.

        Args:
            options: of `maskloop serve`.
            model: whether it has a model; one without starts in a second and answers /health, not /predict.
            user: name and password that it asks for.
            environment: variables beside those of this process.
        """
        home = self.folder / f"home-{len(self._servers)}"
        if model:
            shutil.copytree(self._model, home)
        spool = self.folder / f"tmp-{len(self._servers)}"
        spool.mkdir()
        log = self.folder / f"server-{len(self._servers)}.log"
        variables = self.environment() | {"MASKLOOP_HOME": str(home), "TMPDIR": str(spool)}
        authorization = None
        if user is not None:
            variables |= {"MASKLOOP_BASIC_AUTH_USER": user[0], "MASKLOOP_BASIC_AUTH_PASSWORD": user[1]}
            authorization = "Basic " + base64.b64encode(":".join(user).encode()).decode()
        command = [sys.executable, "-m", "maskloop_backend.cli.main", "serve", "--port", "0", "--no-training", *options]
        with log.open("ab") as out:
            process = subprocess.Popen(command, env=variables | environment, stdout=out, stderr=out)
        server = Server(process, 0, log, spool, home, authorization)
        self._servers.append(server)
        deadline = time.monotonic() + 240
        while " listening " not in server.logged():
            if not server.alive() or time.monotonic() > deadline:
                raise RuntimeError(f"the server does not start: {server.logged()[-2000:]}")
            time.sleep(0.05)
        server.port = int(server.logged().partition("url=http://127.0.0.1:")[2].split()[0])
        while model and server.request("GET", "/health").json["model"] != "ready":
            if time.monotonic() > deadline:
                raise RuntimeError(f"the model does not load: {server.logged()[-2000:]}")
            time.sleep(0.1)
        return server


def small_model(home: Path) -> Path:
    """Write a home with one small, untrained model version of two classes that is served; return the folder."""
    # read when TensorFlow is loaded
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from maskloop_backend.model.bundle import Bundle
    from maskloop_backend.model.config import Architecture
    from maskloop_backend.model.fcn import build_fcn
    from maskloop_backend.registry.store import Registry
    from maskloop_converters.samples import LabelSet

    architecture = Architecture(backbone="small", classes=2)
    registry = Registry(home)
    labels = LabelSet.from_names(["road", "car"])
    registry.promote(registry.add(Bundle.create(build_fcn(architecture), architecture, labels)))
    return home
