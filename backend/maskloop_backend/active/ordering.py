"""An order of tasks, stored where Label Studio's "Uncertainty sampling" looks: in the scores of their predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..studio.client import StudioClient
from ..studio.errors import StudioError

# What a project's setting must be for its scores to count.
UNCERTAINTY_SAMPLING = "Uncertainty sampling"


@dataclass(frozen=True, slots=True)
class Stored:
    """What was stored.

    Attributes:
        project: id.
        model_version: whose predictions have new scores: the one that the project shows.
        tasks: that are served in the order now.
        without_prediction: ids of tasks that have no prediction of that version, and so no place.
        sampling: of the project; only "Uncertainty sampling" looks at scores.
    """

    project: int
    model_version: str
    tasks: int
    without_prediction: tuple[int, ...]
    sampling: str

    def said(self) -> list[str]:
        """Return lines for people: what was stored, and what keeps it from being served."""
        lines = [f"project {self.project}: the scores of {self.tasks} tasks have this order now"]
        if self.without_prediction:
            lines.append(
                f"{len(self.without_prediction)} tasks have no prediction of {self.model_version} and so no place; "
                f"`maskloop rollout {self.project}` retrieves them, then apply again"
            )
        if self.sampling != UNCERTAINTY_SAMPLING:
            lines.append(
                f'the project serves tasks by {self.sampling!r}; choose "{UNCERTAINTY_SAMPLING}" in its settings for '
                "the order to count"
            )
        return lines

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def store_order(
    client: StudioClient,
    project: str | int,
    order: Sequence[int],
    *,
    each: Callable[[int], None] = lambda done: None,
) -> Stored:
    """Make a project serve tasks in an order: the k-th of N gets the score k / (N + 1), and the lowest come first.

    Masks, the scores of regions and the predictions of other versions stay. The order holds until the predictions are
    made anew, as they are for the next version. Cut off and run again it ends the same.

    Args:
        client: of Label Studio.
        project: id or exact title.
        order: ids of its tasks, the most useful first.
        each: called with the number of tasks done, after each.

    Raises:
        StudioError: the project shows no version's predictions, none of the tasks has one, or Label Studio refuses.
    """
    found = client.project(project)
    number, version = int(found["id"]), shown_version(found)
    scores = {task: place / (len(order) + 1) for place, task in enumerate(order, 1)}
    without = store_scores(client, version, scores, each=each)
    if order and len(without) == len(order):
        raise StudioError(
            f"none of the {len(order)} tasks has a prediction of {version}, which project {number} shows: there is no "
            f"score to change; `maskloop rollout {number}` retrieves them"
        )
    return Stored(number, version, len(order) - len(without), without, str(found.get("sampling") or ""))


def shown_version(project: Mapping[str, Any]) -> str:
    """Return the model version whose scores a project, as Label Studio describes it, sorts its tasks by.

    Raises:
        StudioError: it shows none.
    """
    version = str(project.get("model_version") or "")
    if not version:
        raise StudioError(
            f"project {project['id']} shows no model version, and Label Studio sorts by the scores of the one it shows; "
            f"`maskloop rollout {project['id']}` selects one"
        )
    return version


def store_scores(
    client: StudioClient, version: str, scores: Mapping[int, float], *, each: Callable[[int], None]
) -> tuple[int, ...]:
    """Give tasks' predictions of a version other scores, 0..1 by task id; their masks stay.

    Returns:
        ids of the tasks that have no prediction of the version, and so no place for a score.
    """
    without: list[int] = []
    for done, (task, score) in enumerate(scores.items(), 1):
        predictions = client.task_predictions(task, version)
        # all copies: Label Studio may look at any of them
        for prediction in predictions:
            client.score_prediction(prediction, score)
        if not predictions:
            without.append(task)
        each(done)
    return tuple(without)
