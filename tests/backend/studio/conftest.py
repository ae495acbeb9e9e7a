"""A web server with images of every kind, on loopback."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

import numpy as np
import pytest
from PIL import Image

from maskloop_backend.studio.client import StudioClient

from .studio import CONFIG, LEGACY, FakeStudio, listening, running


@dataclass(slots=True)
class Web:
    """Answers GET and POST from tables and keeps what was asked.

    Attributes:
        url: where it answers.
        answers: path -> (status, headers, body).
        seen: (method, path, Authorization header) of every request.
    """

    url: str = ""
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    seen: list[tuple[str, str, str | None]] = field(default_factory=list)

    def put(self, path: str, body: bytes, status: int = 200, **headers: str) -> str:
        self.answers[path] = (status, headers, body)
        return self.url + path


@pytest.fixture
def web() -> Iterator[Web]:
    table = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            table.seen.append((self.command, self.path, self.headers.get("Authorization")))
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, body = table.answers.get(self.path, (404, {}, b""))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with listening(Handler) as table.url:
        yield table


@pytest.fixture
def studio() -> Iterator[FakeStudio]:
    made = FakeStudio(tasks=list(range(101, 141)))
    made.project = {
        "id": 5,
        "title": "streets",
        "label_config": CONFIG,
        "model_version": "",
        "task_number": len(made.tasks),
    }
    with running(made):
        yield made


@pytest.fixture
def client(studio: FakeStudio) -> Iterator[StudioClient]:
    with StudioClient(studio.url, LEGACY) as made:
        yield made


def picture(height: int = 12, width: int = 20, *, kind: str = "PNG", orientation: int = 1) -> bytes:
    out = io.BytesIO()
    gradient = np.indices((height, width)).sum(0)[..., None] * np.array([3, 5, 7])
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(gradient.astype(np.uint8)).save(out, kind, exif=exif)
    return out.getvalue()
