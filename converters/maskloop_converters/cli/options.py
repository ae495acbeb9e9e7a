"""The options that the formats declare, as options of commands; and those that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from ..errors import DataError, OptionError
from ..options import Action, Declared, declared
from ..registry import FORMATS, TARGETS
from ..report import SKIP_ADVICE

FORMAT = click.Choice(list(FORMATS))
TARGET = click.Choice(list(TARGETS))
_Command = TypeVar("_Command", bound=Callable[..., Any])

source_format = click.option("--from", "source_format", type=FORMAT, help="Format of SRC.  [default: found out]")


def of_formats(action: Action, *names: str) -> Callable[[_Command], _Command]:
    """Return a decorator that gives a command the options of all formats for reading or writing.

    The command gets a value a keyword, called ``read_NAME`` or ``write_NAME``; None where nothing was given.
    :func:`chosen` makes the formats' options of them again.

    Args:
        action: 'read' or 'write'.
        names: keywords of those that the command takes; by default all.
    """
    everywhere = _everywhere(action)

    def decorate(command: _Command) -> _Command:
        for name, formats in reversed(everywhere.items()):
            if not names or name in names:
                command = _option(action, name, formats)(command)
        return command

    return decorate


def chosen(action: Action, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that the user gave, by the formats' keywords, of the values that a command got."""
    before = f"{action}_"
    return {
        name.removeprefix(before): value
        for name, value in values.items()
        if name.startswith(before) and value is not None
    }


@contextmanager
def usage_errors() -> Iterator[None]:
    """Make of a format's refusal of an option what a command says of wrong usage: exit code 2."""
    try:
        yield
    except OptionError as error:
        raise click.UsageError(str(error)) from error


@contextmanager
def advice() -> Iterator[None]:
    """Let an error that one record caused say how to go on without that record."""
    try:
        yield
    except DataError as error:
        if SKIP_ADVICE not in getattr(error, "__notes__", ()):
            raise
        raise type(error)(f"{error} ({SKIP_ADVICE})") from error


def _everywhere(action: Action) -> dict[str, dict[str, Declared]]:
    """Return all formats' options: by keyword, then by format."""
    found: dict[str, dict[str, Declared]] = {}
    for format_name in FORMATS:
        for name, option in declared(format_name, action).items():
            found.setdefault(name, {})[format_name] = option
    return found


def _option(action: Action, name: str, formats: Mapping[str, Declared]) -> Callable[[_Command], _Command]:
    first = next(iter(formats.values()))
    everyone = FORMATS if action == "read" else TARGETS
    kwargs: dict[str, Any] = {"default": None, "help": _help(formats, len(everyone))}
    if first.kind is bool:
        kwargs["is_flag"] = True
    else:
        kwargs |= {"type": _type(formats), "metavar": first.option.metavar if not first.choices else None}
    return click.option(first.flag, f"{action}_{name}", **kwargs)


def _type(formats: Mapping[str, Declared]) -> click.ParamType[Any]:
    """Return what a value may be; whether the format that is used has it is checked where that is known."""
    first = next(iter(formats.values()))
    if first.choices:
        words = [
            word
            for option in formats.values()
            for word in (*filter(None, option.choices), *(word for word, _ in option.option.aliases))
        ]
        return click.Choice(list(dict.fromkeys(words)))
    if first.kind is Path:
        return click.Path(exists=True, path_type=Path)
    if first.kind is int:
        return click.IntRange(first.option.at_least, first.option.at_most)
    return click.STRING


def _help(formats: Mapping[str, Declared], everyone: int) -> str:
    """Return what is said of an option: once, where all formats have it and say the same; else by format."""
    texts: dict[str, list[str]] = {}
    for format_name, option in formats.items():
        text = option.option.help
        if option.choices and len({other.choices for other in formats.values()}) > 1:
            text = f"{', '.join(filter(None, option.choices))}: {text[0].lower()}{text[1:]}"
        texts.setdefault(text, []).append(format_name)
    return " ".join(text if len(names) == everyone else f"{', '.join(names)}: {text}" for text, names in texts.items())
