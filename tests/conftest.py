"""What holds for all tests."""

import logging
from collections.abc import Iterator

import pytest
from hypothesis import settings

pytest_plugins = ["skips"]

# Examples are not timed: a busy machine would fail them.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """What shares costly fixtures runs in one process: a file's tests, and all that use the one Label Studio, at once."""
    groups = {item: "e2e" if item.get_closest_marker("e2e") else item.nodeid.partition("::")[0] for item in items}
    for item, group in groups.items():
        item.add_marker(pytest.mark.xdist_group(group))
    yield
    # in their random order, but the longest group first
    items.sort(key=lambda item: groups[item] != "e2e")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """A command that ran in this process set up its logs; the next test finds them as they were."""
    loggers = [logging.getLogger(name) for name in ("maskloop", "waitress", "waitress.queue")]
    before = [(one, list(one.handlers), one.propagate, one.level) for one in loggers]
    yield
    for one, handlers, propagate, level in before:
        one.handlers, one.propagate = handlers, propagate
        one.setLevel(level)
