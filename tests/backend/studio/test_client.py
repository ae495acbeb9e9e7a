from __future__ import annotations

from typing import Any

import pytest

from maskloop_backend.studio.client import StudioClient
from maskloop_backend.studio.errors import StudioAuthError, StudioError, http_address, last_line, public_text

from .studio import LEGACY, SSRF, VERSION, FakeStudio, jwt


def test_projects_on_several_pages_are_all_found(studio: FakeStudio, client: StudioClient) -> None:
    studio.more_projects = [{"id": 100 + k, "title": f"p{k}"} for k in range(250)]
    assert len(list(client.projects())) == 251
    assert client.project("p249")["id"] == 349


def test_tasks_on_several_pages_are_all_found(studio: FakeStudio, client: StudioClient) -> None:
    studio.tasks = list(range(1, 1251))
    assert client.task_ids(5) == studio.tasks


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("street", r"no project 'street'; there are: 5 'streets', 6 'same', 7 'same'"),
        ("99", "no project '99'"),
        ("same", "2 projects have the title 'same': ids 6, 7; give the id"),
    ],
)
def test_a_project_that_is_not_meant_clearly(studio: FakeStudio, client: StudioClient, name: str, message: str) -> None:
    studio.more_projects = [{"id": 6, "title": "same"}, {"id": 7, "title": "same"}]
    with pytest.raises(StudioError, match=message):
        client.project(name)


def test_a_disabled_legacy_token_is_told_apart(studio: FakeStudio, client: StudioClient) -> None:
    studio.legacy = False
    with pytest.raises(StudioAuthError, match=r"use a personal access token") as caught:
        client.user()
    assert LEGACY not in str(caught.value)


def test_a_personal_access_token_is_exchanged_once_and_again_when_refused(studio: FakeStudio) -> None:
    token = jwt("refresh", 1e9)
    with StudioClient(studio.url, token) as client:
        client.user()
        client.user()
        assert len(studio.access_tokens) == 1
        first = studio.access_tokens.copy()
        studio.access_tokens[:] = ["revoked"]
        client.create_webhook({"url": "http://x/webhook"})
        assert len(studio.access_tokens) == 2
        assert studio.access_tokens[1] not in first
    assert len(studio.webhooks) == 1


@pytest.mark.parametrize("token", ["", "  ", "abc…", "two words", "line\nbreak", "nul\0"])
def test_tokens_that_are_none_are_refused_without_being_shown(token: str) -> None:
    with pytest.raises(StudioAuthError, match="copy it anew") as caught:
        StudioClient("http://localhost:1", token)
    assert not token.strip() or token not in str(caught.value)


@pytest.mark.parametrize("url", ["localhost:8080", "http://localhost:80a", "http://", "http://[::1", "ftp://x", ""])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(StudioError, match="--studio-url: expected an address such as http://localhost:8080"):
        StudioClient(url, LEGACY)


def test_nobody_answers() -> None:
    with (
        StudioClient("http://user:secret@127.0.0.1:1", LEGACY) as client,
        pytest.raises(StudioError, match="is it running") as caught,
    ):
        client.version()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("release", [None, [], {"x": 1}])
def test_another_program_is_no_label_studio(studio: FakeStudio, client: StudioClient, release: Any) -> None:
    studio.release = release
    with pytest.raises(StudioError, match=r"not a Label Studio|not answer with JSON"):
        client.version()


def test_a_redirect_says_where_to(web: Any) -> None:
    web.put("/api/version", b"", 301, Location="https://studio.example/api/version?token=x")
    with (
        StudioClient(web.url, LEGACY) as client,
        pytest.raises(StudioError, match=r"on to https://studio\.example/api/version; give the address"),
    ):
        client.version()


def test_errors_say_what_label_studio_said(studio: FakeStudio, client: StudioClient) -> None:
    studio.half_made = True
    with pytest.raises(StudioError, match=r"answered 403 to POST /api/ml/: URL resolves to a reserved") as caught:
        client.create_connection({"url": studio.backend, "title": VERSION})
    assert SSRF in str(caught.value)
    assert not isinstance(caught.value, StudioAuthError), "the token is not what is refused"


def test_passwords_in_addresses_are_left_out_of_what_others_say() -> None:
    text = "Traceback:\n  File\nHTTPError: 401 Client Error for url: http://ls:s3cret@host:9090/health\n"
    assert last_line(text) == "HTTPError: 401 Client Error for url: http://host:9090/health"
    assert last_line(" \n") == ""
    assert len(public_text("x" * 1000)) == 500


@pytest.mark.parametrize(
    ("pasted", "address"),
    [
        ("http://localhost:8080/", "http://localhost:8080"),
        (" http://localhost:8080/projects/7/data?tab=12&task=3#x ", "http://localhost:8080"),
        ("https://studio.example/label/projects", "https://studio.example/label"),
        ("https://studio.example/label/user/account/personal-access-token", "https://studio.example/label"),
        ("https://studio.example/my-projects", "https://studio.example/my-projects"),
    ],
)
def test_what_a_browser_shows_is_an_address_of_label_studio(pasted: str, address: str) -> None:
    assert http_address(pasted, "--studio-url") == address
