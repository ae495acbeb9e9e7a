"""Every command block of README and docs: what it names exists, and it is run by a test or listed with the reason why not."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from maskloop_backend.cli.main import cli

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOT_RUN: dict[str, str] = tomllib.loads((Path(__file__).with_name("commands.toml")).read_text("utf-8"))["not_run"]
# tests/converters/test_api_docs.py runs those of the converters, test_completion.py the scripts of completion
RUN = ("maskloop convert", "maskloop inspect", "maskloop --version", "maskloop >")


def lines(languages: str) -> Iterator[tuple[str, str]]:
    """Yield the lines of the code blocks in some languages, with their page."""
    for page in PAGES:
        blocks = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
        for language, block in blocks:
            for line in block.splitlines() if language in languages.split() else ():
                if line.strip():
                    yield page.relative_to(ROOT).as_posix(), line.removeprefix("$ ")


def words(line: str) -> list[str]:
    """Return a command's words, without comment and the variables before it."""
    found = shlex.split(line, comments=True)
    while found and re.match(r"[A-Z_]+=", found[0]):
        del found[0]
    return found


COMMANDS = list(lines("bash console sh"))
OURS = [(page, line) for page, line in COMMANDS if words(line)[:1] == ["maskloop"]]


def check(arguments: list[str]) -> None:
    """Have click read a command line of ours, but do nothing.

    Raises:
        click.UsageError: there is no such command or option, or a value that an option does not take.
    """
    command: click.Command = cli
    context = click.Context(cli, info_name="maskloop")
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        inner = command.get_command(context, arguments[0])
        if inner is None:
            raise click.UsageError(f"no command {arguments[0]!r}", context)
        command, context, arguments = inner, click.Context(inner, parent=context), arguments[1:]
    options, left, _ = command.make_parser(context).parse_args(list(arguments))
    if left:
        raise click.UsageError(f"too many arguments: {left}", context)
    for parameter in command.get_params(context):
        value = options.get(parameter.name or "")
        if isinstance(value, str) and isinstance(parameter.type, click.Choice | click.types.IntParamType):
            parameter.type.convert(value, parameter, context)


@pytest.mark.parametrize(("page", "line"), OURS)
def test_commands_and_options_exist(page: str, line: str) -> None:
    arguments = words(line.partition(" > ")[0])[1:]
    if arguments:
        check(arguments)


@pytest.mark.parametrize(
    "line", ["maskloop trian x", "maskloop train x --stripe 8", "maskloop train x --stride 9", "maskloop models list x"]
)
def test_wrong_commands_are_seen(line: str) -> None:
    with pytest.raises(click.UsageError):
        check(words(line)[1:])


def test_commands_of_others_name_what_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for _, line in COMMANDS:
        for extra in re.findall(r"maskloop\[([\w,-]+)\]", line):
            assert set(extra.split(",")) <= set(project["optional-dependencies"]), line
        match words(line):
            case ["make", target, *_]:
                assert re.search(rf"^{target}:", makefile, re.MULTILINE), line
            case ["python" | "sh", file, *_] if not file.startswith("-"):
                assert (ROOT / file).is_file(), line
            case ["docker" | "kubectl", *rest] if "--filename" in rest or "--file" in rest:
                option = "--filename" if "--filename" in rest else "--file"
                assert (ROOT / rest[rest.index(option) + 1]).is_file(), line
                if "maskloop" in rest:
                    check(rest[rest.index("maskloop") + 1 :])


def test_every_command_is_run_or_listed() -> None:
    seen = set()
    for page, line in COMMANDS:
        command = " ".join(words(line))
        # the longest that fits: `label-studio` is none of `label-studio-ml`
        fitting = [known for known in (*RUN, *NOT_RUN) if re.match(rf"{re.escape(known)}(?![\w-])", command)]
        fitting += [known for known in NOT_RUN if known.endswith("/") and command.startswith(known)]
        assert fitting, f"{page}: {line}: nothing runs it; tests/docs/commands.toml says why not"
        seen.update(fitting)
    assert set(NOT_RUN) - seen == set(), "commands that no page has any more"


def test_reasons_name_what_exists() -> None:
    for reason in NOT_RUN.values():
        for file in re.findall(r"tests/[\w/.]+\w", reason):
            assert (ROOT / file).exists(), reason
