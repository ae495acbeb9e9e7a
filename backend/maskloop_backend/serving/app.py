"""The HTTP interface that Label Studio talks to: routes, credentials, errors as status lines, a log line a request."""

from __future__ import annotations

import logging
import sqlite3
import time
from typing import Any

import falcon

from maskloop_converters.errors import MaskloopError

from ..loop.queue import JOBS_FILE
from ..registry.store import Registry
from ..studio.errors import without_queries
from ..studio.predictions import PredictionOptions
from . import resources
from .auth import names_loopback
from .limits import Refusal, reason_phrase
from .logs import LONGEST, begin_request, log
from .models import ModelSource
from .page import resources as page
from .page.forms import Tokens
from .page.overview import Overview
from .page.resources import Front
from .resources import PredictionStream, answer_json
from .service import Server
from .settings import Settings

# Asked for every few seconds by programs, or by the page for itself.
_QUIET = {"/health", "/ready", "/metrics", "/page/running", "/page/pictures/{number:int}/{kind}"}


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
            studio_url=settings.studio_public_url or settings.studio_url,
        )
        resources.add_routes(self, server, Front(overview))
        page.add_routes(
            self,
            overview,
            registry=Registry(settings.home),
            queue=server.queue,
            gallery=server.gallery,
            tokens=tokens,
            look=server.models.look,
            wake=server.worker.wake,
        )


def create_app(models: ModelSource, settings: Settings, options: PredictionOptions | None = None) -> App:
    """Return the WSGI application; the model begins to load at once, in the background.

    Args:
        models: where model versions come from, see :class:`RegistrySource` and :class:`FixedSource`.
        settings: how the server runs.
        options: how predictions become regions.
    """
    return App(Server(models, settings, options))


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
        if isinstance(resp.stream, PredictionStream):
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
    answer_json(resp, {"error": reason, "status": status})
