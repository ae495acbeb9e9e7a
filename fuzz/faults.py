"""Kill `maskloop label` with -9 at random moments, driver or worker, a third of the images broken: nothing twice, nothing lost.

    python fuzz/faults.py HOME --kills 20 --seed 0 --folder /tmp/faults      # a new folder; HOME has a served version

The run that is killed is started again until it ends by itself; its output must be, byte for byte, that of a run that
nobody disturbed, and its report must name every broken image.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


def pictures(folder: Path, count: int, chance: random.Random) -> set[str]:
    """Draw pictures, every third one cut off; return the names of the broken ones."""
    folder.mkdir(parents=True)
    broken = set()
    for number in range(count):
        file = folder / f"{number:04}.png"
        pixels = np.random.default_rng(number).integers(0, 256, (12, 16, 3), np.uint8).repeat(16, 0).repeat(16, 1)
        Image.fromarray(pixels).save(file)
        if number % 3 == 2:
            file.write_bytes(file.read_bytes()[: chance.randrange(100)])
            broken.add(file.name)
    return broken


def started(arguments: list[str]) -> subprocess.Popen[bytes]:
    path = os.pathsep.join((str(ROOT / "backend"), str(ROOT / "converters")))
    command = [sys.executable, "-m", "maskloop_backend.cli.main", "label", *arguments]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, stdout=quiet, stderr=quiet)


def children(process: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return []


def contents(root: Path) -> dict[str, bytes]:
    return {f.relative_to(root).as_posix(): f.read_bytes() for f in root.rglob("*") if f.is_file() and f.name != "lock"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--images", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    broken = pictures(options.folder / "photos", options.images, chance)
    fixed = ["--to", "png", "--home", str(options.home), "--runtime", "keras", "--precision", "float32", "--quiet"]
    fixed += ["--shard-images", "8", "--processes", "2", "--threads", "1"]
    photos = str(options.folder / "photos")
    begun = time.monotonic()
    assert started([photos, str(options.folder / "whole"), *fixed]).wait() == 1
    usual = time.monotonic() - begun
    target = str(options.folder / "disturbed")
    killed = {"driver": 0, "worker": 0}
    while sum(killed.values()) < options.kills:
        run = started([photos, target, *fixed])
        try:
            run.wait(chance.uniform(0.3, 1.0) * usual)
        except subprocess.TimeoutExpired:
            workers = children(run.pid)
            victim = chance.choice([run.pid, *workers])
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
            killed["driver" if victim == run.pid else "worker"] += 1
            if victim != run.pid:
                run.wait()
        run.wait()
        if run.returncode == 1:
            break
    run = started([photos, target, *fixed])
    assert run.wait() == 1, "broken images are missing, which is exit code 1"
    assert contents(Path(target)) == contents(options.folder / "whole"), "other bytes than an undisturbed run"
    report = json.loads((Path(target) / "_maskloop/report.json").read_text())
    assert {failure["name"] for failure in report["failures"]} == broken
    assert report["labelled"] == options.images - len(broken)
    print(
        f"killed {killed}: {report['labelled']} images once each, {len(broken)} broken ones in the report, the same bytes"
    )


if __name__ == "__main__":
    main()
