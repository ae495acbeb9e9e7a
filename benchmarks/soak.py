"""Fifty annotators at work for ten minutes: failed requests, waits, and how the server's memory grows.

    python benchmarks/soak.py [--people 50] [--minutes 10] [--warm-up 2]     (make soak)

The server is `maskloop serve` with a small untrained model, a process of its own; every task has an image of its own, so
that nothing comes from a cache. Memory is what the process holds (VmRSS): the mean of a fifth of the time after the
warm-up against that of the last fifth. The exit code is 1 where a request failed, memory grew by more than 5 % or the 95th
percentile of the waits is over three times the median.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fuzz"))

from attacks.rig import MIB, Rig, Server, small_model

SIZE = (480, 640)
THINK = 8.0
LOOK_EVERY = 2.0
MOST_GROWTH = 0.05
MOST_SPREAD = 3.0


def held(server: Server) -> int:
    """Return what the server's process holds in memory, in bytes."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) << 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument(
        "--warm-up", type=float, help="minutes of these that do not count; a fifth of them unless given"
    )
    arguments = parser.parse_args()
    if arguments.warm_up is None:
        arguments.warm_up = arguments.minutes / 5
    if not 0 <= arguments.warm_up < arguments.minutes:
        parser.error(f"--warm-up {arguments.warm_up:g}: expected less than the {arguments.minutes:g} of --minutes")
    memory: list[tuple[float, int]] = []
    with tempfile.TemporaryDirectory() as folder, Rig(Path(folder) / "rig", small_model(Path(folder) / "model")) as rig:
        server = rig.serve()
        server.open_task(0)
        began = time.monotonic()
        with server.annotators(arguments.people, think=THINK, size=SIZE) as waits:
            while time.monotonic() - began < 60 * arguments.minutes:
                memory.append((time.monotonic() - began, held(server)))
                time.sleep(LOOK_EVERY)
    warm = 60 * arguments.warm_up
    fifth = (60 * arguments.minutes - warm) / 5
    first = statistics.mean(size for at, size in memory if warm <= at < warm + fifth)
    last = statistics.mean(size for at, size in memory if at >= 60 * arguments.minutes - fifth)
    seconds = sorted(length for start, length in waits.seconds if start - began >= warm)
    if not seconds:
        sys.exit(f"no task was answered after the warm-up: {sorted(set(waits.failed))[:3]}")
    p50, p95, p99 = (seconds[int(share * (len(seconds) - 1))] for share in (0.5, 0.95, 0.99))
    print(f"{len(waits.seconds)} requests, {len(waits.failed)} failed {sorted(set(waits.failed))[:3]}")
    print(f"p50 {p50:.3f} s, p95 {p95:.3f} s ({p95 / p50:.1f}x), p99 {p99:.3f} s, longest {seconds[-1]:.3f} s")
    print(f"memory {first / MIB:.0f} MiB after the warm-up, {last / MIB:.0f} MiB at the end: {last / first - 1:+.1%}")
    if waits.failed or last > (1 + MOST_GROWTH) * first or p95 > MOST_SPREAD * p50:
        sys.exit(f"missed: 0 failed, memory +{MOST_GROWTH:.0%} at most, p95 at most {MOST_SPREAD:g}x the median")


if __name__ == "__main__":
    main()
