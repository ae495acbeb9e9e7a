"""How far a command is: one line on stderr that is written over, with the rate and the time left."""

from __future__ import annotations

import sys
import time
from types import TracebackType

# Seconds between two updates of the line.
EVERY = 0.2


class Progress:
    """A function (done, count or None) -> None that shows a line where somebody watches; a context manager.

    Args:
        what: is counted, in the plural.
        quiet: show nothing.
    """

    def __init__(self, what: str, *, quiet: bool = False) -> None:
        self._what = what
        self._shown = not quiet and sys.stderr.isatty()
        self._started = time.monotonic()
        self._last = 0.0
        self._width = 0

    def __call__(self, done: int, count: int | None) -> None:
        """Show the line anew, unless that was done a moment ago."""
        now = time.monotonic()
        if not self._shown or now - self._last < EVERY:
            return
        self._last = now
        rate = done / max(now - self._started, 1e-9)
        line = f"{done:,} {self._what}" if count is None else f"{done:,} of {count:,} {self._what}"
        line += f"  {rate:,.0f}/s"
        if count is not None and done:
            left = round((count - done) / max(rate, 1e-9))
            line += f"  {left // 60}:{left % 60:02} left"
        sys.stderr.write("\r" + line.ljust(self._width))
        sys.stderr.flush()
        self._width = len(line)

    def __enter__(self) -> Progress:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Clear the line."""
        if self._width:
            sys.stderr.write("\r" + " " * self._width + "\r")
            sys.stderr.flush()
