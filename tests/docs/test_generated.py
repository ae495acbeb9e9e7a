"""What docs/generate wrote is what it would write now."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def test_the_reference_has_every_command_and_option(generator: Callable[[str], ModuleType]) -> None:
    written = (DOCS / "reference" / "cli.md").read_text("utf-8")
    now = generator("cli_reference").page()
    assert written == now, "run: python docs/generate/cli_reference.py"


@pytest.mark.parametrize("name", ["fcn.svg", "rle.svg", "gate.svg"])
def test_pictures_show_what_the_code_does(generator: Callable[[str], ModuleType], name: str) -> None:
    written = (DOCS / "images" / name).read_text("utf-8")
    assert written == generator("pictures").PICTURES[name](), "run: python docs/generate/pictures.py"
