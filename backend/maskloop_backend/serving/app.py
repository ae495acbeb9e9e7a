"""The HTTP interface that Label Studio talks to."""

from __future__ import annotations

import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import falcon
import orjson
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel

from maskloop_converters.errors import MaskloopError

from ..batch.status import stored
from ..loop.label_configs import LabelConfigs
from ..loop.outcome_store import OutcomeError, OutcomeStore
from ..loop.outcomes import Outcome as TaskOutcome
from ..loop.queue import ACTIONS, JOBS_FILE, OTHER_ACTION, JobError, JobQueue
from ..loop.queue import Job as TrainingJob
from ..loop.worker import Studio, Worker, describe, log_tail
from ..registry.store import Registry
from ..studio.errors import public_url, without_queries
from ..studio.label_config import LabelMapping
from ..studio.login import BackendLogin
from ..studio.predictions import PredictionOptions
from . import openapi, schemas
from .auth import names_loopback
from .batching import Batcher
from .cache import PredictionCache
from .limits import Refusal, parse, read_body, reason_phrase
from .live import Live
from .logs import LONGEST, begin_request, log
from .metrics import Metrics
from .models import Models, ModelSource
from .observing import Observer
from .page.forms import Tokens
from .page.gallery import Gallery
from .page.overview import Overview
from .page.resources import Front, add_routes, wants_html
from .pipeline import Job, Outcome, Pipeline
from .projects import Projects, project_id, project_number
from .rollouts import Rollouts
from .settings import Settings

_Body = TypeVar("_Body", bound=BaseModel)

# An answer that is finished this soon is sent with its length; a slower or bigger one is streamed.
WHOLE_SECONDS = 1.0
WHOLE_BYTES = 1 << 20

# Asked for every few seconds by programs, or by the page for itself.
_QUIET = {"/health", "/ready", "/metrics", "/page/running", "/page/pictures/{number:int}/{kind}"}
# Of a project's id in lists that are kept.
LONGEST_ID = 40

# Of a training's log, unless more or less is asked for.
LOG_BYTES = 16 << 10


def known_action(event: schemas.WebhookRequest) -> str:
    """Return the action of an event as it is counted and logged."""
    return event.action if event.action in ACTIONS else OTHER_ACTION


