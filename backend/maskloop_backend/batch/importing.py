"""Predictions into Label Studio in bulk: chunks by bytes, again after a while where it stumbles, never twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ..studio.client import StudioClient
from ..studio.errors import StudioAuthError, StudioError

# Of a request: Label Studio keeps all of it in memory, several times over; larger ones are no faster.
CHUNK_BYTES = 8 << 20
# How often a chunk is sent, and seconds before the second time; each pause is twice the last.
_TRIES, _PAUSE = 6, 1.0
_TRANSIENT = frozenset({None, 408, 425, 429, 500, 502, 503, 504})
_TOO_LARGE = frozenset({400, 413})


@dataclass(frozen=True, slots=True)
class Made:
    """A task's prediction.

    Attributes:
        task: its id.
        body: JSON, as Label Studio imports it.
    """

    task: int
    body: bytes


@dataclass(slots=True)
class Importer:
    """Stores predictions of a version in a project.

    An answer that does not come leaves open whether the chunk was stored: then Label Studio is asked which tasks have the
    version before anything is sent again.

    Args:
        client: of Label Studio.
        project: id.
        version: of all predictions.
        chunk_bytes: of a request.
        pause: waits so many seconds.
    """

    client: StudioClient
    project: int
    version: str
    chunk_bytes: int = CHUNK_BYTES
    pause: Callable[[float], object] = time.sleep
    _waiting: list[Made] = field(default_factory=list)
    _size: int = 0

    def add(self, made: Iterable[Made]) -> dict[int, str | None]:
        """Take predictions; return what became of tasks meanwhile: None for stored, else the reason."""
        outcome: dict[int, str | None] = {}
        for one in made:
            if self._waiting and self._size + len(one.body) > self.chunk_bytes:
                outcome |= self.flush()
            self._waiting.append(one)
            self._size += len(one.body) + 1
        return outcome

    def flush(self) -> dict[int, str | None]:
        """Send what waits; return what became of its tasks."""
        chunk, self._waiting, self._size = self._waiting, [], 0
        return self._stored(chunk)

    def _stored(self, chunk: Sequence[Made]) -> dict[int, str | None]:
        if not chunk:
            return {}
        wait = _PAUSE
        left = list(chunk)
        for attempt in range(_TRIES):
            try:
                self.client.import_predictions(self.project, b"[" + b",".join(one.body for one in left) + b"]")
            except StudioAuthError:
                raise
            except StudioError as error:
                if error.status in _TRANSIENT and attempt < _TRIES - 1:
                    self.pause(wait)
                    wait *= 2
                    left = self._lacking(left)
                    if not left:
                        break
                    continue
                if error.status in _TOO_LARGE and len(left) > 1:
                    # one of them is wrong, or all are too much: the halves tell
                    middle = len(left) // 2
                    stored = dict.fromkeys((one.task for one in chunk), None) | self._stored(left[:middle])
                    return stored | self._stored(left[middle:])
                if error.status in _TOO_LARGE:
                    return dict.fromkeys((one.task for one in chunk), None) | {left[0].task: str(error)}
                raise
            break
        return dict.fromkeys((one.task for one in chunk), None)

    def _lacking(self, chunk: Sequence[Made]) -> list[Made]:
        have = {state.id for state in self.client.task_states(self.project) if self.version in state.versions}
        return [one for one in chunk if one.task not in have]
