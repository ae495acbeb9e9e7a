"""Damage to streams and files, drawn from a random number generator so that it can be drawn again."""

from __future__ import annotations

import json
import random
import re
from typing import Any

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?|true|false|null')
_TOKENS = (
    b"0", b"-1", b"1", b"1.5", b"255", b"65536", b"1000000", b"100000", b"2147483648", b"9223372036854775808",
    b"1e400", b"NaN", b"-Infinity", b"null", b"true", b'""', b'"x"', b'"../x"', b'"/etc/passwd"', b'"\\u0000"', b"[]",
    b"{}", b"[[]]", b"[1,2]", b'"\\ud800"', b'"data:image/png;base64,AAAA"',
)  # fmt: skip


def mutate(data: bytes, other: bytes, source: random.Random) -> bytes:
    """Return a damaged copy: flipped bits, set, lost, doubled or foreign bytes, another length."""
    out = bytearray(data)
    for _ in range(source.choice((1, 1, 2, 4, 16))):
        at = source.randrange(len(out) + 1)
        kind = source.randrange(7)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << source.randrange(8)
        elif kind == 1 and at < len(out):
            out[at] = source.choice((0, 1, 127, 128, 255, source.randrange(256)))
        elif kind == 2:
            del out[at:]
        elif kind == 3:
            del out[at : at + source.randrange(1, 9)]
        elif kind == 4:
            out[at:at] = out[at : at + source.randrange(1, 40)]
        elif kind == 5:
            start = source.randrange(len(other) + 1)
            out[at : at + source.randrange(20)] = other[start : start + source.randrange(20)]
        else:
            size = source.choice((4, 8))
            number = source.choice((0, 1, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 60, (1 << 64) - 1))
            out[at : at + size] = (number & (1 << 8 * size) - 1).to_bytes(size, source.choice(("big", "little")))
    return bytes(out)


def mutate_text(data: bytes, other: bytes, source: random.Random) -> bytes:
    """Return a damaged copy of JSON or another text: values exchanged for odd ones or for values of another file."""
    for _ in range(source.choice((1, 1, 1, 2, 4))):
        found = list(_TOKEN.finditer(data))
        if not found:
            return mutate(data, other, source)
        at = source.choice(found)
        theirs = _TOKEN.findall(other)
        new = source.choice(theirs) if theirs and source.random() < 0.3 else source.choice(_TOKENS)
        data = data[: at.start()] + new + data[at.end() :]
    return data


def mutate_document(data: bytes, source: random.Random) -> bytes:
    """Return JSON with members and elements lost, doubled, exchanged or moved; as it is where it is no JSON."""
    try:
        lines = [json.loads(data)]
        is_document = True
    except ValueError:
        try:
            lines = [json.loads(line) for line in data.splitlines()]
        except ValueError:
            return data
        is_document = False
    for _ in range(source.choice((1, 1, 2, 3))):
        places = [(None, k, v) for k, v in enumerate(lines)] + list(_places(lines))
        if not places:
            break
        holder, key, value = source.choice(places)
        holder = lines if holder is None else holder
        kind = source.randrange(4)
        if kind == 0 and (isinstance(holder, dict) or len(holder) > 1):
            del holder[key]
        elif kind == 1 and isinstance(holder, list) and isinstance(key, int):
            holder.insert(key, value)
        elif kind == 2:
            holder[key] = json.loads(json.dumps(source.choice(places)[2]))
        else:
            holder[key] = source.choice((0, -1, 1 << 40, 0.5, "", "x", [], {}, None, True, [[0]], {"a": []}))
    if is_document and lines:
        return json.dumps(lines[0]).encode()
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def _places(value: Any) -> Any:
    """Yield (holder, key, value) of everything inside a JSON value, to a depth and number that stay quick."""
    waiting, count = [value], 0
    while waiting and count < 400:
        holder = waiting.pop(0)
        items = list(holder.items()) if isinstance(holder, dict) else list(enumerate(holder))
        for key, inner in items[:40]:
            count += 1
            yield holder, key, inner
            if isinstance(inner, dict | list):
                waiting.append(inner)
