"""What holds for all tests."""

import logging
from collections.abc import Iterator

import pytest
from hypothesis import settings

pytest_plugins = ["skips"]

# Examples are not timed: a busy machine would fail them.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """A command that ran in this process set up its logs; the next test finds them as they were."""
    loggers = [logging.getLogger(name) for name in ("maskloop", "waitress", "waitress.queue")]
    before = [(one, list(one.handlers), one.propagate, one.level) for one in loggers]
    yield
    for one, handlers, propagate, level in before:
        one.handlers, one.propagate = handlers, propagate
        one.setLevel(level)
