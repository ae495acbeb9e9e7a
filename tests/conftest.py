"""What holds for all tests."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = ["skips"]

# Examples are not timed: a busy machine would fail them.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


# The longest groups, which start first: at the end one process would wait for them.
LONGEST = ("tests/e2e", "tests/backend/loop/test_retraining.py", "tests/backend/training/test_trainer.py")


def group(nodeid: str) -> str:
    """Return what shares costly fixtures, and so runs in one process: a file's tests, or all with the real Label Studio."""
    file = nodeid.partition("::")[0]
    return "tests/e2e" if file.startswith("tests/e2e/") else file


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """The longest groups first; all others in their random order."""
    yield
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(group(item.nodeid), len(LONGEST)))


class Groups(LoadScopeScheduling):  # type: ignore[misc]
    """Hands whole groups to the processes."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Groups:
    """Not --dist loadgroup, whose names of groups pytest 9.2 does not take."""
    return Groups(config, log)


LOGGERS = [logging.getLogger(name) for name in ("maskloop", "waitress", "waitress.queue")]


@pytest.fixture(autouse=True)
def logging_as_in_a_new_process() -> Iterator[None]:
    """A command or a library that ran in this process, in a test or in a file's own fixture, set up its logs; no test finds them so."""

    def renew() -> None:
        logging.disable(logging.NOTSET)
        logging.root.setLevel(logging.WARNING)
        for one in LOGGERS:
            one.handlers, one.propagate, one.disabled = [], True, False
            one.setLevel(logging.NOTSET)

    renew()
    yield
    renew()
