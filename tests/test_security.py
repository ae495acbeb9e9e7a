"""docs/security.md promises nothing that is not tested and tried, and `make attack` tries nothing that is not promised."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROWS = re.findall(r"^\| (.+?) \| `(\S+?)` \| `(\w+)` \|$", (ROOT / "docs" / "security.md").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def known() -> dict[str, object]:
    sys.path.insert(0, str(ROOT / "fuzz"))
    try:
        from attacks import attacks
    finally:
        sys.path.remove(str(ROOT / "fuzz"))
    return dict(attacks())


def test_every_line_of_the_promises_is_read() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    promises = page.partition("## What is promised")[2].partition("## What is not promised")[0]
    lines = [line for line in promises.splitlines() if line.startswith("|")]
    tables = sum(line.startswith("|---") for line in lines)
    assert len(lines) - 2 * tables == len(ROWS) > 0


@pytest.mark.parametrize(("promise", "test"), [row[:2] for row in ROWS], ids=[row[2] for row in ROWS])
def test_the_named_test_is_there(promise: str, test: str) -> None:
    file, _, name = test.partition("::")
    functions = {
        node.name for node in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(node, ast.FunctionDef)
    }
    assert name in functions, promise


def test_every_attack_is_a_promise_and_every_promise_has_one(known: dict[str, object]) -> None:
    assert {row[2] for row in ROWS} == known.keys()
