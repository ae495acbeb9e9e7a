"""Who watches a retraining: people at a terminal, and a file that another process reads."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from maskloop_converters.atomic import atomic_file

from ..training.metrics import Evaluation
from ..training.outcome import Silent, TrainingProgress
from ..training.progress import TerminalProgress

# A progress file is replaced at most so often, in seconds; the last word of a phase is always written.
_BETWEEN = 1.0


class RetrainProgress(TrainingProgress, Protocol):
    """Who watches a retraining, its training included."""

    def phase(self, name: str) -> None:
        """The next phase begins: 'collect', 'compare', 'train', 'gate', 'report'."""

    def moved(self, done: int, total: int | None) -> None:
        """So many of the phase's images are done."""

    def said(self, text: str) -> None:
        """Something that people should know."""


class SilentRetraining(Silent):
    """Nobody watches."""

    def phase(self, name: str) -> None:
        """Do nothing."""

    def moved(self, done: int, total: int | None) -> None:
        """Do nothing."""

    def said(self, text: str) -> None:
        """Do nothing."""


class TerminalRetraining(TerminalProgress):
    """A RetrainProgress for people; use it in a `with` block."""

    def phase(self, name: str) -> None:
        """Begin the bar anew."""
        self._bar.reset(self._task, total=None, note=name)
        self._bar.update(self._task, description=name)

    def moved(self, done: int, total: int | None) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=done, total=total)

    def said(self, text: str) -> None:
        """Print it."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


class ProgressFile:
    """A RetrainProgress that keeps one small JSON object in a file, always whole.

    {"phase": str, "step": int, "steps": int, "seconds_left": float or null, "miou": float or null, "resumed": int,
    "kept": int}. ``steps`` is 0 where the number is not known; ``resumed`` is the step of the training at which this
    process went on, ``kept`` the one at which another would.

    Args:
        path: is replaced at most once a second.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._now: dict[str, Any] = {"phase": "start", "step": 0, "steps": 0, "seconds_left": None, "miou": None}
        self._now.update(resumed=0, kept=0)
        self._steps = 0
        self._written = -_BETWEEN
        self._began = (time.monotonic(), 0)
        self._write(always=True)

    def phase(self, name: str) -> None:
        """Begin a phase."""
        self._begin(0)
        self._now.update(phase=name, step=0, steps=0, seconds_left=None)
        self._write(always=True)

    def moved(self, done: int, total: int | None) -> None:
        """Note how far the phase is."""
        self._advance(done, total or 0)

    def said(self, text: str) -> None:
        """Do nothing: it is for people."""

    def started(self, *, steps: int, done: int, epochs: int, train: int, validation: int, devices: str = "") -> None:
        """Note where the training begins."""
        self._now.update(resumed=done, kept=done)
        self._begin(done)
        self._advance(done, steps)

    def preparing(self, *, done: int, total: int) -> None:
        """Note how many features there are; the steps follow."""
        self._now["phase"] = "features"
        self._advance(done, total)
        if done == total:
            self._now["phase"] = "train"
            self._begin(0)

    def stepped(self, *, step: int, loss: float, learning_rate: float) -> None:
        """Note a step."""
        if self._now["phase"] != "train":
            self._now["phase"] = "train"
            self._begin(step)
        self._advance(step, self._steps)

    def kept(self, *, step: int) -> None:
        """Note what is safe."""
        self._now["kept"] = step
        self._write(always=True)

    def evaluated(self, evaluation: Evaluation, *, best: bool) -> None:
        """Note the best mIoU so far."""
        if best:
            self._now["miou"] = evaluation.miou
        self._write(always=True)

    def exhausted(self, *, batch_size: int) -> None:
        """Begin anew."""
        self.phase("train")

    def _begin(self, done: int) -> None:
        self._began = (time.monotonic(), done)

    def _advance(self, done: int, total: int) -> None:
        if self._now["phase"] == "train":
            self._steps = total
        since, first = self._began
        left = None
        if total and done > first:
            left = round((time.monotonic() - since) / (done - first) * (total - done), 1)
        self._now.update(step=done, steps=total, seconds_left=left)
        self._write(always=bool(total) and done == total)

    def _write(self, *, always: bool) -> None:
        now = time.monotonic()
        if always or now - self._written >= _BETWEEN:
            self._written = now
            with atomic_file(self._path, overwrite=True) as aside:
                aside.write_text(json.dumps(self._now) + "\n", encoding="utf-8")


class Together:
    """Several that watch.

    Args:
        watchers: are told everything, in order.
    """

    def __init__(self, watchers: Sequence[RetrainProgress]) -> None:
        self._watchers = watchers

    def phase(self, name: str) -> None:
        """Tell all."""
        for one in self._watchers:
            one.phase(name)

    def moved(self, done: int, total: int | None) -> None:
        """Tell all."""
        for one in self._watchers:
            one.moved(done, total)

    def said(self, text: str) -> None:
        """Tell all."""
        for one in self._watchers:
            one.said(text)

    def started(self, *, steps: int, done: int, epochs: int, train: int, validation: int, devices: str = "") -> None:
        """Tell all."""
        for one in self._watchers:
            one.started(steps=steps, done=done, epochs=epochs, train=train, validation=validation, devices=devices)

    def preparing(self, *, done: int, total: int) -> None:
        """Tell all."""
        for one in self._watchers:
            one.preparing(done=done, total=total)

    def stepped(self, *, step: int, loss: float, learning_rate: float) -> None:
        """Tell all."""
        for one in self._watchers:
            one.stepped(step=step, loss=loss, learning_rate=learning_rate)

    def kept(self, *, step: int) -> None:
        """Tell all."""
        for one in self._watchers:
            one.kept(step=step)

    def evaluated(self, evaluation: Evaluation, *, best: bool) -> None:
        """Tell all."""
        for one in self._watchers:
            one.evaluated(evaluation, best=best)

    def exhausted(self, *, batch_size: int) -> None:
        """Tell all."""
        for one in self._watchers:
            one.exhausted(batch_size=batch_size)
