"""Every message that docs/troubleshooting.md explains is one that the code says."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MESSAGES = re.findall(r"\*\*`([^`]+)`\*\*", (ROOT / "docs" / "troubleshooting.md").read_text("utf-8"))


@cache
def said() -> str:
    """Return every text of the code, a line each, with a mark where a value is put in."""
    texts = []
    for folder in ("backend", "converters"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = [str(p.value) if isinstance(p, ast.Constant) else "\0" for p in node.values]
                    texts.append("".join(parts))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    texts.append(node.value)
    return "\n".join(texts).replace("`", "'")


def is_said(message: str) -> bool:
    """Return whether one text of the code has the pieces of a message, in order."""
    pieces = map(re.escape, re.split(r"\s*\.\.\.\s*", message))
    return re.search(r"[^\n]*?".join(pieces), said()) is not None


@pytest.mark.parametrize("message", MESSAGES)
def test_message_is_said(message: str) -> None:
    assert is_said(message)


def test_invented_messages_are_seen() -> None:
    assert len(MESSAGES) > 30
    assert not is_said("Label Studio is asleep")
