"""What a request may look like, and how the server says no.

Label Studio shows its users the HTTP reason phrase of a failing backend and nothing else, so that is where the message
goes; the body has it again as JSON.
"""

from __future__ import annotations

import math
import re
import threading
import unicodedata
from typing import Any, TypeVar

import falcon
import orjson
from pydantic import BaseModel, ValidationError

# Label Studio's connect dialog shows about so much; proxies begin to refuse status lines at a few kB.
REASON_LENGTH = 200

# What orjson's values take of memory, in bytes, by the character that announces each: an object, a list, half a text, and
# a place in a list with a number in it.
_WEIGHTS = ((b"{", 240), (b"[", 72), (b'"', 32), (b",", 40))
# Values may take so many times the bytes of their text, and so many times the limit of their request; 16 MiB always.
_FACTOR = 12
_LIMIT_FACTOR = 4
_ANY_WEIGHT = 16 << 20
# Bodies of more bytes are parsed one at a time, so that what they become is bounded once, not once a thread.
_LARGE = 1 << 20
_one_large = threading.Lock()
# The masks of annotations and older predictions: most of a body's numbers, and nobody asks for them. In JSON, `"rle":` is
# a key wherever it stands: inside a text its quotes would have backslashes.
_MASKS = re.compile(rb'"rle"\s*:\s*\[[\d\s,]*\]')

_Model = TypeVar("_Model", bound=BaseModel)


class Refusal(Exception):  # noqa: N818 - it is an answer, not a fault
    """A request that is answered with an error status.

    Attributes:
        status: HTTP status code, 400..599.
        reason: one line for the person in front of Label Studio: what is wrong and the fix.
        headers: to add to the answer.
        logged: what the log says instead of the reason, where that quotes label text.
    """

    def __init__(
        self, status: int, reason: str, *, headers: dict[str, str] | None = None, logged: str | None = None
    ) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason
        self.headers = headers or {}
        self.logged = logged or reason


def reason_phrase(text: str) -> str:
    """Return a text as an HTTP reason phrase: printable ASCII, one line, at most REASON_LENGTH characters."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "replace").decode("ascii")
    line = " ".join(re.sub(r"[^\x20-\x7e]+", " ", ascii_text).split())
    return line if len(line) <= REASON_LENGTH else line[: REASON_LENGTH - 3] + "..."


def read_body(request: falcon.Request, limit: int) -> bytes:
    """Return the body of a request that claims to be JSON.

    Args:
        request: with a body that nobody has read.
        limit: in bytes.

    Raises:
        Refusal: another content type, or over the limit.
    """
    content_type = (request.content_type or "").partition(";")[0].strip().lower()
    if content_type != "application/json" and not content_type.endswith("+json"):
        raise Refusal(415, f"Content-Type is {content_type or 'missing'}, expected application/json")
    if (request.content_length or 0) > limit:
        raise Refusal(413, body_too_large(limit, request.path))
    body: bytes = request.bounded_stream.read(limit + 1)
    if len(body) > limit:
        raise Refusal(413, body_too_large(limit, request.path))
    return body


def body_too_large(limit: int, path: str) -> str:
    """Return the reason for refusing a body over the limit of its path."""
    fix = "; retrieve predictions for fewer tasks or raise --max-body-mb" if path == "/predict" else ""
    return f"Request body is over the limit of {limit} bytes{fix}"


def parse(model: type[_Model], body: bytes, limit: int) -> _Model:
    """Return a body as a checked record, without the masks in it.

    Args:
        model: the record, which keeps only what is used.
        body: JSON.
        limit: bytes of the largest body of its kind.

    Raises:
        Refusal: not JSON, not an object, or a field is missing or of the wrong type; the reason names it. Or it would
            become far larger in memory than it is as text.
    """
    if len(body) <= _LARGE:
        return _parsed(model, body, limit)
    with _one_large:
        return _parsed(model, body, limit)


def weight(body: bytes, enough: float = math.inf) -> int:
    """Return about how many bytes the values of a JSON text take; at least, where it holds nothing but numbers.

    Args:
        body: the text.
        enough: counting stops at so many; it is done in pieces, between which other threads have their turn.
    """
    total = len(body)
    for start in range(0, len(body), _LARGE):
        piece = body[start : start + _LARGE]
        total += sum(size * piece.count(character) for character, size in _WEIGHTS)
        if total > enough:
            break
    return total


def _parsed(model: type[_Model], body: bytes, limit: int) -> _Model:
    allowed = max(_ANY_WEIGHT, min(_FACTOR * len(body), _LIMIT_FACTOR * limit))
    if b'"rle"' in body:
        body = _MASKS.sub(b'"rle":[]', body)
    if weight(body, allowed) > allowed:
        raise Refusal(413, "The request holds too many values for its length; retrieve predictions for fewer tasks")
    try:
        values: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal(400, f"Malformed JSON: {error}") from error
    if not isinstance(values, dict):
        raise Refusal(400, f"Expected a JSON object, got {_json_type(values)}")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        # The input is left out: it may be a token or label text.
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Refusal(400, f"{where}: {first['msg']}") from error


def _json_type(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "an array"}
    return names.get(type(value), type(value).__name__)
