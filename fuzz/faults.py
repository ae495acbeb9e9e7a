"""What may happen to `maskloop label`: nothing twice, nothing lost, and the bytes of a run that nobody disturbed.

    python fuzz/faults.py --folder /tmp/faults --kills 20 --seed 0        # a new folder
    python fuzz/faults.py --folder /tmp/faults --scenes ray disk --home .maskloop

- `local`: kill -9 of the driver or a worker process at random moments.
- `ray`: two Ray nodes on loopback addresses; kill -9 of the driver, of a worker process or of a whole node, which is
  started again.
- `disk`: a disk that is full, again and again, and gets more space each time.

A third of the images are broken. A run that was killed or met a full disk is started again until it ends by itself: its
output must then be, byte for byte, that of a run that nobody disturbed, and its report must name every broken image. The
version that labels is the one that --home serves, or a small one with random weights.
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
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from ray_nodes import Nodes

ROOT = Path(__file__).resolve().parents[1]
SCENES = ("local", "ray", "disk")
# What ends a run that was not killed, other than that images are missing.
_ENDINGS = ("Traceback", "Error:")
_LONGEST = 1800.0
_PAGE = 4096


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


def version(home: Path) -> None:
    """Make a home that serves a small network with random weights."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    from maskloop_backend.model.bundle import Bundle
    from maskloop_backend.model.config import Architecture
    from maskloop_backend.model.fcn import build_fcn
    from maskloop_backend.registry import Registry
    from maskloop_converters.samples import LabelSet

    keras.utils.set_random_seed(0)
    architecture = Architecture(3, "small", head=False)
    labels = LabelSet.from_names(["road", "car", "sky"])
    registry = Registry(home)
    registry.promote(registry.add(Bundle.create(build_fcn(architecture), architecture, labels)))


