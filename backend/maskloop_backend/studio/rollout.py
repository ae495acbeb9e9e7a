"""Move a project to a model version, and back: what annotators see is of one version, and the order of tasks stays."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from ..locks import held
from ..model.record import VERSION_PATTERN
from . import backend, stale
from .client import Json, StudioClient
from .connect import Progress, connection_values, retrieve_predictions, why_none
from .errors import StudioError, last_line, public_url
from .login import BackendLogin

# The backend notices a promotion within a second or so, and loads the version for some seconds.
_PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class RolledOut:
    """What a rollout did.

    Attributes:
        project: id.
        model_version: that the project shows now.
        previous: that it showed before; None where it showed none.
        tasks: number of tasks that still wait for an annotation.
        tasks_with_predictions: how many of them have a prediction of the version.
        removed: predictions of other versions that were deleted.
        renewed: tasks whose prediction of the version was made for another label config, and was fetched anew.
        reasons: why tasks have no prediction, as far as the backend says; only some are asked for.
    """

    project: int
    model_version: str
    previous: str | None
    tasks: int
    tasks_with_predictions: int
    removed: int
    renewed: int = 0
    reasons: tuple[str, ...] = ()


def rollout(
    client: StudioClient,
    project: str | int,
    version: str | None = None,
    *,
    promote: Callable[[str, int], None] | None = None,
    login: BackendLogin | None = None,
    remove_old: bool = False,
    home: Path | None = None,
    patience: float = 120.0,
    progress: Progress = lambda done, total: None,
) -> RolledOut:
    """Show a version's predictions in a project; a second time changes nothing, a time that was cut off is finished.

    The title of the connection and the project's selected version become the version's name, which Label Studio's
    uncertainty sampling needs to agree. Predictions are fetched for tasks without an annotation that lack them.
    Nothing that an annotation was made from is removed: what annotators change in it is learned from.

    Args:
        client: of Label Studio.
        project: id or exact title; it is connected.
        version: name; None takes the one that the backend serves to the project.
        promote: makes the backend serve a version to the project of an id; None: it must serve it already.
        login: credentials of the backend, where it wants any.
        remove_old: delete the predictions of other versions of ours, in tasks without any annotation that have one of
            this version.
        home: rollouts of a project that share this home take turns: two at once would both find a task without a
            prediction, and Label Studio would store two.
        patience: seconds until a promoted version must be served.
        progress: called with (tasks done, all tasks) while predictions are retrieved.

    Raises:
        StudioError: the project is not connected, the backend serves another version, or Label Studio refuses.
    """
    found = client.project(project)
    number = int(found["id"])
    with nullcontext() if home is None else held(home / f"rollout-{number}.lock"):
        return _rollout(client, found, version, promote, login, remove_old, patience, progress)


def _rollout(
    client: StudioClient,
    found: Json,
    version: str | None,
    promote: Callable[[str, int], None] | None,
    login: BackendLogin | None,
    remove_old: bool,
    patience: float,
    progress: Progress,
) -> RolledOut:
    number = int(found["id"])
    connection = _connection(client, number)
    if connection.get("auth_method") == "BASIC_AUTH" and login is None:
        raise StudioError(
            f"the backend of project {number} wants a user and a password: give --basic-auth-user and "
            "MASKLOOP_BASIC_AUTH_PASSWORD"
        )
    version = version or _served(connection)
    if _served(connection) != version:
        if promote is None:
            raise StudioError(
                f"the backend serves {_served(connection)}, and Label Studio shows what it serves; --promote makes it "
                f"serve {version} to this project"
            )
        promote(version, number)
        connection = _wait(client, number, version, patience)
    titled = str(connection["title"])
    previous = str(found.get("model_version") or titled)
    if titled != version:
        values = connection_values(number, str(connection["url"]), login, bool(connection["is_interactive"]), version)
        client.update_connection(int(connection["id"]), values)
    _select(client, number, version)
    open_tasks = [task for task in client.task_states(number) if not task.labelled]
    old = stale.find(client, client.project(number), version, [task for task in open_tasks if not task.annotations])
    stale.remove(client, old, version)
    lacking = [task.id for task in open_tasks if version not in task.versions or task.id in old.tasks]
    url = str(connection["url"]).rstrip("/")
    backend.await_model(url, login)
    retrieve_predictions(client, number, lacking, progress=progress)
    states = client.task_states(number)
    removed = 0
    if remove_old:
        replaced = [task for task in states if not task.annotations and version in task.versions]
        removed = sum(
            client.delete_task_predictions(task.id, old)
            for task in replaced
            for old in task.versions - {version}
            # predictions that somebody imported stay
            if VERSION_PATTERN.fullmatch(old)
        )
    waiting = [task for task in states if not task.labelled]
    have = sum(version in task.versions for task in waiting)
    return RolledOut(
        project=number,
        model_version=version,
        previous=previous if previous != version else None,
        tasks=len(waiting),
        tasks_with_predictions=have,
        removed=removed,
        renewed=len(old.tasks),
        reasons=why_none(client, url, found, login, version) if have < len(waiting) else (),
    )


def _connection(client: StudioClient, project: int) -> Json:
    """Return the connection that Label Studio uses, the first; asking for it makes it ask the backend."""
    connections = client.connections(project)
    if not connections:
        raise StudioError(f"project {project} is not connected; `maskloop connect --project {project}` does that")
    return connections[0]


def _served(connection: Json) -> str:
    version = str(connection.get("model_version") or "")
    if not version:
        reason = last_line(str(connection.get("error_message") or "")) or "is `maskloop serve` running?"
        raise StudioError(f"the backend at {public_url(str(connection['url']))} told no model version: {reason}")
    return version


def _wait(client: StudioClient, project: int, version: str, patience: float) -> Json:
    """Return the connection once its backend serves a version."""
    pause = threading.Event()
    for _ in range(max(1, round(patience / _PAUSE))):
        connection = _connection(client, project)
        if connection.get("model_version") == version:
            return connection
        pause.wait(_PAUSE)
    raise StudioError(
        f"{version} is promoted, but after {patience:.0f} s the backend at {public_url(str(connection['url']))} still "
        f"serves {_served(connection)}: does it use this --home, and was it started without --model?"
    )


def _select(client: StudioClient, project: int, version: str) -> None:
    if client.project(project).get("model_version") != version:
        client.update_project(project, model_version=version)
