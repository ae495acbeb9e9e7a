"""What README, docs/convert.md and --help say runs: Python blocks and commands, as they stand there."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

import maskloop_converters as mc
from maskloop_converters.cli import convert, inspect

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "convert.md"
COMMANDS: dict[str, click.Command] = {"convert": convert.command, "inspect": inspect.command}


def run(command: str) -> None:
    """Run a command line of ours; what stands behind a pipe is another program's."""
    program, name, *arguments = shlex.split(command.partition("|")[0], comments=True)
    assert program == "maskloop"
    done = CliRunner().invoke(COMMANDS[name], arguments)
    assert done.exit_code == 0, f"{command}\n{done.output}\n{done.exception!r}"


def test_every_block_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    ran = {"python": 0, "console": 0}
    text = PAGE.read_text(encoding="utf-8")
    for block in re.finditer(r"^```(python|console)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        language, code = block.groups()
        if language == "python":
            line = text.count("\n", 0, block.start(2))
            exec(compile("\n" * line + code, str(PAGE), "exec"), names)
            ran[language] += 1
            continue
        for command in code.splitlines():
            run(command.removeprefix("$ "))
            ran[language] += 1
    assert min(ran.values()) > 3, ran


def commands() -> Iterator[tuple[str, str]]:
    """Every convert and inspect command of README, the other pages and the help texts, with the place it stands."""
    # the one runs as a whole, above; the other is made from the help texts, below
    pages = {ROOT / "README.md", *(ROOT / "docs").rglob("*.md")} - {PAGE, ROOT / "docs" / "reference" / "cli.md"}
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in sorted(pages)}
    texts |= {f"{name} --help": command.help or "" for name, command in COMMANDS.items()}
    for place, text in texts.items():
        for line in text.splitlines():
            if re.match(r"\s*(\$ )?maskloop +(convert|inspect) ", line):
                yield place, line.strip().removeprefix("$ ")


def inputs(make: Callable[..., mc.Dataset]) -> None:
    """Make what the examples read, under their names."""
    labels = ["sky", "road", "person"]
    dataset = make(10)
    named = replace(
        dataset.labels,
        labels=tuple(replace(label, name=name) for label, name in zip(dataset.labels.labels, labels, strict=True)),
    )
    dataset = replace(dataset, labels=named)
    for path in ("export.json", "tasks"):
        mc.write(dataset, path, "labelstudio")
    for path, to in (("camvid", "png"), ("instances.json", "coco"), ("shards", "tfrecord")):
        mc.write(dataset, path, to)


def test_the_commands_are_found() -> None:
    places = {place for place, _ in commands()}
    assert {"README.md", "convert --help", "inspect --help"} <= places


@pytest.mark.parametrize(("place", "command"), list(commands()))
def test_every_command_of_readme_and_help_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[..., mc.Dataset], place: str, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    inputs(make)
    words = shlex.split(command.partition("|")[0], comments=True)
    if words[1] == "convert" and Path(words[3]).exists():
        # an example reads what another one writes
        shutil.rmtree(words[3])
    run(command)


def test_every_option_that_is_written_somewhere_exists() -> None:
    """The page, and all that errors advise: an option that is named is one of the commands'."""
    known = {option for command in COMMANDS.values() for p in command.params for option in (*p.opts, *p.secondary_opts)}
    known |= {"--help"}
    sources = sorted((ROOT / "converters").rglob("*.py"))
    for path in (PAGE, *sources):
        mentioned = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", path.read_text(encoding="utf-8")))
        assert mentioned <= known, (path.name, mentioned - known)
