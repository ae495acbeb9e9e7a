"""Templates to HTML: whatever a template is given is escaped, and a name that it is not given is an error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_FOLDER = Path(__file__).parent
STYLE = "style.css"
SCRIPT = "page.js"


def render(template: str, **values: Any) -> str:
    """Return a template filled in.

    Args:
        template: its file below `templates/`.
        values: by the names that it has for them; text is escaped.
    """
    return _environment().get_template(template).render(**values)


@cache
def asset(name: str) -> str:
    """Return a file beside the templates: :data:`STYLE` or :data:`SCRIPT`."""
    return (_FOLDER / name).read_text("utf-8")


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["columns"] = _columns
    # only what stands in this package may go into a page as it is
    made.globals["inline_style"] = lambda: Markup(asset(STYLE))
    return made


def _columns(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return all keys of records in the order in which they first stand."""
    return list(dict.fromkeys(key for record in records for key in record))
