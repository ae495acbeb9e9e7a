"""Protocol buffers' text format, as far as label maps need it: messages in messages, comments, every way to write a value.

    # COCO                          {"item": [{"id": [1], "name": ["/m/01g317"],
    item { id: 0x1  name: 'a' "b"             "keypoints": [{"id": [9]}]}]}
           keypoints { id: 9 } }

Every field is a list, as any may be repeated. Unknown fields are kept. The language:
https://protobuf.dev/reference/protobuf/textformat-spec/.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import DataError

Message = dict[str, list[Any]]

_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
      | (?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<number>-?\s*(?:0[xX][0-9a-fA-F]+|\d+\.?\d*(?:[eE][+-]?\d+)?[fF]?|\.\d+(?:[eE][+-]?\d+)?[fF]?))
      | (?P<word>-?[A-Za-z_][\w.]*)
      | (?P<sign>[{}<>\[\]:,;/])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:[xX](?P<hex>[0-9a-fA-F]{1,2})|u(?P<u>[0-9a-fA-F]{4})|U(?P<U>[0-9a-fA-F]{8})"
                     r"|(?P<octal>[0-7]{1,3})|(?P<letter>.))", re.DOTALL)  # fmt: skip
_LETTERS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_CLOSING = {"{": "}", "<": ">"}
_DEEPEST = 50


@dataclass(frozen=True, slots=True)
class Word:
    """A value that is a bare word: true, inf, or an enum's name."""

    text: str


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    line: int


def parse(text: str) -> Message:
    """Return the fields of a message, each with all its values in their order.

    Values are int, float, str, :class:`Word` or another message.

    Raises:
        DataError: it is no such text; the message gives the line.
    """
    return _Parser(list(_tokens(text))).message("", 0)


def _tokens(text: str) -> Iterator[_Token]:
    at, line = 0, 1
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None or found.lastgroup is None:
            raise DataError(f"line {line}: unexpected {text[at : at + 20]!r}")
        if found.lastgroup != "space":
            yield _Token(found.lastgroup, found[0], line)
        line += found[0].count("\n")
        at = found.end()
    yield _Token("end", "", line)


class _Parser:
    """Reads tokens one after another."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def _next(self) -> _Token:
        token = self._tokens[self._at]
        self._at += token.kind != "end"
        return token

    def _take(self, *signs: str) -> bool:
        """Step over a sign, if the next token is one of these."""
        token = self._tokens[self._at]
        taken = token.kind == "sign" and token.text in signs
        self._at += taken
        return taken

    def message(self, closing: str, depth: int) -> Message:
        """Return the fields up to the closing bracket, or to the end of the text."""
        if depth > _DEEPEST:
            raise DataError(f"line {self._tokens[self._at].line}: messages nested deeper than {_DEEPEST}")
        fields: Message = {}
        while True:
            token = self._next()
            if (token.kind == "end" and not closing) or (token.kind == "sign" and token.text == closing):
                return fields
            if token.kind == "sign" and token.text == "[":  # an extension's or Any's name
                name = ""
                while not self._take("]"):
                    part = self._next()
                    if part.kind == "end":
                        raise DataError(f"line {token.line}: '[' is not closed")
                    name += part.text
            elif token.kind == "word":
                name = token.text
            else:
                expected = "a field's name" + (f" or {closing!r}" if closing else "")
                raise DataError(f"line {token.line}: expected {expected}, found {token.text[:20] or 'the end'!r}")
            colon = self._take(":")
            values = fields.setdefault(name, [])
            if self._take("["):
                while not self._take("]"):
                    values.append(self._value(name, depth, colon=True))
                    self._take(",")
            else:
                values.append(self._value(name, depth, colon=colon))
            self._take(",", ";")

    def _value(self, name: str, depth: int, *, colon: bool) -> Any:
        token = self._next()
        if token.kind == "sign" and token.text in _CLOSING:
            return self.message(_CLOSING[token.text], depth + 1)
        if not colon:
            raise DataError(f"line {token.line}: expected ':' or '{{' behind {name!r}, found {token.text[:20]!r}")
        if token.kind == "text":
            pieces = [token.text]
            while self._tokens[self._at].kind == "text":  # pieces side by side are one text
                pieces.append(self._next().text)
            try:
                return b"".join(_unescaped(piece[1:-1]) for piece in pieces).decode()
            except (UnicodeError, ValueError, OverflowError) as error:
                raise DataError(f"line {token.line}: the text of {name!r} is no UTF-8: {error}") from error
        if token.kind == "number":
            return _number(token)
        if token.kind == "word":
            return Word(token.text)
        raise DataError(f"line {token.line}: {name!r} has no value")


def _number(token: _Token) -> int | float:
    text = "".join(token.text.split())
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    try:
        if digits[:2] in ("0x", "0X"):
            return sign * int(digits, 16)
        if digits.isdecimal():
            return sign * int(digits, 8 if len(digits) > 1 and digits[0] == "0" else 10)
        return sign * float(digits.rstrip("fF"))
    except ValueError:
        raise DataError(f"line {token.line}: {text[:20]!r} is no number") from None


def _unescaped(text: str) -> bytes:
    """Return the bytes of what stands between quotes: ``a\\n`` has two."""
    out, at = b"", 0
    for found in _ESCAPE.finditer(text):
        out += text[at : found.start()].encode()
        at = found.end()
        if found["hex"]:
            out += bytes([int(found["hex"], 16)])
        elif found["octal"]:
            out += bytes([int(found["octal"], 8) & 0xFF])
        elif code := found["u"] or found["U"]:
            out += chr(int(code, 16)).encode()
        else:
            out += _LETTERS.get(found["letter"], found["letter"]).encode()
    return out + text[at:].encode()
