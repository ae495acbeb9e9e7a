from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from maskloop_backend.cli.main import cli
from maskloop_backend.studio.client import StudioClient
from maskloop_backend.studio.connect import connect
from maskloop_backend.studio.doctor import Finding, examine
from maskloop_backend.studio.login import BackendLogin

from .studio import LEGACY, VERSION, FakeStudio, jwt

LOGIN = BackendLogin("ls", "s3cret")


def bad(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.level, finding.subject) for finding in findings if finding.level != "ok"]


def test_nothing_is_wrong_after_connect(studio: FakeStudio, client: StudioClient) -> None:
    connect(client, 5, studio.backend, login=LOGIN)
    findings = list(examine(client, "streets", login=LOGIN))
    assert bad(findings) == []
    assert {finding.subject for finding in findings} >= {"Label Studio", "token", "connection", "webhook", "version"}


def setup(**more: Any) -> tuple[int, str, bytes]:
    said = {"model_version": VERSION, "missing_labels": [], "unused_labels": [], **more}
    return 200, "OK", json.dumps(said).encode()


def other_title(studio: FakeStudio) -> None:
    studio.connections[0]["title"] = "maskloop"


def other_selection(studio: FakeStudio) -> None:
    studio.project["model_version"] = "old"


def stale(studio: FakeStudio) -> None:
    studio.predictions += [(101, "old"), (102, "old")]


def incomplete(studio: FakeStudio) -> None:
    del studio.predictions[3:]


def doubled(studio: FakeStudio) -> None:
    studio.predictions += studio.predictions[:2]


def rotated_token(studio: FakeStudio) -> None:
    studio.why = "task 101, /data/upload/5/101.png: HTTP 401: Label Studio wants a valid token"


def huge_images(studio: FakeStudio) -> None:
    studio.size = 8000, 6000


def second_connection(studio: FakeStudio) -> None:
    studio.connect("http://other:9090")


def second_webhook(studio: FakeStudio) -> None:
    studio.hook()


def no_webhook(studio: FakeStudio) -> None:
    studio.webhooks.clear()


def sleeping_webhook(studio: FakeStudio) -> None:
    studio.webhooks[0]["is_active"] = False


def terse_webhook(studio: FakeStudio) -> None:
    studio.webhooks[0]["send_payload"] = False


def bare_webhook(studio: FakeStudio) -> None:
    studio.connections[0]["auth_method"] = "BASIC_AUTH"


def no_connection(studio: FakeStudio) -> None:
    studio.connections.clear()


def unreachable(studio: FakeStudio) -> None:
    studio.connections[0] |= {
        "state": "ER",
        "error_message": "Traceback:\n\nConnectionError: refused",
        "model_version": None,
    }


def unreachable_without_reason(studio: FakeStudio) -> None:
    studio.connections[0] |= {"state": "ER", "error_message": " \n", "model_version": None}


def no_version(studio: FakeStudio) -> None:
    studio.connections[0]["model_version"] = None
    studio.setup = setup(model_version=None)


def not_json(studio: FakeStudio) -> None:
    studio.setup = (200, "OK", b"<html>")


def a_list(studio: FakeStudio) -> None:
    studio.setup = (200, "OK", b"[]")


def unfit_labels(studio: FakeStudio) -> None:
    studio.setup = (422, "None of the model's classes is a label of the project", b"{}")


def some_labels(studio: FakeStudio) -> None:
    studio.setup = setup(missing_labels=["tree"], unused_labels=["tram", "bus"])


def broken_backend(studio: FakeStudio) -> None:
    studio.setup = (500, "The backend failed", b"")


def wants_password(studio: FakeStudio) -> None:
    studio.setup = (401, "Basic auth credentials are missing", b"")


def another_version(studio: FakeStudio) -> None:
    studio.setup = setup(model_version="v2")


def no_masks(studio: FakeStudio) -> None:
    studio.project["label_config"] = "<View><Image name='i' value='$image'/></View>"


def hostname_unknown(studio: FakeStudio) -> None:
    studio.setup = setup(studio_url=None)


def other_release(studio: FakeStudio) -> None:
    studio.release = "1.30.0"


