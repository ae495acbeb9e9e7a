"""Write docs/reference/cli.md, every command and option as `--help` has them.

    python docs/generate/cli_reference.py

A test compares the page with what this makes, so that it is run again when a command changes.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import click

from maskloop_backend.cli.main import cli

PAGE = Path(__file__).parents[1] / "reference" / "cli.md"
HEAD = """# Commands

What `maskloop COMMAND --help` says, made by `python docs/generate/cli_reference.py`. Every command ends with 0 when it is
done, with 1 and one line on stderr when something failed, with 2 when it was called the wrong way.
"""


def page() -> str:
    """Return the page: a heading for each command, those of groups below their group's."""
    # a default that is taken from the environment would be this machine's
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MASKLOOP_")}
    with mock.patch.dict(os.environ, kept, clear=True):
        top = click.Context(cli, info_name="maskloop")
        return HEAD + "".join(
            text for name in cli.list_commands(top) for text in _command(_of(cli, name, top), name, top, depth=2)
        )


def _of(group: click.Group, name: str, context: click.Context) -> click.Command:
    command = group.get_command(context, name)
    assert command is not None
    return command


def _command(command: click.Command, name: str, parent: click.Context, depth: int) -> Iterator[str]:
    """Yield the parts of one command's section, and those of its commands."""
    context = click.Context(command, parent=parent, info_name=name)
    path = context.command_path
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"\n{'#' * depth} {path}\n\n```text\n{path} {usage}\n```\n"
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(command.help or "")):
        if paragraph.startswith("\b"):
            lines = paragraph.removeprefix("\b").strip("\n")
            yield f"\n```text\n{lines}\n```\n"
        else:
            yield f"\n{_text(' '.join(paragraph.split()))}\n"
    records = [p.get_help_record(context) for p in command.get_params(context) if isinstance(p, click.Option)]
    options = [record for record in records if record is not None and "--help" not in record[0]]
    if options:
        yield "\n" + "".join(f"- `{names}`: {_text(says)}\n" for names, says in options)
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            yield from _command(_of(command, inner, context), inner, context, depth + 1)


def _text(text: str) -> str:
    """Return a help text as Markdown: what stands in backticks as it is, nothing else is markup."""
    # what click puts behind an option's text, in one pair of brackets
    text = " ".join(text.split()).replace("] [", "; ")
    parts = re.split(r"(`[^`]*`)", text)
    markup = re.compile(r"\*|<(?=[a-zA-Z/])|\b_\b|(?<!\w)_|_(?!\w)|\](?=\()")
    return "".join(part if part.startswith("`") else markup.sub(r"\\\g<0>", part) for part in parts)


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
