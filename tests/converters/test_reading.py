"""A conversion by two processes: the same bytes, errors and reports as by one, and nothing left of it where it is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import maskloop_converters as mc
from maskloop_converters import reading
from maskloop_converters.errors import DataError, MaskloopError
from maskloop_converters.registry import TARGETS
from maskloop_converters.report import ErrorPolicy

MakeDataset = Callable[..., mc.Dataset]


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.fixture
def source(make: MakeDataset, tmp_path: Path) -> Path:
    mc.write(make(40), tmp_path / "source", "png")
    return tmp_path / "source"


def by_one_and_by_two(source: Path, tmp_path: Path, to: str, **options: Any) -> tuple[Any, Any]:
    """Convert with one process and with two; return what came of each: the report and the files, or the error."""

    def outcome(workers: int) -> Any:
        target = tmp_path / f"by-{workers}"
        try:
            report = mc.convert(source, target, to, workers=workers, **options).to_dict()
        except MaskloopError as error:
            assert not list(tmp_path.glob("*by-*")), "something is left of it"
            return type(error), str(error), getattr(error, "__notes__", [])
        del report["seconds"]
        return report, tree(target)

    return outcome(1), outcome(2)


@pytest.mark.parametrize("to", sorted(TARGETS))
def test_bytes_do_not_depend_on_who_reads(source: Path, tmp_path: Path, to: str) -> None:
    one, two = by_one_and_by_two(source, tmp_path, to, verify=True)
    assert one == two
    assert one[0]["samples"] == 40


def test_parts_and_changed_labels_are_the_same(source: Path, tmp_path: Path) -> None:
    options = {"split": (80, 20), "seed": 3, "rename": {"car": "road"}, "drop": ["sky"]}
    one, two = by_one_and_by_two(source, tmp_path, "coco", **options)
    assert one == two
    assert set(one[0]["parts"]) == {"train", "val"}


@pytest.mark.parametrize("on_error", ["fail", "skip"])
def test_errors_and_what_is_skipped_are_the_same(source: Path, tmp_path: Path, on_error: Any) -> None:
    masks = sorted((source / "masks").rglob("*.png"))
    for mask in masks[7::9]:
        mask.write_bytes(mask.read_bytes()[:40])
    one, two = by_one_and_by_two(source, tmp_path, "labelme", on_error=on_error)
    assert one == two
    if on_error == "fail":
        assert "PNG truncated: 40 bytes" in one[1]
        assert one[2], "the advice is lost"
    else:
        assert one[0]["samples"] + sum(kind["count"] for kind in one[0]["skipped"].values()) == 40
        assert one[0]["skipped"]


def test_a_reader_that_is_killed_is_one_clear_line(make: MakeDataset, tmp_path: Path) -> None:
    # more than a pipe and what waits for the writer hold: it has not come to its end
    source = tmp_path / "source"
    mc.write(make(600), source, "png")

    def kill(done: int, count: int | None) -> None:
        if done == 1:
            for process in readers(os.getpid()):
                os.kill(process, signal.SIGKILL)

    with pytest.raises(
        DataError, match=r"the process that reads .*source ended \(signal 9, .*out of memory.*--workers 1"
    ):
        mc.convert(source, tmp_path / "out", "coco", workers=2, progress=kill)
    assert [entry.name for entry in tmp_path.iterdir()] == ["source"]


def readers(parent: int) -> list[int]:
    """Return the processes that read for a process."""
    children = Path(f"/proc/{parent}/task").glob("*/children")
    found = [int(child) for listed in children for child in listed.read_text().split()]
    return [pid for pid in found if b"maskloop_converters.reading" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_ctrl_c_ends_both_and_leaves_nothing(source: Path, tmp_path: Path) -> None:
    code = f"""
import os, signal, sys
sys.path[:0] = {sys.path!r}
import maskloop_converters as mc
signal.signal(signal.SIGINT, signal.default_int_handler)  # started in the background, it would be ignored
def stop(done, count):
    if done == 2:
        os.kill(0, signal.SIGINT)  # as a terminal does: to the whole group
mc.convert({str(source)!r}, {str(tmp_path / "out")!r}, "coco", workers=2, progress=stop)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, process_group=0, timeout=300)
    assert run.returncode == -signal.SIGINT
    assert run.stderr.count("KeyboardInterrupt") == 1, run.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["source"]


def test_a_program_without_a_guard_is_not_run_again(source: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        f"import sys\nsys.path[:0] = {sys.path!r}\nimport maskloop_converters as mc\nprint('begun')\n"
        f"print(mc.convert({str(source)!r}, {str(tmp_path / 'out')!r}, 'coco', workers=2).written.samples)\n"
    )
    run = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=300)
    assert run.stdout.split() == ["begun", "40"], run.stderr


def test_an_error_that_does_not_travel_is_said() -> None:
    class OddError(ValueError):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(f"{one} and {two}")

    said = reading._portable(OddError(1, 2))
    assert isinstance(said, MaskloopError)
    assert str(said) == "OddError: 1 and 2"
    with pytest.raises(DataError) as caught, ErrorPolicy().record():
        raise DataError("record 7: no")
    there = reading._portable(caught.value)
    assert (type(there), there.__notes__) == (DataError, caught.value.__notes__)
