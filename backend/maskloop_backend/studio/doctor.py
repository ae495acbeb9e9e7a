"""What is wrong between Label Studio and the backend, and how to mend it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx

from . import backend, label_config, stale
from .client import Json, StudioClient
from .errors import StudioAuthError, StudioError, last_line, public_text, public_url
from .login import BackendLogin

Level = Literal["ok", "warning", "problem"]
TESTED_VERSION = "1.23"
# From here on the editor takes long with brushes: 48 megapixels took 68 s to submit.
LARGE_PIXELS = 16_000_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: 'ok', 'warning' (works, but not as well as it could) or 'problem'.
        subject: what was looked at ('token', 'webhook').
        message: what was found.
        fix: what to do, '' where there is nothing to do.
    """

    level: Level
    subject: str
    message: str
    fix: str = ""


def examine(client: StudioClient, project: str | int | None, *, login: BackendLogin | None = None) -> Iterator[Finding]:
    """Yield findings, from the outside in; stops where nothing more can be learned.

    Args:
        client: of Label Studio.
        project: id or title; None looks at Label Studio and the token only.
        login: the backend's credentials, to ask it directly.
    """
    try:
        version = client.version()
        user = client.user()
    except StudioAuthError as error:
        yield Finding("problem", "token", str(error))
        return
    except StudioError as error:
        yield Finding("problem", "Label Studio", str(error))
        return
    yield _studio(client, version)
    yield Finding("ok", "token", f"{client.auth.kind} token of user {user.get('id')} works")
    if project is None:
        yield from _handed_token(client)
        return
    try:
        found = client.project(project)
        yield Finding("ok", "project", f"{found['id']} with {found.get('task_number', 0)} tasks")
        predicts = False
        for finding in _project(client, found, login):
            predicts |= (finding.level, finding.subject) == ("ok", "prediction")
            yield finding
        if not predicts:  # a backend that gets at the images has a token of its own, or wants none
            yield from _handed_token(client)
    except StudioError as error:
        yield Finding("problem", "project", str(error))


def _handed_token(client: StudioClient) -> Iterator[Finding]:
    """Say whether the token that Label Studio hands to backends is one that it takes itself."""
    try:
        settings = client.token_settings()
    except StudioError:
        return  # for administrators only
    if settings.get("legacy_api_tokens_enabled") is False:
        yield Finding(
            "warning",
            "token",
            "legacy tokens are switched off, and Label Studio hands a legacy token to the backend: images are refused",
            "start `maskloop serve` with a personal access token in MASKLOOP_STUDIO_TOKEN (fine if it was)",
        )


def _studio(client: StudioClient, version: str) -> Finding:
    shown = f"{version} at {public_url(client.url)}"
    if version.startswith(TESTED_VERSION + "."):
        return Finding("ok", "Label Studio", shown)
    return Finding(
        "warning", "Label Studio", f"{shown}; maskloop is tested with {TESTED_VERSION}", "expect small differences"
    )


def _project(client: StudioClient, project: Json, login: BackendLogin | None) -> Iterator[Finding]:
    try:
        label_config.parse(str(project.get("label_config") or ""))
    except ValueError as error:
        yield Finding(
            "problem", "label config", str(error), "add a BrushLabels tag under Settings > Labeling Interface"
        )
    connections = client.connections(int(project["id"]))
    if not connections:
        yield Finding("problem", "connection", "no ML backend is connected", "`maskloop connect` connects it")
        return
    connection = connections[0]
    url = str(connection["url"]).rstrip("/")
    if len(connections) > 1:
        yield Finding(
            "warning",
            "connection",
            f"{len(connections)} backends are connected; Label Studio uses the first only, {public_url(url)}",
            "`maskloop connect --replace` removes the others",
        )
    yield from _connection(connection, url)
    yield from _backend(project, connection, url, login)
    fails = None
    for finding in _prediction(client, project, url, login):
        fails = finding if finding.level == "problem" else fails
        yield finding
    yield from _sizes(client, project, connection)
    yield from _webhooks(client, project, connection, url, login)
    yield from _versions(
        client, project, connection, "mend that first" if fails else "`maskloop connect` puts it right"
    )


def _connection(connection: Json, url: str) -> Iterator[Finding]:
    if connection.get("state") == "CO":
        yield Finding("ok", "connection", f"Label Studio reaches the backend at {public_url(url)}")
        return
    reason = last_line(str(connection.get("error_message") or "")) or "no reason given"
    fix = "is `maskloop serve` running, and does its address hold from where Label Studio runs?"
    if "reserved network address" in reason:
        fix = "start Label Studio with SSRF_PROTECTION_ENABLED=false and ML_BLOCK_LOCAL_IP=false"
    elif re.search(r"\b401\b", reason) or "authentication" in reason:
        fix = "run `maskloop connect` with the backend's user and password"
    elif "localhost" in url or "127.0.0.1" in url:
        fix += " In Docker, localhost is the container itself: use the service's name"
    yield Finding("problem", "connection", f"Label Studio cannot use {public_url(url)}: {reason}", fix)


