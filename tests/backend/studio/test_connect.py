from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from maskloop_backend.cli.main import cli
from maskloop_backend.studio.backend import await_model
from maskloop_backend.studio.client import StudioClient
from maskloop_backend.studio.connect import CHUNK, connect
from maskloop_backend.studio.doctor import examine
from maskloop_backend.studio.errors import StudioError
from maskloop_backend.studio.login import BackendLogin

from .studio import LEGACY, VERSION, FakeStudio

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


def test_predictions_are_fetched_once_the_model_is_loaded(
    studio: FakeStudio, client: StudioClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskloop_backend.studio.backend._LOAD_INTERVAL", 0.0)
    studio.loading = 3
    assert connect(client, 5, studio.backend).tasks_with_predictions == 40


def test_a_model_that_never_loads_is_not_waited_for_without_end(studio: FakeStudio) -> None:
    studio.loading = 100_000
    await_model(studio.backend, None, patience=0.05, interval=0.001)
    assert 0 < studio.loading < 100_000


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


def runs(*arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments], env={"MASKLOOP_STUDIO_TOKEN": LEGACY})


def connects(studio: FakeStudio, *more: str) -> Result:
    return runs("connect", "--project", "5", "--backend-url", studio.backend, "--studio-url", studio.url, *more)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('<View><Image name="i" valueList="$pages"/>BRUSH</View>', "has a valueList, which is not supported"),
        (
            '<View><Repeater on="$pages"><Image name="i" value="$pages[{{idx}}].url"/>BRUSH</Repeater></View>',
            "stands in a Repeater, which is not supported",
        ),
        ('<View><Image name="i" value="$a"/><KeyPointLabels name="k" toName="i"/></View>', "no BrushLabels"),
        ('<View><Image name="i" value="$a"/><Brush name="b" toName="i"/></View>', "Brush b has no Label"),
        (
            '<View><Image name="i" value="$a"/><BrushLabels name="b" toName="i" value="$labels"/></View>',
            "the labels of BrushLabels come from the task's data",
        ),
        (
            '<View><Image name="i" value="$a"/><BrushLabels name="b" toName="i" model_skip="true"><Label value="car"/>'
            "</BrushLabels></View>",
            "model_skip stands at every mask control",
        ),
    ],
)
def test_a_label_config_that_cannot_be_pre_filled_is_refused_before_anything(
    studio: FakeStudio, config: str, message: str
) -> None:
    brush = '<BrushLabels name="tag" toName="i"><Label value="car"/></BrushLabels>'
    studio.project["label_config"] = config.replace("BRUSH", brush)
    done = connects(studio)
    assert done.exit_code == 1
    assert message in done.output
    assert studio.connections == []


def test_what_does_not_fit_is_said(studio: FakeStudio) -> None:
    said = {"model_version": VERSION, "missing_labels": ["tree"], "unused_labels": ["river"], "notes": ["box is not"]}
    studio.setup = (200, "OK", json.dumps(said).encode())
    done = connects(studio)
    assert done.exit_code == 0
    assert "classes of the model without a label in the project, not pre-filled: tree" in done.output
    assert "labels that the model does not know, drawn by annotators only: river" in done.output
    assert "box is not" in done.output


@pytest.mark.parametrize(("lost", "code"), [(range(101, 141), 1), ([103], 0)])
def test_why_tasks_have_no_prediction_is_said_and_none_at_all_is_a_failure(
    studio: FakeStudio, lost: list[int], code: int
) -> None:
    studio.lost = set(lost)
    studio.why = "task 103, /data/upload/5/103.png: HTTP 404: there is no such file"
    done = connects(studio)
    assert f"no prediction: {studio.why}" in done.output
    assert f"{40 - len(lost)} of 40 tasks have predictions" in done.output
    assert done.exit_code == code
    assert connects(studio, "--json").exit_code == code
    assert runs("rollout", "5", "--studio-url", studio.url).exit_code == code


def test_predictions_made_for_another_label_config_are_fetched_anew(studio: FakeStudio, client: StudioClient) -> None:
    connect(client, 5, studio.backend)
    studio.half_labelled = {105}
    # three were made before 'lorry' was renamed; the editor shows nothing of the kind any more
    gone = [{"id": "0000-abcdefghij", "value": {"brushlabels": ["lorry"]}}]
    studio.results = {(task, VERSION): gone for task in (101, 102, 105)}
    findings = list(examine(client, 5))
    (found,) = [finding for finding in findings if finding.level != "ok"]
    assert "predictions of 2 tasks were made for another label config" in found.message
    assert "(lorry)" in found.message
    done = connect(client, 5, studio.backend)
    assert done.changes[0].startswith("predictions of 2 tasks were made for another label config")
    assert done.tasks_with_predictions == 40
    # what somebody works on stays: it is learned what they change in it
    assert set(studio.results) == {(105, VERSION)}
    assert connect(client, 5, studio.backend).changes == ()


def test_predictions_without_regions_are_renewed_with_the_others_only(studio: FakeStudio, client: StudioClient) -> None:
    connect(client, 5, studio.backend)
    studio.results = {(101, VERSION): []}
    assert connect(client, 5, studio.backend).changes == ()
    studio.results[102, VERSION] = [{"id": "made-by-an-older-one"}]
    assert connect(client, 5, studio.backend).changes[0].startswith("predictions of 2 tasks")


def test_of_several_versions_the_served_one_is_looked_at(studio: FakeStudio, client: StudioClient) -> None:
    connect(client, 5, studio.backend)
    studio.predictions = [(task, "old") for task in studio.tasks] + studio.predictions
    studio.results = {(task, "old"): [{"id": "0000-x", "value": {}}] for task in studio.tasks}
    assert connect(client, 5, studio.backend).changes == ()
    studio.results[101, VERSION] = [{"id": "0000-x", "value": {}}]
    assert connect(client, 5, studio.backend).changes[0].startswith("predictions of 1 tasks")
