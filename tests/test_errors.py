"""The tree of errors in docs/design.md is the one of the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def classes() -> dict[str, str]:
    """Return name -> first base of every class of both packages."""
    found = {}
    for package in ("backend/maskloop_backend", "converters/maskloop_converters"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.ClassDef) and node.bases and isinstance(node.bases[0], ast.Name):
                    found[node.name] = node.bases[0].id
    return found


def test_the_design_draws_every_error() -> None:
    bases = classes()
    tree = {"MaskloopError"}
    while more := {name for name, base in bases.items() if base in tree} - tree:
        tree |= more
    section = (ROOT / "docs" / "design.md").read_text("utf-8").partition("## Errors")[2].partition("```")[2]
    drawn = set(re.findall(r"\w+", section.partition("```")[0]))
    assert tree <= drawn
    assert {name for name in drawn if name.endswith("Error")} <= tree | {"ValueError", "OSError"}