@dataclass
class Rig:
    """The pictures, the version, and the output of a run that nobody disturbed.

    Attributes:
        folder: of everything.
        home: whose version labels.
        images: drawn, the broken ones included.
        chance: draws moments and victims.
        broken: names of the broken images.
        seconds: that an undisturbed run takes.
    """

    folder: Path
    home: Path
    images: int
    chance: random.Random
    environment: dict[str, str]
    broken: set[str] = field(init=False)
    seconds: float = field(init=False)

    def __post_init__(self) -> None:
        self.broken = pictures(self.folder / "photos", self.images, self.chance)
        self.seconds = self.undisturbed("whole", "--processes", "1", "--threads", "1")
        self.check("whole")

    def undisturbed(self, name: str, *engine: str, environment: dict[str, str] | None = None) -> float:
        """Label into a new folder, and return how long that takes."""
        begun = time.monotonic()
        with self.label(self.folder / name, *engine, environment=environment) as run:
            self.ended(run)
        return time.monotonic() - begun

    @contextlib.contextmanager
    def label(
        self, target: Path, *engine: str, environment: dict[str, str] | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Give a run that labels the pictures into a folder."""
        command = [sys.executable, "-m", "maskloop_backend.cli.main", "label", str(self.folder / "photos"), str(target)]
        command += ["--to", "png", "--home", str(self.home), "--runtime", "keras", "--precision", "float32"]
        command += ["--shard-images", "8", "--quiet", *engine]
        self.said.write_bytes(b"")
        with self.said.open("ab") as out:
            run = subprocess.Popen(command, env=environment or self.environment, stdout=out, stderr=out)
        try:
            yield run
        finally:
            run.kill()
            run.wait()

    @property
    def said(self) -> Path:
        """What the latest run said."""
        return self.folder / "said.txt"

    def ended(self, run: subprocess.Popen[bytes]) -> None:
        """Wait until a run ends by itself; it has to do so well: images are missing, which is exit code 1, and no more."""
        code = run.wait(_LONGEST)
        said = self.said.read_text("utf-8", "replace")
        if code != 1 or any(ending in said for ending in _ENDINGS):
            raise SystemExit(f"a run ended with {code}:\n{said[-3000:]}")

    def check(self, name: str) -> None:
        """Compare an output with the undisturbed one, and its report with what is broken."""
        target = self.folder / name
        report = json.loads((target / "_maskloop/report.json").read_text())
        assert {failure["name"] for failure in report["failures"]} == self.broken
        assert report["labelled"] == self.images - len(self.broken)
        assert contents(target) == contents(self.folder / "whole"), f"{target}: other bytes than an undisturbed run"
        samples = [name for name in contents(target) if "/images/" in name]
        assert len(samples) == report["labelled"], "an image twice"


def contents(root: Path) -> dict[str, bytes]:
    return {f.relative_to(root).as_posix(): f.read_bytes() for f in root.rglob("*") if f.is_file() and f.name != "lock"}


def children(process: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return []


# Gives who may be killed now, and the function that does it.
Victims = Callable[[int], dict[str, Callable[[], object]]]


def killed(rig: Rig, name: str, kills: int, victims: Victims, *engine: str, environment: dict[str, str]) -> None:
    """Label again and again, kill somebody at random moments, and compare each output that is whole.

    Args:
        rig: what is labelled.
        name: of the scene.
        kills: in all.
        victims: gives who may be killed, for the process of a driver.
        engine: options of the command.
        environment: of the driver.
    """
    usual = rig.undisturbed(f"{name}-0", *engine, environment=environment)
    rig.check(f"{name}-0")
    count: Counter[str] = Counter()
    outputs = runs = 1
    turn: list[str] = []
    while sum(count.values()) < kills:
        target = f"{name}-{outputs}"
        runs += 1
        with rig.label(rig.folder / target, *engine, environment=environment) as run:
            while sum(count.values()) < kills and not _over(run, rig.chance.uniform(0.1, 0.9) * usual):
                there = victims(run.pid)
                # in random order, but everybody has a turn
                turn = [who for who in turn if who in there] or rig.chance.sample(sorted(there), len(there))
                who = turn.pop()
                there[who]()
                count[who] += 1
                print(f"{name}: {sum(count.values())} of {kills} kills, output {outputs}: {who}", flush=True)
                if who == "driver":
                    run.wait()
                    break
            if run.poll() != -signal.SIGKILL:
                rig.ended(run)
                rig.check(target)
                outputs += 1
    # what the last one left is gone on with
    with rig.label(rig.folder / f"{name}-{outputs}", *engine, environment=environment) as run:
        rig.ended(run)
    rig.check(f"{name}-{outputs}")
    print(
        f"{name}: killed {dict(count)} in {runs} runs: {outputs} outputs, each good image once, the same bytes",
        flush=True,
    )


def _over(run: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait so long, and tell whether a run has ended by then."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        run.wait(seconds)
    return run.poll() is not None


def _kill(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def local(rig: Rig, kills: int) -> None:
    """Processes of this machine."""

    def victims(driver: int) -> dict[str, Callable[[], object]]:
        workers = children(driver)
        there: dict[str, Callable[[], object]] = {"driver": lambda: _kill(driver)}
        if workers:
            there["worker"] = lambda: _kill(rig.chance.choice(workers))
        return there

    killed(rig, "local", kills, victims, "--processes", "2", "--threads", "1", environment=rig.environment)


def ray(rig: Rig, kills: int) -> None:
    """Two nodes of Ray."""
    with (
        tempfile.TemporaryDirectory(prefix="maskloop-ray-", ignore_cleanup_errors=True) as short,
        Nodes(Path(short), rig.folder / "nodes.log", rig.environment) as nodes,
    ):

        def node() -> None:
            nodes.kill_worker_node()
            nodes.start_worker()

        def victims(driver: int) -> dict[str, Callable[[], object]]:
            there: dict[str, Callable[[], object]] = {"driver": lambda: _kill(driver), "node": node}
            if workers := nodes.workers():
                there["worker"] = lambda: _kill(rig.chance.choice(workers))
            return there

        engine = ["--engine", "ray", "--address", nodes.address, "--processes", "2"]
        killed(rig, "ray", kills, victims, *engine, environment=nodes.environment)


def disk(rig: Rig, fills: int) -> None:
    """A disk that is full."""
    mount = rig.folder / "small-disk"
    mount.mkdir()
    # files take whole pages
    whole = sum(-(-len(content) // _PAGE) * _PAGE for content in contents(rig.folder / "whole").values())
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(mount)], check=True)
    try:
        sizes = [whole * (k + 1) // (fills + 1) for k in range(fills)]
        for size in sizes:
            subprocess.run(["mount", "-o", f"remount,size={size >> 10}k", str(mount)], check=True)
            with rig.label(mount / "masks", "--processes", "2", "--threads", "1") as run:
                code = run.wait(_LONGEST)
            said = rig.said.read_text("utf-8", "replace")
            assert code == 1, said
            assert "No space left on device; what is finished stays: make room" in said, said[-3000:]
            assert "Traceback" not in said, said[-3000:]
            left = contents(mount)
            print(
                f"disk: full at {size:,} bytes, {sum('shards/' in name for name in left)} shards finished", flush=True
            )
        subprocess.run(["mount", "-o", f"remount,size={(4 * whole >> 10) + 8192}k", str(mount)], check=True)
        with rig.label(mount / "masks", "--processes", "2", "--threads", "1") as run:
            rig.ended(run)
        rig.check("small-disk/masks")
    finally:
        subprocess.run(["umount", str(mount)], check=False)
    print(f"disk: full {fills} times, then each good image once, the same bytes", flush=True)


def alone_if_needed(scenes: list[str]) -> None:
    """Where this user may mount nothing, begin again in name spaces in which it may."""
    inside = "MASKLOOP_FAULTS_INSIDE"
    if "disk" not in scenes or inside in os.environ:
        return
    with tempfile.TemporaryDirectory() as folder:
        if not subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=False, capture_output=True).returncode:
            subprocess.run(["umount", folder], check=True)
            return
    os.environ[inside] = "1"
    os.execvp("unshare", ["unshare", "--user", "--map-root-user", "--mount", sys.executable, *sys.argv])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--home", type=Path, help="whose served version labels; by default a new one")
    parser.add_argument("--scenes", nargs="+", choices=SCENES, default=list(SCENES))
    parser.add_argument("--kills", type=int, default=20, help="of each engine")
    parser.add_argument("--fills", type=int, default=5, help="times that the disk is full")
    parser.add_argument("--images", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    alone_if_needed(options.scenes)
    path = os.pathsep.join(
        (str(ROOT / "backend"), str(ROOT / "converters"), *filter(None, [os.environ.get("PYTHONPATH")]))
    )
    sys.path[:0] = path.split(os.pathsep)
    home = (options.home or options.folder / "home").resolve()
    if options.home is None:
        version(home)
    folder = options.folder.resolve()
    environment = {**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"}
    rig = Rig(folder, home, options.images, random.Random(options.seed), environment)
    if "local" in options.scenes:
        local(rig, options.kills)
    if "ray" in options.scenes:
        ray(rig, options.kills)
    if "disk" in options.scenes:
        disk(rig, options.fills)
    print(f"{len(rig.broken)} of {rig.images} images are broken, and in every report")


if __name__ == "__main__":
    main()
