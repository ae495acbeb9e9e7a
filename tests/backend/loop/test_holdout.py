"""Who is held out stays held out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskloop_backend.loop.holdout import Holdout, HoldoutError, project_directory


@given(seed=st.integers(0, 2**40), share=st.floats(0.05, 0.5), more=st.integers(0, 500))
def test_growth_never_moves_a_task(seed: int, share: float, more: int) -> None:
    before, after = Holdout(seed, share), Holdout(seed, share)
    held_out = {str(task) for task in range(200) if before.contains(str(task))}
    grown = {str(task) for task in range(200 + more) if after.contains(str(task))}
    assert {task for task in grown if int(task) < 200} == held_out


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_the_share_is_met(share: float) -> None:
    held_out = sum(Holdout(7, share).contains(str(task)) for task in range(20_000))
    assert held_out / 20_000 == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize(("tasks", "least", "most"), [(6, 3, 3), (10, 3, 3), (50, 10, 10), (400, 75, 85), (2, 1, 1)])
def test_a_small_project_has_a_holdout_too(tmp_path: Path, tasks: int, least: int, most: int) -> None:
    ids = [str(task) for task in range(tasks)]
    holdout = Holdout.of(tmp_path, ids)
    assert least <= sum(map(holdout.contains, ids)) <= most


def test_it_is_drawn_once_and_known_to_every_process(tmp_path: Path) -> None:
    directory = project_directory(tmp_path, 7)
    assert Holdout.read(directory) is None
    drawn = Holdout.of(directory, [str(task) for task in range(30)])
    assert Holdout.of(directory, ["1", "2"], share=0.5, seed=99) == drawn == Holdout.read(directory)
    code = (
        "import sys, pathlib\nfrom maskloop_backend.loop.holdout import Holdout\n"
        "holdout = Holdout.read(pathlib.Path(sys.argv[1]))\n"
        "print(''.join(str(int(holdout.contains(str(k)))) for k in range(100)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(directory)],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": "3"},
    )
    assert run.stdout.strip() == "".join(str(int(drawn.contains(str(k)))) for k in range(100))


def test_a_seed_makes_the_draw_repeatable(tmp_path: Path) -> None:
    ids = [str(task) for task in range(30)]
    one, other = (Holdout.of(tmp_path / place, ids, seed=4) for place in "ab")
    assert one == other


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"seed": 1}', '{"seed": 1, "share": 3}', '{"seed": null, "share": 0.2}']
)
def test_a_damaged_file_is_never_replaced(tmp_path: Path, text: str) -> None:
    (tmp_path / "holdout.json").write_text(text)
    with pytest.raises(HoldoutError, match=r"holdout\.json: (not readable|the share is)"):
        Holdout.of(tmp_path, ["1", "2"])
    assert (tmp_path / "holdout.json").read_text() == text
