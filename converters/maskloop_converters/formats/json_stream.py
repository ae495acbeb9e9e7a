"""Large JSON documents, one element of their arrays at a time, with the place of each in the file.

The standard library's parser does the work on a window of the file, so that memory is bounded by the largest element.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import FormatError
from .json_cutting import MAX_ELEMENT, Cut, ListCutter, Pieces

_WINDOW = 1 << 20
# A value that a window cuts is reported at most so far before its end (an escape sequence, a literal).
_CUT = 32
_SPACE = " \t\r\n"


@dataclass(frozen=True, slots=True)
class Element:
    """A value of the document.

    Attributes:
        key: the top-level member that it belongs to, '' where the document is an array.
        value: parsed.
        start: position of its first byte in the file.
        size: in bytes.
        in_array: whether it is an element of the member's array, not the member itself.
    """

    key: str
    value: Any
    start: int
    size: int
    in_array: bool


def scan(path: Path, arrays: Collection[str]) -> Iterator[Element]:
    """Yield the top-level members of a JSON object; of the members named ``arrays``, each element instead, if any.

    A document that is an array is yielded by element, with the key ''.

    Raises:
        FormatError: not JSON; names the file and the position.
    """
    with _document(path) as window:
        if window.peek() == "[":
            yield from _elements(window, "")
        elif window.peek() == "{":
            yield from _members(window, arrays)
        else:
            raise window.error("expected '{' or '['")


def elements(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield number (from 0) and value of the elements of an array, or of values that follow one another.

    Raises:
        FormatError: not JSON or not UTF-8; names the file and the position.
    """
    with _document(path) as window:
        yield from _numbered(window)


def elements_cut(path: Path, key: str) -> Iterator[tuple[int, Any, Cut]]:
    """Yield like :func:`elements`, but lists of numbers under a key are cut out before anything is parsed.

    Millions of numbers are not worth a Python object each: their text comes as it stands, for who knows a quicker way.

    Args:
        path: the file.
        key: of the members whose lists are cut.

    Yields:
        Number and value of the element, in which ``[n]`` stands for a list that was cut; and the texts of the lists by
        n, brackets included: they are not checked and need not be JSON. Lists with texts, objects or lists stay.
    """
    texts: Cut = {}
    with _document(path, lambda file, start: ListCutter(file, start, key, texts)) as window:
        for number, value in _numbered(window):
            yield number, value, texts
            window.forget()


def _numbered(window: _Window) -> Iterator[tuple[int, Any]]:
    if window.peek() == "[":
        for number, element in enumerate(_elements(window, "")):
            yield number, element.value
    else:
        for number in count():
            yield number, window.value()[0]
            if not window.peek():
                break


def load(data: bytes, where: str) -> Any:
    """Return the value of the bytes that a scan gave the place of; FormatError unless they are JSON in UTF-8."""
    try:
        return json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where}: not JSON, not UTF-8, or the file changed while it was read: {error}") from error


@contextmanager
def _document(path: Path, through: Callable[[BinaryIO, int], Pieces] | None = None) -> Iterator[_Window]:
    """Give a file's beginning; the block takes all that belongs to the document."""
    try:
        with path.open("rb") as file:
            start = 3 if file.read(3) == codecs.BOM_UTF8 else 0
            file.seek(start)
            window = _Window(path, through(file, start) if through else Pieces(file), start)
            yield window
            if window.peek():
                raise window.error("expected the end of the file")
    except OSError as error:
        raise FormatError(f"{path}: cannot read it: {error.strerror or error}") from error


def _members(window: _Window, arrays: Collection[str]) -> Iterator[Element]:
    window.take("{")
    if window.peek() == "}":
        window.take("}")
        return
    while True:
        key, _, _ = window.value()
        if not isinstance(key, str):
            raise window.error("expected a text as a key")
        window.take(":")
        if key in arrays and window.peek() == "[":
            found = False
            for element in _elements(window, key):
                found = True
                yield element
            if not found:
                yield Element(key, [], 0, 0, in_array=False)
        else:
            yield Element(key, *window.value(), in_array=False)
        if window.take(",}") == "}":
            return


def _elements(window: _Window, key: str) -> Iterator[Element]:
    window.take("[")
    if window.peek() == "]":
        window.take("]")
        return
    while True:
        yield Element(key, *window.value(), in_array=True)
        if window.take(",]") == "]":
            return


class _Window:
    """A part of the file as text that moves on as values are taken."""

    def __init__(self, path: Path, pieces: Pieces, start: int) -> None:
        self._path = path
        self._pieces = pieces
        self._parser = json.JSONDecoder()
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        #: byte, of those read, that the next character stands at
        self._byte = start
        self._text = ""
        self._at = 0
        self._ended = False

    def peek(self) -> str:
        """Return the next character that is no space, '' at the end of the file."""
        while True:
            start = self._at
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self._at += 1
            self._byte += self._at - start
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self, expected: str) -> str:
        """Move past the next character, which must be one of ``expected``."""
        found = self.peek()
        if not found or found not in expected:
            raise self.error(f"expected {' or '.join(repr(c) for c in expected)}")
        self._at += 1
        self._byte += 1
        return found

    def value(self) -> tuple[Any, int, int]:
        """Return the next value, the position of its first byte and its size in bytes."""
        self.peek()
        while True:
            try:
                value, end = self._parser.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # Cut off by the window's end, if not plainly wrong before it; texts are cut at their start.
                cut = error.pos >= len(self._text) - _CUT or error.msg.startswith("Unterminated string")
                ahead = error.pos - self._at
                if not (cut and self._more()):
                    raise self.error(error.msg, ahead) from None
                continue
            except (ValueError, RecursionError) as error:
                raise self.error(str(error)) from None
            # A number at the window's end may go on.
            length = end - self._at
            if end < len(self._text) or self._text[end - 1] in '}]"' or not self._more():
                start, size = self._byte, self._size(length)
                self._at += length
                self._byte += size
                return value, start, size

    def forget(self) -> None:
        """Let go of what was cut out of the values that were taken."""
        self._pieces.forget(self._byte)

    def error(self, what: str, ahead: int = 0) -> FormatError:
        """Return the error for what stands so many characters ahead."""
        near = self._text[self._at + ahead : self._at + ahead + 20]
        found = f"received {near!r}" if near else "the file ends there; it may be truncated"
        byte = self._pieces.position(self._byte + self._size(ahead))
        return FormatError(f"{self._path}: not readable at byte {byte}: not JSON: {what}, {found}")

    def _size(self, length: int) -> int:
        """Return how many bytes of the file the next ``length`` characters are."""
        text = self._text[self._at : self._at + length]
        return len(text) if text.isascii() else len(text.encode())

    def _more(self) -> bool:
        """Drop what is done, read on, and say whether there was more; values twice as long need half as many turns."""
        rest = len(self._text) - self._at
        if self._ended:
            return False
        if rest > MAX_ELEMENT:
            raise self.error(f"a value of more than {MAX_ELEMENT} characters")
        data = self._pieces.read(max(_WINDOW, rest))
        self._ended = not data
        try:
            self._text = self._text[self._at :] + self._decode(data, self._ended)
        except UnicodeDecodeError as error:
            byte = self._pieces.position(self._byte)
            raise FormatError(f"{self._path}: not UTF-8 text after byte {byte}: {error}") from error
        self._at = 0
        return not self._ended