def _backend(project: Json, connection: Json, url: str, login: BackendLogin | None) -> Iterator[Finding]:
    """Ask the backend directly, as Label Studio would; it may be out of reach from here and still work."""
    try:
        answer = backend.setup(url, project, login)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        yield Finding(
            "warning" if connection.get("state") == "CO" else "problem",
            "backend",
            f"not reachable from here at {public_url(url)} ({type(error).__name__})",
            "fine if only Label Studio's network reaches it; else start `maskloop serve`",
        )
        return
    if answer.status_code == 401:
        yield Finding(
            "warning",
            "backend",
            "wants basic auth, which was not given here" if login is None else "refuses this user and password",
            "pass --basic-auth-user and MASKLOOP_BASIC_AUTH_PASSWORD",
        )
        return
    if answer.is_error:
        fix = "change the labels under Settings > Labeling Interface, or serve a model that has them"
        if answer.status_code != 422:
            fix = "is it a maskloop? Its log says what is wrong"
        reason = public_text(answer.reason_phrase)
        yield Finding("problem", "backend", f"answers {answer.status_code} to /setup: {reason}", fix)
        return
    said = backend.said(answer)
    served = said.get("model_version")
    if not served:
        yield Finding(
            "problem",
            "backend",
            f"what answers at {public_url(url)} names no model version",
            "is it a maskloop? Start `maskloop serve` there, or connect the address where it runs",
        )
        return
    if connection.get("state") == "CO" and served != connection.get("model_version"):
        yield Finding(
            "warning",
            "backend",
            f"serves {served} when asked from here, Label Studio heard {connection.get('model_version')}",
            "the model has just changed, or this address leads to two backends; run `maskloop doctor` again",
        )
    else:
        whose = ", this project's own" if said.get("own_version") else ", its default"
        yield Finding("ok", "backend", f"serves {served}{whose if 'own_version' in said else ''}")
    yield from _hostname(said, url)
    if runtime := said.get("runtime"):
        yield Finding("ok", "runtime", f"{runtime}: {said.get('runtime_reason') or 'it does not say why'}")
    if missing := said.get("missing_labels"):
        yield Finding(
            "warning",
            "labels",
            f"classes of the model without a label in the project, not pre-filled: {', '.join(missing)}",
            'add the labels, or predicted_values="..." to labels that stand for them',
        )
    if unused := said.get("unused_labels"):
        yield Finding(
            "warning",
            "labels",
            f"labels that the model does not know, drawn by annotators only: {', '.join(unused)}",
            "train a model on annotations that have them",
        )
    for note in said.get("notes", ()):
        yield Finding("ok", "labels", note)
    if not missing and not unused:
        yield Finding("ok", "labels", "each class of the model has its label")


def _hostname(said: dict[str, Any], url: str) -> Iterator[Finding]:
    """Say whether the backend can reach Label Studio, for the images, at the address that it was given."""
    if "studio_url" not in said:
        return
    studio = said["studio_url"]
    fix = "start Label Studio with LABEL_STUDIO_HOST, or `maskloop serve` with --studio-url, as the backend reaches it"
    if not studio:
        yield Finding("warning", "hostname", "the backend does not know yet where Label Studio is", fix)
    elif _is_loopback(studio) and not _is_loopback(url):
        yield Finding(
            "warning",
            "hostname",
            f"the backend at {public_url(url)} fetches images from {studio}, which is its own machine",
            fix,
        )
    else:
        yield Finding("ok", "hostname", f"the backend fetches images from {studio}")


def _prediction(client: StudioClient, project: Json, url: str, login: BackendLogin | None) -> Iterator[Finding]:
    """Have the backend predict one task: whether its token is taken and its images can be had shows there alone."""
    if (task := _a_task(client, project)) is None:
        return
    reason = backend.why_not(url, project, login, task)
    if reason is None:
        return
    if not reason:
        yield Finding("ok", "prediction", f"the backend makes one of task {task.get('id')}")
        return
    fix = "the backend's log says more"
    if re.search(r"HTTP 40[13]", reason) or "refuses" in reason:
        fix = (
            "start `maskloop serve` with a token that is valid now in MASKLOOP_STUDIO_TOKEN (was it rotated or revoked?) "
            "and with --studio-url"
        )
    yield Finding("problem", "prediction", f"the backend makes none: {reason}", fix)


def _a_task(client: StudioClient, project: Json) -> Json | None:
    """Return a task that nobody annotated where there is one, else any."""
    states = client.task_states(int(project["id"]))
    chosen = next((state for state in states if not state.annotations), states[0] if states else None)
    return None if chosen is None else client.task(chosen.id)


