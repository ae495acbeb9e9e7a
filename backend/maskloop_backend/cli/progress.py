"""The progress bar of commands that take long: on stderr, with the time left, silent where nobody watches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Move(Protocol):
    """Moves a bar to so many of all; ``what`` is counted from now on, in place of what was before."""

    def __call__(self, done: int, total: int, what: str | None = None) -> None:
        """Move it."""


@contextmanager
def bar(what: str, *, speed: bool = False) -> Iterator[Move]:
    """Give a function (done, total) -> None that moves a bar.

    Args:
        what: is counted, in the plural ('predictions').
        speed: show how many a second, too.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Speed(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed or 0:.1f}/s")

    columns: tuple[ProgressColumn, ...] = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    if speed:
        columns += (Speed(),)
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None)
        counted = what

        def move(done: int, total: int, what: str | None = None) -> None:
            nonlocal counted
            if what is not None and what != counted:
                counted = what
                # the time that is left follows from the speed of what is counted now
                progress.reset(task, description=what, total=total)
            progress.update(task, completed=done, total=total)

        yield move
