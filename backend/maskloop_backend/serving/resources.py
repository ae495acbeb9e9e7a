"""The endpoints that Label Studio, operators and monitors ask; the page's own are in page/resources.py."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import falcon
import orjson
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel

from ..batch.status import StatusError, stored
from ..loop.outcome_store import OutcomeError
from ..loop.queue import Job as TrainingJob
from ..loop.queue import JobError, JobQueue
from ..loop.worker import describe, log_tail
from ..studio.errors import public_url
from . import openapi, schemas
from .limits import Refusal, parse, read_body
from .page.resources import Front, wants_html
from .pipeline import Outcome
from .projects import project_id, project_number
from .service import Server, known_action
from .settings import Settings

_Body = TypeVar("_Body", bound=BaseModel)

# An answer that is finished this soon is sent with its length; a slower or bigger one is streamed.
WHOLE_SECONDS = 1.0
WHOLE_BYTES = 1 << 20

# Of a training's log, unless more or less is asked for.
LOG_BYTES = 16 << 10


def answer_json(resp: falcon.Response, value: Any) -> None:
    """Answer with a value as JSON."""
    resp.data = orjson.dumps(value)
    resp.content_type = falcon.MEDIA_JSON


def _request(model: type[_Body], req: falcon.Request, settings: Settings) -> _Body:
    limit = settings.body_limit(req.path)
    return parse(model, read_body(req, limit), limit)


class _Resource:
    def __init__(self, server: Server) -> None:
        self._server = server


class _Health(_Resource):
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        models = self._server.models
        version = models.announced()
        live = self._server.live
        projects = {str(number): own for number, own in models.own.items()}
        said = {"model": models.state, "model_version": version, "projects": projects, **self._server.runs()}
        said["live"] = None if live is None else "on" if live.on else "off"
        answer_json(resp, {"status": "UP", "model_class": "maskloop", **said})


class _Root(_Resource):
    """What a browser opens is the page; Label Studio's older backends answered their health here."""

    def __init__(self, server: Server, front: Front) -> None:
        super().__init__(server)
        self._front = front

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        if wants_html(req):
            self._front.answer(resp)
        else:
            _Health(self._server).on_get(req, resp)


class _Ready(_Resource):
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        reason = self._server.unready()
        if reason is not None:
            raise Refusal(503, reason, headers={"Retry-After": "5"})
        answer_json(resp, {"ready": True})


class _Stats(_Resource):
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        project = req.get_param_as_int("project", min_value=0, max_value=(1 << 63) - 1)
        try:
            found = self._server.observer.statistics(project)
        except OutcomeError as error:
            raise Refusal(503, f"The statistics cannot be read: {error}") from error
        answer_json(resp, {"project": project, **found.to_json()})


class _Versions(_Resource):
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        answer_json(resp, {"versions": self._server.versions(req.get_param("project")), "message": "ok"})


class _MetricsPage(_Resource):
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        try:
            counts: dict[str, float] = dict(self._server.queue.counts())
        except sqlite3.Error:
            # damaged or locked; whoever asks for the jobs hears of it, the other figures are as good as ever
            counts = dict.fromkeys(("queued", "running"), math.nan)
        for state in ("queued", "running"):
            self._server.metrics.jobs.labels(state).set(counts.get(state, 0))
        resp.data = generate_latest(self._server.metrics.registry)
        resp.content_type = CONTENT_TYPE_LATEST


class _OpenApi(_Resource):
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        answer_json(resp, openapi.document(auth=self._server.settings.credentials is not None))


class _Setup(_Resource):
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        server = self._server
        setup = _request(schemas.SetupRequest, req, server.settings)
        req.context.fields = {"project": project_id(setup.project)}
        version, mapping = server.setup(setup.project, setup.label_config, setup.hostname, setup.access_token)
        # Label Studio reads the version only; `maskloop doctor` reads the rest.
        studio_url = server.projects.studio_url(setup.project)
        answer_json(
            resp,
            {
                "model_version": version,
                **server.runs(),
                "missing_labels": mapping.missing,
                "unused_labels": mapping.unused,
                "notes": mapping.notes,
                "own_version": server.models.has_own(project_number(setup.project)),
                "studio_url": public_url(studio_url) if studio_url else None,
            },
        )


class _Webhook(_Resource):
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        server = self._server
        limit = server.settings.body_limit(req.path)
        body = read_body(req, limit)
        event = parse(schemas.WebhookRequest, body, limit)
        req.context.fields = {"action": known_action(event)}
        job = server.notice(event)
        server.observer.take(event.action, body)
        resp.status = falcon.HTTP_201
        answer_json(resp, {"status": job.state if job else "recorded", "job": job.id if job else None})


class _Jobs(_Resource):
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        queue = self._server.queue
        answer_json(resp, {"jobs": [describe(queue, job) for job in queue.jobs()]})


class _Batches(_Resource):
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        try:
            found = stored(self._server.settings.home)
        except StatusError as error:
            raise Refusal(503, f"The labellings cannot be read: {error}") from error
        answer_json(resp, {"batches": found})


