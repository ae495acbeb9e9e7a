"""The same shards on Ray: the same bytes, whoever is killed."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from maskloop_backend.batch.engines import ray as ray_engine
from maskloop_backend.batch.engines.local import LocalEngine
from maskloop_backend.batch.engines.ray import RayEngine
from maskloop_backend.batch.errors import EngineError
from maskloop_backend.batch.labelling import Request, label, prepare
from maskloop_backend.batch.work import Model
from maskloop_backend.registry import Registry


def workers() -> list[int]:
    """Return the processes of Ray's actors of ours."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                title = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if title.startswith(b"ray::_Actor") and _descends(int(entry.name)):
                found.append(int(entry.name))
    return found


def _descends(process: int) -> bool:
    while process > 1:
        if process == os.getpid():
            return True
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return False


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked for in /proc")
def test_a_worker_that_is_killed_is_replaced_and_the_bytes_are_those_of_one_process(
    home: Path, tmp_path: Path, draw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        draw(tmp_path / "photos" / f"{number}.png", number, height=40, width=64)
    (tmp_path / "photos" / "9.png").write_text("no picture")
    model = Model(home, str(Registry(home).serving()), "keras", "float32")
    request = Request(model, str(tmp_path / "photos"), str(tmp_path / "one"), "png", shard_images=2)

    def never(model: Model) -> tuple[str, str]:
        raise AssertionError

    label(prepare(request, never), LocalEngine())
    killed: list[int] = []

    def progress(done: int, total: int) -> None:
        if done >= 2 and not killed:
            killed.extend(workers())
            for process in killed:
                os.kill(process, signal.SIGKILL)

    report = label(
        prepare(replace(request, root=str(tmp_path / "ray")), never), RayEngine(actors=1, threads=1), progress
    )
    assert killed
    assert [failure.name for failure in report.failures] == ["9.png"]
    assert report.done == 6

    def contents(root: Path) -> dict[str, bytes]:
        return {f.relative_to(root).as_posix(): f.read_bytes() for f in root.rglob("*") if f.is_file()}

    assert contents(tmp_path / "ray") == contents(tmp_path / "one")


def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EngineError, match=r"maskloop\[ray\]"):
        ray_engine._ray()
