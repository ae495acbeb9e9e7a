from __future__ import annotations

import json

import pytest

from maskloop_backend.studio.client import StudioClient
from maskloop_backend.studio.connect import CHUNK, BackendLogin, connect
from maskloop_backend.studio.errors import StudioError

from .studio import VERSION, FakeStudio

LOGIN = BackendLogin("ls", "s3cret")


def test_a_fresh_project_is_connected_and_a_second_time_changes_nothing(
    studio: FakeStudio, client: StudioClient
) -> None:
    steps: list[tuple[int, int]] = []
    done = connect(client, "streets", f"{studio.backend}/", login=LOGIN, progress=lambda *at: steps.append(at))
    assert (done.project, done.model_version, done.tasks, done.tasks_with_predictions) == (5, VERSION, 40, 40)
    assert steps == [(0, 40), (CHUNK, 40), (40, 40)]
    (connection,) = studio.connections
    assert (connection["title"], connection["auth_method"]) == (VERSION, "BASIC_AUTH")
    (hook,) = studio.webhooks
    assert hook["headers"] == {"Authorization": LOGIN.header}
    assert studio.project["model_version"] == VERSION
    again = connect(client, 5, studio.backend, login=LOGIN)
    assert again.changes == ()
    assert again.tasks_with_predictions == 40


def test_what_a_refused_address_leaves_behind_is_removed(studio: FakeStudio, client: StudioClient) -> None:
    studio.half_made = True
    with pytest.raises(StudioError, match=r"SSRF_PROTECTION_ENABLED=false and ML_BLOCK_LOCAL_IP=false") as caught:
        connect(client, 5, studio.backend)
    assert caught.value.status == 403
    assert studio.connections == []


def test_somebody_elses_new_connection_is_left_alone(studio: FakeStudio, client: StudioClient) -> None:
    studio.half_made = True
    made = studio.connect

    def meanwhile(url: str = "", **more: object) -> dict[str, object]:
        made("http://other:9090")
        return made(url, **more)

    studio.connect = meanwhile  # type: ignore[method-assign, assignment]
    with pytest.raises(StudioError):
        connect(client, 5, studio.backend)
    assert [connection["url"] for connection in studio.connections] == ["http://other:9090"]


def test_duplicates_go_and_the_first_webhook_is_put_right(studio: FakeStudio, client: StudioClient) -> None:
    first = studio.connect(title="old")
    studio.connect(title="again")
    kept = studio.hook(is_active=False)
    studio.hook()
    studio.hook(f"{studio.backend}/webhook/")
    other = studio.hook("http://other/webhook")
    done = connect(client, 5, studio.backend, retrieve=False)
    assert [connection["id"] for connection in studio.connections] == [first["id"]]
    assert first["title"] == VERSION
    assert [hook["id"] for hook in studio.webhooks] == [kept["id"], other["id"]]
    assert kept["is_active"]
    assert sum("duplicate" in change for change in done.changes) == 3


def test_another_connection_that_label_studio_would_use_is_named(studio: FakeStudio, client: StudioClient) -> None:
    studio.connect("http://user:secret@other:9090")
    with pytest.raises(StudioError, match=r"always uses its first one: 21 \(http://other:9090\)") as caught:
        connect(client, 5, studio.backend)
    assert "secret" not in str(caught.value)
    assert len(studio.connections) == 1


def test_a_backend_that_moved_replaces_what_stood_at_the_old_address(studio: FakeStudio, client: StudioClient) -> None:
    studio.connect("http://user:secret@other:9090")
    studio.hook("http://user:secret@other:9090/webhook")
    kept = studio.hook("http://elsewhere/webhook")
    done = connect(client, 5, studio.backend, replace=True)
    assert done.changes[0] == "connection to http://other:9090 removed"
    assert [connection["url"] for connection in studio.connections] == [studio.backend]
    assert [hook["url"] for hook in studio.webhooks] == [kept["url"], f"{studio.backend}/webhook"]
    assert connect(client, 5, studio.backend, replace=True).changes == ()


def test_a_backend_without_a_model_is_an_error_with_its_reason(studio: FakeStudio, client: StudioClient) -> None:
    studio.served = ""
    studio.connect(error_message="Traceback\nHTTPError: 503 for url http://u:secret@backend/setup")
    with pytest.raises(StudioError, match=r"no model version: HTTPError: 503 for url http://backend/setup$"):
        connect(client, 5, studio.backend)


def test_tasks_whose_image_failed_are_counted_as_such(studio: FakeStudio, client: StudioClient) -> None:
    studio.lost = {103, 104}
    assert connect(client, 5, studio.backend).tasks_with_predictions == 38


def test_no_task_means_no_retrieval(studio: FakeStudio, client: StudioClient) -> None:
    studio.tasks = []
    assert connect(client, 5, studio.backend).tasks == 0
    assert not any(path == "/api/dm/actions" for _, path, _ in studio.asked), "an empty list would mean all tasks"


@pytest.mark.parametrize("url", ["backend:9090", "http://", "/backend"])
def test_a_backend_url_that_is_none_is_refused_before_anything(
    studio: FakeStudio, client: StudioClient, url: str
) -> None:
    with pytest.raises(StudioError, match="--backend-url: expected an address"):
        connect(client, 5, url)
    assert studio.asked == []


def test_the_password_is_not_in_what_connecting_says(studio: FakeStudio, client: StudioClient) -> None:
    done = connect(client, 5, studio.backend, login=LOGIN)
    assert "s3cret" not in json.dumps(done.changes) + repr(LOGIN)
