"""Connect a project to the backend so that everything works: predictions, uncertainty sampling, webhooks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from maskloop_converters.errors import LabelError

from . import backend, label_config, stale
from .client import Json, StudioClient
from .errors import StudioError, http_address, last_line, public_url
from .login import BackendLogin

# Tasks that Label Studio sends in one request: enough for full batches, few enough for progress and its time limits.
CHUNK = 32
# Tasks without a prediction that the backend is asked about.
_ASKED = 5

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Connected:
    """What connecting did.

    Attributes:
        project: id.
        title: of the project.
        connection: id of the ML connection.
        model_version: that the backend serves, and the connection's title.
        tasks: number of tasks in the project.
        tasks_with_predictions: how many have a prediction of this version now.
        changes: what was done, one line each.
        notes: what of the label config does not fit the model, or is left alone, one line each.
        reasons: why tasks have no prediction, as far as the backend says; only some are asked for.
    """

    project: int
    title: str
    connection: int
    model_version: str
    tasks: int
    tasks_with_predictions: int
    changes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


def connect(
    client: StudioClient,
    project: str | int,
    backend_url: str,
    *,
    login: BackendLogin | None = None,
    interactive: bool = False,
    replace: bool = False,
    retrieve: bool = True,
    progress: Progress = lambda done, total: None,
) -> Connected:
    """Connect a project to a backend, or put an existing connection right; repeating it changes nothing.

    The connection's title becomes the model version: Label Studio compares its project's selected version, which is that
    title, with the version in each prediction, and falls back to random order when they differ.

    Args:
        client: of Label Studio.
        project: id or exact title.
        backend_url: where Label Studio reaches the backend.
        login: credentials of the backend, also given to Label Studio's webhook, which carries none by itself.
        interactive: offer the model as a smart tool in the editor.
        replace: remove the project's connections to other backends and their webhooks; predictions stay.
        retrieve: fetch predictions for all tasks now.
        progress: called with (tasks done, all tasks) while predictions are retrieved.

    Raises:
        StudioError: Label Studio or the backend refuses, or the label config cannot be pre-filled; the message says the
            fix. In the last case nothing was changed.
    """
    url = http_address(backend_url, "--backend-url")
    found = client.project(project)
    number = int(found["id"])
    try:
        config = label_config.parse(str(found.get("label_config") or ""))
    except LabelError as error:
        raise StudioError(
            f"project {number} cannot be pre-filled: {error}; see Settings > Labeling Interface"
        ) from error
    changes: list[str] = []
    if replace:
        _remove_others(client, number, url, changes)
    connection = _connection(client, number, url, login, interactive, changes)
    version = str(connection.get("model_version") or "")
    if not version:
        reason = last_line(str(connection.get("error_message") or "")) or "is it a maskloop?"
        raise StudioError(f"the backend at {public_url(url)} told Label Studio no model version: {reason}")
    if connection["title"] != version:
        values = connection_values(number, url, login, interactive, version)
        connection = client.update_connection(int(connection["id"]), values)
        changes.append(f"title of the connection set to {version}")
    _put_webhook_right(client, number, url, login, changes)
    if client.project(number).get("model_version") != version:
        client.update_project(number, model_version=version)
        changes.append(f"the project shows predictions of {version}")
    notes = _notes(url, found, login, config)
    tasks = client.task_ids(number)
    if retrieve:
        _remove_stale(client, found, version, changes)
        # Label Studio gives up on a backend that answers late, keeps that to itself, and goes on to the next tasks
        backend.await_model(url, login)
        before = client.model_versions(number).get(version, 0)
        retrieve_predictions(client, number, tasks, progress=progress)
        gained = client.model_versions(number).get(version, 0) - before
        if gained:
            changes.append(f"predictions of {gained} tasks retrieved")
    have = min(len(tasks), client.model_versions(number).get(version, 0))
    return Connected(
        project=number,
        title=str(found["title"]),
        connection=int(connection["id"]),
        model_version=version,
        tasks=len(tasks),
        tasks_with_predictions=have,
        changes=tuple(changes),
        notes=tuple(notes),
        reasons=why_none(client, url, found, login, version) if retrieve and have < len(tasks) else (),
    )


def why_none(
    client: StudioClient, url: str, project: Json, login: BackendLogin | None, version: str
) -> tuple[str, ...]:
    """Return why some of a project's open tasks have no prediction of a version, as far as the backend says."""
    states = client.task_states(int(project["id"]))
    lacking = [task.id for task in states if version not in task.versions and not task.labelled][:_ASKED]
    return tuple(backend.reasons(url, project, login, [client.task(task) for task in lacking]))


def retrieve_predictions(
    client: StudioClient, project: int, tasks: list[int], *, progress: Progress = lambda done, total: None
) -> None:
    """Have Label Studio fetch and store the current version's predictions of tasks, some at a time."""
    progress(0, len(tasks))
    for start in range(0, len(tasks), CHUNK):
        client.retrieve_predictions(project, tasks[start : start + CHUNK])
        progress(min(start + CHUNK, len(tasks)), len(tasks))


