"""Large XML documents, one element at a time; a document that defines entities or a type is refused.

What an entity stands for can be a gigabyte, or a file of this machine. No format that is read here has any.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from ..errors import FormatError

_WINDOW = 1 << 18
_DEEPEST = 64
# Of one element: an image with thousands of masks has some ten million characters.
_LARGEST = 1 << 28


def elements(path: Path, tags: frozenset[str]) -> Generator[Element, None, None]:
    """Yield the root without its content, then each element of the given tags with all that is in it.

    Raises:
        FormatError: no well-formed XML, or a document type or entity is defined; names file and line.
    """
    taken = _Taken(tags)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = taken.start
    parser.EndElementHandler = taken.end
    parser.CharacterDataHandler = taken.text
    parser.StartDoctypeDeclHandler = _refused
    parser.EntityDeclHandler = _refused
    try:
        with path.open("rb") as file:
            while True:
                data = file.read(_WINDOW)
                parser.Parse(data, not data)
                yield from taken.done
                taken.done.clear()
                if not data:
                    return
    except OSError as error:
        raise FormatError(f"{path}: cannot read it: {error.strerror or error}") from error
    except (expat.ExpatError, ValueError, LookupError, _UnwantedError) as error:
        raise FormatError(f"{path}, line {parser.CurrentLineNumber}: no XML that can be read: {error}") from error


class _UnwantedError(Exception):
    """Something that no format has, and that is refused."""


def _refused(*found: object) -> None:
    raise _UnwantedError(f"it defines {str(found[0])[:40]!r}; a document type or entities are not read")


class _Taken:
    """Builds the wanted elements as the parser comes by."""

    def __init__(self, tags: frozenset[str]) -> None:
        self._tags = tags
        self._builder: TreeBuilder | None = None
        self._depth = 0
        self._from = 0
        self._size = 0
        self.done: list[Element] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _UnwantedError(f"elements stand {_DEEPEST} deep in each other")
        if self._depth == 1:
            self.done.append(Element(tag, attributes))
        if self._builder is None and tag in self._tags:
            self._builder, self._from, self._size = TreeBuilder(), self._depth, 0
        if self._builder is not None:
            self._grow(sum(map(len, attributes.values())) + 64)
            self._builder.start(tag, attributes)

    def text(self, data: str) -> None:
        if self._builder is not None:
            self._grow(len(data))
            self._builder.data(data)

    def end(self, tag: str) -> None:
        if self._builder is not None:
            self._builder.end(tag)
            if self._depth == self._from:
                self.done.append(self._builder.close())
                self._builder = None
        self._depth -= 1

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > _LARGEST:
            raise _UnwantedError(f"an element of more than {_LARGEST} characters")
