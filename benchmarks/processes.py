"""What processes took: seconds of processors, and memory at their peaks."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(group: int) -> float:
    """Return the processor seconds of a process group, with those of its processes that ended and were waited for."""
    return sum(sum(map(int, fields[11:15])) for _, fields in _members(group)) / _TICKS


def peak_mb(group: int) -> float:
    """Return the sum of the peaks (resident set) of a process group's processes in MB: what they share counts several times."""
    total = 0
    for place, _ in _members(group):
        try:
            lines = (place / "status").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    return total / 1024


def _members(group: int) -> list[tuple[Path, list[str]]]:
    places = [(place, _stat(place)) for place in Path("/proc").iterdir() if place.name.isdecimal()]
    return [(place, fields) for place, fields in places if fields and int(fields[2]) == group]


def _stat(place: Path) -> list[str]:
    """Return the fields of /proc/PID/stat from the third on, none where the process has gone."""
    try:
        return (place / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
