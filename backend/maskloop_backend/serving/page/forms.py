"""Buttons that only this page's own forms can press.

A browser sends basic auth with every request to this server, whatever page made it. So a form carries a token that only
who can read the page knows, for one action on one thing; and a browser that says that another site asks is refused.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from urllib.parse import parse_qs, urlsplit

import falcon

from ..limits import Refusal

# Bytes of a form; those of the page have a few hundred.
FORM_BYTES = 4 << 10
_TYPE = "application/x-www-form-urlencoded"


class Tokens:
    """Makes and checks the tokens of forms; those of another process, and so of before a restart, are refused."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def make(self, *what: str) -> str:
        """Return the token for an action on something: its name, then what it is done to."""
        text = "\0".join(what)
        return hmac.new(self._secret, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()

    def check(self, token: str, *what: str) -> None:
        """Let only a token through that was made for the same.

        Raises:
            Refusal: it was not.
        """
        if not hmac.compare_digest(token.encode("utf-8", "surrogatepass"), self.make(*what).encode()):
            raise Refusal(
                403, "This form is not of this page as it is now; load the page again and press the button there"
            )


def read_form(request: falcon.Request) -> dict[str, str]:
    """Return the fields of a form that this page's own forms may send.

    Raises:
        Refusal: another site asks, it is no form, or it is too large.
    """
    check_origin(request)
    kind = (request.content_type or "").partition(";")[0].strip().lower()
    if kind != _TYPE:
        raise Refusal(415, f"Content-Type is {kind or 'missing'}, expected {_TYPE}")
    if (request.content_length or 0) > FORM_BYTES:
        raise Refusal(413, f"The form is over the limit of {FORM_BYTES} bytes")
    body = request.bounded_stream.read(FORM_BYTES + 1)
    if len(body) > FORM_BYTES:
        raise Refusal(413, f"The form is over the limit of {FORM_BYTES} bytes")
    try:
        fields = parse_qs(body.decode("utf-8"), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=20)
    except ValueError as error:
        raise Refusal(400, "The form cannot be read") from error
    return {name: values[0] for name, values in fields.items()}


def check_origin(request: falcon.Request) -> None:
    """Let no other site's page through, where the browser says whose it is.

    Behind a proxy the Host may be another one than the browser's; what browsers say since 2020 stands in Sec-Fetch-Site.

    Raises:
        Refusal: it is another site's.
    """
    site = request.get_header("Sec-Fetch-Site")
    origin = request.get_header("Origin")
    if site is not None:
        foreign = site not in ("same-origin", "none")
    else:
        foreign = origin is not None and urlsplit(origin).netloc != request.get_header("Host")
    if foreign:
        raise Refusal(403, "Another site's page asked for this; buttons work on this server's own page only")
