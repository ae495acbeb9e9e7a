"""A real server on loopback, and segmenters simple enough to know their answers."""

from __future__ import annotations

import base64
import http.client
import io
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from maskloop_backend.inference.prediction import Prediction
from maskloop_backend.serving.app import create_app
from maskloop_backend.serving.models import FixedSource, ModelSource
from maskloop_backend.serving.server import HttpServer
from maskloop_backend.serving.settings import Settings
from maskloop_converters.samples import LabelSet

CONFIG = (
    '<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image">'
    '<Label value="road"/><Label value="car"/></BrushLabels></View>'
)


class Brightness:
    """Dark pixels are road, bright ones are cars. It notes every call and waits at a gate that a test may close."""

    def __init__(self, version: str = "fcn32s-small-20261122-00000001") -> None:
        self.version = version
        self.labels = LabelSet.from_names(["road", "car"])
        self.calls: list[int] = []
        self.called = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()

    def predict(self, images: Sequence[NDArray[Any]]) -> list[Prediction]:
        self.calls.append(len(images))
        self.called.release()
        assert self.gate.wait(60)
        return [self._one(image) for image in images]

    @staticmethod
    def _one(image: NDArray[Any]) -> Prediction:
        if image.shape[:2] == (13, 13):
            raise RuntimeError("the model cannot take 13 x 13")
        bright = image.mean(axis=2) > 127
        return Prediction(bright.astype(np.uint8), np.full(bright.shape, 204, np.uint8), 0.8)


@dataclass
class Answer:
    status: int
    reason: str
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Talks to one server, one connection a request, so that the status line can be read."""

    config = CONFIG

    def __init__(self, server: HttpServer, app: Any) -> None:
        self.server = server
        self.app = app

    def connect(self, timeout: float = 60) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=timeout)

    def request(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        connection = self.connect()
        try:
            sent = {"Content-Type": "application/json"} if body is not None else {}
            data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            connection.request(method, path, data, sent | (headers or {}))
            response = connection.getresponse()
            return Answer(response.status, response.reason, response.headers, response.read())
        finally:
            connection.close()

    def predict(self, images: Sequence[str], *, context: Any = None, project: str = "5.1", **more: Any) -> Answer:
        tasks = [{"id": i, "data": {"image": image}} for i, image in enumerate(images)]
        body = {"tasks": tasks, "project": project, "label_config": CONFIG, "params": {"context": context}}
        return self.request("POST", "/predict", body | more)

    def metric(self, name: str, **labels: str) -> float:
        return self.app.server.metrics.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture
def config() -> str:
    return CONFIG


@pytest.fixture
def brightness() -> type[Brightness]:
    return Brightness


@pytest.fixture
def image_uri() -> Callable[..., str]:
    """Return a function that makes a PNG as a data URI: bright in its left columns; sizes tell them apart."""

    def make(height: int = 20, width: int = 30, bright: int = 10) -> str:
        array = np.zeros((height, width, 3), np.uint8)
        array[:, :bright] = 255
        out = io.BytesIO()
        Image.fromarray(array).save(out, "PNG")
        return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()

    return make


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """Return a function that starts a server of a segmenter or a source of models; settings by name."""
    servers: list[HttpServer] = []

    def start_server(model: Any = None, *, ready: bool = True, **settings: Any) -> Client:
        source: ModelSource = model if hasattr(model, "load") else FixedSource(model or Brightness())
        made = Settings(**{"home": tmp_path / "home", "port": 0, "keepalive": 0.05, "grace": 10.0} | settings)
        app = create_app(source, made)
        server = HttpServer(app, made)
        servers.append(server)
        if ready:
            app.server.models.get(30)
        return Client(server, app)

    yield start_server
    for server in servers:
        server.stop()
