"""Images that a Label Studio serves: where they are fetched from, with which token, and how often."""

from __future__ import annotations

import http.server
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ..studio.studio import listening

SETUP_TOKEN, OWN_TOKEN = "a" * 40, "b" * 40
PATH = "/data/upload/5/street.png"


class Host:
    """A web server that notes the requests for its one image; it answers inside `with`."""

    def __init__(self) -> None:
        out = io.BytesIO()
        Image.fromarray(np.full((20, 30, 3), 255, np.uint8)).save(out, "PNG")
        self.seen: list[tuple[str, str | None]] = []
        host = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.seen.append((self.path, self.headers["Authorization"]))
                self.send_response(200)
                self.send_header("Content-Length", str(len(out.getvalue())))
                self.end_headers()
                self.wfile.write(out.getvalue())

            def log_message(self, *_: Any) -> None:
                pass

        self._listening = listening(Handler)
        self.url = ""

    def __enter__(self) -> Host:
        self.url = self._listening.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._listening.__exit__(*error)


@pytest.fixture
def host() -> Iterator[Host]:
    with Host() as made:
        yield made


def setup(client: Any, config: str, hostname: str, project: str = "5.1") -> None:
    body = {"project": project, "schema": config, "hostname": hostname, "access_token": SETUP_TOKEN}
    assert client.request("POST", "/setup", body).status == 200


def test_setup_says_where_images_are(start: Any, host: Host, config: str) -> None:
    client = start()
    setup(client, config, host.url)
    assert client.predict([PATH]).json["results"][0]["result"]
    assert host.seen == [(PATH, f"Token {SETUP_TOKEN}")]


def test_the_operators_settings_win_over_setup(start: Any, host: Host, config: str) -> None:
    client = start(studio_url=host.url + "/", studio_token=OWN_TOKEN)
    setup(client, config, "http://127.0.0.1:1")
    assert client.predict([PATH]).json["results"][0]["result"]
    assert host.seen == [(PATH, f"Token {OWN_TOKEN}")]


def test_projects_of_two_label_studios_are_kept_apart(start: Any, host: Host, config: str) -> None:
    client = start()
    with Host() as other:
        setup(client, config, host.url, "5.1")
        setup(client, config, other.url, "6.1")
        client.predict([PATH], project="6.1")
    assert (len(host.seen), len(other.seen)) == (0, 1)


def test_project_that_never_called_setup_hears_what_to_set(start: Any) -> None:
    answer = start().predict([PATH], project="99.1", context={"result": []})
    assert answer.status == 424
    assert "--studio-url" in answer.reason


def test_clicks_of_a_smart_tool_fetch_the_image_once(start: Any, host: Host, config: str, brightness: Any) -> None:
    segmenter = brightness()
    client = start(segmenter)
    setup(client, config, host.url)
    client.predict([PATH])
    for x in (10, 50, 90):
        click = {"type": "keypointlabels", "value": {"x": x, "y": 50, "width": 1, "keypointlabels": ["car"]}}
        answer = client.predict([PATH], context={"result": [click | {"is_positive": True}]})
        assert answer.status == 200
    assert len(host.seen) == 1
    assert segmenter.calls == [1]
    # a task that is opened again may have another image under its address
    client.predict([PATH])
    assert len(host.seen) == 2
    assert segmenter.calls == [1]