def _sizes(client: StudioClient, project: Json, connection: Json) -> Iterator[Finding]:
    """Warn of images that are too large to be labelled with brushes, as far as a stored prediction tells."""
    try:
        config = label_config.parse(str(project.get("label_config") or ""))
    except ValueError:
        return
    version = str(connection.get("model_version") or "")
    states = [state for state in client.task_states(int(project["id"])) if version in state.versions]
    items = [
        item
        for state in states[:1]
        for prediction in client.predictions(state.id, version)
        for item in prediction.get("result") or ()
        if isinstance(item, dict)
    ]
    width, height = (items[0].get(f"original_{side}") or 0 for side in ("width", "height")) if items else (0, 0)
    if width * height <= LARGE_PIXELS:
        return
    brushes = [control.described for control in config.controls if control.kind == "brush" and not control.skip]
    shown = f"images of {width} x {height} pixels"
    if brushes:
        yield Finding(
            "warning",
            "images",
            f"{shown} with {brushes[0]}: the editor writes every pixel of a brush, and submitting takes about a minute",
            "use BitmaskLabels, whose masks are small PNGs, or images of half the size",
        )
    yield Finding(
        "warning",
        "images",
        f"{shown} are far larger than what networks are trained on: a model that sees them at full size finds little",
        "train with --size (2048, say): the version then shrinks larger images before it looks at them",
    )


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in {"localhost", "::1"} or host.startswith("127.")


def _webhooks(
    client: StudioClient, project: Json, connection: Json, url: str, login: BackendLogin | None
) -> Iterator[Finding]:
    hooks = [hook for hook in client.webhooks(int(project["id"])) if hook["url"].rstrip("/") == f"{url}/webhook"]
    fix = "`maskloop connect` puts it right"
    authorization = (hooks[0].get("headers") or {}).get("Authorization") if hooks else None
    if not hooks:
        yield Finding("problem", "webhook", "Label Studio does not tell the backend of new annotations", fix)
    elif len(hooks) > 1:
        yield Finding("problem", "webhook", f"{len(hooks)} webhooks to the backend: every event arrives as often", fix)
    elif not hooks[0].get("is_active"):
        yield Finding("problem", "webhook", "the webhook to the backend is switched off", fix)
    elif not hooks[0].get("send_payload", True) or not hooks[0].get("send_for_all_actions", True):
        yield Finding("problem", "webhook", "does not send every event with its content", fix)
    elif connection.get("auth_method") == "BASIC_AUTH" and not authorization:
        yield Finding("problem", "webhook", "carries no credentials: the backend refuses its events with 401", fix)
    elif login is not None and authorization != login.header:
        yield Finding("problem", "webhook", "carries other credentials than those given here", fix)
    else:
        yield Finding("ok", "webhook", "one, active")


def _versions(client: StudioClient, project: Json, connection: Json, fetch: str) -> Iterator[Finding]:
    served, title = connection.get("model_version"), connection.get("title")
    selected = client.project(int(project["id"])).get("model_version")
    fix = "`maskloop connect` puts it right"
    if not served:
        if connection.get("state") == "CO":
            yield Finding(
                "problem", "version", "the backend told Label Studio no model version", "is a model served? See its log"
            )
        return
    if title != served:
        yield Finding(
            "problem",
            "version",
            f"the connection's title is {title!r}, the backend serves {served!r}: uncertainty sampling is random",
            fix,
        )
    elif selected != served:
        yield Finding(
            "problem",
            "version",
            f"the project shows predictions of {selected or 'no version'!r}, the backend serves {served!r}",
            fix,
        )
    else:
        yield Finding("ok", "version", f"{served} everywhere")
    counts = client.model_versions(int(project["id"]))
    tasks, current = int(project.get("task_number") or 0), counts.get(str(served), 0)
    if current < tasks:
        yield Finding(
            "warning", "predictions", f"{tasks - current} of {tasks} tasks have none of the served version", fetch
        )
    elif current > tasks:
        yield Finding(
            "warning",
            "predictions",
            f"{current} of the served version for {tasks} tasks: some tasks have it more than once",
            "Label Studio stores one for each time that a task is opened at once; annotators see the newest",
        )
    else:
        yield Finding("ok", "predictions", f"{current} of the served version, {tasks} tasks")
    # those that an annotation was made from stay: what was changed in them is learned from
    waiting = [task for task in client.task_states(int(project["id"])) if not task.annotations]
    old = stale.find(client, project, str(served), waiting)
    if old.tasks:
        yield Finding(
            "warning",
            "predictions",
            str(old),
            f"`maskloop rollout {project['id']}` fetches them anew",
        )
    if others := {version: count for version, count in counts.items() if version != served}:
        shown = ", ".join(f"{count} of {version}" for version, count in others.items())
        yield Finding(
            "warning",
            "predictions",
            f"older ones are kept too: {shown}",
            "they make requests larger; `maskloop rollout --remove-old` deletes those of tasks that nobody annotated, "
            "Settings > Predictions all of a version",
        )
