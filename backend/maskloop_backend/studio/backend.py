"""What a backend says itself, asked from here as Label Studio would ask it: why a label or an image fails.

Label Studio keeps to itself what a backend answers. It may be reached from there and not from here: then nothing is said.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import httpx

from .client import Json
from .errors import public_text
from .login import BackendLogin

_SETUP_SECONDS = 10.0
# One prediction, with a model that may have to be loaded first.
_PREDICT_SECONDS = 60.0
# A model that is loading and measured on a machine that many share: minutes.
_LOAD_SECONDS = 600.0
_LOAD_INTERVAL = 1.0


def setup(url: str, project: Json, login: BackendLogin | None) -> httpx.Response:
    """Return the answer to /setup; neither host nor token are given, so that none is remembered.

    Raises:
        httpx.HTTPError, httpx.InvalidURL: it cannot be reached from here.
    """
    body = {
        "project": f"{project['id']}.0",
        "schema": project.get("label_config"),
        "hostname": "",
        "access_token": "",
        "extra_params": None,
    }
    return httpx.post(f"{url}/setup", json=body, auth=_auth(login), timeout=_SETUP_SECONDS)


def await_model(
    url: str, login: BackendLogin | None, *, patience: float = _LOAD_SECONDS, interval: float | None = None
) -> None:
    """Wait while a backend says that its model is loading: predictions that are asked of it meanwhile are refused.

    Args:
        url: of the backend; one that is out of reach from here, or says something else, is not waited for.
        login: credentials of the backend.
        patience: seconds to wait at most.
        interval: seconds between two questions; None: one.
    """
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            answer = httpx.get(f"{url}/health", auth=_auth(login), timeout=_SETUP_SECONDS)
        except (httpx.HTTPError, httpx.InvalidURL):
            return
        if said(answer).get("model") != "loading":
            return
        time.sleep(_LOAD_INTERVAL if interval is None else interval)


def said(answer: httpx.Response) -> dict[str, Any]:
    """Return the object that an answer holds, {} where it holds none."""
    try:
        value = answer.json()
    except ValueError:
        return {}
    return value if isinstance(value, dict) and not answer.is_error else {}


def notes(answer: dict[str, Any]) -> list[str]:
    """Return, from /setup's answer, one line for everything of the label config that does not fit the model."""
    lines = []
    if missing := answer.get("missing_labels"):
        lines.append(f"classes of the model without a label in the project, not pre-filled: {', '.join(missing)}")
    if unused := answer.get("unused_labels"):
        lines.append(f"labels that the model does not know, drawn by annotators only: {', '.join(unused)}")
    return [*lines, *answer.get("notes", ())]


def reasons(url: str, project: Json, login: BackendLogin | None, tasks: Sequence[Json], *, most: int = 3) -> list[str]:
    """Return why a backend makes no prediction of tasks: at most so many different reasons, [] where none is known.

    Asked as a smart tool asks, it says why it fails.

    Args:
        url: of the backend.
        project: as Label Studio describes it.
        login: credentials of the backend.
        tasks: as Label Studio describes them.
        most: reasons.
    """
    found: dict[str, None] = {}
    for task in tasks:
        reason = why_not(url, project, login, task)
        if reason is None:
            break
        if reason:
            found[reason] = None
        if len(found) >= most:
            break
    return list(found)


def why_not(url: str, project: Json, login: BackendLogin | None, task: Json) -> str | None:
    """Return why a backend makes no prediction of a task; '' where it makes one, None where it does not say.

    Args:
        url: of the backend.
        project: as Label Studio describes it.
        login: credentials of the backend.
        task: as Label Studio describes it.
    """
    body: Json = {
        "tasks": [{"id": task.get("id"), "data": task.get("data")}],
        "project": f"{project['id']}.0",
        "label_config": project.get("label_config"),
        "params": {"context": {"result": []}},
    }
    try:
        answer = httpx.post(f"{url}/predict", json=body, auth=_auth(login), timeout=_PREDICT_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL):
        return None
    if answer.status_code == 401:  # of the backend itself: what an image's host answers comes as 424
        return None
    return public_text(_error(answer)) if answer.is_error else ""


def _error(answer: httpx.Response) -> str:
    try:
        value = answer.json()
    except ValueError:
        value = None
    return str(value["error"]) if isinstance(value, dict) and "error" in value else answer.reason_phrase


def _auth(login: BackendLogin | None) -> httpx.BasicAuth | None:
    return None if login is None else httpx.BasicAuth(login.user, login.password)
