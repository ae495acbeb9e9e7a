"""The images of a project that no version is ever trained on, drawn once for good.

Whether a task is held out follows from its id and a seed alone. So a project may grow, shrink and be worked on in any
order, and nothing that chooses tasks (people, uncertainty, a queue) changes which ones are held out.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from maskloop_converters.atomic import atomic_file
from maskloop_converters.errors import DataError, OutputExistsError

HOLDOUT_FILE = "holdout.json"
SHARE = 0.2
# Fewer images cannot tell a better version from luck.
_LEAST = 3
_SEEDS = 200


class HoldoutError(DataError):
    """A damaged holdout.json: without it, nobody knows which images were never trained on."""


def project_directory(home: Path, project: int | str) -> Path:
    """Return where what is known of a Label Studio project is kept: ``<home>/projects/project-<id>``."""
    return home / "projects" / f"project-{project}"


@dataclass(frozen=True, slots=True)
class Holdout:
    """Which tasks are held out.

    Attributes:
        seed: drawn once a project.
        share: of all tasks, 0..1.
    """

    seed: int
    share: float = SHARE

    def contains(self, task_id: str) -> bool:
        """Tell whether a task is held out; the answer never changes."""
        digest = hashlib.sha256(f"{self.seed}:{task_id}".encode()).digest()
        return int.from_bytes(digest[:8]) < self.share * 2**64

    @classmethod
    def read(cls, directory: Path) -> Holdout | None:
        """Return the holdout of a project's directory, None where none was drawn yet.

        Raises:
            HoldoutError: the file is damaged.
        """
        path = directory / HOLDOUT_FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            found = cls(int(values["seed"]), float(values["share"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise HoldoutError(
                f"{path}: not readable ({error}); put it back from a copy. If it is removed, a new holdout is drawn, which "
                "versions trained before have seen"
            ) from error
        if not 0 < found.share < 1:
            raise HoldoutError(f"{path}: the share is {found.share}; expected a number between 0 and 1")
        return found

    @classmethod
    def of(cls, directory: Path, ids: Iterable[str], *, share: float = SHARE, seed: int | None = None) -> Holdout:
        """Return the holdout of a project's directory; drawn and written there the first time.

        Of some random seeds, the one is kept that holds out about as many of the tasks there are as it should: of few
        tasks, chance could else hold out none.

        Args:
            directory: of the project.
            ids: of the tasks that are there now.
            share: of the tasks.
            seed: makes the draw repeatable; None draws it from the system.

        Raises:
            HoldoutError: the file is damaged.
        """
        if (known := cls.read(directory)) is not None:
            return known
        present = sorted(set(ids))
        wanted = min(max(_LEAST, round(share * len(present))), len(present) // 2)
        first = secrets.randbits(32) if seed is None else seed
        candidates = [cls(first + number, share) for number in range(_SEEDS if present else 1)]
        drawn = min(candidates, key=lambda one: abs(sum(map(one.contains, present)) - wanted))
        try:
            with atomic_file(directory / HOLDOUT_FILE) as aside:
                aside.write_text(json.dumps({"seed": drawn.seed, "share": drawn.share}) + "\n", encoding="utf-8")
        except OutputExistsError:
            # another process was faster
            return cls.of(directory, present, share=share, seed=seed)
        return drawn
