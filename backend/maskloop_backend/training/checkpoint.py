"""The state of an unfinished training on disk: there whole or not at all."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskloop_converters.atomic import atomic_file
from maskloop_converters.errors import DataError

from .metrics import Evaluation

STATE_FILE = "state.npz"
BEST_FILE = "best.npz"


class CheckpointError(DataError):
    """A checkpoint that is damaged or belongs to another training."""


@dataclass(slots=True)
class Progressed:
    """How far a training has come.

    Attributes:
        step: steps done.
        history: the evaluations so far, in order.
        losses: the loss of every step since the last evaluation.
        seconds: of work so far, over all sittings.
    """

    step: int = 0
    history: list[Evaluation] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "step": self.step,
            "history": [evaluation.to_json() for evaluation in self.history],
            "losses": self.losses,
            "seconds": self.seconds,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Progressed:
        """Return what :meth:`to_json` gave."""
        history = [Evaluation.from_json(item) for item in values["history"]]
        return cls(values["step"], history, values["losses"], values["seconds"])


def write(path: Path, arrays: list[NDArray[Any]], record: dict[str, Any]) -> None:
    """Write arrays and a JSON record as one file; a reader finds the old file or the new one, never a part.

    Raises:
        OSError: no space, no permission; the old file stays.
    """
    named: dict[str, Any] = {f"a{index}": array for index, array in enumerate(arrays)}
    with atomic_file(path, overwrite=True) as aside, aside.open("wb") as file:
        np.savez(file, record=np.array(json.dumps(record)), **named)


def read(path: Path, shapes: list[tuple[int, ...]]) -> tuple[list[NDArray[Any]], dict[str, Any]]:
    """Return the arrays and the record of a file.

    Args:
        path: that :func:`write` made.
        shapes: that the arrays must have.

    Raises:
        CheckpointError: damaged, or arrays of other shapes.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            record = json.loads(str(stored["record"]))
            arrays = [stored[f"a{index}"] for index in range(len(stored.files) - 1)]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: the checkpoint cannot be read ({error}); --restart begins anew") from error
    found = [array.shape for array in arrays]
    if found != shapes:
        raise CheckpointError(f"{path}: the checkpoint is of another network; --restart begins anew")
    return arrays, record
