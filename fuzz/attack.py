"""Attack fresh servers on loopback, one attack after another, and say for each what it did.

    python fuzz/attack.py                      # all of docs/security.md
    python fuzz/attack.py --list
    python fuzz/attack.py announced_bodies     # these only

Every attack has a server of its own (a process with a small model), is bounded in time, and leaves nothing behind.
Exits with 0 only where every promise held. Needs Linux: memory and spooled bytes are read from /proc.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "converters"))

from attacks import Attack, attacks
from attacks.rig import Rig, small_model


class TimeUp(BaseException):
    """An attack takes longer than it may; no ``except Exception`` of an attack may swallow it."""


def run(one: Attack, folder: Path, model: Path) -> str | None:
    """Run one attack and print its line; return what is wrong, None where its promise held."""

    def time_up(_: int, __: FrameType | None) -> None:
        raise TimeUp

    started = time.monotonic()
    signal.signal(signal.SIGALRM, time_up)
    signal.setitimer(signal.ITIMER_REAL, one.seconds)
    problem = None
    try:
        with Rig(folder, model) as rig:
            figure = one.run(rig)
    except TimeUp:
        problem = figure = f"it was not over after {one.seconds:.0f} s"
    except Exception as error:  # noqa: BLE001 - whatever went wrong is this attack's line
        problem = figure = str(error) or type(error).__name__
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    verdict = "FAILED" if problem else "held"
    print(f"{verdict:6} {one.name:34} {time.monotonic() - started:6.1f} s  {figure}", flush=True)
    return problem


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="ATTACK", help="default: all")
    parser.add_argument("--list", action="store_true", help="name the attacks and run none")
    arguments = parser.parse_args()
    known = attacks()
    if arguments.list:
        for one in known.values():
            print(f"{one.name:34} {(one.run.__doc__ or '').partition(chr(10))[0]}")
        return
    if unknown := set(arguments.names) - known.keys():
        parser.error(f"no such attack: {', '.join(sorted(unknown))}; --list names them")
    chosen = [known[name] for name in arguments.names] or list(known.values())
    with tempfile.TemporaryDirectory(prefix="maskloop-attack-") as folder:
        model = small_model(Path(folder) / "model")
        failed = [one.name for one in chosen if run(one, Path(folder) / one.name, model) is not None]
    print(f"\n{len(chosen) - len(failed)} of {len(chosen)} held" + (f"; failed: {', '.join(failed)}" if failed else ""))
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()
