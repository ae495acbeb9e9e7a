"""The page's addresses: the page itself, its pictures, the part that changes, and its two buttons."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import falcon

from maskloop_converters.errors import MaskloopError

from ...loop.queue import JobError, JobQueue
from ...registry.history import RegistryError
from ...registry.store import Registry
from ...web.rendering import SCRIPT, STYLE, asset, render
from ..limits import Refusal, reason_phrase
from .forms import Tokens, read_form
from .gallery import Gallery
from .overview import Overview

# Nothing of another host, nothing inline, in no other page's frame; forms lead here only.
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    # it is behind credentials: nothing of it stays anywhere
    "Cache-Control": "no-store",
}


def wants_html(request: falcon.Request) -> bool:
    """Tell whether a browser asks for a page; Label Studio and scripts take JSON or anything."""
    return "text/html" in request.accept


def send(response: falcon.Response, content_type: str, body: str | bytes) -> None:
    """Answer with a part of the page."""
    response.set_headers(_HEADERS)
    response.content_type = content_type
    response.data = body.encode("utf-8") if isinstance(body, str) else body


class Front:
    """GET / of a browser."""

    def __init__(self, overview: Overview) -> None:
        self._overview = overview

    def answer(self, response: falcon.Response) -> None:
        """Show the page."""
        send(response, falcon.MEDIA_HTML, render("page.html", **self._overview.values()))


class Running:
    """GET /page/running: what is said of the training that runs."""

    def __init__(self, overview: Overview) -> None:
        self._overview = overview

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Show it."""
        send(resp, falcon.MEDIA_HTML, render("running.html", **self._overview.trainings()))


class Asset:
    """GET /page/style.css and /page/page.js."""

    _TYPES: ClassVar = {STYLE: "text/css; charset=utf-8", SCRIPT: "text/javascript; charset=utf-8"}

    def __init__(self, name: str) -> None:
        self._name = name

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Send it."""
        send(resp, self._TYPES[self._name], asset(self._name))


class PictureOf:
    """GET /page/pictures/{number}/{kind}."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery

    def on_get(self, req: falcon.Request, resp: falcon.Response, number: int, kind: str) -> None:
        """Draw a picture."""
        picture = self._gallery.picture(number)
        if picture is None or kind not in ("overlay", "confidence"):
            raise Refusal(404, "This picture is not kept any more")
        send(resp, falcon.MEDIA_JPEG, picture.overlay() if kind == "overlay" else picture.unsure())


class _Button:
    """A form's target: does what it says and leads back to the page, or says why not."""

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Do it."""
        try:
            self._do(read_form(req))
        except (Refusal, MaskloopError) as error:
            status, reason = (error.status, error.reason) if isinstance(error, Refusal) else (409, str(error))
            req.context.refused = error.logged if isinstance(error, Refusal) else reason
            send(resp, falcon.MEDIA_HTML, render("refused.html", reason=reason))
            resp.status = f"{status} {reason_phrase(reason)}"
            return
        resp.set_headers(_HEADERS)
        resp.status = falcon.HTTP_303
        # relative: a proxy may have the server under a prefix
        resp.set_header("Location", "../")

    def _do(self, fields: dict[str, str]) -> None:
        raise NotImplementedError


class Rollback(_Button):
    """POST /page/rollback: serve again what was served before."""

    def __init__(self, registry: Registry, tokens: Tokens, look: Callable[[], None]) -> None:
        self._registry = registry
        self._tokens = tokens
        self._look = look

    def _do(self, fields: dict[str, str]) -> None:
        served, whose = fields.get("served", ""), fields.get("project", "")
        self._tokens.check(fields.get("token", ""), "rollback", whose, served)
        # the token is of a project that the page showed, or of the default
        project = int(whose) if whose else None
        # pressed twice, or by two people: the second time something else is served
        current = self._registry.history(project)
        if current is None or current.version != served:
            raise RegistryError(f"{served[:100]} is not served any more; load the page again")
        self._registry.rollback(project=project, reason="rolled back on the page")
        self._look()


class Cancel(_Button):
    """POST /page/cancel: stop a training."""

    def __init__(self, queue: JobQueue, tokens: Tokens, wake: Callable[[], None]) -> None:
        self._queue = queue
        self._tokens = tokens
        self._wake = wake

    def _do(self, fields: dict[str, str]) -> None:
        number = fields.get("job", "")
        self._tokens.check(fields.get("token", ""), "cancel", number)
        if not (number.isascii() and number.isdigit()):
            raise JobError(f"there is no job {number[:20]}")
        self._queue.cancel(int(number))
        self._wake()


def add_routes(
    app: falcon.App[falcon.Request, falcon.Response],
    overview: Overview,
    *,
    registry: Registry,
    queue: JobQueue,
    gallery: Gallery,
    tokens: Tokens,
    look: Callable[[], None],
    wake: Callable[[], None],
) -> None:
    """Add everything below /page.

    Args:
        app: to add to.
        overview: gathers what is shown.
        registry: rolls back.
        queue: cancels.
        gallery: has the pictures.
        tokens: of the forms.
        look: makes the server notice another served version.
        wake: makes the worker notice a cancelled job.
    """
    for name in (STYLE, SCRIPT):
        app.add_route(f"/page/{name}", Asset(name))
    app.add_route("/page/running", Running(overview))
    app.add_route("/page/pictures/{number:int}/{kind}", PictureOf(gallery))
    app.add_route("/page/rollback", Rollback(registry, tokens, look))
    app.add_route("/page/cancel", Cancel(queue, tokens, wake))
