"""Moving a project to a version and back."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from maskloop_backend.studio.client import StudioClient
from maskloop_backend.studio.connect import CHUNK
from maskloop_backend.studio.errors import StudioError
from maskloop_backend.studio.login import BackendLogin
from maskloop_backend.studio.rollout import rollout

from .studio import LEGACY, VERSION, FakeStudio

NEW = "fcn32s-small-20261123-00000002"
LOGIN = BackendLogin("ls", "s3cret")


@pytest.fixture(autouse=True)
def connected(studio: FakeStudio) -> None:
    """A project of which a few tasks are done, with predictions of the first version."""
    studio.healthy()
    studio.labelled = {101, 102, 103}


def serve(studio: FakeStudio, version: str) -> None:
    """Do what a promotion does: the backend answers with another version."""
    studio.served = version
    for connection in studio.connections:
        connection["model_version"] = version


def test_to_the_served_version_and_back(studio: FakeStudio, client: StudioClient) -> None:
    serve(studio, NEW)
    steps: list[tuple[int, int]] = []
    done = rollout(client, "streets", progress=lambda *at: steps.append(at))
    assert (done.model_version, done.previous, done.removed) == (NEW, VERSION, 0)
    assert (done.tasks, done.tasks_with_predictions) == (37, 37)
    assert steps == [(0, 37), (CHUNK, 37), (37, 37)]
    assert {task for task, version in studio.predictions if version == NEW} == set(studio.tasks) - studio.labelled
    assert studio.connections[0]["title"] == studio.project["model_version"] == NEW
    before = list(studio.predictions)
    back = rollout(client, 5, VERSION, promote=lambda version, project: serve(studio, version))
    assert (back.model_version, back.previous, back.tasks_with_predictions) == (VERSION, NEW, 37)
    assert studio.predictions == before
    assert studio.connections[0]["title"] == studio.project["model_version"] == VERSION


def test_again_changes_nothing(studio: FakeStudio, client: StudioClient) -> None:
    studio.asked.clear()
    done = rollout(client, 5, VERSION)
    assert (done.previous, done.tasks_with_predictions) == (None, 37)
    assert {method for method, _, _ in studio.asked} == {"GET"}


def test_old_predictions_go_where_nobody_annotated(studio: FakeStudio, client: StudioClient) -> None:
    """What an annotation was made from stays, and so does what a failed image leaves as the only prediction."""
    serve(studio, NEW)
    studio.half_labelled = {104}
    studio.lost = {110, 120}
    studio.predictions.append((130, "imported"))
    done = rollout(client, 5, NEW, remove_old=True)
    assert (130, "imported") in studio.predictions
    assert (done.tasks, done.tasks_with_predictions, done.removed) == (37, 35, 34)
    assert {task for task, version in studio.predictions if version == VERSION} == {101, 102, 103, 104, 110, 120}
    assert studio.project["model_version"] == NEW
    assert rollout(client, 5, NEW, remove_old=True).removed == 0


def test_cut_off_in_the_middle_it_is_finished_the_next_time(studio: FakeStudio, client: StudioClient) -> None:
    serve(studio, NEW)

    def cut(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rollout(client, 5, NEW, progress=cut)
    assert client.model_versions(5)[NEW] == CHUNK
    steps: list[tuple[int, int]] = []
    rollout(client, 5, NEW, progress=lambda *at: steps.append(at))
    assert steps[-1] == (37 - CHUNK, 37 - CHUNK)
    assert client.model_versions(5)[NEW] == 37


def test_credentials_are_given_again(studio: FakeStudio, client: StudioClient) -> None:
    studio.connections[0] |= {"auth_method": "BASIC_AUTH", "is_interactive": True}
    serve(studio, NEW)
    with pytest.raises(StudioError, match="wants a user and a password"):
        rollout(client, 5, NEW)
    rollout(client, 5, NEW, login=LOGIN)
    (connection,) = studio.connections
    assert (connection["basic_auth_user"], connection["basic_auth_pass"]) == ("ls", "s3cret")
    assert (connection["title"], connection["is_interactive"]) == (NEW, True)


def test_what_cannot_be_rolled_out(studio: FakeStudio, client: StudioClient) -> None:
    with pytest.raises(StudioError, match=f"the backend serves {VERSION}, .*--promote makes it serve {NEW}"):
        rollout(client, 5, NEW)
    with pytest.raises(StudioError, match=f"{NEW} is promoted, but after 0 s .* still serves {VERSION}"):
        rollout(client, 5, NEW, promote=lambda version, project: None, patience=0)
    serve(studio, "")
    with pytest.raises(StudioError, match="told no model version"):
        rollout(client, 5)
    studio.connections.clear()
    with pytest.raises(StudioError, match="project 5 is not connected; `maskloop connect --project 5`"):
        rollout(client, 5)
    assert studio.project["model_version"] == VERSION


def test_two_at_once_store_every_prediction_once(studio: FakeStudio, client: StudioClient, tmp_path: Path) -> None:
    """The server rolls out what a training promoted, just when somebody does so by hand."""
    serve(studio, NEW)
    started = threading.Barrier(2)

    def roll_out() -> None:
        with StudioClient(client.url, LEGACY) as own:
            started.wait()
            rollout(own, 5, NEW, home=tmp_path)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(roll_out) for _ in range(2)]:
            done.result()
    assert sum(version == NEW for _, version in studio.predictions) == 37


def test_predictions_made_for_another_label_config_are_fetched_anew(studio: FakeStudio, client: StudioClient) -> None:
    studio.half_labelled = {105}
    gone = [{"id": "0000-abcdefghij", "value": {"brushlabels": ["lorry"]}}]
    studio.results = {(task, VERSION): gone for task in (101, 104, 105)}
    done = rollout(client, 5)
    assert (done.renewed, done.tasks_with_predictions) == (1, 37)
    assert set(studio.results) == {(101, VERSION), (105, VERSION)}, "those that somebody works on or has done stay"
    assert rollout(client, 5).renewed == 0
