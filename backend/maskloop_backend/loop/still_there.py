"""A training that outlives its project: Label Studio tells nobody that a project was deleted, so it is asked."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..studio.client import StudioClient
from ..studio.errors import StudioError
from ..training.metrics import Evaluation
from .collected import CorrectionsError
from .progress import SilentRetraining

# So often at most, in seconds.
ASK_EVERY = 60.0


class StillThere(SilentRetraining):
    """Watches a retraining, and ends it where its project was deleted.

    A Label Studio that does not answer ends nothing: it may be back before the training is over.

    Args:
        client: of Label Studio.
        project: its id.
        clock: seconds that only grow.
    """

    def __init__(self, client: StudioClient, project: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._project = project
        self._clock = clock
        self._asked = clock()

    def phase(self, name: str) -> None:
        """Look whether the project is there, however short ago that was done."""
        self._ask(always=True)

    def moved(self, done: int, total: int | None) -> None:
        """Look now and then."""
        self._ask()

    def preparing(self, *, done: int, total: int) -> None:
        """Look now and then."""
        self._ask()

    def stepped(self, *, step: int, loss: float, learning_rate: float) -> None:
        """Look now and then."""
        self._ask()

    def evaluated(self, evaluation: Evaluation, *, best: bool) -> None:
        """Look now and then."""
        self._ask()

    def _ask(self, *, always: bool = False) -> None:
        now = self._clock()
        if not always and now - self._asked < ASK_EVERY:
            return
        self._asked = now
        try:
            self._client.request("GET", f"/api/projects/{self._project}/")
        except StudioError as error:
            if error.status == 404:
                raise CorrectionsError(
                    f"project {self._project} was deleted in Label Studio; its training ends, and nothing is promoted"
                ) from error
