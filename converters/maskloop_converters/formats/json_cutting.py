"""Lists of numbers cut out of JSON text before it is parsed: millions of numbers are not worth a Python object each.

A brush of Label Studio is a list of thousands of bytes, written as numbers under the key "rle". Whoever reads such a file
takes those lists as text, for a quicker way to decode them, and parses the small rest:

    the file     [{"rle": [1, 22], "b": 3}, {"rle": ["x"]}]
    what is read [{"rle": [4611686018427387904], "b": 3}, {"rle": ["x"]}]
    cut out      {4611686018427387904: b"[1, 22]"}

No JSON is parsed for that. ``"rle": [`` is a member wherever it stands, for within a text its quotes would have
backslashes; and a list of numbers ends at the first closing bracket, for it has no texts or lists that could hold one.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from typing import BinaryIO

#: A value of more characters than this is taken for damage.
MAX_ELEMENT = 1 << 30
# Up to its first closing bracket, a list without any of these holds numbers, or what is no JSON.
_NO_NUMBERS = (b'"', b"{", b"[")
# What stands for lists that were cut is numbered from here: a list of this one number is no stream of bytes.
_FIRST_CUT = 1 << 62

#: The texts of lists that were cut, by the number that stands for them.
Cut = dict[int, bytes]


class Pieces:
    """The bytes of a file, piece by piece."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        """Return about so many bytes more, none only at the end."""
        return self._file.read(size)

    def position(self, byte: int) -> int:
        """Return where a byte of what was read stands in the file."""
        return byte

    def forget(self, byte: int) -> None:
        """Let go of what is kept for the bytes before this one."""


class ListCutter(Pieces):
    """The bytes of a JSON file without the lists of numbers under a key; ``[n]`` stands for each.

    Args:
        file: at its start, behind a byte order mark.
        start: the position of its first byte.
        key: of the members whose lists are cut.
        texts: gets the lists, brackets included, by n; they are not checked and need not be JSON.
    """

    def __init__(self, file: BinaryIO, start: int, key: str, texts: Cut) -> None:
        super().__init__(file)
        self._key = b'"%s"' % key.encode()
        self._list = re.compile(rb"\s*:\s*\[")
        self._half = re.compile(rb'"%s"\s*(:\s*)?\Z' % re.escape(key).encode())
        self._texts = texts
        self._next_number = _FIRST_CUT
        self._forgotten = 0
        #: bytes of the file that wait for those behind them
        self._waiting = b""
        self._handed_out = start
        #: of every cut: the byte after it in what was handed out, and how many bytes were left out up to there
        self._cuts = (array("q"), array("q"))

    def read(self, size: int) -> bytes:
        """Return some bytes, none only at the end."""
        while True:
            data = self._file.read(max(size, len(self._waiting)))
            shortened = self._without_lists(self._waiting + data, ended=not data)
            if shortened or not data:
                self._handed_out += len(shortened)
                return shortened

    def position(self, byte: int) -> int:
        """Return where a byte of what was read stands in the file.

        With ``[{"rle": [1, 22], "b"`` of the example above, the quote before b is byte 32 of what is read (``[1, 22]`` is
        7 bytes, what stands for it 21) and byte 18 of the file.
        """
        ends, left_out = self._cuts
        at = bisect_right(ends, byte)
        return byte + (left_out[at - 1] if at else 0)

    def forget(self, byte: int) -> None:
        """Let go of the lists that were cut out before a byte of what was read."""
        done = bisect_right(self._cuts[0], byte)
        for number in range(self._forgotten, done):
            del self._texts[_FIRST_CUT + number]
        self._forgotten = done

    def _without_lists(self, data: bytes, *, ended: bool) -> bytes:
        """Return bytes that follow one another without the lists; the last of them may wait for the next call."""
        pieces: list[bytes] = []
        at, size = 0, self._handed_out
        while found := self._opening(data, at):
            end = data.find(b"]", found.end())
            if end < 0:
                break
            text = data[found.end() - 1 : end + 1]
            if any(text.find(other, 1) >= 0 for other in _NO_NUMBERS):
                pieces.append(data[at : found.end()])
                at = found.end()
                size += len(pieces[-1])
                continue
            mark = b"[%d]" % self._next_number
            self._texts[self._next_number] = text
            self._next_number += 1
            pieces += (data[at : found.end() - 1], mark)
            at = end + 1
            size += len(pieces[-2]) + len(mark)
            ends, left_out = self._cuts
            left_out.append((left_out[-1] if left_out else 0) + len(text) - len(mark))
            ends.append(size)
        waits_from = len(data) if ended else self._waits_from(data, at, found)
        if len(data) - waits_from > MAX_ELEMENT:
            waits_from = len(data)  # for the window to refuse
        self._waiting = data[waits_from:]
        pieces.append(data[at:waits_from])
        return b"".join(pieces)

    def _opening(self, data: bytes, at: int) -> re.Match[bytes] | None:
        """Return the next ``: [`` behind the key: of ``{"rle" : [1`` the bytes ``: [`` and the blank before them."""
        while (start := data.find(self._key, at)) >= 0:
            at = start + len(self._key)
            if data[start - 1 : start] != b"\\" and (found := self._list.match(data, at)):
                return found
        return None

    def _waits_from(self, data: bytes, at: int, found: re.Match[bytes] | None) -> int:
        """Return from where on bytes must wait for those that follow: a list that is not whole, or what may be one.

        Where the bytes end so, all from the key's quote on waits, and where there was no bracket yet the byte before it
        too: a quote that is cut from its backslash would look like an opening.

            ..., "rle": [1, 2     ..., "rle" :     ..., "rl     ..., "
        """
        if found:
            return found.start() - len(self._key)
        half = self._half.search(data, at)
        start = half.start() if half else data.rfind(b'"', max(at, len(data) - len(self._key)))
        return max(at, (len(data) if start < 0 else start) - 1)
