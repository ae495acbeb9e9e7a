"""docs/convert.md does what it says: its blocks run in order, Python and commands alike."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from maskloop_converters.cli import convert, inspect

PAGE = Path(__file__).parents[2] / "docs" / "convert.md"
COMMANDS: dict[str, click.Command] = {"convert": convert.command, "inspect": inspect.command}


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
            program, name, *arguments = shlex.split(command.removeprefix("$ "))
            assert program == "maskloop"
            done = CliRunner().invoke(COMMANDS[name], arguments)
            assert done.exit_code == 0, f"{command}\n{done.output}\n{done.exception!r}"
            ran[language] += 1
    assert min(ran.values()) > 3, ran


def test_every_option_on_the_page_exists() -> None:
    known = {
        option for command in COMMANDS.values() for p in command.params for option in (*p.opts, *p.secondary_opts)
    } | {"--help"}
    mentioned = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", PAGE.read_text(encoding="utf-8")))
    assert mentioned <= known, mentioned - known