class _Job(_Resource):
    def on_get(self, req: falcon.Request, resp: falcon.Response, number: int) -> None:
        queue = self._server.queue
        size = req.get_param_as_int("log", min_value=0, max_value=1 << 20, default=LOG_BYTES)
        answer_json(resp, {**describe(queue, _found(queue, number)), "log": log_tail(queue.directory(number), size)})

    def on_delete(self, req: falcon.Request, resp: falcon.Response, number: int) -> None:
        queue = self._server.queue
        _found(queue, number)
        try:
            job = queue.cancel(number)
        except JobError as error:
            raise Refusal(409, str(error)) from error
        self._server.worker.wake()
        resp.status = falcon.HTTP_202
        answer_json(resp, describe(queue, job))


def _found(queue: JobQueue, number: int) -> TrainingJob:
    try:
        return queue.job(number)
    except JobError as error:
        raise Refusal(404, str(error)) from error


class _Predict(_Resource):
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        server = self._server
        request = _request(schemas.PredictRequest, req, server.settings)
        context = request.params.context if request.params else None
        req.context.fields = {
            "project": project_id(request.project),
            "tasks": len(request.tasks),
            "task": request.tasks[0].get("id") if len(request.tasks) == 1 else None,
            "interactive": True if context else None,
        }
        if len(request.tasks) > server.settings.max_tasks:
            raise Refusal(
                413, f"{len(request.tasks)} tasks are over the limit of {server.settings.max_tasks}; select fewer tasks"
            )
        many = len(request.tasks) > 1
        server.admission.enter(many=many)
        stream = PredictionStream(lambda: server.admission.leave(many=many))
        try:
            job = server.job(request.tasks, request.label_config, request.project, context)
            whole = stream.begin(server.pipeline.run(job), strict=context is not None, settings=server.settings)
        except BaseException:
            stream.close()
            raise
        resp.content_type = falcon.MEDIA_JSON
        if whole is None:
            resp.stream = stream
        else:
            stream.close()
            resp.data = whole


class PredictionStream:
    """The body of an answer to /predict, result by result.

    White space between them keeps the connection open while nothing is ready: Label Studio gives up when it has heard
    nothing for 100 s. The WSGI server calls :meth:`close` when it is through or the client has gone.
    """

    def __init__(self, leave: Callable[[], None]) -> None:
        self._on_close = [leave]
        self._outcomes: Iterator[Outcome | None] = iter(())
        self._parts: list[bytes] = []
        self._count = 0

    def begin(self, outcomes: Iterator[Outcome | None], *, strict: bool, settings: Settings) -> bytes | None:
        """Take the first outcomes; return the whole body if it is complete soon, None if it must be streamed.

        Args:
            outcomes: what :meth:`Pipeline.run` yields.
            strict: a failed task fails the request, as long as the status can still be set: a smart tool shows the
                reason to the annotator who clicked.
            settings: keepalive and patience.

        Raises:
            Refusal: strict, and the task failed.
        """
        self._outcomes = outcomes
        self._parts.append(b'{"results":[')
        deadline = time.monotonic() + (settings.patience if strict else WHOLE_SECONDS)
        size = 0
        for outcome in outcomes:
            if outcome is not None:
                if strict and outcome.failure is not None:
                    raise Refusal(424, outcome.failure)
                self._parts.append(self._part(outcome))
                size += len(outcome.body)
            if time.monotonic() >= deadline or size > WHOLE_BYTES:
                return None
        return b"".join([*self._parts, b"]}"])

    def on_close(self, function: Callable[[], None]) -> None:
        """Call a function when the answer is through."""
        self._on_close.append(function)

    def close(self) -> None:
        """Drop what is not computed yet and give the worker's place back; the second call does nothing."""
        functions, self._on_close = self._on_close, []
        close = getattr(self._outcomes, "close", None)
        if close is not None:
            close()
        for function in functions:
            function()

    def __iter__(self) -> Iterator[bytes]:
        yield b"".join(self._parts)
        for outcome in self._outcomes:
            yield b" " if outcome is None else self._part(outcome)
        yield b"]}"

    def _part(self, outcome: Outcome) -> bytes:
        self._count += 1
        return outcome.body if self._count == 1 else b"," + outcome.body


def add_routes(app: falcon.App[falcon.Request, falcon.Response], server: Server, front: Front) -> None:
    """Add the endpoints to an application.

    Args:
        app: the application.
        server: answers.
        front: the page, which a browser gets at the root.
    """
    app.add_route("/", _Root(server, front))
    app.add_route("/health", _Health(server))
    app.add_route("/ready", _Ready(server))
    app.add_route("/stats", _Stats(server))
    app.add_route("/setup", _Setup(server))
    app.add_route("/predict", _Predict(server))
    app.add_route("/webhook", _Webhook(server))
    app.add_route("/jobs", _Jobs(server))
    app.add_route("/jobs/{number:int}", _Job(server))
    app.add_route("/batches", _Batches(server))
    app.add_route("/versions", _Versions(server))
    app.add_route("/metrics", _MetricsPage(server))
    app.add_route("/openapi.json", _OpenApi(server))
