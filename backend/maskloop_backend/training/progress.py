"""A training on the terminal: a bar with loss and time left, and a table of every evaluation; all of it on stderr."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from .metrics import Evaluation


class TerminalProgress:
    """A TrainingProgress for people; use it in a `with` block.

    Args:
        console: where to draw; by default stderr, so that stdout stays free for the result.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self._bar = Progress(*columns, TimeRemainingColumn(), console=self._console, transient=True)
        self._task = self._bar.add_task("training", total=None, note="")
        self._steps = 0

    def __enter__(self) -> Self:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the bar."""
        self._bar.stop()

    def started(self, *, steps: int, done: int, epochs: int, train: int, validation: int, devices: str = "") -> None:
        """Say what begins."""
        self._steps = steps
        self._bar.reset(self._task, total=steps, completed=done)
        again = f", going on after step {done}" if done else ""
        self._console.print(f"{train} images to train on, {validation} to measure on, {epochs} epochs{again}")
        if devices:
            self._console.print(devices)

    def preparing(self, *, done: int, total: int) -> None:
        """Move the bar of the features."""
        self._bar.update(self._task, total=total, completed=done, note="features of the frozen layers")

    def stepped(self, *, step: int, loss: float, learning_rate: float) -> None:
        """Move the bar."""
        self._bar.update(self._task, total=self._steps, completed=step, note=f"loss {loss:.3f}")

    def kept(self, *, step: int) -> None:
        """Say nothing: it is what people expect."""

    def evaluated(self, evaluation: Evaluation, *, best: bool) -> None:
        """Print the IoU of each class."""
        table = Table("class", "IoU", box=None, pad_edge=False)
        table.columns[1].justify = "right"
        for name, iou in evaluation.iou.items():
            table.add_row(name, "-" if iou is None else f"{iou:.3f}")
        star = ", the best so far" if best else ""
        loss = "" if evaluation.loss is None else f", loss {evaluation.loss:.3f}"
        self._console.print(
            f"epoch {evaluation.epoch}: mIoU {evaluation.miou:.3f}, "
            f"pixel accuracy {evaluation.pixel_accuracy:.3f}{loss}{star}"
        )
        self._console.print(table)

    def exhausted(self, *, batch_size: int) -> None:
        """Say that it begins anew."""
        self._console.print(f"the memory did not suffice; beginning anew with batches of {batch_size}")