class Admission:
    """How many predict requests may hold a worker thread at once; the other threads stay free for short calls."""

    def __init__(self, limit: int, metrics: Metrics) -> None:
        self._limit = limit
        self._metrics = metrics
        self._changed = threading.Condition()
        self._running = 0
        self._many = 0
        self._closed = False

    def enter(self, *, many: bool = False) -> None:
        """Take a place.

        Args:
            many: for a request of many tasks, which may take long; these leave half of the places to single tasks.

        Raises:
            Refusal: all are taken, or the server is stopping.
        """
        with self._changed:
            if self._closed:
                raise Refusal(503, "The server is stopping, try again in a moment", headers={"Retry-After": "10"})
            limit, what = (max(1, self._limit // 2), "many tasks") if many else (self._limit, "predictions")
            if (self._many if many else self._running) >= limit:
                raise Refusal(
                    503, f"{limit} requests for {what} are running already, try again", headers={"Retry-After": "5"}
                )
            self._running += 1
            self._many += many
            self._metrics.predicting.set(self._running)

    def leave(self, *, many: bool = False) -> None:
        """Give the place back."""
        with self._changed:
            self._running -= 1
            self._many -= many
            self._metrics.predicting.set(self._running)
            self._changed.notify_all()

    def give_way(self, seconds: float) -> None:
        """Wait while requests are inside, so many seconds at most."""
        with self._changed:
            self._changed.wait_for(lambda: self._running == 0 or self._closed, seconds)

    def close(self, timeout: float) -> bool:
        """Let nobody in any more and wait for those inside; return whether all left in time."""
        with self._changed:
            self._closed = True
            return self._changed.wait_for(lambda: self._running == 0, timeout)


class Server:
    """What the resources share: the model, the pipeline and what is remembered of Label Studio."""

    def __init__(self, models: ModelSource, settings: Settings, options: PredictionOptions | None = None) -> None:
        self.settings = settings
        self.options = options or PredictionOptions()
        self.metrics = Metrics()
        self.models = Models(models, self.metrics, settings.models_in_memory)
        self.label_configs = LabelConfigs(settings.home)
        self.projects = Projects(
            studio_url=settings.studio_url,
            studio_token=settings.studio_token,
            policy=settings.policy,
            fetch_seconds=settings.fetch_seconds,
        )
        self.queue = JobQueue(
            settings.home, train_after=settings.train_after if settings.training else None, quiet=settings.quiet
        )
        self.worker = Worker(
            self.queue,
            self.studio,
            effort=settings.effort,
            command=settings.training_command,
            rollout=settings.rollout,
            finished=self._training_over,
        )
        credentials = settings.credentials
        login = BackendLogin(credentials.user, credentials.password) if credentials else None
        self.rollouts = Rollouts(self.queue, self.studio, login)
        self.gallery = Gallery()
        self.observer = Observer(_outcome_store(settings), self.metrics, self._noticed)
        self.draining = False
        self.batcher = Batcher(
            batch_size=settings.batch_size,
            batch_pixels=settings.batch_pixels,
            wait=settings.batch_wait,
            metrics=self.metrics,
        )
        self.pipeline = Pipeline(
            cache=PredictionCache(settings.cache_bytes, self.metrics),
            batcher=self.batcher,
            fetchers=settings.fetchers,
            # two batches and what is being fetched: the model never waits for images, memory stays bounded
            window=2 * settings.batch_size + settings.fetchers,
            keepalive=settings.keepalive,
            metrics=self.metrics,
            image_bytes=settings.image_bytes,
            studio_url=settings.studio_url,
            gallery=self.gallery,
        )
        self.admission = Admission(max(1, settings.threads - settings.reserved_threads), self.metrics)
        self.live: Live | None = None
        if settings.live:
            self.live = Live(
                settings.home,
                self.models.announced,
                self.studio,
                self.projects.fetcher,
                self.admission.give_way,
            )
            self.live.start()
        self.models.look()
        if settings.training:
            self.worker.start()
            if settings.rollout:
                self.rollouts.start()

    def studio(self, project: int) -> Studio | str:
        """Return how to reach a project's Label Studio, or what is missing for that."""
        connection = self.projects.connection(project)
        if connection.url and connection.token:
            return Studio(connection.url, connection.token, self.settings.policy)
        missing = "token" if connection.url else "address" if connection.token else "address and token"
        return (
            f"the {missing} of Label Studio: give --studio-url and MASKLOOP_STUDIO_TOKEN to `maskloop serve`, or open "
            "the project's model settings in Label Studio, which tells both"
        )

    def _training_over(self, job: TrainingJob) -> None:
        self.metrics.jobs_over.labels(job.state).inc()
        if job.started is not None and job.finished is not None:
            self.metrics.job_seconds.observe(job.finished - job.started)
        self.rollouts.wake()

    def job(
        self, tasks: list[dict[str, Any]], label_config: str | None, project: Any, context: dict[str, Any] | None
    ) -> Job:
        """Return a checked request for predictions, after waiting for the model.

        Args:
            tasks: as Label Studio sends them.
            label_config: XML; None takes what the project's last /setup said.
            project: as Label Studio sends it, '5.1795333547'.
            context: a smart tool's clicks or box, None without one.

        Raises:
            Refusal: no label config, one that does not fit the model, or no model.
        """
        xml = label_config or self.projects.schema(project)
        if not xml:
            raise Refusal(400, "label_config is missing and /setup has not been called for this project")
        # What can be known before the model is there is checked before: a wrong label config must not wait for it.
        number = project_number(project)
        announced = self.models.require(number)
        self.projects.mapping(xml, announced, self.models.labels(announced))
        self._note(project, xml)
        served = self.models.get(self.settings.model_wait, number)
        segmenter = served if self.live is None else self.live.of(number, served)
        try:
            mapping = self.projects.mapping(xml, segmenter.version, segmenter.labels)
        except Refusal:
            # a live version of labels that the project had a moment ago
            if segmenter is served:
                raise
            segmenter, mapping = served, self.projects.mapping(xml, served.version, served.labels)
        fetcher = self.projects.fetcher(project)
        return Job(tasks, segmenter, mapping, fetcher, context, self.options, project_id(project)[:LONGEST_ID])

    def answer(
        self, tasks: list[dict[str, Any]], label_config: str, project: Any, context: dict[str, Any] | None = None
    ) -> list[Any]:
        """Return one prediction a task as plain JSON values, [] where its image failed; see :meth:`job`."""
        outcomes = self.pipeline.run(self.job(tasks, label_config, project, context))
        return [orjson.loads(outcome.body) for outcome in outcomes if outcome is not None]

    def runs(self) -> dict[str, str | None]:
        """Return what runs the model, and why."""
        return {"runtime": self.models.runtime, "runtime_reason": self.models.runtime_reason}

    def setup(
        self, project: Any, label_config: str, hostname: str | None, token: str | None
    ) -> tuple[str, LabelMapping]:
        """Remember what Label Studio says of a project; return the version that it gets and how its labels fit.

        Args:
            project: as Label Studio sends it, '5.1795333547'.
            label_config: XML.
            hostname: where Label Studio says it is.
            token: of the project's owner.

        Raises:
            Refusal: a label config that cannot be read or fits nothing, or no model.
        """
        # nothing is remembered of what is no label config
        self.projects.config(label_config)
        self.projects.remember(project, schema=label_config, hostname=hostname, token=token)
        self._note(project, label_config)
        # a training may have waited for the token
        self.worker.wake()
        number = project_number(project)
        version = self.models.require(number)
        mapping = self.projects.mapping(label_config, version, self.models.labels(version))
        if self.live is not None:
            self.live.expect(number)
            version = self.live.version(number, version)
        return version, mapping

    def _note(self, project: Any, label_config: str) -> None:
        """Keep a project's label config: no version may be promoted that lacks what it uses."""
        number = project_number(project)
        if number is None:
            return
        try:
            self.label_configs.remember(number, label_config)
        except OSError as error:
            log(logging.ERROR, "label_config_not_kept", project=number, error=error)

    def notice(self, event: schemas.WebhookRequest) -> TrainingJob | None:
        """Take in a webhook's event; return the project's job that waits or runs, None where there is none.

        Raises:
            Refusal: a training is wanted of a server that does not train, or the event could not be stored.
        """
        if event.action == "START_TRAINING" and not self.settings.training:
            raise Refusal(409, "This backend does not train: it was started with --no-training")
        try:
            job = self.queue.notice(event.model_dump(exclude_unset=True))
        except sqlite3.Error as error:
            raise Refusal(507, f"The event could not be stored: {error}") from error
        self.worker.wake()
        self.metrics.events.labels(known_action(event)).inc()
        if self.live is not None:
            self.live.notice(event.action, event.project_number, event.annotated)
        return job

    def versions(self, project: Any = None) -> list[str]:
        """Return the names of all versions, first the one that a project is served, or the default."""
        version = self.models.announced(project_number(project))
        others = [name for name in self.models.source.versions() if name != version]
        return others if version is None else [version, *others]

    def _noticed(self, outcome: TaskOutcome) -> None:
        share = outcome.off / outcome.pixels if outcome.pixels else 0.0
        self.gallery.submitted(str(outcome.project), str(outcome.task), share)

    def unready(self) -> str | None:
        """Return why no further requests should be sent here, None where they may.

        A server without a model is ready: it answers at once, with what is missing.
        """
        if self.draining:
            return "The server is stopping"
        self.models.look()
        return "The first model is loading" if self.models.state == "loading" else None

    def drain(self, timeout: float) -> bool:
        """Refuse new predictions and wait for the running ones; return whether they ended in time."""
        return self.admission.close(timeout)

    def close(self) -> None:
        """Stop the threads and close the queue; a training that runs goes on."""
        self.draining = True
        self.admission.close(0)
        if self.live is not None:
            self.live.close()
        self.worker.stop()
        self.rollouts.stop()
        self.batcher.close()
        self.pipeline.close()
        self.observer.close()
        self.queue.close()


class App(falcon.App[falcon.Request, falcon.Response]):
    """A WSGI application and the server behind it."""

    def __init__(self, server: Server) -> None:
        super().__init__(middleware=[_Gate(server)])
        self.server = server
        # Falcon has handlers of its own for its HTTPError, which would win over the one for every Exception.
        self.add_error_handler((Exception, falcon.HTTPError), _answer_error)
        tokens, settings = Tokens(), server.settings
        overview = Overview(
            settings.home,
            models=server.models,
            queue=server.queue,
            observer=server.observer,
            gallery=server.gallery,
            tokens=tokens,
            studio_url=settings.studio_url,
        )
        self.add_route("/", _Root(server, Front(overview)))
        add_routes(
            self,
            overview,
            registry=Registry(settings.home),
            queue=server.queue,
            gallery=server.gallery,
            tokens=tokens,
            look=server.models.look,
            wake=server.worker.wake,
        )
        self.add_route("/health", _Health(server))
        self.add_route("/ready", _Ready(server))
        self.add_route("/stats", _Stats(server))
        self.add_route("/setup", _Setup(server))
        self.add_route("/predict", _Predict(server))
        self.add_route("/webhook", _Webhook(server))
        self.add_route("/jobs", _Jobs(server))
        self.add_route("/jobs/{number:int}", _Job(server))
        self.add_route("/batches", _Batches(server))
        self.add_route("/versions", _Versions(server))
        self.add_route("/metrics", _MetricsPage(server))
        self.add_route("/openapi.json", _OpenApi(server))


def create_app(models: ModelSource, settings: Settings, options: PredictionOptions | None = None) -> App:
    """Return the WSGI application; the model begins to load at once, in the background.

    Args:
        models: where model versions come from, see :class:`RegistrySource` and :class:`FixedSource`.
        settings: how the server runs.
        options: how predictions become regions.
    """
    return App(Server(models, settings, options))


def _outcome_store(settings: Settings) -> OutcomeStore | None:
    try:
        return OutcomeStore(settings.home)
    except OutcomeError as error:
        # a damaged statistic must not keep anybody from predicting
        log(logging.ERROR, "outcomes_not_kept", error=error)
        return None


class _Gate:
    """Before each request: credentials. After it: log line and metrics."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        req.context.started = time.perf_counter()
        resp.set_header("X-Request-ID", begin_request(req.get_header("X-Request-ID")))
        credentials = self._server.settings.credentials
        if credentials is None and not names_loopback(req.get_header("Host")):
            raise Refusal(
                403,
                "Without credentials only this machine may ask, as localhost or 127.0.0.1; under another name set "
                "MASKLOOP_BASIC_AUTH_PASSWORD and --basic-auth-user",
            )
        if credentials is not None and not credentials.accepts(req.get_header("Authorization")):
            given = "wrong" if req.get_header("Authorization") else "missing"
            raise Refusal(
                401,
                f"Basic auth credentials are {given}: enter the backend's user and password in the model's connection",
                headers={"WWW-Authenticate": 'Basic realm="maskloop", charset="UTF-8"'},
            )

    def process_response(self, req: falcon.Request, resp: falcon.Response, resource: Any, succeeded: bool) -> None:
        if isinstance(resp.stream, _PredictionStream):
            # its end is the request's end
            resp.stream.on_close(lambda: self._finish(req, resp))
        else:
            self._finish(req, resp)

    def _finish(self, req: falcon.Request, resp: falcon.Response) -> None:
        seconds = time.perf_counter() - req.context.started
        endpoint = req.uri_template or "other"
        status = resp.status_code
        self._server.metrics.requests.labels(endpoint, str(status)).inc()
        self._server.metrics.request_seconds.labels(endpoint).observe(seconds)
        level = logging.WARNING if status >= 400 else logging.DEBUG if endpoint in _QUIET else logging.INFO
        extra = getattr(req.context, "fields", {})
        reason = getattr(req.context, "refused", None)
        log(
            level,
            "request",
            method=req.method,
            endpoint=endpoint,
            status=status,
            seconds=seconds,
            reason=reason,
            **extra,
        )


def _answer_error(req: falcon.Request, resp: falcon.Response, error: Exception, params: Any) -> None:
    """Answer any error: its reason in the status line and again as JSON; never a traceback."""
    logged = None
    if isinstance(error, Refusal):
        logged = error.logged
        status, reason, headers = error.status, error.reason, error.headers
    elif isinstance(error, falcon.HTTPError):
        status, headers = error.status_code, dict(error.headers or {})
        reason = {
            404: f"No such endpoint: {req.path}",
            405: f"{req.method} is not possible here, expected {headers.get('Allow', 'another method')}",
        }.get(status, error.description or error.title or falcon.code_to_http_status(status).partition(" ")[2])
    elif isinstance(error, sqlite3.Error):
        fix = f"; if it stays so, stop the server and move {JOBS_FILE} away"
        status, reason, headers = 503, f"The trainings cannot be read: {error}{fix}", {}
    elif isinstance(error, MaskloopError):
        # raised on purpose, with a message for people
        status, reason, headers = 500, str(error), {}
    else:
        logging.getLogger("maskloop.serving").error("request failed", exc_info=error)
        status, reason, headers = 500, f"The backend failed ({type(error).__name__}); its log says why", {}
    reason = without_queries(reason)[:LONGEST]
    req.context.refused = without_queries(logged or reason)
    resp.stream = None
    resp.status = f"{status} {reason_phrase(reason)}"
    resp.set_headers(headers)
    _json(resp, {"error": reason, "status": status})


def _json(resp: falcon.Response, value: Any) -> None:
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
        _json(resp, {"status": "UP", "model_class": "maskloop", **said})


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
        _json(resp, {"ready": True})


class _Stats(_Resource):
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        project = req.get_param_as_int("project", min_value=0, max_value=(1 << 63) - 1)
        _json(resp, {"project": project, **self._server.observer.statistics(project).to_json()})


class _Versions(_Resource):
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        _json(resp, {"versions": self._server.versions(req.get_param("project")), "message": "ok"})


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
        _json(resp, openapi.document(auth=self._server.settings.credentials is not None))


class _Setup(_Resource):
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        server = self._server
        setup = _request(schemas.SetupRequest, req, server.settings)
        req.context.fields = {"project": project_id(setup.project)}
        version, mapping = server.setup(setup.project, setup.label_config, setup.hostname, setup.access_token)
        # Label Studio reads the version only; `maskloop doctor` reads the rest.
        studio_url = server.projects.studio_url(setup.project)
        _json(
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
        _json(resp, {"status": job.state if job else "recorded", "job": job.id if job else None})


class _Jobs(_Resource):
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        queue = self._server.queue
        _json(resp, {"jobs": [describe(queue, job) for job in queue.jobs()]})


class _Batches(_Resource):
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        _json(resp, {"batches": stored(self._server.settings.home)})


class _Job(_Resource):
    def on_get(self, req: falcon.Request, resp: falcon.Response, number: int) -> None:
        queue = self._server.queue
        size = req.get_param_as_int("log", min_value=0, max_value=1 << 20, default=LOG_BYTES)
        _json(resp, {**describe(queue, _found(queue, number)), "log": log_tail(queue.directory(number), size)})

    def on_delete(self, req: falcon.Request, resp: falcon.Response, number: int) -> None:
        queue = self._server.queue
        _found(queue, number)
        try:
            job = queue.cancel(number)
        except JobError as error:
            raise Refusal(409, str(error)) from error
        self._server.worker.wake()
        resp.status = falcon.HTTP_202
        _json(resp, describe(queue, job))


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
        stream = _PredictionStream(lambda: server.admission.leave(many=many))
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


class _PredictionStream:
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
