"""Predictions that were made for another label config than the project has now.

Their version is the right one, so that Label Studio takes them for current and never asks again; their labels may be gone.
Every region that we make carries the mark of its label config in its id.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from maskloop_converters.errors import LabelError

from . import label_config
from .client import Json, StudioClient, TaskState

# Label Studio gives the first 500 characters of a task's predictions for a whole page of tasks at once. The id of a region
# is the first of its keys, quotes are left out.
_FIRST_ID = re.compile(r"^\W*id: ?([^,}]*)")
# So many stale predictions are read for the labels in them.
_READ = 3


@dataclass(frozen=True, slots=True)
class Stale:
    """What was found.

    Attributes:
        tasks: ids of tasks whose prediction of the version was made for another label config.
        labels: of those predictions that the label config does not have any more; a sample.
    """

    tasks: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Say it in a line."""
        gone = f", with labels that are gone from it ({', '.join(self.labels)})" if self.labels else ""
        return f"predictions of {len(self.tasks)} tasks were made for another label config{gone}"


def find(client: StudioClient, project: Json, version: str, states: Sequence[TaskState]) -> Stale:
    """Return which tasks have a stale prediction of a version.

    A prediction without any region says nothing of its label config: it counts as stale where others are, or where none
    has a region.

    Args:
        client: of Label Studio.
        project: as it describes it.
        version: of the model.
        states: of the tasks to look at; those with predictions of several versions take a request each.
    """
    try:
        config = label_config.parse(str(project.get("label_config") or ""))
    except LabelError:
        return Stale()
    wanted = {state.id: state for state in states if version in state.versions}
    if not wanted:
        return Stale()
    heads = client.prediction_heads(int(project["id"]))
    ids = {task: _first_id(client, state, version, heads.get(task, "")) for task, state in wanted.items()}
    stale = [task for task, first in ids.items() if first and not first.startswith(f"{config.mark}-")]
    if stale or not any(ids.values()):
        stale = [task for task, first in ids.items() if not first or task in set(stale)]
    known = {label.written for control in config.controls for label in control.labels}
    known |= {label.value for control in config.controls for label in control.labels}
    used: dict[str, None] = {}
    for task in [task for task in stale if ids[task]][:_READ]:
        for prediction in client.predictions(task, version):
            used |= dict.fromkeys(_labels(prediction.get("result")))
    return Stale(tuple(stale), tuple(name for name in used if name not in known))


def remove(client: StudioClient, stale: Stale, version: str) -> None:
    """Delete stale predictions, so that Label Studio fetches them anew."""
    for task in stale.tasks:
        client.delete_task_predictions(task, version)


def _first_id(client: StudioClient, state: TaskState, version: str, head: str) -> str:
    """Return the id of the first region of a task's prediction, '' where it has none."""
    if len(state.versions) == 1:
        found = _FIRST_ID.match(head)
        return found[1].strip() if found else ""
    for prediction in client.predictions(state.id, version):
        items = prediction.get("result")
        if isinstance(items, list) and items and isinstance(items[0], dict):
            return str(items[0].get("id"))
    return ""


def _labels(result: object) -> list[str]:
    values = [item.get("value") for item in result if isinstance(item, dict)] if isinstance(result, list) else []
    return [
        name
        for value in values
        if isinstance(value, dict)
        for key, names in value.items()
        if key.endswith("labels") and isinstance(names, list)
        for name in names
        if isinstance(name, str)
    ]
