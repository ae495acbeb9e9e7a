"""An order of tasks in the scores of a project's predictions; that it is served is tested end to end."""

from __future__ import annotations

import pytest

from maskloop_backend.active.ordering import store_order
from maskloop_backend.studio.client import StudioClient
from maskloop_backend.studio.errors import StudioError

from .studio import VERSION, FakeStudio


@pytest.fixture(autouse=True)
def connected(studio: FakeStudio) -> None:
    studio.healthy()
    studio.project["sampling"] = "Uncertainty sampling"


def test_scores_rise_along_the_order_for_the_version_that_is_shown(studio: FakeStudio, client: StudioClient) -> None:
    order = [studio.tasks[k] for k in (5, 0, 9)]
    studio.predictions += [(order[0], "imported"), (order[1], VERSION)]
    steps: list[int] = []
    done = store_order(client, 5, order, each=steps.append)
    assert (done.tasks, done.without_prediction) == (3, ())
    assert len(done.said()) == 1
    assert done.model_version == VERSION
    assert steps == [1, 2, 3]
    given = {(studio.predictions[number], score) for number, score in studio.scores.items()}
    assert given == {((task, VERSION), k / 4) for k, task in enumerate(order, 1)}
    assert len(studio.scores) == 4, "both copies of a prediction have its score"
    first = dict(studio.scores)
    store_order(client, 5, order)
    assert studio.scores == first


def test_what_is_not_served_is_told(studio: FakeStudio, client: StudioClient) -> None:
    one, other = studio.tasks[:2]
    studio.predictions.remove((one, VERSION))
    studio.project["sampling"] = "Sequential sampling"
    done = store_order(client, 5, [one, other])
    assert (done.tasks, done.without_prediction) == (1, (one,))
    _, lacking, sampling = done.said()
    assert lacking.startswith(f"1 tasks have no prediction of {VERSION}")
    assert "by 'Sequential sampling'; choose \"Uncertainty sampling\"" in sampling
    assert list(studio.scores.values()) == [2 / 3]


def test_an_order_without_a_place_to_store_it_is_refused(studio: FakeStudio, client: StudioClient) -> None:
    studio.predictions.clear()
    with pytest.raises(StudioError, match=r"none of the 2 tasks has a prediction of .*maskloop rollout"):
        store_order(client, 5, studio.tasks[:2])
    studio.project["model_version"] = None
    with pytest.raises(StudioError, match=r"project 5 shows no model version.*maskloop rollout"):
        store_order(client, 5, studio.tasks[:2])
    assert not studio.scores