@pytest.mark.parametrize(
    ("change", "expected", "words"),
    [
        (other_title, [("problem", "version")], "title is 'maskloop'"),
        (other_selection, [("problem", "version")], "shows predictions of 'old'"),
        (stale, [("warning", "predictions")], "2 of old"),
        (incomplete, [("warning", "predictions")], "37 of 40 tasks have none"),
        (doubled, [("warning", "predictions")], "more than once"),
        (rotated_token, [("problem", "prediction")], "HTTP 401: Label Studio wants a valid token"),
        (huge_images, [("warning", "images")] * 2, "submitting takes about a minute"),
        (second_connection, [("warning", "connection")], "2 backends are connected"),
        (second_webhook, [("problem", "webhook")], "2 webhooks"),
        (no_webhook, [("problem", "webhook")], "does not tell"),
        (sleeping_webhook, [("problem", "webhook")], "switched off"),
        (terse_webhook, [("problem", "webhook")], "every event with its content"),
        (bare_webhook, [("problem", "webhook")], "no credentials"),
        (no_connection, [("problem", "connection")], "no ML backend"),
        (unreachable, [("problem", "connection")], "ConnectionError: refused"),
        (unreachable_without_reason, [("problem", "connection")], "no reason given"),
        (no_version, [("problem", "backend"), ("problem", "version")], "no model version"),
        (not_json, [("problem", "backend")], "names no model version"),
        (a_list, [("problem", "backend")], "names no model version"),
        (unfit_labels, [("problem", "backend")], "None of the model's classes"),
        (some_labels, [("warning", "labels")] * 2, "tram, bus"),
        (broken_backend, [("problem", "backend")], "answers 500"),
        (wants_password, [("warning", "backend")], "wants basic auth"),
        (another_version, [("warning", "backend")], "serves v2 when asked from here"),
        (no_masks, [("problem", "label config")], "has no BrushLabels"),
        (hostname_unknown, [("warning", "hostname")], "does not know yet"),
        (other_release, [("warning", "Label Studio")], "1.30.0"),
    ],
)
def test_each_fault_is_found_with_its_fix(
    studio: FakeStudio,
    client: StudioClient,
    change: Callable[[FakeStudio], None],
    expected: list[tuple[str, str]],
    words: str,
) -> None:
    studio.healthy()
    change(studio)
    findings = list(examine(client, 5))
    assert bad(findings) == expected
    wrong = [finding for finding in findings if finding.level != "ok"]
    assert any(words in finding.message for finding in wrong)
    assert all(finding.fix for finding in wrong)


def test_a_webhook_with_an_old_password_is_found(studio: FakeStudio, client: StudioClient) -> None:
    connect(client, 5, studio.backend, login=BackendLogin("ls", "old"))
    assert bad(list(examine(client, 5, login=LOGIN))) == [("problem", "webhook")]


def test_a_backend_in_another_machine_cannot_reach_localhost(studio: FakeStudio, client: StudioClient) -> None:
    studio.healthy()
    studio.setup = setup(studio_url="http://localhost:8080")
    assert bad(list(examine(client, 5))) == [], "the backend is on this machine as well"
    studio.connections[0]["url"] = studio.backend.replace("127.0.0.1", "0.0.0.0")
    studio.webhooks[0]["url"] = studio.connections[0]["url"] + "/webhook"
    assert bad(list(examine(client, 5))) == [("warning", "hostname")]


def test_it_says_what_runs_the_model(studio: FakeStudio, client: StudioClient) -> None:
    studio.healthy()
    studio.setup = setup(runtime="openvino, int8", runtime_reason="measured at 512 x 384: Keras float32 60 ms")
    found = next(finding for finding in examine(client, "streets", login=LOGIN) if finding.subject == "runtime")
    assert (found.level, found.message) == ("ok", "openvino, int8: measured at 512 x 384: Keras float32 60 ms")


def test_nothing_to_measure(tmp_path: Path) -> None:
    """Label Studio is not asked, and no token wanted."""
    result = CliRunner().invoke(cli, ["doctor", "--runtime", "--home", str(tmp_path)])
    assert result.exit_code == 1
    assert "no version is served" in result.output
    assert "fix: `maskloop models promote VERSION`" in result.output


def test_asking_the_backend_tells_it_nothing_new(studio: FakeStudio, client: StudioClient) -> None:
    studio.healthy()
    list(examine(client, 5))
    (body,) = [body for _, path, body in studio.asked if path == "/backend/setup"]
    assert body["hostname"] == body["access_token"] == ""


def test_legacy_tokens_switched_off(studio: FakeStudio, client: StudioClient) -> None:
    studio.legacy = False
    (finding,) = examine(client, 5)
    assert (finding.level, finding.subject) == ("problem", "token")
    assert "use a personal access token" in finding.message
    studio.healthy()
    with StudioClient(studio.url, jwt("refresh", 1e9)) as other:
        assert bad(list(examine(other, 5))) == [], "the backend makes a prediction: it has a token of its own"
        assert bad(list(examine(other, None))) == [("warning", "token")]
        studio.why = "task 101, /data/upload/5/101.png: HTTP 401: Label Studio or the image's host wants a valid token"
        assert bad(list(examine(other, 5))) == [("problem", "prediction"), ("warning", "token")]


def test_the_command_lists_findings_and_exits_with_1(studio: FakeStudio) -> None:
    studio.healthy()
    where = ["--studio-url", studio.url, "--studio-token", LEGACY]
    done = CliRunner().invoke(cli, ["doctor", "--project", "streets", *where, "--json"])
    assert done.exit_code == 0, done.output
    assert all(finding["level"] == "ok" for finding in json.loads(done.stdout))
    no_webhook(studio)
    done = CliRunner().invoke(cli, ["doctor", "--project", "5", *where])
    assert done.exit_code == 1
    assert "fix: `maskloop connect` puts it right" in done.stdout
    done = CliRunner().invoke(cli, ["doctor", "--studio-url", "http://127.0.0.1:1", "--studio-token", LEGACY])
    assert done.exit_code == 1
    assert "is it running, and is --studio-url right?" in done.stdout
    assert LEGACY not in done.output


def test_a_password_without_a_user_is_not_ignored(studio: FakeStudio) -> None:
    done = CliRunner().invoke(
        cli,
        ["doctor", "--studio-url", studio.url, "--studio-token", LEGACY],
        env={"MASKLOOP_BASIC_AUTH_PASSWORD": "s3cret"},
    )
    assert done.exit_code == 2
    assert "--basic-auth-user" in done.output
    assert "s3cret" not in done.output