def _notes(url: str, project: Json, login: BackendLogin | None, config: label_config.LabelConfig) -> list[str]:
    """Return what of the label config does not fit the model; without the backend, what the config alone says."""
    try:
        answer = backend.said(backend.setup(url, project, login))
    except (httpx.HTTPError, httpx.InvalidURL):
        answer = {}
    return backend.notes(answer) if answer.get("model_version") else list(config.notes)


def _remove_stale(client: StudioClient, project: Json, version: str, changes: list[str]) -> None:
    """Delete predictions that were made for another label config, of tasks that nobody annotated."""
    states = [task for task in client.task_states(int(project["id"])) if not task.annotations]
    found = stale.find(client, project, version, states)
    if found.tasks:
        stale.remove(client, found, version)
        changes.append(f"{found}: fetched anew")


def _remove_others(client: StudioClient, project: int, url: str, changes: list[str]) -> None:
    """Remove the project's connections to other backends, and what reports to those."""
    for connection in client.connections(project):
        other = connection["url"].rstrip("/")
        if other == url:
            continue
        client.delete_connection(int(connection["id"]))
        for hook in client.webhooks(project):
            if hook["url"].rstrip("/") == f"{other}/webhook":
                client.delete_webhook(int(hook["id"]))
        changes.append(f"connection to {public_url(other)} removed")


def _connection(
    client: StudioClient,
    project: int,
    url: str,
    login: BackendLogin | None,
    interactive: bool,
    changes: list[str],
) -> Json:
    """Return the project's connection to the backend, made or brought up to date."""
    connections = client.connections(project)
    ours = [connection for connection in connections if connection["url"].rstrip("/") == url]
    others = [connection for connection in connections if connection not in ours]
    if others and (not ours or others[0]["id"] < ours[0]["id"]):
        shown = ", ".join(f"{c['id']} ({public_url(c['url'])})" for c in others)
        raise StudioError(
            f"project {project} has another ML connection, and Label Studio always uses its first one: {shown}. "
            "Connect again with --replace to remove it"
        )
    for extra in ours[1:]:
        client.delete_connection(int(extra["id"]))
        changes.append(f"duplicate connection {extra['id']} removed")
    try:
        if ours:
            title = str(ours[0]["title"])
            return client.update_connection(
                int(ours[0]["id"]), connection_values(project, url, login, interactive, title)
            )
        made = client.create_connection(connection_values(project, url, login, interactive, "maskloop"))
    except StudioError as error:
        # A refused address can leave a connection behind that looks healthy but has no webhook.
        known = {connection["id"] for connection in connections}
        with contextlib.suppress(StudioError):  # what went wrong first is what counts
            for left in client.connections(project):
                if left["id"] not in known and left["url"].rstrip("/") == url:
                    client.delete_connection(int(left["id"]))
        raise StudioError(f"{error}{_connection_fix(str(error), url)}", status=error.status) from error
    changes.append(f"connected to {public_url(url)}")
    return made


def connection_values(project: int, url: str, login: BackendLogin | None, interactive: bool, title: str) -> Json:
    """Return what Label Studio must be told of a connection, all of it at every change."""
    values: dict[str, Any] = {"project": project, "url": url, "title": title, "is_interactive": interactive}
    if login is not None:
        values |= {"auth_method": "BASIC_AUTH", "basic_auth_user": login.user, "basic_auth_pass": login.password}
    else:
        values |= {"auth_method": "NONE"}
    return values


def _put_webhook_right(
    client: StudioClient, project: int, url: str, login: BackendLogin | None, changes: list[str]
) -> None:
    """Leave exactly one active webhook to the backend, with its credentials."""
    address = f"{url}/webhook"
    headers = {} if login is None else {"Authorization": login.header}
    ours = [hook for hook in client.webhooks(project) if hook["url"].rstrip("/") == address]
    for extra in ours[1:]:
        client.delete_webhook(int(extra["id"]))
        changes.append(f"duplicate webhook {extra['id']} removed")
    wanted = {"is_active": True, "send_payload": True, "send_for_all_actions": True, "headers": headers}
    if not ours:
        client.create_webhook({"project": project, "url": address, **wanted})
        changes.append("webhook made")
    elif any(ours[0].get(key) != value for key, value in wanted.items()):
        client.update_webhook(int(ours[0]["id"]), wanted)
        changes.append("webhook activated and given the backend's credentials" if login else "webhook activated")


def _connection_fix(message: str, url: str) -> str:
    if "reserved network address" in message:
        return (
            ". Label Studio blocks private addresses: start it with SSRF_PROTECTION_ENABLED=false and "
            "ML_BLOCK_LOCAL_IP=false (or USE_DEFAULT_BANNED_SUBNETS=false)"
        )
    if "authentication parameters" in message:
        return ". Give the user and password that `maskloop serve` was started with"
    if "resolve hostname" in message:
        return f". Label Studio's machine does not know the host of {public_url(url)}; in Docker use the service's name"
    return ""
