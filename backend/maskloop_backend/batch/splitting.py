"""How many processes share the cores of this machine, found out with the work itself."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from maskloop_converters.atomic import atomic_file

from .engines.local import LocalEngine, speed
from .errors import EngineError
from .items import Shard
from .work import Labelling

if TYPE_CHECKING:
    from .labelling import Prepared

# Images from which measuring is worth its time, half a minute; fewer go through one process.
WORTH_MEASURING = 1000
# Images of a measurement, for each process.
_TRIAL = 24
_KEPT = "label-processes.json"


def candidates(cores: int) -> list[tuple[int, int]]:
    """Return the ways to share out cores that are tried: (processes, threads of each), from one process to one a core."""
    found = []
    processes = 1
    while processes < cores:
        found.append((processes, max(1, cores // processes)))
        processes *= 2
    return [*found, (cores, 1)]


def fastest(prepared: Prepared) -> LocalEngine:
    """Return the engine for a plan: one process for a few images, else as many as were measured to be fastest.

    Measured with the first images of the plan, read, labelled and written as they will be, into a folder that is thrown
    away. What was found is kept in the home directory, by network, runtime, precision, format and cores.
    """
    cores = os.cpu_count() or 1
    if prepared.images < WORTH_MEASURING or cores == 1:
        return LocalEngine()
    facts = prepared.plan.facts
    key = f"{facts['version']} {facts['runtime']} {facts['precision']} {facts['format']} {cores}"
    kept = prepared.request.model.home / _KEPT
    known = _known(kept)
    if key not in known:
        known[key] = list(_measured(prepared, cores))
        with atomic_file(kept, overwrite=True) as aside:
            aside.write_text(json.dumps(known) + "\n", encoding="utf-8")
    processes, threads = known[key]
    return LocalEngine(processes, threads if processes > 1 else None)


def _measured(prepared: Prepared, cores: int) -> tuple[int, int]:
    items = prepared.waiting[0].items[:_TRIAL]
    request = prepared.request
    rates: dict[tuple[int, int], float] = {}
    for processes, threads in candidates(cores):
        with tempfile.TemporaryDirectory(prefix="maskloop-trial-") as folder:
            destination = replace(prepared.destination, root=folder)
            work = Labelling(request.model, prepared.read, destination, request.below, request.limits)
            shards = [Shard(number, items) for number in range(processes)]
            try:
                rates[processes, threads] = speed(work, shards, threads, len(items))
            except EngineError:
                # as many models do not fit
                continue
    return max(rates, key=lambda way: rates[way]) if rates else (1, cores)


def _known(path: Path) -> dict[str, list[int]]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return {str(key): [int(value[0]), int(value[1])] for key, value in said.items()}
    except (OSError, ValueError, TypeError, AttributeError, IndexError):
        # it is measured again
        return {}
