"""The part of Label Studio's REST API that maskloop uses, with errors that say the fix.

Own code over httpx instead of label-studio-sdk: a dozen calls; the SDK has none for the model versions of a
project, takes a second to import and brings 200 MB of other packages.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from .addresses import AddressPolicy
from .errors import StudioAuthError, StudioError, http_address, public_text, public_url
from .tokens import TokenAuth
from .transport import Exchange, LimitedTransport

Json = dict[str, Any]
# Label Studio answers some calls only when the backend has: its own limit there is 100 s between bytes.
_TIMEOUT = httpx.Timeout(600.0, connect=10.0)
# However the bytes come: a Label Studio that never ends an answer must not keep a thread for ever, or fill the memory.
_CALL_SECONDS = 1200.0
_CALL_BYTES = 2 << 30
_PAGE = 500


@dataclass(frozen=True, slots=True)
class TaskState:
    """How far a task is.

    Attributes:
        id: of the task.
        labelled: it needs no further annotation.
        annotations: that it has, skipped ones not counted.
        versions: model versions whose predictions it has.
    """

    id: int
    labelled: bool
    annotations: int
    versions: frozenset[str]


# What tells how far a task is: model versions are told only where all fields are asked for, `include` keeps the masks out.
_STATE = "id,is_labeled,total_annotations,predictions_model_versions"


class StudioClient:
    """A Label Studio, reached with a token; a context manager.

    Args:
        url: where it answers, a path prefix kept.
        token: legacy or personal access token.
        policy: of addresses, where the address is not the operator's own; None allows every one.
    """

    def __init__(self, url: str, token: str, policy: AddressPolicy | None = None) -> None:
        self.url = http_address(url, "--studio-url")
        transport = LimitedTransport(policy)
        self.auth = TokenAuth(self.url, token, transport)
        self._http = httpx.Client(base_url=self.url, auth=self.auth, timeout=_TIMEOUT, transport=transport)

    def __enter__(self) -> StudioClient:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._http.close()

    def request(self, method: str, path: str, **arguments: Any) -> Any:
        """Return the parsed JSON answer of one call, None where it has no body.

        Args:
            method: HTTP method.
            path: after the base address, with its leading slash.
            **arguments: as of httpx.Client.request.

        Raises:
            StudioAuthError: the token is refused.
            StudioError: no answer, or an error; the message says what Label Studio said, and the fix where it is known.
        """
        try:
            with Exchange(_CALL_SECONDS, _CALL_BYTES) as exchange:
                answer = self._http.request(method, path, **arguments)
                exchange.check()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise StudioError(
                f"Label Studio does not answer at {public_url(self.url)} ({type(error).__name__}); "
                "is it running, and is --studio-url right?"
            ) from error
        self._check(method, path, answer)
        if not answer.content:
            return None
        try:
            return answer.json()
        except ValueError as error:
            raise StudioError(
                f"{public_url(self.url)}{path} did not answer with JSON; is this a Label Studio?"
            ) from error

    def download(self, path: str, target: Path, **arguments: Any) -> None:
        """Write the answer of a GET to a file as it comes, whatever its size.

        Raises:
            StudioAuthError: the token is refused.
            StudioError: no answer, an error, or an answer that breaks off.
        """
        try:
            with self._http.stream("GET", path, **arguments) as answer, target.open("wb") as file:
                if not answer.is_success:
                    answer.read()
                    self._check("GET", path, answer)
                for chunk in answer.iter_bytes():
                    file.write(chunk)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise StudioError(
                f"Label Studio at {public_url(self.url)} stopped answering in the middle of GET {path} "
                f"({type(error).__name__}); is it running?"
            ) from error

    def _check(self, method: str, path: str, answer: httpx.Response) -> None:
        """Raise what an answer that is no success says."""
        if answer.is_redirect:
            raise StudioError(
                f"{public_url(self.url)} sends {method} {path.partition('?')[0]} on to "
                f"{public_url(answer.headers.get('Location', ''))}; give the address it leads to as --studio-url",
                status=answer.status_code,
            )
        if answer.status_code in (401, 403) and _refuses_token(answer):
            raise StudioAuthError(self._auth_message(answer), status=answer.status_code)
        if answer.is_error:
            raise StudioError(
                f"Label Studio answered {answer.status_code} to {method} {path.partition('?')[0]}: {said(answer)}",
                status=answer.status_code,
            )

    def version(self) -> str:
        """Return Label Studio's version ('1.23.2')."""
        said = self.request("GET", "/api/version")
        if not isinstance(said, dict) or "release" not in said:
            raise StudioError(f"what answers at {public_url(self.url)} is not a Label Studio; is --studio-url right?")
        return str(said["release"])

    def user(self) -> Json:
        """Return whose token this is."""
        user: Json = self.request("GET", "/api/current-user/whoami")
        return user

    def token_settings(self) -> Json:
        """Return which kinds of tokens the organisation takes: ``api_tokens_enabled``, ``legacy_api_tokens_enabled``."""
        settings = self.request("GET", "/api/jwt/settings")
        return settings if isinstance(settings, dict) else {}

    def project(self, id_or_title: str | int) -> Json:
        """Return a project by its id or by its exact title.

        Raises:
            StudioError: there is none, or several have the title; the message lists candidates.
        """
        if str(id_or_title).isdigit():
            try:
                project: Json = self.request("GET", f"/api/projects/{id_or_title}/")
            except StudioError as error:
                if error.status != 404:
                    raise
            else:
                return project
        all_projects = list(self.projects())
        found = [project for project in all_projects if project["title"] == str(id_or_title)]
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(str(project["id"]) for project in found)
            raise StudioError(f"{len(found)} projects have the title {id_or_title!r}: ids {ids}; give the id")
        known = ", ".join(f"{project['id']} {project['title']!r}" for project in all_projects[:20]) or "none"
        raise StudioError(f"Label Studio has no project {id_or_title!r}; there are: {known}")

    def projects(self) -> Iterator[Json]:
        """Yield all projects that the token's user sees."""
        page = 1
        while True:
            answer = self.request("GET", "/api/projects/", params={"page": page, "page_size": 100})
            yield from answer["results"]
            if not answer.get("next"):
                return
            page += 1

    def create_project(self, title: str, label_config: str, **settings: Any) -> Json:
        """Make a project and return it."""
        project: Json = self.request(
            "POST", "/api/projects/", json={"title": title, "label_config": label_config, **settings}
        )
        return project

    def update_project(self, project: int, **settings: Any) -> Json:
        """Change a project's settings and return it."""
        changed: Json = self.request("PATCH", f"/api/projects/{project}/", json=settings)
        return changed

    def upload(self, project: int, paths: Sequence[Path]) -> None:
        """Upload image files; each becomes a task."""
        for path in paths:
            kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            with path.open("rb") as file:
                self.request(
                    "POST",
                    f"/api/projects/{project}/import",
                    params={"commit_to_project": "true"},
                    files={"file": (path.name, file, kind)},
                )

    def add_tasks(self, project: int, tasks: Sequence[Json]) -> None:
        """Import tasks from JSON."""
        self.request("POST", f"/api/projects/{project}/import", json=list(tasks))

    def task_ids(self, project: int) -> list[int]:
        """Return the ids of all tasks of a project, ascending."""
        return sorted(int(task["id"]) for task in self._tasks(project, "task_only", "id"))

    def task_states(self, project: int) -> list[TaskState]:
        """Return how far each task of a project is, by ascending id."""
        tasks = self._tasks(project, "all", _STATE)
        return sorted(map(_task_state, tasks), key=lambda state: state.id)

    def described_tasks(self, project: int, view: int | None = None) -> Iterator[tuple[TaskState, Json]]:
        """Yield how far each task of a project, or of a view of its data manager, is, with the task's data."""
        for task in self._tasks(project, "all", f"{_STATE},data", view):
            yield _task_state(task), task.get("data") or {}

    def import_predictions(self, project: int, predictions: bytes) -> int:
        """Store predictions and return how many: a JSON list of objects with task, result, score and model_version.

        Label Studio adds them to those that are there, whatever their version.
        """
        answer = self.request(
            "POST",
            f"/api/projects/{project}/import/predictions",
            content=predictions,
            headers={"Content-Type": "application/json"},
        )
        return int(answer["created"])

    def delete_version(self, project: int, version: str) -> int:
        """Delete a project's predictions of a model version and return how many there were; what it shows stays."""
        shown = self.project(project).get("model_version")
        answer = self.request("DELETE", f"/api/projects/{project}/model-versions/", json={"model_version": version})
        # Label Studio forgets which version is shown, whichever it deletes
        if shown and shown != version and self.project(project).get("model_version") != shown:
            self.update_project(project, model_version=shown)
        return int((answer or {}).get("deleted_predictions", 0))

    def _tasks(self, project: int, fields: str, include: str, view: int | None = None) -> Iterator[Json]:
        """Yield all tasks of a project, or of a view, with the given fields."""
        page, seen = 1, 0
        chosen = {"project": project} | ({} if view is None else {"view": view})
        while True:
            answer = self.request(
                "GET",
                "/api/tasks",
                params={**chosen, "page": page, "page_size": _PAGE, "fields": fields, "include": include},
            )
            yield from answer["tasks"]
            seen += len(answer["tasks"])
            if len(answer["tasks"]) < _PAGE or seen >= answer["total"]:
                return
            page += 1

    def task(self, task: int) -> Json:
        """Return one task with its annotations and predictions. Label Studio may ask the backend for a prediction first."""
        found: Json = self.request("GET", f"/api/tasks/{task}/")
        return found

    def export(self, project: int) -> list[Json]:
        """Return a project's labelled tasks as its JSON export has them."""
        tasks: list[Json] = self.request("GET", f"/api/projects/{project}/export", params={"exportType": "JSON"})
        return tasks

    def model_versions(self, project: int) -> dict[str, int]:
        """Return the number of predictions that a project's tasks have, by model version."""
        counts = self.request("GET", f"/api/projects/{project}/model-versions/")
        return {str(version): int(count) for version, count in (counts or {}).items()}

    def predictions(self, task: int, version: str) -> list[Json]:
        """Return one task's predictions of a model version; Label Studio may have stored several."""
        found = self.request("GET", "/api/predictions/", params={"task": task})
        return [entry for entry in found if entry.get("model_version") == version]

    def task_predictions(self, task: int, version: str) -> list[int]:
        """Return the ids of one task's predictions of a model version."""
        return [int(entry["id"]) for entry in self.predictions(task, version)]

    def prediction_heads(self, project: int) -> dict[int, str]:
        """Return the beginning of each task's stored predictions, as its data manager shows them, by task id."""
        tasks = self._tasks(project, "all", "id,predictions_results")
        return {int(task["id"]): str(task.get("predictions_results") or "") for task in tasks}

    def delete_task_predictions(self, task: int, version: str) -> int:
        """Delete one task's predictions of a model version and return how many there were."""
        numbers = self.task_predictions(task, version)
        for number in numbers:
            self.request("DELETE", f"/api/predictions/{number}/")
        return len(numbers)

    def score_prediction(self, prediction: int, score: float) -> None:
        """Give a stored prediction another score; its masks stay as they are."""
        self.request("PATCH", f"/api/predictions/{prediction}/", json={"score": score})

    def retrieve_predictions(self, project: int, tasks: Sequence[int]) -> None:
        """Have Label Studio ask the backend for predictions of tasks that lack the current version's, and store them.

        It answers 200 even when the backend failed: count with :meth:`model_versions`.
        """
        if not tasks:
            return  # an empty list would mean all tasks
        self.request(
            "POST",
            "/api/dm/actions",
            params={"id": "retrieve_tasks_predictions", "project": project},
            json={"selectedItems": {"all": False, "included": list(tasks)}},
        )

    def connections(self, project: int) -> list[Json]:
        """Return a project's ML connections; Label Studio uses the first. It asks each backend for its health first."""
        found: list[Json] = self.request("GET", "/api/ml/", params={"project": project})
        return sorted(found, key=lambda connection: int(connection["id"]))

    def create_connection(self, values: Json) -> Json:
        """Connect a backend and return the connection."""
        made: Json = self.request("POST", "/api/ml/", json=values)
        return made

    def update_connection(self, connection: int, values: Json) -> Json:
        """Change a connection; ``url`` and ``project`` must be among the values, or Label Studio fails with 500."""
        changed: Json = self.request("PATCH", f"/api/ml/{connection}", json=values)
        return changed

    def delete_connection(self, connection: int) -> None:
        """Remove a connection; the webhook that came with it stays."""
        self.request("DELETE", f"/api/ml/{connection}")

    def ask_smart_tool(self, connection: int, task: int, context: Json) -> Json:
        """Ask a backend as the editor's smart tools do; the answer has ``data`` or ``errors``."""
        answer: Json = self.request(
            "POST", f"/api/ml/{connection}/interactive-annotating", json={"task": task, "context": context}
        )
        return answer

    def webhooks(self, project: int) -> list[Json]:
        """Return a project's webhooks."""
        found: list[Json] = self.request("GET", "/api/webhooks/", params={"project": project})
        return sorted(found, key=lambda webhook: int(webhook["id"]))

    def create_webhook(self, values: Json) -> Json:
        """Make a webhook and return it."""
        made: Json = self.request("POST", "/api/webhooks/", json=values)
        return made

    def update_webhook(self, webhook: int, values: Json) -> None:
        """Change a webhook."""
        self.request("PATCH", f"/api/webhooks/{webhook}/", json=values)

    def delete_webhook(self, webhook: int) -> None:
        """Remove a webhook."""
        self.request("DELETE", f"/api/webhooks/{webhook}/")

    def _auth_message(self, answer: httpx.Response) -> str:
        text = said(answer)
        if "legacy token authentication has been disabled" in text:
            fix = (
                "legacy tokens are switched off in this Label Studio: use a personal access token "
                "(Account & Settings > Personal Access Token), or switch legacy tokens on under Organization > API Tokens Settings"
            )
        else:
            fix = "copy a token from Account & Settings into MASKLOOP_STUDIO_TOKEN; was it made on this Label Studio?"
        return (
            f"Label Studio at {public_url(self.url)} refuses the {self.auth.kind} token ({answer.status_code}): {fix}"
        )


def _task_state(task: Json) -> TaskState:
    versions = str(task["predictions_model_versions"] or "").split(",")
    return TaskState(
        int(task["id"]), bool(task["is_labeled"]), int(task["total_annotations"]), frozenset(filter(None, versions))
    )


def said(answer: httpx.Response) -> str:
    """Return what an error answer of Label Studio says, on one line: its validation errors, else its detail."""
    try:
        body = answer.json()
    except ValueError:
        return f"{answer.reason_phrase or 'no explanation'}"
    if not isinstance(body, dict):
        return public_text(str(body))
    parts = [text for value in (body.get("validation_errors") or {}).values() for text in _texts(value)]
    parts = parts or list(_texts(body.get("detail"))) or list(_texts(body))
    return public_text("; ".join(parts)) or "no explanation"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
    elif value not in (None, ""):
        yield str(value)


def _refuses_token(answer: httpx.Response) -> bool:
    """Tell a refused token from a forbidden address, which is 403 as well."""
    return answer.status_code == 401 or "credentials" in said(answer).lower()
