"""What is served, what was before it, and that a kill never leaves anything between."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskloop_backend.registry import RegistryError, history
from maskloop_backend.registry.history import Change, Served, Serving


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
    assert history.read(path) == Served()
    serving = Serving("a").promoted("a", at="2026-01-01T00:00:00Z", reason="the first")
    serving = serving.promoted("b", at="2026-01-02T00:00:00Z", reason="Straße +2 %")
    own = Serving(None).promoted("c", at="2026-01-03T00:00:00Z", reason="").rolled_back(None, at="later", reason="")
    for served in (Served(serving), Served(serving, {7: own, 12: serving}), Served(None, {7: serving})):
        history.write(path, served)
        assert history.read(path) == served
    assert [(change.action, change.version) for change in serving.changes] == [("promote", "a"), ("promote", "b")]
    assert serving.promoted("b", at="2026-01-03T00:00:00Z", reason="again") == serving


def test_a_project_without_a_version_of_its_own_is_served_the_default() -> None:
    served = Served(Serving("a"))
    assert (served.version(), served.version(7), served.own(7)) == ("a", "a", None)
    first = Serving(None).promoted("b", at="1", reason="")
    served = served.having(7, first)
    assert (served.version(), served.version(7), served.version(8), served.own(7)) == ("a", "b", "a", "b")
    # what the default does is nothing to it
    served = served.having(None, Serving("a").promoted("c", at="2", reason=""))
    assert (served.version(7), served.version(8)) == ("b", "c")
    assert served.versions == {"b", "c"}
    # and before its first version it was served the default, whatever that is
    back = first.rolled_back(first.before[-1], at="3", reason="")
    assert served.having(7, back).version(7) == "c"
    # giving it up is no rollback: that leads to it again
    follows = first.following(at="4", reason="")
    assert (follows.version, follows.before, follows.following(at="5", reason="")) == (None, (None, "b"), follows)
    assert follows.changes[-1] == Change("follow", None, "4")
    assert served.forgetting(7) == Served(served.default)


def test_a_project_of_which_the_default_is_unknown_is_served_its_own() -> None:
    served = Served(None, {7: Serving(None).promoted("b", at="", reason="")})
    assert (served.version(7), served.version(8), served.version()) == ("b", None, None)


def test_the_file_stays_small() -> None:
    serving = Serving("0")
    for number in range(2000):
        serving = serving.promoted(str(number), at="", reason="")
    assert len(serving.changes) == history.KEPT_CHANGES
    assert len(serving.before) == history.KEPT_BEFORE
    assert serving.before[-1] == "1998"


def test_the_file_of_many_projects_can_be_read_again(tmp_path: Path) -> None:
    """Each with a full history of long reasons."""
    path = tmp_path / "serving.json"
    names = [f"fcn8s-efficientnet-lite0-20261122-{number:08x}" for number in range(history.KEPT_CHANGES)]
    full = Serving(names[0])
    for name in names:
        full = full.promoted(name, at="2026-11-22T10:00:00Z", reason="because " * 1000)
    history.write(path, Served(full, dict.fromkeys(range(1, 500), full)))
    kept = history.read(path)
    assert len(kept.projects) == 499
    assert sum(len(one.changes) for one in kept.histories) <= history.KEPT_IN_ALL
    assert all(one.changes[-1] == full.changes[-1] for one in kept.histories)
    assert path.stat().st_size < history.MOST_BYTES / 2


def test_a_file_that_names_the_version_alone_is_read(tmp_path: Path) -> None:
    path = tmp_path / "serving.json"
    path.write_text('{"version": "a"}')
    assert history.read(path) == Served(Serving("a"))


def test_a_file_that_was_written_before_projects_had_versions_is_the_default(tmp_path: Path) -> None:
    path = tmp_path / "serving.json"
    changes = [{"action": "promote", "version": "b", "at": "2026-01-02T00:00:00Z", "reason": "better"}]
    path.write_text(json.dumps({"version": "b", "before": ["a"], "changes": changes}))
    served = history.read(path)
    assert (served.version(), served.version(7), dict(served.projects)) == ("b", "b", {})
    history.write(path, served)
    assert json.loads(path.read_text()) == {"version": "b", "before": ["a"], "changes": changes}


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
        {"version": "a", "projects": [7]},
        {"version": "a", "projects": {"seven": {"version": "b"}}},
        {"version": "a", "projects": {"7": {}}},
        {"version": "a", "projects": {"7": {"version": 3}}},
        {"version": "a", "changes": [{"action": None, "version": "a", "at": ""}]},
    ],
)
def test_damage_is_named(tmp_path: Path, values: object) -> None:
    path = tmp_path / "serving.json"
    path.write_text(json.dumps(values))
    with pytest.raises(RegistryError, match=r"serving\.json: expected .*writes it anew"):
        history.read(path)
