"""The tasks of a JSON file one by one: exports reach gigabytes, a task seldom more than a few megabytes."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from ...errors import FormatError

_WINDOW = 1 << 20
#: One element may take as many characters; what is larger is no list of tasks.
MAX_ELEMENT = 1 << 30
# A value that a window cuts is reported at most so far before the window's end (an escape sequence, a literal).
_CUT = 32


def elements(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield number (from 0) and value of the elements of a JSON array, or of values that follow one another.

    Memory follows the longest element, not the file.

    Raises:
        FormatError: not JSON, truncated, not UTF-8, nested too deeply, an element of more than ``MAX_ELEMENT``.
    """
    try:
        with path.open("rb") as file:
            yield from _elements(_Window(file, path))
    except OSError as error:
        raise FormatError(f"{path}: cannot read the file: {error}") from error


def _elements(window: _Window) -> Iterator[tuple[int, Any]]:
    number = 0
    if window.peek() != "[":
        while window.peek() or not number:
            yield number, window.value(f"task number {number}")
            number += 1
        return
    mark = window.take()
    if window.peek() == "]":
        mark = window.take()
    while mark != "]":
        yield number, window.value(f"task number {number}")
        number += 1
        window.peek()
        mark = window.take()
        if mark not in (",", "]"):
            window.fail(f"expected ',' or ']' after task number {number - 1}, received {mark or 'the end of the file'}")
    if window.peek():
        window.fail("something follows the list of tasks")


class _Window:
    """The part of a file that is being parsed."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._parser = json.JSONDecoder()
        self._text = ""
        self._at = 0
        self._before = 0
        self._ended = False

    def _more(self, size: int) -> None:
        self._before += self._at
        data = self._file.read(size)
        self._ended = not data
        try:
            self._text = self._text[self._at :] + self._decode(data, self._ended)
        except UnicodeDecodeError as error:
            raise FormatError(f"{self._path}: not UTF-8 text: {error}") from error
        self._at = 0

    def peek(self) -> str:
        """Return the next character that is no white space, '' at the end of the file."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in " \t\r\n":
                    return self._text[self._at]
                self._at += 1
            if self._ended:
                return ""
            self._more(_WINDOW)

    def take(self) -> str:
        """Return the next character, '' at the end, and step over it."""
        mark = self._text[self._at : self._at + 1]
        self._at += 1
        return mark

    def value(self, what: str) -> Any:
        """Return the next JSON value."""
        self.peek()
        while True:
            try:
                value, end = self._parser.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated string") or error.pos >= len(self._text) - _CUT
                if self._ended or not cut:
                    self._at = error.pos
                    self.fail(f"{what}: {error.msg}")
            except (RecursionError, ValueError) as error:
                self.fail(f"{what}: {error}")
            else:
                if end < len(self._text) or self._ended or isinstance(value, dict | list | str):
                    self._at = end
                    return value
            held = len(self._text) - self._at
            if held > MAX_ELEMENT:
                self.fail(f"{what}: takes more than {MAX_ELEMENT} characters")
            self._more(max(_WINDOW, held))

    def fail(self, what: str) -> NoReturn:
        """Raise FormatError with the place."""
        raise FormatError(f"{self._path}: not a whole JSON file, at character {self._before + self._at}: {what}")
