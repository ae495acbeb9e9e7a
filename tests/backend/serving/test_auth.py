"""Basic auth, and who may listen without it."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from maskloop_backend.serving.auth import Credentials, is_loopback, names_loopback
from maskloop_backend.serving.settings import ServerError, Settings


def basic(text: str, encoding: str = "utf-8") -> str:
    return "Basic " + base64.b64encode(text.encode(encoding)).decode()


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        (basic("anna:geheim"), True),
        (basic("anna:geheim").replace("Basic", "bAsIc"), True),
        (basic("anna:geheim!"), False),
        (basic("anna:gehei"), False),
        (basic("bert:geheim"), False),
        (basic("anna"), False),
        (basic(""), False),
        (basic("ännä:geheim"), False),
        ("Basic", False),
        ("Basic ", False),
        ("Basic !!!", False),
        ("Basic ä", False),
        ("Bearer x", False),
        ("", False),
        (None, False),
    ],
)
def test_header(header: str | None, accepted: bool) -> None:
    assert Credentials("anna", "geheim").accepts(header) is accepted


@pytest.mark.parametrize(
    ("user", "password", "encodings"),
    [("anna", "a:b", ["utf-8"]), ("ännä", "größe", ["utf-8", "latin-1"]), ("用户", "密码", ["utf-8"])],
)
def test_text_beyond_ascii(user: str, password: str, encodings: list[str]) -> None:
    credentials = Credentials(user, password)
    for encoding in encodings:
        assert credentials.accepts(basic(f"{user}:{password}", encoding))
        assert not credentials.accepts(basic(f"{user}:{password}?", encoding))


def test_password_is_in_no_repr() -> None:
    assert "geheim" not in repr(Settings(home=Path("/x"), credentials=Credentials("anna", "geheim")))


@pytest.mark.parametrize(("user", "password"), [("", "x"), ("x", ""), ("a:b", "x")])
def test_credentials_that_cannot_work(user: str, password: str) -> None:
    with pytest.raises(ValueError, match="basic"):
        Credentials(user, password)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/health", None),
        ("POST", "/setup", {"schema": "<View/>"}),
        ("POST", "/predict", {"tasks": []}),
        ("POST", "/webhook", {"action": "START_TRAINING"}),
        ("GET", "/jobs", None),
        ("GET", "/jobs/1", None),
        ("DELETE", "/jobs/1", None),
        ("GET", "/versions", None),
        ("GET", "/", None),
        ("GET", "/ready", None),
        ("GET", "/stats", None),
        ("GET", "/page/running", None),
        ("GET", "/page/style.css", None),
        ("GET", "/page/pictures/1/overlay", None),
        ("POST", "/page/rollback", {}),
        ("POST", "/page/cancel", {}),
        ("GET", "/metrics", None),
        ("GET", "/openapi.json", None),
        ("GET", "/nowhere", None),
    ],
)
def test_every_endpoint_asks(start: Any, method: str, path: str, body: Any) -> None:
    client = start(credentials=Credentials("anna", "größe"))
    for headers, word in [({}, "missing"), ({"Authorization": basic("anna:x")}, "wrong")]:
        answer = client.request(method, path, body, headers)
        assert answer.status == 401
        assert answer.reason.startswith(f"Basic auth credentials are {word}")
        assert answer.headers["WWW-Authenticate"].startswith("Basic")
    for encoding in ("utf-8", "latin-1"):
        allowed = client.request(method, path, body, {"Authorization": basic("anna:größe", encoding)})
        assert allowed.status != 401


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.3", False),
        ("example.org", False),
        ("", False),
    ],
)
def test_exposure(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
    Settings(home=Path("/x"), host=host, credentials=Credentials("a", "b")).check_exposure()
    if loopback:
        Settings(home=Path("/x"), host=host).check_exposure()
    else:
        with pytest.raises(ServerError, match="MASKLOOP_BASIC_AUTH_PASSWORD"):
            Settings(home=Path("/x"), host=host).check_exposure()


@pytest.mark.parametrize(
    ("header", "own"),
    [
        ("localhost", True),
        ("localhost:9090", True),
        ("LocalHost:9090", True),
        ("127.0.0.1:9090", True),
        ("127.3.2.1", True),
        ("[::1]:9090", True),
        ("[::1]", True),
        (None, True),
        ("evil.example:9090", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example:9090", False),
        ("192.168.1.5:9090", False),
        ("localhost:9090:1", False),
        ("", False),
    ],
)
def test_names_of_this_machine(header: str | None, own: bool) -> None:
    assert names_loopback(header) is own


def test_without_credentials_a_page_under_another_name_is_refused(start: Any, image_uri: Any) -> None:
    """A name on the internet may lead to 127.0.0.1, and the browser of whoever looks at its page asks us (DNS rebinding)."""
    client = start()
    for path in ("/health", "/metrics", "/jobs"):
        assert client.request("GET", path).status == 200
        refused = client.request("GET", path, headers={"Host": "evil.example:9090"})
        assert refused.status == 403
        assert "MASKLOOP_BASIC_AUTH_PASSWORD" in refused.reason
    setup = {"project": "5.1", "schema": "<View/>", "hostname": "http://evil.example"}
    assert client.request("POST", "/setup", setup, {"Host": "evil.example"}).status == 403


def test_with_credentials_every_name_is_welcome(start: Any) -> None:
    client = start(credentials=Credentials("anna", "geheim"))
    headers = {"Host": "backend:9090", "Authorization": basic("anna:geheim")}
    assert client.request("GET", "/health", headers=headers).status == 200
