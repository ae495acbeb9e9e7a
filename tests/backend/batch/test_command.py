"""The command: what it says, its exit codes, and that a dry run writes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from maskloop_backend.cli.main import cli

Draw = Callable[..., Path]


@pytest.fixture
def label(home: Path, tmp_path: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    for number in range(3):
        draw(tmp_path / "photos" / f"{number}.png", number, height=40, width=64)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Result:
        fixed = ("--home", str(home), "--runtime", "keras", "--precision", "float32", "--quiet")
        return CliRunner().invoke(cli, ["label", *arguments, *fixed])

    return run


def test_it_says_what_would_be_done_does_it_and_tells_what_is_missing(label: Callable[..., Result]) -> None:
    planned = label("photos", "masks", "--to", "png", "--dry-run", "--json")
    assert json.loads(planned.stdout)["images_to_label"] == 3
    assert not Path("masks").exists()
    done = label("photos", "masks", "--to", "png", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["labelled"] == 3
    Path("photos/9.png").write_text("no picture")
    done = label("photos", "masks", "--to", "png")
    assert done.exit_code == 1
    assert "3 of 4 images labelled" in done.stderr
    assert "missing: 9.png: 10 bytes that are not an image" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("photos", "masks"), 2, "say with --to"),
        (("nowhere", "masks", "--to", "png"), 1, "nowhere does not exist"),
        (("photos", "photos", "--to", "png"), 1, "did not write"),
        (("photos", "masks", "--to", "png", "--schema", "tfds"), 2, "png has no option"),
        (("photos", "masks", "--to", "png", "--confidence-below", "1"), 2, "--confidence-below"),
        (("photos", "masks", "--to", "png", "--model", "fcn32s-small-20990101-00000000"), 1, "20990101"),
    ],
)
def test_wrong_usage_is_one_clear_line(
    label: Callable[..., Result], arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = label(*arguments)
    assert (done.exit_code, says in done.output) == (code, True), done.output
    assert not Path("masks").exists()
