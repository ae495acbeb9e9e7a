"""What is served, what was before it, and that a kill never leaves anything between."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskloop_backend.registry import RegistryError, history
from maskloop_backend.registry.history import Serving


@given(st.lists(st.sampled_from("abcde"), min_size=1))
def test_rollbacks_undo_promotions_one_by_one(versions: list[str]) -> None:
    """Against the plain model of a stack in which neighbours differ."""
    serving, stack = Serving(versions[0]), [versions[0]]
    for number, version in enumerate(versions):
        serving = serving.promoted(version, at=str(number), reason="")
        if stack[-1] != version:
            stack.append(version)
        assert serving.version == version
    while len(stack) > 1:
        stack.pop()
        assert serving.before[-1] == stack[-1]
        serving = serving.rolled_back(serving.before[-1], at="later", reason="")
        assert serving.version == stack[-1]
    assert serving.before == ()


@given(st.lists(st.sampled_from("abcd"), min_size=1), st.sampled_from("abcd"))
def test_a_removed_version_is_never_gone_back_to(versions: list[str], removed: str) -> None:
    serving = Serving(versions[0])
    for version in versions:
        serving = serving.promoted(version, at="", reason="")
    if serving.version == removed:
        return
    left = serving.without(removed)
    stack = [*left.before, left.version]
    assert removed not in stack
    assert all(one != other for one, other in pairwise(stack))
    assert set(stack) == set(versions) - {removed}
    assert left.changes == serving.changes


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "serving.json"
    assert history.read(path) is None
    serving = Serving("a").promoted("a", at="2026-01-01T00:00:00Z", reason="the first")
    serving = serving.promoted("b", at="2026-01-02T00:00:00Z", reason="Straße +2 %")
    history.write(path, serving)
    assert history.read(path) == serving
    assert [(change.action, change.version) for change in serving.changes] == [("promote", "a"), ("promote", "b")]
    assert serving.promoted("b", at="2026-01-03T00:00:00Z", reason="again") == serving


def test_the_file_stays_small() -> None:
    serving = Serving("0")
    for number in range(2000):
        serving = serving.promoted(str(number), at="", reason="")
    assert len(serving.changes) == history.KEPT_CHANGES
    assert len(serving.before) == history.KEPT_BEFORE
    assert serving.before[-1] == "1998"


def test_a_file_that_names_the_version_alone_is_read(tmp_path: Path) -> None:
    path = tmp_path / "serving.json"
    path.write_text('{"version": "a"}')
    assert history.read(path) == Serving("a")


@pytest.mark.parametrize(
    "values",
    [
        [],
        {},
        {"version": 3},
        {"version": "a", "before": 5},
        {"version": "a", "before": [1]},
        {"version": "a", "changes": [{"nonsense": 1}]},
        {"version": "a", "changes": [7]},
    ],
)
def test_damage_is_named(tmp_path: Path, values: object) -> None:
    path = tmp_path / "serving.json"
    path.write_text(json.dumps(values))
    with pytest.raises(RegistryError, match=r"serving\.json: expected .*writes it anew"):
        history.read(path)
