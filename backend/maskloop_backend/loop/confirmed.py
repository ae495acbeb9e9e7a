"""Labels that a person looked at again and found right: they are not shown again until they change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskloop_converters.atomic import atomic_file
from maskloop_converters.errors import DataError
from maskloop_converters.samples import LabelSet, Sample

from ..json_files import read_json
from ..locks import held
from .changes import channels

CONFIRMED_FILE = "confirmed.json"
# Bytes of the file: some hundred thousand tasks.
_MOST = 64 << 20


class ReviewError(DataError):
    """A review that cannot be made: a task that has no label, a damaged confirmed.json, no version to ask."""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What was confirmed of a project, kept in its directory.

    Attributes:
        directory: of the project.
        digests: what the labels of a task were when they were confirmed, by task id; see :func:`digest_of`.
    """

    directory: Path
    digests: Mapping[str, str]

    @classmethod
    def read(cls, directory: Path) -> Confirmed:
        """Return what was confirmed; nothing where there is no file.

        Raises:
            ReviewError: the file is damaged.
        """
        path = directory / CONFIRMED_FILE
        try:
            values = read_json(path, most=_MOST)
            found = {str(task): str(digest) for task, digest in values["tasks"].items()}
        except FileNotFoundError:
            return cls(directory, {})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ReviewError(
                f"{path}: not readable ({error}); put it back from a copy, or move it away to confirm anew"
            ) from error
        return cls(directory, found)

    def holds(self, task: str, digest: str) -> bool:
        """Tell whether the labels that a task has now were confirmed."""
        return self.digests.get(task) == digest

    def adding(self, digests: Mapping[str, str]) -> Confirmed:
        """Keep more, by task id, and return all that is kept then; several processes may do so at once.

        Raises:
            ReviewError: the file is damaged.
        """
        with held(self.directory / f"{CONFIRMED_FILE}.lock"):
            kept = {**Confirmed.read(self.directory).digests, **digests}
            with atomic_file(self.directory / CONFIRMED_FILE, overwrite=True) as aside:
                aside.write_text(json.dumps({"tasks": kept}, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        return Confirmed(self.directory, kept)


def digest_of(samples: Sequence[Sample], labels: LabelSet) -> str:
    """Return what a task's labels are, as 64 hex digits: the pixels of each class by its name, image by image.

    Neither ids of regions nor the order of classes count: only a change that somebody sees is one.
    """
    names = [label.name for label in labels.classes]
    digest = hashlib.sha256()
    for sample in sorted(samples, key=lambda one: one.id):
        drawn = channels(sample, labels)
        digest.update(json.dumps([sample.id, *drawn.shape]).encode())
        for channel in sorted(np.unique(drawn).tolist(), key=lambda k: names[k] if k < len(names) else ""):
            if channel < len(names):
                digest.update(json.dumps(names[channel]).encode() + np.packbits(drawn == channel).tobytes())
    return digest.hexdigest()
