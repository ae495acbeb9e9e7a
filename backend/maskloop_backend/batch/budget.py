"""How many bytes of images are in memory at once, granted in the order of the images."""

from __future__ import annotations

import threading


class Budget:
    """A number of bytes that images take from reading to writing.

    Grants follow the images' order, so that an early one never waits for memory that later ones hold. The image that is
    needed next is let in whatever it takes: so memory is bounded by the budget and one image.

    Args:
        capacity: bytes.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._changed = threading.Condition()
        self._used = 0
        self._next = 0
        self._needed = -1
        self._held: dict[int, int] = {}
        self._closed = False
        #: the most that was ever taken at once
        self.peak = 0

    def take(self, number: int, size: int) -> None:
        """Wait until an image may take so many bytes.

        Args:
            number: of the image; 0, 1, 2, ... each takes, or passes, once.
            size: bytes.

        Raises:
            RuntimeError: the budget was closed while waiting.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or (self._next == number and self._fits(number, size)))
            if self._closed:
                raise RuntimeError("the shard was given up")
            self._next += 1
            self._held[number] = size
            self._used += size
            self.peak = max(self.peak, self._used)
            self._changed.notify_all()

    def pass_by(self, number: int) -> None:
        """Let an image go that takes nothing, or nothing any more: it cannot be had or read."""
        with self._changed:
            had_its_turn = number < self._next
        if had_its_turn:
            self.keep(number, 0)
        else:
            self.take(number, 0)

    def keep(self, number: int, size: int) -> None:
        """Let an image take less, or more, than it did: it is decoded, or predicted."""
        with self._changed:
            self._used += size - self._held[number]
            self._held[number] = size
            self.peak = max(self.peak, self._used)
            self._changed.notify_all()

    def release(self, number: int) -> None:
        """Take an image's bytes back."""
        with self._changed:
            self._used -= self._held.pop(number, 0)
            self._changed.notify_all()

    def need(self, number: int) -> None:
        """Say that everybody waits for an image."""
        with self._changed:
            self._needed = number
            self._changed.notify_all()

    def close(self) -> None:
        """Let nobody wait any longer."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _fits(self, number: int, size: int) -> bool:
        return self._used + size <= self._capacity or self._used == 0 or number <= self._needed
