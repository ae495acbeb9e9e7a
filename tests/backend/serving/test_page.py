"""The page that people look at: who may see it, what it says, and that only its own buttons do anything."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from maskloop_backend.loop.outcomes import Fate, Outcome
from maskloop_backend.registry.history import Served
from maskloop_backend.registry.store import Registry
from maskloop_backend.serving.auth import Credentials
from maskloop_converters.samples import LabelSet
from versions import write_version

HOSTILE = "<script>alert(1)</script>\"'&{{ 7*7 }}"
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
FORM = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
VOID = {"meta", "link", "img", "input", "br", "line", "rect", "circle", "path", "hr"}


class Page(HTMLParser):
    """A page taken apart: text, ids, forms; its tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.ids: set[str] = set()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.attributes: set[str] = set()
        self.forms: list[tuple[str, dict[str, str]]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.ids |= {values["id"]} if "id" in values else set()
        self.attributes |= values.keys()
        self.links += [value for name, value in values.items() if name in {"href", "src", "action"}]
        if tag == "form":
            self.forms.append((values["action"], {}))
        if tag == "input":
            self.forms[-1][1][values["name"]] = values["value"]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def form(self, action: str) -> dict[str, str]:
        (fields,) = [fields for target, fields in self.forms if target == action]
        return fields


def look(client: Any, **headers: str) -> Page:
    answer = client.request("GET", "/", headers=BROWSER | headers)
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"].startswith("text/html")
    return Page(answer.body.decode())


def press(client: Any, action: str, fields: dict[str, str], headers: dict[str, str] | None = None) -> Any:
    return client.request("POST", f"/{action}", urlencode(fields).encode(), FORM if headers is None else headers)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Two versions whose weights are a few bytes, the second one served; the reason is hostile."""
    found = Registry(tmp_path / "home", trial=lambda directory: None)
    for number, miou in ((1, 0.5), (2, 0.75)):
        metrics = {"holdout_miou": miou, "pixel_accuracy": 0.9, "gate": {"promote": True, "reason": HOSTILE}}
        labels, created = LabelSet.from_names(["road", "car"]), f"2026-11-{number:02}T10:00:00Z"
        version = write_version(found, b"%d" % number, labels, created=created, metrics=metrics).version
        found.promote(version, reason=f"because {HOSTILE}")
    return found


def test_a_browser_sees_the_page_and_programs_what_they_did_before(start: Any) -> None:
    client = start()
    page = look(client)
    assert {"served", "trainings", "versions", "outcomes", "corrected", "unsure", "recent", "running"} <= page.ids
    assert client.request("GET", "/").json["status"] == "UP"
    assert client.request("GET", "/", headers={"Accept": "*/*"}).json["status"] == "UP"
    for text in (
        "No training runs or waits",
        "Nobody has submitted a task",
        "No task was predicted",
        "There is none yet",
    ):
        assert text in page.text


def test_an_empty_registry_says_what_to_do(start: Any) -> None:
    class Nothing:
        def served(self) -> Served:
            return Served()

        def versions(self) -> list[str]:
            return []

        def load(self, version: str) -> Any:
            raise AssertionError

    page = look(start(Nothing(), ready=False))
    assert "No version is served yet" in page.text
    assert page.forms == []


def test_nothing_is_shown_without_credentials(start: Any, image_uri: Any) -> None:
    client = start(credentials=Credentials("anna", "geheim"))
    known = {"Authorization": "Basic " + base64.b64encode(b"anna:geheim").decode()}
    body = {"tasks": [{"id": 7, "data": {"image": image_uri()}}], "project": "5.1", "label_config": client.config}
    assert client.request("POST", "/predict", body, known).status == 200
    paths = ["/", "/page/style.css", "/page/page.js", "/page/running", "/page/pictures/1/overlay"]
    for path in paths:
        assert client.request("GET", path, headers=BROWSER).status == 401
        assert client.request("GET", path, headers=BROWSER | known).status == 200
    for path in ("/page/rollback", "/page/cancel"):
        assert client.request("POST", path, b"", FORM).status == 401


def test_the_page_is_its_own_and_of_no_other_host(start: Any, image_uri: Any, registry: Registry) -> None:
    client = start()
    client.predict([image_uri()])
    answer = client.request("GET", "/", headers=BROWSER)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Frame-Options"] == "DENY"
    page = Page(answer.body.decode())
    assert not {name for name in page.attributes if name.startswith("on") or name == "style"}
    assert all(re.match(r"(#|page/|data:,)", link) for link in page.links)
    for name in ("style.css", "page.js"):
        assert not re.search(rb"(https?:)?//\w+\.", client.request("GET", f"/page/{name}").body)


def test_what_is_served_and_why_and_back_again(start: Any, registry: Registry) -> None:
    client = start()
    first, second = registry.versions()
    page = look(client)
    assert page.text.count(second) >= 2
    assert f"because {HOSTILE}" in page.text
    assert "0.750" in page.text
    fields = page.form("page/rollback")
    done = press(client, "page/rollback", fields)
    assert (done.status, done.headers["Location"]) == (303, "../")
    assert registry.serving() == first
    # pressed again on the old page: somebody else's version is not taken back
    again = press(client, "page/rollback", fields)
    assert again.status == 409
    assert "is not served any more" in again.body.decode()
    assert registry.serving() == first
    assert "rolled back on the page" in look(client).text
    assert "nothing to roll back to" in look(client).text


def test_a_project_with_a_version_of_its_own_goes_back_alone(start: Any, registry: Registry) -> None:
    client = start()
    first, second = registry.versions()
    registry.promote(first, project=7, reason="better on project 7")
    page = look(client)
    assert f"Project 7: {first}" in page.text
    assert "better on project 7" in page.text
    assert "served to project 7" in page.text
    (fields,) = [form for action, form in page.forms if action == "page/rollback" and form["project"] == "7"]
    assert press(client, "page/rollback", fields | {"project": "8"}).status == 403
    assert press(client, "page/rollback", fields).status == 303
    assert (registry.served().own(7), registry.serving()) == (None, second)
    assert press(client, "page/rollback", fields).status == 409


@pytest.mark.parametrize(
    ("change", "headers", "status"),
    [
        ({"token": ""}, FORM, 403),
        ({"token": "0" * 64}, FORM, 403),
        ({"token": "ä\udcff"}, FORM, 403),
        ({"served": "fcn32s-small-20261122-00000001"}, FORM, 403),
        ({}, FORM | {"Sec-Fetch-Site": "cross-site"}, 403),
        ({}, FORM | {"Sec-Fetch-Site": "same-site"}, 403),
        ({}, {"Content-Type": FORM["Content-Type"], "Origin": "http://evil.example"}, 403),
        ({}, {"Content-Type": FORM["Content-Type"], "Origin": "null"}, 403),
        ({}, FORM | {"Content-Type": "text/plain"}, 415),
        ({"more": "x" * 5000}, FORM, 413),
    ],
)
def test_a_form_of_another_page_does_nothing(
    start: Any, registry: Registry, change: dict[str, str], headers: dict[str, str], status: int
) -> None:
    client = start()
    fields = look(client).form("page/rollback") | change
    body = urlencode(fields, errors="surrogatepass").encode()
    served = registry.serving()
    answer = client.request("POST", "/page/rollback", body, headers)
    assert answer.status == status
    assert registry.serving() == served
    assert client.request("GET", "/page/rollback").status == 405


def test_a_token_is_good_for_one_thing_only(start: Any, registry: Registry) -> None:
    client = start(training=False)
    queue = client.app.server.queue
    first, second = (queue.start(project, "test") for project in (5, 6))
    served = registry.serving()
    fields = {form["job"]: form for action, form in look(client).forms if action == "page/cancel"}
    wrong = fields[str(first.id)] | {"job": str(second.id)}
    assert press(client, "page/cancel", wrong).status == 403
    assert press(client, "page/rollback", fields[str(first.id)] | {"served": str(served)}).status == 403
    assert press(client, "page/cancel", fields[str(first.id)]).status == 303
    assert [queue.job(job.id).state for job in (first, second)] == ["cancelled", "queued"]
    over = press(client, "page/cancel", fields[str(first.id)])
    assert (over.status, over.reason) == (409, f"job {first.id} is cancelled already")


def test_hostile_text_is_text(start: Any, image_uri: Any) -> None:
    client = start()
    server = client.app.server
    body = {
        "tasks": [{"id": HOSTILE, "data": {"image": image_uri()}}],
        "project": HOSTILE[:40],
        "label_config": client.config,
    }
    assert client.request("POST", "/predict", body).status == 200
    fate = Fate(kept=1, pixels=100, off=60)
    server.observer._store.record(Outcome(5, 7, 1, HOSTILE, "changed", 100, 60, {HOSTILE: fate}))
    server.queue.start(5, HOSTILE)
    page = look(client)
    assert page.text.count(HOSTILE) >= 3
    assert page.tags.count("script") == 1
    assert HOSTILE in Page(client.request("GET", "/page/running").body.decode()).text


def test_pictures_of_the_last_predictions(start: Any, image_uri: Any) -> None:
    client = start()
    for size in range(20, 24):
        body = {
            "tasks": [{"id": size, "data": {"image": image_uri(size)}}],
            "project": "5.1",
            "label_config": client.config,
        }
        client.request("POST", "/predict", body)
    page = look(client)
    assert page.text.count("project 5, task 23") == 2
    for kind in ("overlay", "confidence"):
        picture = client.request("GET", f"/page/pictures/4/{kind}")
        assert picture.headers["Content-Type"] == "image/jpeg"
        assert picture.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert picture.body[:2] == b"\xff\xd8"
    for path in ("/page/pictures/99/overlay", "/page/pictures/1/else"):
        assert client.request("GET", path).status == 404


@pytest.mark.parametrize(
    ("public", "opened"),
    [(None, "http://label-studio:8080"), ("https://labels.example.com", "https://labels.example.com")],
)
def test_tasks_are_linked_to_where_people_open_them(
    start: Any, image_uri: Any, public: str | None, opened: str
) -> None:
    client = start(studio_url="http://label-studio:8080", studio_public_url=public)
    client.predict([image_uri()])
    assert f"{opened}/projects/5/data?task=0" in look(client).links
