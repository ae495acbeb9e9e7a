"""What Label Studio 1.23 answers, in states that the real one is hard to bring into.

The shapes and texts are those of recorded traffic; behind them are plain lists that a test fills and reads.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from maskloop_backend.studio import label_config
from maskloop_converters.errors import LabelError

VERSION = "fcn32s-small-20261122-00000001"
LEGACY = "0123456789abcdef0123456789abcdef01234567"
CONFIG = (
    '<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image">'
    '<Label value="road"/><Label value="car"/></BrushLabels></View>'
)
SSRF = "URL resolves to a reserved network address (block: 127.0.0.0/8)"
LEGACY_OFF = "Authentication token no longer valid: legacy token authentication has been disabled for this organization"


def jwt(kind: str, lifetime: float = 300.0) -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    now = int(time.time())
    return f"{part({'alg': 'HS256'})}.{part({'token_type': kind, 'iat': now, 'exp': now + lifetime})}.sig"


def problem(status: int, detail: str, **errors: list[str]) -> tuple[int, Any]:
    body = {"id": "188076d6", "status_code": status, "version": "1.23.2", "detail": detail, "exc_info": None}
    return status, body | ({"validation_errors": errors} if errors else {})


@dataclass
class FakeStudio:
    """A Label Studio with one project, 5, and a maskloop backend at ``url``/backend.

    Attributes:
        legacy: whether legacy tokens are taken.
        half_made: a new connection is stored, and then refused with 403.
        served: version that the backend serves; '' for none.
        loading: how many more times the backend says that its model is loading; until then it predicts nothing.
        lost: tasks whose images fail: they never get a prediction.
        labelled: tasks with all annotations that they need.
        half_labelled: tasks with one of two.
        predictions: (task, version); a prediction's id is its place.
        scores: id of a prediction -> the score that it was given afterwards.
        results: (task, version) -> what the prediction holds; {} for one road, made for the project's label config.
        why: what the backend says of a prediction that fails; None: it fails without a word for lost tasks only.
        stumbles: statuses that the next imports of predictions are answered with, and whether they are stored all the same.
        refused: tasks whose predictions are refused.
        imports: tasks of each import of predictions.
        images: task -> address of its image.
        size: (width, height) of the images.
    """

    url: str = ""
    legacy: bool = True
    half_made: bool = False
    served: str = VERSION
    setup: tuple[int, str, bytes] | None = None
    release: Any = "1.23.2"
    access_tokens: list[str] = field(default_factory=list)
    project: dict[str, Any] = field(default_factory=dict)
    more_projects: list[dict[str, Any]] = field(default_factory=list)
    connections: list[dict[str, Any]] = field(default_factory=list)
    webhooks: list[dict[str, Any]] = field(default_factory=list)
    tasks: list[int] = field(default_factory=list)
    loading: int = 0
    lost: set[int] = field(default_factory=set)
    labelled: set[int] = field(default_factory=set)
    half_labelled: set[int] = field(default_factory=set)
    predictions: list[tuple[int, str]] = field(default_factory=list)
    scores: dict[int, float] = field(default_factory=dict)
    results: dict[tuple[int, str], list[Any]] = field(default_factory=dict)
    why: str | None = None
    stumbles: list[tuple[int, bool]] = field(default_factory=list)
    refused: set[int] = field(default_factory=set)
    imports: list[list[int]] = field(default_factory=list)
    images: dict[int, str] = field(default_factory=dict)
    size: tuple[int, int] = (320, 240)
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    next_id: int = 20

    @property
    def backend(self) -> str:
        return f"{self.url}/backend"

    def new_id(self) -> int:
        self.next_id += 1
        return self.next_id

    def connect(self, url: str = "", title: str = VERSION, **more: Any) -> dict[str, Any]:
        made = {
            "id": self.new_id(),
            "state": "CO",
            "error_message": None,
            "url": url or self.backend,
            "title": title,
            "auth_method": "NONE",
            "is_interactive": False,
            "model_version": self.served or None,
            "project": 5,
            **more,
        }
        self.connections.append(made)
        return made

    def hook(self, url: str = "", **more: Any) -> dict[str, Any]:
        made = {
            "id": self.new_id(),
            "project": 5,
            "url": url or f"{self.backend}/webhook",
            "send_payload": True,
            "send_for_all_actions": True,
            "headers": {},
            "is_active": True,
            "actions": [],
            **more,
        }
        self.webhooks.append(made)
        return made

    def healthy(self) -> None:
        """Bring everything into the state that `maskloop connect` leaves."""
        self.connect()
        self.hook()
        self.project["model_version"] = self.served
        self.predictions = [(task, self.served) for task in self.tasks]

    def refusal(self, authorization: str | None) -> tuple[int, Any] | None:
        kind, _, token = (authorization or "").partition(" ")
        if kind == "Bearer" and token in self.access_tokens:
            return None
        if kind == "Token" and token == LEGACY:
            return None if self.legacy else problem(401, LEGACY_OFF)
        return problem(401, "Given token not valid for any token type")

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        match method, [part for part in path.split("/") if part]:
            case "GET", ["api", "version"]:
                return 200, {"release": self.release} if isinstance(self.release, str) else self.release
            case "GET", ["api", "current-user", "whoami"]:
                return 200, {"id": 1}
            case "GET", ["api", "jwt", "settings"]:
                return 200, {"api_tokens_enabled": True, "legacy_api_tokens_enabled": self.legacy}
            case "GET", ["api", "projects"]:
                return self._projects(int(query["page"]), int(query["page_size"]))
            case "GET", ["api", "projects", "5"]:
                return 200, self.project
            case "PATCH", ["api", "projects", "5"]:
                self.project |= body
                return 200, self.project
            case "GET", ["api", "projects", "5", "model-versions"]:
                versions = [version for _, version in self.predictions]
                return 200, {version: versions.count(version) for version in dict.fromkeys(versions)}
            case "POST", ["api", "projects", "5", "import", "predictions"]:
                if self.stumbles:
                    status, stored = self.stumbles.pop(0)
                    if stored:
                        self._import(body)
                    return problem(status, "Too busy")
                if any(one["task"] in self.refused for one in body):
                    return problem(400, "invalid", result=["no such label"])
                self._import(body)
                return 201, {"created": len(body)}
            case "DELETE", ["api", "projects", "5", "model-versions"]:
                kept = [pair for pair in self.predictions if pair[1] != body["model_version"]]
                gone, self.predictions = len(self.predictions) - len(kept), kept
                self.project["model_version"] = None
                return 200, {"deleted_predictions": gone}
            case "GET", ["api", "predictions"]:
                pairs = enumerate(self.predictions)
                return 200, [
                    {"id": i, "model_version": version, "result": self.result(t, version)}
                    for i, (t, version) in pairs
                    if t == int(query["task"])
                ]
            case "PATCH", ["api", "predictions", number]:
                self.scores[int(number)] = body["score"]
                return 200, {"id": int(number), **body}
            case "DELETE", ["api", "predictions", number]:
                self.results.pop(self.predictions[int(number)], None)
                self.predictions[int(number)] = (0, "deleted")
                return 204, None
            case "GET", ["api", "tasks"]:
                first = (int(query["page"]) - 1) * int(query["page_size"])
                page = self.tasks[first : first + int(query["page_size"])]
                return 200, {"tasks": [self._task(task, query) for task in page], "total": len(self.tasks)}
            case "GET", ["api", "tasks", number]:
                return 200, {"id": int(number), "data": {"image": f"/data/upload/5/{number}.png"}}
            case "POST", ["api", "dm", "actions"]:
                chosen = body["selectedItems"]["included"] or self.tasks
                new = [(task, self.served) for task in chosen if task not in self.lost and not self.loading]
                self.predictions += [pair for pair in new if pair not in self.predictions]
                return 200, {"processed_items": len(chosen), "detail": f"Retrieved {len(chosen)} predictions"}
            case "GET", ["api", "ml"]:
                return 200, self.connections[::-1]
            case "POST", ["api", "ml"]:
                return self._connect(body)
            case "PATCH", ["api", "ml", number]:
                if "url" not in body or "project" not in body:
                    return problem(500, "healthcheck_() missing 1 required positional argument: 'url'")
                (found,) = (connection for connection in self.connections if connection["id"] == int(number))
                found |= body | {"model_version": self.served or None}
                return 200, found
            case "DELETE", ["api", "ml", number]:
                self.connections = [c for c in self.connections if c["id"] != int(number)]
                return 204, None
            case "GET", ["api", "webhooks"]:
                return 200, self.webhooks[::-1]
            case "POST", ["api", "webhooks"]:
                return 201, self.hook(**body)
            case "PATCH", ["api", "webhooks", number]:
                (hook,) = (hook for hook in self.webhooks if hook["id"] == int(number))
                hook |= body
                return 200, hook
            case "DELETE", ["api", "webhooks", number]:
                self.webhooks = [hook for hook in self.webhooks if hook["id"] != int(number)]
                return 204, None
        return problem(404, "Not found.")

    def _import(self, body: list[dict[str, Any]]) -> None:
        self.imports.append([one["task"] for one in body])
        for one in body:
            self.predictions.append((one["task"], one["model_version"]))
            self.results[one["task"], one["model_version"]] = one["result"]

    def result(self, task: int, version: str) -> list[Any]:
        """Return the regions of a stored prediction: by default one road, as made for the label config of now."""
        try:
            config = label_config.parse(self.project["label_config"])
        except LabelError:
            return []
        width, height = self.size
        item = {"id": f"{config.mark}-road000{task}", "original_width": width, "original_height": height}
        return self.results.get((task, version), [{**item, "value": {"brushlabels": ["road"]}}])

    def _task(self, task: int, query: dict[str, str]) -> dict[str, Any]:
        versions = dict.fromkeys(version for number, version in self.predictions if number == task)
        told = {
            "id": task,
            "data": {"image": self.images.get(task, "")},
            "is_labeled": task in self.labelled,
            "total_annotations": int(task in self.labelled or task in self.half_labelled),
            "predictions_model_versions": ",".join(versions) if query["fields"] == "all" else "",
            # as Label Studio shows it on SQLite: quotes left out, 500 characters
            "predictions_results": ",".join(json.dumps(self.result(task, version)) for version in versions)[
                :500
            ].replace('"', ""),
        }
        return {key: told[key] for key in query["include"].split(",")}

    def _projects(self, page: int, size: int) -> tuple[int, Any]:
        everything = [self.project, *self.more_projects]
        rest = len(everything) > page * size
        more = f"{self.url}/api/projects/?page={page + 1}" if rest else None
        return 200, {"count": len(everything), "next": more, "results": everything[(page - 1) * size : page * size]}

    def _connect(self, body: dict[str, Any]) -> tuple[int, Any]:
        made = self.connect(**{key: value for key, value in body.items() if key != "id"})
        if self.half_made:
            return problem(403, SSRF)
        # Label Studio makes this webhook by itself, without credentials
        self.hook(f"{made['url']}/webhook")
        self.project["model_version"] = made["title"]
        return 201, made


def handler(studio: FakeStudio) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.loads(raw) if raw else None
            url = urlsplit(self.path)
            studio.asked.append((self.command, url.path, body))
            if url.path == "/backend/setup":
                said = {"model_version": studio.served, "missing_labels": [], "unused_labels": []}
                self._send(*(studio.setup or (200, "OK", json.dumps(said).encode())))
                return
            if url.path == "/backend/health":
                said = {"status": "UP", "model": "loading" if studio.loading else "ready"}
                studio.loading = max(0, studio.loading - 1)
                self._send(200, "OK", json.dumps(said).encode())
                return
            if url.path == "/backend/predict":
                tasks = {task["id"] for task in body["tasks"]} if body else set()
                if studio.why is not None and (not studio.lost or tasks & studio.lost):
                    error = {"error": studio.why, "status": 424}
                    self._send(424, studio.why, json.dumps(error).encode())
                else:
                    self._send(200, "OK", b'{"results":[{"result":[],"score":1.0}]}')
                return
            if url.path == "/api/token/refresh/":
                studio.access_tokens.append(jwt("access") + str(len(studio.access_tokens)))
                self._send(200, "OK", json.dumps({"access": studio.access_tokens[-1]}).encode())
                return
            query = {key: ",".join(values) for key, values in parse_qs(url.query).items()}
            status, answer = studio.refusal(self.headers.get("Authorization")) or studio.answer(
                self.command, url.path, query, body
            )
            self._send(status, None, b"" if answer is None else json.dumps(answer).encode())

        do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815

        def _send(self, status: int, reason: str | None, body: bytes) -> None:
            self.send_response(status, reason)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def listening(answers: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Answer HTTP on a free port of loopback; give the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), answers)
    # a request that hangs must not keep the test from ending
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def running(studio: FakeStudio) -> Iterator[None]:
    """Have a Label Studio answer at its ``url``."""
    with listening(handler(studio)) as studio.url:
        yield
