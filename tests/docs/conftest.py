from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def generator() -> Callable[[str], ModuleType]:
    """Import one of the scripts in docs/generate by its name."""

    def load(name: str) -> ModuleType:
        path = Path(__file__).parents[2] / "docs" / "generate" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"docs_generate_{name}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
