"""The options of the formats: declared once, where a format's function takes them, and checked and shown from there.

A format's ``read`` and ``opening`` annotate each keyword that users may give:

    shards: Annotated[int | None, Option("Number of files.", at_least=1)] = None

The type says what values are right (the words of a ``Literal``, a whole number, a folder), the :class:`Option` what the
command line calls it and tells of it. ``maskloop convert`` makes its options of these, and the error of a wrong name or
value is the same in Python and there.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from .errors import OptionError
from .registry import FORMATS, READ_ONLY, load_format
from .samples import LabelSet

#: What is done with a dataset: the functions of a format's module that take options.
Action = Literal["read", "write"]
_FUNCTIONS: dict[Action, str] = {"read": "read", "write": "opening"}
_DOING: dict[Action, str] = {"read": "reading", "write": "writing"}


@dataclass(frozen=True, slots=True)
class Option:
    """What the command line says of a keyword.

    Attributes:
        help: one sentence.
        flag: its name there; by default the keyword's own, with dashes. with both names, slash between, for a switch that is on by default.
        metavar: what stands for its value in the help.
        at_least: the smallest whole number.
        at_most: the largest.
        aliases: other words for a value, which users know from elsewhere: (word, value).
    """

    help: str
    flag: str = ""
    metavar: str | None = None
    at_least: int | None = None
    at_most: int | None = None
    aliases: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Declared:
    """An option as a format declares it.

    Attributes:
        name: the keyword.
        kind: bool, int, str or Path; a file or folder is a Path.
        choices: the words that are right, empty where any is.
        default: what holds where nothing is given.
        option: what the command line says.
    """

    name: str
    kind: type
    choices: tuple[str, ...]
    default: Any
    option: Option

    @property
    def flag(self) -> str:
        """What the command line calls it."""
        return self.option.flag or f"--{self.name.replace('_', '-')}"

    @property
    def spoken(self) -> str:
        """The option for people: as it is called on the command line, and in Python where that differs."""
        flag = self.flag.partition("/")[0]
        return flag if flag == f"--{self.name}" else f"{flag} ({self.name}=)"

    def checked(self, value: Any, format_name: str) -> Any:
        """Return a value, aliases resolved; OptionError says what is right."""
        if value is None or value is self.default:
            return value
        if self.choices:
            value = dict(self.option.aliases).get(value, value) if isinstance(value, str) else value
            if value not in self.choices:
                raise OptionError(
                    f"{format_name}: {self.spoken} is one of {', '.join(filter(None, self.choices))}, not {value!r:.80}"
                )
        elif self.kind is int:
            low, high = self.option.at_least, self.option.at_most
            fits = isinstance(value, int) and not isinstance(value, bool)
            if not fits or (low is not None and value < low) or (high is not None and value > high):
                ends = f"{'' if low is None else low}..{'' if high is None else high}"
                raise OptionError(f"{format_name}: {self.spoken} is a whole number {ends}, not {value!r:.80}")
        elif self.kind is Path and isinstance(value, str):
            return Path(value)
        return value


def declared(format_name: str, action: Action) -> dict[str, Declared]:
    """Return the options of a format's ``read`` or ``write`` by keyword, in its own order; none where it is not written."""
    if action == "write" and format_name in READ_ONLY:
        return {}
    function: Callable[..., Any] = inspect.unwrap(getattr(load_format(format_name), _FUNCTIONS[action]))
    hints = get_type_hints(function, include_extras=True)
    found = {}
    for parameter in inspect.signature(function).parameters.values():
        hint = hints.get(parameter.name)
        option = next((extra for extra in getattr(hint, "__metadata__", ()) if isinstance(extra, Option)), None)
        if option is not None:
            kind, choices = _kind(get_args(hint)[0])
            found[parameter.name] = Declared(parameter.name, kind, choices, parameter.default, option)
    return found


def checked(format_name: str, action: Action, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options after checking that a format has them all, and that their values are right.

    Raises:
        OptionError: it has not, or they are not; the message names the formats that have it, and the values.
    """
    own = declared(format_name, action)
    unchecked = {"overwrite", "on_error"}
    for name in options:
        if name not in own and name not in unchecked:
            everywhere = {other: declared(other, action) for other in FORMATS}
            having = [other for other, there in everywhere.items() if name in there]
            spoken = everywhere[having[0]][name].spoken if having else repr(name)
            who = (
                f"only {' and '.join(having)} {'have' if len(having) > 1 else 'has'} it"
                if having
                else "no format has it"
            )
            raise OptionError(f"{_DOING[action]} {format_name} has no option {spoken}; {who}")
    return {name: own[name].checked(value, format_name) if name in own else value for name, value in options.items()}


def _kind(hint: Any) -> tuple[type, tuple[str, ...]]:
    """Return the kind and the choices of an option's type."""
    if get_origin(hint) in (Union, UnionType):
        parts = [part for part in get_args(hint) if part not in (type(None), LabelSet)]
        (hint,) = parts
    if get_origin(hint) is Literal:
        return str, tuple(get_args(hint))
    assert hint in (bool, int, str, Path), hint
    return hint, ()


# Options that several formats have: of one name, and with one meaning.
LabelsFrom = Annotated[
    LabelSet | Path | None,
    Option(
        "Label list of SRC where it has none of its own: labels.json, a name a line, or id,name,r,g,b.", metavar="FILE"
    ),
]
PartName = Annotated[str | None, Option("Read this part of SRC only (train, val).", flag="--part", metavar="NAME")]
ImagesFrom = Annotated[
    Path | None,
    Option("Folder that has the images of SRC, where they are not beside its masks.", metavar="DIR"),
]
Soft = Annotated[bool, Option("Keep the soft edges of brush strokes; without it alpha > 127 is on.")]
