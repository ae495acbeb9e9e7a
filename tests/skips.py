"""A pytest plugin: lists what was skipped, and fails the run where a skip is not in skips.toml."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

LIST = Path(__file__).with_name("skips.toml")


def allowed_skips(every_tool: bool) -> list[dict[str, Any]]:
    """Return the entries of skips.toml that count: all, or on a machine with every tool those that hold everywhere."""
    entries = tomllib.loads(LIST.read_text(encoding="utf-8"))["skip"]
    return [entry for entry in entries if entry.get("everywhere", False) or not every_tool]


def is_allowed(node: str, reason: str, entries: list[dict[str, Any]]) -> bool:
    """Tell whether a skip is in the list: by the test's node id and by its reason."""
    # brackets of parametrised tests are no sets of characters
    plain = node.partition("[")[0]
    return any(fnmatchcase(plain, entry["tests"]) and fnmatchcase(reason, entry["reason"]) for entry in entries)


class Skips:
    """Collects what was skipped, lists it at the end, and fails the run where one was not allowed."""

    def __init__(self, entries: list[dict[str, Any]]) -> None:
        self.entries = entries
        self.found: list[tuple[str, str]] = []

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self.found.append((report.nodeid, reason.removeprefix("Skipped: ")))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    def forbidden(self) -> list[tuple[str, str]]:
        return [(node, reason) for node, reason in self.found if not is_allowed(node, reason, self.entries)]

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Iterator[None]:
        yield
        if self.forbidden() and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self.found:
            return
        terminalreporter.section("skipped")
        forbidden = self.forbidden()
        for node, reason in self.found:
            verdict = "NOT in tests/skips.toml" if (node, reason) in forbidden else "allowed"
            terminalreporter.write_line(f"{verdict}: {node}: {reason}")
        if forbidden:
            terminalreporter.write_line(f"{len(forbidden)} test(s) were skipped that must run here", red=True)


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(
            Skips(allowed_skips(bool(os.environ.get("MASKLOOP_EVERY_TOOL")))), "allowed-skips"
        )
