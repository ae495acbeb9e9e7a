"""Trainings and evaluations in MLflow, where MLFLOW_TRACKING_URI is set; nothing of it otherwise.

A run has the settings as parameters, loss and mIoU as curves, the result's figures as metrics, the version as a tag, and the report as
artifacts. The experiment is MLFLOW_EXPERIMENT_NAME's, else 'maskloop'. A server that cannot be reached costs a warning, not
the training.
"""

from __future__ import annotations

import importlib.util
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from .training.metrics import Evaluation

URI, EXPERIMENT, DEFAULT = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "maskloop"
# What MLflow takes of a parameter, and of metrics at once.
_LONGEST, _AT_ONCE = 6000, 500
# Steps whose loss is sent together: a request a step would take longer than the step.
_STEPS = 50
_log = logging.getLogger(__name__)


class Run:
    """A run that nobody tracks: takes everything and keeps nothing."""

    def settings(self, values: Mapping[str, Any]) -> None:
        """Note settings, JSON values by name; of nested ones the names are joined by dots."""

    def figures(self, values: Mapping[str, Any], *, step: int = 0) -> None:
        """Note the numbers among JSON values, at a step; everything else of them is passed over."""

    def tags(self, **values: str | None) -> None:
        """Note texts: the version, its parent, why it is served."""

    def files(self, path: Path) -> None:
        """Keep a file, or what is in a folder."""


class _Tracked(Run):
    """A run of MLflow.

    Args:
        client: ``mlflow.MlflowClient``.
        run_id: of the run.
    """

    def __init__(self, client: Any, run_id: str) -> None:
        self._client = client
        self._id = run_id
        self._reached = True

    def settings(self, values: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        found = [Param(_name(key), str(value)[:_LONGEST]) for key, value in _leaves(values) if value is not None]
        self._try(lambda: self._client.log_batch(self._id, params=found[:100]))

    def figures(self, values: Mapping[str, Any], *, step: int = 0) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        found = [Metric(_name(key), float(value), now, step) for key, value in _leaves(values) if _is_number(value)]
        for start in range(0, len(found), _AT_ONCE):
            self._try(partial(self._client.log_batch, self._id, metrics=found[start : start + _AT_ONCE]))

    def losses(self, values: list[tuple[int, float, float]]) -> None:
        """Note loss and learning rate of steps."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        found = [Metric("loss", loss, now, step) for step, loss, _ in values]
        found += [Metric("learning_rate", rate, now, step) for step, _, rate in values]
        self._try(lambda: self._client.log_batch(self._id, metrics=found))

    def tags(self, **values: str | None) -> None:
        for key, value in values.items():
            if value is not None:
                self._try(partial(self._client.set_tag, self._id, f"maskloop.{key}", value))

    def files(self, path: Path) -> None:
        keep = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
        self._try(lambda: keep(self._id, str(path)))

    def end(self, status: str) -> None:
        """Finish the run."""
        self._try(lambda: self._client.set_terminated(self._id, status))

    def _try(self, call: Callable[[], object]) -> None:
        """Send something; after the first failure nothing more is tried: every attempt may wait for a timeout."""
        if not self._reached:
            return
        try:
            call()
        except Exception as error:  # noqa: BLE001 - whatever a tracking server does, the training goes on
            self._reached = False
            _warn(error)


@contextmanager
def run(name: str, **tags: str | None) -> Iterator[Run]:
    """Give the run of a command, and finish it with the block: 'FINISHED', 'KILLED' by Ctrl-C, 'FAILED' by an error.

    Args:
        name: of the command.
        **tags: see :meth:`Run.tags`.
    """
    tracked = _begun(name) if os.environ.get(URI) else None
    if tracked is None:
        yield Run()
        return
    tracked.tags(**tags)
    status = "FAILED"
    try:
        yield tracked
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        tracked.end(status)


def _begun(name: str) -> _Tracked | None:
    if importlib.util.find_spec("mlflow") is None:
        _log.warning(
            "%s is set and MLflow is not installed, so nothing is tracked: pip install 'maskloop[mlflow]'", URI
        )
        return None
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it reports every use to its makers otherwise
    try:
        from mlflow import MlflowClient

        client = MlflowClient()
        called = os.environ.get(EXPERIMENT) or DEFAULT
        experiment = client.get_experiment_by_name(called)
        place = client.create_experiment(called) if experiment is None else experiment.experiment_id
        return _Tracked(client, client.create_run(place, run_name=name).info.run_id)
    except Exception as error:  # noqa: BLE001 - see _Tracked._try
        _warn(error)
        return None


def _warn(error: Exception) -> None:
    # the address may hold a password, and so may an error that quotes it
    _log.warning("MLflow does not take what it is sent (%s); it goes on without", type(error).__name__)


class Followed:
    """The progress of a training that a run notes as it goes by; whatever else a progress has is handed through.

    Args:
        progress: who is told too.
        tracked: the run.
    """

    def __init__(self, progress: Any, tracked: Run) -> None:
        self._progress = progress
        self._run = tracked
        self._losses: list[tuple[int, float, float]] = []
        self._step = 0

    def __getattr__(self, name: str) -> Any:
        """Return what the progress has."""
        return getattr(self._progress, name)

    def stepped(self, *, step: int, loss: float, learning_rate: float) -> None:
        """Note a step."""
        self._progress.stepped(step=step, loss=loss, learning_rate=learning_rate)
        self._step = step
        if isinstance(self._run, _Tracked):
            self._losses.append((step, loss, learning_rate))
            if len(self._losses) >= _STEPS:
                self._send()

    def evaluated(self, evaluation: Evaluation, *, best: bool) -> None:
        """Note an evaluation."""
        self._progress.evaluated(evaluation, best=best)
        self._send()
        classes = {f"iou.{name}": iou for name, iou in evaluation.iou.items()}
        figures = {"miou": evaluation.miou, "pixel_accuracy": evaluation.pixel_accuracy, **classes}
        self._run.figures(figures, step=self._step)

    def _send(self) -> None:
        if self._losses and isinstance(self._run, _Tracked):
            self._run.losses(self._losses)
            self._losses = []


def _leaves(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _name(text: str) -> str:
    """Return a name that MLflow takes: letters, digits, _ - . / and blanks."""
    return "".join(sign if sign.isascii() and (sign.isalnum() or sign in "_-. /") else "_" for sign in text)[:250]
